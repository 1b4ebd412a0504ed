"""The epochs of a run: its steps, the evaluations and callbacks between them, and its end."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from lshsample.errors import DivergenceError
from lshsample.nn.batches import Batch
from lshsample.nn.network import Network, StepReport
from lshsample.nn.signals import Run
from lshsample.training.batch_source import BatchSource
from lshsample.training.callbacks import tell_progress
from lshsample.training.history import EpochRecord, Evaluation, History
from lshsample.training.interrupts import Interrupts
from lshsample.training.pace import Pace
from lshsample.training.run_state import RunState
from lshsample.training.saving import BestWeights, Saves
from lshsample.training.settings import TrainingSettings
from lshsample.training.validation import Curve, Validation

if TYPE_CHECKING:
    from lshsample.training.trainer import Trainer

__all__ = ["Loop", "do_step"]

_log = logging.getLogger(__name__)
#: Least seconds of training between two lines of the log.
_LOG_EVERY = 10.0


class _Abandoned(Exception):
    """A signal arrived during the validation, which is done again when the run is continued."""


def do_step(
    network: Network,
    settings: TrainingSettings,
    state: RunState,
    batch: Batch,
    rate: float,
    *,
    threads: int,
    began: float,
    count_hits: bool = False,
) -> StepReport:
    """Do and count one step on a validated batch, which was begun at a time of ``time.perf_counter``."""
    number = state.step + 1
    run = Run(threads, settings.seed, number, training=True, sampled=True, targets=batch.y)
    try:
        report = network.train_step(batch.x, batch.y, settings.optimizer, rate, run, count_hits)
    except DivergenceError as error:
        raise DivergenceError(
            f"step {number}: {error}: training diverged; use a smaller lr (now {settings.lr}) or a "
            "warm-up. The last checkpoint, if any, is kept"
        ) from error
    state.add(report, time.perf_counter() - began)
    return report


class Loop:
    """One call of :meth:`Trainer.fit`: from the trainer's state to the end of the run.

    Parameters
    ----------
    trainer : Trainer
        The trainer, whose network and state change.
    source : BatchSource
        The batches.
    held_out : Validation or None
        What is evaluated after each epoch.
    pace : Pace
        The factors of the learning rate, and the end of the run.
    saves : Saves
        The checkpoints.
    best : BestWeights
        Keeps the weights of the best epoch.
    """

    def __init__(
        self,
        trainer: Trainer,
        source: BatchSource,
        held_out: Validation | None,
        pace: Pace,
        saves: Saves,
        best: BestWeights,
    ) -> None:
        self.trainer, self.source, self.held_out = trainer, source, held_out
        self.pace, self.saves, self.best = pace, saves, best
        self.network, self.settings, self.state = trainer.network, trainer.settings, trainer.state
        self.callbacks = trainer.callbacks
        intervals = [callback.hits_every for callback in self.callbacks if callback.hits_every]
        self._hits_every = min(intervals, default=0)
        self._curve, self._logged_at = self._made_curve(), self.state.seconds

    def run(self) -> History:
        """Run, and write a checkpoint at the end if there is a folder for it."""
        self.saves.begin(self.state)
        try:
            for callback in self.callbacks:
                callback.on_start(self.trainer, self.state.step, self.pace.expected_steps(self.state))
            with Interrupts(self._interrupted) as interrupts:
                stopped = self._epochs(interrupts)
                try:
                    for layer in self.network.layers:
                        layer.settle()
                finally:
                    self.saves.save(self.state)
            if self.state.is_done(self.settings.epochs):
                self.trainer.restore_best()
            _log.debug("the run has ended at step %d: %s", self.state.step, stopped)
            history = self.state.history(stopped)
            for callback in self.callbacks:
                callback.on_end(history)
        finally:
            for callback in self.callbacks:
                callback.close()
        return history

    def _made_curve(self) -> Curve | None:
        """What evaluates between steps; None if there is nothing to evaluate on."""
        rows = self.trainer.curve_rows
        if self.held_out is None or not rows:
            return None
        sample = self.held_out.sample(rows, self.settings.seed)
        if not sample.labels.nnz:
            return None
        return Curve(self.network, sample, self.settings.batch_size, self.trainer.threads)

    def _interrupted(self, name: str) -> None:
        for callback in self.callbacks:
            callback.on_interrupt(name)

    def _epochs(self, interrupts: Interrupts) -> str:
        """Run the epochs; returns why the run ended."""
        state, source, stopped = self.state, self.source, None
        while not stopped and not state.is_done(self.settings.epochs):
            if state.source:
                source.restore(state.source)
            else:
                state.begin_epoch()
                source.begin(state.epoch)
            ended = self._is_last_step()
            while not ended and not stopped:
                began = time.perf_counter()
                batch = source.next_batch()
                if batch is None:
                    break
                report = self._step(batch, began)
                stopped = self._after_step(report) or interrupts.received
                ended = self._is_last_step()
                if not ended:
                    stopped = stopped or self._evaluate_sample()
            if ended or not stopped:
                stopped = self._end_epoch(interrupts) or stopped
        if state.out_of_time:
            return self.pace.ends_as
        if state.epoch >= self.settings.epochs:
            return "finished"
        return "patience" if state.out_of_patience else stopped or "finished"

    def _is_last_step(self) -> bool:
        """Whether the epoch has had its last step, also because the run is over."""
        return self.pace.is_over(self.state) or self.state.position == self.source.steps_per_epoch

    def _step(self, batch: Batch | tuple[object, object], began: float) -> StepReport:
        checked = batch if isinstance(batch, Batch) else self.network.batch(*batch)
        number = self.state.step + 1
        factor = self.pace.factor(self.state, self.settings.schedule)
        hits = self._hits_every > 0 and number % self._hits_every == 0
        report = do_step(
            self.network, self.settings, self.state, checked, self.settings.lr * factor,
            threads=self.trainer.threads, began=began, count_hits=hits,
        )  # fmt: skip
        if self.pace.recorded:
            self.state.rate_factors.append(factor)
        self.state.source = self.source.state()
        return report

    def _after_step(self, report: StepReport) -> str | None:
        """Write a checkpoint if it is due, call the callbacks; returns why the run should end, or None."""
        state = self.state
        self.saves.save_if_due(state)
        # A list, so that all callbacks are called whatever the others return.
        ends = [callback.on_step(state.step, report, state.step_ms[-1]) for callback in self.callbacks]
        return "callback" if any(ends) else None

    def _evaluate_sample(self) -> str | None:
        """Add a point to the curve if it is due; returns why the run should end, or None."""
        point = self._curve.evaluate_if_due(self.state) if self._curve is not None else None
        if point is None:
            return None
        if point.seconds - self._logged_at >= _LOG_EVERY:
            self._logged_at = point.seconds
            _log.info("%s", point.line(self.pace.expected_steps(self.state), self.trainer.validation_name))
        return self._add_to_curve(point)

    def _add_to_curve(self, point: Evaluation) -> str | None:
        self.state.curve.append(point)
        ends = [callback.on_evaluation(point) for callback in self.callbacks]
        return "callback" if any(ends) else None

    def _end_epoch(self, interrupts: Interrupts) -> str | None:
        """Validate, record, keep the best weights, call the callbacks."""

        def progress(done: int, rows: int) -> None:
            tell_progress(self.callbacks, "evaluating", done, rows)
            if interrupts.received and done < rows:
                raise _Abandoned

        # Whether or not the weights are read here, so that a validation changes no bit of later ones.
        for layer in self.network.layers:
            layer.settle_weights()
        measured: dict[str, float] = {}
        held_out = self.held_out
        if held_out is not None:
            tell_progress(self.callbacks, "evaluating", 0, len(held_out))
            try:
                measured = self.network.evaluate(
                    held_out.rows, held_out.labels, threads=self.trainer.threads, progress=progress
                )
            except _Abandoned:
                return interrupts.received
        state = self.state
        is_over, is_whole = self.pace.is_over(state), state.position == self.source.steps_per_epoch
        record: EpochRecord = state.end_epoch(measured)
        state.out_of_time = is_over and not (is_whole and state.epoch == self.settings.epochs)
        is_best = state.best_epoch == state.epoch
        if is_best:
            self.best.keep(self.network)
        self._logged_at = state.seconds
        line = record.line(
            self.settings.epochs, self.pace.expected_steps(self.state), self.trainer.validation_name
        )
        _log.info("%s%s", line, "  best" if is_best else "")
        stopped = None
        if held_out is not None:
            stopped = self._add_to_curve(Evaluation(state.step, state.seconds, len(held_out), measured))
        ends = [callback.on_epoch(record) for callback in self.callbacks]
        return "callback" if any(ends) else stopped
