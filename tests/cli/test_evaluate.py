"""The measures of the evaluate command."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from lshsample import metrics
from lshsample.cli.commands import app
from lshsample.data import read_xc
from lshsample.errors import ArgumentError
from lshsample.nn import Dense, Network, Sampled, Sparse


@pytest.fixture(scope="module")
def model(files, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model"
    Network([Sparse(240), Dense(8), Sampled(60, sampler="full")], seed=1).save(path)
    return path


def evaluate(*words):
    return CliRunner().invoke(app, ["evaluate", *map(str, words)])


def test_all_measures(model, files, tmp_path):
    train, test = files
    written = tmp_path / "r.json"
    words = [
        "--measures",
        "p,r,ndcg,f1,psp,psndcg@1,7",
        "--by-frequency",
        "--train",
        train,
        "--json",
        written,
    ]
    done = evaluate(model, test, *words)
    assert done.exit_code == 0, done.output
    result = json.loads(written.read_text())
    known, data = read_xc(train).y, read_xc(test)
    labels, _ = Network.load(model).predict(data.x, 7)
    propensity = metrics.propensities(known)
    expected = {
        f"{name}@{k}": 100 * function(labels, data.y, *more, k)
        for k in (1, 7)
        for name, function, more in (
            ("p", metrics.precision_at_k, ()), ("r", metrics.recall_at_k, ()),
            ("ndcg", metrics.ndcg_at_k, ()),
            ("f1", metrics.f1_at_k, ()), ("psp", metrics.psp_at_k, (propensity,)),
            ("psndcg", metrics.psndcg_at_k, (propensity,)),
        )
    }  # fmt: skip
    assert {name: result[name] for name in expected} == pytest.approx(expected)
    assert result["p@3"] is None
    for name, value in expected.items():
        text = name.upper().replace("NDCG", "nDCG")
        low, high = result["intervals"][name]
        assert low <= value <= high
        assert f"{text} {value:.2f} % ({low:.2f} to {high:.2f})" in done.stdout
    count = np.bincount(known.indices, minlength=60)
    bins = metrics.by_frequency(labels, data.y, count)
    assert [one["recall"] for one in result["by_frequency"]] == pytest.approx([one["recall"] for one in bins])
    assert "training rows" in done.stdout
    assert "10 to 99" in done.stdout


def test_training_rows_add_propensity_scores(model, files, tmp_path):
    written = tmp_path / "r.json"
    done = evaluate(model, files[1], "--train", files[0], "--level", "50", "--json", written)
    assert done.exit_code == 0, done.output
    assert "P@1" in done.stdout
    assert "PSP@5" in done.stdout
    result = json.loads(written.read_text())
    assert result["level"] == 50
    low, high = result["intervals"]["psp@3"]
    assert low <= result["psp@3"] <= high


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--measures", "psp@1"], "--measures must be used with --train"),
        (["--level", "0"], "--level must be a number of percent above 0 and below 100 (got 0.0)"),
        (["--by-frequency"], "--by-frequency must be used with --train"),
        (["--measures", "ndgc@3"], "did you mean 'ndcg'"),
        (["--measures", "p@0"], "followed by numbers from 1 to 60"),
        (["--measures", "p@61"], "followed by numbers from 1 to 60"),
        (["--measures", "p@x"], "followed by numbers from 1 to 60"),
        (["--measures", ""], "--measures must be names of p, r, ndcg"),
    ],
)
def test_bad_measures(model, files, words, message):
    result = evaluate(model, files[1], *words)
    assert isinstance(result.exception, ArgumentError)
    assert message in str(result.exception)
    assert not result.stdout


def test_8_bit_prediction(model, files, tmp_path):
    """The same measures, with fewer labels scored in float32; its arguments are checked."""
    results = {}
    for precision in ("float32", "int8"):
        written = tmp_path / f"{precision}.json"
        done = evaluate(model, files[1], "--precision", precision, "--json", written)
        assert done.exit_code == 0, done.output
        results[precision] = json.loads(written.read_text())
        assert results[precision]["precision"] == precision
        assert 0 < results[precision]["predict_seconds"] <= results[precision]["evaluate_seconds"]
    assert results["int8"]["p@1"] == results["float32"]["p@1"]
    assert results["float32"]["scored_mean"] == 60
    assert 5 <= results["int8"]["scored_mean"] <= 60
    assert results["int8"]["took"] == {"int8": results["int8"]["rows"]}
    written = tmp_path / "auto.json"
    done = evaluate(model, files[1], "--mode", "auto", "--json", written)
    found = json.loads(written.read_text())
    assert done.exit_code == 0, done.output
    assert found["p@1"] == results["float32"]["p@1"]
    assert found["took"] == {"float32": found["rows"]}
    assert f"took float32 for {found['rows']} rows" in done.stderr
    done = evaluate(model, files[1], "--precision", "int8", "--mode", "sampled")
    assert done.exit_code == 1
    assert str(done.exception).startswith("precision must be 'float32'")
