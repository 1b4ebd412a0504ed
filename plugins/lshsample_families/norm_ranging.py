"""Norm-ranging LSH: Simple-LSH with a bound of its own for each range of norms."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs
import numpy as np

from lshsample.plugin import ArgumentError, Floats, integer
from lshsample_families._mips import Augmentation, MIPSFamily, MIPSSpec, distance_or_cosine

__all__ = ["NormRanging", "NormRangingSpec"]


def _edges(value: Any) -> tuple[float, ...]:
    listed = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else (value,)
    sound = all(isinstance(edge, (int, float)) and not isinstance(edge, bool) for edge in listed)
    if not sound or not all(a < b for a, b in zip((0, *listed), (*listed, 1e300), strict=True)):
        raise ArgumentError("edges", repr(value), "ascending, positive, finite numbers")
    return tuple(float(edge) for edge in listed)


@attrs.frozen(kw_only=True)
class NormRangingSpec(MIPSSpec):
    """Options of :class:`NormRanging`.

    Attributes
    ----------
    n_ranges : int
        Ranges of norms that a build divides its rows into, as many rows in each.
    edges : tuple of float
        The upper ends of the ranges, ascending; empty until rows are seen.
    """

    n_ranges: int = attrs.field(default=32, validator=integer(1, 4096))
    edges: tuple[float, ...] = attrs.field(default=(), converter=_edges)


class NormRanging(MIPSFamily):
    """Norm-ranging LSH (Yan et al., NeurIPS 2018, arXiv 1809.08782).

    The rows are divided by norm into ranges of equal size; a row x in range j, whose largest norm is U_j,
    becomes P(x) = [x / U_j; sqrt(1 - |x / U_j|^2)], and a query Q(q) = [q / |q|; 0]. A long tail of a few
    large norms then does not press the cosines of all others to 0.

    Parameters
    ----------
    spec : NormRangingSpec or HashFamily
        The spec: dim, n_hashes, n_tables, seed, ``inner`` (the wrapped family), ``n_ranges``, ``edges`` (the
        U_j; without them, taken from the data when tables are built), ``headroom``. Or the family to wrap,
        with the other options by name.

    Notes
    -----
    The law is the wrapped family's at the cosine s / U_j, where s = q x / |q| and j is the range of |x|: a
    function of the inner product and the data row's norm. All ranges share the hash functions and the tables,
    so that one code looks a query up in all of them; the published index keeps a table for each range and
    ranks them by U_j and the bits that agree, which is a matter of search order and not of the law.

    A larger inner product is more likely to collide within a range, but not always across two. Rows in a
    range of small norms are found more often than their inner products alone would have them; the inclusion
    probabilities say how often, and AtLeast() or a ranking by true inner products sorts them out.

    A row longer than the last edge is refused; edges are kept by a build whose rows do not exceed them.

    Examples
    --------
    >>> import numpy as np
    >>> from lshsample_families.simhash import SimHash, SimHashSpec
    >>> rows = np.diag(np.arange(1, 9)).astype(np.float32)
    >>> family = NormRanging(SimHash(SimHashSpec(dim=8, n_hashes=4, n_tables=2)), n_ranges=4)
    >>> family = family.prepare(rows)
    >>> family.edges
    (2.0, 4.0, 6.0, 8.0)
    >>> family.collision_probability([1.0, 1.0], norms=[2.0, 8.0]).round(3)
    array([0.667, 0.54 ])
    """

    Spec = NormRangingSpec
    wraps = ("cosine", "euclidean")
    why = "the longer rows have norm 1, and only their angle says what the inner product was"
    law_of_norms = True

    def _make_augmentation(self) -> Augmentation:
        return Augmentation(1, 1.0, root=True)

    @property
    def edges(self) -> tuple[float, ...]:
        """The upper ends of the ranges of norms; none before rows were seen."""
        edges: tuple[float, ...] = self.spec.edges
        return edges

    def _inner_similarity(self, similarity: Floats, norms: Floats | None) -> Floats:
        assert norms is not None
        cosine = similarity * self._scales(norms)
        return distance_or_cosine(self.inner, np.clip(cosine, -1, 1))

    def _refitted(self, norms: Floats) -> MIPSSpec:
        spec: NormRangingSpec = self.spec
        ranks = np.arange(1, spec.n_ranges) / spec.n_ranges
        last = self._bound_of(norms)
        # An edge is a norm of the data, so that as many rows as possible have a scaled norm near 1.
        inner: Floats = np.quantile(norms, ranks, method="inverted_cdf") if len(norms) else ranks[:0]
        edges = sorted({float(edge) for edge in inner if 0 < edge < last} | {last})
        return attrs.evolve(spec, edges=tuple(edges))
