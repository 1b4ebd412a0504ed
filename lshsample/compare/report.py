"""Comparisons as tables, plain data and plots."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
from rich.table import Table

from lshsample.compare.measure import Figures
from lshsample.errors import UnsupportedError

__all__ = ["best_by_label", "comparison_table", "plain", "retrieval_table", "write_plots"]

_RECALL = "recall of the true top 10"


def best_by_label(figures: Sequence[Figures], budget: int) -> dict[str, Figures]:
    """For each contender the code length with the best recall within a budget; of equal ones the faster."""
    best: dict[str, Figures] = {}
    for one in figures:
        now = best.get(one.label)
        if now is None or _rank(one, budget) > _rank(now, budget):
            best[one.label] = one
    return best


def _rank(one: Figures, budget: int) -> tuple[float, float]:
    point = next(point for point in one.points if point.budget == budget)
    return point.recall, -point.query_seconds


def comparison_table(figures: Sequence[Figures]) -> Table:
    """A row for each contender: the best recall at each budget, and the costs.

    The K of each recall is in parentheses; costs are those of the K that is best at the middle budget. Rows
    are ordered by recall at the middle budget.
    """
    budgets = [point.budget for point in figures[0].points]
    middle = figures[0].middle.budget
    best = {budget: best_by_label(figures, budget) for budget in budgets}
    title = "recall of the true top 10 by number of candidates (with the best number of hashes K)"
    table = Table(title=title)
    for heading in ("family", *(f"{budget:,}" for budget in budgets)):
        table.add_column(heading, no_wrap=True)
    for heading in ("retrieved", "us/query", "us/hash", "build s", "MB", "error"):
        table.add_column(heading, justify="right", no_wrap=True)
    order = sorted(best[middle].values(), key=lambda one: -one.middle.recall)
    for one in order:
        cells = []
        for budget in budgets:
            chosen = best[budget][one.label]
            recall = next(point.recall for point in chosen.points if point.budget == budget)
            cells.append(f"{recall:.3f}" + (f" ({chosen.spec['n_hashes']})" if chosen.spec else ""))
        table.add_row(one.label, *cells, *_costs(one))
    return table


def retrieval_table(figures: Sequence[Figures]) -> Table:
    """Recall and number of ids of the tables without ranking, for each code length."""
    lengths = sorted({one.code_bits for one in figures if one.spec})
    table = Table(title="recall of all retrieved ids (number of ids), by code length in bits")
    for heading in ("family", *map(str, lengths)):
        table.add_column(heading, no_wrap=True)
    for label in dict.fromkeys(one.label for one in figures if one.spec):
        mine = {one.code_bits: one for one in figures if one.label == label}
        table.add_row(label, *(_retrieved(mine[n]) if n in mine else "" for n in lengths))
    return table


def _retrieved(one: Figures) -> str:
    count = f"{one.retrieved:.0f}" if one.retrieved < 1000 else f"{one.retrieved / 1000:.1f}k"
    return f"{one.retrieved_recall:.3f} ({count})"


def _costs(one: Figures) -> list[str]:
    seconds = f"{one.middle.query_seconds * 1e6:,.0f}"
    if not one.spec:
        return ["", seconds, "", "", "", f"{one.estimator_error:.3f}"]
    return [
        f"{one.retrieved:,.0f}",
        seconds,
        f"{one.hash_seconds * 1e6 / one.n_items:,.2f}",
        f"{one.build_seconds:.3f}",
        f"{one.memory_bytes / 2**20:.1f}",
        f"{one.estimator_error:.3f}",
    ]


def plain(figures: Sequence[Figures]) -> list[dict[str, Any]]:
    """Figures as plain data for JSON."""
    return [attrs.asdict(one) for one in figures]


def write_plots(figures: Sequence[Figures], folder: Path) -> list[Path]:
    """Plots of recall against time, recall against candidates, and memory, as PNG files.

    Raises
    ------
    UnsupportedError
        matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UnsupportedError(f"plots need matplotlib: pip install 'lshsample[plots]' ({error})") from error
    folder.mkdir(parents=True, exist_ok=True)
    draw: dict[str, Callable[[Any, Sequence[Figures]], None]] = {
        "recall-time.png": _recall_against_time,
        "recall-candidates.png": _recall_against_candidates,
        "memory.png": _memory,
    }
    for name, plot in draw.items():
        figure = Figure(figsize=(11, 5), layout="constrained")
        FigureCanvasAgg(figure)
        plot(figure.subplots(), figures)
        # The legend is beside the axes, since long labels would cover the curves.
        figure.legend(fontsize="small", loc="outside right upper")
        figure.savefig(folder / name, dpi=120)
    return [folder / name for name in draw]


def _labels(figures: Sequence[Figures]) -> list[str]:
    return list(dict.fromkeys(one.label for one in figures))


def _style(number: int) -> dict[str, str]:
    """A colour and a marker, different for the first forty numbers."""
    return {"color": f"C{number % 10}", "marker": "osD^"[number // 10 % 4]}


def _recall_against_time(axes: Any, figures: Sequence[Figures]) -> None:
    """A dot for each code length and budget; the line is the Pareto front of the contender."""
    for number, label in enumerate(_labels(figures)):
        mine = [point for one in figures if one.label == label for point in one.points]
        points = [(point.query_seconds * 1e6, point.recall) for point in mine]
        front: list[tuple[float, float]] = []
        for point in sorted(points):
            if not front or point[1] > front[-1][1]:
                front.append(point)
        axes.plot(*zip(*front, strict=True), label=label, markersize=4, **_style(number))
        axes.plot(*zip(*points, strict=True), ".", color=f"C{number % 10}", alpha=0.3)
    axes.set(xscale="log", xlabel="microseconds per query", ylabel=_RECALL)
    axes.set_title("dots: each code length and budget; lines: Pareto front", fontsize="small")


def _recall_against_candidates(axes: Any, figures: Sequence[Figures]) -> None:
    """The best code length at each budget; crosses are all retrieved ids, without ranking."""
    budgets = [point.budget for point in figures[0].points]
    for number, label in enumerate(_labels(figures)):
        points = [point for one in figures if one.label == label for point in one.points]
        best = [max(point.recall for point in points if point.budget == budget) for budget in budgets]
        axes.plot(budgets, best, label=label, markersize=4, **_style(number))
        for one in (one for one in figures if one.label == label and one.spec):
            axes.plot(max(one.retrieved, 1), one.retrieved_recall, "x", color=f"C{number % 10}", markersize=4)
    axes.set(xscale="log", xlabel="candidates per query", ylabel=_RECALL)
    axes.set_title("lines: best code length; crosses: all retrieved ids, without ranking", fontsize="small")


def _memory(axes: Any, figures: Sequence[Figures]) -> None:
    """Memory of the tables against recall at the middle budget, for each code length."""
    for number, label in enumerate(_labels(figures)):  # numbers, hence colours, of the other plots
        mine = sorted(
            (one for one in figures if one.label == label and one.spec), key=lambda one: one.code_bits
        )
        points = [(one.memory_bytes / 2**20, one.middle.recall) for one in mine]
        if points:
            axes.plot(*zip(*points, strict=True), label=label, markersize=4, **_style(number))
    middle = f"{figures[0].middle.budget:,}"
    axes.set(xlabel="MB of tables", ylabel=f"{_RECALL} within {middle} candidates")
    axes.set_xlim(0, 1.05 * axes.get_xlim()[1])
    axes.set_title("points: code lengths", fontsize="small")
