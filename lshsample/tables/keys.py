"""The caller's own keys of items, beside the ids that tables work with."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from lshsample.errors import ArgumentError

__all__ = ["Keys", "checked_keys", "keys_of"]

Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]


def checked_keys(keys: Any, n: int | None = None) -> Int64:
    """Keys as int64, in the order in which they are given.

    Raises
    ------
    ArgumentError
        Not 1-D integers from -2**63 to 2**63 - 1, a key twice, or another number than ``n``.
    """
    array = np.asarray(keys)
    wanted = "a 1-D array of integers from -2**63 to 2**63 - 1"
    if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
        raise ArgumentError("keys", f"{array.dtype} of shape {array.shape}", wanted)
    if array.dtype == np.uint64 and array.max(initial=0) >= 2**63:
        raise ArgumentError("keys", array.max(), wanted)
    if n is not None and len(array) != n:
        raise ArgumentError("keys", f"{len(array)} keys", f"{n} keys, one for each row")
    out = np.ascontiguousarray(array, np.int64)
    ordered = np.sort(out)
    twice = np.flatnonzero(ordered[1:] == ordered[:-1])
    if len(twice):
        raise ArgumentError("keys", f"{ordered[twice[0]]} twice", "unique keys")
    return out


def keys_of(by_id: Int64 | None, ids: Any) -> Int64:
    """The keys of ids of any shape; places of -1, where a search found no item, stay -1.

    Raises
    ------
    ArgumentError
        There are no keys, or an id is out of range.
    """
    if by_id is None:
        raise ArgumentError("tables", "tables without keys", "tables with keys: build(vectors, keys=...)")
    array = np.asarray(ids)
    if array.dtype.kind not in "iu" or array.max(initial=-1) >= len(by_id) or array.min(initial=0) < -1:
        given = f"{array.dtype} from {array.min()} to {array.max()}" if array.size else str(array.dtype)
        raise ArgumentError("ids", given, f"integers from 0 to {len(by_id) - 1}, or -1 for no item")
    if not len(by_id):
        return np.full(array.shape, -1, np.int64)
    return np.where(array < 0, np.int64(-1), by_id[array])


@attrs.frozen(eq=False)
class Keys:
    """The keys of one state of tables; immutable.

    Attributes
    ----------
    by_id : (n_ids,) int64 array
        The key of each id; that of an id which is not in the tables has no meaning.
    present : (n_items,) int32 array or None
        The ids in the tables, in any order; None if these are all ids.
    """

    by_id: Int64
    present: Int32 | None = None

    @cached_property
    def ids(self) -> Int32:
        """The ids in the tables, in the order of their keys."""
        if self.present is None:
            return np.argsort(self.by_id, kind="stable").astype(np.int32)
        keys = self.by_id[self.present]
        if np.all(keys[1:] > keys[:-1]):
            return self.present
        return self.present[np.argsort(keys, kind="stable")]

    @cached_property
    def _ascending(self) -> Int64:
        return self.by_id[self.ids]

    @property
    def n_items(self) -> int:
        """Number of ids in the tables."""
        return len(self.by_id) if self.present is None else len(self.present)

    @property
    def nbytes(self) -> int:
        """Bytes of the keys and of the index over them."""
        return 8 * len(self.by_id) + self.bytes_needed(self.n_items) - 8 * self.n_items

    @staticmethod
    def bytes_needed(n_items: int) -> int:
        """Bytes of the keys of items without holes."""
        return 20 * n_items

    def find(self, keys: Int64) -> Int32:
        """The ids of keys; -1 for keys that are not in the tables."""
        ascending = self._ascending
        if not len(ascending):
            return np.full(len(keys), -1, np.int32)
        at = np.minimum(np.searchsorted(ascending, keys), len(ascending) - 1)
        return np.where(ascending[at] == keys, self.ids[at], np.int32(-1)).astype(np.int32)

    def ids_of(self, keys: Int64) -> Int32:
        """The ids of keys.

        Raises
        ------
        ArgumentError
            A key is not in the tables.
        """
        found = self.find(keys)
        if np.any(found < 0):
            unknown = keys[found < 0][0]
            raise ArgumentError("keys", f"{unknown}, which is not in the tables", "keys in the tables")
        return found

    def with_keys(self, keys: Int64, *, reuse: bool = True) -> tuple[Keys, Int32]:
        """With more keys, and their ids, ascending: the holes, unless ``reuse`` is False, then new ones.

        Raises
        ------
        ArgumentError
            A key is in the tables.
        """
        found = self.find(keys)
        if np.any(found >= 0):
            known = keys[found >= 0][0]
            wanted = "new keys (update moves others)"
            raise ArgumentError("keys", f"{known}, which is in the tables", wanted)
        n_ids, free = len(self.by_id), np.empty(0, np.int64)
        if reuse and self.n_items < n_ids:
            hole = np.ones(n_ids, bool)
            hole[self.ids] = False
            free = np.flatnonzero(hole)[: len(keys)]
        grown = n_ids + len(keys) - len(free)
        ids = np.concatenate([free, np.arange(n_ids, grown)]).astype(np.int32)
        by_id = np.concatenate([self.by_id, np.empty(grown - n_ids, np.int64)])
        by_id[ids] = keys
        order = np.argsort(keys, kind="stable")
        at = np.searchsorted(self._ascending, keys[order])
        return Keys(by_id, np.insert(self.ids, at, ids[order])), ids

    def without(self, ids: Int32) -> Keys:
        """Without ids, which become holes."""
        gone = np.zeros(len(self.by_id), bool)
        gone[ids] = True
        return Keys(self.by_id, self.ids[~gone[self.ids]])

    def between(self, low: int, high: int) -> Keys:
        """Of the ids from ``low`` to ``high - 1`` alone, which do not change."""
        inside = (self.ids >= low) & (self.ids < high)
        return Keys(self.by_id[:high], self.ids[inside])

    def joined(self, other: Keys, offset: int) -> Keys:
        """With other keys, whose ids are raised by ``offset``, at least ``len(by_id)``.

        Raises
        ------
        ArgumentError
            A key is in both.
        """
        shared = np.flatnonzero(self.find(other._ascending) >= 0)
        if len(shared):
            key = other._ascending[shared[0]]
            raise ArgumentError("b", f"tables with key {key}", "tables with no key of a")
        gap = np.zeros(offset - len(self.by_id), np.int64)
        by_id = np.concatenate([self.by_id, gap, other.by_id])
        return Keys(by_id, np.concatenate([self.ids, other.ids + np.int32(offset)]))
