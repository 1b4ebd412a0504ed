"""Query-directed probing of codes whose hashes have many values: codes of the smallest sum of costs first."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from lshsample.plugin import Codes, Floats

__all__ = ["best_codes", "by_cost", "digits"]

#: Scores per block.
_BLOCK = 1 << 20


def digits(codes: Codes, n_hashes: int, bits: int) -> Codes:
    """The hashes of codes, along one more axis at the end."""
    places = np.arange(n_hashes, dtype=np.uint32) * np.uint32(bits)
    return np.asarray(codes[..., None] >> places & np.uint32(2**bits - 1), dtype=np.uint32)


def by_cost(own: Codes, costs: Floats, n_values: int) -> tuple[Codes, Floats]:
    """The cheapest values of hashes (n, K) whose values cost (n, K, V): the hash's own first, then by cost.

    Returns
    -------
    values, costs : (n, K, at most n_values) arrays
        Of equal costs, the smaller value comes first. The hash's own value costs 0.
    """
    first = costs.copy()
    np.put_along_axis(first, own[..., None].astype(np.intp), -1, axis=2)
    order = np.argsort(first, axis=2, kind="stable")[..., :n_values]
    return order.astype(np.uint32), np.maximum(np.take_along_axis(first, order, axis=2), 0)


def best_codes(values: Codes, costs: Floats, bits: int, n_probes: int) -> Codes:
    """The codes of the smallest sums of costs, in ascending order.

    Parameters
    ----------
    values : (n, K, A) uint32 array
        Distinct values of each hash; A is the number of all values, or at least ``n_probes``.
    costs : (n, K, A) float64 array
        Their costs, ascending.
    bits : int
        Bits of a hash.
    n_probes : int
        Codes to return, P, at most A^K.

    Returns
    -------
    (n, P) uint32 array
        The sequence of the shift and expand operations of Lv et al. (VLDB 2007). Of equal sums, the code
        whose last hash costs more comes later, then by the hash before it, and so on.

    Notes
    -----
    Hashes are added one by one, and the best P codes are kept. The i-th of the codes so far together with the
    j-th value of the next hash is among the best P only if i j <= P, so a hash takes O(P log P) sums and
    their sorting.
    """
    out = np.empty((len(values), n_probes), np.uint32)
    for part in _parts(len(values), n_probes):
        codes, scores = values[part, 0, :n_probes], costs[part, 0, :n_probes]
        for k in range(1, values.shape[1]):
            i, j = _joined(codes.shape[1], values.shape[2], n_probes)
            sums = scores[:, i] + costs[part, k][:, j]
            both = codes[:, i] | values[part, k][:, j] << np.uint32(k * bits)
            order = np.argsort(sums, axis=1, kind="stable")[:, :n_probes]
            codes, scores = np.take_along_axis(both, order, 1), np.take_along_axis(sums, order, 1)
        out[part] = codes
    return out


def _parts(n: int, n_probes: int) -> Iterator[slice]:
    step = max(1, _BLOCK // int(n_probes * (1 + np.log(n_probes))))
    return (slice(start, start + step) for start in range(0, n, step))


def _joined(n_first: int, n_second: int, n_probes: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Pairs of ranks that can be among the best, (i + 1) (j + 1) <= P, ordered by j, then by i."""
    counts = [min(n_first, n_probes // j) for j in range(1, min(n_second, n_probes) + 1)]
    return np.concatenate([np.arange(count) for count in counts]), np.repeat(np.arange(len(counts)), counts)
