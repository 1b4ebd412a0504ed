"""Batches of rows of files, shuffled in a window."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample._native.core import csr_from_parts
from lshsample.errors import ArgumentError
from lshsample.nn import Network
from lshsample.nn.batches import Batch
from lshsample.nn.inputs import SparseInput
from lshsample.nn.signals import take_rows
from lshsample.specs import checked_integer
from lshsample.streams.files import Block
from lshsample.streams.jobs import Made, Wanted
from lshsample.streams.parsers import Parsers
from lshsample.streams.rows import StreamedRows
from lshsample.training.batch_source import BatchSource, epoch_order

__all__ = ["StreamBatches"]

Int64 = npt.NDArray[np.int64]

#: Files whose blocks take turns.
_TURNS = 8


class StreamBatches(BatchSource):
    """Batches of streamed rows, in another order for each epoch; a context manager, which ends the parsers.

    Parameters
    ----------
    rows : StreamedRows
    network : Network
        The network to train. Rows without labels are left out if its loss needs labels (softmax). Of rows
        that it does not compute with, as they are another process's (:class:`~lshsample.nn.DataParallel`),
        neither features nor labels are made, and batches have empty rows.
    batch_size : int
        Rows per batch; the last batch of an epoch may have fewer.
    seed : int
        With the epoch, determines the order.
    window : int
        Blocks of 1 MiB of text whose rows are shuffled together.
    parsers : int
        Processes that parse; 0 for this one. The batches do not depend on it.

    Notes
    -----
    In each epoch the files are in another order, and of eight of them at a time the blocks take turns. The
    rows of each window of these blocks are shuffled. All of that is a function of (seed, epoch), so that a
    run continues at any batch: the file is read up to it again, but parsed from the beginning of its window.

    Memory: the rows of two windows, and the texts of one.
    """

    def __init__(
        self,
        rows: StreamedRows,
        network: Network,
        batch_size: int = 256,
        seed: int = 0,
        *,
        window: int = 64,
        parsers: int = 1,
    ) -> None:
        self.rows = rows
        self.batch_size = checked_integer("batch_size", batch_size, 1)
        self.seed = checked_integer("seed", seed, 0, 2**63 - 1)
        self.window = checked_integer("window", window, 1, 2**20)
        for name, wanted in (("n_features", network.n_features), ("n_labels", network.n_labels)):
            if getattr(rows, name) != wanted:
                raise ArgumentError("rows", f"{getattr(rows, name)} {name}", f"{wanted}, as the network has")
        without_labels = not network.loss.needs_labels
        self._n_kept = rows.n_kept(without_labels)
        if not self._n_kept.any():
            raise ArgumentError("rows", "no row to train on", "rows that are not held out")
        checked_integer("parsers", parsers, 0, 1024)
        self._own_rows = network.own_rows
        self._parsers = Parsers(rows.making(without_labels), parsers)
        self.begin(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._batches.close()
        self._parsers.close()

    @property
    def n_rows(self) -> int:
        """Rows of an epoch."""
        return int(self._n_kept.sum())

    @property
    def steps_per_epoch(self) -> int:
        """Batches per epoch."""
        return -(-self.n_rows // self.batch_size)

    def observe(self, network: Network) -> None:
        """Give the network the statistics of all rows."""
        counts = self.rows.feature_counts()
        if counts is not None and isinstance(network.input, SparseInput):
            network.allocate_for_prediction()
            network.input.observe_counts(counts, self.rows.n_rows)
        self.observe_labels(network)

    def observe_labels(self, network: Network) -> None:
        """Give the network the frequencies of the labels."""
        network.observe_labels(_with_counts(self.rows.counts, self.n_rows))

    def fingerprint(self) -> list[int]:
        """Sizes and checksums of the rows."""
        return self.rows.fingerprint()

    def begin(self, epoch: int) -> None:
        """Start an epoch."""
        self._start(epoch, 0)

    def next_batch(self) -> Batch | None:
        """The next rows of the order."""
        batch = next(self._batches, None)
        self._position += batch is not None
        return batch

    def state(self) -> dict[str, Any]:
        """The epoch, the number of its batches that are done, and the window."""
        return {"epoch": self._epoch, "position": self._position, "window": self.window}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go to an epoch and a batch in it; ArgumentError if there is none, or for another window."""
        if state.get("window") != self.window:
            wanted = f"{state.get('window')}, as in the run that is continued"
            raise ArgumentError("window", self.window, wanted)
        epoch = checked_integer("epoch", state.get("epoch"), 0, 2**63 - 1)
        self._start(epoch, checked_integer("position", state.get("position"), 0, self.steps_per_epoch))

    def _start(self, epoch: int, position: int) -> None:
        self._epoch, self._position = epoch, position
        self._batches = self._all_batches(epoch, position * self.batch_size)

    def _tasks(
        self, epoch: int, order: Int64, sizes: Int64, first: int
    ) -> Generator[tuple[int, Block, Wanted]]:
        """The blocks from a window on, with the rows that are wanted of each."""
        blocks = self.rows.read(order[first * self.window :])
        done = int(sizes[:first].sum())
        for number in range(first, len(sizes)):
            own = order[number * self.window : (number + 1) * self.window]
            wanted = self._wanted(epoch, number, done, int(sizes[number]))
            done += int(sizes[number])
            ends = np.cumsum(self._n_kept[own])
            for end, rows in zip(ends, self._n_kept[own], strict=True):
                yield (*next(blocks), None if wanted is None else wanted[end - rows : end])

    def _wanted(self, epoch: int, window: int, done: int, size: int) -> Wanted:
        """Which rows of a window this process computes with, after so many rows of the epoch."""
        if self._own_rows(self.batch_size) == range(self.batch_size):
            return None
        at = done + np.arange(size)
        rows = np.minimum(self.batch_size, self.n_rows - at // self.batch_size * self.batch_size)
        sizes, which = np.unique(rows, return_inverse=True)
        own = [self._own_rows(n) for n in sizes.tolist()]
        begins, ends = np.array([(one.start, one.stop) for one in own]).reshape(-1, 2)[which].T
        within = at % self.batch_size
        wanted = np.zeros(size, bool)
        wanted[_window_order(size, self.seed, epoch, window)] = (begins <= within) & (within < ends)
        return wanted

    def _all_batches(self, epoch: int, skipped: int) -> Generator[Batch]:
        """The batches of an epoch, after a number of rows that is a multiple of their size."""
        order = _block_order(self.rows.file_of, self.seed, epoch)
        begins = np.arange(0, len(order), self.window)
        sizes = np.add.reduceat(self._n_kept[order], begins)
        ends = np.cumsum(sizes)
        first = int(np.searchsorted(ends, skipped, side="right"))
        skipped -= int(ends[first] - sizes[first]) if first < len(ends) else 0
        made = self._parsers.map(self._tasks(epoch, order, sizes, first), self.window)
        parts, missing = list[Made](), self.batch_size
        for number in range(first, len(begins)):
            blocks = [next(made) for _ in order[begins[number] : begins[number] + self.window]]
            rows = _joined(blocks)
            del blocks
            shuffled = _window_order(int(sizes[number]), self.seed, epoch, number)
            at, skipped = skipped, 0
            while at < len(shuffled):
                taken = shuffled[at : at + missing]
                at += len(taken)
                missing -= len(taken)
                parts.append(Made(take_rows(rows.x, taken), take_rows(rows.y, taken)))
                if not missing:
                    yield _batch(parts)
                    parts, missing = [], self.batch_size
        if parts:
            yield _batch(parts)


def _block_order(file_of: Int64, seed: int, epoch: int) -> Int64:
    """The order of the blocks in an epoch: those of eight files at a time take turns."""
    n_files = int(file_of.max()) + 1
    place = np.empty(n_files, np.int64)
    place[epoch_order(np.arange(n_files), seed, epoch)] = np.arange(n_files)
    within = np.arange(len(file_of)) - np.searchsorted(file_of, file_of)
    at = place[file_of]
    return np.lexsort((at, within, at // _TURNS))


def _window_order(n: int, seed: int, epoch: int, window: int) -> Int64:
    """The order of the rows of a window; counters of other windows, and of the files, are far away."""
    generator = np.random.Philox(key=np.array([seed, epoch], np.uint64), counter=[0, 0, 0, window + 1])
    return np.random.Generator(generator).permutation(n)


def _joined(parts: list[Made]) -> Made:
    """The rows of several parts."""
    return (
        parts[0] if len(parts) == 1 else Made(*(_stacked([getattr(p, name) for p in parts]) for name in "xy"))
    )


def _stacked(rows: list[Any]) -> sp.csr_array:
    counts = [np.diff(one.indptr) for one in rows]
    indptr = np.concatenate([[0], np.cumsum(np.concatenate(counts))]).astype(np.int64)
    indices, values = (np.concatenate([getattr(one, name) for one in rows]) for name in ("indices", "data"))
    return csr_from_parts(indptr, indices, values, (len(indptr) - 1, rows[0].shape[1]))


def _batch(parts: list[Made]) -> Batch:
    rows = _joined(parts)
    return Batch(rows.x, rows.y)


def _with_counts(counts: Int64, n_rows: int) -> sp.csr_array:
    """Labels of so many rows, each as frequent as given; which of the rows have it means nothing."""
    labels = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    indptr = np.minimum(np.arange(n_rows + 1) * -(-len(labels) // n_rows), len(labels))
    return csr_from_parts(indptr, labels, None, (n_rows, len(counts)))
