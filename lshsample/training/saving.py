"""When and where a run writes checkpoints, and the weights of its best epoch that they hold."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator
from os import PathLike
from pathlib import Path
from typing import Any

import numpy.typing as npt

from lshsample.errors import CheckpointError
from lshsample.nn.bundle import Claim, claim
from lshsample.nn.network import Network
from lshsample.training.checkpoint import CHECKPOINT
from lshsample.training.run_state import RunState

__all__ = ["BestWeights", "Saves"]

_log = logging.getLogger(__name__)


class BestWeights:
    """A copy of the weights of a run's best epoch.

    Attributes
    ----------
    arrays : dict of str to ndarray
        The weights by parameter; empty before the first epoch and in runs without patience.
    """

    def __init__(self) -> None:
        self.arrays: dict[str, npt.NDArray[Any]] = {}

    def keep(self, network: Network) -> None:
        """Copy the current weights."""
        weights = (p.tensors(state=False) for p in network.parameters)
        self.arrays = {name: array.copy() for tensors in weights for name, array in tensors.items()}
        for layer in network.layers:
            layer.keep_best()

    def restore(self, network: Network) -> None:
        """Give a network the weights, and make it forget tables of others."""
        for parameter in network.parameters:
            parameter.restore(self.arrays)
        for layer in network.layers:
            layer.restore_best()
            layer.forget()


class Saves:
    """The checkpoints of a run.

    Parameters
    ----------
    folder : Path or None
        Where regular checkpoints are written; None for nowhere.
    every : float
        Seconds of training between two.
    write : callable
        Writes a checkpoint of the current state into a claimed folder.
    progress : callable
        Called with a text and two numbers, what is done and all of it, before and after a checkpoint.
    """

    def __init__(
        self,
        folder: Path | None,
        every: float,
        write: Callable[[Claim], None],
        progress: Callable[[str, int, int], None],
    ) -> None:
        self.folder, self.every = folder, every
        self._write, self._progress = write, progress
        self._claim: Claim | None = None
        self._at, self._saved = 0.0, (-1, -1)

    def begin(self, state: RunState) -> None:
        """Start to count the time from a state, which is not yet written."""
        self._at, self._saved = state.seconds, (-1, -1)

    @contextlib.contextmanager
    def claimed(self) -> Iterator[None]:
        """Keep other processes out of the folder."""
        if self.folder is None:
            yield
            return
        with claim(self.folder, CHECKPOINT) as self._claim:
            try:
                yield
            finally:
                self._claim = None

    def save_if_due(self, state: RunState) -> None:
        """Write a checkpoint if it is time to.

        Warns
        -----
        RuntimeWarning
            It cannot be written, as on a full disk; it is tried again after as many seconds.
        """
        if state.seconds - self._at < self.every:
            return
        try:
            self.save(state)
        except CheckpointError as error:
            if not isinstance(error.__cause__, OSError):
                raise
            self._at = state.seconds
            again = f"the next checkpoint is tried after {self.every:g} s of training"
            warnings.warn(f"step {state.step}: {error}; {again}", RuntimeWarning, stacklevel=2)

    def save(self, state: RunState) -> None:
        """Write a checkpoint, unless this state was already written or there is no folder."""
        if self.folder is None or self._saved == (state.step, state.epoch):
            return
        self._progress("writing the checkpoint", 0, 1)
        self.write_to(self.folder)
        self._progress("writing the checkpoint", 1, 1)
        _log.debug("checkpoint of step %d written to %s", state.step, self.folder)
        self._at, self._saved = state.seconds, (state.step, state.epoch)

    def write_to(self, path: str | PathLike[str]) -> None:
        """Write a checkpoint to any folder."""
        own = self._claim
        if own is not None and own.is_of(path):
            self._write(own)
            return
        with claim(path, CHECKPOINT) as folder:
            self._write(folder)
