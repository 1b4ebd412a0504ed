"""Sign-ALSH: inner products as cosines, by powers of the norm."""

from __future__ import annotations

import attrs
import numpy as np

from lshsample.plugin import Floats, number
from lshsample_families._mips import Augmentation, BoundedFamily, BoundedSpec, powers_option

__all__ = ["SignALSH", "SignALSHSpec"]


@attrs.frozen(kw_only=True)
class SignALSHSpec(BoundedSpec):
    """Options of :class:`SignALSH`.

    Attributes
    ----------
    n_powers : int
        Number of powers of the norm that are appended, m; 2 in the paper.
    shrink : float
        The norm that ``bound`` is scaled to, U0, below 1; 0.75 in the paper.
    """

    n_powers: int = powers_option(2)
    shrink: float = attrs.field(default=0.75, validator=number(0, 1, open_low=True, open_high=True))


class SignALSH(BoundedFamily[SignALSHSpec]):
    """Sign-ALSH (Shrivastava & Li, UAI 2015, arXiv 1410.5410): inner products as cosines.

    With an upper bound U of the data rows' norms and x' = U0 x / U, a data row becomes P(x) = [x'; 1/2 -
    |x'|^2; ...; 1/2 - |x'|^(2^m)], and a query Q(q) = [q / |q|; 0; ...; 0]. The squared norm of P is m / 4 +
    |x'|^(2^(m + 1)), since all other terms cancel; so the cosine is (U0 s / U) / sqrt(m / 4 +
    |x'|^(2^(m + 1))), where s = q x / |q|.

    Parameters
    ----------
    spec : SignALSHSpec or HashFamily
        The spec: dim, n_hashes, n_tables, seed, ``inner`` (a family of similarity "cosine"), ``bound`` (U; by
        default taken from the data when tables are built), ``headroom``, ``n_powers`` (m), ``shrink`` (U0).
        Or the family to wrap, with the other options as keywords.

    Notes
    -----
    The collision probability is the wrapped family's at that cosine: exact, as a function of the inner
    product and the data row's norm. A row of norm above U is refused; a build of tables replaces a bound
    that its rows exceed.

    Cost: that of the wrapped family with dim + m columns, and two passes over the row.

    Examples
    --------
    >>> from lshsample_families.simhash import SimHash, SimHashSpec
    >>> family = SignALSH(SimHash(SimHashSpec(dim=8, n_hashes=4, n_tables=2)), bound=1.0)
    >>> family.collision_probability([1.0, 0.0], norms=[1.0, 1.0]).round(3)
    array([0.919, 0.5  ])
    """

    wraps = ("cosine",)
    why = "the inner product determines the angle of the augmented rows, whose norms differ"
    law_of_norms = True

    def _make_augmentation(self) -> Augmentation:
        spec = self.spec
        return Augmentation(spec.n_powers, spec.shrink, root=False, offset=0.5, sign=-1, query=0)

    def _inner_similarity(self, similarity: Floats, norms: Floats | None) -> Floats:
        assert norms is not None
        scale = self._scales(norms)
        last = (norms * scale) ** (2.0 ** (self._augmentation.count + 1))
        return np.clip(similarity * scale / np.sqrt(self._augmentation.count / 4 + last), -1, 1)
