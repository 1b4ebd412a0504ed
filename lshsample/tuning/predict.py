"""What the laws foretell of a choice: recall, ids, error of an estimate; and what a query costs here."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from lshsample import hashing, laws
from lshsample.family import HashFamily
from lshsample.sampling import Retrieve, Sampler
from lshsample.tables import HashTables

__all__ = ["Costs", "Foretold", "Pairs", "measured_costs", "seconds_of"]

Floats = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]

#: Queries, and items of each, that a law of probes, which is slower, is averaged over.
_PROBED_QUERIES, _PROBED_ITEMS = 24, 64
#: Near items of a query of which each pair's joint probability is looked at.
_TOGETHER = 24
#: Rows of the tables that costs are measured on.
_COST_ROWS = 100_000


@attrs.frozen(eq=False)
class Foretold:
    """What L tables give, from the probabilities that one table holds a pair.

    Attributes
    ----------
    near : (queries, k) or (queries, k, tables) float64 array
        Of each query's nearest items; table by table where probes depend on the query's margins, of which
        each table has its own.
    far : (queries, f) or (queries, f, tables) float64 array
        Of random items.
    together : (queries, t, t) float64 array
        That one table holds two of a query's nearest items, for the first t of them.
    n_items : int
        Items.
    independent : bool
        Whether tables are independent; else ids are weighed by one table at a time.
    """

    near: Floats
    far: Floats
    together: Floats
    n_items: int
    independent: bool = True

    def recall_and_size(self, n_tables: int, cap: int | None = None) -> tuple[float, float]:
        """Mean recall, and mean number of ids; a cap cuts each query's own number."""
        found = _found(self.near, n_tables)
        sizes = self._sizes(found, n_tables)
        shares = self._shares(sizes, cap)
        return float((found.mean(axis=1) * shares).mean()), float((sizes * shares).mean())

    def relative_error(self, n_tables: int, cap: int | None = None) -> float:
        """Relative standard deviation of the estimated number of the nearest items.

        With pi_ij the probability of two items to be found together, the variance of sum 1 / pi over those
        found is sum_ij (pi_ij / (pi_i pi_j) - 1) (Horvitz & Thompson 1952); a cap that leaves a share s adds
        (1 / s - 1) sum_i 1 / pi_i. Items near one query are near each other: their pi_ij count. Weights by
        one of L tables at a time have the variance of one table, over L.
        """
        pi = np.maximum(_found(self.near, n_tables), 1e-12)
        k = self.near.shape[1]
        shares = self._shares(self._sizes(pi, n_tables), cap)
        if not self.independent:
            one = np.maximum(_of_a_table(self.near), 1e-12)
            pi = n_tables * one / (1 + (n_tables - 1) * one)
        variance = (1 / (pi * shares[:, None]) - 1).sum(axis=1)
        t = self.together.shape[1]
        if t > 1:
            chance = _of_a_table(self.near)[: len(self.together), :t]
            own = laws.union_inclusion(np.maximum(chance, 1e-12), n_tables)
            none = 1 - chance[:, :, None] - chance[:, None, :] + self.together
            missed = 1 - own
            both = 1 - missed[:, :, None] - missed[:, None, :] + np.clip(none, 0, 1) ** n_tables
            joint = both / (own[:, :, None] * own[:, None, :]) - 1
            if not self.independent:
                one = np.maximum(chance, 1e-12)
                joint = (self.together / (one[:, :, None] * one[:, None, :]) - 1) / n_tables
            apart = ~np.eye(t, dtype=bool)
            variance = variance + k * (k - 1) * max(float(joint[:, apart].mean()), 0.0)
        return float(np.sqrt(variance.mean()) / k)

    def _sizes(self, found: Floats, n_tables: int) -> Floats:
        far = _found(self.far, n_tables).mean(axis=1) * self.n_items
        return np.asarray(np.maximum(far, found.sum(axis=1)))

    def _shares(self, sizes: Floats, cap: int | None) -> Floats:
        return np.ones(len(sizes)) if cap is None else np.minimum(1.0, cap / np.maximum(sizes, cap))


def _found(chance: Floats, n_tables: int) -> Floats:
    """Probability to be in at least one table; where there are more of them than chances, these recur."""
    if chance.ndim == 2:
        return laws.union_inclusion(chance, n_tables)
    turns, rest = divmod(n_tables, chance.shape[2])
    missed = np.log1p(-np.minimum(chance, 1 - 1e-15))
    return np.asarray(-np.expm1(turns * missed.sum(axis=2) + missed[:, :, :rest].sum(axis=2)))


def _of_a_table(chance: Floats) -> Floats:
    """Probability to be in one table."""
    return chance if chance.ndim == 2 else np.asarray(chance.mean(axis=2))


@attrs.frozen(eq=False)
class Pairs:
    """Rows that laws are averaged over: queries with their nearest items, and with random ones."""

    queries: Any
    near: Ids
    vectors: Any
    far: Ids

    def foretold(self, family: HashFamily, probes: int) -> Foretold:
        """What tables of a family give.

        Raises
        ------
        UnsupportedError
            The family has no law of a code, or of the probes given the query.
        """
        near, n_items = self._chances(family, self.near), self.vectors.shape[0]
        together = self._together(family, near)
        if probes == 1:
            far = self._chances(family, self.far)
            return Foretold(near, far, together, n_items, family.independent_tables)
        probed, far = self._probed_chances(family, probes)
        few = len(probed)
        together = _with_probes(together[:few], near[:few], _of_a_table(probed))
        return Foretold(probed, far, together, n_items, family.independent_tables)

    def _chances(self, family: HashFamily, ids: Ids) -> Floats:
        """Of a query's own buckets, (queries, items)."""
        rows = np.repeat(np.arange(len(ids)), ids.shape[1])
        chance = hashing.pair_probabilities(family, self.queries[rows], self.vectors[ids.ravel()])
        return chance.reshape(ids.shape)

    def _probed_chances(self, family: HashFamily, probes: int) -> tuple[Floats, Floats]:
        """Of probed buckets, table by table, (queries, items, tables): near items, and random ones."""
        k = self.near.shape[1]
        ids = np.hstack([self.near, self.far[:, :_PROBED_ITEMS]])[:_PROBED_QUERIES]
        each = [
            hashing.pair_probabilities(family, self.queries[i : i + 1], self.vectors[row], probes)
            for i, row in enumerate(ids)
        ]
        chance = np.array(each)
        return chance[:, :k], chance[:, k:]

    def _together(self, family: HashFamily, near: Floats) -> Floats:
        """Probability that a code agrees with two near items at once, (queries, t, t).

        Of three values of one hash, either all agree or at most one pair does: with p_ab the probability
        that a pair agrees, all three do with (p_12 + p_13 + p_23 - 1) / 2 or more, and with just that where a
        hash is one bit. Of more bits, the root of the product of the three is near. A code is K such hashes.
        """
        t, power = min(self.near.shape[1], _TOGETHER), 1 / family.n_hashes
        ids = self.near[:, :t]
        first, second = np.repeat(ids, t, axis=1).ravel(), np.tile(ids, t).ravel()
        pairs = hashing.pair_probabilities(family, self.vectors[first], self.vectors[second])
        pairs = pairs.reshape(len(ids), t, t) ** power
        one = near[:, :t] ** power
        other = one[:, None, :]
        all_three = (one[:, :, None] + other + pairs - 1) / 2
        if family.bits_per_hash > 1:
            all_three = np.maximum(all_three, np.sqrt(one[:, :, None] * other * pairs))
        limit = np.minimum(near[:, :t, None], near[:, None, :t])
        return np.asarray(np.minimum(np.clip(all_three, 0, 1) ** family.n_hashes, limit))


def _with_probes(together: Floats, own: Floats, probed: Floats) -> Floats:
    """Probability that probed buckets hold two items, from that of the query's own bucket.

    Several buckets are taken as one of a shorter code, of as many hashes as give their probability.
    """
    t = together.shape[1]
    one, all_of = (
        np.clip(np.minimum(c[:, :t, None], c[:, None, :t]), 1e-300, 1 - 1e-9) for c in (own, probed)
    )
    return np.asarray(all_of * np.clip(together / one, 1e-300, 1) ** (np.log(all_of) / np.log(one)))


@attrs.frozen
class Costs:
    """Seconds that a query takes, for each of its parts.

    Attributes
    ----------
    query, hashing, bucket, candidate : float
        Of the query itself, of each hash of each table, of each bucket that is looked into, and of each id
        that a bucket holds.
    """

    query: float
    hashing: float
    bucket: float
    candidate: float

    def of(self, n_hashes: int, n_tables: int, probes: int, candidates: float) -> float:
        """Seconds per query, with so many ids in the buckets together."""
        buckets = n_tables * probes
        hashes = self.hashing * n_hashes * n_tables
        return self.query + hashes + self.bucket * buckets + self.candidate * candidates


def seconds_of(sampler: Sampler, queries: Any, seed: int = 0) -> float:
    """Seconds per query of a batch on one thread: the second fastest of five runs, after one to warm up."""
    runs = []
    for _ in range(6):
        began = time.perf_counter()
        sampler.sample(queries, seed=seed, threads=1)
        runs.append(time.perf_counter() - began)
    return float(sorted(runs[1:])[1] / queries.shape[0])


def measured_costs(make: Callable[[int, int], HashFamily], vectors: Any, queries: Any, bits: int) -> Costs:
    """What sampling costs on this machine: fitted to a few tables with codes of up to so many bits."""
    rows, each = vectors[: min(vectors.shape[0], _COST_ROWS)], make(1, 1).bits_per_hash
    long = max(1, bits // each)
    tried = [(max(1, long // 2), 8, 1), (long, 8, 1), (long, 32, 1), (max(1, long - 1), 16, 1)]
    if make(long, 1).can_probe and long * each >= 5:
        tried.append((long, 8, 8))
    parts, seconds = [], []
    for n_hashes, n_tables, probes in tried:
        tables = HashTables(make(n_hashes, n_tables), threads=1).build(rows)
        sampler = Retrieve(probes=probes).bind(tables=tables)
        found = float(sampler.sample(queries, threads=1).counts.sum()) / queries.shape[0]
        parts.append((1.0, n_hashes * n_tables, n_tables * probes, found))
        seconds.append(seconds_of(sampler, queries))
    design, target = np.array(parts), np.array(seconds)
    # Each run counts by its relative error: a fit of the seconds would see the slowest alone.
    coefficients, _ = nnls(design / target[:, None], np.ones(len(target)))
    return Costs(*(float(value) for value in coefficients))
