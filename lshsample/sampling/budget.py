"""Unbiased weights for SLIDE's vanilla strategy: tables in random order until a budget of ids is met."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lshsample._native.sample import Drawn, table_order
from lshsample.errors import UnsupportedError
from lshsample.sampling.membership import table_hits, table_probabilities
from lshsample.sampling.retrieve import Retrieve

if TYPE_CHECKING:
    from lshsample.sampling.stage import Batch

__all__ = ["budget_weights", "visited_shares"]

Floats = npt.NDArray[np.float64]


def _visited(hits: npt.NDArray[np.bool_], budget: int) -> tuple[int, npt.NDArray[np.int64]]:
    """How many tables are visited, and how many ids the set holds after each."""
    # The position at which an id comes first; ids that no table holds do not count.
    first = hits[hits.any(axis=1)].argmax(axis=1)
    sizes = np.cumsum(np.bincount(first, minlength=hits.shape[1]))
    return min(int(np.searchsorted(sizes, budget)) + 1, hits.shape[1]), sizes


def visited_shares(hits: npt.NDArray[np.bool_], budget: int) -> Floats:
    """Probability that each table was the first one visited, given which ones were visited, (n_tables,).

    Parameters
    ----------
    hits : (n, n_tables) bool array
        Which tables, in the order of the visit, hold each id of the row.
    budget : int
        Ids at which the visit stops.

    Notes
    -----
    The first table T1 of a random order is visited whatever the tables hold, so E[1(i in T1) / q_i] = 1 for
    every item: an unbiased weight that looks at one table only. Conditioning on the set V of visited tables
    keeps the mean and lowers the variance (Rao-Blackwell). Given what all tables hold, every order is equally
    likely; the orders that visit V and stop there are those whose last table e is pivotal, which means that
    V without e holds fewer ids than the budget (then so does every earlier part of it). So the last table is
    uniform over the pivotal tables E, the first one uniform over V without the last, and

        P(T1 = l) = (|E| - 1(l in E)) / (|E| (|V| - 1)),

    or 1 for a single table. If all tables stay below the budget, every one is pivotal and each has 1 / L.
    Nothing is asked of the joint law of the tables: they need not be independent.

    Examples
    --------
    >>> visited_shares(np.array([[1, 1, 0], [1, 0, 1], [0, 1, 0]], bool), budget=3)
    array([0.5, 0.5, 0. ])
    """
    n_visited, sizes = _visited(hits, budget)
    shares = np.zeros(hits.shape[1])
    if n_visited == 1:
        shares[0] = 1.0
        return shares
    seen = hits[:, :n_visited]
    alone = seen[seen.sum(axis=1) == 1].sum(axis=0)
    pivotal = sizes[n_visited - 1] - alone < budget
    shares[:n_visited] = (pivotal.sum() - pivotal) / (pivotal.sum() * (n_visited - 1))
    return shares


def budget_weights(stage: Retrieve, batch: Batch, retrieved: Drawn) -> Floats:
    """The unbiased weight of each id that ``Retrieve(budget=n)``, first of a pipeline, retrieved: (n,).

    The weight of id i is the sum over the visited tables l that hold it of P(T1 = l) / q_il, with q_il the
    probability that table l holds it; see :func:`visited_shares`. It may be 0: of an id that only the table
    that met the budget brought.

    Raises
    ------
    UnsupportedError
        No law of a table, no vectors, or vectors that changed since the tables were built.
    """
    assert stage.budget is not None
    assert batch.queries is not None
    state = stage.state(batch)
    rows = np.repeat(np.arange(len(retrieved.indptr) - 1), np.diff(retrieved.indptr))
    probes = stage.probes_of(state)
    hits = table_hits(state, batch.queries, rows, retrieved.ids, probes, batch.threads)
    shares = np.zeros((len(retrieved.indptr) - 1, hits.shape[1]))
    for row, (begin, end) in enumerate(zip(retrieved.indptr, retrieved.indptr[1:], strict=False)):
        order = table_order(hits.shape[1], seed=batch.seed, step=batch.step, row=row, ordinal=0)
        part = hits[begin:end][:, order]
        shares[row, order] = visited_shares(part, stage.budget)
        n_visited, _ = _visited(part, stage.budget)
        if not np.array_equal(part[:, :n_visited].sum(axis=1), retrieved.counts[begin:end]):
            raise UnsupportedError("the vectors are not what the tables were built from: rebuild the tables")
    chance = table_probabilities(state, batch.queries, rows, retrieved.ids, probes)
    # An id whose computed chance is 0 and that came all the same (rounding of the similarity) stays finite.
    weights = shares[rows] * hits / np.maximum(chance, np.finfo(np.float32).tiny)
    return np.asarray(weights.sum(axis=1))
