"""Expected sets: what a pipeline does to one query's items on average, before any table is built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import attrs
import numpy as np
import numpy.typing as npt
from scipy import special

__all__ = ["Expected", "Population", "RetrievalLaw", "collision_counts", "expected_minimum"]
__all__ += ["minimum_moments", "moved_chances"]

Floats = npt.NDArray[np.float64]

#: Counts above this are taken as this: a level so high tells no more ids apart.
_MAX_COUNT = 512
#: With more tables than this, tables of different probabilities are taken at their mean.
_MAX_POISSON_BINOMIAL = 128


def expected_minimum(mean: npt.ArrayLike, variance: npt.ArrayLike, bound: float) -> Floats:
    """E[min(A, bound)] of a number A >= 0 of this mean and variance, taken as gamma distributed.

    Parameters
    ----------
    mean, variance : arrays
        Of A; arrays broadcast.
    bound : float
        The bound, above 0.

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
    cut, above = bound / scale, special.gammaincc(shape, bound / scale)
    first = m * special.gammainc(shape + 1, cut) + bound * above
    second = m * (m + scale) * special.gammainc(shape + 2, cut) + bound**2 * above
    return np.where(spread, np.minimum(first, plain), plain), np.where(spread, second, plain**2)


def collision_counts(chance: Floats, n_tables: int) -> Floats:
    """Distribution of the number of tables that hold an item: (n, min(n_tables, 512) + 1).

    Parameters
    ----------
    chance : (n, 1) or (n, n_tables) array
        Probability of each table, which are independent: one number for all, or one for each.
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
    ways = special.gammaln(n_tables + 1) - special.gammaln(c + 1) - special.gammaln(n_tables - c + 1)
    counts = np.exp(ways + special.xlogy(c, p) + special.xlog1py(n_tables - c, -p))
    counts[:, -1] += np.maximum(1 - counts.sum(axis=1), 0)
    return np.asarray(counts)


@attrs.frozen(eq=False, kw_only=True)
class RetrievalLaw:
    """What is known of one retrieval of a pipeline, for one query.

    Attributes
    ----------
    chance : (groups, 1) or (groups, n_tables) float64 array
        Probability that a table's probed buckets hold an item of the group.
    n_tables : int
        Number of tables.
    bucket_size : int or None
        The most ids that a bucket keeps.
    spread : float
        Variance, over the functions of one table, of the exponent by which the probabilities of all items
        move together: a table with a large cell around the query finds more of everything.
    exponents : (q,) float64 array
        Equally likely values of that exponent, of mean 1.
    repeats : bool
        Whether an earlier stage looked into the same buckets.
    node : int or None
        Which of ``NODES`` the mean exponent over the tables is at; None for its mean.
    """

    chance: Floats
    n_tables: int
    bucket_size: int | None
    spread: float
    exponents: Floats
    repeats: bool = False
    node: int | None = None

    def nodes(self, chance: Floats) -> list[Floats]:
        """The chances (groups, ...) at each node: the mean over L tables varies by spread / L."""
        return moved_chances(chance, self.spread / self.n_tables)

    def counts(self, chance: Floats, n_tables: int) -> Floats:
        """Distribution of the number of tables that hold an item, (groups, c), at this law's node.

        Given the mean exponent, tables are not independent of what it is; the laws at the nodes are scaled
        so that their mean is the binomial law, which holds for every item by itself.
        """
        whole = collision_counts(chance, n_tables)
        if self.node is None:
            return whole
        parts = [collision_counts(moved, n_tables) for moved in self.nodes(chance)]
        mean = sum(weight * part for weight, part in zip(NODE_WEIGHTS, parts, strict=True))
        counts = np.asarray(parts[self.node] * whole / np.maximum(mean, 1e-300))
        counts[:, 0] = np.maximum(1 - counts[:, 1:].sum(axis=1), 0)
        return counts


#: Gauss-Hermite nodes and weights of a normal law, in standard deviations.
NODES, NODE_WEIGHTS = (-(3**0.5), 0.0, 3**0.5), (1 / 6, 2 / 3, 1 / 6)


def moved_chances(chance: Floats, variance: float) -> list[Floats]:
    """P to the powers 1 + d sqrt(variance) for each node d, scaled so that their weighted mean is P."""
    logs = np.log(np.maximum(chance, 1e-300))
    powers = [np.exp(np.minimum(logs * variance**0.5 * node, 30.0)) for node in NODES]
    mean = sum(weight * power for weight, power in zip(NODE_WEIGHTS, powers, strict=True))
    return [np.minimum(chance * power / mean, 1.0) for power in powers]


@attrs.frozen(eq=False, kw_only=True)
class Population:
    """The items as one query sees them, in groups of alike ones, for one stage of a pipeline.

    Attributes
    ----------
    weights : (groups,) float64 array
        Items in each group; their sum is the number of items.
    retrievals : mapping of int to RetrievalLaw
        By the place of a stage that retrieves.
    ranks : (groups, r) float64 array
        The ranks by inner product, as shares of all items from 0, of the group's items or of a sample of
        them; NaN where there are fewer.
    rank_width : float
        The share of all items that one rank stands for.
    frequencies : (n_items,) float64 array or None
        The items' relative frequencies.
    place : int
        The stage's place in the pipeline.
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
        """The stage's own retrieval."""
        return self.retrievals[self.place]

    def share_of_best(self, k: int) -> Floats:
        """The share (groups,) of each group's items among the k of largest inner product."""
        with np.errstate(invalid="ignore"):
            inside = np.clip((k / self.n_items - self.ranks) / self.rank_width, 0, 1)
        return np.asarray(np.nanmean(inside, axis=1))


@attrs.frozen(eq=False, kw_only=True)
class Expected:
    """The expected set after some stages: what stages change by the methods below.

    Attributes
    ----------
    weights : (groups,) float64 array
        Items in each group.
    inside, outside : (groups, counts) float64 arrays
        Probability that an item of the group is in the set, or is not, and has collided so many times.
    variance : float
        Of the size of the set.
    """

    weights: Floats
    inside: Floats
    outside: Floats
    variance: float = 0.0

    @classmethod
    def empty(cls, weights: Floats) -> Self:
        """The empty set, before the first stage."""
        outside = np.ones((len(weights), 1))
        return cls(weights=weights, inside=np.zeros_like(outside), outside=outside)

    @property
    def probability(self) -> Floats:
        """Probability (groups,) to be in the set."""
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
        """The same with the variance of a set whose ids come independently of each other."""
        p = self.probability
        return attrs.evolve(self, variance=float(self.weights @ (p * (1 - p))))

    def join(self, probability: npt.ArrayLike) -> Self:
        """Each item outside joins with this probability, one number or (groups,), independently."""
        p = np.broadcast_to(np.asarray(probability, np.float64), self.weights.shape)[:, None]
        return attrs.evolve(self, inside=self.inside + self.outside * p, outside=self.outside * (1 - p))

    def keep(self, share: npt.ArrayLike) -> Self:
        """Each item inside stays with this probability: a number, (groups, 1) or (groups, counts)."""
        kept = self.inside * np.asarray(share, np.float64)
        return attrs.evolve(self, inside=kept, outside=self.outside + self.inside - kept)

    def draw(self, n: float) -> Self:
        """The union with n distinct uniform draws from all items."""
        total, size = self.n_items, self.size
        rate = min(n / total, 1.0)
        met = n * size / total * (1 - size / total) * (total - n) / max(total - 1, 1)
        variance = self.variance * (1 - rate) ** 2 + max(met, 0.0)
        return attrs.evolve(self.join(rate), variance=variance)

    def at_most(self, k: float) -> Self:
        """A uniform draw of at most k ids of the set."""
        kept, square = self._minimum(k)
        stay = self.keep(kept / max(self.size, 1e-300))
        return attrs.evolve(stay, variance=max(square - kept**2, 0.0))

    def fill(self, k: float) -> Self:
        """Uniform draws from outside the set, up to k ids."""
        size, (least, square) = self.size, self._minimum(k)
        drawn = max(k - least, 0.0)
        # max(A, k)^2 + min(A, k)^2 = A^2 + k^2
        variance = self.variance + size**2 + k**2 - square - (size + drawn) ** 2
        filled = self.join(min(drawn / max(self.n_items - size, 1e-300), 1.0))
        return attrs.evolve(filled, variance=max(variance, 0.0))

    def most_collided(self, k: float) -> Self:
        """The k ids of most collisions, ties shared.

        A(c), the number of ids of the set with at least c collisions, is cut at k: E[min(A(c), k)] of them
        stay, and the differences between levels are what stays of each level.
        """
        levels = self.weights @ self.inside
        above = np.append(levels[::-1].cumsum()[::-1], 0.0)
        tail = self.inside[:, ::-1].cumsum(axis=1)[:, ::-1]
        spread = np.append(self.weights @ (tail * (1 - tail)), 0.0)
        # The size of the whole set may vary less than that of sets whose ids come independently.
        spread = np.minimum(spread, np.where(above >= above[0] * (1 - 1e-9), self.variance, spread))
        stay = expected_minimum(above, spread, k)
        stay = np.minimum.accumulate(stay)
        share = (stay[:-1] - stay[1:]) / np.maximum(levels, 1e-300)
        kept = self.keep(np.clip(share, 0, 1)[None, :])
        least, square = self._minimum(k)
        return attrs.evolve(kept, variance=max(square - least**2, 0.0))

    def with_at_least(self, m: int) -> Self:
        """The ids that collided at least m times."""
        return self.keep((np.arange(self.inside.shape[1]) >= m)[None, :].astype(np.float64)).scattered()

    def collide(self, counts: Floats) -> Self:
        """Tables hold each item so many times more, with the probabilities (groups, c); those found join.

        Counts beyond the largest one that is kept apart are taken as that one.
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
        return attrs.evolve(self, inside=inside, outside=outside).scattered()

    def collide_again(self) -> Self:
        """The same tables are looked into once more: counts double, and ids that collided join."""
        groups, old = self.inside.shape
        width = min(2 * old - 1, _MAX_COUNT + 1)
        inside, outside = np.zeros((2, groups, width))
        for c in range(old):
            inside[:, min(2 * c, width - 1)] += self.inside[:, c] + (self.outside[:, c] if c else 0)
        outside[:, 0] = self.outside[:, 0]
        return attrs.evolve(self, inside=inside, outside=outside).scattered()

    def _minimum(self, k: float) -> tuple[float, float]:
        """E[min(A, k)] and E[min(A, k)^2], A being the size of the set."""
        first, second = minimum_moments(self.size, self.variance, k)
        return float(first), float(second)
