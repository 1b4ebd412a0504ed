"""Deltas over an immutable base: sorted insertions into buckets and removals from them."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from lshsample._native import core
from lshsample._native.core import ffi, lib
from lshsample._native.packed import PackedTables, directory_bits, empty_packed

__all__ = ["Delta", "apply_delta", "codes_by_id", "delta_of", "merge_deltas", "moves"]

Codes = npt.NDArray[np.uint32]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]


@attrs.frozen(eq=False)
class Delta:
    """What was inserted into buckets and removed from them since the base was built; immutable.

    Attributes
    ----------
    code_bits : int
        Bits of a code.
    begin, end : (n_tables,) int64 arrays
        Table t has the entries ``begin[t]`` to ``end[t] - 1``.
    codes : uint32 array
        The buckets, ascending in a table.
    ids : int32 array
        An id that was inserted, or its complement ``~id`` for one that was removed.
    directory : (n_tables, 2**directory_bits + 1) int32 array
        Where the run of each value of the top bits begins, from ``begin[t]``.
    """

    code_bits: int
    begin: Int64
    end: Int64
    codes: Codes
    ids: Int32
    directory: Int32

    @property
    def n_entries(self) -> int:
        """Insertions and removals, of all tables together."""
        return int((self.end - self.begin).sum())

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return sum(a.nbytes for a in (self.begin, self.end, self.codes, self.ids, self.directory))

    def fill(self, struct: Any) -> None:
        """Set the pointers of a ``lsh_delta`` to the arrays, which must outlive its use."""
        struct.n_tables, struct.code_bits = len(self.begin), self.code_bits
        struct.directory_bits = (self.directory.shape[1] - 1).bit_length() - 1
        struct.begin = core.pointer("int64_t *", self.begin)
        struct.end = core.pointer("int64_t *", self.end)
        struct.codes = core.pointer("uint32_t *", self.codes)
        struct.ids = core.pointer("int32_t *", self.ids)
        struct.directory = core.pointer("int32_t *", self.directory)

    def struct(self) -> Any:
        """A ``lsh_delta *`` over the arrays, which must outlive its use."""
        struct = ffi.new("lsh_delta *")
        self.fill(struct)
        return struct


def _indexed(code_bits: int, begin: Int64, end: Int64, codes: Codes, ids: Int32, threads: int) -> Delta:
    bits = directory_bits(int((end - begin).max(initial=0)), code_bits)
    delta = Delta(code_bits, begin, end, codes, ids, np.empty((len(begin), 2**bits + 1), np.int32))
    core.check(lib.lsh_delta_index(delta.struct(), threads), "indexing changes")
    return delta


def _room(counts: Int64) -> tuple[Int64, Codes, Int32]:
    begin = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)
    total = int(counts.sum())
    return begin, np.empty(total, np.uint32), np.empty(total, np.int32)


def moves(ids: Int32, old: Codes | None, new: Codes | None, code_bits: int, threads: int) -> Delta:
    """The delta of moving ids from old codes to new ones.

    Parameters
    ----------
    ids : (m,) int32 array
        Ascending and unique.
    old, new : (m, n_tables) uint32 array or None
        Codes before and after; None before an insertion, or after a deletion. In range.
    code_bits, threads : int
        Bits of a code; maximum number of threads.
    """
    shape = (new if old is None else old).shape  # type: ignore[union-attr]
    from_, to = core.pointer("uint32_t *", old), core.pointer("uint32_t *", new)
    counts = np.empty(shape[1], np.int64)
    status = lib.lsh_delta_count(from_, to, len(ids), shape[1], threads, core.pointer("int64_t *", counts))
    core.check(status, "collecting changes")
    begin, codes, entries = _room(counts)
    status = lib.lsh_delta_fill(
        core.pointer("int32_t *", ids),
        from_,
        to,
        len(ids),
        shape[1],
        code_bits,
        core.pointer("int64_t *", begin),
        threads,
        core.pointer("uint32_t *", codes),
        core.pointer("int32_t *", entries),
    )
    core.check(status, "collecting changes")
    return _indexed(code_bits, begin, begin + counts, codes, entries, threads)


def merge_deltas(a: Delta, b: Delta, threads: int) -> Delta:
    """Both as one; an insertion and a removal of the same id and bucket cancel. Linear in both."""
    begin, codes, ids = _room((a.end - a.begin) + (b.end - b.begin))
    end = np.empty_like(begin)
    status = lib.lsh_delta_merge(
        a.struct(),
        b.struct(),
        core.pointer("int64_t *", begin),
        threads,
        core.pointer("int64_t *", end),
        core.pointer("uint32_t *", codes),
        core.pointer("int32_t *", ids),
    )
    core.check(status, "merging changes")
    return _indexed(a.code_bits, begin, end, codes, ids, threads)


def delta_of(packed: PackedTables, low: int, high: int, threads: int) -> Delta:
    """The ids from ``low`` to ``high - 1`` of tables as a delta of insertions."""
    codes, ids = [], []
    for table in range(packed.n_tables):
        row = packed.ids[table]
        chosen = (row >= low) & (row < high)
        if packed.codes is None:
            width = packed.directory.shape[1] - 1
            own = np.repeat(np.arange(width, dtype=np.uint32), np.diff(packed.directory[table]))
        else:
            own = packed.codes[table]
        codes.append(own[chosen])
        ids.append(row[chosen])
    counts = np.array([len(part) for part in ids], np.int64)
    begin = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)
    return _indexed(
        packed.code_bits, begin, begin + counts, np.concatenate(codes), np.concatenate(ids), threads
    )


def apply_delta(base: PackedTables, delta: Delta, n_ids: int, threads: int) -> PackedTables:
    """Base and delta as one packed set whose ids are below ``n_ids``; linear in both."""
    changes = delta.ids[delta.begin[0] : delta.end[0]]
    n_items = base.n_items + len(changes) - 2 * int(np.count_nonzero(changes < 0))
    out = empty_packed(n_items, base.n_tables, base.code_bits, n_ids)
    status = lib.lsh_packed_apply(base.struct(), delta.struct(), out.struct(), threads)
    core.check(status, "merging changes into the tables")
    return out


def codes_by_id(packed: PackedTables, n_ids: int, threads: int) -> Codes:
    """The code of each id in each table, (n_ids, n_tables); rows of missing ids are 0."""
    codes = np.zeros((n_ids, packed.n_tables), np.uint32)
    status = lib.lsh_packed_forward(packed.struct(), core.pointer("uint32_t *", codes), threads)
    core.check(status, "reading codes")
    return codes
