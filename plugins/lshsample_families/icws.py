"""ICWS, consistent weighted sampling: MinHash for rows of real values."""

from __future__ import annotations

from functools import cached_property

import attrs
import numpy as np
import numpy.typing as npt

from lshsample.plugin import Codes, FamilySpec, Floats, HashFamily, NativeKernel, Rows, integer
from lshsample_families import _draws, _native
from lshsample_families._kernels import ffi, lib
from lshsample_families._mixing import GOLDEN, Words, low_bits, mix, words_of_columns
from lshsample_families._sets import entries, weighted_jaccard

__all__ = ["ICWS", "ICWSDraws", "ICWSSpec"]

Float32 = npt.NDArray[np.float32]

_WORDS, _SEEDS = 31, 32
#: The random numbers of all elements are stored if they take at most this many bytes; otherwise kernels draw
#: them again for each entry.
_MOST_KEPT = 2**24
_SMALLEST_NORMAL = np.float32(2.0**-126)


@attrs.frozen(kw_only=True)
class ICWSSpec(FamilySpec):
    """Options of :class:`ICWS`.

    Attributes
    ----------
    bits : int
        Bits of a hash that are kept, b; K b is at most 32.
    """

    n_hashes: int = attrs.field(default=4, validator=integer(1, 32))
    bits: int = attrs.field(default=8, validator=integer(1, 32))


class ICWSDraws:
    """The random numbers of each element under each hash: pure functions of (seed, element, hash).

    All arithmetic is float32 in a fixed order, so that kernels of any vector width repeat it bit for bit.
    """

    def __init__(self, spec: ICWSSpec) -> None:
        count = spec.n_hashes * spec.n_tables
        padded = -(-count // 16) * 16
        self.seed = int(_draws.words(spec.seed, _WORDS, 1)[0] >> np.uint64(32))
        #: (count, padded to a multiple of 16) uint32, one a hash; hash k of table t has place k L + t.
        self.seeds = (_draws.words(spec.seed, _SEEDS, padded) >> np.uint64(32)).astype(np.uint32)
        self._n_elements = 2 * spec.dim

    @cached_property
    def table(self) -> Float32 | None:
        """(2 dim, 3, padded) random numbers of every element, or None if they are too many to store."""
        if 12 * self._n_elements * len(self.seeds) > _MOST_KEPT:
            return None
        return np.stack(self.draws(self.words(np.arange(self._n_elements))), axis=1)

    def words(self, elements: npt.NDArray[np.integer]) -> Words:
        """Pseudo-random words of elements."""
        return words_of_columns(elements, self.seed)

    def draws(self, words: Words) -> tuple[Float32, Float32, Float32]:
        """(n, padded) each: Gamma(2, 1) numbers, logarithms of Gamma(2, 1) numbers, uniform numbers."""
        w = [mix(words[:, None] ^ self.seeds)]
        for _ in range(4):
            w.append(mix(w[-1] + GOLDEN))
        u = [
            ((word >> np.uint32(9)).astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-23) for word in w
        ]
        return -logarithm(u[0] * u[1]), logarithm(-logarithm(u[2] * u[3])), u[4]


def logarithm(x: Float32) -> Float32:
    """Natural logarithm of normal float32 numbers x = 2^e m: e log 2 + 2 atanh((m - 1) / (m + 1))."""
    bits = x.view(np.int32)
    e = (bits - np.int32(0x3F3504F3)) >> np.int32(23)
    m = (bits - (e << np.int32(23))).view(np.float32)
    s = (m - np.float32(1)) / (m + np.float32(1))
    z = s * s
    series = np.full_like(z, 0.11111111)
    for coefficient in (0.14285715, 0.2, 0.33333334):
        series = z * series + np.float32(coefficient)
    return np.asarray(
        e.astype(np.float32) * np.float32(0.6931472) + (s + s * (series * z)) * np.float32(2),
        dtype=np.float32,
    )


class ICWS(HashFamily[ICWSSpec]):
    """Improved consistent weighted sampling (Ioffe, ICDM 2010), b bits of a hash.

    A hash samples a coordinate with a level of its weight, such that two rows have the same sample with
    probability J, their weighted Jaccard similarity sum min(q_i, x_i) / sum max(q_i, x_i). b bits of the
    sample are kept, so the collision probability is J + (1 - J) / 2^b. The magnitude of a negative value is
    the weight of a separate coordinate (Li, KDD 2017), so rows of any sign can be hashed. A row of zeros has
    the code 0.

    Parameters
    ----------
    spec : ICWSSpec
        dim, n_hashes (K), n_tables (L), seed, bits (K bits is at most 32).

    Notes
    -----
    A weight S is rounded down to y = exp(r (floor(log S / r + b) - b)) with r from Gamma(2, 1) and b uniform,
    and the coordinate with the smallest c / (y exp r) wins, c from Gamma(2, 1). Hashes and tables are
    independent. The similarity depends on scale: a row and its double have similarity 1/2.

    Cost: n K L divisions for a row of n nonzero entries; about six times as much if the random numbers of all
    coordinates, 24 dim K L bytes, exceed 16 MiB and are drawn again for each entry.

    Examples
    --------
    >>> import numpy as np
    >>> family = ICWS(ICWSSpec(dim=3, n_hashes=2, n_tables=2))
    >>> family.similarity_of(np.float32([[1, 2, 0]]), np.float32([[1, 1, 1]]))
    array([0.5])
    """

    similarity = "weighted_jaccard"

    def __init__(self, spec: ICWSSpec) -> None:
        self.bits_per_hash = spec.bits
        super().__init__(spec)

    @cached_property
    def _drawn(self) -> ICWSDraws:
        return ICWSDraws(self.spec)

    def hash(self, x: Rows) -> Codes:
        """Codes (n, n_tables) of rows."""
        codes = np.zeros((x.shape[0], self.n_tables), np.uint32)
        count = self.n_hashes * self.n_tables
        for row, (columns, values) in enumerate(entries(x)):
            if not len(columns):
                continue
            words, levels = self._samples(2 * columns + (values < 0), np.abs(values))
            bits = mix(words ^ mix(levels + self._drawn.seeds))[:count] & low_bits(self.spec.bits)
            for k, line in enumerate(bits.reshape(self.n_hashes, self.n_tables)):
                codes[row] |= line << np.uint32(k * self.spec.bits)
        return codes

    def _samples(self, elements: npt.NDArray[np.int64], weights: Float32) -> tuple[Words, Words]:
        """The word of the element, and the level, that each hash samples."""
        small = weights < _SMALLEST_NORMAL
        logs = logarithm(weights * np.where(small, np.float32(2.0**24), np.float32(1)))
        logs = logs - np.where(small, np.float32(16.635532), np.float32(0))
        words = self._drawn.words(elements)
        rate, log_cut, shift = self._drawn.draws(words)
        levels = np.floor(logs[:, None] / rate + shift)
        best = (log_cut - rate * (levels - shift + np.float32(1))).argmin(axis=0)
        return words[best], levels[best, np.arange(len(best))].astype(np.int32).view(np.uint32)

    def native(self) -> NativeKernel:
        """The compiled kernel, for the instruction set in use."""
        drawn = self._drawn
        state = ffi.new("lsh_icws_state *", (self.n_hashes, self.n_tables, self.spec.bits, drawn.seed))
        state.seeds = _native.pointer("uint32_t *", drawn.seeds)
        if drawn.table is not None:
            state.draws = _native.pointer("float *", drawn.table)
        address = _native.function("icws_hash")
        return _native.kernel(state, address, 0, lib.lsh_icws_scratch(state), drawn)

    def collision_probability(self, similarity: npt.ArrayLike) -> Floats:
        """J + (1 - J) / 2^b."""
        j = np.clip(np.asarray(similarity, np.float64), 0, 1)
        return np.asarray(j + (1 - j) * 2.0**-self.spec.bits)

    def similarity_of(self, q: Rows, x: Rows) -> Floats:
        """Weighted Jaccard similarities (n,) of pairs of rows; 1 for two rows of zeros."""
        return weighted_jaccard(q, x)
