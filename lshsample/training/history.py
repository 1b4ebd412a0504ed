"""The history of a run: a record for each epoch, and totals."""

from __future__ import annotations

import statistics
from typing import Any

import attrs

from lshsample import memory

__all__ = ["EpochRecord", "History", "peak_rss_mib"]


def peak_rss_mib() -> float:
    """Peak resident memory of this process so far, in MiB."""
    return memory.peak_bytes() / 2**20


@attrs.frozen
class EpochRecord:
    """The results of one epoch.

    Attributes
    ----------
    epoch : int
        Number of the epoch, from 1.
    step : int
        Steps done at its end.
    seconds : float
        Training time so far: steps and table builds, but not validation and checkpoints.
    loss : float
        Mean loss of the epoch's steps.
    active : float
        Mean number of last-layer units computed for a row.
    validation : dict
        ``"p@1"``, ``"p@3"``, ``"p@5"`` on the validation data, in percent; empty without validation data.
    """

    epoch: int
    step: int
    seconds: float
    loss: float
    active: float
    validation: dict[str, float] = attrs.field(factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The record as plain data, with the validation's metrics at the top level."""
        data = attrs.asdict(self)
        return {**data, **data.pop("validation")} | {"p@1": self.validation.get("p@1")}


@attrs.frozen
class History:
    """The results of a run.

    Attributes
    ----------
    epochs : tuple of EpochRecord
        The finished epochs.
    steps : int
        Steps done.
    seconds : float
        Training time.
    step_ms : tuple of float
        Duration of each step in milliseconds.
    active_mean : float
        Mean number of last-layer units computed for a row.
    peak_rss_mib : float
        Peak resident memory of the process in MiB.
    stopped : str
        Why the run ended: ``"finished"``, ``"max_seconds"``, ``"callback"``, ``"SIGINT"`` or ``"SIGTERM"``.
    """

    epochs: tuple[EpochRecord, ...]
    steps: int
    seconds: float
    step_ms: tuple[float, ...] = attrs.field(repr=False)
    active_mean: float
    peak_rss_mib: float
    stopped: str

    @property
    def step_ms_median(self) -> float:
        """Median duration of a step in milliseconds; 0 if there was none."""
        return statistics.median(self.step_ms) if self.step_ms else 0.0

    def to_dict(self) -> dict[str, Any]:
        """The history as plain data, with the keys of the command line's JSON."""
        return {
            "epochs": [record.to_dict() for record in self.epochs],
            "steps": self.steps,
            "train_seconds": self.seconds,
            "step_ms_median": self.step_ms_median,
            "active_mean": self.active_mean,
            "peak_rss_mib": self.peak_rss_mib,
            "stopped": self.stopped,
        }
