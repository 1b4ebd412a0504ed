"""Deaths, full disks, damage and pairs of processes, in the short form of ``tools/check_saved_files.py``."""

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "check_saved_files.py"


@pytest.mark.parametrize("part", ["deaths", "full-disk", "interrupts", "damage", "pairs", "readers"])
def test_saved_files_survive(part):
    done = subprocess.run(
        [sys.executable, str(TOOL), "--short", part], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
