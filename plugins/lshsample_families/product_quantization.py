"""Product quantization: the nearest centroids of the parts of a row."""

from __future__ import annotations

import itertools
from functools import cached_property
from typing import Any, Self

import attrs
import numpy as np
import numpy.typing as npt

from lshsample.plugin import (
    ArgumentError,
    Codes,
    FamilySpec,
    Floats,
    QuantizingFamily,
    Rows,
    UnsupportedError,
    checked_rows,
    dense_rows,
    integer,
)
from lshsample_families import _draws
from lshsample_families._learned import Float32, as_numbers, as_text, short_text
from lshsample_families._probing import best_codes

__all__ = ["ProductQuantization", "ProductQuantizationSpec"]

_SAMPLE, _CENTROIDS = 41, 42
_BLOCK = 4096


@attrs.frozen(kw_only=True)
class ProductQuantizationSpec(FamilySpec):
    """Options of :class:`ProductQuantization`.

    Attributes
    ----------
    n_hashes : int
        Number of parts that a row is divided into.
    bits : int
        Logarithm of the number of centroids of a part: 5 for 32.
    iterations : int
        Iterations of k-means.
    sample : int
        Maximal number of rows that are learned from.
    codebooks : str
        The fitted centroids, in base64; empty before a fit.
    """

    n_hashes: int = attrs.field(default=2, validator=integer(1, 32))
    n_tables: int = attrs.field(default=1, validator=integer(1, 65535))
    bits: int = attrs.field(default=5, validator=integer(1, 16))
    iterations: int = attrs.field(default=5, validator=integer(1, 10_000))
    sample: int = attrs.field(default=8192, validator=integer(1, 10_000_000))
    codebooks: str = attrs.field(default="", validator=attrs.validators.instance_of(str), repr=short_text)


class ProductQuantization(QuantizingFamily[ProductQuantizationSpec]):
    """Product quantization (Jegou, Douze & Schmid, IEEE TPAMI 2011): k-means in each part of the columns.

    The columns are divided into K parts of equal width (up to one column), and each part of a row is replaced
    by the nearest of ``2**bits`` centroids, which k-means has learned from rows. The code has the numbers of
    the K centroids. With two parts, the buckets of one table are the cells of an inverted multi-index
    (Babenko & Lempitsky, CVPR 2012), by which :class:`~lshsample.MIDX` samples.

    Parameters
    ----------
    spec : ProductQuantizationSpec
        dim (at least K), n_hashes (K, 2 by default), n_tables (L, 1 by default: tables differ by the start of
        k-means alone), seed, ``bits``, ``iterations``, ``sample``, and ``codebooks``, which :meth:`fit`
        fills.

    Notes
    -----
    A build of tables fits a family that is not fitted yet (:meth:`prepare`), and does not change one that is.
    With another seed (a rehash) the family is not fitted, and the build learns from its rows again. There is
    no collision probability; samplers compute inclusion probabilities conditional on the tables, which are
    exact.

    Cost of a code: ``2**bits`` dim multiplications; of a fit: those of ``sample`` rows for each iteration.

    Examples
    --------
    >>> import numpy as np
    >>> from lshsample import HashTables
    >>> rows = np.random.default_rng(0).standard_normal((500, 10)).astype(np.float32)
    >>> tables = HashTables(ProductQuantization(ProductQuantizationSpec(dim=10, bits=3))).build(rows)
    >>> tables.family.is_fitted, tables.family.code_bits
    (True, 6)
    """

    similarity = "learned"
    independent_hashes = False

    def __init__(self, spec: ProductQuantizationSpec) -> None:
        self.bits_per_hash = spec.bits
        super().__init__(spec)
        if spec.n_hashes > spec.dim:
            raise ArgumentError("n_hashes", spec.n_hashes, f"at most dim, {spec.dim}")
        if spec.codebooks:
            shape = spec.n_tables * 2**spec.bits, spec.dim
            numbers = as_numbers(
                spec.codebooks,
                shape,
                "codebooks",
                "learned centroids are for one dim, n_tables and number of bits",
            )
            self._codebooks = numbers.reshape(spec.n_tables, 2**spec.bits, spec.dim)

    @property
    def is_fitted(self) -> bool:
        """Whether centroids were learned."""
        return bool(self.spec.codebooks)

    @property
    def codebooks(self) -> Float32:
        """The centroids (n_tables, 2**bits, dim); the columns of a part belong to the part's centroid."""
        if not self.is_fitted:
            wanted = "learned centroids; ProductQuantization.fit(vectors) returns a family with them"
            raise ArgumentError("codebooks", "nothing", wanted)
        return self._codebooks

    @cached_property
    def _parts(self) -> list[slice]:
        edges = np.linspace(0, self.dim, self.n_hashes + 1).astype(int).tolist()
        return [slice(*pair) for pair in itertools.pairwise(edges)]

    def products(self, q: Rows) -> Float32:
        """Inner products (n, n_tables, n_hashes, 2**bits) of the parts of queries with the centroids."""
        rows, books = dense_rows(q), self.codebooks
        out = np.empty((len(rows), self.n_tables, self.n_hashes, books.shape[1]), np.float32)
        for table, book in enumerate(books):
            for k, part in enumerate(self._parts):
                out[:, table, k] = rows[:, part] @ book[:, part].T
        return out

    def _costs(self, x: Rows) -> Floats:
        """Squared distances (n, n_tables, K, 2**bits) of the parts of rows to the centroids, less |x|^2."""
        # In float64, so that the codes of a row do not depend on the rows that it is hashed with.
        rows, books = dense_rows(x).astype(np.float64), self.codebooks.astype(np.float64)
        out = np.empty((len(rows), self.n_tables, self.n_hashes, books.shape[1]))
        for table, book in enumerate(books):
            for k, part in enumerate(self._parts):
                out[:, table, k] = _distances(rows[:, part], book[:, part])
        return out

    def hash(self, x: Rows) -> Codes:
        """Codes (n, n_tables) of rows."""
        codes = np.zeros((x.shape[0], self.n_tables), np.uint32)
        for start in range(0, x.shape[0], _BLOCK):
            nearest = self._costs(x[start : start + _BLOCK]).argmin(axis=3).astype(np.uint32)
            for k in range(self.n_hashes):
                codes[start : start + _BLOCK] |= nearest[:, :, k] << np.uint32(k * self.spec.bits)
        return codes

    def probe(self, q: Rows, n_probes: int) -> Codes:
        """Codes (n, n_tables, n_probes) of the nearest cells, by the sum of the parts' squared distances."""
        codes = np.empty((q.shape[0], self.n_tables, n_probes), np.uint32)
        for start in range(0, q.shape[0], _BLOCK):
            costs = self._costs(q[start : start + _BLOCK])
            flat = costs.reshape(-1, self.n_hashes, costs.shape[3])
            order = np.argsort(flat, axis=2, kind="stable")[..., :n_probes]
            sorted_costs = np.take_along_axis(flat, order, axis=2)
            sorted_costs -= sorted_costs[..., :1]
            found = best_codes(order.astype(np.uint32), sorted_costs, self.spec.bits, n_probes)
            codes[start : start + _BLOCK] = found.reshape(-1, self.n_tables, n_probes)
        return codes

    def collision_probability(self, similarity: npt.ArrayLike) -> Floats:
        """There is none: centroids that are learned from data are not random."""
        raise UnsupportedError(
            "family ProductQuantization: learned centroids have no collision probability; inclusion "
            "probabilities conditional on the tables are available"
        )

    def similarity_of(self, q: Rows, x: Rows) -> Floats:
        """There is none, as there is no collision probability."""
        return self.collision_probability(0.0)

    def with_seed(self, seed: int) -> Self:
        """The family of another seed, which is not fitted; the next build fits it."""
        if seed == self.seed:
            return self
        return type(self)(attrs.evolve(self.spec, seed=seed, codebooks=""))

    def prepare(self, vectors: Rows) -> Self:
        """Itself if it is fitted, else fitted to these rows."""
        return self if self.is_fitted else self.fit(vectors)

    def fit(self, vectors: Rows) -> Self:
        """A new family that is fitted to rows.

        Parameters
        ----------
        vectors : (n, dim) rows
            Finite float32 rows, dense or CSR.

        Returns
        -------
        ProductQuantization

        Raises
        ------
        ArgumentError
            No rows, or rows with another number of columns.
        """
        vectors = checked_rows(self, vectors, "vectors")
        n, most = vectors.shape[0], self.spec.sample
        if not n:
            raise ArgumentError("vectors", "no rows", "an array of at least one row")
        if n > most:
            vectors = vectors[np.sort(_draws.permutations(self.seed, _SAMPLE, 1, n)[0, :most])]
        rows = dense_rows(vectors).astype(np.float64)
        books = np.empty((self.n_tables, 2**self.spec.bits, self.dim))
        for table in range(self.n_tables):
            for k, part in enumerate(self._parts):
                stream = (_CENTROIDS << 32) + table * self.n_hashes + k
                books[table][:, part] = self._centroids(rows[:, part], stream)
        return type(self)(attrs.evolve(self.spec, codebooks=as_text(books)))

    def _centroids(self, rows: Any, stream: int) -> Floats:
        """K-means (Lloyd 1982), from random rows; a centroid without rows stays."""
        wanted, n = 2**self.spec.bits, len(rows)
        order = _draws.permutations(self.seed, stream, 1, n)[0]
        centroids = rows[np.resize(order, wanted)]
        for _ in range(self.spec.iterations):
            nearest = _distances(rows, centroids).argmin(axis=1)
            count = np.bincount(nearest, minlength=wanted)
            kept = np.flatnonzero(count)
            begin = (np.cumsum(count) - count)[kept]
            members = rows[np.argsort(nearest, kind="stable")]
            centroids[kept] = np.add.reduceat(members, begin, axis=0) / count[kept, None]
        return np.asarray(centroids)


def _distances(rows: Floats, centroids: Floats) -> Floats:
    """Squared distances (n, centroids), less the squared norms of the rows."""
    return np.asarray((centroids**2).sum(axis=1) - 2 * (rows @ centroids.T))
