"""DWTA, densified winner-take-all: the index of the largest of a few random coordinates."""

from __future__ import annotations

from functools import cached_property

import attrs
import numpy as np
import numpy.typing as npt
import scipy

from lshsample.plugin import (
    ArgumentError,
    Codes,
    FamilySpec,
    Floats,
    HashFamily,
    NativeKernel,
    Rows,
    dense_rows,
    integer,
    one_of,
)
from lshsample_families import _draws, _native
from lshsample_families._kernels import ffi, lib
from lshsample_families._mixing import words_of_columns
from lshsample_families._probing import best_codes, by_cost, digits
from lshsample_families._sets import entries

__all__ = ["DWTA", "DWTASpec", "Windows", "log_choose", "probe_windows", "rank_agreement", "window_kernel"]

Float32 = npt.NDArray[np.float32]
Entries = tuple[npt.NDArray[np.integer], Float32]

_COLUMNS, _SEEDS = 11, 12
#: For more columns, kernels look up the windows of a row's entries instead of the entries of each window.
_FEW_COLUMNS = 1024


@attrs.frozen(kw_only=True)
class DWTASpec(FamilySpec):
    """Options of :class:`DWTA`.

    Attributes
    ----------
    window : int
        Number of coordinates that one hash compares, m: a power of two from 2 to 256, at most ``dim``. A hash
        has log2 m bits.
    """

    n_hashes: int = attrs.field(default=4, validator=integer(1, 16))
    window: int = attrs.field(default=8, validator=one_of(2, 4, 8, 16, 32, 64, 128, 256))

    def __attrs_post_init__(self) -> None:
        if self.window > self.dim:
            raise ArgumentError("window", self.window, f"at most dim = {self.dim}")


class Windows:
    """The random windows of a spec, and a seed for each; hash k of table t has number t K + k."""

    def __init__(self, spec: DWTASpec) -> None:
        count = spec.n_hashes * spec.n_tables
        #: (L K, m) int32: distinct columns, in random order.
        self.columns = _distinct_columns(spec.seed, count, spec.window, spec.dim)
        #: (L K) uint32.
        self.seeds = (_draws.words(spec.seed, _SEEDS, count) >> np.uint64(32)).astype(np.uint32)
        self._dim = spec.dim

    @cached_property
    def by_column(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint32]] | None:
        """For many columns: (dim + 1) offsets into a list of ``hash * m + position`` by column."""
        if self._dim <= _FEW_COLUMNS:
            return None
        flat = self.columns.ravel()
        counts = np.bincount(flat, minlength=self._dim)
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return indptr, np.argsort(flat, kind="stable").astype(np.uint32)


def _distinct_columns(seed: int, count: int, size: int, dim: int) -> npt.NDArray[np.int32]:
    """(count, size) columns below ``dim``, distinct in each row, in random order."""
    if dim <= 16 * size:
        return np.ascontiguousarray(_draws.permutations(seed, _COLUMNS, count, dim)[:, :size])
    columns = np.empty((count, size), np.int64)
    wanted, stream = np.arange(count), _COLUMNS << 32
    while len(wanted):
        # A row with a repetition is drawn again completely, so that every ordered choice is equally likely.
        columns[wanted] = _draws.integers(seed, stream, len(wanted) * size, dim).reshape(-1, size)
        ordered = np.sort(columns[wanted], axis=1)
        wanted, stream = wanted[(ordered[:, 1:] == ordered[:, :-1]).any(axis=1)], stream + 1
    return columns.astype(np.int32)


class DWTA(HashFamily[DWTASpec]):
    """Densified winner-take-all (Yagnik et al., ICCV 2011; Chen & Shrivastava, UAI 2018).

    A hash has a window of m distinct random coordinates in random order. It is the position, log2 m bits, of
    the largest value in the window; of equal values, the first in the window wins. Zeros are ignored, in
    dense rows as in sparse ones. If a window contains zeros only, it is *empty*: then the hash is a random
    position that belongs to the row's first nonzero coordinate in another random order of all coordinates,
    which is independent for each hash. A row of zeros has the code 0.

    Parameters
    ----------
    spec : DWTASpec
        dim, n_hashes (K), n_tables (L), seed, window (m); K log2 m is at most 32.

    Notes
    -----
    Windows and orders are drawn independently for every hash, so the hashes of a code and the tables are
    independent, and p^K is exact for every pair of rows. (With windows cut from shared permutations, and
    empty windows filled from their neighbours, as often published, it is not.) The collision probability is
    a function of the ranks of both rows' coordinates: :meth:`similarity_of` computes it
    (:func:`rank_agreement`), and :meth:`collision_probability` is the identity.

    Cost of a row of d columns with n nonzero entries: K L m comparisons for up to 1,024 columns, n K L m / d
    lookups for more; and n steps for each empty window, of which there are about K L exp(-m n / d).

    Examples
    --------
    >>> import numpy as np
    >>> family = DWTA(DWTASpec(dim=16, n_hashes=2, n_tables=3, window=4))
    >>> x = np.arange(16, dtype=np.float32).reshape(1, 16)
    >>> bool((family.hash(x) == family.hash(x**3)).all()), family.code_bits
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
            codes[start : start + block] = self._hash_dense(dense_rows(x[start : start + block]))
        return codes

    def _hash_dense(self, rows: Float32) -> Codes:
        present = np.where(rows == 0, -np.inf, rows)
        codes = np.zeros((len(rows), self.n_tables), np.uint32)
        for number, window in enumerate(self._windows.columns):
            table, k = divmod(number, self.n_hashes)
            seen = present[:, window]
            positions = seen.argmax(axis=1).astype(np.uint32)
            for row in np.flatnonzero(seen.max(axis=1) == -np.inf):
                positions[row] = self._borrowed(np.flatnonzero(rows[row]), self._windows.seeds[number])
            codes[:, table] |= positions << np.uint32(k * self.bits_per_hash)
        return codes

    def _borrowed(self, columns: npt.NDArray[np.int64], seed: np.uint32) -> int:
        """The position of an empty window: that of the column with the smallest random rank."""
        if not len(columns):
            return 0
        return int(words_of_columns(columns, int(seed)).min()) & (self.spec.window - 1)

    def probe(self, q: Rows, n_probes: int) -> Codes:
        """Codes (n, n_tables, n_probes) for other winners of the windows, in ascending order of cost.

        The cost of a code is the sum over its hashes of the squared difference between the largest value in
        the window and the value of the winner. Zeros, and all positions of an empty window, come last. The
        probability that probes find a row is not known, so :meth:`probe_probability` is not supported.
        """
        return probe_windows(self, q, self._windows, n_probes, zeros=False)

    def native(self) -> NativeKernel:
        """The compiled kernel, for the instruction set in use."""
        return window_kernel("dwta", self.spec, self._windows)

    def collision_probability(self, similarity: npt.ArrayLike) -> Floats:
        """The similarity itself, from 0 to 1: :meth:`similarity_of` is the probability of one hash."""
        return np.clip(np.asarray(similarity, np.float64), 0, 1)

    def similarity_of(self, q: Rows, x: Rows) -> Floats:
        """:func:`rank_agreement` of pairs of rows, ``q[i]`` with ``x[i]``: (n,) float64."""
        pairs = zip(entries(q), entries(x), strict=True)
        return np.array([rank_agreement(a, b, self.dim, self.spec.window) for a, b in pairs], np.float64)


def probe_windows(family: HashFamily, q: Rows, windows: Windows, n_probes: int, *, zeros: bool) -> Codes:
    """Probes of a family of windows; ``zeros`` says whether zeros count as values."""
    size, n_hashes = windows.columns.shape[1], family.n_hashes
    codes = np.empty((q.shape[0], family.n_tables, n_probes), np.uint32)
    block = max(1, (1 << 20) // max(windows.columns.size, family.dim))
    for start in range(0, q.shape[0], block):
        rows = q[start : start + block]
        dense = dense_rows(rows).astype(np.float64)
        seen = dense[:, windows.columns].reshape(-1, n_hashes, size)
        absent = (seen == 0) & (not zeros)
        largest = np.where(absent, -np.inf, seen).max(axis=2, keepdims=True)
        costs = np.square(np.where(np.isfinite(largest), largest, 0) - seen)
        costs[absent] = np.inf
        own = digits(family.hash_query(rows).reshape(-1), n_hashes, family.bits_per_hash)
        found = best_codes(*by_cost(own, costs, n_probes), family.bits_per_hash, n_probes)
        codes[start : start + block] = found.reshape(-1, family.n_tables, n_probes)
    return codes


def window_kernel(family: str, spec: DWTASpec, windows: Windows) -> NativeKernel:
    """The kernel of ``"dwta"`` or ``"wta"``: over windows for few columns, over columns' windows for many."""
    state = ffi.new("lsh_dwta_state *")
    state.dim, state.n_hashes, state.n_tables = spec.dim, spec.n_hashes, spec.n_tables
    state.window = spec.window
    state.windows = _native.pointer("int32_t *", windows.columns)
    state.seeds = _native.pointer("uint32_t *", windows.seeds)
    by_column = windows.by_column
    if by_column is not None:
        state.indptr = _native.pointer("int64_t *", by_column[0])
        state.entries = _native.pointer("uint32_t *", by_column[1])
    address = _native.function(f"{family}_{'windows' if by_column is None else 'lists'}")
    return _native.kernel(state, address, 0, lib.lsh_dwta_scratch(state), windows, by_column)


def rank_agreement(q_entries: Entries, x_entries: Entries, dim: int, window: int) -> float:
    """Probability that one DWTA hash agrees on two rows, from the ranks of their coordinates.

    Parameters
    ----------
    q_entries, x_entries : (columns, values)
        The nonzero entries of the two rows, columns ascending.
    dim, window : int
        Columns, d, and the window's size, m.

    Returns
    -------
    float
        The sum of three cases. The window is empty for neither row: for each coordinate i, the probability
        that it is in the window and wins in both rows, sum_t C(R_i, m-1-t) C(T_i, t) / ((t + 1) C(d, m)),
        where R_i coordinates are smaller than i in both rows and T_i more are not larger (they must come
        after i in the window); without ties this is the formula of Yagnik et al. It is empty for one row:
        1/m. For both: J + (1 - J) / m with the Jaccard similarity J of the supports (Broder 1997), as the
        first coordinate of a random order is the same with probability J.

    Notes
    -----
    Cost: O(s^2) for s coordinates that are nonzero in both rows.
    """
    (q_columns, q_values), (x_columns, x_values) = q_entries, x_entries
    union, places = np.unique(np.concatenate([q_columns, x_columns]), return_inverse=True)
    q, x = np.full(len(union), -np.inf), np.full(len(union), -np.inf)
    q[places[: len(q_columns)]], x[places[len(q_columns) :]] = q_values, x_values
    shared = np.flatnonzero(np.isfinite(q) & np.isfinite(x))
    q_less, x_less = q[:, None] < q[shared], x[:, None] < x[shared]
    lower = np.count_nonzero(q_less & x_less, axis=0)
    not_larger = np.count_nonzero((q[:, None] <= q[shared]) & (x[:, None] <= x[shared]), axis=0)
    tied, lower = not_larger - lower - 1, lower + dim - len(union)
    t = np.arange(window)[:, None]
    all_windows = log_choose(dim, window)
    wins = log_choose(lower, window - 1 - t) + log_choose(tied, t) - np.log(t + 1) - all_windows
    both_filled = np.exp(wins).sum()
    supports = np.array([len(q_columns), len(x_columns), len(union)])
    empty_q, empty_x, empty = np.exp(log_choose(dim - supports, window) - all_windows)
    jaccard = len(shared) / len(union) if len(union) else 1.0
    one_empty = empty_q + empty_x - 2 * empty
    return float(both_filled + one_empty / window + empty * (jaccard + (1 - jaccard) / window))


def log_choose(n: npt.ArrayLike, k: npt.ArrayLike) -> Floats:
    """log C(n, k); -inf where k > n."""
    n, k = np.asarray(n, np.float64), np.asarray(k, np.float64)
    fits = k <= n
    kept = np.where(fits, k, 0)
    gammaln = scipy.special.gammaln
    return np.where(fits, gammaln(n + 1) - gammaln(kept + 1) - gammaln(n - kept + 1), -np.inf)
