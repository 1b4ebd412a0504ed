"""Which tables contain a pair, and with which probability, for weights from single tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from lshsample import hashing
from lshsample.errors import UnsupportedError
from lshsample.family import Rows
from lshsample.tables import TableReader

__all__ = ["pair_parts", "rows_of", "table_factors", "table_probabilities"]

#: Pairs whose similarities are computed at a time.
_BLOCK = 65536

Floats = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]


def rows_of(state: TableReader) -> Any:
    """The vectors that the tables were built from; UnsupportedError if the tables do not have them."""
    if state.vectors is None:
        raise UnsupportedError("the tables were opened, or changed, without the vectors of their ids")
    return state.vectors


def pair_parts(rows: Int64, block: int, by_query: bool) -> Iterator[slice]:
    """Slices of at most ``block`` pairs; each of a single query if ``by_query`` (rows ascend)."""
    ends = np.append(np.flatnonzero(np.diff(rows)) + 1, len(rows)) if by_query else [len(rows)]
    begin = 0
    for end in ends:
        for start in range(begin, end, block):
            yield slice(start, min(start + block, end))
        begin = end


def table_factors(
    state: TableReader, queries: Rows, rows: Int64, ids: Int32, probes: int, threads: int | None
) -> Floats:
    """Whether each table's probed buckets contain each pair, scaled for bounded buckets: (n, n_tables).

    Parameters
    ----------
    state : TableReader
        The tables.
    queries : (m, dim) rows
        Queries.
    rows, ids : (n,) arrays
        Pairs of a query's row and an item's id, ascending.
    probes : int
        Buckets per table.
    threads : int, optional
        Maximum number of threads.

    Returns
    -------
    (n, n_tables) float64 array
        1 if a table contains the pair, or n / R if its bucket keeps R of the n ids inserted; else 0.
    """
    codes, n_tables = (
        hashing.probe_rows(state.family, queries, probes, threads=threads),
        state.family.n_tables,
    )
    keys, out = rows * state.n_ids + ids, np.zeros((len(ids), n_tables))
    for probe in range(probes if len(ids) else 0):
        probed = np.ascontiguousarray(codes[:, :, probe])
        buckets = state.buckets_of_codes(probed, threads=threads)
        held = np.diff(buckets.indptr)
        at = np.repeat(np.arange(len(held)), held)
        contained = at // n_tables * state.n_ids + buckets.ids
        place = np.minimum(np.searchsorted(keys, contained), len(keys) - 1)
        found = keys[place] == contained
        factor = buckets.sizes.ravel() / np.maximum(held, 1)
        out[place[found], at[found] % n_tables] = factor[at[found]]
    return out


def table_probabilities(state: TableReader, queries: Any, rows: Int64, ids: Int32, probes: int) -> Floats:
    """Probability that one table's probed buckets contain each pair: (n, 1), or (n, n_tables) with probes.

    With one bucket per table it is the collision probability of a code, the same for every table; with more,
    that of the probes given the query.

    Raises
    ------
    UnsupportedError
        The family has no such law, or it is not exact for all pairs, or the vectors are missing.
    """
    vectors, family = rows_of(state), state.family
    if not family.exact_law:
        name = type(family).__name__
        raise UnsupportedError(f"family {name}: its collision probability is not exact for all rows")
    n_tables = family.n_tables if probes > 1 else 1
    out = np.empty((len(ids), n_tables))
    for part in pair_parts(rows, max(1, _BLOCK // n_tables), by_query=probes > 1):
        x = vectors[ids[part]]
        if probes == 1:
            out[part, 0] = hashing.pair_probabilities(family, queries[rows[part]], x)
        else:
            query = queries[rows[part.start] : rows[part.start] + 1]
            out[part] = hashing.pair_probabilities(family, query, x, probes)
    return out
