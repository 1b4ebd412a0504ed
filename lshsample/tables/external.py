"""Building a file of tables in bounded memory, from rows that come in blocks."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample import hashing, memory
from lshsample._native import core
from lshsample._native.packed import block_rows, build_packed, directory_bits, transpose_codes
from lshsample.errors import ArgumentError, UnsupportedError
from lshsample.family import Codes, HashFamily
from lshsample.files import as_path, atomic_file
from lshsample.registry import FamilyLike, make_family, resolve_family
from lshsample.specs import checked_integer
from lshsample.tables.file import StreamedTables
from lshsample.tables.hash_tables import HashTables
from lshsample.tables.ids import MAX_ITEMS

__all__ = ["build_file"]

Int32 = npt.NDArray[np.int32]

_LEAST_LIMIT = 2**24
#: Bytes of an item while a range of codes is sorted: its code, id and place, twice each, a key of the radix
#: sort, twice, and its share of a directory.
_ITEM = 48
#: Bytes of an entry of the directory while it is counted.
_ENTRY = 24
#: Cells in which codes are counted at a time.
_CELLS = 2**14
#: Codes that are read through at a time.
_PART = 2**16
#: Largest number of bytes of the codes that are written at a time.
_SPOOL = 2**25


@memory.named_shortage("building a file of tables")
def build_file(
    path: str | PathLike[str],
    family: FamilyLike,
    rows: Any,
    *,
    memory_limit: int = 2**30,
    threads: int | None = None,
) -> HashTables:
    """Build tables into a file in bounded memory, and open it.

    The file has the bytes that ``HashTables(family).build(rows).save(path)`` would write.

    Parameters
    ----------
    path : str or PathLike
        The file. It is replaced when the build is complete, as by :meth:`HashTables.save`.
    family : str, HashFamily, FamilySpec or mapping
        The hash functions, as for :class:`HashTables`.
    rows : (n, dim) array or scipy.sparse matrix, or iterable of such blocks
        Finite rows. An array may be mapped from a file (``np.load(..., mmap_mode="r")``); blocks, such as
        those of a generator, are taken one by one. Row i of all has the id i.
    memory_limit : int
        Bytes that the build may use beside the rows that it is given, at least 16 MiB.
    threads : int, optional
        Maximum number of threads of hashing. The file does not depend on it.

    Returns
    -------
    HashTables
        Mapped from the file.

    Raises
    ------
    ArgumentError
        Rows of another width, NaN or infinite values, no rows at all, or more than 2**31 - 2.
    UnsupportedError
        Blocks with a family that is fitted to all rows, such as to a bound of their norms.
    MemoryBudgetError
        Less memory than the limit is available where it is needed.
    OSError
        The file cannot be written; after any failure the old one is kept.

    Notes
    -----
    Codes are written to a temporary file in the folder of ``path``, 4 bytes for each row and table. Then each
    table is read from it in ranges of codes that fit into half of the limit: each is sorted by a radix sort,
    on one thread, and appended to the file. A table is read once to count, and once for each range, of which
    there are about 96 n / memory_limit. Rows with the same code need no sort, however many there are.

    Examples
    --------
    >>> import pathlib
    >>> rng = np.random.default_rng(0)
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "tables.lsh"
    >>> blocks = (rng.standard_normal((1000, 16), dtype=np.float32) for _ in range(5))
    >>> tables = build_file(path, "simhash:n_hashes=8,n_tables=4", blocks, memory_limit=2**25)
    >>> tables.n_items, len(tables.query(np.ones((1, 16), np.float32)))
    (5000, 1)
    """
    limit = checked_integer("memory_limit", memory_limit, _LEAST_LIMIT)
    count = core.threads_or_default(threads)
    resolved, target = resolve_family(family), as_path(path)
    if target.exists() and not target.is_file():
        raise ArgumentError("path", repr(os.fspath(path)), "a new or a regular file, which has random access")
    is_matrix = sp.issparse(rows) or hasattr(rows, "shape")
    if not is_matrix and not isinstance(rows, Iterable):
        raise ArgumentError("rows", repr(rows), "a matrix, or an iterable of blocks of rows")
    codes: _Codes | None = None
    with tempfile.TemporaryFile(dir=Path(os.path.realpath(target)).parent) as file:
        for each in (rows,) if is_matrix else rows:
            block = _block_of(each)
            if codes is None:
                made = make_family(resolved, dim=block.shape[1]) if isinstance(resolved, str) else resolved
                codes = _Codes(file, _fitted(made, block, is_matrix), limit, count)
            codes.add(block)
        if codes is None or not codes.n_rows:
            raise ArgumentError("rows", "no rows", "at least one row")
        codes.flush()
        memory.require_bytes(min(limit, _ITEM * codes.n_rows), f"{target}: building tables")
        with atomic_file(target) as out:
            _write(codes, StreamedTables(out, codes.family, codes.n_rows), limit // 2)
    return HashTables.open(target, threads=threads)


def _block_of(rows: Any) -> Any:
    """A block of rows as a matrix of two dimensions that can be sliced."""
    is_sparse: bool = sp.issparse(rows)  # that rows are is nothing that types can tell
    block: Any = rows.tocsr() if is_sparse else np.asarray(rows)
    if block.ndim != 2:
        raise ArgumentError("rows", f"shape {block.shape}", "2-D arrays (n_rows, n_columns)")
    return block


def _fitted(family: HashFamily, block: Any, is_matrix: bool) -> HashFamily:
    """The family prepared for all rows, as by any build."""
    if type(family).prepare is HashFamily.prepare:
        return family
    if is_matrix:
        return hashing.prepared(family, hashing.checked_rows(family, block, "rows"))
    label = hashing.family_label(family)
    raise UnsupportedError(f"{label} is fitted to all rows: give them as one matrix, which may be mapped")


class _Codes:
    """The codes of rows in a file: blocks of rows, and in a block the codes of each table together.

    Parameters
    ----------
    file : file object
        An empty file.
    family : HashFamily
        The hash functions.
    limit, threads : int
        Bytes and threads of the build.

    Attributes
    ----------
    n_rows : int
        Rows so far.
    """

    def __init__(self, file: BinaryIO, family: HashFamily, limit: int, threads: int) -> None:
        self._file, self.family, self._threads = file, family, threads
        self.n_rows = self._filled = 0
        rows = max(min(limit // 8, _SPOOL) // (4 * family.n_tables), 64)
        self._block: Codes = np.empty((family.n_tables, rows), np.uint32)
        self._at_once = max(min(block_rows(family.n_tables), limit // 16 // (4 * family.dim)), 64)

    def add(self, block: Any) -> None:
        """Hash the next rows."""
        family, threads, room = self.family, self._threads, self._block.shape[1]
        begin, n_rows = 0, block.shape[0]
        if self.n_rows + n_rows > MAX_ITEMS:
            raise ArgumentError("rows", f"{self.n_rows + n_rows} rows and more", f"at most {MAX_ITEMS} rows")
        while begin < n_rows:
            end = min(begin + self._at_once, begin + room - self._filled, n_rows)
            place = f"rows[{self.n_rows}:{self.n_rows + end - begin}]"
            rows = hashing.checked_rows(family, block[begin:end], place, threads=threads)
            codes = hashing.hash_rows(family, rows, threads=threads)
            label = hashing.family_label(family)
            transpose_codes(codes, family.code_bits, self._filled, self._block, threads, label)
            self._filled, self.n_rows, begin = self._filled + end - begin, self.n_rows + end - begin, end
            if self._filled == room:
                self.flush()

    def flush(self) -> None:
        """Write the codes of the last rows."""
        if self._filled:
            self._file.write(self._block.reshape(-1).view(np.uint8).data)
            self._file.flush()
            self._filled = 0

    def column(self, table: int) -> Iterator[tuple[int, Codes]]:
        """The codes of a table in parts, each with its first row; a part is valid until the next."""
        n_tables, room = self._block.shape
        codes = self._block[0]  # the rows are written
        for block, first in enumerate(range(0, self.n_rows, room)):
            at = codes.nbytes * (block * n_tables + table)
            os.preadv(self._file.fileno(), [codes.view(np.uint8).data], at)
            count = min(room, self.n_rows - first)
            for begin in range(0, count, _PART):
                yield first + begin, codes[begin : min(begin + _PART, count)]

    def within(self, table: int, low: int, high: int) -> Iterator[tuple[Int32, Codes]]:
        """The rows of a table with codes from ``low`` to ``high - 1``, in order, and these codes less low."""
        for first, part in self.column(table):
            offsets = part - np.uint32(low)
            rows = np.flatnonzero(offsets < high - low)
            yield (rows + first).astype(np.int32), offsets[rows]


def _write(codes: _Codes, out: StreamedTables, limit: int) -> None:
    """Sort the codes of each table into the file."""
    bits, n_rows = codes.family.code_bits, codes.n_rows
    shift = bits - directory_bits(n_rows, bits)
    for table in range(codes.family.n_tables):
        placed = 0
        for low, high, size in _ranges(codes, table, 0, 1 << bits, shift, limit):
            # Of the entries of the directory that the range has a part of; the first may begin before it.
            begin = low >> shift
            counts = np.zeros(((high - 1) >> shift) - begin + 1, np.int64)
            for ids, found in _sorted(codes, table, low, high, size):
                out.append("ids", ids)
                if shift:
                    out.append("codes", found)
                counts += np.bincount((found >> shift) - begin, minlength=len(counts))
            starts = placed + np.cumsum(counts) - counts
            out.append("directory", starts[int(begin << shift < low) :].astype(np.int32))
            placed += size
        out.append("directory", np.array([n_rows], np.int32))
    out.finish()


def _ranges(
    codes: _Codes, table: int, low: int, high: int, shift: int, limit: int
) -> Iterator[tuple[int, int, int]]:
    """Ranges of the codes from ``low`` to ``high - 1`` of a table that can be sorted in memory.

    Each is its first code, the one after its last, and its number of rows. Codes are counted in cells;
    neighbouring cells are joined up to the limit, and a cell above it is divided. A range of one code may
    have any number of rows.
    """
    width = max(-(-(high - low) // _CELLS), 1)
    counts = np.zeros(-(-(high - low) // width), np.int64)
    for _, offsets in codes.within(table, low, high):
        counts += np.bincount(offsets // np.uint32(width), minlength=len(counts))
    begin = size = 0
    for cell, count in enumerate(counts.tolist()):
        needed = _ITEM * (size + count) + _ENTRY * ((width * (cell + 1 - begin) >> shift) + 1)
        if needed > limit and cell > begin:
            yield low + begin * width, low + cell * width, size
            begin, size = cell, 0
        if _ITEM * count > limit and width > 1:
            end = min(low + (cell + 1) * width, high)
            yield from _ranges(codes, table, low + cell * width, end, shift, limit)
            begin, size = cell + 1, 0
        else:
            size += count
    if begin < len(counts):
        yield low + begin * width, high, size


def _sorted(codes: _Codes, table: int, low: int, high: int, size: int) -> Iterator[tuple[Int32, Codes]]:
    """The ids of the rows with codes from ``low`` to ``high - 1``, sorted by code and id; and these codes."""
    if high - low == 1:  # ids ascend
        for ids, offsets in codes.within(table, low, high):
            yield ids, offsets + np.uint32(low)
        return
    ids, offsets, at = np.empty(size, np.int32), np.empty(size, np.uint32), 0
    for part, of_part in codes.within(table, low, high):
        end = at + len(part)
        ids[at:end], offsets[at:end], at = part, of_part, end
    if not size:
        return
    bits, label = (high - low - 1).bit_length(), hashing.family_label(codes.family)
    packed = build_packed(lambda first, last: offsets[first:last, None], size, 1, bits, 1, label)
    order = packed.ids[0]
    yield ids[order], offsets[order] + np.uint32(low)
