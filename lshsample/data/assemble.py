"""From blocks of text to datasets: what the text formats have in common."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from lshsample._native.core import csr_from_parts
from lshsample._native.text import MAX_ID, Dialect, ParsedRows, parse_rows
from lshsample.data.dataset import Dataset
from lshsample.data.source import LineSource
from lshsample.errors import ArgumentError

__all__ = ["BLOCK_BYTES", "checked_size", "concatenate", "empty_rows", "parse_blocks", "to_dataset"]

#: Bytes of text that are parsed at once, enough for 16 threads. Blocks of 32 MiB were read at half the speed,
#: since their arrays are allocated in new pages each time.
BLOCK_BYTES = 2**22


def checked_size(value: int | None, argument: str) -> int:
    """A number of features or labels for which ids fit int32; None, for not known, becomes ``MAX_ID``."""
    if value is None:
        return MAX_ID
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 0 <= value <= MAX_ID:
        raise ArgumentError(argument, repr(value), f"an integer from 0 to {MAX_ID}, or None")
    return int(value)


def parse_blocks(
    source: LineSource, dialect: Dialect, block_bytes: int, threads: int
) -> Iterator[ParsedRows]:
    """Parse the rest of a source, one block at a time."""
    for block in source.blocks(block_bytes):
        yield parse_rows(block.text, dialect, threads, path=source.path, first_line=block.first_line)


def empty_rows(n_rows: int) -> ParsedRows:
    """Rows with neither features nor labels."""
    indptr = np.zeros(n_rows + 1, np.int64)
    no_ids = np.empty(0, np.int32)
    return ParsedRows(
        indptr, no_ids, np.empty(0, np.float32), indptr.copy(), no_ids.copy(),
        min_feature=-1, max_feature=-1, max_label=-1,
    )  # fmt: skip


def concatenate(parts: Iterable[ParsedRows]) -> ParsedRows:
    """The rows of several blocks as one; each part is released before the next is taken."""
    joined: dict[str, npt.NDArray[Any]] = {
        "x_indptr": np.zeros(1, np.int64),
        "x_indices": np.empty(0, np.int32),
        "x_values": np.empty(0, np.float32),
        "y_indptr": np.zeros(1, np.int64),
        "y_indices": np.empty(0, np.int32),
    }
    min_feature = max_feature = max_label = -1
    for part in parts:
        for name, array in joined.items():
            more = getattr(part, name)
            more = more[1:] + array[-1] if name.endswith("indptr") else more
            n = len(array)
            # Growing in place (large arrays by remapping pages) halves the peak of memory.
            array.resize(n + len(more), refcheck=False)
            array[n:] = more
        if part.min_feature >= 0:
            min_feature = min(part.min_feature, MAX_ID if min_feature < 0 else min_feature)
        max_feature, max_label = max(max_feature, part.max_feature), max(max_label, part.max_label)
    return ParsedRows(**joined, min_feature=min_feature, max_feature=max_feature, max_label=max_label)


def to_dataset(rows: ParsedRows, n_features: int, n_labels: int) -> Dataset:
    """A dataset over parsed rows, without copies."""
    return Dataset(
        csr_from_parts(rows.x_indptr, rows.x_indices, rows.x_values, (rows.n_rows, n_features)),
        csr_from_parts(rows.y_indptr, rows.y_indices, None, (rows.n_rows, n_labels)),
    )
