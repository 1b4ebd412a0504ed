"""Comparisons as tables and plain data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
from rich import box
from rich.table import Table

from lshsample.compare.measure import Figures, Point

__all__ = ["best_by_label", "best_table", "front_table", "fronts", "pareto_front", "plain", "recall_table"]


def best_by_label(figures: Sequence[Figures], budget: int) -> dict[str, Figures]:
    """For each contender the run with the best recall within a budget; of equal ones the faster."""
    best: dict[str, Figures] = {}
    for one in figures:
        now = best.get(one.label)
        if now is None or _rank(one, budget) > _rank(now, budget):
            best[one.label] = one
    return best


def _rank(one: Figures, budget: int) -> tuple[float, float]:
    point = next(point for point in one.points if point.budget == budget)
    return point.recall, -point.query_seconds.median


def _table(title: str, caption: str | None = None) -> Table:
    """A table without vertical lines, so that the usual ones fit into 80 columns."""
    return Table(
        title=title, caption=caption, title_justify="left", caption_justify="left", box=box.SIMPLE_HEAD,
        collapse_padding=True, pad_edge=False,
    )  # fmt: skip


def recall_table(figures: Sequence[Figures], k: int) -> Table:
    """A row for each contender: the best recall within each budget, and K, L and probes of the best.

    Rows are ordered by recall at the middle budget.
    """
    budgets = [point.budget for point in figures[0].points]
    best = {budget: best_by_label(figures, budget) for budget in budgets}
    table = _table(f"recall@{k} by number of candidates, with the best K/L/probes")
    table.add_column("family", no_wrap=True)
    for budget in budgets:
        table.add_column(f"{budget:,}", no_wrap=True)
    middle = figures[0].middle.budget
    for one in sorted(best[middle].values(), key=lambda one: -one.middle.recall):
        cells = []
        for budget in budgets:
            chosen = best[budget][one.label]
            recall = next(point.recall for point in chosen.points if point.budget == budget)
            cells.append(f"{recall:.3f} {_shape(chosen)}".rstrip())
        table.add_row(one.label, *cells)
    return table


def _shape(one: Figures) -> str:
    probes = f"/{one.n_probes}" if one.n_probes > 1 else ""
    return "" if one.is_baseline else f"{one.n_hashes}/{one.n_tables}{probes}"


def best_table(figures: Sequence[Figures], k: int) -> Table:
    """A row for each contender: costs of the run that is best at the middle budget."""
    budget = figures[0].middle.budget
    has_error = any(one.estimator_error is not None for one in figures)
    table = _table(f"costs of the run with the best recall@{k} within {budget:,} candidates")
    table.add_column("family", no_wrap=True)
    headings = ["queries/s", "build s", "us/hash", "index MiB", "retrieved"]
    for heading in headings + ["error"] * has_error:
        table.add_column(heading, justify="right", no_wrap=True)
    for one in sorted(best_by_label(figures, budget).values(), key=lambda one: -one.middle.recall):
        error = "" if one.estimator_error is None else f"{one.estimator_error:.3f}"
        rate = f"{one.middle.queries_per_second:,.0f}"
        table.add_row(one.label, rate, *_costs(one), *[error] * has_error)
    return table


def _costs(one: Figures) -> list[str]:
    if one.build_seconds is None or one.hash_seconds is None:
        return [""] * 4
    return [
        f"{one.build_seconds.median:.3f}",
        f"{one.hash_seconds.median * 1e6 / one.n_items:,.2f}",
        f"{one.index_bytes / 2**20:.1f}",
        f"{one.retrieved:,.0f}",
    ]


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """The numbers of the points that no other point excels: the first value small, the second large.

    Ordered by the first value. Of equal points the first is kept.

    Examples
    --------
    >>> pareto_front([(3, 0.9), (1, 0.5), (2, 0.4), (4, 0.9)])
    [1, 0]
    """
    front: list[int] = []
    for number in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if not front or points[number][1] > points[front[-1]][1]:
            front.append(number)
    return front


#: The costs that recall is weighed against, and the letter of each in the table of fronts.
COSTS: dict[str, Callable[[Figures, Point], float]] = {
    "q": lambda one, point: point.query_seconds.median,
    "b": lambda one, point: one.build_seconds.median if one.build_seconds else 0.0,
    "s": lambda one, point: one.index_bytes,
}


def fronts(figures: Sequence[Figures]) -> list[tuple[Figures, Point, str]]:
    """The points on a Pareto front of recall against a cost, over all families, and which fronts.

    The fronts are named by letters: q for time per query, b for build time, s for index size. Points are
    ordered by recall, the largest first. Baselines are left out: they have no tables.
    """
    points = [(one, point) for one in figures if not one.is_baseline for point in one.points]
    on: dict[int, str] = {}
    for letter, cost in COSTS.items():
        for number in pareto_front([(cost(*pair), pair[1].recall) for pair in points]):
            on[number] = on.get(number, "") + letter
    order = sorted(on, key=lambda i: (-points[i][1].recall, points[i][1].query_seconds.median))
    return [(*points[i], on[i]) for i in order]


def front_table(figures: Sequence[Figures], k: int) -> Table:
    """The points of :func:`fronts`, each with its settings and costs."""
    table = _table(
        f"Pareto fronts of recall@{k} over all families",
        "on the front against: q time per query, b build time, s index size",
    )
    table.add_column("family", no_wrap=True)
    headings = ("K/L", "candidates", f"recall@{k}", "queries/s", "build s", "MiB")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("on", no_wrap=True)
    for one, point, letters in fronts(figures):
        assert one.build_seconds is not None
        table.add_row(
            one.label,
            _shape(one),
            f"{point.candidates:,.0f}",
            f"{point.recall:.3f}",
            f"{point.queries_per_second:,.0f}",
            f"{one.build_seconds.median:.3f}",
            f"{one.index_bytes / 2**20:.1f}",
            letters,
        )
    return table


def plain(figures: Sequence[Figures]) -> list[dict[str, Any]]:
    """Figures as plain data for JSON."""
    found = []
    for one in figures:
        data = attrs.asdict(one)
        for point, own in zip(data["points"], one.points, strict=True):
            point["queries_per_second"] = own.queries_per_second
        found.append(data)
    return found
