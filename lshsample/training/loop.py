"""One run of steps, from wherever the trainer's state stands."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample.errors import ArgumentError, DivergenceError
from lshsample.nn import inference
from lshsample.nn.batches import Rows
from lshsample.nn.network import StepReport
from lshsample.nn.signals import Run, Signal, take_rows
from lshsample.training.checkpoint import write_checkpoint
from lshsample.training.history import History
from lshsample.training.interrupts import Interrupts
from lshsample.training.run_state import TrainingData

if TYPE_CHECKING:
    from lshsample.training.trainer import Trainer

__all__ = ["Loop", "Validation", "epoch_order"]


@attrs.frozen(eq=False)
class Validation:
    """Checked rows and labels that are measured after each epoch."""

    rows: Rows
    labels: sp.csr_array


def epoch_order(used: npt.NDArray[np.int64], seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """The order of an epoch's rows: a function of (seed, epoch) alone, so that any epoch can be entered
    anywhere.
    """
    return np.random.Generator(np.random.Philox(key=np.array([seed, epoch], np.uint64))).permutation(used)


class Loop:
    """Steps until the run ends.

    Parameters
    ----------
    trainer : Trainer
        Network, settings, state, callbacks.
    data : TrainingData
        Checked data.
    validation : Validation or None
        Checked data to measure on.
    """

    def __init__(self, trainer: Trainer, data: TrainingData, validation: Validation | None) -> None:
        self.trainer, self.data, self.validation = trainer, data, validation
        self.network, self.settings, self.state = trainer.network, trainer.settings, trainer.state
        self.steps_per_epoch = -(-len(data.used) // self.settings.batch_size)
        self.total = self.steps_per_epoch * self.settings.epochs
        self._saved_at, self._saved_step = self.state.seconds, (-1, -1)
        wishes = [callback.hits_every for callback in trainer.callbacks if callback.hits_every]
        self._hits_every = min(wishes, default=0)

    def run(self) -> History:
        """Run, and write a checkpoint at the end where the trainer has a place for it."""
        try:
            for callback in self.trainer.callbacks:
                callback.on_start(self.trainer, self.state.step, self.total)
            with Interrupts() as interrupts:
                stopped = self._epochs(interrupts)
                try:
                    for layer in self.network.sampled_layers:
                        layer.active.settle()
                finally:
                    self._save()
            history = self.state.history(stopped)
            for callback in self.trainer.callbacks:
                callback.on_end(history)
        finally:
            for callback in self.trainer.callbacks:
                callback.close()
        return history

    def _epochs(self, interrupts: Interrupts) -> str:
        """Epochs until the end; returns why it ended."""
        stopped = None
        while not stopped and self.state.epoch < self.settings.epochs:
            order = epoch_order(self.data.used, self.settings.seed, self.state.epoch)
            while not stopped and self.state.position < self.steps_per_epoch:
                stopped = self._step(order) or interrupts.received
            if self.state.position == self.steps_per_epoch:
                stopped = self._end_epoch() or stopped
        return stopped if stopped and self.state.epoch < self.settings.epochs else "finished"

    def _step(self, order: npt.NDArray[np.int64]) -> str | None:
        """One step; returns why the run should end, if it should."""
        state, settings = self.state, self.settings
        start = state.position * settings.batch_size
        number = state.step + 1
        began = time.perf_counter()
        batch = order[start : start + settings.batch_size]
        x, y = self.data.rows.take(batch), take_rows(self.data.labels, batch)
        run = Run(self.trainer.threads, settings.seed, number, training=True, sampled=True, targets=y)
        rate = settings.lr * settings.schedule.factor(number, self.total)
        hits = bool(self._hits_every) and number % self._hits_every == 0
        report = self._train_step(x, y, rate, run, hits)
        state.add(report, time.perf_counter() - began)
        if state.seconds - self._saved_at >= self.trainer.checkpoint_seconds:
            self._save()
        # Every callback is told, whatever the others say.
        wishes = [
            callback.on_step(state.step, report, state.step_ms[-1]) for callback in self.trainer.callbacks
        ]
        if any(wishes):
            return "callback"
        return "max_seconds" if state.seconds >= self.trainer.max_seconds else None

    def _train_step(self, x: Signal, y: sp.csr_array, rate: float, run: Run, hits: bool) -> StepReport:
        """One step of the network; numbers that left the finite ones are told as what they are."""
        advice = (
            f"training diverged; a smaller lr (now {self.settings.lr}) or a warm-up helps. "
            "The last checkpoint, if any, is kept"
        )
        try:
            report = self.network.train_step(x, y, self.settings.optimizer, rate, run, hits)
        except ArgumentError as error:
            # The data were checked: what a layer hands to its sampler can only be wrong by its weights.
            if error.argument not in ("queries", "vectors"):
                raise
            raise DivergenceError(f"step {run.step}: a layer's {error}: {advice}") from error
        if not math.isfinite(report.loss):
            raise DivergenceError(f"the loss of step {run.step} is {report.loss}: {advice}")
        return report

    def _end_epoch(self) -> str | None:
        """Validate, record, tell the callbacks."""
        measured: dict[str, float] = {}
        if self.validation is not None:
            rows, labels = self.validation.rows, self.validation.labels
            measured = inference.evaluate(
                self.network, rows, labels, None, "exact", 1024, self.trainer.threads
            )
        record = self.state.end_epoch(measured)
        wishes = [callback.on_epoch(record) for callback in self.trainer.callbacks]
        return "callback" if any(wishes) else None

    def _save(self) -> None:
        """Write a checkpoint, unless this very state was written."""
        state = self.state
        if self.trainer.checkpoint is None or self._saved_step == (state.step, state.epoch):
            return
        write_checkpoint(self.trainer.checkpoint, self.network, self.settings, state)
        self._saved_at, self._saved_step = state.seconds, (state.step, state.epoch)
