"""MinHash: the element of a set that comes first in a random order."""

from __future__ import annotations

import math
from functools import cached_property

import attrs
import numpy as np
import numpy.typing as npt

from lshsample.plugin import Codes, Floats, HashFamily, NativeKernel, Rows, integer, one_of
from lshsample_families import _draws, _native
from lshsample_families._kernels import ffi, lib
from lshsample_families._mixing import GOLDEN, Words, low_bits, mix, words_of_columns
from lshsample_families._sets import SetSpec, jaccard, set_rule, sets_of

__all__ = ["MinHash", "MinHashDraws", "MinHashSpec"]

_WORDS, _FACTORS, _OFFSETS, _BINS = 21, 22, 23, 24
_EMPTY = np.uint32(0xFFFFFFFF)
#: Random bins that an empty bin tries before it considers all filled bins.
_TRIES = 8


@attrs.frozen(kw_only=True)
class MinHashSpec(SetSpec):
    """Options of :class:`MinHash`.

    Attributes
    ----------
    method : str
        ``"permutation-free"``: a separate function for each of the K L hashes. ``"doph"``: K permutations,
        each divided into a bin for each of the L tables; empty bins are filled by optimal densification.
    bits : int
        Bits of a hash that are kept, b; K b is at most 32.
    """

    n_hashes: int = attrs.field(default=4, validator=integer(1, 32))
    method: str = attrs.field(default="permutation-free", validator=one_of("permutation-free", "doph"))
    bits: int = attrs.field(default=8, validator=integer(1, 32))


class MinHashDraws:
    """The random numbers of a spec: the seed of columns' words, two words a function or permutation."""

    def __init__(self, spec: MinHashSpec) -> None:
        count = spec.n_hashes * (spec.n_tables if spec.method == "permutation-free" else 1)
        padded = -(-count // 64) * 64
        self.seed = int(_draws.words(spec.seed, _WORDS, 1)[0] >> np.uint64(32))
        #: (count, padded to a multiple of 64) uint32: odd factors and offsets of the functions, or the seeds
        #: of the permutations and of their densification.
        self.multipliers = self._words(spec.seed, _FACTORS, padded)
        self.offsets = self._words(spec.seed, _OFFSETS, padded)
        if spec.method == "permutation-free":
            self.multipliers |= np.uint32(1)
            return
        shape = spec.n_hashes, spec.n_tables, _TRIES
        drawn = _draws.integers(spec.seed, _BINS, math.prod(shape), spec.n_tables).reshape(shape)
        #: (K, 8, L) uint32: the bins that each empty bin tries, in order.
        self.tries = np.ascontiguousarray(drawn.transpose(0, 2, 1), np.uint32)

    @staticmethod
    def _words(seed: int, stream: int, count: int) -> Words:
        return (_draws.words(seed, stream, count) >> np.uint64(32)).astype(np.uint32)


class MinHash(HashFamily[MinHashSpec]):
    """MinHash of rows as sets (Broder 1997), b bits of a hash (Li & Koenig, WWW 2010).

    A hash consists of b bits of the element that comes first in a random order. Two sets of Jaccard
    similarity J agree with probability J + (1 - J) / 2^b. The empty set has the code 0.

    Parameters
    ----------
    spec : MinHashSpec
        dim, n_hashes (K), n_tables (L), seed, method, bits (K bits is at most 32), sets, threshold, set_size.

    Notes
    -----
    *permutation-free*: each hash orders the elements by a linear function of their pseudo-random words.
    Hashes and tables are independent.

    *doph*: there is a separate permutation for each of the K hashes of a code, divided into L bins; table l
    uses the l-th bin of each. An empty bin is replaced by the first filled bin in a random order of the
    bins, which is independent for each bin and keeps the collision probability exact (Shrivastava, ICML
    2017, arXiv 1703.04664; here the order begins with eight random bins and continues with all bins by
    random rank, so that small sets are not slower than large ones). The hashes of a code use different
    permutations, so they are independent and p^K is exact. Tables are dependent: for a set much smaller than
    L, many tables use the same few elements, and the variance of the number of tables that agree is much
    larger than with independent tables (``independent_tables`` is False).

    Cost of a set of n elements: *permutation-free* n K L multiplications; *doph* n K + K L.

    Examples
    --------
    >>> import numpy as np
    >>> family = MinHash(MinHashSpec(dim=100, n_hashes=2, n_tables=3, bits=4))
    >>> x = np.zeros((2, 100), np.float32)
    >>> x[0, :30] = x[1, 10:40] = 1
    >>> family.similarity_of(x[:1], x[1:]), family.collision_probability([0.5]), family.code_bits
    (array([0.5]), array([0.53125]), 8)
    """

    similarity = "jaccard"

    def __init__(self, spec: MinHashSpec) -> None:
        self.bits_per_hash = spec.bits
        self.independent_tables = spec.method == "permutation-free"
        super().__init__(spec)

    @cached_property
    def _drawn(self) -> MinHashDraws:
        return MinHashDraws(self.spec)

    def hash(self, x: Rows) -> Codes:
        """Codes (n, n_tables) of rows."""
        codes = np.zeros((x.shape[0], self.n_tables), np.uint32)
        first = self._first_of_functions if self.spec.method == "permutation-free" else self._first_of_bins
        for row, columns in enumerate(sets_of(x, self.spec)):
            words = words_of_columns(columns, self._drawn.seed)
            if not len(words) or (chosen := first(words)) is None:
                continue
            bits = mix(chosen) & low_bits(self.spec.bits)
            for k in range(self.n_hashes):
                codes[row] |= bits[k] << np.uint32(k * self.spec.bits)
        return codes

    def _first_of_functions(self, words: Words) -> Words:
        """The value that identifies the first element of each order, (K, L)."""
        count = self.n_hashes * self.n_tables
        factors, offsets = self._drawn.multipliers[:count], self._drawn.offsets[:count]
        least = np.full(count, np.iinfo(np.int32).max, np.int32)
        for start in range(0, len(words), 64):
            values = (words[start : start + 64, None] * factors + offsets).view(np.int32)
            least = np.minimum(least, values.min(axis=0))
        return least.view(np.uint32).reshape(self.n_hashes, self.n_tables)

    def _first_of_bins(self, words: Words) -> Words | None:
        """The same for the bins of permutations; None if all bins are empty."""
        chosen = np.empty((self.n_hashes, self.n_tables), np.uint32)
        for k in range(self.n_hashes):
            values = mix(words ^ self._drawn.multipliers[k])
            bins = np.full(self.n_tables, _EMPTY)
            np.minimum.at(
                bins, (values.astype(np.uint64) * np.uint64(self.n_tables)) >> np.uint64(32), values
            )
            if (bins == _EMPTY).all():
                return None
            chosen[k] = bins[self._stand_ins(bins, k)]
        return chosen + np.arange(self.n_tables, dtype=np.uint32) * GOLDEN

    def _stand_ins(self, bins: Words, k: int) -> npt.NDArray[np.int64]:
        """The bin that each table uses, (L): its own, or the one that replaces it."""
        places = np.arange(self.n_tables)
        waiting = np.flatnonzero(bins == _EMPTY)
        for tried in self._drawn.tries[k]:
            found = bins[tried[waiting]] != _EMPTY
            places[waiting[found]] = tried[waiting[found]]
            waiting = waiting[~found]
        filled = np.flatnonzero(bins != _EMPTY)
        words = mix(waiting.astype(np.uint32) * GOLDEN ^ self._drawn.offsets[k])
        ranks = mix(filled.astype(np.uint32) * GOLDEN ^ words[:, None])
        places[waiting] = filled[ranks.argmin(axis=1)]
        return places

    def native(self) -> NativeKernel:
        """The compiled kernel of the method, for the instruction set in use."""
        spec, drawn = self.spec, self._drawn
        state = ffi.new("lsh_minhash_state *", {"rule": set_rule(spec, drawn.seed)})
        state.n_hashes, state.n_tables, state.bits = spec.n_hashes, spec.n_tables, spec.bits
        state.multipliers = _native.pointer("uint32_t *", drawn.multipliers)
        state.offsets = _native.pointer("uint32_t *", drawn.offsets)
        if spec.method == "doph":
            state.tries = _native.pointer("uint32_t *", drawn.tries)
        address = _native.function("minhash_bins" if spec.method == "doph" else "minhash_functions")
        return _native.kernel(state, address, 0, lib.lsh_minhash_scratch(state), drawn)

    def collision_probability(self, similarity: npt.ArrayLike) -> Floats:
        """J + (1 - J) / 2^b."""
        j = np.clip(np.asarray(similarity, np.float64), 0, 1)
        return np.asarray(j + (1 - j) * 2.0**-self.spec.bits)

    def similarity_of(self, q: Rows, x: Rows) -> Floats:
        """Jaccard similarities (n,) of the sets of pairs of rows; 1 for two empty ones."""
        return jaccard(q, x, self.spec)
