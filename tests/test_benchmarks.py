"""The benchmarks run, at small sizes, and the rows of a group are of the same amount of work."""

import collections
import gzip
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


def test_every_benchmark_runs_at_a_small_size(tmp_path):
    if importlib.util.find_spec("pytest_benchmark") is None:
        pytest.skip("pytest-benchmark is not installed: pip install 'lshsample[bench]'")
    result = tmp_path / "result.json"
    line = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--smoke"]
    done = subprocess.run(
        [*line, "--benchmark-json", result, BENCHMARKS],
        capture_output=True, text=True, timeout=300, check=False, cwd=BENCHMARKS.parent,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    runs = json.loads(result.read_text())["benchmarks"]
    amounts = collections.defaultdict(set)
    for one in runs:
        extra, name = one["extra_info"], one["fullname"]
        assert one["group"], f"{name} has no group, so it is ranked with all others that have none"
        assert {"cpu", "isa", "threads", "versions"} <= set(extra["run"]), name
        for what in ("rows", "sets"):
            if what in extra:
                amounts[one["group"], what].add(extra[what])
    assert amounts
    assert all(len(found) == 1 for found in amounts.values()), dict(amounts)
    covered = {one["fullname"].split("::")[0].split("/")[-1] for one in runs}
    missing = {script.name for script in BENCHMARKS.glob("bench_*.py")} - covered
    needy = {"bench_peers.py", "bench_serve.py", "bench_scaffold.py", "bench_torch.py"}
    assert missing <= needy, "these need more than a run"


def test_the_comparison_of_samplers_runs_continues_and_reports(tmp_path):
    pytest.importorskip("matplotlib")
    rng, lines = np.random.default_rng(0), ["80 30 60"]
    for _ in range(80):
        features = " ".join(f"{i}:1" for i in rng.permutation(30)[:5])
        lines.append(f"{rng.integers(40)},{rng.integers(40, 60)} {features}")
    folder, runs, moments = tmp_path / "small", tmp_path / "runs.jsonl", tmp_path / "gradients.jsonl"
    folder.mkdir()
    with gzip.open(folder / "train.txt.gz", "wt") as file:
        file.write("\n".join([*lines, ""]))

    def compare(*words):
        line = [sys.executable, BENCHMARKS / "compare_samplers.py", *map(str, words)]
        done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    small = [folder, "--active", 5, 20, "--hidden", 8, "--epochs", 2]
    few = ["--samplers", "learned", "frequency", "midx", "full"]
    compare("train", *small, *few, "--out", runs, "--seeds", 0)
    assert len(runs.read_text().splitlines()) == 3 * 2 + 1
    assert compare("train", *small, *few, "--out", runs, "--seeds", 0) == ""
    by_name = {
        (one["sampler"], one["n_active"]): one for one in map(json.loads, runs.read_text().splitlines())
    }
    assert by_name["full", 60]["active"] == 60
    assert by_name["midx", 5]["active"] < by_name["midx", 20]["active"]
    few = ["--samplers", "lsh", "uniform"]
    compare(
        "gradients", *small, *few, "--out", moments, "--draws", 60, "--batch", 8, "--active-set", "sample"
    )
    for one in map(json.loads, moments.read_text().splitlines()):
        if one["importance"] == "auto" and one["n_active"] == 20:
            assert one["bias_last"] < 0.4 * one["std_last"] < 2, one["key"]
    table = compare("report", "--runs", runs, "--gradients", moments, "--into", tmp_path / "plots")
    assert "small, batch: 80 rows, 2 epochs, 1 seeds" in table
    assert (tmp_path / "plots" / "where-lsh-pays-batch.svg").exists()


def test_the_comparison_of_precisions_runs_and_continues(tmp_path):
    rng, folder, runs = np.random.default_rng(0), tmp_path / "small", tmp_path / "runs.jsonl"
    folder.mkdir()
    for part in ("train", "test"):
        lines = ["60 30 20", *(f"{rng.integers(20)} {rng.integers(30)}:1" for _ in range(60))]
        with gzip.open(folder / f"{part}.txt.gz", "wt") as file:
            file.write("\n".join([*lines, ""]))
    line = [sys.executable, BENCHMARKS / "compare_precisions.py", folder, "--epochs", "1", "--seeds", "1"]
    for precisions in ("float32", "float32,int4"):
        done = subprocess.run(
            [*line, "--precisions", precisions, "--out", runs],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    sizes = [json.loads(one)["parameter_bytes"] for one in runs.read_text().splitlines()]
    assert len(sizes) == 2
    assert sizes[1] < sizes[0] / 2
    assert len(done.stdout.splitlines()) == 2
