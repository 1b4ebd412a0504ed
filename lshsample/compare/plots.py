"""Plots of comparisons: recall against queries per second, candidates, index size and build time."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lshsample.compare.measure import Figures
from lshsample.compare.nearest import METRIC_NAMES
from lshsample.compare.report import pareto_front
from lshsample.errors import needs_extra

__all__ = ["require_matplotlib", "write_plots"]

XY = tuple[float, float]
#: The palette of Okabe and Ito (2008), which colour-blind readers tell apart, without its light yellow.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#4D4D4D")
_MARKERS = "osD^v<>pPX*hd8H"
_LINES = ("-", "--", "-.", ":")
#: Sizes of hollow markers: where families coincide, the markers are rings around each other.
_SIZES = (12.0, 9.5, 7.0, 5.0)
#: Series that differ by less everywhere, relative to the values, coincide for the eye.
_SAME = 0.02


def require_matplotlib() -> None:
    """Refuse plots early if they cannot be drawn.

    Raises
    ------
    UnsupportedError
        matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: F401
        from matplotlib.figure import Figure  # noqa: F401
    except ImportError as error:
        raise needs_extra("plotting", "plots", error) from error


def write_plots(
    figures: Sequence[Figures], workload: Mapping[str, Any], threads: int, folder: Path
) -> list[Path]:
    """Write the plots of a comparison as PNG files.

    Parameters
    ----------
    figures : sequence of Figures
        The measurements.
    workload : mapping
        The description of the workload (:func:`~lshsample.compare.environment.describe_workload`).
    threads : int
        The number of threads of the run.
    folder : Path
        The folder to write into; it is created if it does not exist.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    UnsupportedError
        matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    recall = f"recall@{workload['k']} (share of the {workload['k']} nearest items found)"
    draw: dict[str, Callable[[Any], None]] = {
        "recall-queries-per-second.png": functools.partial(_speed, figures=figures, recall=recall),
        "recall-candidates.png": functools.partial(_candidates, figures=figures, recall=recall),
        "recall-index-size.png": functools.partial(_index_size, figures=figures, recall=recall),
        "recall-build-time.png": functools.partial(_build_time, figures=figures, recall=recall),
    }
    for name, plot in draw.items():
        figure = Figure(figsize=(11, 6.5), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        plot(axes)
        for axis in (axes.xaxis, axes.yaxis):
            if axis.get_scale() == "log":
                _plain_log(axis)
        axes.grid(True, which="both", color="0.92", linewidth=0.6)
        axes.set_axisbelow(True)
        figure.suptitle(_title(figures, workload, threads), fontsize="medium")
        # The legend is beside the axes, since long labels would cover the curves.
        figure.legend(fontsize="small", loc="outside right upper", handlelength=3.5, labelspacing=0.9)
        figure.savefig(folder / name, dpi=120)
    return [folder / name for name in draw]


def _title(figures: Sequence[Figures], workload: Mapping[str, Any], threads: int) -> str:
    metric = METRIC_NAMES[workload["metric"]]
    shape = f"{workload['n_items']:,} items of {workload['dim']:,} columns"
    first = f"{workload['name']}: {shape}, {workload['n_queries']:,} queries, {metric}"
    tables = [one for one in figures if not one.is_baseline]
    ranges = {
        "K": _listed(one.n_hashes for one in tables),
        "L": _listed(one.n_tables for one in tables),
        "probes": _listed(one.n_probes for one in tables),
        "threads": str(threads),
    }
    return first + "\n" + ", ".join(f"{name} = {values}" for name, values in ranges.items() if values)


def _listed(values: Any) -> str:
    each = sorted(set(values))
    return ", ".join(map(str, each)) if len(each) <= 6 else f"{each[0]} to {each[-1]}"


def look(number: int) -> dict[str, Any]:
    """Colour, marker, line and size of a family; the first sixty differ even without colours."""
    colour = _COLOURS[number % len(_COLOURS)]
    return {
        "color": colour,
        "marker": _MARKERS[number % len(_MARKERS)],
        "linestyle": _LINES[number % len(_LINES)],
        "markersize": _SIZES[number % len(_SIZES)],
        "markerfacecolor": "none",
        "markeredgewidth": 1.5,
        "linewidth": 1.2,
    }


def coinciding(series: Mapping[str, Sequence[XY]]) -> dict[str, str]:
    """For each series that another one before it covers, the label of that one.

    Examples
    --------
    >>> coinciding({"a": [(1, 0.5)], "b": [(1.01, 0.5)], "c": [(2, 0.5)]})
    {'b': 'a'}
    """
    found: dict[str, str] = {}
    for label, points in series.items():
        for other in itertools.takewhile(lambda name, end=label: name != end, series):  # type: ignore[misc]
            if other not in found and _same(points, series[other]):
                found[label] = other
                break
    return found


def _same(a: Sequence[XY], b: Sequence[XY]) -> bool:
    return len(a) == len(b) > 0 and all(
        abs(v - w) <= _SAME * max(abs(v), abs(w))
        for p, q in zip(a, b, strict=True)
        for v, w in zip(p, q, strict=True)
    )


def _families(figures: Sequence[Figures]) -> list[str]:
    return list(dict.fromkeys(one.label for one in figures if not one.is_baseline))


def _draw(
    axes: Any,
    series: Mapping[str, Sequence[XY]],
    all_points: Mapping[str, Sequence[XY]],
    uniform: Sequence[XY] = (),
) -> None:
    """A curve for each family, with all its points as dots; families that coincide are named so."""
    known = {"uniform": uniform} if uniform else {}
    if uniform:
        axes.plot(*zip(*uniform, strict=True), "k:", marker=".", linewidth=1, label="uniform draw")
    same = coinciding({**known, **series})
    for number, (label, points) in enumerate(series.items()):
        style = look(number)
        shown = f"{label} (as {same[label]})" if label in same else label
        dots = all_points.get(label, ())
        if dots:
            axes.plot(
                *zip(*dots, strict=True), ".", color=style["color"], alpha=0.35, markersize=3, zorder=1.5
            )
        if points:
            axes.plot(*zip(*points, strict=True), label=shown, **style)


def _overall(axes: Any, points: Sequence[XY], front: Callable[[Sequence[XY]], list[XY]]) -> None:
    best = front(points)
    if best:
        axes.plot(
            *zip(*best, strict=True),
            color="0.75", linewidth=7, solid_capstyle="round", zorder=1, label="Pareto front of all families",
        )  # fmt: skip


def _cost_front(points: Sequence[XY]) -> list[XY]:
    """The Pareto front of (recall, cost) points, by recall."""
    turned = [(cost, recall) for recall, cost in points]
    return [(turned[i][1], turned[i][0]) for i in pareto_front(turned)]


def _rate_front(points: Sequence[XY]) -> list[XY]:
    """The Pareto front of (recall, queries per second) points, by recall."""
    front = _cost_front([(recall, 1 / rate) for recall, rate in points])
    return [(recall, 1 / cost) for recall, cost in front]


def _plain_log(axis: Any) -> None:
    """A logarithmic axis, with plain numbers at 1, 2 and 5 times the powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(NullFormatter())


def _speed(axes: Any, figures: Sequence[Figures], recall: str) -> None:
    """Each family's Pareto front of recall and queries per second, as in ann-benchmarks."""

    def rates(label: str) -> list[XY]:
        return [(p.recall, p.queries_per_second) for one in figures if one.label == label for p in one.points]

    points = {label: rates(label) for label in _families(figures)}
    _overall(axes, [each for one in points.values() for each in one], _rate_front)
    exact = _rate_front(rates("exact"))
    if exact:
        axes.axhline(exact[-1][1], color="k", linewidth=1, label="exact search (recall 1)")
    _draw(
        axes,
        {label: _rate_front(each) for label, each in points.items()},
        points,
        _rate_front(rates("uniform")),
    )
    axes.set(yscale="log", xlabel=recall, ylabel="queries per second (batch, without exact ranking)")
    axes.set_title(
        "up and right is better; lines: each family's Pareto front; dots: all its runs", fontsize="small"
    )


def _candidates(axes: Any, figures: Sequence[Figures], recall: str) -> None:
    """The best run within each budget; crosses are all retrieved ids, without ranking."""
    budgets = [point.budget for point in figures[0].points]

    def best(label: str) -> list[XY]:
        points = [point for one in figures if one.label == label for point in one.points]
        if not points:
            return []
        return [(b, max(point.recall for point in points if point.budget == b)) for b in budgets]

    exact = best("exact")
    if exact:
        axes.plot(*zip(*exact, strict=True), "k-", marker=".", linewidth=1, label="exact search")
    _draw(axes, {label: best(label) for label in _families(figures)}, {}, best("uniform"))
    for number, label in enumerate(_families(figures)):
        for one in (one for one in figures if one.label == label):
            place = max(one.retrieved, 1), one.retrieved_recall
            axes.plot(*place, "x", color=look(number)["color"], markersize=4, alpha=0.7)
    axes.plot([], [], "x", color="0.4", markersize=4, linestyle="none", label="all retrieved ids, unranked")
    axes.set(xscale="log", xlabel="candidates per query (ids with the most collisions)", ylabel=recall)
    axes.set_title("up and left is better; lines: the best K, L and probes at each number", fontsize="small")


def _against_cost(
    axes: Any, figures: Sequence[Figures], recall: str, cost: Callable[[Figures], float], axis: str
) -> None:
    budget = figures[0].middle.budget

    def costs(label: str) -> list[XY]:
        return [(one.middle.recall, cost(one)) for one in figures if one.label == label]

    points = {label: costs(label) for label in _families(figures)}
    _overall(axes, [each for one in points.values() for each in one], _cost_front)
    _draw(axes, {label: _cost_front(each) for label, each in points.items()}, points)
    axes.set(yscale="log", xlabel=f"{recall}, within {budget:,} candidates", ylabel=axis)
    axes.set_title(
        "down and right is better; lines: each family's Pareto front; dots: all its runs", fontsize="small"
    )


def _index_size(axes: Any, figures: Sequence[Figures], recall: str) -> None:
    _against_cost(axes, figures, recall, lambda one: one.index_bytes / 2**20, "index size (MiB of tables)")


def _build_time(axes: Any, figures: Sequence[Figures], recall: str) -> None:
    def seconds(one: Figures) -> float:
        return one.build_seconds.median if one.build_seconds else 0.0

    _against_cost(axes, figures, recall, seconds, "build time (seconds, hashing included)")
