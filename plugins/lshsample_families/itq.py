"""ITQ: principal directions, rotated to reduce the quantization error of their signs."""

from __future__ import annotations

from typing import Any, Self

import attrs
import numpy as np
import numpy.typing as npt

from lshsample.plugin import ArgumentError, NativeKernel, Rows, checked_rows, dense_rows, integer
from lshsample_families import _draws
from lshsample_families._learned import LearnedFamily, LearnedSpec, as_text
from lshsample_families._mips import Augmentation, augmented, mips_kernel

__all__ = ["ITQ", "ITQSpec"]

Float64 = npt.NDArray[np.float64]

_SAMPLE, _ROTATIONS = 31, 32
#: For more columns the covariance matrix would be too large.
_MOST_COLUMNS = 8192
#: Unchanged rows (no norm exceeds the bound, and the scale is 1) with a column of ones appended.
_ONES = Augmentation(1, 1e300, offset=1.0)


@attrs.frozen(kw_only=True)
class ITQSpec(LearnedSpec):
    """Options of :class:`ITQ`.

    Attributes
    ----------
    components : int
        Number of principal directions that each table combines; 0 means 2 K, or ``dim`` if that is less. With
        K, all tables use the subspace of the published method and differ by rotation alone.
    iterations : int
        Iterations of the rotation's fit; 50 in the paper.
    sample : int
        Maximal number of rows that are learned from.
    """

    components: int = attrs.field(default=0, validator=integer(0, _MOST_COLUMNS))
    iterations: int = attrs.field(default=50, validator=integer(1, 10_000))
    sample: int = attrs.field(default=20_000, validator=integer(1, 10_000_000))


class ITQ(LearnedFamily[ITQSpec]):
    """Iterative quantization (Gong & Lazebnik, CVPR 2011): signs of rotated principal components.

    Rows are centred and projected to principal directions. A rotation R of the projected rows V reduces the
    quantization error |B - V R|, by alternating between the corners B = sign(V R) and the best R (an
    orthogonal Procrustes problem). Each table starts with K random orthonormal combinations of the
    components, so tables differ.

    Parameters
    ----------
    spec : ITQSpec
        dim, n_hashes (K, at most dim), n_tables (L), seed, ``components``, ``iterations``, ``sample``, and
        ``planes``, which :meth:`fit` fills.

    Notes
    -----
    A build of tables fits a family that is not fitted yet (:meth:`prepare`), and does not change one that is.
    With another seed (a rehash) the family is not fitted, and the build learns from its rows again. There is
    no collision probability; samplers compute inclusion probabilities conditional on the tables, which are
    exact.

    Cost of a fit: the covariance matrix, O(sample dim^2), once, and O(iterations sample K^2) for each table.

    Examples
    --------
    >>> import numpy as np
    >>> from lshsample import HashTables
    >>> rows = np.random.default_rng(0).standard_normal((300, 10)).astype(np.float32)
    >>> tables = HashTables(ITQ(ITQSpec(dim=10, n_hashes=4, n_tables=2))).build(rows)
    >>> tables.family.is_fitted
    True
    """

    offsets = True

    def __init__(self, spec: ITQSpec) -> None:
        if spec.n_hashes > min(spec.dim, spec.components or spec.dim) or spec.components > spec.dim:
            raise ArgumentError(
                "n_hashes, components, dim",
                (spec.n_hashes, spec.components, spec.dim),
                "such that n_hashes <= components <= dim, where components may be 0",
            )
        super().__init__(spec)

    def _rows(self, x: Rows) -> Rows:
        return augmented(x, np.ones(x.shape[0]), np.ones((x.shape[0], 1), np.float32))

    def native(self) -> NativeKernel | None:
        """SimHash's kernel over rows with a column of ones."""
        kernel = super().native()
        assert kernel is not None
        return mips_kernel(self.spec, _ONES, np.array([_ONES.limit]), kernel, query=False)

    def with_seed(self, seed: int) -> Self:
        """The family of another seed, which is not fitted; the next build fits it."""
        if seed == self.seed:
            return self
        return type(self)(attrs.evolve(self.spec, seed=seed, planes=""))

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
        ITQ

        Raises
        ------
        ArgumentError
            No rows, rows with another number of columns, or more than 8,192 columns.
        """
        vectors = checked_rows(self, vectors, "vectors")
        if not vectors.shape[0]:
            raise ArgumentError("vectors", "no rows", "an array of at least one row")
        if self.dim > _MOST_COLUMNS:
            raise ArgumentError("dim", self.dim, f"at most {_MOST_COLUMNS} for principal directions")
        rows = self._sampled(vectors)
        mean = np.asarray(rows.mean(axis=0)).reshape(-1)
        directions = self._principal(rows, mean)
        projected = np.asarray(rows @ directions) - mean @ directions
        planes = np.empty((self.dim + 1, self.n_hashes, self.n_tables))
        for table in range(self.n_tables):
            mixed = directions @ self._rotated(projected, table)
            planes[:-1, :, table], planes[-1, :, table] = mixed, -(mean @ mixed)
        return type(self)(attrs.evolve(self.spec, planes=as_text(planes.reshape(self.dim + 1, -1))))

    def _sampled(self, vectors: Rows) -> Any:
        n, most = vectors.shape[0], self.spec.sample
        if n > most:
            vectors = vectors[np.sort(_draws.permutations(self.seed, _SAMPLE, 1, n)[0, :most])]
        rows = vectors.astype(np.float64)
        return rows

    def _principal(self, rows: Any, mean: Float64) -> Float64:
        """The directions (dim, components) of largest variance, each with a fixed sign."""
        second = rows.T @ rows
        dense = dense_rows(second)
        covariance = dense / rows.shape[0] - np.outer(mean, mean)
        wanted = self.spec.components or min(self.dim, 2 * self.n_hashes)
        directions = np.linalg.eigh(covariance)[1][:, ::-1][:, :wanted]
        largest = directions[np.abs(directions).argmax(axis=0), np.arange(wanted)]
        return np.asarray(directions * np.sign(largest))

    def _rotated(self, projected: Float64, table: int) -> Float64:
        """The combinations (components, K) of principal directions for one table."""
        count = projected.shape[1] * self.n_hashes
        stream = (_ROTATIONS << 32) + table
        drawn = _draws.gaussians(self.seed, stream, count).reshape(-1, self.n_hashes).astype(np.float64)
        basis = np.linalg.qr(drawn)[0]
        v, rotation = projected @ basis, np.eye(self.n_hashes)
        for _ in range(self.spec.iterations):
            corners = np.where(v @ rotation >= 0, 1.0, -1.0)
            left, _values, right = np.linalg.svd(v.T @ corners)
            rotation = left @ right
        return np.asarray(basis @ rotation)
