"""The trainer: epochs over shuffled rows, checkpoints, and an end that is always clean."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from os import PathLike
from typing import Any, Self

import numpy as np

from lshsample import memory, specs
from lshsample._native import core
from lshsample.errors import ArgumentError, CheckpointError
from lshsample.nn import bundle
from lshsample.nn.batches import checked_features, checked_labels
from lshsample.nn.network import Network
from lshsample.nn.optimizers import LearningRate, Optimizer
from lshsample.training.callbacks import Callback
from lshsample.training.checkpoint import CHECKPOINT, read_checkpoint
from lshsample.training.history import History
from lshsample.training.loop import Loop, Validation
from lshsample.training.run_state import RunState, TrainingData, fingerprint
from lshsample.training.settings import Settings

__all__ = ["Trainer"]


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
        ``"adam"`` (lazy), ``"adagrad"``, ``"sgd"``, or one with options: ``Adam(beta2=0.99)``.
    schedule : str, mapping or LearningRate
        ``"constant"``, ``"linear"`` (to 0 at the end), ``"cosine"``, or a :class:`LearningRate` with warm-up.
    seed : int
        Names the order of rows, the samplers' draws and the dropout.
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
        schedule: LearningRate | str | Mapping[str, Any] = "linear",
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
        self.settings = Settings(
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
        fixed = set(options) & set(Settings.__annotations__)
        if fixed:
            raise ArgumentError(sorted(fixed)[0], options[sorted(fixed)[0]], "nothing: a checkpoint says it")
        restored = read_checkpoint(path)
        settings = restored.settings
        trainer = cls(restored.network, **{"checkpoint": path, **options})
        trainer.settings, trainer.state, trainer._restored = settings, restored.state, True
        return trainer

    def fit(self, X: Any, Y: Any, validation: tuple[Any, Any] | None = None) -> History:
        """Train to the end, or until ``max_seconds``, a callback, Ctrl-C or SIGTERM ends the run.

        Called again after a run that was cut off, it goes on where that run stood; after one that finished,
        it starts another one from the weights as they are.

        Parameters
        ----------
        X : csr_array or array, shape (rows, n_features)
            Feature rows.
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
        """
        data = self._checked(X, Y)
        held_out = self._checked_validation(validation)
        if self.state.epoch >= self.settings.epochs and not self._restored:
            self.state = RunState()
        self._restored = False
        self._check_data(data)
        advice = "Fewer units, a smaller batch or n_active, fewer tables, or a plainer optimizer need less"
        memory.require_budget(self.memory_needed(), "training", limit=self.memory_limit, advice=advice)
        if self.checkpoint is not None:
            bundle.claim(self.checkpoint, CHECKPOINT)
        if self.state.step == 0:
            self._start(data)
        for layer in self.network.sampled_layers:
            layer.active.observe(data.labels if layer is self.network.output else None)
        return Loop(self, data, held_out).run()

    def memory_needed(self) -> dict[str, int]:
        """Bytes by purpose that a run takes beside the data; what is allocated is not counted again."""
        slots = self.settings.optimizer.slots
        needed = self.network.memory_needed(slots, self.settings.batch_size, self.threads)
        if all(p.allocated and p.store.shape[1] == slots for p in self.network.parameters if p.trained):
            needed["parameters"] = 0
        if self.checkpoint is not None:
            needed["checkpoint"] = 8 << 20
        return needed

    def _checked(self, x: Any, y: Any) -> TrainingData:
        rows = checked_features(x, self.network.input.spec)
        labels = checked_labels(y, len(rows), self.network.n_labels)
        used = np.arange(len(rows))
        if self.network.loss == "softmax":
            used = np.flatnonzero(np.diff(labels.indptr))
        if not len(used):
            wanted = "at least one row" if not len(rows) else "at least one row with a label"
            raise ArgumentError("X", f"{len(rows)} rows, none of them to train on", wanted)
        return TrainingData(rows, labels, used)

    def _checked_validation(self, validation: tuple[Any, Any] | None) -> Validation | None:
        if validation is None:
            if any(callback.needs_validation for callback in self.callbacks):
                raise ArgumentError("validation", "nothing", "data to measure on, which a callback needs")
            return None
        if not isinstance(validation, tuple) or len(validation) != 2:
            raise ArgumentError("validation", type(validation).__name__, "a pair (Xv, Yv)")
        rows = checked_features(validation[0], self.network.input.spec, "validation[0]")
        labels = checked_labels(validation[1], len(rows), self.network.n_labels, "validation[1]")
        if not len(rows):
            raise ArgumentError("validation", "no rows", "at least one row")
        return Validation(rows, labels)

    def _check_data(self, data: TrainingData) -> None:
        """A run goes on with the data that it began with, or not at all."""
        if self.checkpoint is None and not self.state.data:
            return
        found = fingerprint(data)
        if self.state.step and self.state.data and found != self.state.data:
            raise CheckpointError(
                "X, Y: not the data that this run began with; a resumed run wants the same rows"
            )
        self.state.data = found

    def _start(self, data: TrainingData) -> None:
        """Statistics of the data, and an optimizer without memory."""
        self.network.allocate(self.settings.optimizer.slots, self.threads)
        for parameter in self.network.parameters:
            parameter.reset_state()
        self.network.input.observe(data.rows)
        for layer in self.network.sampled_layers:
            layer.active.forget()


def _positive(argument: str, value: float) -> float:
    if not isinstance(value, Real) or isinstance(value, bool) or not value > 0:
        raise ArgumentError(argument, repr(value), "a number of seconds above 0")
    return float(value)


def _folder(path: str | PathLike[str] | None) -> str | PathLike[str] | None:
    if path is not None and not isinstance(path, str | PathLike):
        raise ArgumentError("checkpoint", repr(path), "the path of a folder")
    return path


def _callbacks(callbacks: Sequence[Callback]) -> tuple[Callback, ...]:
    if not isinstance(callbacks, Iterable):
        raise ArgumentError("callbacks", repr(callbacks), "a sequence of Callback")
    several = tuple(callbacks)
    for i, callback in enumerate(several):
        if not isinstance(callback, Callback):
            raise ArgumentError(f"callbacks[{i}]", repr(callback), "a Callback")
    return several
