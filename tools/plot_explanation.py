"""The plot of an explanation in docs/samplers.md: ``python tools/plot_explanation.py docs/explain.svg``.

Needs matplotlib (``pip install 'lshsample[plots]'``). The data are random with a fixed seed, so that the plot
is the same on every machine.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

import lshsample as ls

__all__ = ["draw", "explained", "plot"]


def explained() -> Any:
    """The explanation of a query near one of 20,000 clustered items in 20 tables."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((400, 32))
    items = (centres[rng.integers(0, 400, 20_000)] + 0.6 * rng.standard_normal((20_000, 32))).astype(
        np.float32
    )
    family = ls.make_family("simhash", dim=32, n_hashes=11, n_tables=20, seed=0)
    tables = ls.HashTables(family).build(items)
    pipeline = ls.parse_pipeline("Retrieve() | AtLeast(2) | Cap(30) | Uniform(40)")
    return pipeline.bind(tables=tables).explain(items[:1])


def draw(explanation: Any, axes: Any) -> None:
    """Bars of the ids in the set and of those removed, and the range of their probabilities."""
    at = range(len(explanation.stages))
    axes[0].barh(at, [report.size for report in explanation.stages], label="in the set")
    axes[0].barh(at, [-report.removed for report in explanation.stages], label="removed")
    axes[0].set_yticks(at, [report.stage for report in explanation.stages])
    axes[0].set_xlabel("ids")
    axes[0].legend()
    for place, report in enumerate(explanation.stages):
        axes[1].plot([report.lowest, report.highest], [place, place], "o-", color="tab:blue")
    axes[1].set_xscale("log")
    axes[1].set_xlabel("inclusion probability, conditional on the tables")
    axes[0].invert_yaxis()  # the first stage on top


def plot(path: Path) -> None:
    """Write the plot, in the format of the file extension."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "lshsample"}):
        figure = Figure(figsize=(8, 3), layout="constrained")
        draw(explained(), figure.subplots(1, 2, sharey=True))
        metadata = {"Date": None} if path.suffix == ".svg" else {}
        figure.savefig(path, metadata=metadata)


if __name__ == "__main__":
    plot(Path(sys.argv[1]))
