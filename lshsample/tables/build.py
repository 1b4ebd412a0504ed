"""Building the state of tables from rows, and the memory that it takes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lshsample import hashing, memory
from lshsample._native.bounded import BoundedTables, bounded_bytes, empty_bounded, offer
from lshsample._native.packed import MemoryNeed, PackedTables, block_rows, build_packed, memory_need
from lshsample.errors import ArgumentError
from lshsample.family import Codes, HashFamily, Rows
from lshsample.specs import checked_integer
from lshsample.tables.ids import ascending_ids, check_items
from lshsample.tables.keys import Keys
from lshsample.tables.state import TableState

__all__ = ["built_state", "bytes_needed", "checked_bucket_size", "with_offered"]

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

#: Bounded tables have a bucket for every code; with more bits buckets are small anyway.
_MAX_BOUNDED_BITS = 24


def checked_bucket_size(bucket_size: int | None, family: HashFamily | str) -> int | None:
    """R, or None for buckets that keep every id; codes are not checked for the text of a family."""
    if bucket_size is None:
        return None
    bucket_size = checked_integer("bucket_size", bucket_size, 1, 2**20, ", or None")
    if isinstance(family, HashFamily) and family.code_bits > _MAX_BOUNDED_BITS:
        wanted = f"None for codes of more than {_MAX_BOUNDED_BITS} bits, since each code has its own bucket"
        raise ArgumentError("bucket_size", f"{bucket_size} with codes of {family.code_bits} bits", wanted)
    return bucket_size


def bytes_needed(family: HashFamily, n_items: int, threads: int, bucket_size: int | None) -> MemoryNeed:
    """The memory of :func:`built_state` for ``n_items`` rows."""
    if bucket_size is None:
        return memory_need(n_items, family.n_tables, family.code_bits, threads)
    need = bounded_bytes(family.n_tables, family.code_bits, bucket_size)
    block = 2 * 4 * family.n_tables * block_rows(family.n_tables)
    return MemoryNeed(need, need + block, need // family.n_tables, 0)


def built_state(
    family: HashFamily, rows: Rows, ids: object, keys: Int64 | None, bucket_size: int | None, threads: int
) -> TableState:
    """The state of tables over rows.

    Parameters
    ----------
    family : HashFamily
        The hash functions, which are prepared for the rows.
    rows : rows
        Checked rows, kept by reference where no ids are given.
    ids : array or None
        Their ids, ascending, where they are not 0 to n - 1.
    keys : (n,) int64 array or None
        Checked keys.
    bucket_size : int or None
        R of bounded tables.
    threads : int
        Threads of the build.

    Raises
    ------
    ArgumentError
        No rows, too many of them, or bad ids.
    MemoryBudgetError
        The build needs more memory than is available; nothing was allocated.
    """
    n_items = rows.shape[0]
    check_items(n_items, "vectors")
    names = None if ids is None else ascending_ids(ids, n_items)
    family = hashing.prepared(family, rows)
    checked_bucket_size(bucket_size, family)
    need = bytes_needed(family, n_items, threads, bucket_size)
    peak = need.peak + (0 if keys is None else Keys.bytes_needed(n_items))
    memory.require_bytes(peak, f"building {family.n_tables} tables of {n_items:,} ids")
    base = (
        _packed(family, rows, names, threads)
        if bucket_size is None
        else _bounded(family, rows, names, bucket_size, threads)
    )
    keyed = None if keys is None else Keys(keys)
    return TableState(family, base, rows if names is None else None, keyed=keyed)


def _packed(family: HashFamily, rows: Rows, names: Int32 | None, threads: int) -> PackedTables:
    def hash_block(begin: int, end: int) -> Codes:
        return hashing.hash_rows(family, rows[begin:end], threads=threads)

    label = hashing.family_label(family)
    packed = build_packed(hash_block, rows.shape[0], family.n_tables, family.code_bits, threads, label)
    return packed if names is None else packed.renamed(names)


def _bounded(
    family: HashFamily, rows: Rows, names: Int32 | None, bucket_size: int, threads: int
) -> BoundedTables:
    n_items = rows.shape[0]
    n_ids = n_items if names is None else int(names[-1]) + 1
    bounded = empty_bounded(family.n_tables, family.code_bits, bucket_size, n_items, n_ids)
    step = block_rows(family.n_tables)
    for begin in range(0, n_items, step):
        end = min(begin + step, n_items)
        ids = np.arange(begin, end, dtype=np.int32) if names is None else names[begin:end]
        codes = hashing.hash_rows(family, rows[begin:end], threads=threads)
        offer(bounded, ids, codes, family.seed, threads, hashing.family_label(family))
    return bounded


def with_offered(
    state: TableState, base: BoundedTables, names: Int32, codes: Codes, keyed: Keys | None, threads: int
) -> TableState:
    """The state of bounded tables after more ids were offered, into a copy of their base; with its keys."""
    memory.require_bytes(base.nbytes, "inserting into bounded tables")
    copy = base.copy(len(names), int(names[-1]) + 1)
    offer(copy, names, codes, state.family.seed, threads, hashing.family_label(state.family))
    return TableState(state.family, copy, None, keyed=keyed)
