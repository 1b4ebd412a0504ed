"""WTA, winner-take-all: the index of the largest of a few random coordinates, zeros included."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt

from lshsample.plugin import Codes, Floats, HashFamily, NativeKernel, Rows, dense_rows
from lshsample_families._sets import entries
from lshsample_families.dwta import DWTASpec, Windows, log_choose, probe_windows, window_kernel

__all__ = ["WTA", "concordance"]

Entries = tuple[npt.NDArray[np.integer], npt.NDArray[np.float32]]


class WTA(HashFamily[DWTASpec]):
    """Winner-take-all (Yagnik, Strelow, Ross & Lin, ICCV 2011).

    A hash has a window of m distinct random coordinates in random order. It is the position, log2 m bits, of
    the largest value in the window; of equal values, the first in the window wins. Zeros are values like
    others, so a row of mostly zeros has position 0 in most windows; DWTA ignores zeros instead. Only the
    order of a row's values matters.

    Parameters
    ----------
    spec : DWTASpec
        dim, n_hashes (K), n_tables (L), seed, window (m); K log2 m is at most 32.

    Notes
    -----
    Windows are drawn independently for every hash, so the hashes of a code and the tables are independent,
    and p^K is exact for every pair of rows. The collision probability is a function of the ranks of both
    rows' coordinates: :meth:`similarity_of` computes it (:func:`concordance`), and
    :meth:`collision_probability` is the identity.

    Cost of a row of d columns with n nonzero entries: K L m comparisons for up to 1,024 columns, about
    n K L m / d + K L log n lookups for more.

    Examples
    --------
    >>> import numpy as np
    >>> family = WTA(DWTASpec(dim=16, n_hashes=2, n_tables=3, window=4))
    >>> x = np.arange(16, dtype=np.float32).reshape(1, 16)
    >>> bool((family.hash(x) == family.hash(2 * x - 9)).all()), family.code_bits
    (True, 4)
    """

    similarity = "rank"

    def __init__(self, spec: DWTASpec) -> None:
        self.bits_per_hash = spec.window.bit_length() - 1
        super().__init__(spec)

    @cached_property
    def _windows(self) -> Windows:
        return Windows(self.spec)

    def hash(self, x: Rows) -> Codes:
        """Codes (n, n_tables) of rows."""
        codes = np.zeros((x.shape[0], self.n_tables), np.uint32)
        block = max(1, (1 << 22) // self.dim)
        for start in range(0, x.shape[0], block):
            rows = x[start : start + block]
            dense = dense_rows(rows)
            for number, window in enumerate(self._windows.columns):
                table, k = divmod(number, self.n_hashes)
                positions = dense[:, window].argmax(axis=1).astype(np.uint32)
                codes[start : start + block, table] |= positions << np.uint32(k * self.bits_per_hash)
        return codes

    def probe(self, q: Rows, n_probes: int) -> Codes:
        """Codes (n, n_tables, n_probes) for other winners of the windows, in ascending order of cost.

        The cost of a code is the sum over its hashes of the squared difference between the largest value in
        the window and the value of the winner. The probability that probes find a row is not known, so
        :meth:`probe_probability` is not supported.
        """
        return probe_windows(self, q, self._windows, n_probes, zeros=True)

    def native(self) -> NativeKernel:
        """The compiled kernel, for the instruction set in use."""
        return window_kernel("wta", self.spec, self._windows)

    def collision_probability(self, similarity: npt.ArrayLike) -> Floats:
        """The similarity itself, from 0 to 1: :meth:`similarity_of` is the probability of one hash."""
        return np.clip(np.asarray(similarity, np.float64), 0, 1)

    def similarity_of(self, q: Rows, x: Rows) -> Floats:
        """:func:`concordance` of pairs of rows, ``q[i]`` with ``x[i]``: (n,) float64."""
        pairs = zip(entries(q), entries(x), strict=True)
        return np.array([concordance(a, b, self.dim, self.spec.window) for a, b in pairs], np.float64)


def concordance(q_entries: Entries, x_entries: Entries, dim: int, window: int) -> float:
    """Probability that one WTA hash agrees on two rows, from the ranks of their coordinates.

    Parameters
    ----------
    q_entries, x_entries : (columns, values)
        The nonzero entries of the two rows, columns ascending.
    dim, window : int
        Columns, d, and the window's size, m.

    Returns
    -------
    float
        The probability that coordinate i is in the window and wins in both rows, summed over all i: sum_t
        C(R_i, m-1-t) C(T_i, t) / ((t + 1) C(d, m)), where R_i coordinates are smaller than i in both rows,
        and T_i more are not larger in either (they must come after i). Without ties this is the formula of
        Yagnik et al.

    Notes
    -----
    Coordinates that are zero in both rows have equal ranks and are counted together. Cost: O(s^2) for s
    others.
    """
    (q_columns, q_values), (x_columns, x_values) = q_entries, x_entries
    union, places = np.unique(np.concatenate([q_columns, x_columns]), return_inverse=True)
    # One more coordinate represents all that are zero in both rows.
    q, x = np.zeros(len(union) + 1), np.zeros(len(union) + 1)
    q[places[: len(q_columns)]], x[places[len(q_columns) :]] = q_values, x_values
    counts = np.ones(len(union) + 1)
    counts[-1] = dim - len(union)
    lower = ((q[:, None] < q) & (x[:, None] < x)).T @ counts
    tied = ((q[:, None] <= q) & (x[:, None] <= x)).T @ counts - lower - 1
    kept = counts > 0
    lower, tied, counts = lower[kept], tied[kept], counts[kept]
    t = np.arange(window)[:, None]
    wins = log_choose(lower, window - 1 - t) + log_choose(tied, t) - np.log(t + 1)
    return float((np.exp(wins - log_choose(dim, window)) @ counts).sum())
