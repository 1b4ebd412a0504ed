"""The probability that cross-polytope's probes find a row, conditional on the query's projections."""

from __future__ import annotations

import numpy as np
import scipy

from lshsample.plugin import Codes, Floats

__all__ = ["vertices_probability"]

#: Gauss-Legendre nodes, and the standard deviations around the largest coordinate that they cover.
_NODES, _REACH = np.polynomial.legendre.leggauss(64), 9.0
#: Values of the integrands per block.
_BLOCK = 1 << 22


def vertices_probability(z: Floats, cosine: Floats, vertices: Codes) -> Floats:
    """Probability that rows have given vertices, conditional on the query's coordinates.

    Parameters
    ----------
    z : (L, K, D) float64 array
        The query's coordinates in standard deviations.
    cosine : (n,) float64 array
        Cosines of rows with the query.
    vertices : (L, K, P) uint32 array
        Vertices 2 i + negative of each hash.

    Returns
    -------
    (n, L, K, P) float64 array

    Notes
    -----
    A row at angle theta has the coordinates z_j cos(theta) + g_j sin(theta) with independent standard normal
    g_j. It has the vertex i where that coordinate is t > 0 and all others lie within t: its probability is
    the integral over t of the density of coordinate i times the others' probabilities. The integrands are
    negligible except around the largest |z_j cos(theta)|, in units of sin(theta). Cost: O(n L K (D + P))
    times 64 nodes.
    """
    per_row = z.size * len(_NODES[0]) + vertices.size * len(_NODES[0])
    step = max(1, _BLOCK // per_row)
    parts = [_block(z, cosine[i : i + step], vertices) for i in range(0, len(cosine), step)]
    return np.concatenate(parts) if parts else np.empty((0, *vertices.shape))


def _block(z: Floats, cosine: Floats, vertices: Codes) -> Floats:
    c = cosine[:, None, None]
    # A lower limit, for rows in the direction of the query.
    s = np.maximum(np.sqrt((1 - c) * (1 + c)), 1e-14)
    means = (c / s)[..., None] * z
    largest = np.abs(means).max(axis=3)
    low = np.maximum(-largest, -_REACH)
    nodes, weights = _NODES
    # t is this far above the largest mean, all in units of s.
    beyond = low[..., None] + (_REACH - low)[..., None] * (nodes + 1) / 2
    gaps = largest[..., None] - means
    within = _log_within(beyond[..., None, :], gaps[..., None], (largest[..., None] + means)[..., None])
    index = np.broadcast_to((vertices // 2).astype(np.intp), (len(c), *vertices.shape))
    sign = np.where(vertices % 2, -1.0, 1.0)
    gap = largest[..., None] - sign * np.take_along_axis(means, index, axis=3)
    others = within.sum(axis=3)[..., None, :] - np.take_along_axis(within, index[..., None], axis=3)
    density = np.exp(others - (gap[..., None] + beyond[..., None, :]) ** 2 / 2) / np.sqrt(2 * np.pi)
    return np.asarray(density @ weights * ((_REACH - low) / 2)[..., None])


def _log_within(beyond: Floats, above: Floats, below: Floats) -> Floats:
    """Log probability that a normal number lies within +-t, ``beyond`` further than its distances to both."""
    chance = scipy.special.ndtr(above + beyond) - scipy.special.ndtr(-below - beyond)
    return np.asarray(np.log(np.maximum(chance, 1e-300)))
