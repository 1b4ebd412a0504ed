"""Multi-probe: more than one bucket of each table for each query, as a property of the family."""

from __future__ import annotations

from typing import Any, Self

import attrs
import numpy.typing as npt

from lshsample.plugin import (
    ArgumentError,
    Codes,
    FamilySpec,
    Floats,
    HashFamily,
    NativeKernel,
    Rows,
    family_option,
    integer,
)

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


class MultiProbe(HashFamily):
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
    similarity = "that of the wrapped family"
    spec: MultiProbeSpec

    def __init__(self, spec: MultiProbeSpec | HashFamily, **options: Any) -> None:
        if isinstance(spec, HashFamily):
            shape = {a: getattr(spec, a) for a in ("dim", "n_hashes", "n_tables", "seed")}
            spec = MultiProbeSpec(**shape, inner=spec, **options)
        elif options:
            raise ArgumentError("options", ", ".join(options), "none beside a spec")
        #: The wrapped family.
        self.inner = inner = spec.inner
        if not inner.can_probe or isinstance(inner, MultiProbe):
            why = "which cannot probe" if not inner.can_probe else "whose probes are set"
            raise ArgumentError("inner", f"{type(inner).__name__}, {why}", "a family that can probe")
        self.similarity, self.law_of_norms = inner.similarity, inner.law_of_norms
        self.bits_per_hash, self.independent_hashes = inner.bits_per_hash, inner.independent_hashes
        self.independent_tables, self.exact_law = inner.independent_tables, inner.exact_law
        self.default_probes = spec.probes
        super().__init__(spec)
        if spec.probes > 2**self.code_bits:
            raise ArgumentError(
                "probes", spec.probes, f"at most the {2**self.code_bits} codes that there are"
            )

    def hash(self, x: Rows) -> Codes:
        """Codes (n, n_tables) of data rows."""
        return self.inner.hash(x)

    def hash_query(self, q: Rows) -> Codes:
        """Codes (n, n_tables) of queries: the first probe of each table."""
        return self.inner.hash_query(q)

    def probe(self, q: Rows, n_probes: int) -> Codes:
        """Codes (n, n_tables, n_probes) of queries, the best first."""
        return self.inner.probe(q, n_probes)

    def native(self) -> NativeKernel | None:
        """The wrapped family's kernel."""
        return self.inner.native()

    def native_query(self) -> NativeKernel | None:
        """The wrapped family's kernel of the query side."""
        return self.inner.native_query()

    def collision_probability(self, similarity: npt.ArrayLike, norms: npt.ArrayLike | None = None) -> Floats:
        """The wrapped family's law of one hash; ``norms`` where that takes them."""
        given = () if norms is None else (norms,)
        return self.inner.collision_probability(similarity, *given)

    def code_probability(self, similarity: npt.ArrayLike, norms: npt.ArrayLike | None = None) -> Floats:
        """The wrapped family's law of a code; ``norms`` where that takes them."""
        given = () if norms is None else (norms,)
        return self.inner.code_probability(similarity, *given)

    def similarity_of(self, q: Rows, x: Rows) -> Floats:
        """The wrapped family's similarity of pairs."""
        return self.inner.similarity_of(q, x)

    def pair_probability(self, q: Rows, x: Rows) -> Floats:
        """The wrapped family's law of one hash, for pairs."""
        return self.inner.pair_probability(q, x)

    def pair_code_probability(self, q: Rows, x: Rows) -> Floats:
        """The wrapped family's law of a code, for pairs."""
        return self.inner.pair_code_probability(q, x)

    def probe_probability(self, q: Rows, x: Rows, n_probes: int) -> Floats:
        """The wrapped family's law of its probes, given the query."""
        return self.inner.probe_probability(q, x, n_probes)

    def prepare(self, vectors: Rows) -> Self:
        """The family over what the wrapped one prepares for these rows."""
        inner = self.inner.prepare(vectors)
        return self if inner is self.inner else type(self)(attrs.evolve(self.spec, inner=inner))
