"""Bounded tables: reservoirs of at most R ids a bucket."""

from __future__ import annotations

import attrs
import numpy as np
import numpy.typing as npt

from lshsample._native import core
from lshsample._native.core import lib
from lshsample._native.tables import PackedTables, array_shapes
from lshsample.errors import PluginError

__all__ = ["bounded_bytes", "copy_bounded", "empty_bounded", "merge_bounded", "offer"]


def bounded_bytes(n_tables: int, code_bits: int, bucket_size: int) -> int:
    """Bytes of bounded tables, however many ids they are offered."""
    return 4 * n_tables * ((bucket_size + 1) << code_bits)


def empty_bounded(n_tables: int, code_bits: int, bucket_size: int, n_items: int, n_ids: int) -> PackedTables:
    """Bounded tables that n_items ids below n_ids are to be offered to."""
    ids, _, sizes = array_shapes(0, n_tables, code_bits, bucket_size)
    return PackedTables(
        n_items=n_items,
        code_bits=code_bits,
        ids=np.zeros(ids, np.int32),
        codes=None,
        directory=np.zeros(sizes, np.int32),
        n_ids=n_ids,
        bucket_size=bucket_size,
    )


def copy_bounded(packed: PackedTables, more: int, n_ids: int) -> PackedTables:
    """A copy that so many more ids below n_ids are to be offered to."""
    return attrs.evolve(
        packed,
        n_items=packed.n_items + more,
        n_ids=n_ids,
        ids=packed.ids.copy(),
        directory=packed.directory.copy(),
    )


def offer(
    packed: PackedTables,
    ids: npt.NDArray[np.int32],
    codes: npt.NDArray[np.uint32],
    seed: int,
    threads: int,
    label: str,
) -> None:
    """Offers ids with their codes to the buckets, in this order; the caller holds the tables alone.

    Raises
    ------
    PluginError
        A code is out of range.
    """
    status = lib.lsh_bounded_offer(
        packed.struct(),
        core.pointer("int32_t *", ids),
        core.pointer("uint32_t *", codes),
        len(ids),
        seed,
        threads,
    )
    if status == lib.LSH_OUT_OF_RANGE:
        raise PluginError(f"{label}: returned a code that is not below 2**{packed.code_bits}")
    core.check(status, "building bounded tables")


def merge_bounded(a: PackedTables, b: PackedTables, out: PackedTables, seed: int, threads: int) -> None:
    """Merges two sets of disjoint ids into ``out``, as though one had been offered both."""
    core.check(lib.lsh_bounded_merge(a.struct(), b.struct(), out.struct(), seed, threads), "merging tables")
