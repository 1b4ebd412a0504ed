"""Where batches come from: an order for each epoch, a position in it, and a way back to that position."""

# ruff: noqa: B027 - a source without statistics has nothing to observe.
from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample.errors import ArgumentError
from lshsample.nn.batches import Batch, checked_labels
from lshsample.nn.network import Network
from lshsample.nn.signals import take_rows
from lshsample.specs import checked_integer

__all__ = ["ArrayBatches", "BatchSource", "epoch_order"]


class BatchSource(ABC):
    """Base class of what a :class:`~lshsample.Trainer` draws batches from, epoch after epoch.

    A source knows its position, so that a run that was interrupted goes on with the batch that was next.
    """

    @property
    def steps_per_epoch(self) -> int | None:
        """Batches of an epoch; None where that is not known before its end, as with a stream."""
        return None

    def observe(self, network: Network) -> None:
        """Before the first step: give the network the statistics of all rows, with
        :meth:`Network.observe <lshsample.Network.observe>`; by default none.
        """

    def observe_labels(self, network: Network) -> None:
        """Before a run goes on: give the network the frequencies of labels, which are not saved."""

    def fingerprint(self) -> list[int]:
        """Numbers that tell one data set from another; by default none, and other data are not noticed."""
        return []

    @abstractmethod
    def begin(self, epoch: int) -> None:
        """Enter an epoch, counted from 0, before its first batch."""

    @abstractmethod
    def next_batch(self) -> Batch | tuple[Any, Any] | None:
        """The next batch of the epoch, or None at its end.

        Returns
        -------
        Batch, or tuple (X, Y), or None
            Feature rows and labels, which are checked before they are used; a :class:`~lshsample.nn.Batch`
            has been checked.
        """

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """The position as plain data: the batch that is next, in the epoch under way."""

    @abstractmethod
    def restore(self, state: Mapping[str, Any]) -> None:
        """Go to a position that :meth:`state` gave."""


class ArrayBatches(BatchSource):
    """Batches of rows that are in memory, in an order that is drawn anew for each epoch.

    Parameters
    ----------
    network : Network
        What the rows are for. Rows that its loss has no use for (those without labels, for a softmax) are
        left out.
    X : csr_array or array, shape (rows, n_features)
        Feature rows.
    Y : csr_array or array, shape (rows, n_labels)
        1 for a label, 0 for none.
    batch_size : int
        Rows of a batch; the last one of an epoch may have fewer.
    seed : int
        Determines, with the epoch, the order.

    Raises
    ------
    ArgumentError
        Rows or labels of another shape, with bad values, or none that can be trained on.
    """

    def __init__(self, network: Network, X: Any, Y: Any, batch_size: int = 256, seed: int = 0) -> None:
        self.rows = network.input.checked(X)
        self.labels = checked_labels(Y, len(self.rows), network.n_labels)
        self.batch_size = checked_integer("batch_size", batch_size, 1)
        self.seed = checked_integer("seed", seed, 0, 2**63 - 1)
        self.used = np.arange(len(self.rows))
        if network.loss.needs_labels:
            self.used = np.flatnonzero(np.diff(self.labels.indptr))
        if not len(self.used):
            wanted = "at least one row" if not len(self.rows) else "at least one row with a label"
            raise ArgumentError("X", f"{len(self.rows)} rows, none of them to train on", wanted)
        self.begin(0)

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch."""
        return -(-len(self.used) // self.batch_size)

    def observe(self, network: Network) -> None:
        """The statistics of all rows."""
        network.input.observe(self.rows)
        self.observe_labels(network)

    def observe_labels(self, network: Network) -> None:
        """The frequencies of the labels."""
        network.observe_labels(self.labels)

    def fingerprint(self) -> list[int]:
        """Shapes and checksums of rows and labels."""
        x, y = self.rows.data, self.labels
        arrays: list[Any] = [x.indptr, x.indices, x.data] if sp.issparse(x) else [np.ascontiguousarray(x)]
        arrays += [y.indptr, y.indices]
        sums = [zlib.crc32(memoryview(array).cast("B")) for array in arrays if array.size]
        return [*map(int, x.shape), *map(int, y.shape), *sums]

    def begin(self, epoch: int) -> None:
        """Draw the epoch's order."""
        self._epoch, self._position = epoch, 0
        self._order = epoch_order(self.used, self.seed, epoch)

    def next_batch(self) -> Batch | None:
        """The next rows of the order."""
        start = self._position * self.batch_size
        if start >= len(self._order):
            return None
        self._position += 1
        batch = self._order[start : start + self.batch_size]
        return Batch(self.rows.take(batch), take_rows(self.labels, batch))

    def state(self) -> dict[str, Any]:
        """Epoch, and batches of it that are done."""
        return {"epoch": self._epoch, "position": self._position}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Enter the epoch again, at that batch."""
        self.begin(state["epoch"])
        self._position = state["position"]


def epoch_order(used: npt.NDArray[np.int64], seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """The order of an epoch's rows: a function of (seed, epoch) alone, so that any epoch can be entered
    anywhere.
    """
    return np.random.Generator(np.random.Philox(key=np.array([seed, epoch], np.uint64))).permutation(used)
