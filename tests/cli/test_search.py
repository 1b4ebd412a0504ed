"""The search command: its files, continuation, and refusals."""

from __future__ import annotations

import csv
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from lshsample.xc import Recipe

Files = tuple[Path, Path]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe whose fit takes less than a second."""
    path = tmp_path_factory.mktemp("recipe") / "small.toml"
    network = {"hidden": 16, "epochs": 3, "lr": 0.01, "batch_size": 32, "n_active": 30, "dropout": 0.0}
    path.write_text(Recipe(network=network).to_toml())
    return path


def test_a_search_is_continued_and_its_recipe_trains(
    lshsample: Any, files: Files, tmp_path: Path, base: Path
) -> None:
    folder, space = tmp_path / "found", tmp_path / "space.toml"
    space.write_text('"network.lr" = [1e-3, 0.1, "log"]\n[linear]\nc = [0.1, 0.3, 1.0]\n')
    words = ["search", files[0], "--save", folder, "--base", base, "--space", space, "--threads", 1]
    first = lshsample(*words, "--trials", 2)
    assert first.returncode == 0, first.stderr
    assert "trial 1  " in first.stderr
    assert "epoch" not in first.stderr
    done = lshsample(*words, "--trials", 4, "--json", tmp_path / "result.json")
    assert done.returncode == 0, done.stderr
    assert "trial 1  " not in done.stderr
    assert "trial 3  " in done.stderr
    assert "of 4 trials" in done.stdout
    assert f"--config {folder / 'recipe.toml'}" in done.stdout
    result = json.loads((tmp_path / "result.json").read_text())
    assert [trial["number"] for trial in result["trials"]] == [0, 1, 2, 3]
    assert result["best"]["value"] >= result["base"]["value"]
    assert result["base_values"] == {"linear.c": None, "network.lr": 0.01}
    with (folder / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["value"] or "nan") for row in rows[:1]] == [result["base"]["value"]]
    assert [row["linear.c"] != "" for row in rows] == [False, True, True, True]
    assert json.loads((folder / "search.json").read_text())["trials"] == result["trials"]
    assert tomllib.loads((folder / "recipe.toml").read_text()) == result["recipe"]
    assert "network.lr" in (folder / "search.svg").read_text()
    trained = lshsample("train", files[0], "--test", files[1], "--config", folder / "recipe.toml")
    assert trained.returncode == 0, trained.stderr
    other = lshsample(*words, "--trials", 4, "--seed", 1)
    assert other.returncode == 2
    assert "with other seed" in other.stderr


def test_what_is_wrong_is_said_before_the_work(
    lshsample: Any, files: Files, tmp_path: Path, base: Path
) -> None:
    (tmp_path / "recipe.toml").write_text(base.read_text())
    done = lshsample("search", files[0], "--save", tmp_path, "--trials", 1)
    assert done.returncode == 2
    assert "--save must be a folder of a search, or a new one" in done.stderr
    for more, named in (
        ([], "max_seconds must be given, or n_trials"),
        (["--trials", 1, "--base", "quick"], "recipe must be one of fast"),
        (["--trials", 1, "--metric", "p"], "metric must be one or more of"),
    ):
        done = lshsample("search", files[0], "--save", tmp_path / "new", *more)
        assert done.returncode == 2
        assert named in done.stderr
