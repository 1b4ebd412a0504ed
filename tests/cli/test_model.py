"""Train, evaluate, predict and explain, one after another on one model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lshsample.data import read_xc

Files = tuple[Path, Path]


def test_train_evaluate_predict(lshsample: Any, small: list[object], files: Files, tmp_path: Path) -> None:
    train, test = files
    result_file, run = tmp_path / "train.json", tmp_path / "run"
    done = lshsample(
        "train", train, "--test", test, *small, "--save", run, "--json", result_file, "--threads", 2
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(result_file.read_text())
    expected = {
        "p@1",
        "p@3",
        "p@5",
        "train_seconds",
        "step_ms_median",
        "steps",
        "peak_rss_mib",
        "active_mean",
    }
    expected |= {"n_parameters", "seed", "threads", "isa", "version", "epochs"}
    assert expected <= result.keys()
    assert result["p@1"] > 90
    assert len(result["epochs"]) == 12
    assert {"seconds", "loss", "p@1"} <= result["epochs"][0].keys()
    assert result["steps"] == 12 * 16
    assert "P@1" in done.stdout

    evaluated = tmp_path / "evaluate.json"
    assert lshsample("evaluate", run, test, "--json", evaluated).returncode == 0
    measured = json.loads(evaluated.read_text())
    assert measured["p@1"] == pytest.approx(result["p@1"])
    assert expected <= measured.keys()
    assert measured["epochs"] == result["epochs"]

    written = tmp_path / "predicted.txt"
    assert lshsample("predict", run, test, "--top", 3, "--output", written).returncode == 0
    lines = written.read_text().splitlines()
    truth = read_xc(test).y
    assert len(lines) == 100
    first = [int(line.split(":")[0]) for line in lines]
    hits = [label in truth.indices[truth.indptr[i] : truth.indptr[i + 1]] for i, label in enumerate(first)]
    assert 100 * np.mean(hits) == pytest.approx(result["p@1"])
    assert lshsample("predict", run, test, "--top", 3).stdout.splitlines() == lines
    sampled = lshsample("predict", run, test, "--mode", "sampled")
    assert sampled.returncode == 0, sampled.stderr
    assert len(sampled.stdout.splitlines()) == 100

    found = ["--mode", "sampled", "--family", "cross-polytope:dimension=2"]
    found += ["--sampler", "Retrieve(probes=4)"]
    served = lshsample("evaluate", run, test, *found, "--n-tables", 30, "--json", tmp_path / "served.json")
    assert served.returncode == 0, served.stderr
    assert json.loads((tmp_path / "served.json").read_text())["p@1"] == pytest.approx(result["p@1"], abs=5)
    for change, words in (
        (["--mode", "exact"], "--family"),
        (["--family", "nothing"], "--family"),
        (["--family", "simhash:windows=3"], "windows"),
        (["--sampler", "Retriev()"], "Retriev"),
    ):
        refused = lshsample("predict", run, test, *found, *change)
        assert refused.returncode == 2, refused.stderr
        assert words in refused.stderr
    refused = lshsample("evaluate", run, test, "--mode", "sampled", "--sampler", "Retrieve(probes=2)")
    assert refused.returncode == 2
    assert "--sampler" in refused.stderr

    explained = lshsample("explain", run, test, "--row", 3, "--json", tmp_path / "explain.json")
    assert explained.returncode == 0, explained.stderr
    assert "Retrieve()" in explained.stdout
    stages = json.loads((tmp_path / "explain.json").read_text())["stages"]
    assert sum(stage["added"] - stage["removed"] for stage in stages) == stages[-1]["size"] > 0
    beyond = lshsample("explain", run, test, "--row", 100)
    assert beyond.returncode == 2
    assert "--row" in beyond.stderr
