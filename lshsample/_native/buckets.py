"""The buckets of queries one by one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lshsample import memory
from lshsample._native import core
from lshsample._native.core import lib
from lshsample._native.reader import NativeReader
from lshsample._native.sample import check_read

__all__ = ["read_buckets"]

Int64 = npt.NDArray[np.int64]


def read_buckets(
    reader: NativeReader, codes: npt.NDArray[np.uint32], threads: int
) -> tuple[Int64, npt.NDArray[np.int32], Int64]:
    """Row pointers over (query, table), the ids, and how many ids were offered to each bucket.

    ``codes`` is (n_queries, n_tables), in range. The ids are counted first: MemoryBudgetError if they do not
    fit into memory.
    """
    common = reader.struct, core.pointer("uint32_t *", codes), len(codes)
    held, sizes = np.empty(codes.shape, np.int64), np.empty(codes.shape, np.int64)
    out = core.pointer("int64_t *", held), core.pointer("int64_t *", sizes)
    check_read(lib.lsh_buckets_count(*common, threads, *out), "reading buckets", reader.untrusted)
    indptr = np.concatenate([[0], np.cumsum(held)]).astype(np.int64)
    total = int(indptr[-1])
    what = f"the result, {total:,} ids in the buckets of {len(codes):,} queries,"
    memory.require_budget({"ids": 4 * total}, what, advice="Pass fewer queries at a time")
    ids = np.empty(total, np.int32)
    rows, pointer = core.pointer("int64_t *", indptr), core.pointer("int32_t *", ids)
    check_read(lib.lsh_buckets_fill(*common, rows, threads, pointer), "reading buckets", reader.untrusted)
    return indptr, ids, sizes
