"""Words that show no trace of what they were made from, as the kernels make them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["Words", "low_bits", "mix", "words_of_columns"]

Words = npt.NDArray[np.uint32]

#: 2^32 over the golden ratio: odd, and no number of columns makes it come round early.
GOLDEN = np.uint32(0x9E3779B1)


def mix(words: Words) -> Words:
    """MurmurHash3's finaliser, a bijection of 32-bit words."""
    once = (words ^ words >> np.uint32(16)) * np.uint32(0x85EBCA6B)
    twice = (once ^ once >> np.uint32(13)) * np.uint32(0xC2B2AE35)
    return np.asarray(twice ^ twice >> np.uint32(16), dtype=np.uint32)


def words_of_columns(columns: npt.NDArray[np.integer], seed: int) -> Words:
    """A word for each column, by a bijection that the seed names."""
    return mix(columns.astype(np.uint32) * GOLDEN ^ np.uint32(seed))


def low_bits(bits: int) -> np.uint32:
    """The mask of so many low bits."""
    return np.uint32((1 << bits) - 1)
