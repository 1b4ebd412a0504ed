"""What hash functions are drawn from: streams that a seed names, the same on every machine and NumPy version.

NumPy promises the raw words of its bit generators for ever, but not what its distributions make of them; so
the distributions are made here.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["gaussians", "integers", "permutations", "signs", "words"]


def words(seed: int, stream: int, count: int) -> npt.NDArray[np.uint64]:
    """``count`` random 64-bit words of one stream of a seed (Philox4x64, Salmon et al. 2011)."""
    key = np.array([seed, stream], np.uint64)
    return np.asarray(np.random.Philox(key=key).random_raw(count), dtype=np.uint64)


def signs(seed: int, stream: int, count: int) -> npt.NDArray[np.float32]:
    """Random signs, +1 or -1."""
    return np.where(words(seed, stream, count) >> np.uint64(63), np.float32(-1), np.float32(1))


def gaussians(seed: int, stream: int, count: int) -> npt.NDArray[np.float32]:
    """Standard normal numbers, by Box and Muller's transform."""
    half = (count + 1) // 2
    drawn = words(seed, stream, 2 * half) >> np.uint64(11)
    uniform = (drawn.astype(np.float64) + 0.5) * 2.0**-53
    radius, angle = np.sqrt(-2.0 * np.log(uniform[:half])), 2.0 * np.pi * uniform[half:]
    both = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])
    return both[:count].astype(np.float32)


def integers(seed: int, stream: int, count: int, bound: int) -> npt.NDArray[np.int64]:
    """Integers from 0 to ``bound - 1``; the bias of the remainder is below ``bound / 2**63``."""
    return np.asarray(words(seed, stream, count) % np.uint64(bound), dtype=np.int64)


def permutations(seed: int, stream: int, count: int, size: int) -> npt.NDArray[np.int32]:
    """``count`` random permutations of ``size`` things, (count, size)."""
    keys = words(seed, stream, count * size).reshape(count, size)
    return np.argsort(keys, axis=1, kind="stable").astype(np.int32)
