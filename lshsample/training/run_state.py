"""Where a run stands between two steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import attrs

from lshsample.nn.network import StepReport
from lshsample.training.history import EpochRecord, History, peak_rss_mb

__all__ = ["RunState"]


@attrs.define
class RunState:
    """What a checkpoint holds beside weights and tables.

    Attributes
    ----------
    step, epoch, position : int
        Steps done, epochs done, steps done in the epoch under way.
    seconds : float
        Training time so far.
    epoch_loss, epoch_active : float
        Sums over the steps of the epoch under way.
    active : float
        Sum of the active-set sizes over all steps.
    records : list of EpochRecord
        The finished epochs.
    step_ms : list of float
        Milliseconds of each step.
    data : list of int
        Fingerprint of the training data; empty before the first step with checkpoints.
    source : dict
        Position of the batch source in the epoch under way; empty where none is.
    """

    step: int = 0
    epoch: int = 0
    position: int = 0
    seconds: float = 0.0
    epoch_loss: float = 0.0
    epoch_active: float = 0.0
    active: float = 0.0
    records: list[EpochRecord] = attrs.field(factory=list)
    step_ms: list[float] = attrs.field(factory=list)
    data: list[int] = attrs.field(factory=list)
    source: dict[str, Any] = attrs.field(factory=dict)

    def add(self, report: StepReport, seconds: float) -> None:
        """Count a step that is done."""
        self.step += 1
        self.position += 1
        self.seconds += seconds
        self.epoch_loss += report.loss
        self.epoch_active += report.active
        self.active += report.active
        self.step_ms.append(1e3 * seconds)

    def begin_epoch(self) -> None:
        """Count the steps of an epoch from its first one."""
        self.position, self.epoch_loss, self.epoch_active, self.source = 0, 0.0, 0.0, {}

    def end_epoch(self, validation: dict[str, float]) -> EpochRecord:
        """Close the epoch under way."""
        n = max(self.position, 1)
        record = EpochRecord(
            self.epoch + 1, self.step, self.seconds, self.epoch_loss / n, self.epoch_active / n, validation
        )
        self.records.append(record)
        self.epoch += 1
        self.begin_epoch()
        return record

    def history(self, stopped: str) -> History:
        """The totals so far."""
        mean = self.active / max(self.step, 1)
        return History(
            tuple(self.records), self.step, self.seconds, tuple(self.step_ms), mean, peak_rss_mb(), stopped
        )

    def to_dict(self) -> dict[str, Any]:
        """The state as plain data, without the step times."""
        return attrs.asdict(self, filter=lambda field, _: field.name != "step_ms")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """A state from plain data."""
        return cls(**{**data, "records": [EpochRecord(**record) for record in data["records"]]})
