"""A run on streamed rows that is killed and continued, as the benchmark does it at a large size."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lshsample.xc import Classifier

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "streaming.py"


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="memory is measured on Linux alone")
def test_a_killed_run_gives_the_same_bits_with_any_number_of_parsers(tmp_path: Path) -> None:
    words = {"size": "3M", "files": 4, "labels": 40, "kills": 2, "threads": 1, "features": 5000, "hidden": 16}
    words |= {"batch": 8, "window": 2, "checkpoint-seconds": 0.05}
    line = [sys.executable, SCRIPT, tmp_path, "--parsers", 0, 2, 1]
    for name, value in words.items():
        line += [f"--{name}", value]
    done = subprocess.run(list(map(str, line)), capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["same_bits"]
    assert len(result["killed_at"]) == 2
    assert 0 < result["killed_at"][0] < result["steps"]
    model = Classifier.load(tmp_path / "killed")
    assert model.names is not None
    assert len(model.predict_texts(["word1 word2 word3"], 3)[0]) == 3
