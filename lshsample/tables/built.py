"""Tables that are built and read: the part of :class:`HashTables` that changes nothing but by building."""

from __future__ import annotations

import os
from threading import Lock
from typing import Any, Self
from weakref import WeakSet

import numpy as np
import numpy.typing as npt

from lshsample import hashing, memory
from lshsample._native import core
from lshsample._native.bounded import bounded_bytes, empty_bounded, offer
from lshsample._native.buckets import read_buckets
from lshsample._native.sample import Drawn, Workspaces, run_plan
from lshsample._native.tables import MemoryNeed, PackedTables, block_rows, build_packed, memory_need
from lshsample.errors import ArgumentError
from lshsample.family import HashFamily, Rows
from lshsample.specs import checked_integer
from lshsample.tables.retrieval import retrieval
from lshsample.tables.state import Buckets, Candidates, TableState
from lshsample.tables.writer import MAX_ITEMS, Writer, checked_ids

__all__ = ["BuiltTables"]

Codes = npt.NDArray[np.uint32]
Int32 = npt.NDArray[np.int32]

#: Bounded tables have a place for every code; beyond this the buckets are small anyway.
_MAX_BOUNDED_BITS = 24

_every: WeakSet[BuiltTables] = WeakSet()


def _let_go_of_changes() -> None:
    """In a forked child: nobody there ends the changes that other threads were making, nor saw them."""
    for tables in _every:
        if tables._write_lock.locked():
            tables._write_lock, tables._writer = Lock(), None


os.register_at_fork(after_in_child=_let_go_of_changes)


class BuiltTables:
    """Building and reading; see :class:`HashTables`."""

    def __init__(
        self, family: HashFamily, *, bucket_size: int | None = None, threads: int | None = None
    ) -> None:
        if not isinstance(family, HashFamily):
            raise ArgumentError("family", type(family).__name__, "a HashFamily (make_family(...) gives one)")
        self._first_family = family
        self._bucket_size = _checked_bucket_size(bucket_size, family)
        self._threads = None if threads is None else core.threads_or_default(threads)
        self._state: TableState | None = None
        self._workspaces: Workspaces | None = None
        self._writer: Writer | None = None
        self._write_lock = Lock()
        _every.add(self)

    def __getstate__(self) -> dict[str, Any]:
        # The writer is made again from the state, where it is needed.
        return {**self.__dict__, "_writer": None, "_write_lock": None, "_workspaces": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._write_lock = Lock()
        _every.add(self)

    @staticmethod
    def memory_needed(
        family: HashFamily, n_items: int, threads: int | None = None, *, bucket_size: int | None = None
    ) -> MemoryNeed:
        """Bytes that tables take when done, and at the peak of their build; nothing is allocated.

        Parameters
        ----------
        family : HashFamily
            The hash functions.
        n_items : int
            Number of rows.
        threads : int, optional
            Threads of the build; each has scratch of its own at the peak.
        bucket_size : int, optional
            As for the class: bounded tables take the same memory at any number of rows.

        Returns
        -------
        MemoryNeed
            ``tables``, ``per_table``, ``peak`` and ``writer``, in bytes.

        Examples
        --------
        >>> from lshsample.registry import make_family
        >>> family = make_family("simhash", dim=128, n_hashes=12, n_tables=50)
        >>> need = BuiltTables.memory_needed(family, 670_091, threads=2)
        >>> need.tables // 2**20, need.peak // 2**20
        (128, 258)
        >>> BuiltTables.memory_needed(family, 670_091, bucket_size=32).tables // 2**20
        25
        """
        _check_items(n_items)
        n_items, room = int(n_items), _checked_bucket_size(bucket_size, family)
        if room:
            need = bounded_bytes(family.n_tables, family.code_bits, room)
            block = 2 * 4 * family.n_tables * block_rows(family.n_tables)
            return MemoryNeed(need, need + block, need // family.n_tables, 0)
        return memory_need(n_items, family.n_tables, family.code_bits, core.threads_or_default(threads))

    def build(self, vectors: Any, *, ids: Any = None) -> Self:
        """Build the tables over rows, whose ids are 0 to n - 1; an earlier state is replaced at the end.

        Parameters
        ----------
        vectors : (n, dim) array or scipy.sparse matrix
            Finite rows, at least one. float32 rows (dense, or canonical CSR) are kept by reference for the
            laws of inclusion: change them in place and the tables stay what they were until the next
            rebuild.
        ids : (n,) integer array, optional
            The rows' ids, ascending, where they are not 0 to n - 1 (a shard). Then the rows are not kept,
            since laws look them up by id.

        Returns
        -------
        HashTables
            Itself.

        Raises
        ------
        ArgumentError
            Rows of another width, NaN or infinite values, no rows at all.
        MemoryBudgetError
            The build needs more memory than there is; nothing was taken.
        PluginError
            The family broke its contract. As after any failure, the old tables stay.
        """
        self._install(self._first_family if self._state is None else self._state.family, vectors, ids)
        return self

    def rebuild(self, vectors: Any, family: HashFamily | None = None, *, ids: Any = None) -> Self:
        """Build again, from rows that have changed; as :meth:`build`, whatever ids there were.

        Parameters
        ----------
        vectors : (n, dim) array or scipy.sparse matrix
            The rows.
        family : HashFamily, optional
            Other functions from now on (a learned family that was trained again); else those that are there.
        ids : (n,) integer array, optional
            As for :meth:`build`: without it the rows' ids are 0 to n - 1, also of a shard.
        """
        now = self.state.family
        if family is not None and not isinstance(family, HashFamily):
            raise ArgumentError("family", type(family).__name__, "a HashFamily, or None for the present one")
        self._install(now if family is None else family, vectors, ids)
        return self

    def rehash(self, vectors: Any, seed: int, *, ids: Any = None) -> Self:
        """Build again with new functions, ``family.with_seed(seed)``; else as :meth:`rebuild`.

        Parameters
        ----------
        vectors : (n, dim) array or scipy.sparse matrix
            Rows, as for :meth:`build`.
        seed : int
            Names the functions, 0 to 2**63 - 1.
        ids : (n,) integer array, optional
            As for :meth:`build`.
        """
        family = hashing.reseeded(self.family, seed)
        self._install(family, vectors, ids)
        return self

    def _install(self, family: HashFamily, vectors: Any, ids: Any = None) -> None:
        rows = hashing.checked_rows(family, vectors, "vectors")
        n_items, threads = rows.shape[0], core.threads_or_default(self._threads)
        _check_items(n_items, "vectors")
        names = None if ids is None else _ascending_ids(ids, n_items)
        family = hashing.prepared(family, rows)
        need = self.memory_needed(family, n_items, threads, bucket_size=self._bucket_size or None)
        memory.require_bytes(need.peak, f"building {family.n_tables} tables of {n_items:,} ids")
        with self._write_lock:
            packed = self._packed(family, rows, names, threads)
            self._writer = None
            self._state = TableState(family, packed, rows if names is None else None)

    def _packed(self, family: HashFamily, rows: Rows, names: Int32 | None, threads: int) -> PackedTables:
        label, n_items = hashing.family_label(family), rows.shape[0]
        n_ids = n_items if names is None else int(names[-1]) + 1

        def hash_block(begin: int, end: int) -> Codes:
            return hashing.hash_rows(family, rows[begin:end], threads=threads)

        if self._bucket_size:
            bounded = empty_bounded(family.n_tables, family.code_bits, self._bucket_size, n_items, n_ids)
            step = block_rows(family.n_tables)
            for begin in range(0, n_items, step):
                end = min(begin + step, n_items)
                own = np.arange(begin, end, dtype=np.int32) if names is None else names[begin:end]
                offer(bounded, own, hash_block(begin, end), family.seed, threads, label)
            return bounded
        packed = build_packed(hash_block, n_items, family.n_tables, family.code_bits, threads, label)
        return packed if names is None else packed.renamed(names)

    @property
    def state(self) -> TableState:
        """The state that readers see now; it stays as it is, whatever is built or changed after."""
        if self._state is None:
            raise ArgumentError("tables", "tables without ids", "tables after .build(vectors)")
        return self._state

    @property
    def is_built(self) -> bool:
        """Whether there is a state to read."""
        return self._state is not None

    @property
    def family(self) -> HashFamily:
        """The hash functions in use."""
        return self._first_family if self._state is None else self._state.family

    @property
    def n_items(self) -> int:
        """Number of ids that are in the tables."""
        return self.state.n_items

    @property
    def n_ids(self) -> int:
        """Ids are below it: n_items where there are no holes. It grows with insertions and never falls."""
        return self.state.n_ids

    @property
    def n_tables(self) -> int:
        """Number of tables, L."""
        return int(self.family.n_tables)

    @property
    def bucket_size(self) -> int | None:
        """The most ids that a bucket keeps; None for all of them."""
        return self._bucket_size or None

    @property
    def vectors(self) -> Rows | None:
        """The rows that the tables were built from."""
        return self.state.vectors

    @property
    def memory_bytes(self) -> int:
        """Bytes of the tables, of changes laid over them, and of what their writer knows; not of the rows."""
        writer = self._writer
        return self.state.nbytes + (0 if writer is None else writer.nbytes)

    def query(self, queries: Any, n_probes: int | None = None, *, threads: int | None = None) -> Candidates:
        """All ids that share a probed bucket with each query.

        Parameters
        ----------
        queries : (m, dim) array or scipy.sparse matrix
            Finite rows; m may be 0.
        n_probes : int, optional
            Buckets to look into per table, where the family can probe; by default the family's own number,
            which is 1 unless it says otherwise.
        threads : int, optional
            At most so many threads.

        Returns
        -------
        Candidates

        Raises
        ------
        ArgumentError
            Bad queries, or tables that were not built.
        UnsupportedError
            ``n_probes`` above 1 with a family that cannot probe.
        """
        state = self.state
        count = core.threads_or_default(self._threads if threads is None else threads)
        probes = state.family.default_probes if n_probes is None else n_probes
        rows = hashing.checked_rows(state.family, queries, "queries", finite=False, threads=count)
        call = retrieval(state, rows, probes, threads=count)
        workspaces = self._workspaces
        if workspaces is None or workspaces.n_items != max(state.n_ids, 1):
            workspaces = self._workspaces = Workspaces(max(state.n_ids, 1))
        drawn: Drawn = run_plan(
            [call],
            rows.shape[0],
            workspaces.n_items,
            seed=0,
            step=0,
            pooled=False,
            threads=count,
            workspaces=workspaces,
        )
        return Candidates(drawn.indptr, drawn.ids, drawn.counts)

    def buckets(self, queries: Any, *, threads: int | None = None) -> Buckets:
        """The query's own bucket of each table, one by one, with how many ids each has had.

        Parameters
        ----------
        queries : (m, dim) array or scipy.sparse matrix
            Finite rows; m may be 0.
        threads : int, optional
            At most so many threads.

        Returns
        -------
        Buckets

        Raises
        ------
        ArgumentError
            Bad queries, or tables that were not built.

        Notes
        -----
        Averaged over tables, ``sum(f(ids) / q * weights)`` over a bucket, q the code's collision probability,
        is an unbiased estimate of the sum of f over all items; it needs no independence across tables
        (Spring & Shrivastava 2017, arXiv 1703.05160).
        """
        state = self.state
        count = core.threads_or_default(self._threads if threads is None else threads)
        codes = hashing.hash_rows(state.family, queries, query=True, threads=count)
        return Buckets(*read_buckets(state.packed, state.overlays, np.ascontiguousarray(codes), count))


def _check_items(n_items: object, argument: str = "n_items") -> None:
    if not isinstance(n_items, (int, np.integer)) or not 1 <= n_items <= MAX_ITEMS:
        raise ArgumentError(
            argument, f"{n_items} rows" if argument != "n_items" else n_items, f"1 to {MAX_ITEMS} rows"
        )


def _checked_bucket_size(bucket_size: int | None, family: HashFamily) -> int:
    """R, or 0 for buckets that keep every id."""
    if bucket_size is None:
        return 0
    bucket_size = checked_integer("bucket_size", bucket_size, 1, 2**20, ", or None")
    if family.code_bits > _MAX_BOUNDED_BITS:
        wanted = f"a family with codes of at most {_MAX_BOUNDED_BITS} bits: each code has its own places"
        raise ArgumentError("bucket_size", f"{bucket_size} with codes of {family.code_bits} bits", wanted)
    return bucket_size


def _ascending_ids(ids: Any, n_items: int) -> Int32:
    names, order = checked_ids(ids)
    if order is not None or len(names) != n_items:
        given = f"{len(names)} ids" + ("" if order is None else " out of order")
        raise ArgumentError("ids", given, f"{n_items} ascending ids, one for each row")
    return names
