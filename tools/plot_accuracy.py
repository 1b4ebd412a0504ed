"""A picture of accuracy against time, beside others: ``python tools/plot_accuracy.py runs.json out.svg``.

Needs matplotlib (``pip install 'lshsample[plots]'``). The JSON is a list of data sets, each with the runs
that were measured on one machine::

    [{"data": "bibtex", "runs": [{"name": "lshsample fast", "seconds": 3.1, "p@1": 62.9, "own": true}, ...]}]

``seconds`` is the training time, ``p@1`` the precision on the test set in percent, and ``own`` marks this
package. Runs of one name are joined by a line.
"""

from __future__ import annotations

import json
import sys
from itertools import groupby
from pathlib import Path
from typing import Any

__all__ = ["plot"]


#: The least points of P@1 from the lower to the upper end of an axis.
_SPAN = 5


def draw(one: dict[str, Any], axis: Any) -> None:
    """The runs of a data set: a line for each name, bold for this package."""
    from matplotlib.ticker import LogLocator, NullLocator

    runs = sorted(one["runs"], key=lambda run: (run["name"], run["seconds"]))
    for name, same in groupby(runs, key=lambda run: run["name"]):
        points = list(same)
        own = points[0].get("own", False)
        axis.plot(
            [run["seconds"] for run in points],
            [run["p@1"] for run in points],
            "o-" if own else "s--",
            linewidth=2 if own else 1,
            label=name,
        )
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_locator(NullLocator())
    # Small differences are to look small.
    middle = sum(axis.get_ylim()) / 2
    if axis.get_ylim()[1] - middle < _SPAN / 2:
        axis.set_ylim(middle - _SPAN / 2, middle + _SPAN / 2)
    axis.set_title(one["data"])
    axis.set_xlabel("training time, seconds")


def plot(sets: list[dict[str, Any]], path: Path) -> None:
    """Write the picture, in the format of the file extension."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "lshsample"}):
        figure = Figure(figsize=(4 * len(sets), 3.4), layout="constrained")
        axes = figure.subplots(1, len(sets), squeeze=False)[0]
        for one, axis in zip(sets, axes, strict=True):
            draw(one, axis)
        axes[0].set_ylabel("P@1, percent")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=9)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else {})


if __name__ == "__main__":
    plot(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
