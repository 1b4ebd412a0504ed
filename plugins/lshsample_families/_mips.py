"""What the wrappers for maximum inner product search share: bounded norms, and rows made longer on two sides.

Each wraps a family of another similarity. A data row is scaled so that its norm is below a limit and gets
further columns that are functions of its norm; a query is scaled to norm 1 and gets constants. The inner
product then decides the similarity of the two longer rows.

Norms are sums in float64 of eight partial sums, over columns of equal number modulo 8 in ascending order, so
that dense rows, sparse rows and the compiled kernel agree bit for bit.
"""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from typing import Any, ClassVar, Self

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample.plugin import (
    ArgumentError,
    Codes,
    FamilySpec,
    Floats,
    HashFamily,
    NativeKernel,
    Rows,
    UnsupportedError,
    WrapperFamily,
    family_option,
    integer,
    number,
)
from lshsample_families import _native
from lshsample_families._kernels import ffi, lib

__all__ = [
    "Augmentation",
    "BoundedFamily",
    "BoundedSpec",
    "MIPSFamily",
    "MIPSSpec",
    "augmented",
    "distance_or_cosine",
    "mips_kernel",
    "powers_option",
    "row_norms",
]

Float32 = npt.NDArray[np.float32]

_LANES = 8
#: The bound of rows that are all zero: below every other one, so that the first real row outgrows it.
_LEAST = float(np.finfo(np.float32).tiny)
#: Bytes of a dense block that the norms are computed from.
_BLOCK_CELLS = 1 << 21


@attrs.frozen
class Augmentation:
    """How rows are scaled, and what is put behind their columns.

    Attributes
    ----------
    count : int
        Columns that are appended.
    limit : float
        The norm that a data row at the bound is scaled to.
    root : bool
        The one column is sqrt(1 - t), where t is the squared norm of the scaled row; else column i is
        ``offset + sign * t**(2**i)``, i from 0.
    offset, sign : float
        As said.
    query : float
        What each column of a query is.
    """

    count: int
    limit: float
    root: bool = False
    offset: float = 0.0
    sign: float = 0.0
    query: float = 0.0


@attrs.frozen(kw_only=True)
class MIPSSpec(FamilySpec):
    """Options of every wrapper for inner products.

    Attributes
    ----------
    inner : HashFamily
        The family that hashes the longer rows: itself or its plain data, as ``{"family": "simhash"}``.
    headroom : float
        A norm bound that is taken from data is the largest norm times so much, at least 1: room for rows that
        grow before the next build.
    """

    inner: HashFamily = family_option("simhash")  # noqa: RUF009 - gives a field
    headroom: float = attrs.field(default=1.0, validator=number(1, 1e6))


@attrs.frozen(kw_only=True)
class BoundedSpec(MIPSSpec):
    """Options of a wrapper with one bound of the norms.

    Attributes
    ----------
    bound : float, optional
        The largest norm of a data row. Without it, it is taken from the rows when tables are built.
    """

    bound: float | None = attrs.field(
        default=None, validator=attrs.validators.optional(number(0, 1e300, open_low=True))
    )


class MIPSFamily(WrapperFamily):
    """A family of inner products over a family of another similarity: the base of the four wrappers.

    Parameters
    ----------
    spec : MIPSSpec or HashFamily
        The spec; or the family to wrap, whose dim, n_hashes, n_tables and seed become the wrapper's.
    **options
        The wrapper's own options, with a family.
    """

    similarity = "inner_product"
    law_of_norms = False
    #: Similarities of families that it can wrap, and why no others.
    wraps: ClassVar[tuple[str, ...]]
    why: ClassVar[str]
    _augmentation: Augmentation

    def make_inner(self) -> HashFamily:
        """The wrapped family, over the augmented rows."""
        template = self.spec.inner
        if template.similarity not in self.wraps:
            raise ArgumentError(
                "inner",
                f"{type(template).__name__}, a family of similarity {template.similarity!r}",
                f"a family of {' or '.join(self.wraps)} similarity: {self.why}",
            )
        self._augmentation = self._make_augmentation()
        wide = attrs.evolve(template.spec, dim=self.spec.dim + self._augmentation.count)
        inner: HashFamily = type(template)(wide)
        return inner

    @abstractmethod
    def _make_augmentation(self) -> Augmentation:
        """How rows are scaled and augmented."""

    @property
    @abstractmethod
    def edges(self) -> tuple[float, ...]:
        """Bounds of the norms, ascending; a row is scaled by the first that it does not exceed."""

    @abstractmethod
    def _inner_similarity(self, similarity: Floats, norms: Floats | None) -> Floats:
        """The wrapped family's similarity, of the inner product with the unit query, and the data's norm."""

    @cached_property
    def _bounds(self) -> Floats:
        if not self.edges:
            raise ArgumentError(
                "bound",
                "nothing",
                f"a bound of the norms: {type(self).__name__}.prepare(vectors) takes it from the data, and "
                "building tables does",
            )
        return np.array(self.edges, np.float64)

    def _scales(self, norms: Floats) -> Floats:
        """What data rows are multiplied with; a norm beyond the bound is refused."""
        if norms.size and norms.max() > self._bounds[-1]:
            row = int(norms.argmax())
            raise ArgumentError(
                "x",
                f"a row of norm {norms[row]:.9g} (row {row})",
                f"norms of at most the bound {self._bounds[-1]:.9g}; "
                "a new build takes the bound from its rows",
            )
        return np.asarray(
            self._augmentation.limit / self._bounds[np.searchsorted(self._bounds, norms, side="left")]
        )

    def transform(self, x: Rows) -> Rows:
        """Data rows P(x) as the wrapped family hashes them, (n, dim + count)."""
        norms, added = row_norms(x), self._augmentation
        scales = self._scales(norms)
        scaled = norms * scales
        squares, columns = scaled * scaled, np.empty((x.shape[0], added.count))
        if added.root:
            columns[:, 0] = np.sqrt(np.maximum(1 - squares, 0))
        else:
            for column in columns.T:
                column[:] = added.offset + added.sign * squares
                squares = squares * squares
        return augmented(x, scales, columns.astype(np.float32))

    def transform_query(self, q: Rows) -> Rows:
        """Queries Q(q) as the wrapped family hashes them, (n, dim + count)."""
        norms, added = row_norms(q), self._augmentation
        scales = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
        return augmented(q, scales, np.full((q.shape[0], added.count), added.query, np.float32))

    def hash(self, x: Rows) -> Codes:
        """Codes (n, n_tables) of data rows; a row whose norm exceeds the bound is refused."""
        self._scales(row_norms(x))  # all rows, so that an error names the row by its number among them
        return super().hash(x)

    def native(self) -> NativeKernel | None:
        """The compiled kernel: augments blocks of rows and calls the wrapped family's kernel."""
        kernel = self.inner.native()
        return kernel and mips_kernel(self.spec, self._augmentation, self._bounds, kernel, query=False)

    def native_query(self) -> NativeKernel | None:
        """The compiled kernel of the query side."""
        kernel = self.inner.native_query()
        no_bounds = np.empty(0, np.float64)
        return kernel and mips_kernel(self.spec, self._augmentation, no_bounds, kernel, query=True)

    def similarity_of(self, q: Rows, x: Rows) -> Floats:
        """Inner products (n,) of ``q[i]`` scaled to norm 1 with ``x[i]``; 0 for a query of zeros.

        The order of data rows under a query is the same as by the plain inner product.
        """
        inner, norms = HashFamily.similarity_of(self, q, x), row_norms(q)
        return np.divide(inner, norms, out=np.zeros_like(inner), where=norms > 0)

    def collision_probability(self, similarity: npt.ArrayLike, norms: npt.ArrayLike | None = None) -> Floats:
        """Probability that one hash agrees, by the inner product with the unit query.

        Parameters
        ----------
        similarity : array
            Inner products of the query, scaled to norm 1, with data rows.
        norms : array, optional
            Norms of the data rows, which the law of some wrappers needs.

        Returns
        -------
        float64 array

        Raises
        ------
        ArgumentError
            The law needs norms, or there is no bound yet.
        UnsupportedError
            The wrapped family has no law.
        """
        return self.inner.collision_probability(self._law_argument(similarity, norms))

    def code_probability(self, similarity: npt.ArrayLike, norms: npt.ArrayLike | None = None) -> Floats:
        """Probability that a whole code agrees; as :meth:`collision_probability`."""
        return self.inner.code_probability(self._law_argument(similarity, norms))

    def _law_argument(self, similarity: npt.ArrayLike, norms: npt.ArrayLike | None) -> Floats:
        if self.law_of_norms and norms is None:
            raise ArgumentError("norms", "nothing", "the norms of the data rows: the law is one of both")
        lengths = None if norms is None else np.asarray(norms, np.float64)
        return self._inner_similarity(np.asarray(similarity, np.float64), lengths)

    def _outgrown(self, norms: Floats) -> bool:
        return not self.edges or bool(norms.max(initial=0) > self.edges[-1])

    def _bound_of(self, norms: Floats) -> float:
        headroom: float = self.spec.headroom
        return max(float(norms.max(initial=0)) * headroom, _LEAST)

    def prepare(self, vectors: Rows) -> Self:
        """The family with a bound that holds for these rows: itself where the one that it has does."""
        norms = row_norms(vectors)
        return type(self)(self._refitted(norms)) if self._outgrown(norms) else self

    @abstractmethod
    def _refitted(self, norms: Floats) -> MIPSSpec:
        """The spec with bounds for rows of these norms."""


class BoundedFamily(MIPSFamily):
    """A wrapper with one bound of the norms."""

    @property
    def edges(self) -> tuple[float, ...]:
        """The bound, if there is one."""
        return () if self.spec.bound is None else (self.spec.bound,)

    def _refitted(self, norms: Floats) -> MIPSSpec:
        spec: MIPSSpec = attrs.evolve(self.spec, bound=self._bound_of(norms))
        return spec


def mips_kernel(
    spec: FamilySpec, added: Augmentation, bounds: Floats, inner: NativeKernel, *, query: bool
) -> NativeKernel:
    """The kernel of one side of a wrapper, over the wrapped family's kernel."""
    state = ffi.new("lsh_mips_state *")
    state.dim, state.n_tables, state.n_added, state.query = spec.dim, spec.n_tables, added.count, query
    state.root, state.offset, state.sign, state.query_value = (
        added.root,
        added.offset,
        added.sign,
        added.query,
    )
    state.limit, state.n_bounds = added.limit, len(bounds)
    state.bounds = _native.pointer("double *", bounds)
    state.hash, state.probe, state.state = inner.hash, inner.probe, ffi.cast("void *", inner.state)
    probe = lib.lsh_mips_function(1) if inner.probe else 0
    kernel = _native.kernel(state, lib.lsh_mips_function(0), probe, inner.scratch_bytes, bounds, inner)
    # The wrapped kernel may come from another plugin, compiled against another header.
    return attrs.evolve(kernel, abi_version=inner.abi_version)


def powers_option(default: int) -> Any:
    """The attrs field of how many powers of the norm are appended."""
    return attrs.field(default=default, validator=integer(1, 16))


def distance_or_cosine(family: HashFamily, cosine: Floats) -> Floats:
    """A wrapped family's similarity of two rows of norm 1."""
    if family.similarity == "cosine":
        return cosine
    if family.similarity != "euclidean":
        raise UnsupportedError(f"no law over the similarity {family.similarity!r}")
    return np.asarray(np.sqrt(np.maximum(2 - 2 * cosine, 0)))


def row_norms(x: Rows) -> Floats:
    """Norms (n,) of rows in float64, summed in a fixed order."""
    lanes = np.zeros((x.shape[0], _LANES))
    if isinstance(x, np.ndarray):
        block = max(1, _BLOCK_CELLS // max(1, x.shape[1]))
        for start in range(0, x.shape[0], block):
            _add_dense(x[start : start + block], lanes[start : start + block])
    else:
        rows = np.repeat(np.arange(x.shape[0]), np.diff(x.indptr))
        values = x.data.astype(np.float64)
        np.add.at(lanes, (rows, x.indices % _LANES), values * values)
    for half in (4, 2, 1):
        lanes = lanes[:, :half] + lanes[:, half:]
    return np.sqrt(lanes[:, 0])


def _add_dense(x: Float32, lanes: Floats) -> None:
    for begin in range(0, x.shape[1], _LANES):
        part = x[:, begin : begin + _LANES].astype(np.float64)
        lanes[:, : part.shape[1]] += part * part


def augmented(x: Rows, scales: Floats, columns: Float32) -> Rows:
    """Rows times their scales, with further columns."""
    if isinstance(x, np.ndarray):
        return np.concatenate([(x * scales[:, None]).astype(np.float32), columns], axis=1)
    counts, width = np.diff(x.indptr), columns.shape[1]
    indptr = x.indptr + width * np.arange(x.shape[0] + 1)
    out = sp.csr_array((x.shape[0], x.shape[1] + width), dtype=np.float32)
    given = np.ones(int(indptr[-1]), bool)
    places = (indptr[1:, None] - width + np.arange(width)).ravel()
    given[places] = False
    out.indptr = indptr
    out.indices, out.data = np.empty(len(given), np.int32), np.empty(len(given), np.float32)
    out.indices[given], out.data[given] = x.indices, x.data * np.repeat(scales, counts)
    out.indices[places] = np.tile(np.arange(x.shape[1], x.shape[1] + width, dtype=np.int32), x.shape[0])
    out.data[places] = columns.ravel()
    out.has_canonical_format = True
    return out
