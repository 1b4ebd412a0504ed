"""Exact search: the items with the largest inner products, by brute force."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from lshsample import specs
from lshsample._native.sample import Drawn
from lshsample.errors import ArgumentError
from lshsample.sampling.active_set import ActiveSet
from lshsample.sampling.batch import Batch
from lshsample.sampling.expected import Expected, Population
from lshsample.sampling.pipeline import SamplerStage
from lshsample.sampling.stage import at_most, builtin, required

__all__ = ["ExactTop"]

#: Numbers of items and of queries scored at a time: 16 MiB of scores.
_BLOCK, _QUERIES = 16384, 256


def largest(
    scores: npt.NDArray[Any], ids: npt.NDArray[np.int64], k: int
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """The k best (score descending, ties to the smaller id) per row; scores (n, w), ids (n, w)."""
    if scores.shape[1] <= k:
        return scores, ids
    level = np.partition(scores, scores.shape[1] - k, axis=1)[:, -k][:, None]
    above = scores > level
    tied = scores == level
    # Ids ascend from left to right among the ties, so the first ones are the smallest.
    room = k - above.sum(axis=1, keepdims=True)
    chosen = above | (tied & (np.cumsum(tied, axis=1) <= room))
    columns = np.nonzero(chosen)[1].reshape(len(scores), k)
    return np.take_along_axis(scores, columns, axis=1), np.take_along_axis(ids, columns, axis=1)


def _products(queries: Any, block: Any, begin: int) -> npt.NDArray[Any]:
    """Inner products of queries and the items from ``begin`` on."""
    with np.errstate(over="ignore", invalid="ignore"):  # NaN raises below
        product = queries @ block.T
    scores = np.asarray(product.toarray() if hasattr(product, "toarray") else product)
    if np.isnan(scores).any():
        where = f"with items {begin} to {begin + scores.shape[1] - 1} that are NaN"
        raise ArgumentError("vectors", f"inner products {where}", "finite")
    return scores


def exact_top(queries: Any, vectors: Any, k: int, *, pooled: bool = False) -> npt.NDArray[np.int64]:
    """Ids of the k largest inner products, (n, k), ascending; pooled, (1, k) over all queries."""
    if not pooled and queries.shape[0] > _QUERIES:
        parts = range(0, queries.shape[0], _QUERIES)
        return np.concatenate([exact_top(queries[begin : begin + _QUERIES], vectors, k) for begin in parts])
    best_scores: npt.NDArray[Any] | None = None
    best_ids: npt.NDArray[np.int64] | None = None
    for begin in range(0, vectors.shape[0], _BLOCK):
        block = vectors[begin : begin + _BLOCK]
        scores = _products(queries[:_QUERIES], block, begin)
        if pooled:
            scores = scores.max(axis=0, keepdims=True)
            for first in range(_QUERIES, queries.shape[0], _QUERIES):
                more = _products(queries[first : first + _QUERIES], block, begin)
                scores = np.maximum(scores, more.max(axis=0, keepdims=True))
        ids = np.broadcast_to(np.arange(begin, begin + scores.shape[1]), scores.shape)
        if best_scores is not None and best_ids is not None:
            scores, ids = np.hstack([best_scores, scores]), np.hstack([best_ids, ids])
        best_scores, best_ids = largest(scores, ids, k)
    return np.sort(np.asarray(best_ids), axis=1)


@builtin
@attrs.frozen
class ExactTop(SamplerStage):
    """Adds the ``k`` items with the largest inner products: the reference for a sampler's recall.

    Parameters
    ----------
    k : int
        Number of ids per query; pooled, in total, by the largest inner product with any query of the batch.

    Notes
    -----
    Exact, ties to the smaller id; cost: n_items inner products per query. It uses the vectors that the
    sampler is bound to, by default those that its tables were built from. It is deterministic given the
    queries: its ids are certain, and the others have probability 0 unless a draw (``Uniform``) follows.
    """

    outcome_is_certain = True

    k: int = attrs.field(validator=specs.integer(1, 2**31 - 2))

    def apply(self, active: ActiveSet, batch: Batch) -> ActiveSet:
        """The set with the exact top ids added."""
        vectors = batch.vectors
        if vectors is None and batch.state is not None:
            vectors = batch.state.vectors
        vectors = required(vectors, "vectors", self)
        queries = required(batch.queries, "queries", self)
        if vectors.shape != (batch.n_items, queries.shape[1]):
            wanted = f"of shape ({batch.n_items}, {queries.shape[1]})"
            raise ArgumentError("vectors", f"shape {vectors.shape}", wanted)
        if batch.n_queries == 0:
            return active
        return active.join(exact_top(queries, vectors, self.k, pooled=batch.pooled))

    def needs(self) -> frozenset[str]:
        """Queries."""
        return frozenset({"queries"})

    def check(self, n_items: int) -> None:
        """``k`` is at most the number of items."""
        at_most(self, self.k, n_items)

    def size(self, n_items: int) -> int:
        """``k``."""
        return self.k

    def expected(self, so_far: Expected, population: Population) -> Expected:
        """The ids of the largest inner products."""
        return attrs.evolve(so_far.join(population.share_of_best(self.k)), most=so_far.most + self.k)

    def reason(self, before: int, after: Drawn, batch: Batch) -> str:
        """Which ids were added."""
        return f"the {self.k:,} largest inner products"
