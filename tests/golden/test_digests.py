"""Results have the same bits as those stored in ``digests.json``; ``digests.py`` compares them."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import lshsample
from lshsample._native import core

SCRIPT = Path(__file__).with_name("digests.py")
SECTIONS = ("kernels", "codes", "samples", "estimates", "tables", "models", "others")


@pytest.mark.parametrize("isa", core.available_isas())
@pytest.mark.parametrize("section", SECTIONS)
def test_no_bit_has_changed(section: str, isa: str) -> None:
    """All digests of the script, on one thread."""
    if section == "models":
        pytest.importorskip("simple_icd_10_cm", reason="the demo's texts are among the data")
    own = {"LSHSAMPLE_ISA": isa, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), "--here", "--check", "--section", "libraries", section]
    done = subprocess.run(command, env={**os.environ, **own}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    if " 0 compared" in done.stdout:
        pytest.skip(f"nothing of {section} can be compared: {done.stdout.strip()}")


def test_every_builtin_family_has_digests() -> None:
    """No built-in family is missing in the digests."""
    spec = importlib.util.spec_from_file_location("digests", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    digests = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(digests)
    builtin = {
        name for name, cls in lshsample.families().items() if cls.__module__.startswith("lshsample_families")
    }
    assert builtin == {name for name, _ in digests.FAMILIES.values()}
