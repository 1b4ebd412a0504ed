"""The history of a run: a record for each epoch, and totals."""

from __future__ import annotations

import statistics
from typing import Any

import attrs

from lshsample import memory

__all__ = ["EpochRecord", "Evaluation", "History", "peak_rss_mib"]


def peak_rss_mib() -> float:
    """Peak resident memory of this process so far, in MiB."""
    return memory.peak_bytes() / 2**20


@attrs.frozen
class Evaluation:
    """The accuracy of the network at a moment of a run.

    Attributes
    ----------
    step : int
        Steps done.
    seconds : float
        Training time so far, as in :class:`EpochRecord`.
    rows : int
        Rows that were evaluated: a sample of the validation data between steps, all of them after an epoch.
    validation : dict
        ``"p@1"``, ``"p@3"``, ``"p@5"`` on these rows, in percent.
    """

    step: int
    seconds: float
    rows: int
    validation: dict[str, float]

    def line(self, steps: int | None = None, name: str = "validation") -> str:
        """The evaluation as a line of a log.

        Examples
        --------
        >>> Evaluation(231, 1.04, 1000, {"p@1": 58.291}).line(1540, "test")
        'step 231/1540  test P@1 58.29 of 1,000 rows  1.0 s'
        """
        step = f"step {self.step}" + ("" if steps is None else f"/{steps}")
        measure = f"{name} P@1 {self.validation['p@1']:.2f} of {self.rows:,} rows"
        return f"{step}  {measure}  {self.seconds:.1f} s"

    def to_dict(self) -> dict[str, Any]:
        """The evaluation as plain data, with its metrics at the top level."""
        data = attrs.asdict(self)
        return {**data, **data.pop("validation")}


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

    def line(self, epochs: int, steps: int | None = None, name: str = "validation") -> str:
        """The record as a line of a log.

        Parameters
        ----------
        epochs, steps : int
            Totals of the run; without the number of steps no remaining time is told.
        name : str
            What the validation data are called.

        Examples
        --------
        >>> EpochRecord(3, 231, 1.04, 2.8213, 300.0, {"p@1": 58.291}).line(20, 1540, "test")
        'epoch 3/20  step 231/1540  loss 2.82  test P@1 58.29  1.0 s  left 6 s'
        """
        parts = [f"epoch {self.epoch}/{epochs}", f"step {self.step}", f"loss {self.loss:.3g}"]
        if "p@1" in self.validation:
            parts.append(f"{name} P@1 {self.validation['p@1']:.2f}")
        parts.append(f"{self.seconds:.1f} s")
        if steps is not None:
            parts[1] += f"/{steps}"
            parts.append(f"left {self.seconds * (steps - self.step) / self.step:.0f} s")
        return "  ".join(parts)

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
        Why the run ended: ``"finished"``, ``"patience"``, ``"max_seconds"``, ``"callback"``, or the name of
        a signal: ``"SIGINT"``, ``"SIGTERM"``, ``"SIGHUP"``.
    rate_factors : tuple of float
        The factor of the learning rate at each step of a run with ``max_seconds``, which depends on timing:
        ``Trainer(..., repeat=history.rate_factors)`` repeats the run. Empty for other runs; without the first
        steps, if the run was continued with ``max_seconds`` but begun without.
    curve : tuple of Evaluation
        The accuracy against the training time: evaluations between steps, of a sample of the validation data,
        and those of the epochs. Empty without validation data.
    """

    epochs: tuple[EpochRecord, ...]
    steps: int
    seconds: float
    step_ms: tuple[float, ...] = attrs.field(repr=False)
    active_mean: float
    peak_rss_mib: float
    stopped: str
    rate_factors: tuple[float, ...] = attrs.field(default=(), repr=False, kw_only=True)
    curve: tuple[Evaluation, ...] = attrs.field(default=(), repr=False, kw_only=True)

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
            "rate_factors": list(self.rate_factors),
            "curve": [evaluation.to_dict() for evaluation in self.curve],
        }
