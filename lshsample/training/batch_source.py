"""Sources of batches: an order of the rows for each epoch, and a position in it that can be restored."""

# ruff: noqa: B027 - methods that only sources with statistics need are empty in the base class.
from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample._native.core import offsets_of
from lshsample._native.labels import label_rows
from lshsample.errors import ArgumentError
from lshsample.nn.batches import Batch, FeatureRows
from lshsample.nn.network import Network
from lshsample.nn.signals import take_rows
from lshsample.specs import checked_integer

__all__ = ["ArrayBatches", "BatchSource", "epoch_order", "fingerprint_of", "held_out_rows"]


class BatchSource(ABC):
    """Base class of the sources that a :class:`~lshsample.Trainer` takes batches from.

    A source knows its position, so that an interrupted run continues with the next batch.
    """

    @property
    def steps_per_epoch(self) -> int | None:
        """Batches per epoch; None if not known before its end, as for a stream."""
        return None

    def observe(self, network: Network) -> None:
        """Called before the first step, unless the network has statistics already: give it those of the
        training data with :meth:`Network.observe <lshsample.Network.observe>`; does nothing by default.
        """

    def observe_labels(self, network: Network) -> None:
        """Called instead of :meth:`observe` before a run continues, or if the network has statistics: give it
        the label frequencies, which are not saved.
        """

    def fingerprint(self) -> list[int]:
        """Numbers that identify the data set; by default none, and changed data are not detected."""
        return []

    @abstractmethod
    def begin(self, epoch: int) -> None:
        """Start an epoch, counted from 0, before its first batch."""

    @abstractmethod
    def next_batch(self) -> Batch | tuple[Any, Any] | None:
        """The next batch of the epoch, or None at its end.

        Returns
        -------
        Batch, or tuple (X, Y), or None
            Feature rows and labels; a tuple is validated before it is used, a
            :class:`~lshsample.nn.Batch` is not validated again.
        """

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """The position, as plain data: the current epoch, and the next batch in it."""

    @abstractmethod
    def restore(self, state: Mapping[str, Any]) -> None:
        """Go to a position returned by :meth:`state`."""


class ArrayBatches(BatchSource):
    """Batches of rows in memory, in a new random order for each epoch.

    Parameters
    ----------
    network : Network
        The network to train. Rows without labels are left out if its loss needs labels (softmax).
    X : csr_array or array, shape (rows, n_features)
        Feature rows.
    Y : csr_array or array, shape (rows, n_labels)
        1 for a label, 0 for none.
    batch_size : int
        Rows per batch; the last batch of an epoch may have fewer.
    seed : int
        With the epoch, determines the order.

    Raises
    ------
    ArgumentError
        Rows or labels of another shape or with bad values, or no row to train on.
    """

    def __init__(self, network: Network, X: Any, Y: Any, batch_size: int = 256, seed: int = 0) -> None:
        self.rows = network.input.checked(X)
        self.labels = label_rows(Y, "Y", network.n_labels, len(self.rows))
        self.batch_size = checked_integer("batch_size", batch_size, 1)
        self.seed = checked_integer("seed", seed, 0, 2**63 - 1)
        self.used = np.arange(len(self.rows))
        if network.loss.needs_labels:
            self.used = np.flatnonzero(np.diff(self.labels.indptr))
        if not len(self.used):
            wanted = "a matrix with at least one row" + (" with a label" if len(self.rows) else "")
            raise ArgumentError("X", f"{len(self.rows)} rows, none to train on", wanted)
        self.begin(0)

    @property
    def steps_per_epoch(self) -> int:
        """Batches per epoch."""
        return -(-len(self.used) // self.batch_size)

    def observe(self, network: Network) -> None:
        """Give the network the statistics of all rows."""
        network.input.observe(self.rows)
        self.observe_labels(network)

    def observe_labels(self, network: Network) -> None:
        """Give the network the frequencies of the labels."""
        network.observe_labels(self.labels)

    def fingerprint(self) -> list[int]:
        """Shapes and checksums of rows and labels."""
        return fingerprint_of(self.rows, self.labels)

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
        """The epoch, and the number of its batches that are done."""
        return {"epoch": self._epoch, "position": self._position}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go to an epoch and a batch in it; ArgumentError if there is none."""
        epoch, position = state.get("epoch"), state.get("position")
        epoch = checked_integer("epoch", epoch, 0, 2**63 - 1)
        position = checked_integer("position", position, 0, self.steps_per_epoch)
        self.begin(epoch)
        self._position = position


def fingerprint_of(rows: FeatureRows, labels: sp.csr_array) -> list[int]:
    """Shapes and checksums of rows and labels."""
    x = rows.data
    arrays: list[Any] = [*_pattern(x), x.data] if isinstance(x, sp.csr_array) else [np.ascontiguousarray(x)]
    arrays += _pattern(labels)
    sums = [zlib.crc32(memoryview(array).cast("B")) for array in arrays if array.size]
    return [*map(int, x.shape), *map(int, labels.shape), *sums]


def _pattern(rows: Any) -> list[Any]:
    """Offsets and indices of sparse rows, in types that do not depend on their number."""
    return [offsets_of(rows), np.ascontiguousarray(rows.indices, np.int32)]


def epoch_order(used: npt.NDArray[np.int64], seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """The order of an epoch's rows, a function of (seed, epoch) alone, so that a run can continue at any
    batch.
    """
    return np.random.Generator(np.random.Philox(key=np.array([seed, epoch], np.uint64))).permutation(used)


def held_out_rows(n: int, share: float, seed: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The rows to train on and those that are held out, ascending, a function of (n, share, seed) alone."""
    if isinstance(share, bool) or not 0 < share < 1:
        raise ArgumentError("validation", share, "a pair (Xv, Yv), or a number between 0 and 1")
    size = max(1, round(n * share))
    if size >= n:
        raise ArgumentError("validation", f"{share} of {n} rows", "a share that leaves rows to train on")
    # No epoch has this number.
    order = epoch_order(np.arange(n), seed, 2**64 - 1)
    return np.sort(order[size:]), np.sort(order[:size])
