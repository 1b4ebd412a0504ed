"""Bit sampling: the family, its reference and its collision probability."""

from functools import cached_property

import attrs
import numpy as np

from lshsample.plugin import Codes, FamilySpec, Floats, HashFamily, NativeKernel, Rows, dense_rows, number
from lshsample_bit_sampling.kernel import native_kernel

__all__ = ["BitSampling", "BitSamplingSpec"]


@attrs.frozen(kw_only=True)
class BitSamplingSpec(FamilySpec):
    """Options of :class:`BitSampling`.

    Attributes
    ----------
    threshold : float
        A value above it is a 1; at least 0, so that values that a sparse row does not store are 0.
    """

    threshold: float = attrs.field(default=0.0, validator=number(0, 3e38))


class BitSampling(HashFamily[BitSamplingSpec]):
    """Bits at random positions: a family for the Hamming distance.

    Notes
    -----
    Two rows of d bits that differ in h of them agree on a hash with probability 1 - h / d, exactly (Indyk & Motwani,
    STOC 1998). Positions are drawn independently, with replacement, so a code of K bits agrees with the K-th power
    of it. Cost: K L loads for a dense row, K L / d steps for each entry of a sparse row.

    Examples
    --------
    >>> family = BitSampling(BitSamplingSpec(dim=8, n_hashes=4, n_tables=2, seed=1))
    >>> family.hash(np.ones((1, 8), np.float32))
    array([[15, 15]], dtype=uint32)
    """

    similarity = "hamming"

    @cached_property
    def positions(self) -> np.ndarray:
        """The columns of all hashes, (K L,) int32: entry k L + t belongs to hash k of table t."""
        key = np.array([self.seed, 1], np.uint64)
        words = np.random.Philox(key=key).random_raw(self.n_hashes * self.n_tables)
        return (words % np.uint64(self.dim)).astype(np.int32)

    def bits(self, x: Rows) -> np.ndarray:
        """Whether values of rows are 1."""
        values = dense_rows(x)
        return values > np.float32(self.spec.threshold)

    def hash(self, x: Rows) -> Codes:
        """Codes (n, n_tables) of rows, dense or CSR: the reference."""
        bits = self.bits(x[:, self.positions]).reshape(-1, self.n_hashes, self.n_tables)
        weights = np.uint32(1) << np.arange(self.n_hashes, dtype=np.uint32)
        codes: Codes = (bits * weights[:, None]).sum(axis=1, dtype=np.uint32)
        return codes

    def similarity_of(self, q: Rows, x: Rows) -> Floats:
        """The fraction of positions at which the pairs agree."""
        return np.asarray((self.bits(q) == self.bits(x)).mean(axis=1, dtype=np.float64))

    def collision_probability(self, similarity: object) -> Floats:
        """The similarity itself."""
        return np.clip(np.asarray(similarity, np.float64), 0, 1)

    def native(self) -> NativeKernel:
        """The compiled kernel; its codes equal those of the reference bit for bit."""
        return native_kernel(self.spec, self.positions)
