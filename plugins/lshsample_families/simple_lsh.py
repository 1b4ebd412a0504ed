"""Simple-LSH: inner products as cosines, by one appended column that makes the norm of every data row 1."""

from __future__ import annotations

import numpy as np

from lshsample.plugin import Floats
from lshsample_families._mips import Augmentation, BoundedFamily, BoundedSpec, distance_or_cosine

__all__ = ["SimpleLSH"]


class SimpleLSH(BoundedFamily[BoundedSpec]):
    """Simple-LSH (Neyshabur & Srebro, ICML 2015, arXiv 1410.5518): inner products as cosines.

    With an upper bound U of the data rows' norms, a data row x becomes P(x) = [x / U; sqrt(1 - |x / U|^2)]
    and a query q becomes Q(q) = [q / |q|; 0]. Both have norm 1, and their cosine is s / U, where s = q x /
    |q| is the inner product with the unit query. Any family of similarity "cosine" or "euclidean" hashes
    them.

    Parameters
    ----------
    spec : BoundedSpec or HashFamily
        The spec: dim, n_hashes, n_tables, seed, ``inner`` (the wrapped family), ``bound`` (U; by default
        taken from the data when tables are built), ``headroom``. Or the family to wrap, with the other
        options as keywords.

    Notes
    -----
    The collision probability is the wrapped family's at the cosine s / U: over SimHash, p = 1 -
    arccos(s / U) / pi. It is exact wherever the wrapped family's is. It is a function of s alone, so a larger
    inner product is always more likely to collide; but if U is far above most norms, most cosines are near 0
    (:class:`~lshsample_families.norm_ranging.NormRanging` has a bound for each range of norms).

    A row of norm above U is refused. A build of tables takes U from its rows, unless the present bound still
    holds.

    Cost: that of the wrapped family with dim + 1 columns, and two passes over the row. (Over Hadamard
    SimHash, 2^n columns cost as much as 2^(n + 1).)

    Examples
    --------
    >>> import numpy as np
    >>> from lshsample_families.simhash import SimHash, SimHashSpec
    >>> family = SimpleLSH(SimHash(SimHashSpec(dim=8, n_hashes=4, n_tables=2)), bound=2.0)
    >>> family.collision_probability([2.0, 0.0, -2.0])
    array([1. , 0.5, 0. ])
    >>> family.hash(np.full((1, 8), 9, np.float32))
    Traceback (most recent call last):
        ...
    lshsample.errors.ArgumentError: x must be rows of norm at most the bound 2; a new build takes the bound
    from its rows (got row 0 of norm 25.4558441)
    """

    wraps = ("cosine", "euclidean")
    why = "the augmented rows have norm 1, and the inner product determines their angle"

    def _make_augmentation(self) -> Augmentation:
        return Augmentation(1, 1.0, root=True)

    def _inner_similarity(self, similarity: Floats, norms: Floats | None) -> Floats:
        return distance_or_cosine(self.inner, np.clip(similarity / self._bounds[0], -1, 1))
