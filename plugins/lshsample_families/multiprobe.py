"""Multi-probe: more than one bucket of each table for each query, as a property of the family."""

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
        The family: itself or its plain data, as ``{"family": "simhash"}``.
    probes : int
        Buckets per table that a query looks into.
    """

    inner: HashFamily = family_option("simhash")  # noqa: RUF009 - gives a field
    probes: int = attrs.field(default=4, validator=integer(1, 65536))


class MultiProbe(WrapperFamily):
    """A family whose queries look into several buckets of each table (Lv et al., VLDB 2007).

    It hashes as the wrapped family does; what it adds is the number of probes, which tables and
    ``Retrieve()`` take where they are not told another one.

    Parameters
    ----------
    spec : MultiProbeSpec or HashFamily
        The spec: dim, n_hashes, n_tables, seed, ``inner`` (a family that can probe), ``probes``. Or the
        family to wrap, with ``probes`` by name.

    Notes
    -----
    The law of one hash and of a code is the wrapped family's. The law of the probes, given the query, is
    :meth:`probe_probability` where the wrapped family has one (SimHash, E2LSH and cross-polytope do), and
    then the inclusion probabilities of ``Retrieve()`` over the draw of the functions are exact: 1 - prod_l (1
    - P_l).

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

    Spec = MultiProbeSpec

    def __init__(self, spec: MultiProbeSpec | HashFamily, **options: Any) -> None:
        super().__init__(spec, **options)
        self.default_probes = self.spec.probes
        if self.spec.probes > 2**self.code_bits:
            raise ArgumentError(
                "probes", self.spec.probes, f"at most the {2**self.code_bits} codes that there are"
            )

    def make_inner(self) -> HashFamily:
        """The wrapped family, if it can probe and has no number of probes yet."""
        inner = super().make_inner()
        if not inner.can_probe or isinstance(inner, MultiProbe):
            why = "which cannot probe" if not inner.can_probe else "whose probes are set"
            raise ArgumentError("inner", f"{type(inner).__name__}, {why}", "a family that can probe")
        return inner
