"""Which tables found a pair, and how likely each table was to: what laws of one table at a time need."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from lshsample._native import family as door
from lshsample.errors import UnsupportedError
from lshsample.plugin import Rows
from lshsample.tables import TableState

__all__ = ["pair_parts", "rows_of", "table_hits", "table_probabilities"]

#: Pairs whose similarities are computed at a time.
_BLOCK = 65536

Floats = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]


def rows_of(state: TableState) -> Any:
    """The vectors that the tables were built from, or an error that says that they are not there."""
    if state.vectors is None:
        raise UnsupportedError("the tables were opened, or changed, without the vectors of their ids")
    if state.packed.bucket_size:
        raise UnsupportedError("bounded buckets have a law one table at a time: HashTables.buckets()")
    return state.vectors


def pair_parts(rows: Int64, block: int, by_query: bool) -> Iterator[slice]:
    """Spans of at most ``block`` pairs, each of one query where they are wanted so (rows ascend)."""
    ends = np.append(np.flatnonzero(np.diff(rows)) + 1, len(rows)) if by_query else [len(rows)]
    begin = 0
    for end in ends:
        for start in range(begin, end, block):
            yield slice(start, min(start + block, end))
        begin = end


def table_hits(
    state: TableState, queries: Rows, rows: Int64, ids: Int32, probes: int, threads: int | None
) -> npt.NDArray[np.bool_]:
    """Whether each table's probed buckets hold each pair, (n, n_tables).

    Parameters
    ----------
    state : TableState
        The tables, with the vectors that they were built from.
    queries : (m, dim) rows
        Queries.
    rows, ids : (n,) arrays
        Pairs: a query's row and an item's id.
    probes : int
        Buckets per table.
    threads : int, optional
        At most so many threads.
    """
    vectors, family = rows_of(state), state.family
    items, place = np.unique(ids, return_inverse=True)
    data = door.hash_rows(family, vectors[items], threads=threads)
    looked = door.probe_rows(family, queries, probes, threads=threads)
    out = np.empty((len(ids), family.n_tables), bool)
    for part in pair_parts(rows, max(1, _BLOCK // probes), by_query=False):
        out[part] = (data[place[part]][:, :, None] == looked[rows[part]]).any(axis=2)
    return out


def table_probabilities(state: TableState, queries: Any, rows: Int64, ids: Int32, probes: int) -> Floats:
    """Probability that one table's probed buckets hold each pair: (n, 1), or (n, n_tables) with probes.

    With one bucket a table it is the law of a code, the same for every table; with more, the law of the
    probes given the query.

    Raises
    ------
    UnsupportedError
        The family has no such law, or the vectors are not there.
    """
    vectors, family = rows_of(state), state.family
    n_tables = family.n_tables if probes > 1 else 1
    out = np.empty((len(ids), n_tables))
    for part in pair_parts(rows, max(1, _BLOCK // n_tables), by_query=probes > 1):
        x = vectors[ids[part]]
        if probes == 1:
            out[part, 0] = family.pair_code_probability(queries[rows[part]], x)
        else:
            out[part] = family.probe_probability(queries[rows[part.start] : rows[part.start] + 1], x, probes)
    return out
