"""Blocks of text to datasets: the part that the text formats share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from lshsample._native.text import MAX_ID, Dialect, Rows, parse_rows
from lshsample.data.dataset import Dataset, csr
from lshsample.data.source import LineSource
from lshsample.errors import ArgumentError

__all__ = ["BLOCK_BYTES", "checked_size", "concatenate", "empty_rows", "parse_blocks", "to_dataset"]

#: Text parsed at once: enough chunks for every thread, little beside the arrays that come of it.
BLOCK_BYTES = 2**25


def checked_size(value: int | None, argument: str) -> int:
    """A number of features or labels that ids can hold; None means not known (``MAX_ID``)."""
    if value is None:
        return MAX_ID
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 0 <= value <= MAX_ID:
        raise ArgumentError(argument, repr(value), f"an integer from 0 to {MAX_ID}, or None")
    return int(value)


def parse_blocks(source: LineSource, dialect: Dialect, block_bytes: int, threads: int) -> Iterator[Rows]:
    """Parse what is left of a source, a block at a time."""
    for block in source.blocks(block_bytes):
        yield parse_rows(block.text, dialect, threads, path=source.path, first_line=block.first_line)


def empty_rows(n_rows: int) -> Rows:
    """Rows with neither features nor labels."""
    indptr = np.zeros(n_rows + 1, np.int64)
    no_ids = np.empty(0, np.int32)
    return Rows(indptr, no_ids, np.empty(0, np.float32), indptr.copy(), no_ids.copy(), -1, -1)


def concatenate(parts: Sequence[Rows]) -> Rows:
    """Rows of several blocks, one after another."""
    if len(parts) == 1:
        return parts[0]
    return Rows(
        x_indptr=_join([part.x_indptr for part in parts]),
        x_indices=np.concatenate([np.empty(0, np.int32), *(part.x_indices for part in parts)]),
        x_values=np.concatenate([np.empty(0, np.float32), *(part.x_values for part in parts)]),
        y_indptr=_join([part.y_indptr for part in parts]),
        y_indices=np.concatenate([np.empty(0, np.int32), *(part.y_indices for part in parts)]),
        max_feature=max((part.max_feature for part in parts), default=-1),
        max_label=max((part.max_label for part in parts), default=-1),
    )


def _join(pointers: Sequence[np.ndarray]) -> np.ndarray:
    """One row pointer for the rows of several, each starting at 0."""
    lengths = [np.diff(p) for p in pointers]
    total = np.cumsum(np.concatenate([np.empty(0, np.int64), *lengths]))
    return np.concatenate([np.zeros(1, np.int64), total])


def to_dataset(rows: Rows, n_features: int, n_labels: int) -> Dataset:
    """A dataset over parsed rows, without copies; a size of ``MAX_ID`` becomes the largest id and one."""
    n_features = rows.max_feature + 1 if n_features == MAX_ID else n_features
    n_labels = rows.max_label + 1 if n_labels == MAX_ID else n_labels
    return Dataset(
        csr((rows.n_rows, n_features), rows.x_indptr, rows.x_indices, rows.x_values),
        csr((rows.n_rows, n_labels), rows.y_indptr, rows.y_indices),
    )
