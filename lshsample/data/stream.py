"""Files larger than memory: datasets of a batch each."""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike

import numpy as np

from lshsample._native.core import threads_or_default
from lshsample._native.text import Rows
from lshsample.data.assemble import BLOCK_BYTES, concatenate, to_dataset
from lshsample.data.dataset import Dataset
from lshsample.data.source import LineSource
from lshsample.data.xc import Header, read_header, xc_rows
from lshsample.errors import ArgumentError

__all__ = ["stream_xc"]


def stream_xc(
    path: str | PathLike[str], batch_size: int, *, trust_rows: bool = False, threads: int | None = None
) -> Iterator[Dataset]:
    r"""Read a file of the XC repository's text format as datasets of ``batch_size`` rows, the last one
    smaller.

    Memory is bounded by a block of text (4 MiB, or one line) and a batch, whatever the size of the file.
    Arguments, header and errors are those of :func:`~lshsample.data.read_xc`. The header is read at once; a
    fault in a later line is raised when the stream gets there, after the batches before it, and so is a
    file that ends too early.

    Parameters
    ----------
    path : str or PathLike
        The file, plain or gzip.
    batch_size : int
        Rows in a batch, at least 1.
    trust_rows : bool
        Trust the rows, not the header.
    threads : int, optional
        Threads to parse with.

    Returns
    -------
    iterator of Dataset
        Each of shape (batch_size, D) and (batch_size, L).

    Raises
    ------
    ArgumentError, DataFormatError, OSError
        As said above.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "tiny.txt"
    >>> _ = path.write_text("3 2 2\n0 0:1\n1 1:1\n0,1 0:1 1:1\n")
    >>> [batch.n_rows for batch in stream_xc(path, 2)]
    [2, 1]
    """
    if isinstance(batch_size, bool) or not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
        raise ArgumentError("batch_size", repr(batch_size), "an integer >= 1")
    count = threads_or_default(threads)
    source = LineSource(path)
    header = read_header(source)
    return _batches(xc_rows(source, header, trust_rows, BLOCK_BYTES, count), header, int(batch_size))


def _batches(blocks: Iterator[Rows], header: Header, batch_size: int) -> Iterator[Dataset]:
    """Cut blocks of rows of any size into batches of one size."""
    kept: list[Rows] = []
    n_kept = 0
    for rows in blocks:
        kept.append(rows)
        n_kept += rows.n_rows
        if n_kept < batch_size:
            continue
        joined = concatenate(kept)
        whole = n_kept - n_kept % batch_size
        for begin in range(0, whole, batch_size):
            yield to_dataset(_slice(joined, begin, begin + batch_size), header.n_features, header.n_labels)
        kept, n_kept = [_slice(joined, whole, n_kept)], n_kept - whole
    if n_kept:
        yield to_dataset(concatenate(kept), header.n_features, header.n_labels)


def _slice(rows: Rows, begin: int, end: int) -> Rows:
    """A range of rows as arrays of their own, so that a batch does not keep its block alive."""
    x_begin, x_end = rows.x_indptr[begin], rows.x_indptr[end]
    y_begin, y_end = rows.y_indptr[begin], rows.y_indptr[end]
    return Rows(
        x_indptr=rows.x_indptr[begin : end + 1] - x_begin,
        x_indices=rows.x_indices[x_begin:x_end].copy(),
        x_values=rows.x_values[x_begin:x_end].copy(),
        y_indptr=rows.y_indptr[begin : end + 1] - y_begin,
        y_indices=rows.y_indices[y_begin:y_end].copy(),
        max_feature=rows.max_feature,
        max_label=rows.max_label,
    )
