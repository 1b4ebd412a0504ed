"""Multi-probe: more than one bucket per table for each query, as a property of the family."""

from __future__ import annotations

from typing import Any

import attrs

from lshsample.plugin import ArgumentError, FamilySpec, HashFamily, WrapperFamily, family_option, integer

__all__ = ["MultiProbe", "MultiProbeSpec"]


@attrs.frozen(kw_only=True)
class MultiProbeSpec(FamilySpec):
    """Options of :class:`MultiProbe`.

    Attributes
    ----------
    inner : HashFamily
        The wrapped family: an object, text or plain data.
    probes : int
        Buckets per table that a query looks into.
    """

    inner: HashFamily = family_option("simhash")  # noqa: RUF009 - gives a field
    probes: int = attrs.field(default=4, validator=integer(1, 65536))


class MultiProbe(WrapperFamily[MultiProbeSpec]):
    """A family whose queries look into several buckets of each table (Lv et al., VLDB 2007).

    Its codes are those of the wrapped family. It adds the number of probes, which tables and ``Retrieve()``
    use unless another number is given.

    Parameters
    ----------
    spec : MultiProbeSpec or HashFamily
        The spec: dim, n_hashes, n_tables, seed, ``inner`` (a family that can probe), ``probes``. Or the
        family to wrap, with ``probes`` as a keyword.

    Notes
    -----
    Collision probabilities are the wrapped family's. If the wrapped family knows the probabilities P_l that a
    table's probes find a row (:meth:`probe_probability`; SimHash, E2LSH and cross-polytope do), the marginal
    inclusion probabilities of ``Retrieve()`` are exact: 1 - prod_l (1 - P_l).

    Examples
    --------
    >>> import numpy as np
    >>> from lshsample import HashTables
    >>> from lshsample_families.simhash import SimHash, SimHashSpec
    >>> family = MultiProbe(SimHash(SimHashSpec(dim=16, n_hashes=8, n_tables=4)), probes=6)
    >>> rows = np.random.default_rng(0).standard_normal((500, 16), dtype=np.float32)
    >>> tables = HashTables(family).build(rows)
    >>> len(tables.query(rows[:1]).ids) > len(tables.query(rows[:1], n_probes=1).ids)
    True
    """

    def __init__(self, spec: MultiProbeSpec | HashFamily, **options: Any) -> None:
        super().__init__(spec, **options)
        self.default_probes = self.spec.probes
        if self.spec.probes > 2**self.code_bits:
            raise ArgumentError(
                "probes", self.spec.probes, f"at most the number of codes, {2**self.code_bits}"
            )

    def make_inner(self) -> HashFamily:
        """The wrapped family, if it can probe and has no number of probes yet."""
        inner = super().make_inner()
        if not inner.can_probe or isinstance(inner, MultiProbe):
            why = "which cannot probe" if not inner.can_probe else "whose probes are set"
            raise ArgumentError("inner", f"{type(inner).__name__}, {why}", "a family that can probe")
        return inner
