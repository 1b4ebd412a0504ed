"""Hash tables that change while they are read: insertions, moves, deletions, merges, shards and files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Self

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample._native import core, memory
from lshsample._native import family as door
from lshsample._native.bounded import copy_bounded, offer
from lshsample.errors import ArgumentError, CheckpointError, UnsupportedError
from lshsample.plugin import HashFamily, Rows
from lshsample.tables import shards
from lshsample.tables.built import BuiltTables
from lshsample.tables.file import check_blocks, read_state, write_state
from lshsample.tables.state import TableState
from lshsample.tables.writer import Writer, checked_ids

__all__ = ["HashTables"]

Codes = npt.NDArray[np.uint32]
Int32 = npt.NDArray[np.int32]

#: Fewer changes than that stay laid over the tables, whatever their share.
_FEW_CHANGES = 4096


class HashTables(BuiltTables):
    """L hash tables over the rows of a matrix.

    Parameters
    ----------
    family : HashFamily
        The hash functions, from :func:`lshsample.make_family` or a class of your own.
    bucket_size : int, optional
        Keep at most so many ids of each bucket, every subset of that size equally likely: bounded memory,
        told by :meth:`memory_needed`, whatever the number of rows. By default no bucket loses an id.
    merge_share : float
        Changes are merged into the tables when there are more than this share of their entries.
    threads : int, optional
        Threads of builds and queries, unless a call names its own. Results never depend on it.

    Notes
    -----
    A build costs the hashing plus one counting sort (or ceil(code_bits / 11) radix passes) per table; a
    query costs the ids that it returns, and about three cache lines per table. Any number of threads may
    query while one writer inserts, moves, deletes or rebuilds: each call sees one state from beginning to
    end, and waits for nobody. Writers wait for each other.

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
        family: HashFamily,
        *,
        bucket_size: int | None = None,
        merge_share: float = 0.1,
        threads: int | None = None,
    ) -> None:
        super().__init__(family, bucket_size=bucket_size, threads=threads)
        if isinstance(merge_share, bool) or not isinstance(merge_share, (int, float)) or not merge_share > 0:
            raise ArgumentError("merge_share", repr(merge_share), "a number above 0")
        self._merge_share = float(merge_share)

    # ---- changes ----

    def insert(self, ids: Any, vectors: Any, *, rows: Rows | None = None) -> Self:
        """Add ids that are not there.

        Parameters
        ----------
        ids : (m,) integer array
            New ids, in any order; they may lie beyond ``n_ids``, which then grows, or in holes.
        vectors : (m, dim) array or scipy.sparse matrix
            Finite rows, one for each id.
        rows : (n_ids, dim) array, optional
            All rows, by reference, for the laws over the hash functions; without it ``tables.vectors`` is
            kept only where it already holds these rows.

        Returns
        -------
        HashTables
            Itself; readers see all of the ids from now on.

        Raises
        ------
        ArgumentError
            An id that is there, or twice, bad rows, or another number of them; nothing was changed.
        MemoryBudgetError
            There is not enough memory.

        Notes
        -----
        Costs the hashing and O(m · L); when more than ``merge_share`` of the entries have changed, also a
        pass over the tables. The first change of tables that were built reads each id's codes once, and
        holds them from then on (``memory_needed(...).writer``).
        """
        if self._bucket_size:
            return self._offer(ids, vectors)
        return self._change(ids, vectors, present=False, rows=rows)

    def update(self, ids: Any, vectors: Any, *, rows: Rows | None = None) -> Self:
        """Move ids that are there to the buckets of new vectors; as :meth:`insert`.

        Only ids whose code changed in a table move in it.

        Parameters
        ----------
        ids : (m,) integer array
            Ids, in any order.
        vectors, rows
            As for :meth:`insert`.

        Raises
        ------
        ArgumentError
            An id that is not there, else as :meth:`insert`.
        UnsupportedError
            The tables are bounded: they do not know what they left out.
        """
        self._refuse_bounded("update")
        return self._change(ids, vectors, present=True, rows=rows)

    def delete(self, ids: Any) -> Self:
        """Take ids out; they become holes, and their memory comes back with the next merge.

        Parameters
        ----------
        ids : (m,) integer array
            Ids that are there, in any order.

        Raises
        ------
        ArgumentError
            An id that is not there, or twice; nothing was changed.
        UnsupportedError
            The tables are bounded: they do not know what they left out.
        """
        self._refuse_bounded("delete")
        names, _ = checked_ids(ids)
        with self._write_lock:
            writer, threads = self._writer_of(self.state), core.threads_or_default(self._threads)
            writer.require(names, present=True)
            if len(names):
                self._publish(writer, names, writer.change(names, writer.codes[names], None, threads), None)
        return self

    def changed(self, ids: Any, vectors: Any) -> npt.NDArray[np.bool_]:
        """Which codes new vectors of ids would change: (m, n_tables) bool; nothing moves.

        Parameters
        ----------
        ids : (m,) integer array
            Ids that are there, in any order.
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
        names, order = checked_ids(ids)
        with self._write_lock:
            writer = self._writer_of(self.state)
            writer.require(names, present=True)
            _, new = self._hashed(vectors, order, len(names))
            moved: npt.NDArray[np.bool_] = writer.codes[names] != new
        if order is None:
            return moved
        out = np.empty_like(moved)
        out[order] = moved
        return out

    def compact(self) -> Self:
        """Merge what has changed into the tables now, rather than when it has grown."""
        with self._write_lock:
            threads = core.threads_or_default(self._threads)
            state = self.state.merged(threads)
            if self._writer is not None:
                self._writer.state = state
            self._state = state
        return self

    def _refuse_bounded(self, what: str) -> None:
        if self._bucket_size:
            raise UnsupportedError(
                f"{what}: bounded tables do not know the ids that their buckets left out; rebuild them"
            )

    def _hashed(self, vectors: Any, order: Any, n: int) -> tuple[Rows, Codes]:
        family = self.state.family
        given = door.checked_rows(family, vectors, "vectors")
        if given.shape[0] != n:
            raise ArgumentError("vectors", f"{given.shape[0]} rows", f"{n} rows, one for each id")
        if order is not None:
            given = given[order]
        return given, door.hash_rows(family, given, threads=core.threads_or_default(self._threads))

    def _writer_of(self, state: TableState) -> Writer:
        if self._writer is None or self._writer.state is not state:
            threads = core.threads_or_default(self._threads)
            need = Writer.bytes_needed(state.n_ids, state.packed.n_tables)
            memory.require_bytes(need, f"changing tables of {state.n_ids:,} ids")
            self._state = state = state.trusted(threads)
            self._writer = Writer(state, threads)
        return self._writer

    def _change(self, ids: Any, vectors: Any, *, present: bool, rows: Rows | None) -> Self:
        names, order = checked_ids(ids)
        with self._write_lock:
            writer, threads = self._writer_of(self.state), core.threads_or_default(self._threads)
            writer.require(names, present)
            given, new = self._hashed(vectors, order, len(names))
            if len(names):
                old = writer.codes[names] if present else None
                state = writer.change(names, old, new, threads)
                kept = _kept_rows(state, names, given, rows)
                self._publish(writer, names, attrs.evolve(state, vectors=kept), new)
        return self

    def _publish(self, writer: Writer, names: Int32, state: TableState, new: Codes | None) -> None:
        """Merge if it is time, and let readers see the state."""
        limit = max(self._merge_share * state.packed.ids.size, _FEW_CHANGES)
        if state.n_changes > limit:
            state = state.merged(core.threads_or_default(self._threads))
        try:
            writer.remember(state, names, new)
        except BaseException:
            self._writer = None  # it may know a half of it; it is made again from what readers see
            raise
        self._state = state

    def _offer(self, ids: Any, vectors: Any) -> Self:
        """Insertion into bounded tables: into a copy, which readers see when it is done."""
        names, order = checked_ids(ids)
        with self._write_lock:
            state = self.state
            if len(names) and names[0] < state.n_ids:
                wanted = f"ids from {state.n_ids} on: bounded tables cannot tell which ids they have had"
                raise ArgumentError("ids", names[0], wanted)
            _, new = self._hashed(vectors, order, len(names))
            if len(names):
                threads = core.threads_or_default(self._threads)
                memory.require_bytes(state.packed.nbytes, "inserting into bounded tables")
                trusted = state.trusted(threads)
                packed = copy_bounded(trusted.packed, len(names), int(names[-1]) + 1)
                offer(packed, names, new, state.family.seed, threads, door.family_label(state.family))
                self._state = attrs.evolve(trusted, packed=packed, n_items=packed.n_items, vectors=None)
        return self

    # ---- merging and splitting ----

    @classmethod
    def merge(cls, a: HashTables, b: HashTables, *, threads: int | None = None) -> Self:
        """One set of tables from two with the same functions and disjoint ids (built on two machines).

        Parameters
        ----------
        a, b : HashTables
            Tables; they stay as they are.
        threads : int, optional
            As for the class.

        Raises
        ------
        ArgumentError
            The families or bucket sizes differ, or an id is in both.

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
        if a.bucket_size != b.bucket_size:
            raise ArgumentError("b", f"bucket_size {b.bucket_size}", f"{a.bucket_size}, as a has")
        merged = cls(a.family, bucket_size=a.bucket_size, merge_share=a._merge_share, threads=threads)
        merged._state = shards.merged(a.state, b.state, core.threads_or_default(threads))
        return merged

    def split(self, boundaries: Sequence[int]) -> list[Self]:
        """Tables of the id ranges between boundaries, with the same functions; ids keep their names.

        Parameters
        ----------
        boundaries : sequence of int
            Ascending ids at which a new shard begins: k of them give k + 1 shards, the first from id 0 on.

        Raises
        ------
        ArgumentError
            Not ascending, or outside of 1 to n_ids - 1.
        UnsupportedError
            The tables are bounded: what their buckets left out cannot be shared out.
        """
        self._refuse_bounded("split")
        threads = core.threads_or_default(self._threads)
        parts = []
        for state in shards.parts(self.state, boundaries, threads):
            part = type(self)(self.family, merge_share=self._merge_share, threads=self._threads)
            part._state = state
            parts.append(part)
        return parts

    # ---- files ----

    def save(self, path: str | os.PathLike[str], *, vectors: bool = False) -> None:
        """Write the tables and their family's spec to a file, whole or not at all.

        Parameters
        ----------
        path : path
            The file; one that is there is replaced when the new one is complete, and processes that have
            it open keep what they have.
        vectors : bool
            Also write dense rows, so that laws over the hash functions work after :meth:`open`.

        Raises
        ------
        ArgumentError
            The family is not registered under a name, or ``vectors`` is asked of sparse rows.
        OSError
            The disk is full or the folder is not writable; a file that was there is untouched.
        """
        threads = core.threads_or_default(self._threads)
        state = self.state.trusted(threads).merged(threads)
        rows = state.vectors if vectors else None
        if vectors and (rows is None or sp.issparse(rows) or rows.shape[0] != state.n_ids):
            raise ArgumentError("vectors", "tables without dense rows", "tables built from a dense array")
        write_state(path, state, rows)

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, verify: bool = False, threads: int | None = None) -> Self:
        """Tables from a file that :meth:`save` wrote, mapped into memory: no array is read.

        Parameters
        ----------
        path : str or PathLike
            The file. Processes that open it share one copy of the arrays.
        verify : bool
            Compare all arrays with their checksums now (as :meth:`verify`). Without it only the header is
            verified; lookups check what they read, so that a damaged array can give wrong ids, never ids
            that are none.
        threads : int, optional
            As for the class.

        Raises
        ------
        CheckpointError
            The file is truncated, corrupted, of another format or of a newer version; the message says
            which.
        """
        state = read_state(path)
        tables = cls(state.family, bucket_size=state.packed.bucket_size or None, threads=threads)
        tables._state = state
        if verify:
            try:
                tables.verify()
            except CheckpointError as error:
                raise CheckpointError(f"{os.fspath(path)}: {error}") from error
        return tables

    def verify(self) -> Self:
        """Compare the arrays of an opened file with their checksums, and check that they are sound.

        Afterwards lookups need not check what they read. Tables that were built are sound: nothing is done.

        Raises
        ------
        CheckpointError
            An array is corrupted; the message names it.
        """
        with self._write_lock:
            state = self.state
            if state.packed.untrusted or state.checksums:
                check_blocks(state)
                self._state = attrs.evolve(
                    state.trusted(core.threads_or_default(self._threads)), checksums=None
                )
        return self

    def __repr__(self) -> str:
        size = f"{self.n_items:,} items" if self.is_built else "not built"
        return f"HashTables({self.family!r}, {size})"


def _kept_rows(state: TableState, names: Int32, given: Rows, rows: Rows | None) -> Rows | None:
    """The rows that laws can use after a change: those given, or the old ones if they hold the change."""
    if rows is not None:
        all_rows = door.checked_rows(state.family, rows, "rows", finite=False)
        if all_rows.shape[0] < state.n_ids:
            raise ArgumentError("rows", f"{all_rows.shape[0]} rows", f"{state.n_ids} rows, one for each id")
        return all_rows
    old = state.vectors
    if not isinstance(old, np.ndarray) or not isinstance(given, np.ndarray) or len(old) < state.n_ids:
        return None
    return old if np.array_equal(old[names], given) else None
