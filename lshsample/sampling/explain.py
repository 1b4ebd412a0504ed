"""What each stage did to one query's set: how many ids came and went, why, and with which probability."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from lshsample._native.sample import Drawn
from lshsample.sampling.stages import AtLeast, Cap, Fill, Frequency, Full, Include, Retrieve, Top, Uniform
from lshsample.sampling.stages.exact_top import ExactTop

if TYPE_CHECKING:
    from rich.table import Table

    from lshsample.sampling.active_set import ActiveSet
    from lshsample.sampling.stage import Batch, Stage

__all__ = ["Explanation", "StageReport", "explain_stages"]


@attrs.frozen(kw_only=True)
class StageReport:
    """What one stage did.

    Attributes
    ----------
    stage : str
        The stage, as text.
    came, went, left : int
        Ids that it joined, that it dropped, and that the set holds after it.
    reason : str
        Why they came or went.
    lowest, highest : float or None
        The ends of the probabilities, given the tables, of the ids that the set holds; None if it is empty.
    lawful : bool
        Whether every item could be in the set after this stage, given the tables.
    """

    stage: str
    came: int
    went: int
    left: int
    reason: str
    lowest: float | None
    highest: float | None
    lawful: bool


@attrs.frozen(eq=False, kw_only=True)
class Explanation:
    """How one query's active set came about; ``str`` of it is a table.

    Attributes
    ----------
    stages : tuple of StageReport
        Stage by stage.
    active : ActiveSet
        What came out.
    """

    stages: tuple[StageReport, ...]
    active: ActiveSet

    def table(self) -> Table:
        """The stages as a rich table."""
        from rich.table import Table

        out = Table("stage", "came", "went", "left", "probability", "why")
        for report in self.stages:
            out.add_row(
                report.stage,
                f"+{report.came:,}",
                f"-{report.went:,}",
                f"{report.left:,}",
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
    return span if report.lawful else f"{span}; others 0"


def _why(stage: Stage, batch: Batch, before: int, after: Drawn) -> str:
    """The reason for what a stage of ours does, in words; a stage of one's own decides by itself."""
    if isinstance(stage, Retrieve):
        state = stage.state(batch)
        probes = stage.probes_of(state)
        each = after.counts.sum() / (state.n_tables * batch.n_queries)
        until = f", in random order until {stage.budget:,} ids" if stage.budget else ""
        return (
            f"share a bucket with the query: {state.n_tables} tables x {probes} buckets{until}, "
            f"{each:.1f} ids a table"
        )
    words: dict[type, Callable[[Any], str]] = {
        AtLeast: lambda s: f"collided fewer than {s.m} times",
        Top: lambda s: f"collided less often than the best {s.k:,}",
        Cap: lambda s: (
            f"dropped by a uniform draw that keeps {s.k:,} of {before:,}"
            if before > s.k
            else f"nothing to drop: there is room for {s.k:,}"
        ),
        Include: lambda s: "named by the caller",
        Uniform: lambda s: f"{s.n:,} of {batch.n_items:,} drawn uniformly",
        Fill: lambda s: f"drawn uniformly from outside, up to {s.k:,} ids",
        Frequency: lambda s: f"{s.n:,} draws in proportion to frequency",
        ExactTop: lambda s: f"the {s.k:,} largest inner products",
        Full: lambda s: "every item",
    }
    return words[type(stage)](stage) if type(stage) in words else "as this stage decides"


def explain_stages(stages: Sequence[Stage], batch: Batch, parts: Sequence[Drawn]) -> tuple[StageReport, ...]:
    """Reports of each stage, from what the first 1, 2, ... stages draw."""
    reports, ids = [], np.empty(0, np.int32)
    for stage, drawn in zip(stages, parts, strict=True):
        chance = np.exp(drawn.log_inclusion.astype(np.float64))
        kept = np.intersect1d(ids, drawn.ids, assume_unique=True)
        reports.append(
            StageReport(
                stage=str(stage),
                came=len(drawn.ids) - len(kept),
                went=len(ids) - len(kept),
                left=len(drawn.ids),
                reason=_why(stage, batch, len(ids), drawn),
                lowest=float(chance.min()) if len(chance) else None,
                highest=float(chance.max()) if len(chance) else None,
                lawful=bool(np.all(drawn.lawless < 0)),
            )
        )
        ids = drawn.ids
    return tuple(reports)
