"""The text format of the Extreme Classification Repository (Bhatia et al., 2016).

The first line is ``N D L``: the numbers of samples, features and labels. Each further line is a sample
``l1,l2,... f:v f:v ...``, with ids from 0. The line of a sample without labels starts with a space or with
its first feature; an empty line is a sample with neither. Lines may end in CR LF, features may be in any
order, and there may be trailing spaces. Empty lines at the end that the header does not count are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from os import PathLike

import attrs

from lshsample._native.core import threads_or_default
from lshsample._native.text import MAX_ID, Dialect, ParsedRows
from lshsample.data.assemble import BLOCK_BYTES, concatenate, empty_rows, parse_blocks, to_dataset
from lshsample.data.dataset import Dataset
from lshsample.data.source import LineSource

__all__ = ["Header", "is_matrix_header", "is_xc_header", "read_header", "read_xc", "xc_dataset", "xc_rows"]

_HEADER = re.compile(rb"[ \t]*(\d+)[ \t]+(\d+)[ \t]+(\d+)[ \t]*")
_MATRIX_HEADER = re.compile(rb"[ \t]*(\d+)[ \t]+(\d+)[ \t]*")


@attrs.frozen
class Header:
    """The numbers of samples, features and labels in the first line."""

    n_rows: int
    n_features: int
    n_labels: int


def is_xc_header(line: bytes) -> bool:
    """Whether a first line is a header, valid or not: several words without a colon are not a sample."""
    return b":" not in line and len(line.partition(b"#")[0].split()) > 1


def is_matrix_header(line: bytes) -> bool:
    """Whether a first line has two integers: the file is one matrix, of features or of labels."""
    return _MATRIX_HEADER.fullmatch(line) is not None


def read_xc(path: str | PathLike[str], *, trust_rows: bool = False, threads: int | None = None) -> Dataset:
    r"""Read a file in the text format of the XC repository.

    Parameters
    ----------
    path : str or PathLike
        The file, plain or compressed, a pipe, or ``"-"`` for standard input.
    trust_rows : bool
        Read all rows, whatever number the header states. Ids are still validated against the header.
    threads : int, optional
        Number of threads, by default ``OMP_NUM_THREADS`` or the number of processors. The result does not
        depend on it.

    Returns
    -------
    Dataset
        ``x`` of shape (N, D), float32, each value the nearest float32 to its text; ``y`` of shape (N, L).

    Raises
    ------
    DataFormatError
        With file, line, column, what is wrong and what is expected: a bad header, more or fewer rows than it
        states, an id that is not a number or out of range, a missing colon, a value that is not a finite
        float32, a feature twice in a row (a label twice in a row counts once), an empty file, damaged or
        truncated compression.
    OSError
        The file cannot be read.

    Notes
    -----
    The text is read in blocks of 4 MiB, so that the peak of memory is little more than the arrays.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "tiny.txt"
    >>> _ = path.write_text("2 4 3\n0,2 1:0.5 3:1\n 0:2\n")
    >>> data = read_xc(path)
    >>> data.x.toarray()
    array([[0. , 0.5, 0. , 1. ],
           [2. , 0. , 0. , 0. ]], dtype=float32)
    >>> data.y.indices.tolist(), data.y.indptr.tolist()
    ([0, 2], [0, 2, 2])
    """
    return xc_dataset(LineSource(path), trust_rows=trust_rows, threads=threads)


def xc_dataset(source: LineSource, *, trust_rows: bool = False, threads: int | None = None) -> Dataset:
    """The dataset of an opened source; see :func:`read_xc`."""
    count = threads_or_default(threads)
    header = read_header(source)
    rows = concatenate(xc_rows(source, header, trust_rows, BLOCK_BYTES, count))
    return to_dataset(rows, header.n_features, header.n_labels)


def read_header(source: LineSource, *, of_matrix: bool = False) -> Header:
    """Read the header of a source; that of one matrix has no number of labels, which becomes 0."""
    line = source.first_line()
    match = (_MATRIX_HEADER if of_matrix else _HEADER).fullmatch(line)
    if match is None:
        shown = ascii(line[:60].decode("utf-8", "backslashreplace"))
        wanted = "two integers: rows, columns" if of_matrix else "three integers: samples, features, labels"
        raise source.fail(f"bad header {shown}: expected {wanted}", 1, 1)
    n_rows, n_features, n_labels = (*(int(number) for number in match.groups()), 0)[:3]
    header = Header(n_rows, n_features, n_labels)
    for place, name, size in ((2, "features", n_features), (3, "labels", n_labels)):
        if size > MAX_ID:
            raise source.fail(
                f"too many {name} in the header, {size}: expected at most {MAX_ID}",
                1,
                match.start(place) + 1,
            )
    return header


def xc_rows(
    source: LineSource, header: Header, trust_rows: bool, block_bytes: int, threads: int
) -> Iterator[ParsedRows]:
    """Parse the lines after the header, one block at a time, and compare their number with the header."""
    dialect = Dialect(n_features=header.n_features, n_labels=header.n_labels)
    n_rows = 0
    for rows in parse_blocks(source, dialect, block_bytes, threads):
        n_rows += rows.n_rows
        if n_rows > header.n_rows and not trust_rows:
            raise source.fail(
                f"more samples than the header's {header.n_rows}; {_ADVICE}", header.n_rows + 2, 1
            )
        yield rows
    if trust_rows or n_rows == header.n_rows:
        return
    # Samples with neither labels nor features may be empty lines, also at the end of the file.
    if n_rows + source.trailing_lines < header.n_rows:
        given = n_rows + source.trailing_lines
        raise source.fail(
            f"the file ends after {given} samples, the header says {header.n_rows}; {_ADVICE}", given + 2
        )
    yield empty_rows(header.n_rows - n_rows)


_ADVICE = "pass trust_rows=True (--trust-rows) to read the rows that there are"
