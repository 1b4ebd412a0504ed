"""Predictions for a configuration: recall, size and error from collision probabilities, time from costs."""

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

__all__ = ["Costs", "PairSample", "Prediction", "measured_costs", "seconds_of"]

Floats = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]

#: Queries, and items of each, for averages of the probability with several probes, which costs more.
_PROBED_QUERIES, _PROBED_ITEMS = 24, 64
#: Near items of a query whose joint probabilities are computed, pair by pair.
_JOINT_ITEMS = 24
#: Rows of the tables on which costs are measured.
_COST_ROWS = 100_000


@attrs.frozen(eq=False)
class Prediction:
    """Recall, size and error of L tables, from the probabilities that one table returns an item.

    Attributes
    ----------
    near : (queries, k) or (queries, k, tables) float64 array
        The probabilities of the nearest items of each query; by table where the probed buckets depend on the
        query's margins, which differ between tables.
    far : (queries, f) or (queries, f, tables) float64 array
        The probabilities of random items.
    joint : (queries, t, t) float64 array
        The probability that one table returns two of the first t nearest items of a query.
    n_items : int
        Number of items.
    independent : bool
        Whether the tables are independent. If not, weights are averaged over single tables.
    """

    near: Floats
    far: Floats
    joint: Floats
    n_items: int
    independent: bool = True

    def recall_and_size(self, n_tables: int, cap: int | None = None) -> tuple[float, float]:
        """Mean recall and mean number of ids per query, after a cap if one is given."""
        found = _found(self.near, n_tables)
        sizes = self._sizes(found, n_tables)
        kept = self._kept_share(sizes, cap)
        return float((found.mean(axis=1) * kept).mean()), float((sizes * kept).mean())

    def relative_error(self, n_tables: int, cap: int | None = None) -> float:
        """Relative standard error of the count of the k nearest items, estimated from the sample.

        With pi_ij the joint inclusion probability of two items, the variance of the sum of 1 / pi over the
        sampled items is sum_ij (pi_ij / (pi_i pi_j) - 1) (Horvitz & Thompson 1952); a cap that keeps a share
        s adds (1 / s - 1) sum_i 1 / pi_i. Items near one query are near each other, so that their pi_ij is
        far from pi_i pi_j and cannot be left out. Weights averaged over L single tables have 1 / L times the
        variance of one table.
        """
        pi = np.maximum(_found(self.near, n_tables), 1e-12)
        k = self.near.shape[1]
        kept = self._kept_share(self._sizes(pi, n_tables), cap)
        if not self.independent:
            one = np.maximum(_of_one_table(self.near), 1e-12)
            pi = n_tables * one / (1 + (n_tables - 1) * one)
        variance = (1 / (pi * kept[:, None]) - 1).sum(axis=1)
        if self.joint.shape[1] > 1:
            variance = variance + k * (k - 1) * max(self._mean_covariance(n_tables), 0.0)
        return float(np.sqrt(variance.mean()) / k)

    def _mean_covariance(self, n_tables: int) -> float:
        """The mean of pi_ij / (pi_i pi_j) - 1 over pairs of different near items."""
        t = self.joint.shape[1]
        single = _of_one_table(self.near)[: len(self.joint), :t]
        if self.independent:
            pi = laws.union_inclusion(np.maximum(single, 1e-12), n_tables)
            neither = 1 - single[:, :, None] - single[:, None, :] + self.joint
            missed = 1 - pi
            both = 1 - missed[:, :, None] - missed[:, None, :] + np.clip(neither, 0, 1) ** n_tables
            covariance = both / (pi[:, :, None] * pi[:, None, :]) - 1
        else:
            one = np.maximum(single, 1e-12)
            covariance = (self.joint / (one[:, :, None] * one[:, None, :]) - 1) / n_tables
        return float(covariance[:, ~np.eye(t, dtype=bool)].mean())

    def _sizes(self, found: Floats, n_tables: int) -> Floats:
        """The expected number of ids of each query, before a cap."""
        far = _found(self.far, n_tables).mean(axis=1) * self.n_items
        return np.asarray(np.maximum(far, found.sum(axis=1)))

    def _kept_share(self, sizes: Floats, cap: int | None) -> Floats:
        """The share of each query's ids that a cap keeps."""
        return np.ones(len(sizes)) if cap is None else np.minimum(1.0, cap / np.maximum(sizes, cap))


def _found(probability: Floats, n_tables: int) -> Floats:
    """The probability of being returned by at least one table.

    Probabilities by table that were computed for fewer than ``n_tables`` tables are repeated.
    """
    if probability.ndim == 2:
        return laws.union_inclusion(probability, n_tables)
    repeats, rest = divmod(n_tables, probability.shape[2])
    missed = np.log1p(-np.minimum(probability, 1 - 1e-15))
    return np.asarray(-np.expm1(repeats * missed.sum(axis=2) + missed[:, :, :rest].sum(axis=2)))


def _of_one_table(probability: Floats) -> Floats:
    """The probability of being returned by one table, averaged over the tables."""
    return probability if probability.ndim == 2 else np.asarray(probability.mean(axis=2))


@attrs.frozen(eq=False)
class PairSample:
    """The pairs over which probabilities are averaged: queries with their nearest items and random items.

    Attributes
    ----------
    queries : (m, dim) rows
        Queries.
    near : (m, k) int64 array
        The ids of the nearest items of each query.
    vectors : (n, dim) rows
        All items.
    far : (m, f) int64 array
        The ids of random items for each query.
    """

    queries: Any
    near: Ids
    vectors: Any
    far: Ids

    def predict(self, family: HashFamily, probes: int) -> Prediction:
        """The prediction for tables of a family.

        Raises
        ------
        UnsupportedError
            The family has no collision probability of a code, or none of probed buckets given the query.
        """
        near, n_items = self._probabilities(family, self.near), self.vectors.shape[0]
        joint = self._joint_probabilities(family, near)
        if probes == 1:
            far = self._probabilities(family, self.far)
            return Prediction(near, far, joint, n_items, family.independent_tables)
        probed, far = self._probed_probabilities(family, probes)
        few = len(probed)
        joint = _joint_with_probes(joint[:few], near[:few], _of_one_table(probed))
        return Prediction(probed, far, joint, n_items, family.independent_tables)

    def _probabilities(self, family: HashFamily, ids: Ids) -> Floats:
        """The probability of the query's own bucket, (queries, items)."""
        rows = np.repeat(np.arange(len(ids)), ids.shape[1])
        probability = hashing.pair_probabilities(family, self.queries[rows], self.vectors[ids.ravel()])
        return probability.reshape(ids.shape)

    def _probed_probabilities(self, family: HashFamily, probes: int) -> tuple[Floats, Floats]:
        """The probability of the probed buckets, (queries, items, tables): near items, random items."""
        k = self.near.shape[1]
        ids = np.hstack([self.near, self.far[:, :_PROBED_ITEMS]])[:_PROBED_QUERIES]
        each = [
            hashing.pair_probabilities(family, self.queries[i : i + 1], self.vectors[row], probes)
            for i, row in enumerate(ids)
        ]
        probability = np.array(each)
        return probability[:, :k], probability[:, k:]

    def _joint_probabilities(self, family: HashFamily, near: Floats) -> Floats:
        """The probability that the query's code equals those of two near items, (queries, t, t).

        Of three values of one hash, either all are equal or at most one pair is. With p_ab the probability
        that a pair is equal, all three are with probability (p_12 + p_13 + p_23 - 1) / 2 or more; for a hash
        of one bit this is exact. For more bits, the square root of the product of the three is a good
        approximation. A code consists of K such hashes.
        """
        t, power = min(self.near.shape[1], _JOINT_ITEMS), 1 / family.n_hashes
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


def _joint_with_probes(joint: Floats, own: Floats, probed: Floats) -> Floats:
    """The probability that the probed buckets hold two items, from that of the query's own bucket.

    The probed buckets are treated as one bucket of a shorter code, with as many hashes as have the same
    probability.
    """
    t = joint.shape[1]
    one, all_of = (
        np.clip(np.minimum(c[:, :t, None], c[:, None, :t]), 1e-300, 1 - 1e-9) for c in (own, probed)
    )
    return np.asarray(all_of * np.clip(joint / one, 1e-300, 1) ** (np.log(all_of) / np.log(one)))


@attrs.frozen
class Costs:
    """The cost of a query in seconds, by part.

    Attributes
    ----------
    query : float
        For each query.
    hashing : float
        For each hash of each table.
    bucket : float
        For each bucket that is read.
    candidate : float
        For each id in these buckets.
    """

    query: float
    hashing: float
    bucket: float
    candidate: float

    def of(self, n_hashes: int, n_tables: int, probes: int, candidates: float) -> float:
        """Seconds per query, ``candidates`` being the number of ids in all buckets."""
        buckets = n_tables * probes
        hashes = self.hashing * n_hashes * n_tables
        return self.query + hashes + self.bucket * buckets + self.candidate * candidates


def seconds_of(sampler: Sampler, queries: Any, seed: int = 0) -> float:
    """Seconds per query of a batch on one thread: the second fastest of five runs after a warm-up."""
    runs = []
    for _ in range(6):
        began = time.perf_counter()
        sampler.sample(queries, seed=seed, threads=1)
        runs.append(time.perf_counter() - began)
    return float(sorted(runs[1:])[1] / queries.shape[0])


def measured_costs(make: Callable[[int, int], HashFamily], vectors: Any, queries: Any, bits: int) -> Costs:
    """The costs on this machine, fitted to the time of a few tables with codes of up to ``bits`` bits."""
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
    # Least squares of relative errors: absolute ones would fit the slowest run alone.
    coefficients, _ = nnls(design / target[:, None], np.ones(len(target)))
    return Costs(*(float(value) for value in coefficients))
