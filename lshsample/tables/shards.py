"""Merging the tables of shards, and splitting tables into shards."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import attrs
import numpy as np

from lshsample._native.bounded import BoundedTables, empty_bounded, merge_bounded
from lshsample._native.delta import apply_delta, delta_of
from lshsample._native.packed import empty_packed
from lshsample.errors import ArgumentError
from lshsample.tables.ids import check_items
from lshsample.tables.state import TableState

__all__ = ["merged", "parts"]


def merged(a: TableState, b: TableState, threads: int) -> TableState:
    """Both states as one; ids must be disjoint."""
    if a.family != b.family:
        raise ArgumentError("b", f"tables of {b.family!r}", f"tables of {a.family!r}, the family of a")
    if (a.keyed is None) != (b.keyed is None):
        given, wanted = ("without", "with") if b.keyed is None else ("with", "without")
        raise ArgumentError("b", f"tables {given} keys", f"tables {wanted} keys, as a")
    a, b = a.private(threads).merged(threads), b.private(threads).merged(threads)
    keyed = None
    if a.keyed is not None and b.keyed is not None:
        # Where items have keys, their ids are only places: those of b come after those of a.
        keyed = a.keyed.joined(b.keyed, a.n_ids)
        b = _raised(b, a.n_ids)
    if isinstance(a.base, BoundedTables) and isinstance(b.base, BoundedTables):
        base = _merged_bounded(a.base, b.base, a.family.seed, threads)
        return TableState(a.family, base, None, keyed=keyed)
    shared = np.intersect1d(a.packed.ids[0], b.packed.ids[0], assume_unique=True)
    if len(shared):
        raise ArgumentError("b", f"tables with id {shared[0]}", "tables with no id of a")
    larger, smaller = (a, b) if a.n_items >= b.n_items else (b, a)
    delta, n_ids = delta_of(smaller.packed, 0, smaller.n_ids, threads), max(a.n_ids, b.n_ids)
    return TableState(a.family, apply_delta(larger.packed, delta, n_ids, threads), None, keyed=keyed)


def _raised(state: TableState, offset: int) -> TableState:
    """The state with all ids raised by an offset, in a copy."""
    n_ids = state.n_ids + offset
    check_items(n_ids, "b")
    base = attrs.evolve(state.base, ids=state.base.ids + np.int32(offset), n_ids=n_ids)
    return attrs.evolve(state, base=base, vectors=None, keyed=None)


def _merged_bounded(a: BoundedTables, b: BoundedTables, seed: int, threads: int) -> BoundedTables:
    low, high = (a, b) if a.n_ids <= b.n_ids else (b, a)
    first = high.lowest_id
    if low.n_items and high.n_items and first < low.n_ids:
        given = f"overlapping ranges, with id {first} in one and id {low.n_ids - 1} in the other"
        raise ArgumentError("b", given, "tables of a disjoint range of ids, since the tables are bounded")
    out = empty_bounded(a.n_tables, a.code_bits, a.bucket_size, a.n_items + b.n_items, high.n_ids)
    merge_bounded(low, high, out, seed, threads)
    return out


def parts(state: TableState, boundaries: Sequence[int], threads: int) -> Iterator[TableState]:
    """The states of the id ranges between boundaries."""
    if not isinstance(boundaries, Sequence | np.ndarray) or np.ndim(boundaries) != 1:
        raise ArgumentError("boundaries", repr(boundaries), "a list of ascending integers")
    cuts = [0, *boundaries, state.n_ids]
    for low, high in itertools.pairwise(cuts):
        if isinstance(high, bool) or not isinstance(high, (int, np.integer)) or low >= high:
            wanted = f"ascending integers from 1 to {state.n_ids - 1}"
            raise ArgumentError("boundaries", list(boundaries), wanted)
    whole = state.private(threads).merged(threads)
    for low, high in itertools.pairwise(cuts):
        yield _part(whole, int(low), int(high), threads)


def _part(state: TableState, low: int, high: int, threads: int) -> TableState:
    family = state.family
    empty = empty_packed(0, family.n_tables, family.code_bits, high)
    empty.directory[...] = 0
    delta = delta_of(state.packed, low, high, threads)
    keyed = None if state.keyed is None else state.keyed.between(low, high)
    return TableState(family, apply_delta(empty, delta, high, threads), state.vectors, keyed=keyed)
