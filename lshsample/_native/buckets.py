"""The buckets of queries one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lshsample._native import core
from lshsample._native.core import ffi, lib
from lshsample._native.overlay import Overlay
from lshsample._native.sample import check_read
from lshsample._native.tables import PackedTables

__all__ = ["read_buckets"]

Int64 = npt.NDArray[np.int64]


def read_buckets(
    packed: PackedTables, overlays: tuple[Overlay, ...], codes: npt.NDArray[np.uint32], threads: int
) -> tuple[Int64, npt.NDArray[np.int32], Int64]:
    """Row pointers over (query, table), the ids, and how many ids each bucket has had.

    ``codes`` is (n_queries, n_tables), in range.
    """
    structs = ffi.new("lsh_overlay[]", max(len(overlays), 1))
    for i, overlay in enumerate(overlays):
        overlay.fill(structs[i])
    common: tuple[Any, ...] = (packed.struct(), structs, len(overlays))
    common += (core.pointer("uint32_t *", codes), len(codes))
    held, sizes = np.empty(codes.shape, np.int64), np.empty(codes.shape, np.int64)
    out = core.pointer("int64_t *", held), core.pointer("int64_t *", sizes)
    check_read(lib.lsh_buckets_count(*common, threads, *out), "reading buckets", packed.untrusted)
    indptr = np.concatenate([[0], np.cumsum(held)]).astype(np.int64)
    ids = np.empty(int(indptr[-1]), np.int32)
    rows, pointer = core.pointer("int64_t *", indptr), core.pointer("int32_t *", ids)
    check_read(lib.lsh_buckets_fill(*common, rows, threads, pointer), "reading buckets", packed.untrusted)
    return indptr, ids, sizes
