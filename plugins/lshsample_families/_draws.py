"""Random numbers for hash functions: streams of a seed, the same on every machine and NumPy version.

NumPy guarantees the raw words of its bit generators, but not the numbers that its distributions make of them,
so the distributions are implemented here.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["gaussians", "integers", "permutations", "signs", "words"]

#: Pairs of Gaussian numbers per block.
_BLOCK = 1 << 20


def words(seed: int, stream: int, count: int) -> npt.NDArray[np.uint64]:
    """``count`` random 64-bit words of one stream of a seed (Philox4x64, Salmon et al. 2011)."""
    return np.asarray(_philox(seed, stream).random_raw(count), dtype=np.uint64)


def _philox(seed: int, stream: int) -> np.random.Philox:
    return np.random.Philox(key=np.array([seed, stream], np.uint64))


def signs(seed: int, stream: int, count: int) -> npt.NDArray[np.float32]:
    """Random signs, +1 or -1."""
    return np.where(words(seed, stream, count) >> np.uint64(63), np.float32(-1), np.float32(1))


def gaussians(seed: int, stream: int, count: int) -> npt.NDArray[np.float32]:
    """Standard normal numbers, by Box and Muller's transform."""
    half = (count + 1) // 2
    out = np.empty(2 * half, np.float32)
    # The first half of the words gives radii, the second half angles; in blocks, so that temporaries are
    # small compared with a result of 4 GiB.
    radii, angles = _philox(seed, stream), _philox(seed, stream)
    angles.advance(half // 4)  # counted in blocks of four words
    angles.random_raw(half % 4)
    for start in range(0, half, _BLOCK):
        block = slice(start, min(start + _BLOCK, half))
        size = block.stop - block.start
        radius, angle = np.sqrt(-2.0 * np.log(_uniform(radii, size))), 2.0 * np.pi * _uniform(angles, size)
        out[block], out[half:][block] = radius * np.cos(angle), radius * np.sin(angle)
    return out[:count]


def _uniform(generator: np.random.Philox, count: int) -> npt.NDArray[np.float64]:
    """Numbers in (0, 1), of 53 bits."""
    drawn = np.asarray(generator.random_raw(count), dtype=np.uint64) >> np.uint64(11)
    return np.asarray((drawn.astype(np.float64) + 0.5) * 2.0**-53)


def integers(seed: int, stream: int, count: int, bound: int) -> npt.NDArray[np.int64]:
    """Integers from 0 to ``bound - 1``; the bias of the remainder is below ``bound / 2**63``."""
    return np.asarray(words(seed, stream, count) % np.uint64(bound), dtype=np.int64)


def permutations(seed: int, stream: int, count: int, size: int) -> npt.NDArray[np.int32]:
    """``count`` random permutations of 0 .. ``size - 1``, (count, size)."""
    keys = words(seed, stream, count * size).reshape(count, size)
    return np.argsort(keys, axis=1, kind="stable").astype(np.int32)
