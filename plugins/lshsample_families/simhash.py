"""SimHash, signed random projections: a bit is the sign of a row's inner product with a random direction."""

from __future__ import annotations

import heapq
from functools import cached_property

import attrs
import numpy as np
import numpy.typing as npt
import scipy

from lshsample.plugin import Codes, Floats, HashFamily, NativeKernel, Rows
from lshsample_families import _native
from lshsample_families._kernels import ffi, lib
from lshsample_families._projections import (
    Float32,
    Hadamard,
    ProjectingSpec,
    Projection,
    claims_of,
    draw_projection,
    standard_margins,
)

__all__ = ["SimHash", "SimHashSpec", "probe_flips", "simhash_kernel"]

#: Rows per block of the reference, so that temporaries are small.
_BLOCK = 1024


@attrs.frozen(kw_only=True)
class SimHashSpec(ProjectingSpec):
    """Options of :class:`SimHash`: those of every random projection."""


class SimHash(HashFamily[SimHashSpec]):
    """Signed random projections (Charikar, STOC 2002).

    Bit k of a row's code in table l is 1 if the row's inner product with a random direction is not negative.
    A row of zeros has all bits set. Two rows at angle theta agree on one hash with probability 1 - theta /
    pi.

    Parameters
    ----------
    spec : SimHashSpec
        dim, n_hashes (K, at most 32), n_tables (L), seed, projection, density.

    Notes
    -----
    The collision probability of one hash, and p^K for a code, is exact with "hadamard" and "gaussian" for
    every pair of rows. Tables are independent with "gaussian"; with "hadamard" they share random numbers, so
    that tables are slightly correlated (``independent_tables`` is False), while the probability for each
    table is still exact. With "sparse" it holds only for rows of many entries of similar size (``exact_law``
    is False): about ``density n`` of a row's n nonzero entries coincide with nonzero entries of a direction,
    and if that is a small number, the margin is not nearly normal, and often zero.

    Cost of a row of d columns, n of them nonzero, with D the next power of two of d (at least 64) and M that
    of L (at most D): "hadamard" 2 D log2 D + K (2 D + M log2 M) additions, "gaussian" n K L, "sparse" n K L
    density.

    Examples
    --------
    >>> import numpy as np
    >>> family = SimHash(SimHashSpec(dim=8, n_hashes=4, n_tables=2, seed=1))
    >>> x = np.ones((1, 8), np.float32)
    >>> bool((family.hash(x) == family.hash(3 * x)).all()), family.collision_probability([1.0, 0.0])
    (True, array([1. , 0.5]))
    """

    similarity = "cosine"

    def __init__(self, spec: SimHashSpec) -> None:
        self.independent_tables, self.exact_law = claims_of(spec.projection)
        super().__init__(spec)

    @cached_property
    def _projection(self) -> Projection:
        return draw_projection(self.spec, self.n_hashes)

    def margins(self, x: Rows) -> Float32:
        """Inner products (n, K, L) with the directions, up to a positive factor for each row."""
        blocks = [
            self._projection.margins(x[start : start + _BLOCK]) for start in range(0, x.shape[0], _BLOCK)
        ]
        return np.concatenate(blocks) if blocks else np.empty((0, self.n_hashes, self.n_tables), np.float32)

    def hash(self, x: Rows) -> Codes:
        """Codes (n, n_tables) of rows."""
        codes = np.zeros((x.shape[0], self.n_tables), np.uint32)
        for start in range(0, x.shape[0], _BLOCK):
            bits = self._projection.margins(x[start : start + _BLOCK]) >= 0
            for k in range(self.n_hashes):
                codes[start : start + _BLOCK] |= bits[:, k].astype(np.uint32) << np.uint32(k)
        return codes

    def probe(self, q: Rows, n_probes: int) -> Codes:
        """Codes (n, n_tables, n_probes) of the buckets near each row, in ascending order of cost.

        The cost of a bucket is the sum of the squared margins of the bits in which its code differs (Lv et
        al., VLDB 2007).
        """
        codes = np.empty((q.shape[0], self.n_tables, n_probes), np.uint32)
        for i, row in enumerate(self.margins(q)):
            for table in range(self.n_tables):
                codes[i, table] = probe_flips(row[:, table], n_probes)
        return codes

    def probe_probability(self, q: Rows, x: Rows, n_probes: int) -> Floats:
        """Probability (n, n_tables) that a query's probes find rows, conditional on the query's margins.

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
        Given a query's margin z_i, in standard deviations, a row at angle theta has the margin z_i cos(theta)
        + g sin(theta) with a standard normal g, so its sign differs with probability Phi(-|z_i| cot(theta)).
        A probe that flips the bits F finds it with probability prod_{i in F} Phi(-|z_i| cot theta) prod_{i
        not in F} Phi(|z_i| cot theta), and the probes of a table are mutually exclusive. Exact for each
        table; tables are independent with "gaussian", and share random numbers with "hadamard". Cost: O(n L
        P K).
        """
        cosine = np.clip(self.similarity_of(_repeated(q, x.shape[0]), x), -1, 1)
        z = np.abs(standard_margins(self._projection, q).T)
        flips = self.probe(q, n_probes)[0] ^ self.hash_query(q)[0][:, None]
        return flips_probability(z, cosine, flips)

    def native(self) -> NativeKernel:
        """The compiled kernel over the projection, for the instruction set in use."""
        return simhash_kernel(self._projection, self.dim)

    def collision_probability(self, similarity: npt.ArrayLike) -> Floats:
        """1 - arccos(cosine) / pi; a cosine outside [-1, 1] by rounding is clipped."""
        cosine = np.clip(np.asarray(similarity, np.float64), -1, 1)
        return np.asarray(1 - np.arccos(cosine) / np.pi)


def simhash_kernel(projection: Projection, dim: int) -> NativeKernel:
    """The kernel that packs the signs of a projection's margins, for rows of ``dim`` columns."""
    state = projection.state(dim)
    if isinstance(projection, Hadamard):
        scratch = lib.lsh_hadamard_scratch(state)
    else:
        scratch = lib.lsh_margins_scratch(ffi.addressof(state.shape))
    hash_address, probe_address = (
        _native.function(f"{projection.kind}_{what}") for what in ("hash", "probe")
    )
    return _native.kernel(state, hash_address, probe_address, scratch, projection)


def _repeated(q: Rows, n: int) -> Rows:
    return q[np.zeros(n, np.intp)]


def flips_probability(z: Floats, cosine: Floats, flips: Codes) -> Floats:
    """Probability (n, L) that rows at cosines (n) differ by one of the bit sets (L, P), given margins z."""
    with np.errstate(divide="ignore", invalid="ignore"):
        cotangent = cosine / np.sqrt((1 - cosine) * (1 + cosine))
        # A margin of 0 says nothing, even for the query itself, where it is 0 times infinity.
        reach = np.nan_to_num(z * cotangent[:, None, None], nan=0.0)
    stays, flipped = scipy.special.log_ndtr(reach), scipy.special.log_ndtr(-reach)
    out = np.zeros(reach.shape[:2])
    for probe in flips.T:
        bits = (probe[:, None] >> np.arange(z.shape[1], dtype=np.uint32) & np.uint32(1)).astype(bool)
        out += np.exp(np.where(bits, flipped, stays).sum(axis=2))
    return np.minimum(out, 1.0)


def probe_flips(margins: Float32, n_probes: int) -> list[int]:
    """The best codes for K margins: smallest sum of squares first; ties by the smaller set of ranks."""
    squares = margins * margins
    order = np.argsort(squares, kind="stable")
    ranked = squares[order]
    code = sum(1 << k for k in range(len(margins)) if margins[k] >= 0)
    codes = [code]
    # (score, members as ranks, score without the last member, last member)
    heap: list[tuple[np.float32, int, np.float32, int]] = [(ranked[0], 1, np.float32(0), 0)]
    while len(codes) < n_probes:
        score, members, before, last = heapq.heappop(heap)
        codes.append(code ^ sum(1 << int(k) for rank, k in enumerate(order) if members >> rank & 1))
        if (up := last + 1) < len(ranked):
            heapq.heappush(heap, (before + ranked[up], members ^ (1 << last) | (1 << up), before, up))
            heapq.heappush(heap, (score + ranked[up], members | (1 << up), score, up))
    return codes
