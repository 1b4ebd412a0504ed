"""MurmurHash3's 32-bit finalizer, and pseudo-random words for columns made by it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["Words", "low_bits", "mix", "words_of_columns"]

Words = npt.NDArray[np.uint32]

#: 2^32 divided by the golden ratio, rounded to an odd number: multiplication by it is a bijection.
GOLDEN = np.uint32(0x9E3779B1)


def mix(words: Words) -> Words:
    """MurmurHash3's 32-bit finalizer, a bijection of 32-bit words."""
    once = (words ^ words >> np.uint32(16)) * np.uint32(0x85EBCA6B)
    twice = (once ^ once >> np.uint32(13)) * np.uint32(0xC2B2AE35)
    return np.asarray(twice ^ twice >> np.uint32(16), dtype=np.uint32)


def words_of_columns(columns: npt.NDArray[np.integer], seed: int) -> Words:
    """A distinct pseudo-random word for each column; the seed determines which."""
    return mix(columns.astype(np.uint32) * GOLDEN ^ np.uint32(seed))


def low_bits(bits: int) -> np.uint32:
    """A mask of the ``bits`` lowest bits."""
    return np.uint32((1 << bits) - 1)
