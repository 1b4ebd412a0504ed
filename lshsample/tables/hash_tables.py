"""Hash tables: building, changing by id under concurrent readers, shards and files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from threading import Lock
from typing import Any, BinaryIO, Self
from weakref import WeakSet

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample import hashing, memory
from lshsample._native import core
from lshsample._native.bounded import BoundedTables
from lshsample._native.packed import MemoryNeed
from lshsample._native.reader import NativeReader
from lshsample.display import html_table
from lshsample.errors import ArgumentError, CheckpointError, UnsupportedError
from lshsample.family import Codes, HashFamily, Rows
from lshsample.files import name_of
from lshsample.registry import FamilyLike, make_family, resolve_family
from lshsample.tables import shards
from lshsample.tables.build import built_state, bytes_needed, checked_bucket_size, with_offered
from lshsample.tables.file import read_state, write_state
from lshsample.tables.ids import check_items, checked_ids
from lshsample.tables.keys import Keys, checked_keys, keys_of
from lshsample.tables.reader import Buckets, Candidates, TableReader
from lshsample.tables.state import TableState
from lshsample.tables.vectors import kept_vectors
from lshsample.tables.writer import Writer

__all__ = ["HashTables"]

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

#: Fewer changes than that stay in deltas, whatever their share.
_FEW_CHANGES = 4096

_every: WeakSet[HashTables] = WeakSet()


def _forget_changes_under_way() -> None:
    """In a forked child: reset the locks of changes in progress, which no thread there finishes."""
    for tables in _every:
        if tables._write_lock.locked():
            tables._write_lock, tables._writer = Lock(), None


os.register_at_fork(after_in_child=_forget_changes_under_way)


class HashTables(TableReader):
    """L hash tables over the rows of a matrix.

    Parameters
    ----------
    family : str, HashFamily, FamilySpec or mapping
        The hash functions, as for :func:`lshsample.make_family`. The ``dim`` of text without it
        (``"simhash:n_hashes=6,n_tables=8"``) is that of the rows of the first build.
    bucket_size : int, optional
        Maximum number of ids kept in each bucket, every subset of that size equally likely. Memory is then
        bounded for any number of rows, and known in advance (:meth:`memory_needed`). By default buckets keep
        every id.
    merge_share : float
        Changes are merged into the base when their number exceeds this fraction of its entries.
    threads : int, optional
        Maximum number of threads of builds and queries, unless a call has its own. Results do not depend on
        it.

    Notes
    -----
    A build costs the hashing plus one counting sort (or ceil(code_bits / 8) radix passes) per table; a
    query costs the ids that it returns, and about three cache lines per table. Any number of threads may
    query while one writer inserts, moves, deletes or rebuilds: each call sees one state
    (:class:`TableState`) from beginning to end, and takes no lock. Writers wait for each other. Changes are
    deltas over an immutable base.

    Examples
    --------
    >>> import numpy as np
    >>> from lshsample.registry import make_family
    >>> rows = np.random.default_rng(0).standard_normal((1000, 16), dtype=np.float32)
    >>> family = make_family("simhash", dim=16, n_hashes=6, n_tables=8, seed=0)
    >>> tables = HashTables(family).build(rows)
    >>> found = tables.query(rows[:2])
    >>> len(found), bool(1 in found.row(1))
    (2, True)
    >>> tables.delete([1]).insert([1000], rows[:1]).n_items
    1000
    >>> found = tables.query(rows[:2])
    >>> bool(1 in found.row(1)), bool(1000 in found.row(0))
    (False, True)
    """

    def __init__(
        self,
        family: FamilyLike,
        *,
        bucket_size: int | None = None,
        merge_share: float = 0.1,
        threads: int | None = None,
    ) -> None:
        self._first_family = resolve_family(family)
        self._bucket_size = checked_bucket_size(bucket_size, self._first_family)
        self._threads = None if threads is None else core.threads_or_default(threads)
        if (
            isinstance(merge_share, bool)
            or not isinstance(merge_share, (int, float, np.number))
            or not merge_share > 0
        ):
            raise ArgumentError("merge_share", repr(merge_share), "a number above 0")
        self._merge_share = float(merge_share)
        self._state: TableState | None = None
        self._writer: Writer | None = None
        self._write_lock = Lock()
        _every.add(self)

    def __getstate__(self) -> dict[str, Any]:
        # The writer is made again from the state, where it is needed.
        return {**self.__dict__, "_writer": None, "_write_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._write_lock = Lock()
        _every.add(self)

    def __repr__(self) -> str:
        if self._state is None:
            return f"HashTables({self._first_family!r}, not built)"
        return f"HashTables({self.family!r}, {self.n_items:,} items)"

    def _repr_html_(self) -> str:
        rows: list[tuple[str, object]] = [("family", self.family), ("tables", self.family.n_tables)]
        if self.is_built:
            rows += [("items", f"{self.n_items:,}"), ("memory", memory.mebibytes(self.memory_bytes, 1))]
        return html_table("HashTables", ["", "" if self.is_built else "not built"], rows)

    def _count(self, threads: int | None) -> int:
        return core.threads_or_default(self._threads if threads is None else threads)

    # ---- reading

    @property
    def state(self) -> TableState:
        """The state that readers see now; later builds and changes do not affect it."""
        if self._state is None:
            raise ArgumentError("tables", "tables that are not built", "built: call build(vectors)")
        return self._state

    def snapshot(self) -> TableState:
        """As :attr:`state`."""
        return self.state

    @property
    def is_built(self) -> bool:
        """Whether there is a state to read."""
        return self._state is not None

    @property
    def family(self) -> HashFamily:
        """The hash functions in use; they are made by the first build if the text of a family has no dim."""
        if self._state is None and isinstance(self._first_family, HashFamily):
            return self._first_family
        return self.state.family

    @property
    def n_items(self) -> int:
        """Number of ids that are in the tables."""
        return self.state.n_items

    @property
    def n_ids(self) -> int:
        """Ids are below it: n_items if there are no holes. Insertions increase it, and it never decreases."""
        return self.state.n_ids

    @property
    def bucket_size(self) -> int | None:
        """The most ids that a bucket keeps; None for all of them."""
        return self._bucket_size

    @property
    def vectors(self) -> Rows | None:
        """The rows that the tables were built from."""
        return self.state.vectors

    @property
    def keys(self) -> Int64 | None:
        """The key (n_ids,) of each id, of tables built with keys; not to be modified. None without keys.

        Changes of the tables make a new array, so that one that was read goes with what was found before.
        """
        return self.state.keys

    def keys_of(self, ids: Any) -> Int64:
        """The keys of ids, an integer array of any shape; places of -1 (no item) stay -1.

        Raises
        ------
        ArgumentError
            The tables have no keys, or an id is out of range.
        """
        return keys_of(self.state.keys, ids)

    def ids_of(self, keys: Any) -> Int32:
        """The ids (m,) of unique keys, an integer array (m,).

        Raises
        ------
        ArgumentError
            The tables have no keys, or a key is not in them or given twice.
        CheckpointError
            The tables are of a file that is corrupted: it is verified before the first look for a key.
        """
        keyed = self.verify().state.keyed
        if keyed is None:
            raise ArgumentError("tables", "tables without keys", "tables with keys: build(vectors, keys=...)")
        return keyed.ids_of(checked_keys(keys))

    @property
    def native(self) -> NativeReader:
        """The arrays of the present state."""
        return self.state.native

    @property
    def memory_bytes(self) -> int:
        """Bytes of the tables, of their deltas, their keys, and their writer; not of the rows."""
        writer = self._writer
        return self.state.nbytes + (0 if writer is None else writer.nbytes)

    @memory.named_shortage("looking up candidates")
    def candidates(self, queries: Any, n_probes: int, *, threads: int | None = None) -> Candidates:
        """As :meth:`TableState.candidates` of the present state."""
        return self.state.candidates(queries, n_probes, threads=self._count(threads))

    def buckets_of_codes(self, codes: Codes, *, threads: int | None = None) -> Buckets:
        """As :meth:`TableState.buckets_of_codes` of the present state."""
        return self.state.buckets_of_codes(codes, threads=self._count(threads))

    @memory.named_shortage("looking up candidates")
    def query(self, queries: Any, n_probes: int | None = None, *, threads: int | None = None) -> Candidates:
        """As :meth:`TableReader.query`, by default on the threads of these tables."""
        return super().query(queries, n_probes, threads=self._count(threads))

    @memory.named_shortage("looking up buckets")
    def buckets(self, queries: Any, *, threads: int | None = None) -> Buckets:
        """As :meth:`TableReader.buckets`, by default on the threads of these tables."""
        return super().buckets(queries, threads=self._count(threads))

    @property
    def item_ids(self) -> Int32:
        """The ids (n_items,) in the tables, ascending."""
        return self.state.item_ids

    def candidate_parts(
        self, queries: Rows, n_probes: int, *, max_ids: int, threads: int | None = None
    ) -> Iterator[tuple[int, Candidates]]:
        """As :meth:`TableState.candidate_parts` of the present state."""
        return self.state.candidate_parts(queries, n_probes, max_ids=max_ids, threads=self._count(threads))

    @property
    def default_threads(self) -> int | None:
        """The ``threads`` that the tables were made with."""
        return self._threads

    # ---- building

    @classmethod
    def of_state(cls, state: TableState, *, threads: int | None = None) -> Self:
        """Tables that begin with a state; ``threads`` as for the class."""
        tables = cls(state.family, bucket_size=state.bucket_size, threads=threads)
        tables._state = state
        return tables

    @staticmethod
    def memory_needed(
        family: FamilyLike,
        n_items: int,
        threads: int | None = None,
        *,
        bucket_size: int | None = None,
        keys: bool = False,
    ) -> MemoryNeed:
        """Bytes of tables when built, and at the peak of their build; nothing is allocated.

        Parameters
        ----------
        family : str, HashFamily, FamilySpec or mapping
            The hash functions; text has to have the option ``dim`` here.
        n_items : int
            Number of rows.
        threads : int, optional
            Threads of the build; each has separate scratch memory at the peak.
        bucket_size : int, optional
            As for the class: bounded tables take the same memory at any number of rows.
        keys : bool
            Whether the items have keys, which take 20 bytes each.

        Returns
        -------
        MemoryNeed
            ``tables``, ``per_table``, ``peak`` and ``writer``, in bytes.

        Examples
        --------
        >>> from lshsample.registry import make_family
        >>> family = make_family("simhash", dim=128, n_hashes=12, n_tables=50)
        >>> need = HashTables.memory_needed(family, 670_091, threads=2)
        >>> need.tables // 2**20, need.peak // 2**20
        (128, 133)
        >>> HashTables.memory_needed(family, 670_091, bucket_size=32).tables // 2**20
        25
        """
        check_items(n_items)
        made = make_family(family)
        room = checked_bucket_size(bucket_size, made)
        need = bytes_needed(made, int(n_items), core.threads_or_default(threads), room)
        more = Keys.bytes_needed(int(n_items)) if keys else 0
        return attrs.evolve(need, tables=need.tables + more, peak=need.peak + more)

    @memory.named_shortage("building tables")
    def build(self, vectors: Any, *, ids: Any = None, keys: Any = None) -> Self:
        """Build the tables over rows, whose ids are 0 to n - 1; an earlier state is replaced at the end.

        Parameters
        ----------
        vectors : (n, dim) array or scipy.sparse matrix
            Finite rows, at least one. float32 rows (dense, or canonical CSR) are kept by reference for
            marginal inclusion probabilities: if they are changed in place, the tables do not change until the
            next rebuild.
        ids : (n,) integer array, optional
            The rows' ids, ascending, where they are not 0 to n - 1 (a shard). Then the rows are not kept,
            since they are looked up by id.
        keys : (n,) integer array, optional
            The caller's own keys of the rows: any unique int64. They are kept beside the ids, saved with the
            tables, and name the items in :meth:`insert`, :meth:`update`, :meth:`delete` and :meth:`changed`.

        Returns
        -------
        HashTables
            Itself.

        Raises
        ------
        ArgumentError
            Rows of another width, NaN or infinite values, no rows at all; bad ids or keys.
        MemoryBudgetError
            The build needs more memory than is available; nothing was allocated.
        PluginError
            The family broke its contract. As after any failure, the old tables are kept.
        """
        family = self._first_family if self._state is None else self._state.family
        if isinstance(family, str):
            if len(np.shape(vectors)) != 2:
                given = f"shape {np.shape(vectors)}"
                raise ArgumentError("vectors", given, "a 2-D array (n_rows, n_columns)")
            family = make_family(family, dim=np.shape(vectors)[1])
            checked_bucket_size(self._bucket_size, family)
        self._install(family, vectors, ids, keys)
        return self

    @memory.named_shortage("building tables")
    def rebuild(
        self, vectors: Any, family: FamilyLike | None = None, *, ids: Any = None, keys: Any = None
    ) -> Self:
        """Build again, from rows that have changed; as :meth:`build`, for any earlier ids.

        Parameters
        ----------
        vectors : (n, dim) array or scipy.sparse matrix
            The rows.
        family : str, HashFamily, FamilySpec or mapping, optional
            Other functions from now on (a learned family that was trained again); by default the old ones.
            The ``dim`` of text without it is that of the old ones.
        ids : (n,) integer array, optional
            As for :meth:`build`: without it the rows' ids are 0 to n - 1, also of a shard.
        keys : (n,) integer array, optional
            As for :meth:`build`. Without it tables with keys keep them, if there are as many rows as ids, and
            no holes.
        """
        now = self.state.family
        chosen = now if family is None else resolve_family(family)
        if isinstance(chosen, str):
            chosen = make_family(chosen, dim=now.dim)
        self._install(chosen, vectors, ids, keys, keep=True)
        return self

    @memory.named_shortage("building tables")
    def rehash(self, vectors: Any, seed: int, *, ids: Any = None, keys: Any = None) -> Self:
        """Build again with new functions, ``family.with_seed(seed)``; otherwise as :meth:`rebuild`.

        Parameters
        ----------
        vectors : (n, dim) array or scipy.sparse matrix
            Rows, as for :meth:`build`.
        seed : int
            Determines the functions, 0 to 2**63 - 1.
        ids : (n,) integer array, optional
            As for :meth:`build`.
        keys : (n,) integer array, optional
            As for :meth:`rebuild`.
        """
        family = hashing.reseeded(self.family, seed)
        self._install(family, vectors, ids, keys, keep=True)
        return self

    def _install(self, family: HashFamily, vectors: Any, ids: Any, keys: Any, keep: bool = False) -> None:
        rows = hashing.checked_rows(family, vectors, "vectors")
        with self._write_lock:
            names = checked_keys(keys, rows.shape[0]) if keys is not None else None
            if keep and names is None and self.state.keyed is not None:
                names = self._kept_keys(self.state.keyed, rows.shape[0])
            if names is not None and ids is not None:
                raise ArgumentError("ids", "ids and keys", "left out, since the keys name the rows")
            self._state = built_state(family, rows, ids, names, self._bucket_size, self._count(None))
            self._writer = None

    @staticmethod
    def _kept_keys(keyed: Keys, n_rows: int) -> Int64:
        if not n_rows == keyed.n_items == len(keyed.by_id):
            given = f"nothing with {n_rows} rows for {keyed.n_items} items of {len(keyed.by_id)} ids"
            raise ArgumentError("keys", given, "given, one for each row")
        return keyed.by_id

    # ---- changing

    @memory.named_shortage("changing tables")
    def insert(self, ids: Any, vectors: Any, *, rows: Rows | None = None) -> Self:
        """Add ids that are not in the tables.

        Parameters
        ----------
        ids : (m,) integer array
            New ids, in any order; they may be above ``n_ids``, which then increases, or in holes. For tables
            with keys: new keys, which get the lowest holes, and then ids from ``n_ids`` on.
        vectors : (m, dim) array or scipy.sparse matrix
            Finite rows, one for each id.
        rows : (n_ids, dim) array, optional
            All rows, by reference, for marginal inclusion probabilities; without it ``tables.vectors`` is
            kept only where it already holds these rows.

        Returns
        -------
        HashTables
            Itself; readers see all of the ids from now on.

        Raises
        ------
        ArgumentError
            An id or key that is in the tables or given twice, bad rows, or another number of them; nothing
            was changed.
        MemoryBudgetError
            There is not enough memory.

        Notes
        -----
        Costs the hashing and O(m · L); when more than ``merge_share`` of the entries have changed, also a
        pass over the tables. The first change after a build reads each id's codes once, and stores them from
        then on (``memory_needed(...).writer``).
        """
        if self._bucket_size:
            return self._offer(ids, vectors)
        return self._change(ids, vectors, present=False, rows=rows)

    @memory.named_shortage("changing tables")
    def update(self, ids: Any, vectors: Any, *, rows: Rows | None = None) -> Self:
        """Move ids to the buckets of new vectors; as :meth:`insert`.

        Only ids whose code changed in a table move in it.

        Parameters
        ----------
        ids : (m,) integer array
            Ids, in any order; keys, for tables with keys.
        vectors, rows
            As for :meth:`insert`.

        Raises
        ------
        ArgumentError
            An id or key that is not in the tables, otherwise as :meth:`insert`.
        UnsupportedError
            The tables are bounded: they do not store the ids that they dropped.
        """
        self._refuse_bounded("update")
        return self._change(ids, vectors, present=True, rows=rows)

    @memory.named_shortage("changing tables")
    def delete(self, ids: Any) -> Self:
        """Remove ids; they become holes, and the next merge frees their memory.

        Parameters
        ----------
        ids : (m,) integer array
            Ids in the tables, in any order; keys, for tables with keys.

        Raises
        ------
        ArgumentError
            An id or key that is not in the tables or given twice; nothing was changed.
        UnsupportedError
            The tables are bounded: they do not store the ids that they dropped.
        """
        self._refuse_bounded("delete")
        with self._write_lock:
            writer, threads = self._writer_of(self.state), self._count(None)
            names, _, keyed = self._named(ids, present=True)
            writer.require(names, present=True)
            if len(names):
                state = writer.change(names, writer.codes[names], None, threads)
                keyed = None if keyed is None else keyed.without(names)
                self._publish(writer, names, attrs.evolve(state, keyed=keyed), None)
        return self

    @memory.named_shortage("hashing rows")
    def changed(self, ids: Any, vectors: Any) -> npt.NDArray[np.bool_]:
        """Which codes new vectors of ids would change: (m, n_tables) bool; nothing moves.

        Parameters
        ----------
        ids : (m,) integer array
            Ids in the tables, in any order; keys, for tables with keys.
        vectors : (m, dim) array or scipy.sparse matrix
            Finite rows.

        Raises
        ------
        ArgumentError
            As :meth:`update`.
        UnsupportedError
            The tables are bounded.
        """
        self._refuse_bounded("changed")
        with self._write_lock:
            writer = self._writer_of(self.state)
            names, order, _ = self._named(ids, present=True)
            writer.require(names, present=True)
            _, new = self._hashed(vectors, order, len(names))
            moved: npt.NDArray[np.bool_] = writer.codes[names] != new
        if order is None:
            return moved
        out = np.empty_like(moved)
        out[order] = moved
        return out

    @memory.named_shortage("changing tables")
    def compact(self) -> Self:
        """Merge all changes into the tables now, and free the memory of the changes.

        The next change reads each id's codes again, as the first one did.
        """
        with self._write_lock:
            self._state = self.state.merged(self._count(None))
            self._writer = None
        return self

    def _refuse_bounded(self, what: str) -> None:
        if self._bucket_size:
            raise UnsupportedError(
                f"{what}: bounded tables do not store the ids that their buckets dropped; rebuild them"
            )

    def _named(self, given: Any, present: bool) -> tuple[Int32, npt.NDArray[np.int64] | None, Keys | None]:
        """The ids of items named by ids or keys, ascending, the permutation, and the keys with new ones."""
        keyed = self.state.keyed
        if keyed is None:
            return *checked_ids(given), None
        keys = checked_keys(given)
        if present:
            return *checked_ids(keyed.ids_of(keys)), keyed
        need = Keys.bytes_needed(keyed.n_items + len(keys))
        memory.require_bytes(need, f"adding {len(keys):,} keys to {keyed.n_items:,}")
        more, names = keyed.with_keys(keys, reuse=not self._bucket_size)
        return *checked_ids(names), more

    def _hashed(self, vectors: Any, order: Any, n: int) -> tuple[Rows, Codes]:
        family = self.state.family
        given = hashing.checked_rows(family, vectors, "vectors")
        if given.shape[0] != n:
            raise ArgumentError("vectors", f"{given.shape[0]} rows", f"an array of {n} rows, one for each id")
        if order is not None:
            given = given[order]
        return given, hashing.hash_rows(family, given, threads=self._count(None))

    def _writer_of(self, state: TableState) -> Writer:
        if self._writer is None or self._writer.state is not state:
            threads = self._count(None)
            need = Writer.bytes_needed(state.n_ids, state.n_tables)
            memory.require_bytes(need, f"changing tables of {state.n_ids:,} ids")
            self._state = state = state.private(threads)
            self._writer = Writer(state, threads)
        return self._writer

    def _change(self, ids: Any, vectors: Any, *, present: bool, rows: Rows | None) -> Self:
        with self._write_lock:
            writer, threads = self._writer_of(self.state), self._count(None)
            names, order, keyed = self._named(ids, present)
            writer.require(names, present)
            given, new = self._hashed(vectors, order, len(names))
            if len(names):
                need = writer.growth(int(names[-1]) + 1)
                memory.require_bytes(need, f"changing tables of ids up to {names[-1]:,}")
                old = writer.codes[names] if present else None
                state = writer.change(names, old, new, threads)
                kept = kept_vectors(state, names, given, rows)
                self._publish(writer, names, attrs.evolve(state, vectors=kept, keyed=keyed), new)
        return self

    def _publish(self, writer: Writer, names: Int32, state: TableState, new: Codes | None) -> None:
        """Merge if there are more changes than ``merge_share``, and let readers see the state."""
        limit = max(self._merge_share * state.base.ids.size, _FEW_CHANGES)
        if state.n_changes > limit:
            state = state.merged(self._count(None))
        try:
            writer.remember(state, names, new)
        except BaseException:
            self._writer = None  # it may be inconsistent; it is made again from what readers see
            raise
        self._state = state

    def _offer(self, ids: Any, vectors: Any) -> Self:
        """Insertion into bounded tables: into a copy, which readers see when it is done."""
        with self._write_lock:
            threads = self._count(None)
            self._state = state = self.state.private(threads)
            names, order, keyed = self._named(ids, present=False)
            if len(names) and names[0] < state.n_ids:
                wanted = f"ids from {state.n_ids} on, since bounded tables do not store all of their ids"
                raise ArgumentError("ids", names[0], wanted)
            _, new = self._hashed(vectors, order, len(names))
            if len(names):
                assert isinstance(state.base, BoundedTables)
                self._state = with_offered(state, state.base, names, new, keyed, threads)
        return self

    # ---- shards and files

    @classmethod
    @memory.named_shortage("merging tables")
    def merge(cls, a: HashTables, b: HashTables, *, threads: int | None = None) -> Self:
        """One set of tables from two with the same functions and disjoint ids (built on two machines).

        Of tables with keys, the keys must be disjoint; the ids of ``b`` come after those of ``a``.

        Parameters
        ----------
        a, b : HashTables
            Tables; they are not changed.
        threads : int, optional
            As for the class.

        Raises
        ------
        ArgumentError
            The families or bucket sizes differ, or an id or key is in both.

        Examples
        --------
        >>> import numpy as np
        >>> from lshsample.registry import make_family
        >>> rows = np.random.default_rng(0).standard_normal((100, 16), dtype=np.float32)
        >>> family = make_family("simhash", dim=16, n_hashes=6, n_tables=8, seed=0)
        >>> first = HashTables(family).build(rows[:60])
        >>> second = HashTables(family).build(rows[60:], ids=np.arange(60, 100))
        >>> HashTables.merge(first, second).n_items
        100
        """
        for argument, tables in (("a", a), ("b", b)):
            if not isinstance(tables, HashTables):
                raise ArgumentError(argument, type(tables).__name__, "HashTables")
        if a.bucket_size != b.bucket_size:
            raise ArgumentError(
                "b", f"bucket_size {b.bucket_size}", f"tables of bucket_size {a.bucket_size}, as a"
            )
        merged = cls(a.family, bucket_size=a.bucket_size, merge_share=a._merge_share, threads=threads)
        merged._state = shards.merged(a.state, b.state, core.threads_or_default(threads))
        return merged

    @memory.named_shortage("splitting tables")
    def split(self, boundaries: Sequence[int]) -> list[Self]:
        """Tables of the id ranges between boundaries, with the same functions; ids do not change.

        Parameters
        ----------
        boundaries : sequence of int
            Ascending ids at which a new shard begins: k of them give k + 1 shards, the first from id 0 on.

        Raises
        ------
        ArgumentError
            Not ascending, or outside of 1 to n_ids - 1.
        UnsupportedError
            The tables are bounded: the ids that their buckets dropped cannot be divided.
        """
        self._refuse_bounded("split")
        threads = self._count(None)
        parts = []
        for state in shards.parts(self.state, boundaries, threads):
            part = type(self)(self.family, merge_share=self._merge_share, threads=self._threads)
            part._state = state
            parts.append(part)
        return parts

    @memory.named_shortage("saving tables")
    def save(self, path: str | os.PathLike[str] | BinaryIO, *, vectors: bool = False) -> None:
        """Write the tables, their keys and their family's spec to a file, atomically.

        Parameters
        ----------
        path : str, PathLike or binary file
            The file; an existing one is replaced without a question when the new one is complete, with its
            mode, and processes that have opened it keep the old one. A file object is written to directly.
        vectors : bool
            Also write dense rows, so that marginal inclusion probabilities work after :meth:`open`.

        Raises
        ------
        ArgumentError
            ``path`` is not a path, the family is not registered under a name, or ``vectors`` is True and the
            rows are not dense.
        CheckpointError
            The tables were opened from a file that was changed since.
        OSError
            The disk is full or the folder is not writable; an existing file is unchanged.
        """
        threads = self._count(None)
        state = self.state.verified(threads).merged(threads)
        rows = state.vectors if vectors else None
        if vectors and (rows is None or sp.issparse(rows) or rows.shape[0] != state.n_ids):
            raise ArgumentError("vectors", vectors, "False: the tables have no dense rows, one for each id")
        write_state(path, state, rows)

    @classmethod
    @memory.named_shortage("opening tables")
    def open(
        cls,
        path: str | os.PathLike[str] | BinaryIO,
        *,
        verify: bool = False,
        copy: bool = False,
        threads: int | None = None,
    ) -> Self:
        """Tables from a file that :meth:`save` wrote, mapped into memory: no array is read.

        Parameters
        ----------
        path : str, PathLike or binary file
            The file. Processes that open it share one copy of the arrays. Replace it with :meth:`save` or by
            renaming another file (``mv``), never in place (``cp``): what has it open reads its bytes.
        verify : bool
            Compare all arrays with their checksums, and the hash functions with those that the tables were
            built with, now (as :meth:`verify`). Without it only the header is verified. Lookups check what
            they read, so that a damaged array can give wrong ids, but no ids out of range. The functions are
            compared now if their plugin's version has changed, else before the first query.
        copy : bool
            Read the arrays into memory of this process, where nothing that happens to the file can reach
            them.
        threads : int, optional
            As for the class.

        Raises
        ------
        CheckpointError
            The file is truncated, corrupted, of another format or of a newer version, or its family is not
            installed or hashes in another way than the version that saved it; the message says which.
            Queries raise it too, if the file was changed since.
        MemoryBudgetError
            There is not enough memory for a copy, or, below a limit of the address space, to map the file.
        """
        state = read_state(path, verify=verify)
        if copy:
            state = state.copied()
        tables = cls.of_state(state, threads=threads)
        if verify:
            try:
                tables.verify()
            except CheckpointError as error:
                raise CheckpointError(f"{name_of(path)}: {error}") from error
        return tables

    @memory.named_shortage("checking tables")
    def verify(self) -> Self:
        """Compare the arrays of an opened file with their checksums, and check that they are valid tables.

        The hash functions are compared with those that the tables were built with. Lookups in a mapped file
        check what they read afterwards too, since other processes can still write to it; those in a copy do
        not. For tables that were built, nothing is done.

        Raises
        ------
        CheckpointError
            An array is corrupted, or the functions have changed; the message names it.
        """
        with self._write_lock:
            self._state = self.state.verified(self._count(None))
        return self
