"""Random thresholds of random columns: the family, its reference and its collision probability."""

from functools import cached_property

import attrs
import numpy as np
import numpy.typing as npt

from lshsample.plugin import ArgumentError, Codes, FamilySpec, Floats, HashFamily, Rows, dense_rows, number

__all__ = ["L1Thresholds", "L1ThresholdsSpec"]


@attrs.frozen(kw_only=True)
class L1ThresholdsSpec(FamilySpec):
    """Options of :class:`L1Thresholds`: values of rows are from `low` to `high`."""

    low: float = attrs.field(default=0.0, validator=number(-1e6, 1e6))
    high: float = attrs.field(default=1.0, validator=number(-1e6, 1e6))

    def __attrs_post_init__(self) -> None:
        if self.high <= self.low:
            raise ArgumentError("high", self.high, f"above low, {self.low}")


class L1Thresholds(HashFamily[L1ThresholdsSpec]):
    """A hash says whether the value of a random column is above a random threshold.

    Notes
    -----
    A threshold that is uniform in [low, high] lies between x_i and y_i with probability |x_i - y_i| / (high - low), and
    the column i is uniform too. So two rows at L1 distance c agree with probability 1 - c / (dim (high - low)). This is
    sampling of bits of the unary codes of Gionis, Indyk & Motwani (VLDB 1999), without their rounding.

    Examples
    --------
    >>> family = L1Thresholds(L1ThresholdsSpec(dim=8, n_hashes=4, n_tables=2, seed=1))
    >>> family.collision_probability([0.0, 2.0, 8.0])
    array([1.  , 0.75, 0.  ])
    """

    similarity = "l1"

    @cached_property
    def draws(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Columns and thresholds of all hashes: entry k L + t belongs to hash k of table t."""
        key = np.array([self.seed, 1], np.uint64)
        count = self.n_hashes * self.n_tables
        columns, words = np.random.Philox(key=key).random_raw(2 * count).reshape(2, count)
        uniform = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
        thresholds = self.spec.low + (self.spec.high - self.spec.low) * uniform
        return (columns % np.uint64(self.dim)).astype(np.int64), thresholds.astype(np.float32)

    def hash(self, x: Rows) -> Codes:
        """Codes (n, n_tables) of rows, dense or CSR: the reference."""
        low, high = self.spec.low, self.spec.high
        if x.shape[0] and not low <= x.min() <= x.max() <= high:
            raise ArgumentError("x", f"{x.min()} to {x.max()}", f"rows of values from {low} to {high}")
        columns, thresholds = self.draws
        bits = (dense_rows(x[:, columns]) > thresholds).reshape(-1, self.n_hashes, self.n_tables)
        places = np.arange(self.n_hashes, dtype=np.uint32)[:, None]
        return np.asarray((bits.astype(np.uint32) << places).sum(axis=1), np.uint32)

    def collision_probability(self, similarity: npt.ArrayLike) -> Floats:
        """1 - c / (dim (high - low)) of L1 distances c."""
        widest = self.dim * (self.spec.high - self.spec.low)
        return np.asarray(np.clip(1 - np.asarray(similarity, np.float64) / widest, 0, 1))
