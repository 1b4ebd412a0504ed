"""The train command with recipes of several parts: what it prints and writes, and how it continues."""

from __future__ import annotations

import json
import re
import shlex
import signal
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lshsample.data import load
from lshsample.xc import PRESETS, Classifier, Recipe

Files = tuple[Path, Path]
QUICK = ["--hidden", 24, "--epochs", 6, "--lr", 0.02, "--n-active", 30, "--dropout", 0, "--valid", 0.2]


def test_the_default_is_a_mixture(lshsample: Any, files: Files, tmp_path: Path) -> None:
    run, again = tmp_path / "run", tmp_path / "again"
    done = lshsample("train", files[0], "--test", files[1], *QUICK, "--save", run)
    assert done.returncode == 0, done.stderr
    assert "parts     rows, linear, network, hidden; P@k on 100 held-out rows:" in done.stderr
    assert re.search(r"^  linear +[0-9.]+ s  P@1 [0-9.]+  P@3 ", done.stderr, re.M)
    assert re.search(r"^epoch 1/6  .* held-out P@1 ", done.stderr, re.M)
    result = json.loads((run / "train.json").read_text())
    assert result["p@1"] > 80
    assert f"P@1 {result['p@1']:.2f} %" in done.stdout
    assert {stage["name"] for stage in result["stages"]} == {"rows", "linear", "network", "hidden", "mixture"}
    assert sorted(path.name for path in run.iterdir()) == ["README.md", "model", "recipe.toml", "train.json"]
    assert Recipe.from_file(run / "recipe.toml").to_dict() == result["recipe"]
    assert Classifier.load(run).recipe == Recipe.from_file(run / "recipe.toml")
    repeated = lshsample("train", files[0], "--config", run / "recipe.toml", "--save", again)
    assert repeated.returncode == 0, repeated.stderr
    x = load(files[1]).x
    for one, same in zip(Classifier.load(run).predict(x), Classifier.load(again).predict(x), strict=True):
        np.testing.assert_array_equal(one, same)


def test_models_are_evaluated_and_predict(lshsample: Any, files: Files, tmp_path: Path) -> None:
    run = tmp_path / "run"
    trained = lshsample("train", files[0], "--test", files[1], "--preset", "fast", "--save", run)
    assert trained.returncode == 0, trained.stderr
    first = json.loads((run / "train.json").read_text())
    done = lshsample("evaluate", run, files[1], "--json", tmp_path / "e.json")
    assert done.returncode == 0, done.stderr
    second = json.loads((tmp_path / "e.json").read_text())
    assert [first[f"p@{k}"] for k in (1, 3, 5)] == [second[f"p@{k}"] for k in (1, 3, 5)]
    assert second["train_seconds"] == first["train_seconds"]
    done = lshsample("predict", run, files[1], "--top", 2)
    lines = done.stdout.splitlines()
    assert len(lines) == 100
    assert re.fullmatch(r"\d+:[0-9.e-]+ \d+:[0-9.e-]+", lines[0])
    for words in (["--mode", "sampled"], ["--family", "dwta"]):
        refused = lshsample("evaluate", run, files[1], *words)
        assert refused.returncode == 2
        assert "must be used with a model that is a network alone" in refused.stderr
    for command in ("explain", "compare"):
        words = [run, files[1]] if command == "explain" else [files[1], "--model", run]
        refused = lshsample(command, *words)
        assert refused.returncode == 2
        assert "classifier must be one with a network" in refused.stderr


def test_commands_about_networks_take_that_of_a_classifier(
    lshsample: Any, files: Files, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert lshsample("train", files[0], *QUICK, "--save", run).returncode == 0
    done = lshsample("explain", run, files[1], "--row", 3)
    assert done.returncode == 0, done.stderr
    done = lshsample("compare", files[1], "--model", run, "--family", "simhash", "--quick")
    assert done.returncode == 0, done.stderr


def test_presets_are_listed_and_printed(lshsample: Any, files: Files, tmp_path: Path) -> None:
    shown = lshsample("presets").stdout
    for name in PRESETS:
        assert re.search(rf"^ *{name} ", shown, re.M)
        assert Recipe.from_toml(lshsample("presets", name).stdout) == Recipe.preset(name)
    config = tmp_path / "changed.toml"
    config.write_text(lshsample("presets", "fast").stdout.replace("beam = 10", "beam = 5"))
    run = tmp_path / "run"
    assert lshsample("train", files[0], "--config", config, "--save", run).returncode == 0
    assert tomllib.loads((run / "recipe.toml").read_text())["linear"]["beam"] == 5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--preset", "fasst"], "recipe must be one of fast, balanced"),
        (["--preset", "fast", "--config", "absent.toml"], "--preset must be used without --config"),
        (["--preset", "fast", "--epochs", 3], "epochs must be used with a recipe that has a network"),
        (["--valid", "absent.txt"], "--valid must be a share of the training rows; a file is for"),
        (["--patience", 2], "--patience must be used with --preset network"),
        (["--valid", 1.5], "--valid must be a share of the training rows"),
        (["--max-seconds", 0], "max_seconds must be a finite number in (0, inf]"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    lshsample: Any, files: Files, words: list[object], said: str
) -> None:
    refused = lshsample("train", files[0], *words)
    assert refused.returncode == 2
    assert said in refused.stderr


def test_a_model_of_another_kind_is_replaced_if_that_is_wanted(
    lshsample: Any, small: list[object], files: Files, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert lshsample("train", files[0], *small, "--epochs", 1, "--save", run).returncode == 0
    refused = lshsample("train", files[0], "--preset", "fast", "--save", run)
    assert (refused.returncode, "--overwrite replaces it" in refused.stderr) == (2, True)
    done = lshsample("train", files[0], "--preset", "fast", "--save", run, "--overwrite")
    assert done.returncode == 0, done.stderr
    assert Classifier.load(run).mixture.parts
    assert lshsample("train", files[0], *small, "--epochs", 1, "--save", run, "--overwrite").returncode == 0
    assert lshsample("evaluate", run, files[1]).returncode == 0


@pytest.mark.parametrize("way", ["its line", "the same command"])
def test_an_interrupted_run_continues_to_the_same_bits(
    lshsample: Any, interrupted: Any, files: Files, tmp_path: Path, way: str
) -> None:
    options = [files[0], *QUICK, "--epochs", 60, "--threads", 1]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert lshsample("train", *options, "--save", whole).returncode == 0
    status, said = interrupted(signal.SIGTERM, tmp_path / "log", "train", *options, "--save", cut)
    assert status == 143
    assert f"Stopping after this step and writing the checkpoint to {cut}" in said
    line = re.search(r"^to continue: lshsample (.*)$", said, re.M)
    assert line is not None
    refused = lshsample("train", *options, "--seed", 3, "--save", cut)
    assert "without an interrupted run of other settings" in refused.stderr
    words = shlex.split(line[1]) if way == "its line" else ["train", *options, "--save", cut]
    done = lshsample(*words)
    assert done.returncode == 0, done.stderr
    assert "continues the interrupted run" in done.stderr
    x = load(files[1]).x
    for one, same in zip(Classifier.load(whole).predict(x), Classifier.load(cut).predict(x), strict=True):
        np.testing.assert_array_equal(one, same)
    assert not (cut / "checkpoint").exists()
