"""E2LSH, hashing by Euclidean distance: the interval of a random line that a row is projected to."""

from __future__ import annotations

from functools import cached_property

import attrs
import numpy as np
import numpy.typing as npt
import scipy

from lshsample.plugin import Codes, Floats, HashFamily, NativeKernel, Rows, integer, number
from lshsample_families import _draws, _native
from lshsample_families._kernels import ffi, lib
from lshsample_families._probing import best_codes, digits
from lshsample_families._projections import (
    Hadamard,
    ProjectingSpec,
    Projection,
    claims_of,
    draw_projection,
    row_scales,
)

__all__ = ["E2LSH", "E2LSHSpec"]

_OFFSETS = 41
_BLOCK = 1024
#: Farther from the origin, in buckets, float32 margins are not accurate to one bucket.
_LIMIT = 2.0**30


@attrs.frozen(kw_only=True)
class E2LSHSpec(ProjectingSpec):
    """Options of :class:`E2LSH`.

    Attributes
    ----------
    width : float
        Width of a bucket, r, in the same unit as distances.
    bits : int
        Bits of a hash, b: buckets are numbered modulo 2^b. K b is at most 32.
    """

    width: float = attrs.field(default=4.0, validator=number(1e-30, 1e30))
    bits: int = attrs.field(default=4, validator=integer(1, 30))


class E2LSH(HashFamily[E2LSHSpec]):
    """Hashing by Euclidean distance (Datar, Immorlica, Indyk & Mirrokni, SoCG 2004).

    A hash is floor(a.x / r + u) modulo 2^b, with a normal direction a and u uniform in [0, 1). Two rows at
    distance c fall into the same bucket with probability 1 - 2 Phi(-r/c) - 2 (1 - exp(-r^2 / 2 c^2)) /
    (sqrt(2 pi) r/c). :meth:`collision_probability` adds the probability of different buckets with the same
    number modulo 2^b.

    Parameters
    ----------
    spec : E2LSHSpec
        dim, n_hashes (K), n_tables (L), seed, width (r), bits (b; K b is at most 32), projection, density.

    Notes
    -----
    In units of r the rows' projections differ by D, normal with standard deviation c/r, and with a uniform
    offset they are n buckets apart with probability E max(0, 1 - |D - n|). A hash agrees if n is a multiple
    of 2^b: the collision probability is the sum over those n, which is exact and tends to 2^-b for distant
    pairs. The formula above is the term n = 0.

    It, and p^K for a code, is exact with "hadamard" and "gaussian"; tables are independent with "gaussian",
    and share random numbers with "hadamard". With "sparse" it holds only if the difference of the rows has
    many entries of similar size, so ``exact_law`` is False. Margins are float32: rounding errors matter for
    rows of norm above about 10^5 r.

    Cost: that of SimHash with the same projection.

    Examples
    --------
    >>> import numpy as np
    >>> family = E2LSH(E2LSHSpec(dim=2, width=2.0, n_hashes=4, bits=8))
    >>> q, x = np.float32([[1, 1]]), np.float32([[1, 2]])
    >>> distance = family.similarity_of(q, x)
    >>> distance, family.collision_probability(distance).round(3)
    (array([1.]), array([0.61]))
    """

    similarity = "euclidean"

    def __init__(self, spec: E2LSHSpec) -> None:
        self.bits_per_hash = spec.bits
        self.independent_tables, self.exact_law = claims_of(spec.projection)
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
        """The factor from margins of unscaled rows to bucket widths."""
        projection = self._projection
        if isinstance(projection, Hadamard):
            return 1 / (projection.size * self.spec.width)
        spread = self.spec.density**0.5 if self.spec.projection == "sparse" else 1.0
        return 1 / (spread * self.spec.width)

    def positions(self, x: Rows) -> Floats:
        """Positions of rows on the lines, (n, K, L), in bucket widths; the bucket is the floor."""
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

    def probe(self, q: Rows, n_probes: int) -> Codes:
        """Codes (n, n_tables, n_probes) of the buckets near each row, in ascending order of cost.

        The cost of a bucket is the sum over the hashes of the squared distance from the row's position to the
        bucket's interval (Lv et al., VLDB 2007).
        """
        period, count = 2**self.spec.bits, min(n_probes, 2**self.spec.bits)
        codes = np.empty((q.shape[0], self.n_tables, n_probes), np.uint32)
        rank = np.arange(count)
        for start in range(0, q.shape[0], _BLOCK):
            places = self.positions(q[start : start + _BLOCK]).transpose(0, 2, 1).reshape(-1, self.n_hashes)
            buckets = np.floor(places)
            within = (places - buckets)[..., None]
            # The nearer neighbour, the farther one, and so on: 0, 1, -1, 2, ... or its mirror image.
            steps = (rank + 1) // 2 * np.where(rank % 2, 1, -1) * np.where(within < 0.5, -1, 1)
            ways = np.where(steps > 0, steps - within, np.where(steps < 0, within - steps - 1, 0.0))
            values = (buckets[..., None].astype(np.int64) + steps & (period - 1)).astype(np.uint32)
            found = best_codes(values, ways**2, self.spec.bits, n_probes)
            codes[start : start + _BLOCK] = found.reshape(-1, self.n_tables, n_probes)
        return codes

    def probe_probability(self, q: Rows, x: Rows, n_probes: int) -> Floats:
        """Probability (n, n_tables) that a query's probes find rows, conditional on the query's positions.

        Parameters
        ----------
        q : (1, dim) row
            The query.
        x : (n, dim) rows
            Data rows.
        n_probes : int
            Buckets per table, P.

        Returns
        -------
        (n, n_tables) float64 array

        Raises
        ------
        UnsupportedError
            The projection is "sparse".

        Notes
        -----
        Because of the random offset, the query's position f inside its bucket is independent of the
        direction. So a row at distance c is projected N widths from the query, N normal with standard
        deviation s = c/r, and falls d buckets further with probability Phi((d + 1 - f)/s) - Phi((d - f)/s);
        as numbers are modulo 2^b, the probabilities of all d that differ by multiples of 2^b are added. A
        probe finds the row with the product over its hashes, and the probes of a table are mutually
        exclusive. Exact for each table; tables are independent with "gaussian", and share random numbers
        with "hadamard". Cost: O(n L K P).
        """
        if self.spec.projection == "sparse":
            return super().probe_probability(q, x, n_probes)
        ratios = self.similarity_of(q[np.zeros(x.shape[0], np.intp)], x) / self.spec.width
        places = self.positions(q)[0].T
        own = digits(self.hash(q)[0], self.n_hashes, self.spec.bits)
        probes = digits(self.probe(q, n_probes)[0], self.n_hashes, self.spec.bits)
        steps, which = np.unique(
            probes - own[:, None] & np.uint32(2**self.spec.bits - 1), return_inverse=True
        )
        chances = _step_law(ratios, places - np.floor(places), steps.astype(np.float64), 2**self.spec.bits)
        table, hashes = np.arange(self.n_tables)[:, None, None], np.arange(self.n_hashes)
        out = np.zeros((len(ratios), self.n_tables))
        for probe in np.moveaxis(which.reshape(probes.shape), 1, 0)[:, :, None]:
            out += chances[:, table, hashes, probe].prod(axis=(2, 3))
        return np.minimum(out, 1.0)

    def native(self) -> NativeKernel:
        """The compiled kernel over the projection, for the instruction set in use."""
        projection, offsets = self._projection, self._offsets
        shape = {"n_hashes": self.n_hashes, "n_tables": self.n_tables, "bits": self.spec.bits}
        state = ffi.new("lsh_e2lsh_state *", shape)
        state.step, state.offsets = self._step, _native.pointer("double *", offsets)
        projected = projection.state(self.dim)
        setattr(state, projection.kind, projected)
        return _native.kernel(
            state,
            _native.function(f"e2lsh_{projection.kind}"),
            _native.function(f"e2lsh_{projection.kind}_probe"),
            lib.lsh_e2lsh_scratch(state),
            offsets,
            projected,
            projection,
        )

    def collision_probability(self, similarity: npt.ArrayLike) -> Floats:
        """Probability that a hash agrees at a *distance*, bucket numbers being modulo 2^b."""
        given = np.asarray(similarity, np.float64)
        ratios, places = np.unique(np.minimum(np.abs(given), 1e200) / self.spec.width, return_inverse=True)
        law = _wrapped_law(ratios, 2**self.spec.bits)[places].reshape(given.shape)
        return np.where(np.isnan(given), np.nan, law)


def _wrapped_law(ratios: Floats, period: int) -> Floats:
    """Sum over n = 0, +-P, +-2P, ... of E max(0, 1 - |s Z - n|) for standard deviations s."""
    total = _shared_bucket(ratios, 0)
    # For s above P the sum is uniform to exp(-2 pi^2) in its first harmonic; below, eight periods suffice.
    for n in range(period, 9 * period, period):
        total += 2 * _shared_bucket(ratios, n)
    return np.where(ratios > period, _uniform(ratios, period), np.clip(total, 0, 1))


def _uniform(ratios: Floats, period: int) -> Floats:
    """The sum for large s, by Poisson summation: 1/P and its first harmonic."""
    harmonic = 2 * np.sinc(1 / period) ** 2 * np.exp(-2 * (np.pi * np.minimum(ratios, 1e6) / period) ** 2)
    return np.asarray((1 + harmonic) / period)


def _shared_bucket(s: Floats, n: int) -> Floats:
    """E max(0, 1 - |s Z - n|): a second difference of the integral of the normal distribution function.

    With g(t) = E max(0, t - s Z) = t Phi(t/s) + s phi(t/s) it is g(n+1) - 2 g(n) + g(n-1).
    """
    safe = np.where(s > 0, s, 1)

    def g(t: float) -> Floats:
        density = np.exp(-np.minimum((t / safe) ** 2, 1400) / 2) / np.sqrt(2 * np.pi)
        # By the complement, which is small; the term t cancels in the second difference.
        return np.asarray(safe * density - t * scipy.special.ndtr(-t / safe))

    value = g(n + 1) - 2 * g(n) + (g(n - 1) if n else g(1) + 1)
    # For large s, where the second difference loses its digits: the density times the width 1.
    wide = np.exp(-np.minimum((n / safe) ** 2, 1400) / 2) / (safe * np.sqrt(2 * np.pi))
    value = np.where(s > 1000, wide, np.maximum(value, 0))
    return np.where(s > 0, value, float(n == 0))


def _step_law(ratios: Floats, within: Floats, steps: Floats, period: int) -> Floats:
    """P(floor(f + s Z) is a step, modulo the period): (n, L, K, S) for s (n), f (L, K) and steps (S)."""
    s = np.where(ratios > 0, np.minimum(ratios, period), 1.0)[:, None, None, None]
    chances = np.zeros((len(ratios), *within.shape, len(steps)))
    # Steps are from 0 to P - 1, and nine standard deviations are all.
    turns = int(np.ceil(9 * s.max(initial=0) / period)) + 1
    ndtr = scipy.special.ndtr
    for turn in range(-turns, turns + 1):
        low = (steps + turn * period - within[..., None]) / s
        high = (steps + turn * period + 1 - within[..., None]) / s
        # By the smaller tails: differences of the larger ones lose their digits.
        upper = low > 0
        chances += ndtr(np.where(upper, -low, high)) - ndtr(np.where(upper, -high, low))
    chances[ratios > period] = 1 / period
    chances[ratios <= 0] = steps == 0
    return chances
