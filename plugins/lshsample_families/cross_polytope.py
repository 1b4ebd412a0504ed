"""Cross-polytope hashing: the vertex of a randomly rotated cross-polytope that is nearest to a row."""

from __future__ import annotations

from functools import cache, cached_property

import attrs
import numpy as np
import numpy.typing as npt
import scipy

from lshsample.plugin import Codes, Floats, HashFamily, NativeKernel, Rows, integer, one_of
from lshsample_families import _native
from lshsample_families._kernels import ffi, lib
from lshsample_families._probing import best_codes, digits
from lshsample_families._projections import (
    ProjectingSpec,
    Projection,
    claims_of,
    draw_projection,
    standard_margins,
)
from lshsample_families._vertex_law import vertices_probability

__all__ = ["CrossPolytope", "CrossPolytopeSpec"]

_DIMENSIONS = (2, 4, 8, 16, 32, 64, 128, 256)


@attrs.frozen(kw_only=True)
class CrossPolytopeSpec(ProjectingSpec):
    """Options of :class:`CrossPolytope`.

    Attributes
    ----------
    dimension : int
        Dimension of the cross-polytope, D: a power of two from 2 to 256. It has 2 D vertices, so a hash has
        1 + log2 D bits.
    """

    n_hashes: int = attrs.field(default=2, validator=integer(1, 16))
    dimension: int = attrs.field(default=16, validator=one_of(*_DIMENSIONS))


class CrossPolytope(HashFamily[CrossPolytopeSpec]):
    """Cross-polytope hashing (Andoni, Indyk, Laarhoven, Razenshteyn & Schmidt, NIPS 2015, arXiv 1509.02897).

    A hash is the index of the largest in magnitude of D random normal projections of the row, with its sign:
    the nearest vertex of a randomly rotated cross-polytope. A row of zeros has the code 0.

    Parameters
    ----------
    spec : CrossPolytopeSpec
        dim, n_hashes (K), n_tables (L), seed, dimension (D; K (1 + log2 D) is at most 32), projection,
        density.

    Notes
    -----
    The projections of two rows of cosine rho are D independent pairs of normal numbers of correlation rho, so
    one hash agrees with probability 2 D E[F(u, v)^(D-1); u, v > 0], where F(u, v) is the probability that a
    pair lies within (u, v) in magnitude. It has no closed form: it is integrated numerically once for each D,
    at 65 angles, and interpolated by a polynomial of the angle (error below 2e-6). With D = 2 it is (1 -
    theta/pi)^2; with D large, D^(-tan^2(theta/2)) up to factors that grow slower than powers of D.

    This, and p^K for a code, is exact with "hadamard" and "gaussian", whose K L D directions are normal. With
    "hadamard" the projections of a code are independent; only different tables share random numbers. With
    "sparse" it holds for rows of many entries of similar size.

    Cost: that of SimHash with K D hashes in a code, and K L D comparisons.

    Examples
    --------
    >>> import numpy as np
    >>> family = CrossPolytope(CrossPolytopeSpec(dim=8, dimension=4, n_tables=3))
    >>> family.collision_probability([1.0, 0.0, -1.0]).round(6), family.code_bits
    (array([1.   , 0.125, 0.   ]), 6)
    """

    similarity = "cosine"

    def __init__(self, spec: CrossPolytopeSpec) -> None:
        self.bits_per_hash = spec.dimension.bit_length()
        self.independent_tables, self.exact_law = claims_of(spec.projection)
        super().__init__(spec)

    @cached_property
    def _projection(self) -> Projection:
        return draw_projection(self.spec, self.n_hashes * self.spec.dimension)

    def margins(self, x: Rows) -> npt.NDArray[np.float32]:
        """Projections (n, K, D, L) of rows, up to a positive factor for each row."""
        shape = x.shape[0], self.n_hashes, self.spec.dimension, self.n_tables
        return self._projection.margins(x).reshape(shape)

    def hash(self, x: Rows) -> Codes:
        """Codes (n, n_tables) of rows."""
        codes = np.zeros((x.shape[0], self.n_tables), np.uint32)
        block = max(1, (1 << 22) // (self.n_hashes * self.spec.dimension * self.n_tables))
        for start in range(0, x.shape[0], block):
            margins = self.margins(x[start : start + block])
            nearest = np.abs(margins).argmax(axis=2)[:, :, None]
            negative = np.take_along_axis(margins, nearest, axis=2) < 0
            vertices = (2 * nearest + negative)[:, :, 0].astype(np.uint32)
            for k in range(self.n_hashes):
                codes[start : start + block] |= vertices[:, k] << np.uint32(k * self.bits_per_hash)
        return codes

    def probe(self, q: Rows, n_probes: int) -> Codes:
        """Codes (n, n_tables, n_probes) of the nearest vertices of each row, in ascending order of cost.

        The cost of a code is the sum over its hashes of the squared difference between the largest projection
        and that of the vertex, so the next largest coordinates come first (Andoni et al., 2015).
        """
        codes = np.empty((q.shape[0], self.n_tables, n_probes), np.uint32)
        values = 2 * self.spec.dimension
        block = max(1, (1 << 20) // (self.n_hashes * values * self.n_tables))
        for start in range(0, q.shape[0], block):
            rows = q[start : start + block]
            margins = self.margins(rows).transpose(0, 3, 1, 2).astype(np.float64)
            signed = np.stack([margins, -margins], axis=-1).reshape(-1, self.n_hashes, values)
            order = np.argsort(-signed, axis=2, kind="stable")[..., :n_probes]
            coordinates = np.take_along_axis(signed, order, axis=2)
            costs = np.square(coordinates[..., :1] - coordinates)
            found = best_codes(order.astype(np.uint32), costs, self.bits_per_hash, n_probes)
            codes[start : start + block] = found.reshape(-1, self.n_tables, n_probes)
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
        Given the query's margins z_j of a hash, in standard deviations, a row at angle theta has the margins
        z_j cos(theta) + g_j sin(theta) with independent standard normal g_j. The probability of a vertex is
        one integral (64 nodes, error below 1e-7). A probe finds the row with the product over its hashes,
        and the probes of a table are mutually exclusive. Exact for each table; tables are independent with
        "gaussian", and nearly so with "hadamard". Cost: O(n L K (D + P)) times 64.
        """
        cosine = np.clip(self.similarity_of(q[np.zeros(x.shape[0], np.intp)], x), -1, 1)
        z = standard_margins(self._projection, q).reshape(self.n_hashes, self.spec.dimension, self.n_tables)
        vertices = digits(self.probe(q, n_probes)[0], self.n_hashes, self.bits_per_hash).transpose(0, 2, 1)
        chances = vertices_probability(z.transpose(2, 0, 1), cosine, vertices)
        return np.asarray(np.minimum(chances.prod(axis=2).sum(axis=2), 1.0))

    def native(self) -> NativeKernel:
        """The compiled kernel over the projection, for the instruction set in use."""
        projection = self._projection
        shape = self.n_hashes, self.n_tables, self.spec.dimension, self.bits_per_hash
        state = ffi.new("lsh_vertex_state *", shape)
        projected = projection.state(self.dim)
        setattr(state, projection.kind, projected)
        return _native.kernel(
            state,
            _native.function(f"vertex_{projection.kind}"),
            _native.function(f"vertex_{projection.kind}_probe"),
            lib.lsh_vertex_scratch(state),
            projected,
            projection,
        )

    def collision_probability(self, similarity: npt.ArrayLike) -> Floats:
        """Probability that a hash agrees at a cosine, interpolated from the table of the dimension."""
        angles = np.arccos(np.clip(np.asarray(similarity, np.float64), -1, 1))
        nodes, values, weights = _table(self.spec.dimension)
        return np.clip(_interpolated(angles, nodes, values, weights), 0, 1)


#: Angles of the table: Chebyshev points of the second kind on [0, pi], 0 and pi included.
_N_ANGLES = 65


@cache
def _table(dimension: int) -> tuple[Floats, Floats, Floats]:
    """(angles, collision probabilities, barycentric weights) of a dimension."""
    steps = np.arange(_N_ANGLES)
    angles = np.pi / 2 * (1 - np.cos(np.pi * steps / (_N_ANGLES - 1)))
    values = np.array([1.0, *(_law_at(angle, dimension) for angle in angles[1:-1]), 0.0])
    weights = np.where(steps % 2, -1.0, 1.0)
    weights[[0, -1]] /= 2
    return angles, values, weights


def _interpolated(x: Floats, nodes: Floats, values: Floats, weights: Floats) -> Floats:
    """The polynomial through the values, barycentric (Berrut & Trefethen, SIAM Review 2004)."""
    distances = x[..., None] - nodes
    at_node = np.abs(distances) < 1e-14
    terms = weights / np.where(at_node, 1, distances)
    between = (terms * values).sum(axis=-1) / terms.sum(axis=-1)
    return np.asarray(np.where(at_node.any(axis=-1), (at_node * values).sum(axis=-1), between))


def _law_at(angle: float, dimension: int) -> float:
    """The collision probability at an angle inside (0, pi).

    By Gauss-Legendre quadrature over s = (u + v) / 2 cos, t = (v - u) / 2 sin.

    With the half angle's cosine and sine, s and t are independent standard normal numbers, and u, v > 0 means
    |t| tan < s; the integrand is even in t.
    """
    cos, sin = np.cos(angle / 2), np.sin(angle / 2)
    points, weights = np.polynomial.legendre.leggauss(64)
    points, weights = (points + 1) / 2, weights / 2
    s, s_weights = 9 * points, 9 * weights
    t_end = np.minimum(9, s * cos / sin)
    t, t_weights = t_end[:, None] * points, t_end[:, None] * weights
    u, v = cos * s[:, None] - sin * t, cos * s[:, None] + sin * t
    density = np.exp(-(s[:, None] ** 2 + t**2) / 2) / (2 * np.pi)
    inside = _within(u, v, np.cos(angle), np.sin(angle)) ** (dimension - 1)
    return float(4 * dimension * (density * inside * t_weights * s_weights[:, None]).sum())


def _within(u: Floats, v: Floats, rho: float, sigma: float) -> Floats:
    """P(|U| <= u, |V| <= v) of normal U, V of correlation rho, for u, v > 0, by Owen's T function."""
    u, v = np.maximum(u, 1e-300), np.maximum(v, 1e-300)
    ndtr, owens_t = scipy.special.ndtr, scipy.special.owens_t

    def below(r: float) -> Floats:
        first, second = owens_t(u, (v - r * u) / (u * sigma)), owens_t(v, (u - r * v) / (v * sigma))
        return np.asarray((ndtr(u) + ndtr(v)) / 2 - first - second)

    return np.clip(2 * (below(rho) + below(-rho)) + 1 - 2 * (ndtr(u) + ndtr(v)), 0, 1)
