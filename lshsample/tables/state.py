"""One immutable state of tables, as readers see it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from lshsample import hashing, memory
from lshsample._native import core
from lshsample._native.buckets import read_buckets
from lshsample._native.delta import Delta, apply_delta, merge_deltas
from lshsample._native.packed import PackedTables
from lshsample._native.reader import Base, NativeReader
from lshsample._native.sample import PART_QUERIES, Workspaces, run_part, run_plan
from lshsample.errors import CheckpointError, UnsupportedError
from lshsample.family import Codes, HashFamily, Rows
from lshsample.provenance import Provenance
from lshsample.tables.keys import Keys
from lshsample.tables.mapped import MappedFile
from lshsample.tables.reader import Buckets, Candidates, TableReader

__all__ = ["TableState", "checksum"]

#: A delta is merged into the one before it unless that one is this many times larger: readers look into few
#: deltas, and each entry is moved a few times only.
_GROWTH = 8


@attrs.frozen(eq=False, repr=False)
class TableState(TableReader):
    """One consistent state of tables: the functions, the tables, and the rows that they were built from.

    Attributes
    ----------
    family : HashFamily
        The hash functions.
    base : PackedTables or BoundedTables
        The tables as they were last built or merged.
    vectors : array or csr_array or None
        The rows, by reference; None for tables opened from a file without them, or changed without them.
    deltas : tuple of Delta
        What changed since, the largest first.
    n_items : int
        Number of ids in the tables.
    keyed : Keys or None
        The caller's keys of the items.
    checksums : mapping or None
        The SHA-256 of each array, for tables opened from a file, until a verified copy is in memory.
    provenance : Provenance or None
        What the functions are compared with before the first query, for tables that were opened from a file.
    file : MappedFile or None
        The file that the arrays are mapped from. Others may write to it at any time, so that lookups always
        check what they read.

    Notes
    -----
    A query costs the ids that it returns, and about three cache lines per table. Threads may read a state at
    the same time.
    """

    family: HashFamily
    base: Base
    vectors: Rows | None
    deltas: tuple[Delta, ...] = ()
    n_items: int = attrs.field(default=attrs.Factory(lambda self: self.base.n_items, takes_self=True))
    checksums: Mapping[str, str] | None = None
    provenance: Provenance | None = None
    keyed: Keys | None = None
    file: MappedFile | None = attrs.field(default=None, repr=False)
    _workspaces: Workspaces = attrs.field(
        default=attrs.Factory(lambda self: Workspaces(max(self.base.n_ids, 1)), takes_self=True), repr=False
    )

    def __repr__(self) -> str:
        return f"TableState({self.family!r}, {self.n_items:,} items)"

    @property
    def n_ids(self) -> int:
        """Ids are below it; between builds it never decreases."""
        return self.base.n_ids

    @property
    def bucket_size(self) -> int | None:
        """The most ids that a bucket keeps; None for all of them."""
        return self.base.bucket_size

    @property
    def keys(self) -> npt.NDArray[np.int64] | None:
        """The key (n_ids,) of each id; None if items have no keys."""
        return None if self.keyed is None else self.keyed.by_id

    @property
    def native(self) -> NativeReader:
        """The arrays for the fused call of the C core, which every query reads.

        Raises
        ------
        CheckpointError
            The hash functions are not those that a file was saved with, or the file that the arrays are
            mapped from was changed.
        """
        if self.file is not None:
            self.file.check()
        return self._native

    @cached_property
    def _native(self) -> NativeReader:
        if self.provenance is not None:
            self.provenance.check(self.family)
        return NativeReader(self.base, self.deltas)

    @property
    def packed(self) -> PackedTables:
        """The base, where it keeps every id.

        Raises
        ------
        UnsupportedError
            The tables are bounded.
        """
        if isinstance(self.base, PackedTables):
            return self.base
        raise UnsupportedError("bounded tables do not store the ids that their buckets dropped; rebuild them")

    @property
    def nbytes(self) -> int:
        """Bytes of the base, of its deltas and of the keys."""
        keys = 0 if self.keyed is None else self.keyed.nbytes
        return self.base.nbytes + sum(delta.nbytes for delta in self.deltas) + keys

    @property
    def n_changes(self) -> int:
        """Entries of the deltas: two for each (id, table) that moved, one for each insertion or removal."""
        return sum(delta.n_entries for delta in self.deltas)

    def candidates(self, queries: Any, n_probes: int, *, threads: int | None = None) -> Candidates:
        """All ids that share a probed bucket with each query; see :meth:`TableReader.candidates`."""
        count = core.threads_or_default(threads)
        rows = hashing.checked_rows(self.family, queries, "queries", finite=False, threads=count)
        call = hashing.retrieval(self.family, self.native, rows, n_probes, threads=count)
        drawn = run_plan(
            [call],
            rows.shape[0],
            self._workspaces.n_items,
            seed=0,
            step=0,
            pooled=False,
            threads=count,
            workspaces=self._workspaces,
        )
        return Candidates(drawn.indptr, drawn.ids, drawn.counts, self.keys)

    @property
    def item_ids(self) -> npt.NDArray[np.int32]:
        """The ids (n_items,) in the tables, ascending."""
        if self.n_items == self.n_ids:
            return np.arange(self.n_ids, dtype=np.int32)
        threads = core.threads_or_default(None)
        return np.sort(self.private(threads).merged(threads).packed.ids[0])

    def candidate_parts(
        self, queries: Rows, n_probes: int, *, max_ids: int, threads: int | None = None
    ) -> Iterator[tuple[int, Candidates]]:
        """The candidates of parts of the queries; see :meth:`TableReader.candidate_parts`."""
        count, n_queries = core.threads_or_default(threads), queries.shape[0]
        options: dict[str, Any] = {"seed": 0, "step": 0, "pooled": False, "threads": count}
        options |= {"workspaces": self._workspaces, "max_ids": max_ids}
        begin, size = 0, PART_QUERIES
        while begin < n_queries:
            rows = core.rows_between(queries, begin, min(begin + size, n_queries))
            call = hashing.retrieval(self.family, self.native, rows, n_probes, threads=count)
            drawn = run_part([call], rows.shape[0], self._workspaces.n_items, **options)
            done = len(drawn.kept)
            yield begin, Candidates(drawn.indptr, drawn.ids, drawn.counts, self.keys)
            begin += done
            # All queries of a part are hashed: where few were done, the next part has not many more.
            size = min(2 * done, PART_QUERIES)

    def buckets_of_codes(self, codes: Codes, *, threads: int | None = None) -> Buckets:
        """The bucket of each code, one by one; see :meth:`TableReader.buckets_of_codes`."""
        count = core.threads_or_default(threads)
        return Buckets(*read_buckets(self.native, np.ascontiguousarray(codes), count))

    def changed(self, delta: Delta, n_items: int, n_ids: int, threads: int) -> TableState:
        """The state with one more delta."""
        levels = list(self.deltas)
        while levels and levels[-1].n_entries < _GROWTH * delta.n_entries:
            delta = merge_deltas(levels.pop(), delta, threads)
        if delta.n_entries:
            levels.append(delta)
        base = attrs.evolve(self.packed, n_ids=n_ids)
        workspaces = self._workspaces if n_ids == self.n_ids else Workspaces(max(n_ids, 1))
        return attrs.evolve(self, base=base, deltas=tuple(levels), n_items=n_items, workspaces=workspaces)

    def merged(self, threads: int) -> TableState:
        """The same ids in the same buckets, with all deltas merged into the base."""
        if not self.deltas:
            return self
        delta = self.deltas[-1]
        for larger in self.deltas[-2::-1]:
            delta = merge_deltas(larger, delta, threads)
        return attrs.evolve(self, base=apply_delta(self.packed, delta, self.n_ids, threads), deltas=())

    def copied(self) -> TableState:
        """The state with its arrays in memory of this process, read from the file that they are mapped from.

        Raises
        ------
        MemoryBudgetError
            There is not enough memory.
        CheckpointError
            The file was changed since it was opened.
        """
        if self.file is None:
            return self
        vectors = self.vectors if isinstance(self.vectors, np.ndarray) else None
        needed = self.base.nbytes + sum(each.nbytes for each in (vectors, self.keys) if each is not None)
        memory.require_bytes(needed, f"{self.file.name}: a copy of its tables")
        read = self.file.read
        base = self.base.with_arrays({name: read(array) for name, array in self.base.arrays.items()})
        keyed = self.keyed
        if keyed is not None:
            keyed = Keys(read(keyed.by_id), None if keyed.present is None else base.ids[0])
        vectors = None if vectors is None else read(vectors)
        return attrs.evolve(self, base=base, vectors=vectors, keyed=keyed, file=None)

    def private(self, threads: int) -> TableState:
        """The state with verified arrays that no other process can change, so that nothing checks reads.

        Raises
        ------
        MemoryBudgetError, CheckpointError
            As :meth:`copied` and :meth:`verified`.
        """
        return self.copied().verified(threads)

    def verified(self, threads: int) -> TableState:
        """The state after checking that its functions and arrays are those that were saved, and valid tables.

        Raises
        ------
        CheckpointError
            The functions have changed, an array of the file does not match its checksum, or the arrays are
            not valid tables.
        """
        if not self.base.untrusted:
            return self
        if self.file is not None:
            self.file.check()
        provenance = self.provenance
        if provenance is not None and not self.family.calls_named_functions:
            provenance.check(self.family)
            provenance = None
        arrays = self.base.arrays
        for name, wanted in (self.checksums or {}).items():
            array = {"vectors": self.vectors, "keys": self.keys, **arrays}[name]
            if not isinstance(array, np.ndarray) or checksum(array) != wanted:
                raise CheckpointError(f"corrupted: {name} does not match the checksum in the file")
        if not self.base.is_sound(threads):
            raise CheckpointError("the opened file is corrupted: its arrays are not valid tables")
        if self.file is not None:
            return attrs.evolve(self, provenance=provenance)  # others can still change the file
        base = attrs.evolve(self.base, untrusted=False)
        return attrs.evolve(self, base=base, checksums=None, provenance=provenance)


def checksum(array: npt.NDArray[np.generic]) -> str:
    """SHA-256 of an array's bytes, which are not copied."""
    return hashlib.sha256(array.reshape(-1).view(np.uint8).data).hexdigest()
