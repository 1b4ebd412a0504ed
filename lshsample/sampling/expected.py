"""Expected sets: the average effect of a pipeline on one query's items, before any table is built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import attrs
import numpy as np
import numpy.typing as npt
import scipy

__all__ = ["Expected", "Population", "RetrievalLaw", "collision_counts", "expected_minimum"]
__all__ += ["minimum_moments", "moved_chances"]

Floats = npt.NDArray[np.float64]

#: Larger counts are taken as this one: hardly any ids differ at so high a level.
_MAX_COUNT = 512
#: With more tables, their probabilities are replaced by the mean.
_MAX_POISSON_BINOMIAL = 128


def expected_minimum(mean: npt.ArrayLike, variance: npt.ArrayLike, bound: float) -> Floats:
    """E[min(A, bound)] of a gamma distributed A >= 0 with this mean and variance.

    Parameters
    ----------
    mean, variance : arrays
        Mean and variance of A; arrays broadcast.
    bound : float
        Positive bound.

    Notes
    -----
    With shape a and scale b it is a b P(a + 1, bound / b) + bound Q(a, bound / b), P and Q being the
    regularised incomplete gamma functions (DLMF 8.2.4, 8.8.1). Without variance it is min(mean, bound).

    Examples
    --------
    >>> expected_minimum([5.0, 50.0], 0.0, 10.0)
    array([ 5., 10.])
    >>> bool(9 < expected_minimum(10.0, 4.0, 10.0) < 10)
    True
    """
    return minimum_moments(mean, variance, bound)[0]


def minimum_moments(mean: npt.ArrayLike, variance: npt.ArrayLike, bound: float) -> tuple[Floats, Floats]:
    """E[min(A, bound)] and E[min(A, bound)^2]; see :func:`expected_minimum`."""
    m, v = np.broadcast_arrays(np.asarray(mean, np.float64), np.asarray(variance, np.float64))
    plain = np.minimum(m, bound)
    spread = (m > 0) & (v > 1e-12 * m**2)
    m, v = np.where(spread, m, 1.0), np.where(spread, v, 1.0)
    shape, scale = m**2 / v, v / m
    cut, above = bound / scale, scipy.special.gammaincc(shape, bound / scale)
    first = m * scipy.special.gammainc(shape + 1, cut) + bound * above
    second = m * (m + scale) * scipy.special.gammainc(shape + 2, cut) + bound**2 * above
    return np.where(spread, np.minimum(first, plain), plain), np.where(spread, second, plain**2)


def collision_counts(chance: Floats, n_tables: int) -> Floats:
    """Distribution of the number of tables that contain an item: (n, min(n_tables, 512) + 1).

    Parameters
    ----------
    chance : (n, 1) or (n, n_tables) array
        Probability of each table, the same for all or one each; tables are independent.
    n_tables : int
        Number of tables.
    """
    most = min(n_tables, _MAX_COUNT)
    if chance.shape[1] > 1 and n_tables <= _MAX_POISSON_BINOMIAL:
        counts = np.zeros((len(chance), most + 1))
        counts[:, 0] = 1
        for p in chance.T[:, :, None]:
            moved = np.concatenate([np.zeros_like(counts[:, :1]), counts[:, :-1]], axis=1)
            counts = counts * (1 - p) + moved * p
        return counts
    p, c = np.clip(chance.mean(axis=1), 0, 1)[:, None], np.arange(most + 1)
    ways = (
        scipy.special.gammaln(n_tables + 1)
        - scipy.special.gammaln(c + 1)
        - scipy.special.gammaln(n_tables - c + 1)
    )
    counts = np.exp(ways + scipy.special.xlogy(c, p) + scipy.special.xlog1py(n_tables - c, -p))
    counts[:, -1] += np.maximum(1 - counts.sum(axis=1), 0)
    return np.asarray(counts)


@attrs.frozen(eq=False, kw_only=True)
class RetrievalLaw:
    """The probabilities of one retrieval of a pipeline, for one query.

    Attributes
    ----------
    chance : (groups, 1) or (groups, n_tables) float64 array
        Probability that a table's probed buckets contain an item of the group.
    n_tables : int
        Number of tables.
    bucket_size : int or None
        Maximum number of ids in a bucket.
    spread : float
        Variance, over the functions of one table, of a common exponent of all items' probabilities: a table
        with a large cell around the query contains more of all items.
    exponents : (q,) float64 array
        Equally likely values of that exponent, of mean 1.
    repeats : bool
        Whether an earlier stage probed the same buckets.
    node : int or None
        Index in ``NODES`` of the mean exponent over the tables; None for its mean.
    """

    chance: Floats
    n_tables: int
    bucket_size: int | None
    spread: float
    exponents: Floats
    repeats: bool = False
    node: int | None = None

    def nodes(self, chance: Floats) -> list[Floats]:
        """The probabilities (groups, ...) at each node: the mean over L tables has variance spread / L."""
        return moved_chances(chance, self.spread / self.n_tables)

    def counts(self, chance: Floats, n_tables: int) -> Floats:
        """Distribution of the number of tables that contain an item, (groups, c), at this law's node.

        Tables depend on each other through the mean exponent; the distributions at the nodes are scaled so
        that their mean is the binomial distribution, which is that of every single item.
        """
        binomial = collision_counts(chance, n_tables)
        if self.node is None:
            return binomial
        parts = [collision_counts(moved, n_tables) for moved in self.nodes(chance)]
        mean = sum(weight * part for weight, part in zip(NODE_WEIGHTS, parts, strict=True))
        counts = np.asarray(parts[self.node] * binomial / np.maximum(mean, 1e-300))
        counts[:, 0] = np.maximum(1 - counts[:, 1:].sum(axis=1), 0)
        return counts


#: Gauss-Hermite nodes (in standard deviations) and weights of a normal distribution.
NODES, NODE_WEIGHTS = (-(3**0.5), 0.0, 3**0.5), (1 / 6, 2 / 3, 1 / 6)


def moved_chances(chance: Floats, variance: float) -> list[Floats]:
    """P to the power 1 + d sqrt(variance) for each node d, scaled so that the weighted mean is P."""
    logs = np.log(np.maximum(chance, 1e-300))
    powers = [np.exp(np.minimum(logs * variance**0.5 * node, 30.0)) for node in NODES]
    mean = sum(weight * power for weight, power in zip(NODE_WEIGHTS, powers, strict=True))
    return [np.minimum(chance * power / mean, 1.0) for power in powers]


@attrs.frozen(eq=False, kw_only=True)
class Population:
    """All items, in groups of similar probability for one query, for one stage of a pipeline.

    Attributes
    ----------
    weights : (groups,) float64 array
        Number of items in each group; their sum is the number of items.
    retrievals : mapping of int to RetrievalLaw
        By the position of the retrieving stage.
    ranks : (groups, r) float64 array
        Ranks by inner product, as fractions of all items from 0, of the group's items or of a sample of
        them, padded with NaN.
    rank_width : float
        Fraction of all items that one rank represents.
    frequencies : (n_items,) float64 array or None
        The items' relative frequencies.
    place : int
        Index of the stage in the pipeline.
    """

    weights: Floats
    retrievals: Mapping[int, RetrievalLaw]
    ranks: Floats
    rank_width: float
    frequencies: Floats | None
    place: int = 0

    @property
    def n_items(self) -> float:
        """Number of items."""
        return float(self.weights.sum())

    @property
    def retrieval(self) -> RetrievalLaw:
        """The retrieval of this stage."""
        return self.retrievals[self.place]

    def share_of_best(self, k: int) -> Floats:
        """The fraction (groups,) of each group's items that are among the k of largest inner product."""
        with np.errstate(invalid="ignore"):
            inside = np.clip((k / self.n_items - self.ranks) / self.rank_width, 0, 1)
        return np.asarray(np.nanmean(inside, axis=1))


@attrs.frozen(eq=False, kw_only=True)
class Expected:
    """The expected set after some stages; each stage returns an updated one, by the methods below.

    Attributes
    ----------
    weights : (groups,) float64 array
        Number of items in each group.
    inside, outside : (groups, counts) float64 arrays
        Probability that an item of the group is in the set (not in it) with each number of collisions.
    variance : float
        Variance of the size of the set.
    most : float
        Size that the set never exceeds; infinite if it is not known.
    """

    weights: Floats
    inside: Floats
    outside: Floats
    variance: float = 0.0
    most: float = np.inf

    @classmethod
    def empty(cls, weights: Floats) -> Self:
        """The empty set, before the first stage."""
        outside = np.ones((len(weights), 1))
        return cls(weights=weights, inside=np.zeros_like(outside), outside=outside, most=0.0)

    @property
    def probability(self) -> Floats:
        """Probability (groups,) that an item is in the set."""
        return np.asarray(self.inside.sum(axis=1))

    @property
    def size(self) -> float:
        """Expected number of ids."""
        return float(self.weights @ self.probability)

    @property
    def n_items(self) -> float:
        """Number of items."""
        return float(self.weights.sum())

    def scattered(self) -> Self:
        """The same set with the variance of independently drawn ids."""
        p = self.probability
        return attrs.evolve(self, variance=float(self.weights @ (p * (1 - p))))

    def join(self, probability: npt.ArrayLike) -> Self:
        """Add each item outside with this probability, a number or (groups,), independently."""
        p = np.broadcast_to(np.asarray(probability, np.float64), self.weights.shape)[:, None]
        inside, outside = self.inside + self.outside * p, self.outside * (1 - p)
        return attrs.evolve(self, inside=inside, outside=outside, most=np.inf)

    def keep(self, share: npt.ArrayLike) -> Self:
        """Keep each item inside with this probability: a number, (groups, 1) or (groups, counts)."""
        kept = self.inside * np.asarray(share, np.float64)
        return attrs.evolve(self, inside=kept, outside=self.outside + self.inside - kept)

    def draw(self, n: float) -> Self:
        """Add n distinct uniform draws from all items."""
        total, size = self.n_items, self.size
        rate = min(n / total, 1.0)
        overlap = n * size / total * (1 - size / total) * (total - n) / max(total - 1, 1)
        variance = self.variance * (1 - rate) ** 2 + max(overlap, 0.0)
        return attrs.evolve(self.join(rate), variance=variance, most=self.most + n)

    def at_most(self, k: float) -> Self:
        """Keep at most k ids, drawn uniformly."""
        if self.most <= k:
            return self
        kept, square = self._minimum(k)
        stay = self.keep(kept / max(self.size, 1e-300))
        return attrs.evolve(stay, variance=max(square - kept**2, 0.0), most=float(k))

    def fill(self, k: float) -> Self:
        """Add uniform draws from outside the set, up to k ids."""
        size, (least, square) = self.size, self._minimum(k)
        drawn = max(k - least, 0.0)
        # max(A, k)^2 + min(A, k)^2 = A^2 + k^2
        variance = self.variance + size**2 + k**2 - square - (size + drawn) ** 2
        filled = self.join(min(drawn / max(self.n_items - size, 1e-300), 1.0))
        return attrs.evolve(filled, variance=max(variance, 0.0), most=max(self.most, k))

    def most_collided(self, k: float) -> Self:
        """Keep the k ids with the most collisions; tied ids are equally likely.

        Of A(c), the number of ids with at least c collisions, E[min(A(c), k)] are kept; the differences
        between successive c are the ids kept with exactly c collisions.
        """
        if self.most <= k:
            return self
        levels = self.weights @ self.inside
        above = np.append(levels[::-1].cumsum()[::-1], 0.0)
        tail = self.inside[:, ::-1].cumsum(axis=1)[:, ::-1]
        spread = np.append(self.weights @ (tail * (1 - tail)), 0.0)
        # The size of the whole set may vary less than that of independently drawn ids.
        spread = np.minimum(spread, np.where(above >= above[0] * (1 - 1e-9), self.variance, spread))
        stay = expected_minimum(above, spread, k)
        stay = np.minimum.accumulate(stay)
        share = (stay[:-1] - stay[1:]) / np.maximum(levels, 1e-300)
        kept = self.keep(np.clip(share, 0, 1)[None, :])
        least, square = self._minimum(k)
        return attrs.evolve(kept, variance=max(square - least**2, 0.0), most=float(k))

    def with_at_least(self, m: int) -> Self:
        """Keep the ids that collided at least m times."""
        return self.keep((np.arange(self.inside.shape[1]) >= m)[None, :].astype(np.float64)).scattered()

    def collide(self, counts: Floats) -> Self:
        """Add numbers of collisions with the distributions (groups, c); items with a collision are added.

        Counts beyond the largest represented one are taken as that one.
        """
        old, new = self.inside.shape[1], counts.shape[1]
        width = min(old + new - 1, _MAX_COUNT + 1)
        inside, outside = np.zeros((2, len(self.weights), width))
        for c in range(old):
            end = min(c + new, width)
            for source, found in ((self.inside, inside), (self.outside, inside)):
                part = source[:, c : c + 1] * counts
                if source is self.outside:
                    outside[:, c] += part[:, 0]
                    part[:, 0] = 0
                found[:, c:end] += part[:, : end - c]
                found[:, -1] += part[:, end - c :].sum(axis=1)
        return attrs.evolve(self, inside=inside, outside=outside, most=np.inf).scattered()

    def collide_again(self) -> Self:
        """Probe the same tables once more: counts double, and ids that collided are added."""
        groups, old = self.inside.shape
        width = min(2 * old - 1, _MAX_COUNT + 1)
        inside, outside = np.zeros((2, groups, width))
        for c in range(old):
            inside[:, min(2 * c, width - 1)] += self.inside[:, c] + (self.outside[:, c] if c else 0)
        outside[:, 0] = self.outside[:, 0]
        return attrs.evolve(self, inside=inside, outside=outside, most=np.inf).scattered()

    def _minimum(self, k: float) -> tuple[float, float]:
        """E[min(A, k)] and E[min(A, k)^2], A being the size of the set."""
        first, second = minimum_moments(self.size, self.variance, k)
        return float(first), float(second)
