"""Plots of comparisons."""

import sys

import pytest

from lshsample.compare import Figures
from lshsample.compare.measure import Point
from lshsample.compare.report import _style, write_plots
from lshsample.errors import UnsupportedError


def test_no_two_contenders_look_alike():
    looks = [tuple(_style(number).values()) for number in range(40)]
    assert len(set(looks)) == 40


def test_plots_without_matplotlib(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    point = Point(budget=10, candidates=10, recall=1.0, query_seconds=1e-6)
    one = Figures(
        label="a", n_items=9, spec={}, hash_seconds=0, build_seconds=0, memory_bytes=0,
        code_bits=0, retrieved=0, retrieved_recall=0, estimator_error=0,
        points=(point,),
    )  # fmt: skip
    with pytest.raises(UnsupportedError, match=r"lshsample\[plots\]"):
        write_plots([one], tmp_path)
