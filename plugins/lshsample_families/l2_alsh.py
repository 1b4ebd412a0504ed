"""L2-ALSH: inner products as distances, by powers of the norm."""

from __future__ import annotations

import attrs
import numpy as np

from lshsample.plugin import Floats, HashFamily, family_option, number
from lshsample_families._mips import Augmentation, BoundedFamily, BoundedSpec, powers_option

__all__ = ["L2ALSH", "L2ALSHSpec"]


@attrs.frozen(kw_only=True)
class L2ALSHSpec(BoundedSpec):
    """Options of :class:`L2ALSH`.

    Attributes
    ----------
    inner : HashFamily
        A family of similarity "euclidean"; in the paper "e2lsh" of width 2.5.
    n_powers : int
        Number of powers of the norm that are appended, m; 3 in the paper.
    shrink : float
        The norm that ``bound`` is scaled to, U0, below 1; 0.83 in the paper.
    """

    inner: HashFamily = family_option("e2lsh", width=2.5)  # noqa: RUF009 - gives a field
    n_powers: int = powers_option(3)
    shrink: float = attrs.field(default=0.83, validator=number(0, 1, open_low=True, open_high=True))


class L2ALSH(BoundedFamily[L2ALSHSpec]):
    """L2-ALSH (Shrivastava & Li, NIPS 2014, arXiv 1405.5869): inner products as Euclidean distances.

    With an upper bound U of the data rows' norms and x' = U0 x / U, a data row becomes P(x) = [x'; |x'|^2;
    |x'|^4; ...; |x'|^(2^m)], and a query Q(q) = [q / |q|; 1/2; ...; 1/2]. Then |P - Q|^2 = 1 + m / 4 -
    2 U0 s / U + |x'|^(2^(m + 1)), where s = q x / |q|, and the last term vanishes as m grows.

    Parameters
    ----------
    spec : L2ALSHSpec or HashFamily
        The spec: dim, n_hashes, n_tables, seed, ``inner`` (a family of similarity "euclidean"), ``bound``
        (U; by default taken from the data when tables are built), ``headroom``, ``n_powers`` (m), ``shrink``
        (U0). Or the family to wrap, with the other options as keywords.

    Notes
    -----
    The collision probability is the wrapped family's at the distance |P - Q|: exact, as a function of the
    inner product and the data row's norm. A row of norm above U is refused; a build of tables replaces a
    bound that its rows exceed.

    Cost: that of the wrapped family with dim + m columns, and two passes over the row.

    Examples
    --------
    >>> from lshsample.registry import make_family
    >>> family = make_family("l2-alsh", dim=8, n_hashes=4, n_tables=2, bound=1.0)
    >>> p = family.collision_probability([0.9, 0.0], norms=[1.0, 1.0])
    >>> bool(p[0] > p[1])
    True
    """

    wraps = ("euclidean",)
    why = "the inner product determines the distance of the augmented rows"
    law_of_norms = True

    def _make_augmentation(self) -> Augmentation:
        spec = self.spec
        return Augmentation(spec.n_powers, spec.shrink, root=False, offset=0, sign=1, query=0.5)

    def _inner_similarity(self, similarity: Floats, norms: Floats | None) -> Floats:
        assert norms is not None
        scale = self._scales(norms)
        last = (norms * scale) ** (2.0 ** (self._augmentation.count + 1))
        squared = 1 + self._augmentation.count / 4 - 2 * similarity * scale + last
        return np.asarray(np.sqrt(np.maximum(squared, 0)))
