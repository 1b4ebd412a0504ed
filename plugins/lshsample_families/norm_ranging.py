"""Norm-ranging LSH: Simple-LSH with a separate bound for each range of norms."""

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
        Number of ranges of norms that a build divides its rows into, with equally many rows in each.
    edges : tuple of float
        The upper ends of the ranges, ascending; by default taken from the rows that tables are built from.
    """

    n_ranges: int = attrs.field(default=32, validator=integer(1, 4096))
    edges: tuple[float, ...] = attrs.field(default=(), converter=_edges)


class NormRanging(MIPSFamily[NormRangingSpec]):
    """Norm-ranging LSH (Yan et al., NeurIPS 2018, arXiv 1809.08782).

    The rows are partitioned by norm into ranges of equal size. A row x in range j, whose largest norm is U_j,
    becomes P(x) = [x / U_j; sqrt(1 - |x / U_j|^2)], and a query Q(q) = [q / |q|; 0]. So a few rows of large
    norm do not reduce the cosines of all others to nearly 0.

    Parameters
    ----------
    spec : NormRangingSpec or HashFamily
        The spec: dim, n_hashes, n_tables, seed, ``inner`` (the wrapped family), ``n_ranges``, ``edges`` (the
        U_j; by default taken from the data when tables are built), ``headroom``. Or the family to wrap, with
        the other options as keywords.

    Notes
    -----
    The collision probability is the wrapped family's at the cosine s / U_j, where s = q x / |q| and j is the
    range of |x|: a function of the inner product and the data row's norm. All ranges share the hash functions
    and the tables, so one code looks up a query in all of them. The published index has a table for each
    range and ranks the ranges by U_j and the number of bits that agree; that changes the order of the
    search, not the collision probability.

    Within a range, a larger inner product is more likely to collide; between ranges it need not be. Rows of
    small norm are found more often than others with the same inner product. Inclusion probabilities account
    for it; a search ranks its candidates by true inner products, or filters them by AtLeast().

    A row of norm above the last edge is refused. A build of tables keeps edges that its rows do not exceed.

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

    wraps = ("cosine", "euclidean")
    why = "the augmented rows have norm 1, and the inner product determines their angle"
    law_of_norms = True

    def _make_augmentation(self) -> Augmentation:
        return Augmentation(1, 1.0, root=True)

    @property
    def edges(self) -> tuple[float, ...]:
        """The upper ends of the ranges of norms; empty if there are none yet."""
        edges: tuple[float, ...] = self.spec.edges
        return edges

    def _inner_similarity(self, similarity: Floats, norms: Floats | None) -> Floats:
        assert norms is not None
        cosine = similarity * self._scales(norms)
        return distance_or_cosine(self.inner, np.clip(cosine, -1, 1))

    def _refitted(self, norms: Floats) -> NormRangingSpec:
        spec = self.spec
        ranks = np.arange(1, spec.n_ranges) / spec.n_ranges
        last = self._bound_of(norms)
        # Edges are norms of rows, so that scaled norms are as large as possible.
        inner: Floats = np.quantile(norms, ranks, method="inverted_cdf") if len(norms) else ranks[:0]
        edges = sorted({float(edge) for edge in inner if 0 < edge < last} | {last})
        return attrs.evolve(spec, edges=tuple(edges))
