"""Reductions of maximum inner product search to another similarity: what the four wrappers share.

A data row x becomes an augmented vector P(x): it is scaled so that its norm is below a limit, and columns
that are functions of its norm are appended. A query q becomes Q(q): it is scaled to norm 1, and constants
are appended. The similarity of P(x) and Q(q) is then a function of the inner product.

Norms are float64, each the sum of eight partial sums over the columns of equal number modulo 8 in ascending
order, so that dense rows, sparse rows and the compiled kernel agree bit for bit.
"""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from typing import Any, ClassVar, Self, TypeVar

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
from lshsample_families._wrapping import check_hashes_rows_as_they_are, check_similarity, of_width

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
#: The bound where all rows are zero: below every norm, so that the first nonzero row exceeds it.
_LEAST = float(np.finfo(np.float32).tiny)
#: Numbers in a block of dense rows whose norms are computed.
_BLOCK_CELLS = 1 << 21


@attrs.frozen
class Augmentation:
    """How rows are scaled, and the columns that are appended.

    Attributes
    ----------
    count : int
        Number of appended columns.
    limit : float
        The norm after scaling of a data row whose norm is the bound.
    root : bool
        The appended column is sqrt(1 - t), where t is the squared norm of the scaled row; otherwise appended
        column i is ``offset + sign * t**(2**i)``, i from 0.
    offset, sign : float
        See ``root``.
    query : float
        The value of each column that is appended to a query.
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
        The family that hashes the augmented rows: an object, text or plain data.
    headroom : float
        A bound that is taken from the data is the largest norm times this factor, at least 1: room for norms
        that grow before the next build.
    """

    inner: HashFamily = family_option("simhash")  # noqa: RUF009 - gives a field
    headroom: float = attrs.field(default=1.0, validator=number(1, 1e6))


@attrs.frozen(kw_only=True)
class BoundedSpec(MIPSSpec):
    """Options of a wrapper with one bound for all norms.

    Attributes
    ----------
    bound : float, optional
        The largest allowed norm of a data row. By default it is taken from the rows that tables are built
        from.
    """

    bound: float | None = attrs.field(
        default=None, validator=attrs.validators.optional(number(0, 1e300, open_low=True))
    )


MIPST = TypeVar("MIPST", bound=MIPSSpec)
BoundedT = TypeVar("BoundedT", bound=BoundedSpec)


class MIPSFamily(WrapperFamily[MIPST]):
    """A family for inner products over a family of another similarity.

    Parameters
    ----------
    spec : MIPSSpec or HashFamily
        The spec. Or the family to wrap, whose dim, n_hashes, n_tables and seed become the wrapper's.
    **options
        The spec's other fields, with a family to wrap.
    """

    similarity = "inner_product"
    law_of_norms = False
    #: Similarities of the families that it can wrap, and the reason.
    wraps: ClassVar[tuple[str, ...]]
    why: ClassVar[str]
    _augmentation: Augmentation

    def make_inner(self) -> HashFamily:
        """The wrapped family, with the columns of the augmented rows."""
        check_similarity(self.spec.inner, self.wraps, self.why)
        check_hashes_rows_as_they_are(self.spec.inner)
        self._augmentation = self._make_augmentation()
        return of_width(self.spec.inner, self.spec.dim + self._augmentation.count)

    @abstractmethod
    def _make_augmentation(self) -> Augmentation:
        """How rows are scaled and augmented."""

    @property
    @abstractmethod
    def edges(self) -> tuple[float, ...]:
        """Bounds of the norms, ascending; a row is scaled by the first that its norm does not exceed."""

    @abstractmethod
    def _inner_similarity(self, similarity: Floats, norms: Floats | None) -> Floats:
        """The wrapped family's similarity, from inner products with the unit query and data rows' norms."""

    @cached_property
    def _bounds(self) -> Floats:
        if not self.edges:
            raise ArgumentError(
                "bound",
                "nothing",
                f"a bound of the norms; {type(self).__name__}.prepare(vectors), which a build of tables "
                "calls, takes it from the data",
            )
        return np.array(self.edges, np.float64)

    def _scales(self, norms: Floats) -> Floats:
        """The factors of data rows; a norm above the bound is refused."""
        if norms.size and norms.max() > self._bounds[-1]:
            row = int(norms.argmax())
            raise ArgumentError(
                "x",
                f"row {row} of norm {norms[row]:.9g}",
                f"rows of norm at most the bound {self._bounds[-1]:.9g}; "
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
        """Inner products (n,) of ``q[i]``, scaled to norm 1, with ``x[i]``; 0 for a query of zeros.

        For one query, they rank data rows as the inner products with the unscaled query do.
        """
        inner, norms = HashFamily.similarity_of(self, q, x), row_norms(q)
        return np.divide(inner, norms, out=np.zeros_like(inner), where=norms > 0)

    def collision_probability(self, similarity: npt.ArrayLike, norms: npt.ArrayLike | None = None) -> Floats:
        """Probability that one hash agrees, as a function of the inner product with the unit query.

        Parameters
        ----------
        similarity : array
            Inner products of the query, scaled to norm 1, with data rows.
        norms : array, optional
            Norms of the data rows; required if ``law_of_norms`` is True.

        Returns
        -------
        float64 array

        Raises
        ------
        ArgumentError
            Norms are required but missing, or there is no bound yet.
        UnsupportedError
            The wrapped family has no collision probability.
        """
        return self.inner.collision_probability(self._law_argument(similarity, norms))

    def code_probability(self, similarity: npt.ArrayLike, norms: npt.ArrayLike | None = None) -> Floats:
        """Probability that a code agrees; see :meth:`collision_probability`."""
        return self.inner.code_probability(self._law_argument(similarity, norms))

    def _law_argument(self, similarity: npt.ArrayLike, norms: npt.ArrayLike | None) -> Floats:
        if self.law_of_norms and norms is None:
            raise ArgumentError(
                "norms", "nothing", "the norms of the data rows, which the collision probability depends on"
            )
        lengths = None if norms is None else np.asarray(norms, np.float64)
        return self._inner_similarity(np.asarray(similarity, np.float64), lengths)

    def _outgrown(self, norms: Floats) -> bool:
        return not self.edges or bool(norms.max(initial=0) > self.edges[-1])

    def _bound_of(self, norms: Floats) -> float:
        headroom: float = self.spec.headroom
        return max(float(norms.max(initial=0)) * headroom, _LEAST)

    def prepare(self, vectors: Rows) -> Self:
        """The family with a bound that holds for these rows; itself if its bound does."""
        norms = row_norms(vectors)
        return type(self)(self._refitted(norms)) if self._outgrown(norms) else self

    @abstractmethod
    def _refitted(self, norms: Floats) -> MIPST:
        """The spec with bounds that are taken from these norms."""


class BoundedFamily(MIPSFamily[BoundedT]):
    """A wrapper with one bound for all norms."""

    @property
    def edges(self) -> tuple[float, ...]:
        """The bound; empty if there is none yet."""
        return () if self.spec.bound is None else (self.spec.bound,)

    def _refitted(self, norms: Floats) -> BoundedT:
        return attrs.evolve(self.spec, bound=self._bound_of(norms))


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
    """The attrs field for the number of powers of the norm that are appended."""
    return attrs.field(default=default, validator=integer(1, 16))


def distance_or_cosine(family: HashFamily, cosine: Floats) -> Floats:
    """A wrapped family's similarity of two rows of norm 1."""
    if family.similarity == "cosine":
        return cosine
    if family.similarity != "euclidean":
        raise UnsupportedError(f"no collision probability over the similarity {family.similarity!r}")
    return np.asarray(np.sqrt(np.maximum(2 - 2 * cosine, 0)))


def row_norms(x: Rows) -> Floats:
    """Norms (n,) of rows in float64, summed in a fixed order (see above)."""
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
    """Rows times their scales, with columns appended."""
    if isinstance(x, np.ndarray):
        return np.concatenate([(x * scales[:, None]).astype(np.float32), columns], axis=1)
    counts, width = np.diff(x.indptr), columns.shape[1]
    indptr = x.indptr + width * np.arange(x.shape[0] + 1)
    given = np.ones(int(indptr[-1]), bool)
    places = (indptr[1:, None] - width + np.arange(width)).ravel()
    given[places] = False
    indices, values = np.empty(len(given), np.int32), np.empty(len(given), np.float32)
    indices[given], values[given] = x.indices, x.data * np.repeat(scales, counts)
    indices[places] = np.tile(np.arange(x.shape[1], x.shape[1] + width, dtype=np.int32), x.shape[0])
    values[places] = columns.ravel()
    out = sp.csr_array((values, indices, indptr), shape=(x.shape[0], x.shape[1] + width))
    out.has_canonical_format = True
    return out
