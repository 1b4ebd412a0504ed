"""Sampled pairs of a query and an item: similarities and probabilities, for descriptions of samplers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Self

import attrs
import numpy as np
import numpy.typing as npt
import scipy

from lshsample import hashing
from lshsample.errors import ArgumentError
from lshsample.family import HashFamily, Rows
from lshsample.sampling.expected import NODE_WEIGHTS, Population, RetrievalLaw
from lshsample.tables import TableReader

__all__ = ["Query", "Retrieval", "Sample", "isotropic_sample", "measured_sample"]

Floats = npt.NDArray[np.float64]

#: Maximum numbers of queries and of items of each. There are fewer items if rows are wide, to limit the
#: multiplications of all pairs, or if probabilities differ between tables, to limit these.
_QUERIES, _ITEMS, _MULTIPLICATIONS, _CHANCES = 64, 16384, 2**25, 2**23
_FEWEST_ITEMS = 512
#: Number of items with the largest probabilities that are groups of one, and of groups of the others.
_APART, _GROUPS = 256, 256
#: Number of quantiles of the exponents of tables, and the grid of exponents for their interpolation.
_EXPONENTS, _GRID = 15, np.linspace(0.0, 4.0, 41)
#: Maximum number of ranks stored for a group.
_RANKS = 64
#: Independent directions, and the numbers of items and queries from which their spread is measured.
_DIRECTIONS, _SPREAD_ITEMS, _SPREAD_QUERIES = 4096, 4096, 16


@attrs.frozen(eq=False, kw_only=True)
class Retrieval:
    """The tables that a stage of a pipeline probes, which need not be built.

    Attributes
    ----------
    family : HashFamily
        The hash functions.
    probes : int
        Buckets per table.
    bucket_size : int or None
        Maximum number of ids in a bucket.
    repeats : bool
        Whether an earlier stage probes the same buckets of the same tables.
    """

    family: HashFamily
    probes: int
    bucket_size: int | None
    repeats: bool = False

    @classmethod
    def of(cls, tables: TableReader, probes: int, vectors: Rows | None) -> Self:
        """The retrieval from tables; the family of unbuilt tables is fitted to ``vectors``, if given."""
        family = tables.family
        if not tables.is_built and vectors is not None:
            family = hashing.prepared(family, vectors)
        return cls(family=family, probes=probes, bucket_size=tables.bucket_size)


@attrs.frozen(eq=False, kw_only=True)
class Query:
    """One query's items, or a sample of them, in groups of similar probability.

    Attributes
    ----------
    population : Population
        The groups.
    similarity : (n,) float64 array
        Similarity of each item, by the family of the first retrieval; the cosine without a retrieval.
    group : (n,) integer array
        The group of each item.
    """

    population: Population
    similarity: Floats
    group: npt.NDArray[np.intp]

    def nodes(self, frequencies: Floats | None) -> Iterator[tuple[float, Population]]:
        """Populations at each node, with their weights: the tables contain more of all items, or fewer.

        Several retrievals are assumed to be at the same node.
        """
        population = attrs.evolve(self.population, frequencies=frequencies)
        laws = population.retrievals
        if not any(law.spread > 0 for law in laws.values()):
            yield 1.0, population
            return
        for node, weight in enumerate(NODE_WEIGHTS):
            at = {place: attrs.evolve(law, node=node) for place, law in laws.items()}
            yield weight, attrs.evolve(population, retrievals=at)


@attrs.frozen(eq=False, kw_only=True)
class Sample:
    """A sample of queries with their items.

    Attributes
    ----------
    queries : tuple of Query
        The queries.
    """

    queries: tuple[Query, ...]


def _grouped(
    n_items: int,
    similarity: Floats,
    products: Floats | None,
    chances: Mapping[int, Floats],
    retrievals: Mapping[int, Retrieval],
    spreads: Mapping[int, Floats],
) -> Query:
    """Items of one query in groups: the most probable ones alone, the others by similar probability."""
    n = len(similarity)
    score = similarity if products is None else products
    key = next((chance.mean(axis=1) for chance in chances.values()), score)
    order = np.argsort(-key, kind="stable")
    apart = min(_APART, n)
    others = np.linspace(apart, n, _GROUPS, endpoint=False).astype(np.intp)
    starts = np.unique(np.concatenate([np.arange(apart), others[others < n]]))
    group = np.empty(n, np.intp)
    number = np.diff(np.append(starts, n))
    group[order] = np.repeat(np.arange(len(starts)), number)
    rank = np.empty(n)
    rank[np.argsort(-score, kind="stable")] = np.arange(n)
    laws = {}
    for place, retrieval in retrievals.items():
        mean = np.add.reduceat(chances[place][order], starts, axis=0) / number[:, None]
        laws[place] = RetrievalLaw(
            chance=mean,
            n_tables=retrieval.family.n_tables,
            bucket_size=retrieval.bucket_size,
            spread=float(spreads[place].var()),
            exponents=spreads[place],
            repeats=retrieval.repeats,
        )
    population = Population(
        weights=number * (n_items / n),
        retrievals=laws,
        ranks=_ranks(rank[order] / n, starts, number),
        rank_width=1 / n,
        frequencies=None,
    )
    return Query(population=population, similarity=similarity, group=group)


def _ranks(ranks: Floats, starts: npt.NDArray[np.intp], number: npt.NDArray[np.intp]) -> Floats:
    """Ranks of each group's items, or of an even subset of them: (groups, r), padded with NaN."""
    width = int(min(number.max(), _RANKS))
    each = np.minimum(number, width)
    at = np.arange(width)[None, :]
    place = starts[:, None] + np.minimum(at * number[:, None] // each[:, None], number[:, None] - 1)
    return np.where(at < each[:, None], ranks[place], np.nan)


def isotropic_sample(retrievals: Mapping[int, Retrieval], n_items: int, seed: int) -> Sample:
    """Pairs of independent, isotropic directions: quantiles of their cosine.

    (cos + 1) / 2 has the Beta distribution with both parameters (dim - 1) / 2 (Cai, Fan & Jiang 2013).
    """
    cosine, chances, spreads = np.zeros(1), {}, {}
    for place, retrieval in retrievals.items():
        family = retrieval.family
        if family.similarity != "cosine" or family.law_of_norms:
            wanted = f"given, to measure the {family.similarity!r} similarity of {type(family).__name__}"
            raise ArgumentError("vectors", "nothing", wanted)
        if retrieval.probes > 1:
            raise ArgumentError("vectors", "nothing", "given, to compute the probabilities of probes")
        half = max((family.dim - 1) / 2, 0.5)
        cosine = 2 * scipy.special.betaincinv(half, half, (np.arange(_DIRECTIONS) + 0.5) / _DIRECTIONS) - 1
        chances[place] = family.code_probability(cosine)[:, None]
        spreads[place] = _isotropic_spread(retrieval, seed)
    return Sample(queries=(_grouped(n_items, cosine, None, chances, retrievals, spreads),))


def _isotropic_spread(retrieval: Retrieval, seed: int) -> Floats:
    family = retrieval.family
    n = min(_SPREAD_ITEMS, _MULTIPLICATIONS // (4 * family.dim))
    if n < _FEWEST_ITEMS:
        return np.ones(1)
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n + _SPREAD_QUERIES, family.dim), dtype=np.float32)
    queries, items = rows[:_SPREAD_QUERIES], rows[_SPREAD_QUERIES:]
    chance = _chances(retrieval, queries, items)
    return _spread(retrieval, queries, items, chance)


def _chances(retrieval: Retrieval, queries: Rows, items: Rows) -> Floats:
    """Probability that a table's buckets contain each pair: (queries, items, 1 or n_tables)."""
    n_queries, n = queries.shape[0], items.shape[0]
    out = []
    for row in range(n_queries):
        query = queries[row : row + 1]
        q = query if retrieval.probes > 1 else _repeated(query, n)
        found = hashing.pair_probabilities(retrieval.family, q, items, retrieval.probes)
        out.append(found.reshape(n, -1))
    return np.stack(out)


def _repeated(query: Rows, n: int) -> Rows:
    return query[np.zeros(n, np.intp)]


def _spread(retrieval: Retrieval, queries: Rows, items: Rows, chances: Floats) -> Floats:
    """The exponents of :class:`RetrievalLaw`, measured by hashing these items with the family.

    The sizes of a query's buckets, relative to their expectation, vary more than those of independent items.
    The quantiles of the sizes are shrunk until only the additional variance remains, and each is converted to
    the exponent that gives it.
    """
    family = retrieval.family
    # Probes multiply the cost, so that fewer items are used.
    n = max(items.shape[0] // retrieval.probes, min(_FEWEST_ITEMS, items.shape[0]))
    codes = hashing.hash_rows(family, items[:n])
    probed = hashing.probe_rows(family, queries, retrieval.probes)
    total = excess = 0.0
    relative, curve = [], np.zeros(len(_GRID))
    for row, chance in enumerate(chances[:, :n]):
        found = np.zeros(family.n_tables)
        for probe in range(retrieval.probes):
            found += (codes == probed[row, :, probe]).sum(axis=0)
        size, poisson = chance.sum(axis=0), (chance * (1 - chance)).sum(axis=0)
        total += float(np.mean((found - size) ** 2))
        excess += float(np.mean((found - size) ** 2 - poisson))
        relative.append(found / np.maximum(size, 1e-300))
        if row < _SPREAD_QUERIES:
            logs = np.log(np.maximum(chance.mean(axis=1), 1e-300))
            curve += np.exp(_GRID[:, None] * logs).sum(axis=1)
    if excess <= 0 or curve[-1] <= 0:
        return np.ones(1)
    quantiles = np.quantile(np.concatenate(relative), (np.arange(_EXPONENTS) + 0.5) / _EXPONENTS)
    shrunk = 1 + (quantiles - quantiles.mean()) * (excess / total) ** 0.5
    # The curve decreases with the exponent, and is 1 at the exponent 1.
    at_one = np.interp(1.0, _GRID, curve)
    return np.asarray(np.interp(-np.maximum(shrunk, 0.01), -curve / at_one, _GRID))


def measured_sample(
    retrievals: Mapping[int, Retrieval], queries: Rows, vectors: Rows, n_items: int, seed: int
) -> Sample:
    """A sample of the queries and of the items, with the probabilities of their pairs."""
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(queries.shape[0])[:_QUERIES])
    n = min(_ITEMS, max(_FEWEST_ITEMS, _MULTIPLICATIONS // (len(rows) * max(queries.shape[1], 1))))
    by_table = sum(r.family.n_tables for r in retrievals.values() if r.probes > 1)
    if by_table:
        n = min(n, max(_FEWEST_ITEMS, _CHANCES // (len(rows) * by_table)))
    chosen = np.sort(rng.permutation(vectors.shape[0])[:n])
    sampled, items = queries[rows], vectors[chosen]
    chances = {place: _chances(each, sampled, items) for place, each in retrievals.items()}
    spreads = {place: _spread(each, sampled, items, chances[place]) for place, each in retrievals.items()}
    products = _dense(sampled @ items.T)
    similarities = _similarities(next(iter(retrievals.values()), None), sampled, items, products)
    return Sample(
        queries=tuple(
            _grouped(
                n_items,
                similarities[row],
                products[row],
                {place: chance[row] for place, chance in chances.items()},
                retrievals,
                spreads,
            )
            for row in range(len(rows))
        )
    )


def _similarities(first: Retrieval | None, queries: Rows, items: Rows, products: Floats) -> Floats:
    """Similarity of each pair, (queries, items): by the family of the first retrieval, or the cosine."""
    n = items.shape[0]
    if first is not None:
        rows = (queries[row : row + 1] for row in range(queries.shape[0]))
        return np.stack([first.family.similarity_of(_repeated(query, n), items) for query in rows])
    scale = _norms(queries)[:, None] * _norms(items)
    return np.asarray(np.divide(products, scale, out=np.zeros_like(products), where=scale > 0))


def _norms(rows: Any) -> Floats:
    squares = np.square(rows) if isinstance(rows, np.ndarray) else rows.multiply(rows)
    return np.asarray(np.sqrt(_dense(squares).sum(axis=1)))


def _dense(matrix: Any) -> Floats:
    return np.asarray(matrix if isinstance(matrix, np.ndarray) else matrix.toarray(), np.float64)
