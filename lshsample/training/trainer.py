"""The trainer: epochs of batches or single steps, checkpoints, and an end that is always clean."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from os import PathLike
from typing import Any, Self

import attrs

from lshsample import memory, specs
from lshsample._native import core
from lshsample.errors import ArgumentError, CheckpointError, DivergenceError
from lshsample.nn import bundle
from lshsample.nn.batches import Batch, FeatureRows, checked_labels
from lshsample.nn.network import Network, StepReport
from lshsample.nn.optimizers import Optimizer
from lshsample.nn.schedules import Schedule
from lshsample.nn.signals import Run
from lshsample.training.batch_source import ArrayBatches, BatchSource
from lshsample.training.callbacks import Callback
from lshsample.training.checkpoint import CHECKPOINT, read_checkpoint, write_checkpoint
from lshsample.training.history import EpochRecord, History
from lshsample.training.interrupts import Interrupts
from lshsample.training.run_state import RunState
from lshsample.training.settings import TrainingSettings

__all__ = ["Trainer"]

#: Rows and labels that are measured after each epoch.
Validation = tuple[FeatureRows, Any]


class Trainer:
    """Trains a network.

    Parameters
    ----------
    network : Network
        What is trained, in place.
    batch_size : int
        Rows a step.
    epochs : int
        Passes over the rows.
    lr : float
        Learning rate, times what ``schedule`` says.
    optimizer : str, mapping or Optimizer
        ``"adam"`` (lazy), ``"adagrad"``, ``"sgd"``, one with options, ``Adam(beta2=0.99)``, or any
        :class:`~lshsample.nn.Optimizer`.
    schedule : str, mapping or Schedule
        ``"constant"``, ``"linear"`` (to 0 at the end), ``"cosine"``, a :class:`LearningRate` with warm-up, or
        any :class:`~lshsample.nn.Schedule`.
    seed : int
        Determines the order of rows, the samplers' draws and the dropout.
    threads : int, optional
        Threads; by default ``OMP_NUM_THREADS`` or every processor. The trained weights do not depend on it.
    max_seconds : float, optional
        Training time after which the run ends, at the end of a step.
    checkpoint : path, optional
        Folder that the run's state is written to: at times, and when the run ends, however it does.
    checkpoint_seconds : float
        Training time between two checkpoints.
    callbacks : sequence of Callback
        What watches the run.
    memory_limit : int, optional
        Bytes that the run may need; by default what is available.

    Notes
    -----
    The weights after a run are a function of network, settings and data alone: not of threads, nor of how
    often the run was interrupted and continued. Only tables that are rehashed in the background
    (``Rehash.is_asynchronous``) depend on timing; a run waits for the last of them before it ends, and an
    error of theirs is the run's.

    Examples
    --------
    >>> import numpy as np, scipy.sparse as sp
    >>> from lshsample.nn import Dense, Network, Sampled, Sparse
    >>> x = sp.random_array((200, 40), density=0.2, rng=np.random.default_rng(0), format="csr")
    >>> y = sp.csr_array((x @ sp.eye_array(40, 10)).toarray() > 0.6)
    >>> network = Network([Sparse(40), Dense(16), Sampled(10, sampler="full")])
    >>> history = Trainer(network, batch_size=20, epochs=4, lr=0.02, threads=1).fit(x, y)
    >>> history.steps > 0, history.stopped
    (True, 'finished')
    """

    def __init__(
        self,
        network: Network,
        *,
        batch_size: int = 256,
        epochs: int = 5,
        lr: float = 0.005,
        optimizer: Optimizer | str | Mapping[str, Any] = "adam",
        schedule: Schedule | str | Mapping[str, Any] = "linear",
        seed: int = 0,
        threads: int | None = None,
        max_seconds: float | None = None,
        checkpoint: str | PathLike[str] | None = None,
        checkpoint_seconds: float = 300.0,
        callbacks: Sequence[Callback] = (),
        memory_limit: int | None = None,
    ) -> None:
        if not isinstance(network, Network):
            raise ArgumentError("network", type(network).__name__, "a Network")
        self.network = network
        self.settings = TrainingSettings(
            batch_size=batch_size, epochs=epochs, lr=lr, optimizer=optimizer, schedule=schedule, seed=seed
        )
        self.threads = core.threads_or_default(threads)
        self.max_seconds = _positive("max_seconds", math.inf if max_seconds is None else max_seconds)
        self.checkpoint = _folder(checkpoint)
        self.checkpoint_seconds = _positive("checkpoint_seconds", checkpoint_seconds)
        self.callbacks = _callbacks(callbacks)
        self.memory_limit = (
            None if memory_limit is None else specs.checked_integer("memory_limit", memory_limit, 0)
        )
        self.state = RunState()
        self._restored = False
        self._saved_at, self._saved_step, self._hits_every = 0.0, (-1, -1), 0

    @classmethod
    def resume(cls, path: str | PathLike[str], **options: Any) -> Self:
        """A trainer that goes on where a checkpoint was written, with its network; then call :meth:`fit`.

        Parameters
        ----------
        path : path
            The checkpoint's folder, which the continued run writes to unless ``checkpoint`` says otherwise.
        **options
            ``threads``, ``max_seconds``, ``checkpoint``, ``checkpoint_seconds``, ``callbacks``,
            ``memory_limit``.

        Raises
        ------
        CheckpointError
            If there is no checkpoint, or it is truncated, changed, or of a newer version.
        """
        fixed = set(options) & {field.name for field in attrs.fields(TrainingSettings)}
        if fixed:
            raise ArgumentError(
                sorted(fixed)[0], options[sorted(fixed)[0]], "left out, as the checkpoint holds it"
            )
        restored = read_checkpoint(path)
        settings = restored.settings
        trainer = cls(restored.network, **{"checkpoint": path, **options})
        trainer.settings, trainer.state, trainer._restored = settings, restored.state, True
        trainer._saved_at = restored.state.seconds
        return trainer

    def fit(self, X: Any, Y: Any = None, validation: tuple[Any, Any] | None = None) -> History:
        """Train to the end, or until ``max_seconds``, a callback, Ctrl-C or SIGTERM ends the run.

        Called again after a run that was cut off, it goes on where that run stood; after one that finished,
        it starts another one from the weights as they are.

        Parameters
        ----------
        X : csr_array or array, shape (rows, n_features), or BatchSource
            Feature rows; or what batches are drawn from, and nothing for Y.
        Y : csr_array or array, shape (rows, n_labels)
            1 for a label, 0 for none. Rows without labels have no part in a softmax.
        validation : (Xv, Yv), optional
            Measured after each epoch, outside of the training time.

        Returns
        -------
        History

        Raises
        ------
        ArgumentError
            For bad data, before anything is changed.
        MemoryBudgetError
            If the run needs more memory than there is, before it is allocated.
        CheckpointError
            If a checkpoint cannot be written, or the data are not those of the checkpoint.
        DivergenceError
            If numbers grow beyond float32; the last checkpoint is kept.
        """
        source = self._source(X, Y)
        held_out = self._checked_validation(validation)
        if self.state.epoch >= self.settings.epochs and not self._restored:
            self.state = RunState()
        self._restored = False
        self._check_data(source)
        if self.checkpoint is not None:
            self._check_names()
        self._require_memory()
        self._prepare()
        if self.state.step == 0:
            source.observe(self.network)
        else:
            source.observe_labels(self.network)
        return self._run(source, held_out)

    def step(self, X: Any, Y: Any, *, lr: float | None = None) -> StepReport:
        """Train on one batch of the caller's.

        Steps are counted as in :meth:`fit`, with the same random streams. What a run of steps has trained is
        continued by :meth:`save_checkpoint` and :meth:`resume`. Statistics of the data are taken by
        :meth:`Network.observe <lshsample.Network.observe>`, where layers need them.

        Parameters
        ----------
        X : csr_array or array, shape (rows, n_features)
            Feature rows.
        Y : csr_array or array, shape (rows, n_labels)
            1 for a label, 0 for none. Rows without labels have no part in a softmax.
        lr : float, optional
            Learning rate of this step. By default the trainer's, times its schedule's factor for a run
            without a known end: after a warm-up it stays.

        Returns
        -------
        StepReport

        Raises
        ------
        ArgumentError
            For bad data, before anything is changed.
        MemoryBudgetError
            At the first step, if training needs more memory than there is.
        DivergenceError
            If numbers grow beyond float32.

        Examples
        --------
        >>> import numpy as np, scipy.sparse as sp
        >>> from lshsample.nn import Dense, Network, Sampled, Sparse
        >>> x = sp.random_array((20, 40), density=0.2, rng=np.random.default_rng(0), format="csr")
        >>> y = sp.csr_array((x @ sp.eye_array(40, 10)).toarray() > 0.3)
        >>> trainer = Trainer(Network([Sparse(40), Dense(16), Sampled(10, sampler="full")]), lr=0.02)
        >>> losses = [trainer.step(x, y).loss for _ in range(10)]
        >>> losses[-1] < losses[0], trainer.state.step
        (True, 10)
        """
        batch = self.network.batch(X, Y)
        rate = None if lr is None else _rate(lr)
        if not self.state.step:
            self._require_memory()
            self._prepare()
        report = self._step(batch, time.perf_counter(), lr=rate)
        self._save_if_due()
        return report

    def save_checkpoint(self, path: str | PathLike[str] | None = None) -> None:
        """Write the run's state to a folder, by default the trainer's ``checkpoint``.

        Raises
        ------
        ArgumentError
            If there is no folder to write to.
        CheckpointError
            If it cannot be written; a checkpoint that it held is kept.
        """
        path = self.checkpoint if path is None else _folder(path, "path")
        if path is None:
            raise ArgumentError("path", "nothing", "a folder, or the trainer needs a checkpoint")
        self.network.allocate(self.settings.optimizer.slots, self.threads)
        for layer in self.network.layers:
            layer.settle()
        write_checkpoint(path, self.network, self.settings, self.state)

    def memory_needed(self) -> dict[str, int]:
        """Bytes by purpose that a run takes beside the data; what is allocated is not counted again."""
        slots = self.settings.optimizer.slots
        needed = self.network.memory_needed(slots, self.settings.batch_size, self.threads)
        trained = [p for p in self.network.parameters if p.trained]
        if all(p.allocated and len(p.slots.dtypes) == slots for p in trained):
            needed["parameters"] = 0
        if self.checkpoint is not None:
            needed["checkpoint"] = 8 << 20
        return needed

    def _source(self, x: Any, y: Any) -> BatchSource:
        if not isinstance(x, BatchSource):
            return ArrayBatches(self.network, x, y, self.settings.batch_size, self.settings.seed)
        if y is not None:
            raise ArgumentError("Y", type(y).__name__, "nothing, as the batch source has the labels")
        return x

    def _checked_validation(self, validation: tuple[Any, Any] | None) -> Validation | None:
        if validation is None:
            if any(callback.needs_validation for callback in self.callbacks):
                raise ArgumentError("validation", "nothing", "data to measure on, which a callback needs")
            return None
        if not isinstance(validation, tuple) or len(validation) != 2:
            raise ArgumentError("validation", type(validation).__name__, "a pair (Xv, Yv)")
        rows = self.network.input.checked(validation[0], "validation[0]")
        labels = checked_labels(validation[1], len(rows), self.network.n_labels, "validation[1]")
        if not len(rows):
            raise ArgumentError("validation", "no rows", "at least one row")
        return rows, labels

    def _check_data(self, source: BatchSource) -> None:
        """A run goes on with the data that it began with, or not at all."""
        if self.checkpoint is None and not self.state.data:
            return
        found = source.fingerprint()
        if self.state.step and self.state.data and found != self.state.data:
            raise CheckpointError(
                "X, Y: not the data that this run began with; a resumed run wants the same rows"
            )
        self.state.data = found

    def _check_names(self) -> None:
        """What cannot be saved is refused before it is trained."""
        assert self.checkpoint is not None
        self.network.spec.to_dict()
        self.settings.to_dict()
        bundle.claim(self.checkpoint, CHECKPOINT)

    def _require_memory(self) -> None:
        """Refuse a run that needs more memory than there is, before anything is allocated."""
        advice = "Fewer units, a smaller batch or n_active, fewer tables, or a plainer optimizer need less"
        memory.require_budget(self.memory_needed(), "training", limit=self.memory_limit, advice=advice)

    def _prepare(self) -> None:
        """Before the first step of all: room for weights and an optimizer's state, which is 0."""
        if self.state.step:
            return
        self.network.allocate(self.settings.optimizer.slots, self.threads)
        for parameter in self.network.parameters:
            parameter.reset_state()
        for layer in self.network.layers:
            layer.forget()

    # A run.

    def _run(self, source: BatchSource, held_out: Validation | None) -> History:
        """Run, and write a checkpoint at the end where there is a place for it."""
        steps = source.steps_per_epoch
        total = None if steps is None else steps * self.settings.epochs
        self._saved_at, self._saved_step = self.state.seconds, (-1, -1)
        wishes = [callback.hits_every for callback in self.callbacks if callback.hits_every]
        self._hits_every = min(wishes, default=0)
        try:
            for callback in self.callbacks:
                callback.on_start(self, self.state.step, total)
            with Interrupts() as interrupts:
                stopped = self._epochs(source, total, held_out, interrupts)
                try:
                    for layer in self.network.layers:
                        layer.settle()
                finally:
                    self._save()
            history = self.state.history(stopped)
            for callback in self.callbacks:
                callback.on_end(history)
        finally:
            for callback in self.callbacks:
                callback.close()
        return history

    def _epochs(
        self, source: BatchSource, total: int | None, held_out: Validation | None, interrupts: Interrupts
    ) -> str:
        """Epochs until the end; returns why it ended."""
        state, stopped = self.state, None
        while not stopped and state.epoch < self.settings.epochs:
            if state.source:
                source.restore(state.source)
            else:
                state.begin_epoch()
                source.begin(state.epoch)
            ended = state.position == source.steps_per_epoch
            while not ended and not stopped:
                began = time.perf_counter()
                batch = source.next_batch()
                if batch is None:
                    break
                report = self._step(self._checked_batch(batch), began, total, source)
                stopped = self._after_step(report) or interrupts.received
                ended = state.position == source.steps_per_epoch
            if ended or not stopped:
                stopped = self._end_epoch(held_out) or stopped
        return stopped if stopped and state.epoch < self.settings.epochs else "finished"

    def _checked_batch(self, batch: Batch | tuple[Any, Any]) -> Batch:
        return batch if isinstance(batch, Batch) else self.network.batch(*batch)

    def _step(
        self,
        batch: Batch,
        began: float,
        total: int | None = None,
        source: BatchSource | None = None,
        lr: float | None = None,
    ) -> StepReport:
        """One step on a checked batch, which is counted."""
        settings, state = self.settings, self.state
        number = state.step + 1
        run = Run(self.threads, settings.seed, number, training=True, sampled=True, targets=batch.y)
        rate = settings.lr * settings.schedule.factor(number, total) if lr is None else lr
        hits = self._hits_every > 0 and number % self._hits_every == 0
        try:
            report = self.network.train_step(batch.x, batch.y, settings.optimizer, rate, run, hits)
        except DivergenceError as error:
            raise DivergenceError(
                f"step {number}: {error}: training diverged; a smaller lr (now {settings.lr}) or a warm-up "
                "helps. The last checkpoint, if any, is kept"
            ) from error
        state.add(report, time.perf_counter() - began)
        if source is not None:
            state.source = source.state()
        return report

    def _after_step(self, report: StepReport) -> str | None:
        """A checkpoint if it is time, and the callbacks; returns why the run should end, if it should."""
        state = self.state
        self._save_if_due()
        # Every callback sees every step, whatever the others return.
        wishes = [callback.on_step(state.step, report, state.step_ms[-1]) for callback in self.callbacks]
        if any(wishes):
            return "callback"
        return "max_seconds" if state.seconds >= self.max_seconds else None

    def _end_epoch(self, held_out: Validation | None) -> str | None:
        """Validate, record, call the callbacks."""
        measured: dict[str, float] = {}
        if held_out is not None:
            measured = self.network.evaluate(*held_out, threads=self.threads)
        record: EpochRecord = self.state.end_epoch(measured)
        wishes = [callback.on_epoch(record) for callback in self.callbacks]
        return "callback" if any(wishes) else None

    def _save_if_due(self) -> None:
        if self.state.seconds - self._saved_at >= self.checkpoint_seconds:
            self._save()

    def _save(self) -> None:
        """Write a checkpoint, unless this very state was written."""
        state = self.state
        if self.checkpoint is None or self._saved_step == (state.step, state.epoch):
            return
        write_checkpoint(self.checkpoint, self.network, self.settings, state)
        self._saved_at, self._saved_step = state.seconds, (state.step, state.epoch)


def _positive(argument: str, value: float) -> float:
    if not isinstance(value, Real) or isinstance(value, bool) or not value > 0:
        raise ArgumentError(argument, repr(value), "a number of seconds above 0")
    return float(value)


def _rate(lr: float) -> float:
    if not isinstance(lr, Real) or isinstance(lr, bool) or not 0 <= lr < math.inf:
        raise ArgumentError("lr", repr(lr), "a finite number of at least 0")
    return float(lr)


def _folder(path: str | PathLike[str] | None, argument: str = "checkpoint") -> str | PathLike[str] | None:
    if path is not None and not isinstance(path, str | PathLike):
        raise ArgumentError(argument, repr(path), "the path of a folder")
    return path


def _callbacks(callbacks: Sequence[Callback]) -> tuple[Callback, ...]:
    if not isinstance(callbacks, Iterable):
        raise ArgumentError("callbacks", repr(callbacks), "a sequence of Callback")
    several = tuple(callbacks)
    for i, callback in enumerate(several):
        if not isinstance(callback, Callback):
            raise ArgumentError(f"callbacks[{i}]", repr(callback), "a Callback")
    return several
