"""What readers of tables see: one immutable state, and what a query gives."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import attrs
import numpy as np
import numpy.typing as npt

from lshsample._native.overlay import Overlay, apply_overlay, merge_overlays
from lshsample._native.tables import PackedTables
from lshsample.errors import CheckpointError
from lshsample.family import HashFamily, Rows

__all__ = ["Buckets", "Candidates", "TableState", "checksum"]

#: An overlay is merged into the one before it unless that one is so many times larger: few overlays for
#: readers to look into, and each entry is moved a few times only.
_GROWTH = 8


@attrs.frozen(eq=False)
class Candidates:
    """What tables hold for each query: ids ascending in a row, with how often each collided.

    Attributes
    ----------
    indptr : (n_queries + 1,) int64 array
        Row r is ``ids[indptr[r]:indptr[r + 1]]``.
    ids : (n,) int32 array
        Item ids, ascending and unique in a row.
    counts : (n,) int32 array
        In how many probed buckets the id was.
    """

    indptr: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int32]
    counts: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def row(self, query: int) -> npt.NDArray[np.int32]:
        """The ids of the query's row: (n,) int32, ascending, a view."""
        return self.ids[self.indptr[query] : self.indptr[query + 1]]


@attrs.frozen(eq=False)
class Buckets:
    """The query's own bucket of each table, one by one: what estimators that take a table at a time need.

    Attributes
    ----------
    indptr : (n_queries * n_tables + 1,) int64 array
        The bucket of query q in table t is ``ids[indptr[i]:indptr[i + 1]]`` with i = q * n_tables + t.
    ids : (n,) int32 array
        The ids that the bucket holds.
    sizes : (n_queries, n_tables) int64 array
        How many ids the bucket has had, n; more than it holds only in bounded tables, where each of the n
        is held with probability R/n: a weight times ``max(1, n / R)`` makes up for it.
    """

    indptr: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int32]
    sizes: npt.NDArray[np.int64]

    def bucket(self, query: int, table: int) -> npt.NDArray[np.int32]:
        """The ids of one bucket: (n,) int32, a view."""
        at = query * self.sizes.shape[1] + table
        return self.ids[self.indptr[at] : self.indptr[at + 1]]

    @property
    def weights(self) -> npt.NDArray[np.float64]:
        """``max(1, n / R)`` of each bucket, (n_queries, n_tables): 1 where nothing was left out."""
        held = np.diff(self.indptr).reshape(self.sizes.shape)
        return np.where(held > 0, self.sizes / np.maximum(held, 1), 1.0)


@attrs.frozen(eq=False)
class TableState:
    """One consistent state of tables: the functions, the packed ids, and the rows that they were built from.

    Attributes
    ----------
    family : HashFamily
        The hash functions.
    packed : PackedTables
        The tables as they were last built or merged.
    vectors : array or csr_array or None
        The rows, by reference; None for tables opened from a file without them, or changed without them.
    overlays : tuple of Overlay
        What changed since, the largest first.
    n_items : int
        Number of ids that are there.
    checksums : mapping or None
        Of tables opened from a file that were not verified yet: the SHA-256 of each array.
    """

    family: HashFamily
    packed: PackedTables
    vectors: Rows | None
    overlays: tuple[Overlay, ...] = ()
    n_items: int = attrs.field(default=attrs.Factory(lambda self: self.packed.n_items, takes_self=True))
    checksums: Mapping[str, str] | None = None

    @property
    def n_ids(self) -> int:
        """Ids are below it; between builds it never falls."""
        return self.packed.n_ids

    @property
    def nbytes(self) -> int:
        """Bytes of the tables and of what is laid over them."""
        return self.packed.nbytes + sum(overlay.nbytes for overlay in self.overlays)

    @property
    def n_changes(self) -> int:
        """Entries of the overlays: two for each (id, table) that moved, one where it joined or left."""
        return sum(overlay.n_entries for overlay in self.overlays)

    def changed(self, overlay: Overlay, n_items: int, n_ids: int, threads: int) -> TableState:
        """The state with one more overlay on top."""
        levels = list(self.overlays)
        while levels and levels[-1].n_entries < _GROWTH * overlay.n_entries:
            overlay = merge_overlays(levels.pop(), overlay, threads)
        if overlay.n_entries:
            levels.append(overlay)
        packed = attrs.evolve(self.packed, n_ids=n_ids)
        return attrs.evolve(self, packed=packed, overlays=tuple(levels), n_items=n_items)

    def merged(self, threads: int) -> TableState:
        """The same ids in the same buckets, with nothing laid over the tables."""
        if not self.overlays:
            return self
        overlay = self.overlays[-1]
        for larger in self.overlays[-2::-1]:
            overlay = merge_overlays(larger, overlay, threads)
        packed = apply_overlay(self.packed, overlay, self.n_ids, threads)
        return attrs.evolve(self, packed=packed, overlays=())

    def trusted(self, threads: int) -> TableState:
        """The state with arrays that were checked: sound ones, and those that were saved.

        Raises
        ------
        CheckpointError
            An array of the file does not fit its checksum, or they are not sound tables.
        """
        if not self.packed.untrusted:
            return self
        arrays = {"ids": self.packed.ids, "codes": self.packed.codes, "directory": self.packed.directory}
        for name, wanted in (self.checksums or {}).items():
            array = self.vectors if name == "vectors" else arrays[name]
            if not isinstance(array, np.ndarray) or checksum(array) != wanted:
                raise CheckpointError(f"corrupted: {name} does not fit the checksum in the file")
        if not self.packed.is_sound(threads):
            raise CheckpointError("the arrays of the opened file are not sound tables: it is corrupted")
        return attrs.evolve(self, packed=attrs.evolve(self.packed, untrusted=False), checksums=None)


def checksum(array: npt.NDArray[np.generic]) -> str:
    """SHA-256 of an array's bytes, which are not copied."""
    return hashlib.sha256(array.reshape(-1).view(np.uint8).data).hexdigest()
