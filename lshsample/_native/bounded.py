"""Bounded tables: buckets that keep at most R of the ids that are offered to them."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from lshsample._native import core
from lshsample._native.core import ffi, lib
from lshsample.errors import PluginError

__all__ = ["BoundedTables", "bounded_bytes", "bounded_shapes", "empty_bounded", "merge_bounded", "offer"]

Int32 = npt.NDArray[np.int32]


@attrs.frozen(eq=False)
class BoundedTables:
    """Reservoirs: of each bucket at most R ids, every subset of that size equally likely.

    Attributes
    ----------
    n_items, code_bits : int
        Number of ids that were offered to each table, bits of a code.
    bucket_size : int
        R.
    ids : (n_tables, 2**code_bits * bucket_size) int32 array
        The places of the buckets.
    sizes : (n_tables, 2**code_bits) int32 array
        Number of ids that were offered to each bucket; it holds min(size, R) of them.
    n_ids : int
        Ids are below it.
    untrusted : bool
        The arrays were not checked, so that lookups check what they read.
    """

    n_items: int
    code_bits: int
    bucket_size: int
    ids: Int32
    sizes: Int32
    n_ids: int
    untrusted: bool = False

    @property
    def n_tables(self) -> int:
        """Number of tables, L."""
        return len(self.ids)

    @property
    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays by their names in a file, where the sizes are the directory."""
        return {"ids": self.ids, "directory": self.sizes}

    def with_arrays(self, arrays: dict[str, npt.NDArray[Any]]) -> BoundedTables:
        """The same tables with other arrays, named as in :attr:`arrays`."""
        return attrs.evolve(self, ids=arrays["ids"], sizes=arrays["directory"])

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return self.ids.nbytes + self.sizes.nbytes

    @property
    def lowest_id(self) -> int:
        """The lowest id that any bucket holds; n_ids if there is none."""
        held = np.minimum(self.sizes, self.bucket_size).reshape(-1, 1)
        places = self.ids.reshape(-1, self.bucket_size)
        return int(places[np.arange(self.bucket_size) < held].min(initial=self.n_ids))

    def copy(self, more: int, n_ids: int) -> BoundedTables:
        """A copy to which ``more`` ids, below ``n_ids``, will be offered."""
        return attrs.evolve(
            self, n_items=self.n_items + more, n_ids=n_ids, ids=self.ids.copy(), sizes=self.sizes.copy()
        )

    def struct(self) -> Any:
        """A ``lsh_bounded *`` over the arrays, which must outlive its use."""
        bounded = ffi.new("lsh_bounded *")
        bounded.n_items, bounded.n_tables, bounded.code_bits = self.n_items, self.n_tables, self.code_bits
        bounded.n_ids, bounded.untrusted = self.n_ids, self.untrusted
        bounded.bucket_size = self.bucket_size
        bounded.ids = core.pointer("int32_t *", self.ids)
        bounded.sizes = core.pointer("int32_t *", self.sizes)
        return bounded

    def is_sound(self, threads: int) -> bool:
        """Whether arrays from outside satisfy the layout, so that every lookup stays inside them."""
        shapes = {name: array.shape for name, array in self.arrays.items()}
        if shapes != bounded_shapes(self.n_tables, self.code_bits, self.bucket_size):
            return False
        status = lib.lsh_bounded_check(self.struct(), threads)
        if status == lib.LSH_INTERRUPTED:
            core.check(status, "checking tables")
        return bool(status == lib.LSH_OK)


def bounded_shapes(n_tables: int, code_bits: int, bucket_size: int) -> dict[str, tuple[int, ...]]:
    """The shapes of the arrays, by their names in a file."""
    return {"ids": (n_tables, bucket_size << code_bits), "directory": (n_tables, 1 << code_bits)}


def bounded_bytes(n_tables: int, code_bits: int, bucket_size: int) -> int:
    """Bytes of bounded tables, for any number of ids."""
    return 4 * n_tables * ((bucket_size + 1) << code_bits)


def empty_bounded(n_tables: int, code_bits: int, bucket_size: int, n_items: int, n_ids: int) -> BoundedTables:
    """Empty bounded tables, to which ``n_items`` ids below ``n_ids`` will be offered."""
    shapes = bounded_shapes(n_tables, code_bits, bucket_size)
    ids, sizes = np.zeros(shapes["ids"], np.int32), np.zeros(shapes["directory"], np.int32)
    return BoundedTables(n_items, code_bits, bucket_size, ids, sizes, n_ids)


def offer(
    tables: BoundedTables,
    ids: Int32,
    codes: npt.NDArray[np.uint32],
    seed: int,
    threads: int,
    label: str,
) -> None:
    """Offer ids with their codes to the buckets, in this order; no other thread may use the tables meanwhile.

    Raises
    ------
    PluginError
        A code is out of range.
    """
    status = lib.lsh_bounded_offer(
        tables.struct(),
        core.pointer("int32_t *", ids),
        core.pointer("uint32_t *", codes),
        len(ids),
        seed,
        threads,
    )
    if status == lib.LSH_OUT_OF_RANGE:
        raise PluginError(f"{label}: returned a code that is not below 2**{tables.code_bits}")
    core.check(status, "building bounded tables")


def merge_bounded(a: BoundedTables, b: BoundedTables, out: BoundedTables, seed: int, threads: int) -> None:
    """Merge tables of disjoint ids into ``out``, as if all ids had been offered to one of them."""
    core.check(lib.lsh_bounded_merge(a.struct(), b.struct(), out.struct(), seed, threads), "merging tables")
