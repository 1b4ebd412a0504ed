"""The reliability diagram: how often labels are right, by the probability that they were given."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lshsample.compare.plots import require_matplotlib
from lshsample.data import atomic_file
from lshsample.errors import ArgumentError
from lshsample.metrics import Calibration

__all__ = ["check_plot", "write_reliability"]

_FORMATS = ("png", "svg", "pdf")
_BAR, _LINE = "#0072B2", "#4D4D4D"


def check_plot(argument: str, path: Path) -> None:
    """Refuse a plot early that cannot be drawn.

    Raises
    ------
    ArgumentError
        The name of the file ends in another way than with a known format.
    UnsupportedError
        matplotlib is not installed.
    """
    if path.suffix[1:].lower() not in _FORMATS:
        raise ArgumentError(argument, path, f"a file whose name ends with .{', .'.join(_FORMATS)}")
    require_matplotlib()


def write_reliability(measured: Calibration, path: Path) -> None:
    """Draw the bins of a calibration; above, how often a bin is right, below, how many labels are in it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, sharex=True, height_ratios=[3, 1])
    n_bins, used = len(measured.count), measured.count > 0
    middles = (np.arange(n_bins) + 0.5) / n_bins
    upper.plot([0, 1], [0, 1], color=_LINE, linestyle="--", linewidth=1, label="calibrated")
    upper.plot(measured.probability[used], measured.right[used], "o-", color=_BAR, label="measured")
    upper.set_ylabel("share that is right")
    upper.set_title(f"expected calibration error {100 * measured.error:.2f} %")
    upper.legend(loc="upper left", frameon=False)
    lower.bar(middles, measured.count, width=0.9 / n_bins, color=_BAR)
    lower.set_yscale("log")
    lower.set_ylabel("labels")
    lower.set_xlabel("probability")
    for axes in (upper, lower):
        axes.grid(alpha=0.3)
        axes.set_xlim(0, 1)
    kind = path.suffix[1:].lower()
    with atomic_file(path) as file:
        figure.savefig(file, format=kind, dpi=120)
