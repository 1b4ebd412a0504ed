"""Cells of projections to Cauchy directions: the family, its reference and its collision probability."""

from functools import cached_property

import attrs
import numpy as np
import numpy.typing as npt
from scipy.special import spence

from lshsample.plugin import (
    ArgumentError,
    Codes,
    FamilySpec,
    Floats,
    HashFamily,
    NativeKernel,
    Rows,
    dense_rows,
    integer,
    number,
)
from lshsample_l1_cauchy.kernel import native_kernel

__all__ = ["L1Cauchy", "L1CauchySpec"]

Float64 = npt.NDArray[np.float64]

#: Rows that the reference hashes at once, and the most bytes that directions may take.
_BLOCK, _MOST_BYTES = 1024, 2**32


@attrs.frozen(kw_only=True)
class L1CauchySpec(FamilySpec):
    """Options of :class:`L1Cauchy`: the width of a cell, and the bits that are kept of its number."""

    width: float = attrs.field(default=4.0, validator=number(1e-6, 1e6))
    bits: int = attrs.field(default=4, validator=integer(1, 8))


class L1Cauchy(HashFamily[L1CauchySpec]):
    """Hashing by L1 distance: the number of the cell of a projection to a Cauchy direction, modulo 2^bits.

    Notes
    -----
    The projections of two rows at L1 distance c differ by c times a Cauchy variable (Datar, Immorlica, Indyk &
    Mirrokni, SoCG 2004). Modulo M = 2^bits cells of width r this is a wrapped Cauchy variable, whose k-th Fourier
    coefficient is exp(-2 pi k c / (r M)). With a random offset, two points that are u < 1 cells apart are in one cell with
    probability 1 - u: a triangle, whose coefficients are squares of sines. The sum over k of the products is

    p(c) = 1 / M + M / pi^2 (Li2(q) - Re Li2(q exp(2 pi i / M))),  q = exp(-2 pi c / (r M)),

    with the dilogarithm Li2. It tends to 2 atan(r / c) / pi - c ln(1 + r^2 / c^2) / (pi r), the published formula
    for cells that are all told apart, as M grows.

    Examples
    --------
    >>> family = L1Cauchy(L1CauchySpec(dim=8, n_hashes=4, n_tables=2, width=2.0))
    >>> family.collision_probability([0.0, 1.0, 1e9]).round(4)
    array([1.    , 0.4507, 0.0625])
    """

    similarity = "l1"

    def __init__(self, spec: L1CauchySpec) -> None:
        self.bits_per_hash = spec.bits
        super().__init__(spec)
        size = 4 * spec.dim * spec.n_hashes * spec.n_tables
        if size > _MOST_BYTES:
            wanted = f"such that directions have at most {_MOST_BYTES >> 20} MiB, not {size >> 20}"
            raise ArgumentError("dim", spec.dim, wanted)

    def uniform(self, stream: int, count: int) -> Float64:
        """Numbers in (0, 1), from words of a bit generator that do not change with NumPy's version."""
        words = np.random.Philox(key=np.array([self.seed, stream], np.uint64)).random_raw(count) >> np.uint64(
            11
        )
        uniform: Float64 = (words.astype(np.float64) + 0.5) * 2.0**-53
        return uniform

    @cached_property
    def directions(self) -> npt.NDArray[np.float32]:
        """Cauchy directions, (dim, K L) float32: column k L + t is hash k of table t."""
        cauchy = np.tan(np.pi * (self.uniform(1, self.dim * self.n_hashes * self.n_tables) - 0.5))
        directions: npt.NDArray[np.float32] = cauchy.astype(np.float32).reshape(self.dim, -1)
        return directions

    @cached_property
    def offsets(self) -> Float64:
        """(K L,): offsets in cells."""
        return self.uniform(2, self.n_hashes * self.n_tables)

    def positions(self, rows: npt.NDArray[np.float32]) -> Float64:
        """Projections plus offsets, in cells: (n, K L).

        Columns are added one by one, in order, so that a kernel can repeat it. The sums are float64: directions have
        huge entries, beside which float32 would lose the others.
        """
        out = np.zeros((len(rows), self.directions.shape[1]))
        for column in np.flatnonzero(rows.any(axis=0)):
            out += rows[:, column, None].astype(np.float64) * self.directions[column]
        return out / self.spec.width + self.offsets

    def hash(self, x: Rows) -> Codes:
        """Codes (n, n_tables) of rows, dense or CSR: the reference."""
        codes = np.zeros((x.shape[0], self.n_tables), np.uint32)
        modulus = 2.0**self.spec.bits
        for start in range(0, x.shape[0], _BLOCK):
            cells = np.floor(self.positions(dense_rows(x[start : start + _BLOCK])))
            kept = (cells - np.floor(cells / modulus) * modulus).reshape(-1, self.n_hashes, self.n_tables)
            for k in range(self.n_hashes):
                codes[start : start + _BLOCK] |= kept[:, k].astype(np.uint32) << np.uint32(k * self.spec.bits)
        return codes

    def collision_probability(self, similarity: npt.ArrayLike) -> Floats:
        """The formula of the class, of L1 distances."""
        modulus = 2**self.spec.bits
        q = np.exp(-2 * np.pi / (self.spec.width * modulus) * np.asarray(similarity, np.float64))
        # SciPy's spence(z) is Li2(1 - z).
        difference = spence(1 - q) - spence(1 - q * np.exp(2j * np.pi / modulus)).real
        return np.asarray(np.clip(1 / modulus + modulus / np.pi**2 * difference, 0, 1))

    def native(self) -> NativeKernel:
        """The compiled kernel, whose codes equal those of the reference bit for bit."""
        return native_kernel(self)
