"""Signs of projections to Cauchy directions: the family, its reference and its collision probability."""

from functools import cached_property

import attrs
import numpy as np
import numpy.typing as npt

from lshsample.plugin import (
    ArgumentError,
    Codes,
    FamilySpec,
    Floats,
    HashFamily,
    NativeKernel,
    Rows,
    dense_rows,
)
from lshsample_chi_square.kernel import native_kernel

__all__ = ["ChiSquare", "ChiSquareSpec"]

Float32 = npt.NDArray[np.float32]

#: Rows that the reference hashes at once, and the most bytes that directions may take.
_BLOCK, _MOST_BYTES = 1024, 2**32


@attrs.frozen(kw_only=True)
class ChiSquareSpec(FamilySpec):
    """Options of :class:`ChiSquare`: those of every family."""


class ChiSquare(HashFamily[ChiSquareSpec]):
    """Signs of projections to Cauchy directions, for histograms: rows without negative values.

    Notes
    -----
    Two rows of chi-square similarity s agree on a bit with probability about 1 - arccos(s) / pi (Li, Samorodnitsky &
    Hopcroft, Sign Cauchy projections and chi-square kernel, NIPS 2013). It is an approximation: the probability is not a
    function of s alone. A factor of a row changes no sign, so that rows need not be scaled.

    Examples
    --------
    >>> family = ChiSquare(ChiSquareSpec(dim=8, n_hashes=4, n_tables=2, seed=1))
    >>> family.collision_probability([0.0, 0.5, 1.0]).round(3)
    array([0.5  , 0.667, 1.   ])
    """

    similarity = "chi_square"
    exact_law = False

    def __init__(self, spec: ChiSquareSpec) -> None:
        super().__init__(spec)
        size = 4 * spec.dim * spec.n_hashes * spec.n_tables
        if size > _MOST_BYTES:
            wanted = f"such that directions have at most {_MOST_BYTES >> 20} MiB, not {size >> 20}"
            raise ArgumentError("dim", spec.dim, wanted)

    @cached_property
    def directions(self) -> Float32:
        """Cauchy directions, (dim, K L) float32: column k L + t is hash k of table t."""
        # The words of a bit generator never change with NumPy's version; what it makes of them may.
        count = self.dim * self.n_hashes * self.n_tables
        words = np.random.Philox(key=np.array([self.seed, 1], np.uint64)).random_raw(count) >> np.uint64(11)
        uniform = (words.astype(np.float64) + 0.5) * 2.0**-53
        directions: Float32 = np.tan(np.pi * (uniform - 0.5)).astype(np.float32).reshape(self.dim, -1)
        return directions

    def margins(self, rows: Float32) -> Float32:
        """Inner products with the directions, (n, K L) float32, up to a positive factor for each row.

        Columns are added one by one, in order, with a rounding after each, so that a kernel can repeat it.
        """
        # A power of two for each row, so that nothing overflows; it changes no sign.
        exponents = np.frexp(np.abs(rows).max(axis=1, initial=0))[1]
        scaled = rows * np.ldexp(np.float32(1), np.clip(1 - exponents, -126, 127))[:, None]
        out = np.zeros((len(rows), self.directions.shape[1]), np.float32)
        for column in np.flatnonzero(rows.any(axis=0)):
            out += scaled[:, column, None] * self.directions[column]
        return out

    def hash(self, x: Rows) -> Codes:
        """Codes (n, n_tables) of rows, dense or CSR: the reference."""
        if x.shape[0] and x.min() < 0:
            raise ArgumentError("x", f"a value of {x.min()}", "rows without negative values")
        codes = np.zeros((x.shape[0], self.n_tables), np.uint32)
        for start in range(0, x.shape[0], _BLOCK):
            block = dense_rows(x[start : start + _BLOCK])
            bits = (self.margins(block) >= 0).reshape(-1, self.n_hashes, self.n_tables)
            for k in range(self.n_hashes):
                codes[start : start + _BLOCK] |= bits[:, k].astype(np.uint32) << np.uint32(k)
        return codes

    def similarity_of(self, q: Rows, x: Rows) -> Floats:
        """Sums of 2 u v / (u + v) over the columns of the pairs, whose rows u and v are scaled to sum 1."""
        one, other = (dense_rows(rows).astype(np.float64) for rows in (q, x))
        u, v = (
            rows / np.maximum(rows.sum(axis=1, keepdims=True), np.finfo(float).tiny) for rows in (one, other)
        )
        sums = np.sum(2 * u * v / np.maximum(u + v, np.finfo(float).tiny), axis=1)
        return np.asarray(np.where((one == other).all(axis=1), 1.0, sums))

    def collision_probability(self, similarity: npt.ArrayLike) -> Floats:
        """1 - arccos(s) / pi; a similarity outside [0, 1] by rounding is clipped."""
        return np.asarray(1 - np.arccos(np.clip(np.asarray(similarity, np.float64), 0, 1)) / np.pi)

    def native(self) -> NativeKernel:
        """The compiled kernel, whose codes equal those of the reference bit for bit."""
        return native_kernel(self.n_hashes, self.n_tables, self.directions)
