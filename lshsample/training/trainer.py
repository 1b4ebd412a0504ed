"""The trainer: epochs of batches or single steps, checkpoints, and a clean end of interrupted runs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Real
from os import PathLike
from pathlib import Path
from typing import Any, Self

import attrs

from lshsample import memory, specs
from lshsample._native import core
from lshsample.errors import ArgumentError, CheckpointError
from lshsample.files import as_path
from lshsample.nn.bundle import Claim
from lshsample.nn.network import Network, StepReport
from lshsample.nn.network_spec import NetworkSpec
from lshsample.nn.optimizers import Optimizer
from lshsample.nn.schedules import Schedule
from lshsample.training.batch_source import ArrayBatches, BatchSource, fingerprint_of
from lshsample.training.callbacks import Callback, tell_progress
from lshsample.training.checkpoint import read_checkpoint, write_checkpoint
from lshsample.training.history import EpochRecord, History
from lshsample.training.loop import Loop, do_step
from lshsample.training.pace import ByRecord, BySteps, ByTime, Pace
from lshsample.training.run_state import RunState
from lshsample.training.saving import BestWeights, Saves
from lshsample.training.settings import TrainingSettings
from lshsample.training.validation import Validation, split

__all__ = ["Trainer"]


class Trainer:
    """Trains a network.

    Parameters
    ----------
    network : Network
        The network, trained in place.
    batch_size : int
        Rows per step.
    epochs : int
        Passes over the rows.
    lr : float
        Learning rate, multiplied by the factor of ``schedule``.
    optimizer : str, mapping or Optimizer
        A name of :data:`~lshsample.nn.OPTIMIZERS`, such as ``"adam"`` (lazy), or an
        :class:`~lshsample.nn.Optimizer`, such as ``Adam(beta2=0.99)``.
    schedule : str, mapping or Schedule
        ``"constant"``, ``"linear"`` (to 0 at the end), ``"cosine"``, or a :class:`~lshsample.nn.Schedule`
        such as a :class:`LearningRate` with warm-up.
    seed : int
        Determines the order of rows, the samplers' draws and dropout.
    threads : int, optional
        Number of threads; by default ``OMP_NUM_THREADS`` or all processors. The trained weights do not depend
        on it.
    max_seconds : float, optional
        Training time of the run, in seconds. If the epochs take longer, the learning rate goes through its
        schedule in this time (:class:`LearningRate`): the number of steps that fit is estimated from the
        duration of those done so far. Such a run depends on timing; ``History.rate_factors`` records what it
        did. A continued run has the time that is left of it.
    repeat : sequence of float, optional
        ``History.rate_factors`` of a run with ``max_seconds``: do the same steps with the same rates, in
        whatever time.
    curve_rows : int
        With validation data, evaluate this number of its rows between steps too, as often as fits into 3 % of
        the training time (``History.curve``); 0 for never.
    checkpoint : path, optional
        Folder that checkpoints are written to: regularly, and when the run ends, whatever ended it. While
        the run goes on, no other process may write to it.
    checkpoint_seconds : float
        Training time between two checkpoints, in seconds.
    callbacks : sequence of Callback
        Callbacks of the run.
    memory_limit : int, optional
        Maximum number of bytes that the run may need; by default the available memory.

    Notes
    -----
    The weights after a run are a function of network, settings and data alone: they depend neither on the
    number of threads nor on whether the run was interrupted and continued. Only runs with ``max_seconds``,
    and tables rebuilt in the background (``Rehash.is_asynchronous``), depend on timing
    (:attr:`is_asynchronous`). A run waits for the last rebuild before it ends, and raises its error if it
    failed.

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
        repeat: Sequence[float] | None = None,
        curve_rows: int = 1000,
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
        network.check_optimizer(self.settings.optimizer)
        self.threads = core.threads_or_default(threads)
        self.max_seconds = None if max_seconds is None else _positive("max_seconds", max_seconds)
        self.repeat = None if repeat is None else _checked_repeat(repeat, max_seconds)
        self.curve_rows = specs.checked_integer("curve_rows", curve_rows, 0)
        self.checkpoint = _folder(checkpoint)
        self.checkpoint_seconds = _positive("checkpoint_seconds", checkpoint_seconds)
        self.callbacks = _callbacks(callbacks)
        self.memory_limit = (
            None if memory_limit is None else specs.checked_integer("memory_limit", memory_limit, 0)
        )
        #: What the lines that are logged call the validation data.
        self.validation_name = "validation"
        self.state = RunState()
        self._best, self._restored = BestWeights(), False
        self._saves = Saves(self.checkpoint, self.checkpoint_seconds, self._write, self._progress)

    @classmethod
    @memory.named_shortage("loading a checkpoint")
    def resume(
        cls,
        path: str | PathLike[str],
        *,
        made: Callable[[NetworkSpec], Network] = Network.from_spec,
        **options: Any,
    ) -> Self:
        """A trainer restored from a checkpoint, with its network; call :meth:`fit` to continue the run.

        Parameters
        ----------
        path : path
            The checkpoint's folder; the continued run writes to it too, unless ``checkpoint`` is given.
        made : callable
            Makes the network from its spec.
        **options
            ``threads``, ``max_seconds``, ``repeat``, ``curve_rows``, ``checkpoint``, ``checkpoint_seconds``,
            ``callbacks``, ``memory_limit``.

        Raises
        ------
        CheckpointError
            If there is no checkpoint, or if it is truncated, changed, or of a newer version.
        """
        fixed = set(options) & {field.name for field in attrs.fields(TrainingSettings)}
        if fixed:
            raise ArgumentError(
                sorted(fixed)[0], options[sorted(fixed)[0]], "left out, as the checkpoint holds it"
            )
        restored = read_checkpoint(path, made)
        settings = restored.settings
        trainer = cls(restored.network, **{"checkpoint": path, **options})
        trainer.settings, trainer.state, trainer._restored = settings, restored.state, True
        trainer._best.arrays = dict(restored.best)
        trainer._saves.begin(restored.state)
        return trainer

    @memory.named_shortage("training")
    def fit(
        self,
        X: Any,
        Y: Any = None,
        validation: tuple[Any, Any] | float | None = None,
        *,
        patience: int | None = None,
        refit_inputs: bool = False,
    ) -> History:
        """Train for all epochs, or until ``max_seconds``, ``patience``, a callback or a signal ends the run.

        Called again after a run that was interrupted, it continues that run; after a run that finished, it
        starts a new run from the current weights.

        Parameters
        ----------
        X : csr_array or array, shape (rows, n_features), or BatchSource
            Feature rows; or a source of batches, without Y.
        Y : csr_array or array, shape (rows, n_labels)
            1 for a label, 0 for none, or lists of ids. Rows without labels are left out with a softmax loss.
        validation : (Xv, Yv) or float, optional
            Rows and labels to evaluate after each epoch, and a sample of them between steps; not counted as
            training time. A number between 0 and 1 is the share of the rows of X that are held out for it,
            chosen by the seed of the run.
        patience : int, optional
            End the run when P@1 of the validation has not improved for this number of epochs, and return
            to the weights of the best epoch when it has ended, by patience or after all epochs. They are
            kept in memory, and in checkpoints. A run that is continued keeps its patience.
        refit_inputs : bool
            Compute the statistics of the input (``weighting="idf-l2"``) from these rows, even if the network
            has some. By default a network keeps the statistics that it was trained with, since its weights
            depend on them.

        Returns
        -------
        History

        Raises
        ------
        ArgumentError
            For bad data, before anything is changed.
        MemoryBudgetError
            If the run needs more memory than available, before it is allocated.
        CheckpointError
            If the last checkpoint cannot be written, another process uses its folder, or the data are not
            those of the checkpoint.
        DivergenceError
            If the loss or a sampler's input is not finite; the last checkpoint is kept.

        Warns
        -----
        RuntimeWarning
            A checkpoint cannot be written during the run (a full disk): the run goes on, and tries again
            after ``checkpoint_seconds``.
        """
        if not isinstance(refit_inputs, bool):
            raise ArgumentError("refit_inputs", repr(refit_inputs), "True or False")
        held: Any = validation
        if isinstance(validation, Real):
            X, Y, held = split(self.network, X, Y, held, self.settings.seed)
        source = self._source(X, Y)
        held_out = self._checked_validation(held)
        done = self.state.is_done(self.settings.epochs)
        again = (done and not self._restored) or not self.state.step
        keep = self._checked_patience(patience, held_out, again)
        if self.checkpoint is not None:  # what cannot be saved is refused here
            self.network.spec.to_dict()
            self.settings.to_dict()
        with self._saves.claimed():
            if again:
                self.state, self._best.arrays = RunState(patience=keep), {}
            if self.max_seconds is not None:
                self.state.max_seconds = self.max_seconds
            pace = self._pace(source)
            self._restored = False
            self._check_data(source, held_out)
            self._require_memory()
            self._prepare()
            if self.state.step == 0 and (refit_inputs or not self.network.input.has_statistics):
                source.observe(self.network)
            else:
                source.observe_labels(self.network)
            return Loop(self, source, held_out, pace, self._saves, self._best).run()

    @property
    def is_asynchronous(self) -> bool:
        """Whether the result of :meth:`fit` depends on timing: there is a limit of time, or a layer's tables
        are rebuilt in the background.
        """
        limited = self.max_seconds is not None or self.state.max_seconds > 0
        return limited or any(layer.active.rehash.is_asynchronous for layer in self.network.sampled_layers)

    def restore_best(self) -> EpochRecord | None:
        """Give the network the weights of the best epoch, if the run has a patience.

        :meth:`fit` does so when a run has ended, but not when it was interrupted: then the network has the
        weights that the run continues with.

        Returns
        -------
        EpochRecord or None
            That of the best epoch; None if there is none.
        """
        if not self.state.best_epoch:
            return None
        self._best.restore(self.network)
        return self.state.records[self.state.best_epoch - 1]

    @memory.named_shortage("a training step")
    def step(self, X: Any, Y: Any, *, lr: float | None = None) -> StepReport:
        """Train on one batch.

        Steps are counted as in :meth:`fit`, with the same random streams. :meth:`save_checkpoint` and
        :meth:`resume` save and continue a run of single steps. If layers need statistics of the data, call
        :meth:`Network.observe <lshsample.Network.observe>` before the first step.

        Parameters
        ----------
        X : csr_array or array, shape (rows, n_features)
            Feature rows.
        Y : csr_array or array, shape (rows, n_labels)
            1 for a label, 0 for none. Rows without labels are left out with a softmax loss.
        lr : float, optional
            Learning rate of this step. By default the trainer's, times the factor of its schedule for a run
            without a known end: constant after the warm-up.

        Returns
        -------
        StepReport

        Raises
        ------
        ArgumentError
            For bad data, before anything is changed.
        MemoryBudgetError
            At the first step, if training needs more memory than available.
        DivergenceError
            If the loss or a sampler's input is not finite.

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
        if rate is None:
            rate = self.settings.lr * self.settings.schedule.factor(self.state.step + 1, None)
        began = time.perf_counter()
        report = do_step(
            self.network, self.settings, self.state, batch, rate, threads=self.threads, began=began
        )
        self._saves.save_if_due(self.state)
        return report

    @memory.named_shortage("saving a checkpoint")
    def save_checkpoint(self, path: str | PathLike[str] | None = None) -> None:
        """Write a checkpoint to a folder, by default the trainer's ``checkpoint``.

        Raises
        ------
        ArgumentError
            If neither ``path`` nor the trainer's ``checkpoint`` is given.
        CheckpointError
            If it cannot be written; an older checkpoint in the folder is kept.
        """
        path = self.checkpoint if path is None else _folder(path, "path")
        if path is None:
            raise ArgumentError("path", "nothing", "a folder, as the trainer has no checkpoint")
        self.network.allocate(self.settings.optimizer.slots, self.threads)
        for layer in self.network.layers:
            layer.settle()
        self._saves.write_to(path)

    def memory_needed(self) -> dict[str, int]:
        """Bytes by purpose that a run will allocate; allocated parameters and the data are not counted."""
        slots = self.settings.optimizer.slots
        needed = self.network.memory_needed(slots, self.settings.batch_size, self.threads)
        if all(layer.is_allocated(slots) for layer in self.network.layers):
            needed["parameters"] = 0
        if self.state.patience and not self.state.best_epoch:
            needed["best epoch"] = self.network.memory_needed(1)["parameters"]
        if self.checkpoint is not None:
            needed["checkpoint"] = 8 << 20
        return needed

    def _source(self, x: Any, y: Any) -> BatchSource:
        if not isinstance(x, BatchSource):
            return ArrayBatches(self.network, x, y, self.settings.batch_size, self.settings.seed)
        if y is not None:
            raise ArgumentError("Y", type(y).__name__, "left out, as the batch source has the labels")
        return x

    def _checked_patience(self, patience: int | None, held_out: Validation | None, again: bool) -> int:
        before = 0 if again else self.state.patience
        if patience is None and not before:
            return 0
        keep = before if patience is None else specs.checked_integer("patience", patience, 1)
        if held_out is None:
            raise ArgumentError("patience", f"{keep} without validation", "used with validation")
        if not again and keep != before:
            wanted = f"{before or 'left out'}, as in the run that is continued"
            raise ArgumentError("patience", keep, wanted)
        return keep

    def _checked_validation(self, validation: tuple[Any, Any] | None) -> Validation | None:
        if validation is not None:
            return Validation.of(self.network, validation)
        if any(callback.needs_validation for callback in self.callbacks):
            raise ArgumentError("validation", "nothing", "a pair (Xv, Yv), as a callback needs it")
        return None

    def _pace(self, source: BatchSource) -> Pace:
        """By steps, by time, or as the run that this one repeats."""
        state, steps = self.state, source.steps_per_epoch
        if self.repeat is not None:
            done = state.rate_factors
            if len(done) != state.step or list(self.repeat[: state.step]) != done:
                raise ArgumentError("repeat", "other factors", "those of the steps that are done")
            return ByRecord(self.repeat)
        total = None if steps is None else steps * self.settings.epochs
        if state.max_seconds:
            return ByTime(total, state.max_seconds, state.step)
        if state.rate_factors:
            raise ArgumentError("repeat", "nothing", "the factors of the run that this one repeats")
        return BySteps(total)

    def _check_data(self, source: BatchSource, held_out: Validation | None) -> None:
        """Refuse to continue a run with other data, or another validation that chooses the epoch."""
        if self.checkpoint is None and not self.state.data:
            return
        found = source.fingerprint()
        if self.state.patience and held_out is not None:
            found += fingerprint_of(held_out.rows, held_out.labels)
        if self.state.step and self.state.data and found != self.state.data:
            raise CheckpointError(
                "X, Y: not the data that this run started with; continue a run with the same rows and "
                "labels, and the same validation"
            )
        self.state.data = found

    def _require_memory(self) -> None:
        """Refuse a run that needs more memory than available, before anything is allocated."""
        advice = "Use fewer units, a smaller batch or n_active, fewer tables, or an optimizer with less state"
        memory.require_budget(self.memory_needed(), "training", limit=self.memory_limit, advice=advice)

    def _prepare(self) -> None:
        """Before the first step: allocate the weights and the optimizer's state, which is 0."""
        self.network.check_optimizer(self.settings.optimizer)
        if self.state.step:
            return
        self.network.allocate(self.settings.optimizer.slots, self.threads)
        for layer in self.network.layers:
            layer.reset_state()
            layer.forget()

    def _progress(self, what: str, done: int, total: int) -> None:
        tell_progress(self.callbacks, what, done, total)

    def _write(self, folder: Claim) -> None:
        write_checkpoint(folder, self.network, self.settings, self.state, self._best.arrays)


def _positive(argument: str, value: float) -> float:
    if not isinstance(value, Real) or isinstance(value, bool) or not value > 0:
        raise ArgumentError(argument, repr(value), "a number of seconds above 0")
    return float(value)


def _checked_repeat(repeat: Sequence[float], max_seconds: float | None) -> tuple[float, ...]:
    if max_seconds is not None:
        raise ArgumentError("repeat", "repeat with max_seconds", "used without max_seconds")
    wanted = "History.rate_factors of a run with max_seconds, of at least one step"
    if not isinstance(repeat, Iterable) or isinstance(repeat, str):
        raise ArgumentError("repeat", repr(repeat), wanted)
    several = tuple(repeat)
    if not several:
        raise ArgumentError("repeat", "nothing", wanted)
    for i, factor in enumerate(several):
        if not isinstance(factor, Real) or isinstance(factor, bool) or not 0 <= factor < math.inf:
            raise ArgumentError(f"repeat[{i}]", repr(factor), "a finite number of at least 0")
    return tuple(map(float, several))


def _rate(lr: float) -> float:
    if not isinstance(lr, Real) or isinstance(lr, bool) or not 0 <= lr < math.inf:
        raise ArgumentError("lr", repr(lr), "a finite number of at least 0")
    return float(lr)


def _folder(path: str | PathLike[str] | None, argument: str = "checkpoint") -> Path | None:
    return None if path is None else as_path(path, argument)


def _callbacks(callbacks: Sequence[Callback]) -> tuple[Callback, ...]:
    if not isinstance(callbacks, Iterable):
        raise ArgumentError("callbacks", repr(callbacks), "a sequence of Callback instances")
    several = tuple(callbacks)
    for i, callback in enumerate(several):
        if not isinstance(callback, Callback):
            raise ArgumentError(f"callbacks[{i}]", repr(callback), "an instance of Callback")
    return several
