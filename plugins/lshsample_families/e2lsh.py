"""E2LSH, hashing by Euclidean distance: which bucket of a random line a row falls into."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.special import ndtr

from lshsample.plugin import Codes, Floats, HashFamily, NativeKernel, Rows, integer, number
from lshsample_families import _draws
from lshsample_families._projecting import ProjectingSpec, draw_projection, e2lsh_kernel
from lshsample_families._projections import Hadamard, Projection, row_scales

__all__ = ["E2LSH", "E2LSHSpec"]

_OFFSETS = 41
_BLOCK = 1024
#: Beyond so many buckets from the origin float32 margins tell none apart.
_LIMIT = 2.0**30


@attrs.frozen(kw_only=True)
class E2LSHSpec(ProjectingSpec):
    """Options of :class:`E2LSH`.

    Attributes
    ----------
    width : float
        Width of a bucket, r, in the unit of the rows' distances.
    bits : int
        Bits of a hash, b: buckets are numbered modulo 2^b. K b is at most 32.
    """

    width: float = attrs.field(default=4.0, validator=number(1e-30, 1e30))
    bits: int = attrs.field(default=4, validator=integer(1, 30))


class E2LSH(HashFamily):
    """Hashing by Euclidean distance (Datar, Immorlica, Indyk & Mirrokni, SoCG 2004).

    A hash is floor(a.x / r + u) modulo 2^b, with a normal direction a and u uniform in [0, 1). Two rows at
    distance c fall into the same bucket with probability 1 - 2 Phi(-r/c) - 2 (1 - exp(-r^2 / 2 c^2)) /
    (sqrt(2 pi) r/c), and into buckets that only share a number with the probability that
    :meth:`collision_probability` adds.

    Parameters
    ----------
    spec : E2LSHSpec
        dim, n_hashes (K), n_tables (L), seed, width (r), bits (b; K b is at most 32), projection, density.

    Notes
    -----
    In units of r the rows' projections differ by D, normal with standard deviation c/r, and a uniform offset
    puts them n buckets apart with probability E max(0, 1 - |D - n|). A hash agrees where n is a multiple of
    2^b: the sum over those n is the law, which is exact and tends to 2^-b for far pairs. The formula above is
    n = 0.

    The law, and p^K, hold exactly with "hadamard" and "gaussian"; tables are independent with "gaussian",
    nearly so with "hadamard". With "sparse" they hold only for differences of many entries of like size.
    Margins are float32: rows longer than about 10^5 r are hashed by their rounding errors too.

    Cost: as SimHash with the same projection.

    Examples
    --------
    >>> import numpy as np
    >>> family = E2LSH(E2LSHSpec(dim=2, width=2.0, n_hashes=4, bits=8))
    >>> q, x = np.float32([[1, 1]]), np.float32([[1, 2]])
    >>> distance = family.similarity_of(q, x)
    >>> distance, family.collision_probability(distance).round(3)
    (array([1.]), array([0.61]))
    """

    Spec = E2LSHSpec
    similarity = "euclidean"
    spec: E2LSHSpec

    def __init__(self, spec: E2LSHSpec) -> None:
        self.bits_per_hash = spec.bits
        super().__init__(spec)

    @cached_property
    def _projection(self) -> Projection:
        return draw_projection(self.spec, self.n_hashes)

    @cached_property
    def _offsets(self) -> Floats:
        count = self.n_hashes * self.n_tables
        drawn = _draws.words(self.seed, _OFFSETS, count) >> np.uint64(11)
        return np.asarray(drawn * 2.0**-53).reshape(self.n_hashes, self.n_tables)

    @cached_property
    def _step(self) -> float:
        """From margins of unscaled rows to widths of a bucket."""
        projection = self._projection
        if isinstance(projection, Hadamard):
            return 1 / (projection.size * self.spec.width)
        spread = self.spec.density**0.5 if self.spec.projection == "sparse" else 1.0
        return 1 / (spread * self.spec.width)

    def positions(self, x: Rows) -> Floats:
        """Where rows fall on the lines, (n, K, L), in widths of a bucket; the bucket is the floor."""
        margins = self._projection.margins(x).astype(np.float64)
        steps = self._step / row_scales(x).astype(np.float64)
        return np.clip(margins * steps[:, None, None] + self._offsets, -_LIMIT, _LIMIT)

    def hash(self, x: Rows) -> Codes:
        """Codes (n, n_tables) of rows."""
        codes = np.zeros((x.shape[0], self.n_tables), np.uint32)
        for start in range(0, x.shape[0], _BLOCK):
            buckets = np.floor(self.positions(x[start : start + _BLOCK])).astype(np.int64)
            numbers = (buckets & (2**self.spec.bits - 1)).astype(np.uint32)
            for k in range(self.n_hashes):
                codes[start : start + _BLOCK] |= numbers[:, k] << np.uint32(k * self.spec.bits)
        return codes

    def native(self) -> NativeKernel:
        """The compiled kernel of the projection, for the instruction set in use."""
        return e2lsh_kernel(self.spec, self._projection, self._step, self._offsets, self.spec.bits)

    def collision_probability(self, similarity: npt.ArrayLike) -> Floats:
        """Probability that a hash agrees at a *distance*, wrapped numbers included."""
        given = np.asarray(similarity, np.float64)
        ratios, places = np.unique(np.minimum(np.abs(given), 1e200) / self.spec.width, return_inverse=True)
        return np.asarray(_wrapped_law(ratios, 2**self.spec.bits)[places].reshape(given.shape))

    def similarity_of(self, q: Rows, x: Rows) -> Floats:
        """Euclidean distances (n,) of pairs of rows, from their differences, so that none cancels."""
        if isinstance(q, np.ndarray) and isinstance(x, np.ndarray):
            return np.asarray(np.linalg.norm(q.astype(np.float64) - x, axis=1))
        both: Any = [sp.csr_array(rows).astype(np.float64) for rows in (q, x)]
        difference = both[0] - both[1]
        return np.asarray(np.sqrt(difference.multiply(difference).sum(axis=1))).reshape(-1)


def _wrapped_law(ratios: Floats, period: int) -> Floats:
    """Sum over n = 0, +-P, +-2P, ... of E max(0, 1 - |s Z - n|) for standard deviations s."""
    total = _shared_bucket(ratios, 0)
    # Above s = P the wrapped law is uniform to exp(-2 pi^2) in its first harmonic, and below it no more than
    # eight periods matter.
    for n in range(period, 9 * period, period):
        total += 2 * _shared_bucket(ratios, n)
    return np.where(ratios > period, _uniform(ratios, period), np.clip(total, 0, 1))


def _uniform(ratios: Floats, period: int) -> Floats:
    """The law of wide spreads by Poisson summation: 1/P and its first harmonic."""
    harmonic = 2 * np.sinc(1 / period) ** 2 * np.exp(-2 * (np.pi * np.minimum(ratios, 1e6) / period) ** 2)
    return np.asarray((1 + harmonic) / period)


def _shared_bucket(s: Floats, n: int) -> Floats:
    """E max(0, 1 - |s Z - n|): a second difference of the integral of the normal distribution function.

    With g(t) = E max(0, t - s Z) = t Phi(t/s) + s phi(t/s) it is g(n+1) - 2 g(n) + g(n-1).
    """
    safe = np.where(s > 0, s, 1)

    def g(t: float) -> Floats:
        density = np.exp(-np.minimum((t / safe) ** 2, 1400) / 2) / np.sqrt(2 * np.pi)
        # By the complement, which is small: t itself cancels in the second difference.
        return np.asarray(safe * density - t * ndtr(-t / safe))

    value = g(n + 1) - 2 * g(n) + (g(n - 1) if n else g(1) + 1)
    # For wide spreads, where the difference cancels, the density times the width of 1.
    wide = np.exp(-np.minimum((n / safe) ** 2, 1400) / 2) / (safe * np.sqrt(2 * np.pi))
    value = np.where(s > 1000, wide, np.maximum(value, 0))
    return np.where(s > 0, value, float(n == 0))
