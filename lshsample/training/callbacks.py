"""Callbacks of a run: a progress bar, early stopping, and the base class of custom ones."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column

from lshsample import specs
from lshsample.errors import ArgumentError
from lshsample.nn.network import StepReport
from lshsample.training.history import EpochRecord, Evaluation, History

if TYPE_CHECKING:
    from lshsample.training.trainer import Trainer

__all__ = ["Callback", "EarlyStop", "ProgressBar", "tell_progress"]

_BARS = "▁▂▃▄▅▆▇█"


class Callback:
    """Base class of callbacks: override the methods that are needed.

    Examples
    --------
    >>> class PrintLoss(Callback):
    ...     def on_epoch(self, record):
    ...         print(record.epoch, round(record.loss, 2))
    ...         return False
    """

    #: Compute the hit rate at every ``hits_every``-th step (0: never), at a few percent of the step's cost.
    hits_every: int = 0
    #: Whether a run without validation data is refused, before its first step.
    needs_validation: bool = False

    def on_start(self, trainer: Trainer, steps_done: int, steps_total: int | None) -> None:
        """Called before the first step.

        Parameters
        ----------
        trainer : Trainer
            The trainer of the run.
        steps_done : int
            Steps done before, if the run is continued.
        steps_total : int or None
            Total number of steps; None if the batch source does not know it.
        """

    def on_step(self, step: int, report: StepReport, milliseconds: float) -> bool | None:
        """Called after each step; True ends the run.

        Parameters
        ----------
        step : int
            Number of the step, from 1.
        report : StepReport
            The step's ``loss``, ``active`` and, if requested by ``hits_every``, ``hits``.
        milliseconds : float
            Duration of the step.
        """

    def on_evaluation(self, evaluation: Evaluation) -> bool | None:
        """Called after each evaluation, of a sample between steps or of all validation data after an epoch;
        True ends the run. The history keeps them as its ``curve``.
        """

    def on_epoch(self, record: EpochRecord) -> bool | None:
        """Called after each epoch and its validation; True ends the run. The history keeps ``record``."""

    def on_progress(self, what: str, done: int, total: int) -> None:
        """Called while the run does something else than steps, at its start, during it and at its end.

        Parameters
        ----------
        what : str
            Such as ``"evaluating"`` or ``"writing the checkpoint"``.
        done, total : int
            How much of it is done, and all of it.
        """

    def on_interrupt(self, name: str) -> None:
        """Called at once with the name of a signal that will end the run, inside of the signal handler."""

    def on_end(self, history: History) -> None:
        """Called after the last step, whatever ended the run, but not after an exception."""

    def close(self) -> None:
        """Called at the end in any case, also after an exception."""


def tell_progress(callbacks: Sequence[Callback], what: str, done: int, total: int) -> None:
    """Call :meth:`Callback.on_progress` of each callback."""
    for callback in callbacks:
        callback.on_progress(what, done, total)


@attrs.define
class EarlyStop(Callback):
    """Ends the run when a metric on the validation data has not improved for some epochs.

    If a run is continued, the epochs before count too.

    Attributes
    ----------
    patience : int
        Epochs without a new best value.
    measure : str
        ``"p@1"``, ``"p@3"`` or ``"p@5"``.
    target : float, optional
        End the run as soon as the metric reaches this value, in percent.
    """

    patience: int = attrs.field(default=2, validator=specs.integer(1))
    measure: str = attrs.field(default="p@1", validator=specs.one_of("p@1", "p@3", "p@5"))
    target: float | None = attrs.field(
        default=None, validator=attrs.validators.optional(specs.number(0, 100))
    )
    _best: float = attrs.field(default=float("-inf"), init=False)
    _since: int = attrs.field(default=0, init=False)

    needs_validation = True

    def on_start(self, trainer: Trainer, steps_done: int, steps_total: int | None) -> None:
        """Start from the epochs that the run has recorded."""
        self._best, self._since = float("-inf"), 0
        for record in trainer.state.records:
            if self.measure in record.validation:
                self.on_epoch(record)

    def on_epoch(self, record: EpochRecord) -> bool:
        """Compare with the best value so far."""
        if self.measure not in record.validation:
            wanted = f"data to measure {self.measure}, as EarlyStop needs it"
            raise ArgumentError("validation", "no validation data", wanted)
        value = record.validation[self.measure]
        self._since = 0 if value > self._best else self._since + 1
        self._best = max(value, self._best)
        return self._since >= self.patience or (self.target is not None and value >= self.target)


class ProgressBar(Callback):
    """A bar with step time, active-set size, loss and P@1, on a terminal; elsewhere nothing is shown.

    P@1 is that of the last evaluation, with its moment and the curve up to there (from 0 to the best value,
    at ten moments of equal distance); before the first one, that of the training batches among their active
    units (marked ``~``).

    Parameters
    ----------
    console : rich.console.Console, optional
        Where the bar is drawn; standard error by default.
    """

    hits_every = 16

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._loss = self._milliseconds = 0.0
        self._p1, self._words = "-", "preparing the first step"
        self._curve: list[Evaluation] = []

    def on_start(self, trainer: Trainer, steps_done: int, steps_total: int | None) -> None:
        """Show the bar."""
        self._total = steps_total
        self._state, self._curve = trainer.state, list(trainer.state.curve)
        columns = (
            SpinnerColumn(),
            TextColumn("{task.completed:.0f}" + ("" if steps_total is None else "/{task.total:.0f}")),
            BarColumn(),
            # On a narrow terminal the bar and the end of the words are shortened, not the times.
            TimeElapsedColumn(table_column=Column(min_width=7)),
            TimeRemainingColumn(table_column=Column(min_width=7)),
            TextColumn("{task.description}"),
        )
        self._bar = Progress(
            *columns, console=self._console, refresh_per_second=4, disable=not self._console.is_terminal
        )
        self._task = self._bar.add_task(self._words, total=steps_total, completed=steps_done)
        self._bar.start()

    def on_step(self, step: int, report: StepReport, milliseconds: float) -> None:
        """Advance the bar; step time and loss are running means."""
        assert self._bar is not None
        weight = 0.05 if self._milliseconds else 1.0
        self._milliseconds += weight * (milliseconds - self._milliseconds)
        self._loss += weight * (report.loss - self._loss)
        if report.hits is not None and not self._curve:
            self._p1 = f"~{100 * report.hits:.1f}"
        self._words = f"{self._milliseconds:.1f} ms/step  active {report.active:.0f}  loss {self._loss:.3f}"
        if report.exchanged:
            self._words += f"  {report.exchanged / 1e3:.0f} KB/worker"
        self._bar.update(self._task, completed=step, description=f"{self._words}  P@1 {self._p1}")
        if self._total is not None and self._state.progress:
            self._bar.update(self._task, total=max(step, self._state.step / self._state.progress))

    def on_evaluation(self, evaluation: Evaluation) -> None:
        """Show P@1 against the training time."""
        assert self._bar is not None
        self._curve.append(evaluation)
        self._p1 = f"{evaluation.validation['p@1']:.2f} at {evaluation.seconds:.1f} s {_bars(self._curve)}"
        self._bar.update(self._task, description=f"{self._words}  P@1 {self._p1}")

    def on_progress(self, what: str, done: int, total: int) -> None:
        """Show what is done between steps."""
        assert self._bar is not None
        share = f" {100 * done // max(total, 1)} %" if total > 1 else ""
        words = f"{self._words}  P@1 {self._p1}" if done == total else what + share
        self._bar.update(self._task, description=words)

    def close(self) -> None:
        """Leave the finished bar on the screen."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _bars(curve: Sequence[Evaluation], width: int = 10) -> str:
    """P@1 at moments of equal distance up to the last evaluation, as one character each."""
    seconds = [one.seconds for one in curve]
    values = [one.validation["p@1"] for one in curve]
    best = max(values) or 1.0
    shown = []
    for i in range(1, width + 1):
        known = bisect_right(seconds, seconds[-1] * i / width)
        shown.append(_BARS[round(values[known - 1] / best * (len(_BARS) - 1))] if known else " ")
    return "".join(shown)
