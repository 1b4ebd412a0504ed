"""The effect of each stage on one query's set: ids added and removed, why, and their probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from lshsample.display import html_table, span
from lshsample.sampling.active_set import ActiveSet
from lshsample.sampling.contract import ask
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


@attrs.frozen(eq=False, kw_only=True, repr=False)
class Explanation:
    """The stages that made one query's active set; ``str`` gives a table of plain text.

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
        from rich.text import Text

        out = Table(*_HEADER)
        for cells in self._cells():
            out.add_row(*map(Text, cells))  # no markup: the text of a stage may have brackets
        return out

    def _cells(self) -> list[tuple[str, ...]]:
        return [
            (r.stage, f"+{r.added:,}", f"-{r.removed:,}", f"{r.size:,}", _probabilities(r), r.reason)
            for r in self.stages
        ]

    def to_dict(self) -> dict[str, Any]:
        """The stages as plain data."""
        return {"stages": [attrs.asdict(report) for report in self.stages], "ids": self.active.ids.tolist()}

    def __str__(self) -> str:
        from rich.console import Console

        # The same text whatever the terminal is, and whatever the environment says about colours.
        text = StringIO()
        Console(file=text, width=120, force_terminal=False, color_system=None).print(self.table())
        return text.getvalue()

    def __repr__(self) -> str:
        stages = " | ".join(report.stage for report in self.stages)
        sizes = " -> ".join(f"{report.size:,}" for report in self.stages)
        return f"Explanation({stages}: {sizes} ids of {self.active.n_items:,} items)"

    def _repr_html_(self) -> str:
        return html_table(f"{self.active.n_items:,} items", _HEADER, self._cells())


_HEADER = ("stage", "added", "removed", "size", "probability", "why")


def _probabilities(report: StageReport) -> str:
    if report.lowest is None or report.highest is None:
        return "-"
    shown = span([report.lowest, report.highest], ".3g")
    return shown if report.every_item_possible else f"{shown}; others 0"


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
                reason=ask(stage, "reason", len(ids), drawn, run.batch, kind=str),
                lowest=float(chance.min()) if len(chance) else None,
                highest=float(chance.max()) if len(chance) else None,
                every_item_possible=biased_by is None,
            )
        )
        ids = drawn.ids
    return tuple(reports)
