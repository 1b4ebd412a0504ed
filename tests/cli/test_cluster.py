"""What a run on workers costs, and which runs there are."""

import json

import pytest

from lshsample.nn import SGD, Dense, Input, Sharded, Sparse
from lshsample.ray import step_cost


def test_the_check_is_that_of_step_cost(lshsample):
    run = lshsample(
        "cluster-check", "--labels", 100_000, "--workers", 4, "--hidden", 64, "--batch-size", 100,
        "--optimizer", "sgd", "--bandwidth", 1, "--latency", 2, "--json", "-",
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    layers = [Sparse(1), Dense(64), Sharded(100_000, n_active=4096)]
    wanted = step_cost(layers, workers=4, batch_size=100, optimizer=SGD())
    found = json.loads(run.stdout)
    assert (found["sent"], found["received"], found["memory"]) == (
        wanted.sent,
        wanted.received,
        wanted.memory,
    )
    assert found["seconds"] == pytest.approx(4 * 8 * wanted.exchanged / 1e9 + 0.008)
    assert found["dense_seconds"] == pytest.approx(1.5 * 8 * 4 * 64 * 100_000 / 1e9)
    assert f"{wanted.sent:,} bytes" in run.stderr


def test_the_check_counts_what_parts_need(lshsample):
    words = ["cluster-check", "--labels", 10_000, "--workers", 4, "--hidden", 64, "--batch-size", 100]
    run = lshsample(*words, "--parts", 2, "--features", 300, "--values-per-row", 0, "--json", "-")
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    wanted = step_cost(
        [Input(300), Dense(64), Sharded(10_000, n_active=4096, parts=2)], workers=4, batch_size=100
    )
    assert {name: found[name] for name in ("sent", "received", "below")} == {
        "sent": wanted.sent,
        "received": wanted.received,
        "below": 4 * (50 * 300 + 2 * (64 * 300 + 64) + 2 * 50 * 64),
    }
    assert f"{wanted.below:,} bytes" in run.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["cluster-check", "--labels", 100, "--workers", 3], "workers must be a power of two"),
        (["cluster-check", "--labels", 100, "--bandwidth", 0], "--bandwidth must be a number above 0"),
        (["cluster-check", "--labels", 100, "--labels-per-row", "inf"], "--labels-per-row must be a finite"),
        (["cluster-check", "--labels", 100, "--parts", 2, "--features", 0], "--features must be an integer"),
        (["cluster-check", "--labels", 100, "--features", 0], "(got 1 with --features 0)"),
        (
            ["cluster-check", "--labels", 100, "--values-per-row", 9],
            "--values-per-row must be used with --parts (got 9.0)",
        ),
        (["cluster-check", "--labels", 100, "--parts", 2], "--parts must be used with --features"),
        (["train", "FILE", "--workers", 2], "--workers must be used with --preset network"),
        (["train", "FILE", "--address", "auto"], "--address must be used with --workers"),
        (
            ["train", "FILE", "--preset", "network", "--parts", 2],
            "--parts must be used with --workers (got 2)",
        ),
        (["train", "FILE", "--workers", 2, "--parts", 2], "--parts must be used with --preset network"),
        (
            ["train", "FILE", "--preset", "network", "--workers", 2, "--parts", 3],
            "parts must be a power of two from 1 to 1024 (got 3)",
        ),
        (
            ["train", "FILE", "--preset", "network", "--workers", 2, "--parts", 2, "--precision", "bfloat16"],
            "parts must be used with the precision float32, and without moments",
        ),
    ],
)
def test_bad_options_are_refused(lshsample, files, words, message):
    run = lshsample(*[files[0] if word == "FILE" else word for word in words])
    assert run.returncode != 0
    assert message in " ".join(run.stderr.split())
