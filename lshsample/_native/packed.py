"""Packed hash tables: the immutable base, its build, its checks and its arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from lshsample._native import core
from lshsample._native.core import ffi, lib
from lshsample.errors import PluginError

__all__ = ["MemoryNeed", "PackedTables", "block_rows", "build_packed", "directory_bits", "memory_need"]
__all__ += ["SlicedPacked", "packed_shapes", "transpose_codes"]

Codes = npt.NDArray[np.uint32]

#: Bytes of one block of codes that is transposed at a time: it fits into the L2 cache.
_BLOCK_BYTES = 2**20
#: Rows of a block of codes of a build in slices: 16 KiB of each table.
_SLICED_ROWS = 4096


@attrs.frozen
class MemoryNeed:
    """The memory of a build.

    Attributes
    ----------
    tables : int
        Bytes of the tables when they are built.
    peak : int
        Bytes at the highest point of the build, the tables included; rows and old tables are not.
    per_table : int
        Bytes of one table.
    writer : int
        Further bytes from the first update, insertion or deletion on: each id's codes.
    """

    tables: int
    peak: int
    per_table: int
    writer: int


@attrs.frozen(eq=False)
class PackedTables:
    """The immutable packed base: per table the ids sorted by (code, id), and a directory over the codes.

    Attributes
    ----------
    n_items, code_bits : int
        Ids per table, bits of a code.
    ids : (n_tables, n_items) int32 array
        A permutation of the ids per table.
    codes : (n_tables, n_items) uint32 array or None
        The sorted codes; None where the directory has an entry for each bucket.
    directory : (n_tables, 2**directory_bits + 1) int32 array
        Offsets: where the run of each value of the top bits begins.
    n_ids : int
        Ids are below it; by default n_items.
    untrusted : bool
        The arrays were not checked, so that lookups check what they read.
    """

    n_items: int
    code_bits: int
    ids: npt.NDArray[np.int32]
    codes: Codes | None
    directory: npt.NDArray[np.int32]
    n_ids: int = attrs.field(default=attrs.Factory(lambda self: self.n_items, takes_self=True))
    untrusted: bool = False

    @property
    def bucket_size(self) -> None:
        """None: buckets keep every id."""
        return None

    @property
    def n_tables(self) -> int:
        """Number of tables, L."""
        return len(self.ids)

    @property
    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays by their names in a file."""
        named = {"ids": self.ids, "directory": self.directory}
        return named if self.codes is None else {**named, "codes": self.codes}

    def with_arrays(self, arrays: dict[str, npt.NDArray[Any]]) -> PackedTables:
        """The same tables with other arrays, named as in :attr:`arrays`."""
        return attrs.evolve(self, ids=arrays["ids"], directory=arrays["directory"], codes=arrays.get("codes"))

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return sum(array.nbytes for array in self.arrays.values())

    def renamed(self, names: npt.NDArray[np.int32]) -> PackedTables:
        """The same with ``names[i]`` instead of id i; names ascend, so the order does not change."""
        for row in self.ids:
            row[:] = names[row]
        return attrs.evolve(self, n_ids=int(names[-1]) + 1)

    def struct(self) -> Any:
        """A ``lsh_packed *`` over the arrays, which must outlive its use."""
        packed = ffi.new("lsh_packed *")
        packed.n_items, packed.n_tables, packed.code_bits = self.n_items, self.n_tables, self.code_bits
        packed.directory_bits = directory_bits(self.n_items, self.code_bits)
        packed.n_ids, packed.untrusted = self.n_ids, self.untrusted
        packed.ids = core.pointer("int32_t *", self.ids)
        packed.codes = core.pointer("uint32_t *", self.codes)
        packed.directory = core.pointer("int32_t *", self.directory)
        return packed

    def is_sound(self, threads: int) -> bool:
        """Whether arrays from outside satisfy the layout, so that every lookup stays inside them."""
        shapes = {name: array.shape for name, array in self.arrays.items()}
        if shapes != packed_shapes(self.n_items, self.n_tables, self.code_bits):
            return False
        status = lib.lsh_packed_check(self.struct(), threads)
        if status == lib.LSH_INTERRUPTED:
            core.check(status, "checking tables")
        return bool(status == lib.LSH_OK)


def directory_bits(n_items: int, code_bits: int) -> int:
    """Bits of the directory over n_items codes."""
    return int(lib.lsh_packed_directory_bits(n_items, code_bits))


def packed_shapes(n_items: int, n_tables: int, code_bits: int) -> dict[str, tuple[int, ...]]:
    """The shapes of the arrays, by their names in a file."""
    bits = directory_bits(n_items, code_bits)
    shapes: dict[str, tuple[int, ...]] = {"ids": (n_tables, n_items), "directory": (n_tables, 2**bits + 1)}
    if bits < code_bits:
        shapes["codes"] = (n_tables, n_items)
    return shapes


def empty_packed(n_items: int, n_tables: int, code_bits: int, n_ids: int) -> PackedTables:
    """Tables with uninitialized arrays."""
    shapes = packed_shapes(n_items, n_tables, code_bits)
    return PackedTables(
        n_items=n_items,
        code_bits=code_bits,
        ids=np.empty(shapes["ids"], np.int32),
        codes=np.empty(shapes["codes"], np.uint32) if "codes" in shapes else None,
        directory=np.empty(shapes["directory"], np.int32),
        n_ids=n_ids,
    )


def memory_need(n_items: int, n_tables: int, code_bits: int, threads: int) -> MemoryNeed:
    """The memory of :func:`build_packed` for these sizes."""
    bits = directory_bits(n_items, code_bits)
    column = 4 * n_items * n_tables
    directory = 4 * (2**bits + 1) * n_tables
    kept = column if bits < code_bits else 0
    scratch = int(lib.lsh_packed_build_scratch(n_items, n_tables, code_bits, threads))
    block = 2 * block_rows(n_tables) * n_tables * 4
    tables = column + directory + kept
    peak = tables + max(scratch, block)
    return MemoryNeed(tables, peak, tables // n_tables, column + n_items)


def block_rows(n_tables: int) -> int:
    """Rows that are hashed at a time."""
    return max(_BLOCK_BYTES // (4 * n_tables) // 64 * 64, 64)


def build_packed(
    hash_block: Callable[[int, int], Codes],
    n_items: int,
    n_tables: int,
    code_bits: int,
    threads: int,
    label: str,
) -> PackedTables:
    """Hash rows block by block and sort them into tables.

    Parameters
    ----------
    hash_block : callable
        ``hash_block(begin, end)`` returns the (end - begin, n_tables) codes of these rows.
    n_items, n_tables, code_bits : int
        Sizes; codes are below ``2**code_bits``.
    threads : int
        Maximum number of threads.
    label : str
        The family's name for errors.

    Returns
    -------
    PackedTables

    Raises
    ------
    PluginError
        A code is out of range.
    MemoryError
        An allocation failed.
    """
    tables = empty_packed(n_items, n_tables, code_bits, n_items)
    # The codes are sorted where they lie, so that memory is touched, and needed, only once.
    columns: Codes = tables.ids.view(np.uint32) if tables.codes is None else tables.codes
    step = block_rows(n_tables)
    for begin in range(0, n_items, step):
        codes = hash_block(begin, min(begin + step, n_items))
        transpose_codes(codes, code_bits, begin, columns, threads, label)
    _check(lib.lsh_packed_build(tables.struct(), threads), code_bits, label)
    return tables


def transpose_codes(
    codes: Codes, code_bits: int, first: int, columns: Codes, threads: int, label: str
) -> None:
    """Write the codes (m, n_tables) of rows into columns (n_tables, rows) at the rows from ``first`` on.

    Raises
    ------
    PluginError
        A code is out of range.
    """
    given, to = core.pointer("uint32_t *", codes), core.pointer("uint32_t *", columns)
    n_tables, n_rows = columns.shape
    status = lib.lsh_codes_transpose(given, len(codes), n_tables, code_bits, first, n_rows, to, threads)
    _check(status, code_bits, label)


class SlicedPacked:
    """Tables that are built in slices: the codes of all rows are added, in order, and then sorted.

    The codes are in blocks of rows, so that a slice touches memory of its own: the columns of
    :func:`build_packed` are so large that the first rows would touch a huge page of each.

    Parameters
    ----------
    n_items, n_tables, code_bits, label
        As for :func:`build_packed`.

    Attributes
    ----------
    tables : PackedTables
        The tables, which are valid when they are sorted.
    added : int
        Rows whose codes are added.
    sorted : int
        Steps of the sort that are done.
    n_steps : int
        Steps of the whole sort, two for each row and table.
    """

    def __init__(self, n_items: int, n_tables: int, code_bits: int, label: str) -> None:
        self._label, self.added, self.sorted = label, 0, 0
        self.n_steps = 2 * n_items * n_tables
        self.tables = empty_packed(n_items, n_tables, code_bits, n_items)
        self._blocks: Codes = np.empty((-(-n_items // _SLICED_ROWS), n_tables, _SLICED_ROWS), np.uint32)

    @staticmethod
    def bytes_of_codes(n_items: int, n_tables: int) -> int:
        """Bytes of the blocks of codes."""
        return 4 * -(-n_items // _SLICED_ROWS) * n_tables * _SLICED_ROWS

    @property
    def codes(self) -> Codes:
        """The codes (added, n_tables) of the rows so far, a new array."""
        n_blocks, n_tables, _ = self._blocks[: -(-self.added // _SLICED_ROWS)].shape
        rows = self._blocks[:n_blocks].transpose(0, 2, 1).reshape(-1, n_tables)
        return rows[: self.added]

    def add(self, codes: Codes, threads: int) -> None:
        """Add the codes (m, n_tables) of the next rows.

        Raises
        ------
        PluginError
            A code is out of range.
        """
        done, each = 0, self._blocks.shape[2]
        while done < len(codes):
            block, first = divmod(self.added, each)
            part = codes[done : done + each - first]
            transpose_codes(part, self.tables.code_bits, first, self._blocks[block], threads, self._label)
            done, self.added = done + len(part), self.added + len(part)

    def sort_until(self, step: int, threads: int) -> None:
        """Sort up to a step, after the codes of all rows were added."""
        blocks = core.pointer("uint32_t *", self._blocks)
        tables, begin = self.tables.struct(), self.sorted
        status = lib.lsh_packed_sort_slice(tables, blocks, _SLICED_ROWS, begin, step, threads)
        _check(status, self.tables.code_bits, self._label)
        self.sorted = step


def _check(status: int, code_bits: int, label: str) -> None:
    if status == lib.LSH_OUT_OF_RANGE:
        raise PluginError(f"{label}: returned a code that is not below 2**{code_bits}")
    core.check(status, "building tables")
