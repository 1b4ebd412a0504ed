"""The writer of tables: the codes of each id, by which a change finds the entries to remove."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lshsample._native.delta import codes_by_id, moves
from lshsample.errors import ArgumentError
from lshsample.tables.ids import MAX_ITEMS
from lshsample.tables.state import TableState

__all__ = ["Writer"]

Codes = npt.NDArray[np.uint32]
Int32 = npt.NDArray[np.int32]


class Writer:
    """The codes of each id, by which a change finds the entries to remove.

    Parameters
    ----------
    state : TableState
        Checked tables.
    threads : int
        Threads of reading them.
    """

    def __init__(self, state: TableState, threads: int) -> None:
        merged = state.merged(threads)
        self.state = state
        self.codes: Codes = codes_by_id(merged.packed, state.n_ids, threads)
        self.alive = np.zeros(state.n_ids, bool)
        self.alive[merged.packed.ids[0]] = True

    @staticmethod
    def bytes_needed(n_ids: int, n_tables: int) -> int:
        """Bytes of a writer."""
        return n_ids * (4 * n_tables + 1)

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays."""
        return self.codes.nbytes + self.alive.nbytes

    def growth(self, n_ids: int) -> int:
        """Bytes to allocate for ids below ``n_ids``; 0 if there is room."""
        room = self._room(n_ids)
        return 0 if room == len(self.alive) else self.bytes_needed(room, self.codes.shape[1])

    def _room(self, n_ids: int) -> int:
        """Ids to have room for: a quarter more than before, so that each is moved a few times only."""
        room = len(self.alive)
        return room if n_ids <= room else min(max(n_ids, room * 5 // 4), MAX_ITEMS)

    def require(self, ids: Int32, present: bool) -> None:
        """Refuse ids that are not in the tables, or, if ``present`` is False, ids that are."""
        inside = ids < len(self.alive)
        found = np.zeros(len(ids), bool)
        found[inside] = self.alive[ids[inside]]
        wrong = ids[found != present]
        if len(wrong):
            have = "is not in the tables" if present else "is in the tables"
            wanted = "ids in the tables (insert adds others)" if present else "new ids (update moves others)"
            raise ArgumentError("ids", f"{wrong[0]}, which {have}", wanted)

    def change(self, ids: Int32, old: Codes | None, new: Codes | None, threads: int) -> TableState:
        """The state with new codes of ids; readers do not see it yet."""
        state = self.state
        n_ids = max(state.n_ids, int(ids[-1]) + 1) if len(ids) else state.n_ids
        delta = moves(ids, old, new, state.packed.code_bits, threads)
        n_items = state.n_items + len(ids) * (int(new is not None) - int(old is not None))
        return state.changed(delta, n_items, n_ids, threads)

    def remember(self, state: TableState, ids: Int32, new: Codes | None) -> None:
        """Record the state that readers see from now on."""
        room = self._room(state.n_ids)
        if room > len(self.alive):
            codes = np.zeros((room, self.codes.shape[1]), np.uint32)
            codes[: len(self.codes)] = self.codes
            self.codes = codes
            self.alive = np.concatenate([self.alive, np.zeros(room - len(self.alive), bool)])
        if new is not None:
            self.codes[ids] = new
        self.alive[ids] = new is not None
        self.state = state
