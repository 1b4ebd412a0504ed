"""Centering: rows and queries minus a mean, hashed by any family of a geometric similarity."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Self

import attrs
import numpy as np
import numpy.typing as npt

from lshsample.plugin import (
    ArgumentError,
    FamilySpec,
    HashFamily,
    NativeKernel,
    Rows,
    WrapperFamily,
    checked_rows,
    dense_rows,
    family_option,
)
from lshsample_families import _native
from lshsample_families._kernels import ffi, lib
from lshsample_families._learned import as_numbers, as_text, short_text
from lshsample_families._wrapping import check_similarity, of_width

__all__ = ["Centered", "CenteredSpec"]

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

#: Floats of the buffer of centred rows: 256 KiB, or one row.
_BUFFER = 1 << 16
#: Rows that the wrapped kernels work on together, at most: more do not stay in the cache.
_MOST_ROWS = 16
_LANES = 8
#: A mean holds while rows have moved by at most this part of their mean squared distance from their own mean.
_MOVED = 0.04


def _exact(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, bool):
        raise ArgumentError(attribute.name, repr(value), "True or False")


@attrs.frozen(kw_only=True)
class CenteredSpec(FamilySpec):
    """Options of :class:`Centered`.

    Attributes
    ----------
    inner : HashFamily
        The family that hashes the centred rows: an object, text or plain data.
    exact : bool
        Over a family for inner products: append a column, so that the inner product of a centred query with a
        centred row is that of the query itself with the centred row.
    mean : str
        What is subtracted from data rows, float32 in base64; empty before a fit.
    query_mean : str
        What is subtracted from queries; empty for the mean of the data rows.
    """

    inner: HashFamily = family_option("simhash")  # noqa: RUF009 - gives a field
    exact: bool = attrs.field(default=False, validator=_exact)
    mean: str = attrs.field(default="", validator=attrs.validators.instance_of(str), repr=short_text)
    query_mean: str = attrs.field(default="", validator=attrs.validators.instance_of(str), repr=short_text)


class Centered(WrapperFamily[CenteredSpec]):
    """A family over rows and queries from which a mean is subtracted.

    Rows that share a large mean, as hidden vectors of relu units do, have nearly the same direction: their
    signs agree, and most of them fall into a few buckets. They differ by what remains without the mean. With
    the mean m of the data rows and n of the queries, a data row becomes P(x) = x - m, a query Q(q) = q - n.

    Parameters
    ----------
    spec : CenteredSpec or HashFamily
        The spec: dim, n_hashes, n_tables, seed, ``inner`` (the wrapped family), ``exact``, ``mean`` and
        ``query_mean``, which :meth:`fit` and a build of tables fill. Or the family to wrap, with the other
        options as keywords.

    Notes
    -----
    The similarity is the wrapped family's, of centred rows, and so is its collision probability: over SimHash
    it is 1 - arccos(cosine of q - n and x - m) / pi. Euclidean distances do not change if n is m. Inner
    products do: (q - n) (x - m) ranks data rows otherwise than q x. ``exact=True``, over a family for inner
    products, appends the column |n| to queries and n (x - m) / |n| to data rows; then Q(q) P(x) = q x - q m,
    which ranks the data rows of a query exactly as q x does.

    A build of tables fits the mean to its rows (:meth:`prepare`). A later build replaces it if the rows' mean
    has moved: its squared distance from the old one exceeds 0.04 times the mean squared distance of the
    rows from their mean. Another seed (a rehash) keeps the mean.

    Cost: that of the wrapped family with dense rows, and a subtraction. Sparse rows become dense in the
    kernel, so a row costs ``dim`` steps.

    Examples
    --------
    >>> import numpy as np
    >>> from lshsample import HashTables
    >>> from lshsample_families.simhash import SimHash, SimHashSpec
    >>> rows = np.random.default_rng(0).random((500, 16), dtype=np.float32) + 1
    >>> plain = SimHash(SimHashSpec(dim=16, n_hashes=8, n_tables=4))
    >>> found = [HashTables(f).build(rows).query(rows) for f in (plain, Centered(plain))]
    >>> [len(one.ids) // 500 for one in found]
    [499, 16]
    """

    #: The similarities that a difference from a mean leaves meaningful.
    wraps = ("cosine", "euclidean", "inner_product")

    def make_inner(self) -> HashFamily:
        """The wrapped family, with one more column if ``exact``."""
        spec, template = self.spec, super().make_inner()
        check_similarity(template, self.wraps)
        if spec.exact and template.similarity != "inner_product":
            raise ArgumentError("exact", True, f"False for the similarity {template.similarity!r}")
        if spec.query_mean and not spec.mean:
            raise ArgumentError("query_mean", "a mean", "empty, as mean is")
        self._mean, self._query_mean = self._decoded("mean"), self._decoded("query_mean")
        return of_width(template, spec.dim + spec.exact)

    def _decoded(self, name: str) -> Float32 | None:
        text: str = getattr(self.spec, name)
        if not text:
            return None
        mean: Float32 = as_numbers(text, (1, self.spec.dim), name, "a mean is for one dim")[0]
        return mean

    @property
    def is_fitted(self) -> bool:
        """Whether there is a mean."""
        return self._mean is not None

    @property
    def mean(self) -> Float32:
        """What is subtracted from data rows, (dim,) float32.

        Raises
        ------
        ArgumentError
            There is no mean yet.
        """
        if self._mean is None:
            wanted = (
                f"{type(self).__name__}.prepare(vectors), which a build of tables calls, takes it from rows"
            )
            raise ArgumentError("mean", "nothing", f"the mean of the rows; {wanted}")
        return self._mean

    @property
    def query_mean(self) -> Float32:
        """What is subtracted from queries, (dim,) float32: :attr:`mean` unless queries have their own."""
        return self.mean if self._query_mean is None else self._query_mean

    @cached_property
    def _direction(self) -> Float64:
        """The query mean scaled to norm 1; zeros if it is zero."""
        mean = self.query_mean.astype(np.float64)
        norm = self._query_norm
        return mean / norm if norm else mean

    @property
    def _query_norm(self) -> np.float32:
        return np.float32(np.linalg.norm(self.query_mean.astype(np.float64)))

    def transform(self, x: Rows) -> Rows:
        """Data rows P(x) as the wrapped family hashes them: dense, (n, dim) or (n, dim + 1)."""
        rows = dense_rows(x) - self.mean
        if not self.spec.exact:
            return rows
        return np.concatenate([rows, _products(rows, self._direction)[:, None]], axis=1)

    def transform_query(self, q: Rows) -> Rows:
        """Queries Q(q) as the wrapped family hashes them: dense, (n, dim) or (n, dim + 1)."""
        rows = dense_rows(q) - self.query_mean
        if not self.spec.exact:
            return rows
        return np.concatenate([rows, np.full((len(rows), 1), self._query_norm)], axis=1)

    def native(self) -> NativeKernel | None:
        """The compiled kernel: centres blocks of rows and calls the wrapped family's kernel."""
        return self._kernel(self.inner.native(), self.mean, self._direction if self.spec.exact else None)

    def native_query(self) -> NativeKernel | None:
        """The compiled kernel of the query side."""
        return self._kernel(self.inner.native_query(), self.query_mean, None)

    def _kernel(
        self, inner: NativeKernel | None, mean: Float32, direction: Float64 | None
    ) -> NativeKernel | None:
        if inner is None:
            return None
        state, width = ffi.new("lsh_centered_state *"), self.dim + self.spec.exact
        state.dim, state.n_tables, state.n_added = self.dim, self.n_tables, self.spec.exact
        state.buffer_offset = (inner.scratch_bytes + 63) // 64 * 64
        state.rows_at_once = max(1, min(_MOST_ROWS, _BUFFER // width))
        state.mean, state.added = _native.pointer("float *", mean), self._query_norm
        state.direction = ffi.NULL if direction is None else _native.pointer("double *", direction)
        state.hash, state.probe, state.state = inner.hash, inner.probe, ffi.cast("void *", inner.state)
        probe = lib.lsh_centered_function(1) if inner.probe else 0
        scratch = state.buffer_offset + 4 * width * state.rows_at_once
        kernel = _native.kernel(state, lib.lsh_centered_function(0), probe, scratch, mean, direction, inner)
        # The wrapped kernel may come from another plugin, compiled against another header.
        return attrs.evolve(kernel, abi_version=inner.abi_version)

    def prepare(self, vectors: Rows) -> Self:
        """The family with the mean of these rows; itself if its mean still holds."""
        if not vectors.shape[0]:
            return self
        mean, square = _moments(vectors)
        if self.is_fitted:
            moved, spread = mean - self.mean, max(square - float(mean @ mean), 0.0)
            if float(moved @ moved) <= _MOVED * spread:
                return self._over(self, vectors)
        return self._over(self._with(mean=as_text(mean)), vectors)

    def fit(self, vectors: Rows, queries: Rows | None = None) -> Self:
        """A new family with the means of rows and, if they are given, of queries.

        Parameters
        ----------
        vectors : (n, dim) rows
            Finite data rows, dense or CSR; at least one.
        queries : (m, dim) rows, optional
            Queries whose own mean is subtracted from queries; by default it is that of the data rows.

        Returns
        -------
        Centered

        Raises
        ------
        ArgumentError
            No rows, or rows with another number of columns.
        """
        means = {"mean": vectors, "query_mean": queries}
        fitted: dict[str, Any] = {"mean": "", "query_mean": ""}
        for name, rows in means.items():
            if rows is None:
                continue
            argument = "queries" if name == "query_mean" else "vectors"
            rows = checked_rows(self, rows, argument)
            if not rows.shape[0]:
                raise ArgumentError(argument, "no rows", "an array of at least one row")
            fitted[name] = as_text(_moments(rows)[0])
        return self._over(self._with(**fitted), checked_rows(self, vectors, "vectors"))

    def _with(self, **means: Any) -> Self:
        return type(self)(attrs.evolve(self.spec, **means))

    def _over(self, family: Self, vectors: Rows) -> Self:
        """The family over its wrapped family prepared for the centred rows."""
        if type(family.inner).prepare is HashFamily.prepare:
            return family
        inner = family.inner.prepare(family.transform(vectors))
        if inner is family.inner:
            return family
        return type(family)(attrs.evolve(family.spec, inner=inner))


def _products(rows: Float32, direction: Float64) -> Float32:
    """Inner products (n,) with a direction, of partial sums over columns of equal number modulo 8."""
    lanes = np.zeros((len(rows), _LANES))
    for begin in range(0, rows.shape[1], _LANES):
        part = rows[:, begin : begin + _LANES] * direction[begin : begin + _LANES]
        lanes[:, : part.shape[1]] += part
    for half in (4, 2, 1):
        lanes = lanes[:, :half] + lanes[:, half:]
    return lanes[:, 0].astype(np.float32)


def _moments(x: Rows) -> tuple[Float64, float]:
    """The mean (dim,) of rows, and the mean of their squared norms."""
    rows: Any = x
    if isinstance(x, np.ndarray):
        return x.mean(axis=0, dtype=np.float64), float(np.einsum("ij,ij->", x, x, dtype=np.float64)) / len(x)
    mean = np.bincount(rows.indices, rows.data, rows.shape[1]) / rows.shape[0]
    return mean, float(np.square(rows.data, dtype=np.float64).sum()) / rows.shape[0]
