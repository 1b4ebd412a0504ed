"""Products of layers: dense, gathered (active rows), sparse input, per-sample active sets; top-k; dropout
masks.

Weights are float32 or bfloat16 views with contiguous rows; the row stride is free, so the weights of a
parameter with its optimizer state interleaved by row need no copy. Everything else is float32. ``threads``
never changes a bit of a result. Sums are taken in float32, in a fixed order. Nothing here checks for NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from lshsample._native.arrays import (
    Array,
    Float32,
    Int32,
    Int64,
    csr_pattern,
    matrix,
    new_or_checked,
    row_ids,
    strided_vector,
)
from lshsample._native.core import check, csr_view, ffi, lib, pointer, threads_or_default
from lshsample._native.dtypes import FLOAT32, KERNEL_DTYPES, DType, checked_dtype
from lshsample._native.topk import csr_top_k, top_k, top_k_ragged
from lshsample.errors import ArgumentError

__all__ = [
    "column_sums",
    "csr_matmul",
    "csr_pair_products",
    "csr_sampled_matmul",
    "csr_top_k",
    "csr_transpose_matmul",
    "dropout_mask",
    "has_tiles",
    "matmul_nn",
    "matmul_nt",
    "matmul_tn",
    "top_k",
    "top_k_ragged",
]


def has_tiles() -> bool:
    """Whether products with ``operands="bfloat16"`` run in tile registers (AMX-BF16): the processor has them,
    the instruction set in use is ``"avx512"``, and the system permits their use.
    """
    return bool(lib.lsh_has_tiles())


def matmul_nt(
    a: Float32,
    b: Array,
    *,
    bias: Float32 | None = None,
    rows: Int32 | None = None,
    out: Float32 | None = None,
    operands: DType | str = FLOAT32,
    threads: int | None = None,
) -> Float32:
    """``a @ b[rows].T + bias[rows]``: the affine map onto active rows, without a copy of them.

    Parameters
    ----------
    a : (m, k) float32
    b : (n_rows, k) float32 or bfloat16
        A view with contiguous rows.
    bias : (n_rows,) float32 or None
        May be strided.
    rows : (n,) int32 or None
        Row ids in [0, n_rows), in any order, repeats allowed; None takes all rows.
    out : (m, n) float32 or None
        Written and returned.
    operands : DType or str
        ``"bfloat16"`` permits to round a to bfloat16 if b is bfloat16: processors with tile registers
        (:func:`has_tiles`) do so, and are many times faster; others compute as with ``"float32"``.
    threads : int or None
        None takes the default of :func:`lshsample._native.core.threads_or_default`.

    Returns
    -------
    (m, n) float32

    Raises
    ------
    ArgumentError
        A wrong dtype, layout or shape, or an id out of range.

    Notes
    -----
    2 m n k operations; each of the n rows is read once.

    Examples
    --------
    >>> import numpy as np
    >>> from lshsample._native import layers
    >>> weights = np.arange(6, dtype=np.float32).reshape(3, 2)
    >>> layers.matmul_nt(np.ones((1, 2), np.float32), weights, rows=np.array([2, 0], np.int32))
    array([[9., 1.]], dtype=float32)
    """
    n_threads, rounded = threads_or_default(threads), checked_dtype(operands, "operands").code
    left, right = matrix(a, "a"), matrix(b, "b", cols=a.shape[1], dtypes=KERNEL_DTYPES)
    n = b.shape[0] if rows is None else row_ids(rows, "rows", b.shape[0]).size
    bias_pointer, bias_stride = strided_vector(bias, "bias", b.shape[0])
    result = new_or_checked(out, a.shape[0], n, a, b, bias)
    ids = pointer("int32_t *", rows)
    target = matrix(result, "out")
    status = lib.lsh_matmul_nt(left, right, ids, bias_pointer, bias_stride, target, rounded, n_threads)
    check(status, "matmul_nt")
    return result


def matmul_nn(
    a: Float32,
    b: Array,
    *,
    rows: Int32 | None = None,
    out: Float32 | None = None,
    operands: DType | str = FLOAT32,
    threads: int | None = None,
) -> Float32:
    """``a @ b[rows]``: the gradient at the input of an affine map onto active rows.

    Parameters
    ----------
    a : (m, n) float32
    b : (n_rows, k) float32 or bfloat16
        A view with contiguous rows.
    rows : (n,) int32 or None
        Row ids in [0, n_rows); None takes all rows.
    out : (m, k) float32 or None
    operands : DType or str
        As for :func:`matmul_nt`.
    threads : int or None

    Returns
    -------
    (m, k) float32

    Raises
    ------
    ArgumentError
        A wrong dtype, layout or shape, or an id out of range.
    """
    n_threads, rounded = threads_or_default(threads), checked_dtype(operands, "operands").code
    left, right = matrix(a, "a"), matrix(b, "b", dtypes=KERNEL_DTYPES)
    n = b.shape[0] if rows is None else row_ids(rows, "rows", b.shape[0]).size
    matrix(a, "a", cols=n)
    result = new_or_checked(out, a.shape[0], b.shape[1], a, b)
    ids, target = pointer("int32_t *", rows), matrix(result, "out")
    check(lib.lsh_matmul_nn(left, right, ids, target, rounded, n_threads), "matmul_nn")
    return result


def matmul_tn(
    a: Float32,
    b: Float32,
    *,
    out: Float32 | None = None,
    operands: DType | str = FLOAT32,
    threads: int | None = None,
) -> Float32:
    """``a.T @ b`` for a (m, n) and b (m, k): the gradient (n, k) of the active rows.

    ``operands="bfloat16"`` permits to round both to bfloat16, as for :func:`matmul_nt`.

    Raises
    ------
    ArgumentError
        A wrong dtype, layout or shape.
    """
    n_threads, rounded = threads_or_default(threads), checked_dtype(operands, "operands").code
    left, right = matrix(a, "a"), matrix(b, "b", rows=a.shape[0])
    result = new_or_checked(out, a.shape[1], b.shape[1], a, b)
    check(lib.lsh_matmul_tn(left, right, matrix(result, "out"), rounded, n_threads), "matmul_tn")
    return result


def column_sums(a: Float32, *, threads: int | None = None) -> Float32:
    """The sum of a's rows (m, n) as (n,) float32, added in the order of the rows: the gradient of a bias."""
    n_threads = threads_or_default(threads)
    view = matrix(a, "a")
    result = np.empty(a.shape[1], np.float32)
    check(lib.lsh_column_sums(view, pointer("float *", result), n_threads), "column_sums")
    return result


def _csr(x: Any, argument: str) -> Any:
    """An ``lsh_csr`` over an array from :func:`lshsample._native.core.csr_rows`."""
    if not isinstance(x, sp.csr_array):
        raise ArgumentError(argument, type(x).__name__, "a scipy.sparse.csr_array")
    if x.indptr.dtype != x.indices.dtype or x.data.dtype != np.float32:
        given = f"{x.indptr.dtype} indptr, {x.indices.dtype} indices, {x.data.dtype} data"
        raise ArgumentError(argument, given, "of indptr and indices of one dtype, and float32 data")
    return csr_view(x)


def csr_matmul(
    x: sp.csr_array,
    weights: Array,
    bias: Float32 | None = None,
    *,
    out: Float32 | None = None,
    threads: int | None = None,
) -> Float32:
    """``x @ weights + bias`` for a sparse x: the affine map of a sparse input.

    Parameters
    ----------
    x : (m, k) csr_array
        From :func:`lshsample._native.core.csr_rows`; its indices are not checked again.
    weights : (k, d) float32 or bfloat16
        A view with contiguous rows.
    bias : (d,) float32 or None
        May be strided.
    out : (m, d) float32 or None
    threads : int or None

    Returns
    -------
    (m, d) float32

    Raises
    ------
    ArgumentError
        A wrong dtype, layout or shape.

    Notes
    -----
    Reads one row of weights for each entry of x: 2 nnz d operations.
    """
    n_threads = threads_or_default(threads)
    view = _csr(x, "x")
    rows = matrix(weights, "weights", rows=x.shape[1], dtypes=KERNEL_DTYPES)
    bias_pointer, bias_stride = strided_vector(bias, "bias", weights.shape[1])
    result = new_or_checked(out, x.shape[0], weights.shape[1], weights, bias)
    check(
        lib.lsh_csr_matmul(view, rows, bias_pointer, bias_stride, matrix(result, "out"), n_threads),
        "csr_matmul",
    )
    return result


def csr_transpose_matmul(x: sp.csr_array, d: Float32, *, threads: int | None = None) -> tuple[Int32, Float32]:
    """``x.T @ d``, only the rows that x touches: the row-sparse gradient of a sparse input's weights.

    Parameters
    ----------
    x : (m, k) csr_array
        From :func:`lshsample._native.core.csr_rows`.
    d : (m, width) float32
    threads : int or None

    Returns
    -------
    rows : (r,) int32
        The distinct columns of x, ascending.
    gradient : (r, width) float32
        ``(x.T @ d)[rows]``, summed in the order of x's rows.

    Raises
    ------
    ArgumentError
        A wrong dtype, layout or shape.

    Notes
    -----
    O(nnz width) time and O(nnz) memory, whatever k is.

    Examples
    --------
    >>> import numpy as np
    >>> from lshsample._native import core, layers
    >>> import scipy.sparse as sp
    >>> x = core.csr_rows(sp.csr_array(([2.0, 3.0], ([0, 1], [7, 7])), shape=(2, 10)), "x")
    >>> rows, gradient = layers.csr_transpose_matmul(x, np.ones((2, 2), np.float32))
    >>> rows, gradient
    (array([7], dtype=int32), array([[5., 5.]], dtype=float32))
    """
    n_threads = threads_or_default(threads)
    view, right = _csr(x, "x"), matrix(d, "d", rows=x.shape[0])
    columns, samples = np.empty(x.nnz, np.int32), np.empty(x.nnz, np.int32)
    starts, values = np.empty(x.nnz + 1, np.int64), np.empty(x.nnz, np.float32)
    count = ffi.new("int64_t *")
    start_pointer, sample_pointer = pointer("int64_t *", starts), pointer("int32_t *", samples)
    value_pointer = pointer("float *", values)
    check(
        lib.lsh_csr_transpose(
            view, pointer("int32_t *", columns), start_pointer, sample_pointer, value_pointer, count
        ),
        "csr_transpose_matmul",
    )
    gradient = np.empty((count[0], d.shape[1]), np.float32)
    target = matrix(gradient, "gradient")
    check(
        lib.lsh_csr_weighted_sums(start_pointer, sample_pointer, value_pointer, right, target, n_threads),
        "csr_transpose_matmul",
    )
    return columns[: count[0]].copy(), gradient


def csr_sampled_matmul(
    h: Float32,
    weights: Array,
    bias: Float32 | None,
    indptr: Int64,
    ids: Int32,
    *,
    threads: int | None = None,
) -> Float32:
    """Logits of per-sample active sets: ``h[i] . weights[ids[t]] + bias[ids[t]]`` for t in row i of indptr.

    Parameters
    ----------
    h : (m, d) float32
    weights : (n, d) float32 or bfloat16
        A view with contiguous rows.
    bias : (n,) float32 or None
        May be strided.
    indptr : (m + 1,) int64
    ids : (nnz,) int32
    threads : int or None

    Returns
    -------
    (nnz,) float32

    Raises
    ------
    ArgumentError
        A wrong dtype, layout or shape, decreasing offsets, or an id out of range.
    """
    n_threads = threads_or_default(threads)
    left, right = matrix(h, "h"), matrix(weights, "weights", cols=h.shape[1], dtypes=KERNEL_DTYPES)
    row_ids(ids, "ids", weights.shape[0])
    offsets = pointer("int64_t *", csr_pattern(indptr, "indptr", h.shape[0], ids.size))
    bias_pointer, bias_stride = strided_vector(bias, "bias", weights.shape[0])
    values = np.empty(ids.size, np.float32)
    status = lib.lsh_csr_sampled_matmul(
        left,
        right,
        bias_pointer,
        bias_stride,
        offsets,
        pointer("int32_t *", ids),
        pointer("float *", values),
        n_threads,
    )
    check(status, "csr_sampled_matmul")
    return values


def csr_pair_products(
    q: sp.csr_array, x: sp.csr_array, indptr: Int64, ids: Int32, *, threads: int | None = None
) -> Float32:
    """Inner products of pairs of sparse rows: ``q[i] . x[ids[t]]`` for t in row i of indptr.

    Parameters
    ----------
    q, x : (m, k) and (n, k) csr_array
        From :func:`lshsample._native.core.csr_rows`.
    indptr : (m + 1,) int64
    ids : (nnz,) int32
    threads : int or None

    Returns
    -------
    (nnz,) float32
        Each summed in float64 and rounded.

    Raises
    ------
    ArgumentError
        A wrong dtype or shape, decreasing offsets, or an id out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from lshsample._native import core, layers
    >>> import scipy.sparse as sp
    >>> q = core.csr_rows(sp.csr_array([[1.0, 0, 2]]), "q")
    >>> x = core.csr_rows(sp.csr_array([[0, 5.0, 0], [3.0, 0, 4]]), "x")
    >>> layers.csr_pair_products(q, x, np.array([0, 2]), np.array([0, 1], np.int32))
    array([ 0., 11.], dtype=float32)
    """
    n_threads = threads_or_default(threads)
    left, right = _csr(q, "q"), _csr(x, "x")
    if q.shape[1] != x.shape[1]:
        raise ArgumentError("q", f"{q.shape[1]} columns", f"a matrix with {x.shape[1]} columns")
    row_ids(ids, "ids", x.shape[0])
    offsets = pointer("int64_t *", csr_pattern(indptr, "indptr", q.shape[0], ids.size))
    values = np.empty(ids.size, np.float32)
    status = lib.lsh_csr_pair_products(
        left, right, offsets, pointer("int32_t *", ids), pointer("float *", values), n_threads
    )
    check(status, "csr_pair_products")
    return values


def dropout_mask(
    seed: int, step: int, layer: int, shape: tuple[int, int], rate: float, *, threads: int | None = None
) -> Float32:
    """A float32 mask of a shape: 0 with probability ``rate``, else ``1 / (1 - rate)`` (inverted dropout).

    A pure function of (seed, step, layer, unit): Philox with purpose ``LSH_DRAW_DROPOUT``. Srivastava et al.
    2014.

    Examples
    --------
    >>> from lshsample._native import layers
    >>> layers.dropout_mask(0, 1, 0, (1, 4), 0.0)
    array([[1., 1., 1., 1.]], dtype=float32)
    """
    n_threads = threads_or_default(threads)
    if not 0 <= rate < 1:
        raise ArgumentError("rate", rate, "a number in [0, 1)")
    for name, value, bound in (("seed", seed, 64), ("step", step, 64), ("layer", layer, 32)):
        if not 0 <= value < 2**bound:
            raise ArgumentError(name, value, f"an integer from 0 to 2**{bound} - 1")
    if min(shape) < 0 or shape[0] * shape[1] >= 2**34:
        raise ArgumentError("shape", shape, "of fewer than 2**34 units")
    mask = np.empty(shape, np.float32)
    check(lib.lsh_dropout_mask(seed, step, layer, rate, matrix(mask, "shape"), n_threads), "dropout_mask")
    return mask
