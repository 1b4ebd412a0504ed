"""The benchmarks run, at small sizes, and the rows of a group are of the same amount of work."""

import collections
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

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
    assert missing <= {"bench_peers.py", "bench_serve.py", "bench_scaffold.py"}, "these need more than a run"
