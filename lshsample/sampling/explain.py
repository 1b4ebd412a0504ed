"""The effect of each stage on one query's set: ids added and removed, why, and their probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from lshsample.sampling.active_set import ActiveSet
from lshsample.sampling.evaluate import conditional_inclusion
from lshsample.sampling.run import Run

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Explanation", "StageReport", "explain_stages"]


@attrs.frozen(kw_only=True)
class StageReport:
    """The effect of one stage.

    Attributes
    ----------
    stage : str
        The stage, as text.
    added, removed, size : int
        Number of ids added and removed by the stage, and in the set after it.
    reason : str
        Why they were added or removed.
    lowest, highest : float or None
        Smallest and largest inclusion probability, given the tables, in the set; None if it is empty.
    every_item_possible : bool
        Whether every item has a positive probability to be in the set after this stage, given the tables.
    """

    stage: str
    added: int
    removed: int
    size: int
    reason: str
    lowest: float | None
    highest: float | None
    every_item_possible: bool


@attrs.frozen(eq=False, kw_only=True)
class Explanation:
    """The stages that made one query's active set; ``str`` gives a table.

    Attributes
    ----------
    stages : tuple of StageReport
        One report per stage, in order.
    active : ActiveSet
        The final set.
    """

    stages: tuple[StageReport, ...]
    active: ActiveSet

    def table(self) -> Table:
        """The stages as a rich table."""
        from rich.table import Table

        out = Table("stage", "added", "removed", "size", "probability", "why")
        for report in self.stages:
            out.add_row(
                report.stage,
                f"+{report.added:,}",
                f"-{report.removed:,}",
                f"{report.size:,}",
                _span(report),
                report.reason,
            )
        return out

    def to_dict(self) -> dict[str, Any]:
        """The stages as plain data."""
        return {"stages": [attrs.asdict(report) for report in self.stages], "ids": self.active.ids.tolist()}

    def __str__(self) -> str:
        from rich.console import Console

        console = Console(width=120, no_color=True)
        with console.capture() as capture:
            console.print(self.table())
        return capture.get()


def _span(report: StageReport) -> str:
    if report.lowest is None or report.highest is None:
        return "-"
    same = np.isclose(report.lowest, report.highest)
    span = f"{report.lowest:.3g}" if same else f"{report.lowest:.3g} to {report.highest:.3g}"
    return span if report.every_item_possible else f"{span}; others 0"


def explain_stages(runs: Sequence[Run]) -> tuple[StageReport, ...]:
    """A report of each stage, from runs of the first 1, 2, ... stages over one query."""
    reports, ids = [], np.empty(0, np.int32)
    for stage, run in zip(runs[0].pipeline, runs, strict=False):
        drawn = run.drawn
        logs, biased_by = conditional_inclusion(run)
        chance = np.exp(logs.astype(np.float64))
        kept = np.intersect1d(ids, drawn.ids, assume_unique=True)
        reports.append(
            StageReport(
                stage=str(stage),
                added=len(drawn.ids) - len(kept),
                removed=len(ids) - len(kept),
                size=len(drawn.ids),
                reason=stage.reason(len(ids), drawn, run.batch),
                lowest=float(chance.min()) if len(chance) else None,
                highest=float(chance.max()) if len(chance) else None,
                every_item_possible=biased_by is None,
            )
        )
        ids = drawn.ids
    return tuple(reports)
