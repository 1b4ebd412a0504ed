"""How steps scale, with slopes: ``python tools/plot_scale.py docs/scale.json docs/scale.svg``.

Needs matplotlib (``pip install 'lshsample[plots]'``). The JSON is what ``benchmarks/scale.py`` writes: a list
of measurements, each of one point of an axis in one turn. Of each point the picture has the least processor
time of a step over all turns, and the least memory that the network added. The slopes, which are printed too,
as a table, are those of straight lines through the logarithms; those of labels begin at 100,000.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["plot", "points", "slope", "table"]

_NAMES = {
    "labels": "labels",
    "features": "features",
    "active": "active units besides labels",
    "hidden": "width",
    "batch": "rows in a batch",
    "threads": "threads",
}
#: Where the line of an axis begins, if not at its first point.
_FROM = {"labels": 100_000}


def points(runs: list[dict[str, Any]], axis: str) -> list[tuple[int, float, float]]:
    """(size, milliseconds of a step, megabytes that the network added) of an axis: the least of all turns."""
    found: dict[int, list[dict[str, Any]]] = {}
    for one in runs:
        if one["axis"] == axis:
            found.setdefault(one["point"][axis], []).append(one)
    return [
        (
            size,
            1e3 * min(min(one["processor_seconds"]) for one in turns),
            min(one["peak_bytes"] - one["base_bytes"] for one in turns) / 1e6,
        )
        for size, turns in sorted(found.items())
    ]


def slope(sizes: list[float], values: list[float]) -> float:
    """The slope of the line of least squares through the logarithms."""
    x, y = [math.log(one) for one in sizes], [math.log(one) for one in values]
    middle, level = sum(x) / len(x), sum(y) / len(y)
    over = sum((a - middle) * (b - level) for a, b in zip(x, y, strict=True))
    return over / sum((a - middle) ** 2 for a in x)


def lines(runs: list[dict[str, Any]]) -> Iterator[tuple[str, list[tuple[int, float, float]], float, float]]:
    """(axis, points, slope of time, slope of memory) of each axis that was measured."""
    for axis in _NAMES:
        found = points(runs, axis)
        kept = [one for one in found if one[0] >= _FROM.get(axis, 0)]
        if len(kept) > 1:
            sizes = [float(one[0]) for one in kept]
            yield axis, found, slope(sizes, [one[1] for one in kept]), slope(sizes, [one[2] for one in kept])


def table(runs: list[dict[str, Any]]) -> str:
    """The points and slopes, in Markdown."""
    out = ["| axis | sizes | ms of a step | slope | MB added | slope |", "|---|---|---|---|---|---|"]
    for axis, found, time, memory in lines(runs):
        sizes = " / ".join(f"{one[0]:,}" for one in found)
        each = " / ".join(f"{one[1]:.1f}" for one in found)
        added = " / ".join(f"{one[2]:,.0f}" for one in found)
        out.append(f"| {_NAMES[axis]} | {sizes} | {each} | {time:.2f} | {added} | {memory:.2f} |")
    return "\n".join(out)


def short(size: int) -> str:
    """A number in thousands or millions."""
    for unit, name in ((1_000_000, "M"), (1_000, "k")):
        if size >= unit:
            return f"{size / unit:g}{name}"
    return str(size)


def plot(runs: list[dict[str, Any]], path: Path) -> None:
    """Write the picture, in the format of the file extension."""
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator

    with mpl.rc_context({"svg.hashsalt": "lshsample"}):
        measured = list(lines(runs))
        across = 3
        figure = Figure(figsize=(10, 3.1 * -(-len(measured) // across)), layout="constrained")
        axes = figure.subplots(-(-len(measured) // across), across, squeeze=False).ravel()
        for axis, (name, found, time, memory) in zip(axes, measured, strict=False):
            sizes, each, added = zip(*found, strict=True)
            (drawn,) = axis.loglog(sizes, each, "o-", color="tab:blue", label="time of a step")
            axis.set_xlabel(_NAMES[name])
            axis.set_title(f"slopes: {time:.2f} of time, {memory:.2f} of memory", fontsize="medium")
            axis.set_xticks(sizes, [short(size) for size in sizes])
            axis.set_ylim(min(each) / 3, max(each) * 3)
            other = axis.twinx()
            (also,) = other.loglog(sizes, added, "s--", color="tab:orange", label="memory")
            other.set_ylim(min(added) / 3, max(added) * 3)
            for values in (axis.yaxis, other.yaxis):
                values.set_major_locator(LogLocator(subs=(1, 2, 5)))
                values.set_major_formatter("{x:g}")
            for marks in (axis.xaxis, axis.yaxis, other.yaxis):
                marks.set_minor_locator(NullLocator())
            axis.set_ylabel("ms of the processor")
            other.set_ylabel("MB")
        for axis in axes[len(measured) :]:
            axis.remove()
        figure.legend(handles=[drawn, also], loc="outside lower center", ncols=2)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else {})


if __name__ == "__main__":
    read = json.loads(Path(sys.argv[1]).read_text())
    plot(read, Path(sys.argv[2]))
    print(table(read))
