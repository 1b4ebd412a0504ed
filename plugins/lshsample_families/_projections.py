"""Random projections of rows to K x L margins: options, the NumPy reference, the states of compiled kernels.

Every margin is computed in float32 with a fixed order of operations and no fused multiply-add, so that
compiled kernels of any vector width repeat it bit for bit. Rows are first scaled by a power of two, so that
no margin overflows; that changes no sign.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Protocol

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample.plugin import ArgumentError, FamilySpec, Rows, UnsupportedError, dense_rows, number, one_of
from lshsample_families import _draws
from lshsample_families._kernels import ffi
from lshsample_families._native import pointer

__all__ = [
    "DenseMatrix",
    "Hadamard",
    "ProjectingSpec",
    "Projection",
    "SparseMatrix",
    "claims_of",
    "draw_projection",
    "row_scales",
    "standard_margins",
]

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

#: Streams of a seed, one a purpose.
_FIRST_SIGNS, _SECOND_SIGNS, _GAUSSIANS, _PERMUTATIONS, _GAPS, _ENTRY_SIGNS = range(1, 7)
#: A matrix of more bytes is refused.
_MOST_BYTES = 2**32


class Projection(Protocol):
    """Margins of rows under K x L drawn directions."""

    #: Begins the names of its compiled functions, and is the name of its field in other states.
    kind: ClassVar[str]

    def margins(self, x: Rows) -> Float32:
        """Margins (n, K, L) of rows."""

    def deviation(self, norms: Float64) -> Float64:
        """Standard deviations of the margins of rows of these norms, over random directions.

        Raises
        ------
        UnsupportedError
            The margins are not normally distributed.
        """

    def state(self, dim: int) -> Any:
        """The state of its compiled functions (``csrc/api/projections.h``), which points to its arrays."""


@attrs.frozen(kw_only=True)
class ProjectingSpec(FamilySpec):
    """Options of families over random projections.

    Attributes
    ----------
    projection : str
        The kind of random directions. ``"hadamard"``: by fast transforms, for up to 65,536 columns.
        ``"gaussian"``: a matrix of normal numbers with a row for each column. ``"sparse"``: +1 and -1 at a
        few coordinates, for millions of columns.
    density : float
        With ``"sparse"``: the fraction of a direction's coordinates that are not zero.
    """

    projection: str = attrs.field(default="hadamard", validator=one_of("hadamard", "gaussian", "sparse"))
    density: float = attrs.field(default=1 / 3, validator=number(0, 1, open_low=True))

    def __attrs_post_init__(self) -> None:
        if self.projection == "hadamard" and self.dim > Hadamard.LARGEST:
            raise ArgumentError(
                "dim",
                self.dim,
                f'at most {Hadamard.LARGEST} for projection "hadamard"; "gaussian" or "sparse" take more',
            )


def draw_projection(spec: ProjectingSpec, margins: int) -> Projection:
    """The spec's projection, with ``margins`` margins for each table."""
    if spec.projection == "hadamard":
        return Hadamard(spec.dim, margins, spec.n_tables, spec.seed)
    if spec.projection == "gaussian":
        return DenseMatrix(spec.dim, margins, spec.n_tables, spec.seed)
    return SparseMatrix(spec.dim, margins, spec.n_tables, spec.seed, spec.density)


def claims_of(projection: str) -> tuple[bool, bool]:
    """``independent_tables`` and ``exact_law`` of families over a kind of projection."""
    return projection != "hadamard", projection != "sparse"


def row_scales(x: Rows) -> Float32:
    """Powers of two (n,) that scale each row's largest magnitude into [1, 4); 2**127 for rows of zeros."""
    if isinstance(x, np.ndarray):
        largest = np.abs(x).max(axis=1, initial=0)
    else:
        largest = np.zeros(x.shape[0], np.float32)
        np.maximum.at(largest, np.repeat(np.arange(x.shape[0]), np.diff(x.indptr)), np.abs(x.data))
    exponents = (np.asarray(largest, np.float32).view(np.uint32) >> 23).astype(np.int64)
    scales: Float32 = (np.clip(254 - exponents, 1, 254) << 23).astype(np.uint32).view(np.float32)
    return scales


def scaled_dense(x: Rows) -> Float32:
    """Rows as a dense array, each times its power of two."""
    scales = row_scales(x)
    dense = dense_rows(x)
    return np.asarray(dense * scales[:, None], dtype=np.float32)


def standard_margins(projection: Projection, q: Rows) -> Float64:
    """Margins (K, L) of one row in standard deviations over random directions; 0 for a row of zeros.

    Raises
    ------
    UnsupportedError
        The projection's margins are not normally distributed.
    """
    norm = np.sqrt(np.square(scaled_dense(q).astype(np.float64)).sum())
    deviation = max(float(projection.deviation(norm)), 1e-300)
    return np.asarray(projection.margins(q)[0].astype(np.float64) / deviation)


class Hadamard:
    """Directions from fast Hadamard transforms: margins in O(D log D) for D margins.

    With the Hadamard matrix H of order D (a power of two, at least 64), a row x is transformed to
    y = H S2 H S1 x (random signs S1, S2), which is a rotation up to a factor. Block b then yields the margins
    H G_b y with a diagonal G_b of independent normal numbers, restricted to the first M rows of H. There is a
    separate block for each k, and hash k of table l is one row of it.

    One margin is sum_i (+-g_i) y_i, so it is exactly that of a Gaussian direction; the K margins of a code
    come from K independent diagonals, so they are exactly independent. Margins of different tables share
    diagonals: their correlation, for given signs, is the Walsh transform of y_i^2 over its sum, about sqrt(2
    / D) where the signs spread the row evenly. A random permutation of each block makes it unlikely that two
    tables are correlated in all K hashes.
    """

    LARGEST = 2**16
    kind: ClassVar[str] = "hadamard"

    def __init__(self, dim: int, n_hashes: int, n_tables: int, seed: int) -> None:
        self.dim, self.n_hashes, self.n_tables = dim, n_hashes, n_tables
        self.size = max(64, 1 << (dim - 1).bit_length())
        self.outputs = max(8, min(self.size, 1 << (n_tables - 1).bit_length()))
        self.groups = -(-n_tables // self.outputs)
        blocks = self.groups * n_hashes
        self.first_signs = _draws.signs(seed, _FIRST_SIGNS, self.size)
        self.second_signs = _draws.signs(seed, _SECOND_SIGNS, self.size)
        self.diagonals = _draws.gaussians(seed, _GAUSSIANS, blocks * self.size).reshape(blocks, self.size)
        self.permutations = _draws.permutations(seed, _PERMUTATIONS, blocks, self.outputs)
        self.inverses = np.argsort(self.permutations, axis=1).astype(np.int32)

    def margins(self, x: Rows) -> Float32:
        """Margins (n, K, L) of rows."""
        spread = np.zeros((x.shape[0], self.size), np.float32)
        spread[:, : self.dim] = scaled_dense(x)
        spread = _transform(spread * self.first_signs)
        spread = _transform(spread * self.second_signs)
        out = np.empty((x.shape[0], self.n_hashes, self.n_tables), np.float32)
        for block, (diagonal, order) in enumerate(zip(self.diagonals, self.permutations, strict=True)):
            group, k = divmod(block, self.n_hashes)
            tables = out[:, k, group * self.outputs : (group + 1) * self.outputs]
            tables[:] = _transform(self._fold(spread * diagonal))[:, order[: tables.shape[1]]]
        return out

    def deviation(self, norms: Float64) -> Float64:
        """Each of the two unnormalised transforms of a row multiplies its norm by sqrt(D)."""
        return self.size * norms

    def state(self, dim: int) -> Any:
        """An ``lsh_hadamard_state``."""
        shape = {"dim": dim, "n_hashes": self.n_hashes, "n_tables": self.n_tables}
        state = ffi.new("lsh_hadamard_state *", {"shape": shape})
        state.size, state.outputs, state.groups = self.size, self.outputs, self.groups
        state.first_signs = pointer("float *", self.first_signs)
        state.second_signs = pointer("float *", self.second_signs)
        state.diagonals = pointer("float *", self.diagonals)
        state.permutations = pointer("int32_t *", self.permutations)
        state.tables = pointer("int32_t *", self.inverses)
        return state

    def _fold(self, scaled: Float32) -> Float32:
        """Columns i, i + M, i + 2M, ... added in this order: the first M rows of H need no more."""
        folded = scaled[:, : self.outputs].copy()
        for start in range(self.outputs, self.size, self.outputs):
            folded += scaled[:, start : start + self.outputs]
        return folded


def _transform(rows: Float32) -> Float32:
    """Walsh-Hadamard transform of each row, unnormalised, natural order; strides 1, 2, 4, ..."""
    n, size = rows.shape
    stride = 1
    while stride < size:
        pairs = rows.reshape(n, size // (2 * stride), 2, stride)
        rows = np.stack([pairs[:, :, 0] + pairs[:, :, 1], pairs[:, :, 0] - pairs[:, :, 1]], axis=2)
        stride *= 2
    return rows.reshape(n, size)


class DenseMatrix:
    """Directions of independent normal numbers, a (dim, K L) matrix: all margins are independent."""

    kind: ClassVar[str] = "matrix"

    def __init__(self, dim: int, n_hashes: int, n_tables: int, seed: int) -> None:
        self.n_hashes, self.n_tables = n_hashes, n_tables
        count = dim * n_hashes * n_tables
        if 4 * count > _MOST_BYTES:
            raise ArgumentError(
                "dim",
                dim,
                f'such that the matrix of projection "gaussian" has at most {_MOST_BYTES >> 20} MiB, not '
                f'{4 * count >> 20} MiB; projection "sparse" takes less',
            )
        self.matrix = _draws.gaussians(seed, _GAUSSIANS, count).reshape(dim, n_hashes * n_tables)

    def margins(self, x: Rows) -> Float32:
        """Margins (n, K, L) of rows: columns in ascending order are added one by one."""
        scales = row_scales(x)
        out = np.zeros((x.shape[0], self.matrix.shape[1]), np.float32)
        for rows, columns, values in _columns_in_order(x):
            out[rows] += (values * scales[rows])[:, None] * self.matrix[columns]
        return out.reshape(-1, self.n_hashes, self.n_tables)

    def deviation(self, norms: Float64) -> Float64:
        """A margin is a sum of normal numbers times coordinates."""
        return norms

    def state(self, dim: int) -> Any:
        """An ``lsh_matrix_state``."""
        shape = {"dim": dim, "n_hashes": self.n_hashes, "n_tables": self.n_tables}
        return ffi.new("lsh_matrix_state *", {"shape": shape, "matrix": pointer("float *", self.matrix)})


class SparseMatrix:
    """Directions with entries +1, -1 and 0, each sign drawn independently (Li, Hastie & Church, KDD 2006).

    Stored as a list of (margin, sign) for each column, 4 bytes an entry; a column takes ``density K L``
    additions.
    """

    kind: ClassVar[str] = "lists"

    def __init__(self, dim: int, n_hashes: int, n_tables: int, seed: int, density: float) -> None:
        self.n_hashes, self.n_tables = n_hashes, n_tables
        cells = dim * n_hashes * n_tables
        if 4 * cells * density > _MOST_BYTES:
            raise ArgumentError(
                "density",
                density,
                f"such that the projection lists have at most {_MOST_BYTES >> 20} MiB, not "
                f"{int(4 * cells * density) >> 20} MiB",
            )
        places = _bernoulli_places(seed, cells, density)
        width = n_hashes * n_tables
        negative = _draws.words(seed, _ENTRY_SIGNS, len(places)) >> np.uint64(63)
        #: Entries of column i: indptr[i] .. indptr[i + 1]; each is margin << 1 | negative.
        self.indptr = np.searchsorted(places, np.arange(dim + 1, dtype=np.int64) * width).astype(np.int64)
        self.entries = ((places % width) << 1 | negative.astype(np.int64)).astype(np.uint32)

    def margins(self, x: Rows) -> Float32:
        """Margins (n, K, L) of rows: columns in ascending order are added one by one."""
        scales = row_scales(x)
        out = np.zeros((x.shape[0], self.n_hashes * self.n_tables), np.float32)
        for rows, columns, values in _columns_in_order(x):
            starts, counts = self.indptr[columns], np.diff(self.indptr)[columns]
            ends = np.cumsum(counts)
            places = np.arange(ends[-1]) + np.repeat(starts - (ends - counts), counts)
            entries = self.entries[places]
            signed = np.repeat(values * scales[rows], counts) * np.where(
                entries & 1, np.float32(-1), np.float32(1)
            )
            out[np.repeat(rows, counts), entries >> 1] += signed
        return out.reshape(-1, self.n_hashes, self.n_tables)

    def deviation(self, norms: Float64) -> Float64:
        """Not supported: margins are not normally distributed."""
        raise UnsupportedError(
            'the probability that probes find a row is known for projection "hadamard" and "gaussian" only'
        )

    def state(self, dim: int) -> Any:
        """An ``lsh_lists_state``."""
        shape = {"dim": dim, "n_hashes": self.n_hashes, "n_tables": self.n_tables}
        state = ffi.new("lsh_lists_state *", {"shape": shape})
        state.indptr, state.entries = pointer("int64_t *", self.indptr), pointer("uint32_t *", self.entries)
        return state


def _columns_in_order(x: Rows) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], Float32]]:
    """(rows, columns, values) of the rows' first entries, then of their second entries, and so on."""
    csr: Any = sp.csr_array(x)
    counts = np.diff(csr.indptr)
    for place in range(counts.max(initial=0)):
        rows = np.flatnonzero(counts > place)
        at = csr.indptr[rows] + place
        yield rows, csr.indices[at], csr.data[at]


def _bernoulli_places(seed: int, cells: int, density: float) -> npt.NDArray[np.int64]:
    """The cells, ascending, chosen independently with probability ``density``: by geometric gaps."""
    chosen, last, stream = [], -1, _GAPS << 32
    while last < cells:
        count = max(1024, int((cells - last) * density * 1.05))
        uniform = ((_draws.words(seed, stream, count) >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
        # floor(log u / log(1 - density)) failures come before a success.
        gaps = np.floor(np.log(uniform) / np.log1p(-density)) if density < 1 else np.zeros(count)
        places = last + np.cumsum(gaps.astype(np.int64) + 1)
        chosen.append(places)
        last, stream = int(places[-1]), stream + 1
    everything = np.concatenate(chosen)
    return everything[: np.searchsorted(everything, cells)]
