"""Files larger than memory, as a stream of datasets of one batch each."""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike

import numpy as np

from lshsample._native.core import threads_or_default
from lshsample._native.text import ParsedRows
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
    Arguments and errors are those of :func:`~lshsample.data.read_xc`. The header is read immediately; errors
    in later lines, and a file that ends too early, are raised when the stream reaches them.

    Parameters
    ----------
    path : str or PathLike
        The file, plain or compressed, a pipe, or ``"-"`` for standard input.
    batch_size : int
        Number of rows in a batch, at least 1.
    trust_rows : bool
        Read all rows, whatever number the header states.
    threads : int, optional
        Number of threads.

    Returns
    -------
    iterator of Dataset
        Each of shape (batch_size, D) and (batch_size, L).

    Raises
    ------
    ArgumentError, DataFormatError, OSError
        As described above.

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


def _batches(blocks: Iterator[ParsedRows], header: Header, batch_size: int) -> Iterator[Dataset]:
    """Blocks of rows of any size as batches of one size."""
    kept: list[ParsedRows] = []
    n_kept = 0
    for rows in blocks:
        kept.append(rows)
        n_kept += rows.n_rows
        if n_kept < batch_size:
            continue
        joined = concatenate(kept)
        complete = n_kept - n_kept % batch_size
        for begin in range(0, complete, batch_size):
            yield to_dataset(_slice(joined, begin, begin + batch_size), header.n_features, header.n_labels)
        kept, n_kept = [_slice(joined, complete, n_kept)], n_kept - complete
    if n_kept:
        yield to_dataset(concatenate(kept), header.n_features, header.n_labels)


def _slice(rows: ParsedRows, begin: int, end: int) -> ParsedRows:
    """A copy of a range of rows, so that a batch does not keep the memory of its block."""
    x_begin, x_end = rows.x_indptr[begin], rows.x_indptr[end]
    y_begin, y_end = rows.y_indptr[begin], rows.y_indptr[end]
    return ParsedRows(
        x_indptr=rows.x_indptr[begin : end + 1] - x_begin,
        x_indices=rows.x_indices[x_begin:x_end].copy(),
        x_values=rows.x_values[x_begin:x_end].copy(),
        y_indptr=rows.y_indptr[begin : end + 1] - y_begin,
        y_indices=rows.y_indices[y_begin:y_end].copy(),
        min_feature=rows.min_feature,
        max_feature=rows.max_feature,
        max_label=rows.max_label,
    )
