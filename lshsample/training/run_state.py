"""The state of a run between two steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Self

import attrs

from lshsample import specs
from lshsample.errors import ArgumentError
from lshsample.nn.network import StepReport
from lshsample.training.history import EpochRecord, Evaluation, History, peak_rss_mib

__all__ = ["RunState"]

#: The measure by which the best epoch is chosen.
MEASURE = "p@1"


def _measure(record: EpochRecord) -> float:
    return record.validation[MEASURE]


@attrs.define
class RunState:
    """The state of a run that a checkpoint holds besides weights and tables.

    Attributes
    ----------
    step, epoch, position : int
        Steps done, epochs done, steps done in the current epoch.
    seconds : float
        Training time so far, in seconds.
    epoch_loss, epoch_active : float
        Sums over the steps of the current epoch.
    active : float
        Sum of the active-set sizes over all steps.
    records : list of EpochRecord
        The finished epochs.
    step_ms : list of float
        Duration of each step in milliseconds.
    data : list of int
        Fingerprint of the training data; empty before the first step with checkpoints.
    source : dict
        Position of the batch source in the current epoch; empty between epochs.
    patience : int
        Epochs without a new best value after which the run ends; 0 if the best epoch is not kept.
    best_epoch : int
        The epoch with the best validation, from 1; 0 before the first one.
    max_seconds : float
        Training time of the run, in seconds; 0 for no limit.
    out_of_time : bool
        Whether the run has ended by its time, or after the last step of the run that it repeats.
    progress, time_share : float
        In a run with a limit of time: how far it was, from 0 to 1, before its last step; the share of its
        steps for which there is time.
    rate_factors : list of float
        The factor of the learning rate at each step of a run with a limit of time, or of one that repeats it.
    curve : list of Evaluation
        The evaluations of the run.
    curve_seconds : float
        The time that those between steps took, which is not training time.
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
    patience: int = 0
    best_epoch: int = 0
    max_seconds: float = 0.0
    out_of_time: bool = False
    progress: float = 0.0
    time_share: float = 1.0
    rate_factors: list[float] = attrs.field(factory=list)
    curve: list[Evaluation] = attrs.field(factory=list)
    curve_seconds: float = 0.0

    @property
    def out_of_patience(self) -> bool:
        """Whether the validation has not improved for ``patience`` epochs."""
        return 0 < self.patience <= self.epoch - self.best_epoch

    def is_done(self, epochs: int) -> bool:
        """Whether a run of this number of epochs has ended, and is not to be continued."""
        return self.epoch >= epochs or self.out_of_patience or self.out_of_time

    def add(self, report: StepReport, seconds: float) -> None:
        """Add a step that is done."""
        self.step += 1
        self.position += 1
        self.seconds += seconds
        self.epoch_loss += report.loss
        self.epoch_active += report.active
        self.active += report.active
        self.step_ms.append(1e3 * seconds)

    def begin_epoch(self) -> None:
        """Reset the sums of the current epoch."""
        self.position, self.epoch_loss, self.epoch_active, self.source = 0, 0.0, 0.0, {}

    def end_epoch(self, validation: dict[str, float]) -> EpochRecord:
        """Finish the current epoch and return its record."""
        n = max(self.position, 1)
        record = EpochRecord(
            self.epoch + 1, self.step, self.seconds, self.epoch_loss / n, self.epoch_active / n, validation
        )
        self.records.append(record)
        self.epoch += 1
        if self.patience and (
            not self.best_epoch or _measure(record) > _measure(self.records[self.best_epoch - 1])
        ):
            self.best_epoch = self.epoch
        self.begin_epoch()
        return record

    def history(self, stopped: str) -> History:
        """The totals so far."""
        mean = self.active / max(self.step, 1)
        return History(
            tuple(self.records), self.step, self.seconds, tuple(self.step_ms), mean, peak_rss_mib(), stopped,
            rate_factors=tuple(self.rate_factors), curve=tuple(self.curve),
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """The state as plain data, without the step times and the rates."""
        return attrs.asdict(self, filter=lambda field, _: field.name not in ("step_ms", "rate_factors"))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """A state from plain data.

        Raises
        ------
        ArgumentError
            A field is missing, unknown or of another type, or no run has such a state.
        """
        if not isinstance(data, Mapping) or not isinstance(data.get("source"), Mapping):
            raise ArgumentError("state", f"{data!r:.100}", "a mapping with the state of the batch source")
        state = specs.structured(cls, {key: value for key, value in data.items() if key != "source"})
        state.source = dict(data["source"])
        for name in ("step", "epoch", "position", "patience", "best_epoch"):
            specs.checked_integer(name, getattr(state, name), 0, 2**63 - 1)
        for name in ("seconds", "max_seconds", "curve_seconds"):
            if not 0 <= getattr(state, name) < math.inf:
                raise ArgumentError(name, getattr(state, name), "a finite number of at least 0")
        if not (0 <= state.progress <= 1 and 0 < state.time_share <= 1):
            given = f"progress {state.progress}, time_share {state.time_share}"
            raise ArgumentError("state", given, "shares of a run")
        if not all(MEASURE in one.validation for one in state.curve):
            raise ArgumentError("curve", "evaluations", f"evaluations with {MEASURE}")
        if len(state.records) != state.epoch or state.position > state.step:
            given = f"{len(state.records)} records, {state.position} of {state.step} steps in this epoch"
            raise ArgumentError("state", given, f"that of a run in its epoch {state.epoch + 1}")
        best_is_known = state.best_epoch <= state.epoch and bool(state.patience and state.epoch) == bool(
            state.best_epoch
        )
        if not best_is_known or not all(MEASURE in one.validation for one in state.records if state.patience):
            given = f"best epoch {state.best_epoch} of {state.epoch}, patience {state.patience}"
            raise ArgumentError("state", given, "that of a run with or without patience")
        return state
