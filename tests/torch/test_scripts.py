"""The scripts over PyTorch run, at small sizes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.mark.parametrize(
    ("script", "options", "named"),
    [
        (
            "torch_device.py",
            "--no-tests --items 900 --dim 8 --hashes 5 --tables 3 --batch 4 --active 90 --rounds 1",
            11,
        ),
        ("torch_attention.py", "--keys 5000 --queries 2", 12),
        ("torch_baselines.py", "--seconds 0.02 --classes 300 --rows 800 --rates 0.01", 21),
    ],
)
def test_a_script_runs(script, options, named):
    line = [sys.executable, str(BENCHMARKS / script), *options.split()]
    done = subprocess.run(line, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    rows = [text for text in done.stdout.splitlines() if " ms  (" in text or text.startswith("| ")]
    assert len([row for row in rows if "P@1" not in row and "times faster" not in row]) == named
