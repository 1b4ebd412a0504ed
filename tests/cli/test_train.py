"""The train command: pipelines, files, options, interruptions."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lshsample.data import read_xc
from lshsample.nn import Network, RowCache

Files = tuple[Path, Path]
SAMPLERS = ["lsh", "uniform", "exact-top", "full", "slide-vanilla", "slide-topk", "slide-threshold"]


@pytest.mark.parametrize("sampler", [*SAMPLERS, "Retrieve() | Include()"])
@pytest.mark.parametrize("active_set", ["batch", "sample"])
def test_every_sampler_trains(
    lshsample: Any, small: list[object], files: Files, tmp_path: Path, sampler: str, active_set: str
) -> None:
    options = [
        *small,
        "--sampler",
        sampler,
        "--active-set",
        active_set,
        "--epochs",
        1,
        "--json",
        tmp_path / "r.json",
    ]
    done = lshsample("train", files[0], "--test", files[1], *options, "--loss", "sigmoid", "--family", "dwta")
    assert done.returncode == 0, done.stderr
    assert 0 < json.loads((tmp_path / "r.json").read_text())["active_mean"] <= 60


def test_a_network_in_other_precisions(
    lshsample: Any, small: list[object], files: Files, tmp_path: Path
) -> None:
    run = ["train", files[0], *small, "--epochs", 1, "--save", tmp_path / "run", "--precision"]
    done = lshsample(*run, "bfloat16")
    assert done.returncode == 0, done.stderr
    assert "bfloat16" in done.stderr
    assert json.loads((tmp_path / "run" / "train.json").read_text())["network"]["precision"] == "bfloat16"
    assert tomllib.loads((tmp_path / "run" / "recipe.toml").read_text())["network"]["precision"] == "bfloat16"
    assert Network.load(tmp_path / "run").precision == "bfloat16"
    done = lshsample("evaluate", tmp_path / "run", files[1], "--precision", "int8")
    assert done.returncode == 0, done.stderr
    few = [*run, "int4", "--cache-share", 0.2, "--overwrite"]
    done = lshsample(*few)
    assert done.returncode == 0, done.stderr
    assert Network.load(tmp_path / "run").spec.row_cache == RowCache(0.2)
    done = lshsample("evaluate", tmp_path / "run", files[1])
    assert done.returncode == 0, done.stderr
    done = lshsample(*run, "float32", "--cache-share", 0.2, "--overwrite")
    assert done.returncode == 2
    assert "cache_share" in done.stderr or "cache-share" in done.stderr
    done = lshsample(*run, "bfloat16", "--moments", "float8", "--overwrite")
    assert done.returncode == 0, done.stderr
    assert Network.load(tmp_path / "run").spec.moments == "float8"
    done = lshsample(*run, "int8", "--moments", "float4", "--overwrite")
    assert done.returncode == 0, done.stderr
    assert Network.load(tmp_path / "run").spec.moments == "float4"
    done = lshsample(*run, "int8", "--moments", "float8", "--overwrite")
    assert done.returncode == 2
    assert "moments" in done.stderr
    done = lshsample(*run, "half", "--overwrite")
    assert done.returncode == 2
    assert "float32" in done.stderr


def test_libsvm_files_take_their_shape_from_the_training_data(
    lshsample: Any, small: list[object], files: Files, tmp_path: Path
) -> None:
    """Such a file does not state the number of features; a test file seldom has the last one."""
    paths = []
    for source in files:
        data = read_xc(source)
        rows = data if source == files[0] else data.take(slice(0, 3))
        lines = [
            ",".join(map(str, y.indices))
            + "".join(f" {i + 1}:{v}" for i, v in zip(x.indices, x.data, strict=True))
            for x, y in ((rows.x[[r]], rows.y[[r]]) for r in range(rows.n_rows))
        ]
        paths.append(tmp_path / f"{source.name.split('.')[0]}.svm")
        paths[-1].write_text("\n".join(lines) + "\n")
    run = tmp_path / "run"
    done = lshsample("train", paths[0], "--test", paths[1], *small, "--epochs", 1, "--save", run)
    assert done.returncode == 0, done.stderr
    done = lshsample("evaluate", run, paths[1])
    assert done.returncode == 0, done.stderr


def test_config_file_and_options(lshsample: Any, small: list[object], files: Files, tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    network = 'hidden = [16, 8]\nepochs = 3\nsampler = "uniform"\nn_active = 20\n'
    config.write_text(f"linear = false\nneighbours = false\nseed = 5\n[network]\n{network}")
    done = lshsample("train", files[0], "--config", config, "--epochs", 2, "--json", tmp_path / "r.json")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "r.json").read_text())
    assert len(result["epochs"]) == 2
    assert result["seed"] == 5
    for text, said in (
        ("[network]\nhiden = 16\n", "TrainConfig.hiden must be left out"),
        ("hidden = 16\n", "hidden must be a key of the section [network]"),
        ("[network]\nseed = 3\n", "network.seed must be left out: seed is a key of the recipe"),
        ("linear = 3\n", "linear must be true, false or a section"),
    ):
        config.write_text(text)
        refused = lshsample("train", files[0], "--config", config)
        assert refused.returncode == 2
        assert said in refused.stderr


def test_a_run_that_is_out_of_time_is_finished(
    lshsample: Any, small: list[object], files: Files, tmp_path: Path
) -> None:
    """Its last epoch is evaluated where it ended."""
    run, result, again = tmp_path / "run", tmp_path / "result.json", tmp_path / "again.json"
    done = lshsample(
        "train", files[0], "--test", files[1], *small, "--save", run, "--max-seconds", 1e-6, "--json", result
    )
    assert done.returncode == 0, done.stderr
    assert lshsample("evaluate", run, files[1], "--json", again).returncode == 0
    first, second = json.loads(result.read_text()), json.loads(again.read_text())
    assert (first["stopped"], first["steps"], len(first["rate_factors"])) == ("max_seconds", 1, 1)
    assert [epoch["step"] for epoch in first["epochs"]] == [1]
    assert not (run / "checkpoint").exists()
    assert all(first[f"p@{k}"] == second[f"p@{k}"] is not None for k in (1, 3, 5))


def test_a_terminated_run_resumes_to_the_same_bits(
    lshsample: Any, interrupted: Any, small: list[object], files: Files, tmp_path: Path
) -> None:
    """By the line that it prints; the epochs were in the file of its log while it ran."""
    options = [*small, "--epochs", 100, "--threads", 1, "--valid", 0.1, "--patience", 80]
    whole, cut = tmp_path / "the whole", tmp_path / "a cut"
    assert lshsample("train", files[0], *options, "--save", whole).returncode == 0
    status, said = interrupted(signal.SIGTERM, tmp_path / "log", "train", files[0], *options, "--save", cut)
    assert status == 143
    assert f"Stopping after this step and writing the checkpoint to {cut}; a second signal quits" in said
    assert re.search(r"^epoch 1/100  step 15/1500  loss \S+  valid P@1 [0-9.]+  \S+ s  left ", said, re.M)
    assert (cut / "checkpoint").is_dir()
    line = re.search(r"^to continue: lshsample (.*)$", said, re.M)
    assert line is not None
    resumed = lshsample(*shlex.split(line[1]))
    assert resumed.returncode == 0, resumed.stderr
    assert same_weights(whole, cut)
    first, second = (json.loads((run / "train.json").read_text()) for run in (whole, cut))
    assert first["best_epoch"] == second["best_epoch"] >= 1
    assert first["recipe"] == second["recipe"]
    assert not (cut / "checkpoint").exists()


def same_weights(one: Path, other: Path) -> bool:
    pairs = zip(Network.load(one).parameters, Network.load(other).parameters, strict=True)
    return all((a.weights == b.weights).all() for a, b in pairs)


@pytest.mark.parametrize("name", ["SIGINT", "SIGHUP"])
def test_signals_end_a_run_with_their_status(
    lshsample: Any, interrupted: Any, small: list[object], files: Files, tmp_path: Path, name: str
) -> None:
    number = getattr(signal, name)
    words = ["train", files[0], *small, "--epochs", 100000]
    if name == "SIGHUP":
        words += ["--save", tmp_path / "run"]
    status, said = interrupted(number, tmp_path / "log", *words)
    assert status == 128 + number
    assert "Traceback" not in said
    assert (tmp_path / "run" / "checkpoint").exists() == (name == "SIGHUP") == ("to continue: " in said)
    if name == "SIGINT":
        assert "the model will not be kept; --save DIR keeps it" in said, "told before it is trained"
        assert "Stopping after this step (the model is not kept, as there is no --save); press Ctrl-C" in said


def test_a_second_signal_ends_a_run_at_once(small: list[object], files: Files, tmp_path: Path) -> None:
    code = (
        "import os, signal\n"
        "from lshsample.cli import main\n"
        "from lshsample.training import ProgressBar\n"
        "def twice(*_):\n"
        "    for _ in range(2): os.kill(os.getpid(), signal.SIGINT)\n"
        "ProgressBar.on_step = twice\n"
        "main()"
    )
    words = [sys.executable, "-c", code, "train", files[0], *small, "--save", tmp_path / "run"]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert [line.split()[0] for line in done.stderr.splitlines()[-2:]] == ["Stopping", "interrupted"]
    assert not (tmp_path / "run" / "train.json").exists()


def test_other_commands_end_at_once_on_ctrl_c(lshsample: Any, until: Any, tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as errors:
        words = [*lshsample.line, "compare", "--rounds", "100000", "--family", "simhash"]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=errors)
        try:
            until(tmp_path / "log", "runs: about")
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=10) == 130
        finally:
            process.kill()
    assert (tmp_path / "log").read_text().splitlines()[-1] == "interrupted (SIGINT)"


def test_the_recipe_gives_the_same_run(
    lshsample: Any, small: list[object], files: Files, tmp_path: Path
) -> None:
    """All that is chosen from the data is in it, and is told before the run."""
    options = ["--epochs", 2, "--family", "dwta:window=4", "--valid", 0.2, "--patience", 1, "--seed", 3]
    options += ["--preset", "network"]
    first, second = tmp_path / "first", tmp_path / "second"
    done = lshsample("train", files[0], *options, "--save", first)
    assert done.returncode == 0, done.stderr
    whole = tomllib.loads((first / "recipe.toml").read_text())
    assert (whole["linear"], whole["neighbours"], whole["seed"]) == (False, False, 3)
    recipe = whole["network"]
    known = {"epochs": 2, "family": "dwta:window=4", "valid": 0.2, "patience": 1}
    assert known.items() <= recipe.items()
    assert {
        "hidden",
        "batch_size",
        "lr",
        "loss",
        "sampler",
        "n_active",
        "dropout",
        "weighting",
    } <= recipe.keys()
    result = json.loads((first / "train.json").read_text())
    assert result["recipe"] == whole
    assert result["settings"]["lr"] == recipe["lr"]
    assert result["network"]["layers"][-1]["sampler"] == recipe["sampler"]
    told = done.stderr
    for words in (f"batch {recipe['batch_size']}", f"lr {recipe['lr']:.4g}", "loss sigmoid", "K ", "L 16"):
        assert words in told
    assert "Sampled(" not in told
    again = lshsample("train", files[0], "--config", first / "recipe.toml", "--save", second)
    assert again.returncode == 0, again.stderr
    assert same_weights(first, second)
    assert tomllib.loads((second / "recipe.toml").read_text()) == whole


def test_messages_can_be_less_or_more(
    lshsample: Any, small: list[object], files: Files, tmp_path: Path
) -> None:
    words = ["train", files[0], *small, "--epochs", 1]
    assert lshsample(*words, "--quiet").stderr == ""
    verbose = lshsample(*words, "-v", "--save", tmp_path / "run")
    assert "checkpoint of step 16 written to" in verbose.stderr
    refused = lshsample(*words, "-v", "-q")
    assert (refused.returncode, "--quiet must be used without --verbose" in refused.stderr) == (2, True)
    refused = lshsample(*words, "--patience", 2)
    assert (refused.returncode, "--patience must be used with --valid" in refused.stderr) == (2, True)


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="a system without /dev/stdout")
def test_a_result_can_go_to_standard_output(lshsample: Any, small: list[object], files: Files) -> None:
    words = ["train", files[0], *small, "--epochs", 1, "--json", "/dev/stdout"]
    done = subprocess.run([*lshsample.line, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert '"step_ms_median"' in done.stdout


def test_a_finished_model_is_replaced_only_if_that_is_wanted(
    lshsample: Any, small: list[object], files: Files, tmp_path: Path
) -> None:
    """Its checkpoint, three times as large as the model, is gone by then."""
    run, alone = tmp_path / "run", tmp_path / "alone"
    options = [files[0], *small, "--epochs", 1]
    assert lshsample("train", *options, "--save", run).returncode == 0
    assert sorted(path.name for path in run.iterdir()) == ["README.md", "model", "recipe.toml", "train.json"]
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    Network.load(run).save(alone)
    for words, said in (
        (["--save", run], "--save must be a folder without a model (--overwrite replaces it)"),
        (["--save", alone], "without a model"),
        (["--overwrite"], "--overwrite must be used with --save"),
    ):
        refused = lshsample("train", *options, *words)
        assert refused.returncode == 2
        assert said in refused.stderr
    refused = lshsample("train", files[0], "--resume", run)
    assert refused.returncode == 2
    assert "its run is finished" in refused.stderr
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    done = lshsample("train", *options, "--seed", 7, "--save", run, "--overwrite")
    assert done.returncode == 0, done.stderr
    assert Network.load(run).spec.seed == 7


def test_an_interrupted_run_is_continued_by_the_same_command(
    lshsample: Any, interrupted: Any, small: list[object], files: Files, tmp_path: Path
) -> None:
    """Another one would replace it, and has to say so."""
    options = [files[0], *small, "--epochs", 60, "--threads", 1]
    cut, whole = tmp_path / "cut", tmp_path / "whole"
    assert lshsample("train", *options, "--save", whole).returncode == 0
    stop = signal.SIGTERM, tmp_path / "log", "train", *options, "--save", cut
    assert interrupted(*stop)[0] == 143
    recipe = (cut / "recipe.toml").read_bytes()
    for other in (["--lr", 0.5], ["--valid", 0.1]):
        refused = lshsample("train", *options, *other, "--save", cut)
        assert refused.returncode == 2
        assert "without an interrupted run of other settings" in refused.stderr
    assert (cut / "recipe.toml").read_bytes() == recipe
    continued = lshsample("train", *options, "--save", cut)
    assert continued.returncode == 0, continued.stderr
    assert "continues the interrupted run" in continued.stderr
    assert re.search("after step [0-9]+", continued.stderr)
    expected, found = Network.load(whole), Network.load(cut)
    for one, other in zip(expected.parameters, found.parameters, strict=True):
        np.testing.assert_array_equal(one.weights, other.weights)
    assert interrupted(*stop, "--overwrite")[0] == 143
    other_run = lshsample("train", *options, "--lr", 0.02, "--save", cut, "--overwrite")
    assert other_run.returncode == 0, other_run.stderr
    assert json.loads((cut / "train.json").read_text())["stopped"] == "finished"
    assert not (cut / "checkpoint").exists()


def test_a_run_that_was_never_saved_cannot_be_resumed(lshsample: Any, files: Files, tmp_path: Path) -> None:
    refused = lshsample("train", files[0], "--resume", tmp_path)
    assert refused.returncode == 2
    assert "one without a checkpoint is started again with --save" in refused.stderr
