"""Tables that change by id while they are read: insertions, moves and deletions of one writer at a time."""

from __future__ import annotations

from typing import Any, Self

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample import hashing, memory
from lshsample._native import core
from lshsample._native.bounded import copy_bounded, offer
from lshsample.errors import ArgumentError, UnsupportedError
from lshsample.family import HashFamily, Rows
from lshsample.tables.built import BuiltTables
from lshsample.tables.state import TableState
from lshsample.tables.writer import Writer, checked_ids

__all__ = ["LivingTables"]

Codes = npt.NDArray[np.uint32]
Int32 = npt.NDArray[np.int32]

#: Fewer changes than that stay laid over the tables, whatever their share.
_FEW_CHANGES = 4096


class LivingTables(BuiltTables):
    """Changing what was built; see :class:`HashTables`."""

    def __init__(
        self,
        family: HashFamily,
        *,
        bucket_size: int | None = None,
        merge_share: float = 0.1,
        threads: int | None = None,
    ) -> None:
        super().__init__(family, bucket_size=bucket_size, threads=threads)
        if (
            isinstance(merge_share, bool)
            or not isinstance(merge_share, (int, float, np.number))
            or not merge_share > 0
        ):
            raise ArgumentError("merge_share", repr(merge_share), "a number above 0")
        self._merge_share = float(merge_share)

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
        """Merge what has changed into the tables now, and give back all memory that changing them took.

        The next change reads each id's codes anew, as the first one did.
        """
        with self._write_lock:
            self._state = self.state.merged(core.threads_or_default(self._threads))
            self._writer = None
        return self

    def _refuse_bounded(self, what: str) -> None:
        if self._bucket_size:
            raise UnsupportedError(
                f"{what}: bounded tables do not know the ids that their buckets left out; rebuild them"
            )

    def _hashed(self, vectors: Any, order: Any, n: int) -> tuple[Rows, Codes]:
        family = self.state.family
        given = hashing.checked_rows(family, vectors, "vectors")
        if given.shape[0] != n:
            raise ArgumentError("vectors", f"{given.shape[0]} rows", f"{n} rows, one for each id")
        if order is not None:
            given = given[order]
        return given, hashing.hash_rows(family, given, threads=core.threads_or_default(self._threads))

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
                need = writer.growth(int(names[-1]) + 1)
                memory.require_bytes(need, f"changing tables of ids up to {names[-1]:,}")
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
                offer(packed, names, new, state.family.seed, threads, hashing.family_label(state.family))
                self._state = attrs.evolve(trusted, packed=packed, n_items=packed.n_items, vectors=None)
        return self


def _kept_rows(state: TableState, names: Int32, given: Rows, rows: Rows | None) -> Rows | None:
    """The rows that laws can use after a change: those given, or the old ones if they hold the change."""
    if rows is not None:
        all_rows = hashing.checked_rows(state.family, rows, "rows", finite=False)
        if all_rows.shape[0] < state.n_ids:
            raise ArgumentError("rows", f"{all_rows.shape[0]} rows", f"{state.n_ids} rows, one for each id")
        if not _equal(all_rows[names], given):
            raise ArgumentError("rows", "other rows for these ids than vectors", "rows[ids] equal to vectors")
        return all_rows
    old = state.vectors
    if not isinstance(old, np.ndarray) or not isinstance(given, np.ndarray) or len(old) < state.n_ids:
        return None
    return old if np.array_equal(old[names], given) else None


def _equal(a: Rows, b: Rows) -> bool:
    """Whether two sets of rows hold the same values."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return np.array_equal(a, b)
    return sp.issparse(a) and sp.issparse(b) and abs(a - b).sum() == 0
