"""The kernels of a training step over arrays that are known to be valid: nothing is checked here.

Data are validated where they enter a network, and what a layer of another package returns is validated by the
network; from there on arrays are valid by construction, and a step checks nothing twice. An invalid array
leads to reads or writes outside of its memory. Where arrays may be invalid, use
:mod:`lshsample._native.layers`, whose functions compute the same, to the bit.

Weights and biases come as :class:`~lshsample._native.slots.Slots`, whose views are made once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from lshsample._native.arrays import Float32, Int32, Int64, matrix
from lshsample._native.core import check, csr_struct, ffi, lib
from lshsample._native.slots import Slots

__all__ = [
    "column_sums",
    "csr_matmul",
    "csr_sampled_matmul",
    "csr_transpose_matmul",
    "dense",
    "ids_pointer",
    "matmul_nn",
    "matmul_nt",
    "matmul_tn",
]

_new, _from_buffer, _NULL, _FLOAT32 = ffi.new, ffi.from_buffer, ffi.NULL, lib.LSH_FLOAT32
_NO_VECTOR = _NULL, 1
_empty = np.empty


def dense(array: Float32) -> Any:
    """An ``lsh_dense`` over float32 rows (rows, columns), each contiguous, which must outlive its use."""
    if not array.flags.c_contiguous:
        return matrix(array, "array")
    rows, columns = array.shape
    return _new("lsh_dense *", (_from_buffer("char *", array), rows, columns, columns, _FLOAT32))[0]


def ids_pointer(ids: Int32 | None) -> Any:
    """A pointer to contiguous ids, which must outlive its use; NULL for None."""
    return _NULL if ids is None else _from_buffer("int32_t *", ids)


def matmul_nt(a: Any, weights: Slots, rows: Any, bias: Slots | None, out: Any, threads: int) -> None:
    """``out = a @ weights[rows].T + bias[rows]``.

    Parameters
    ----------
    a, out : lsh_dense
        From :func:`dense`.
    weights : Slots
    rows : int32_t *
        From :func:`ids_pointer`.
    bias : Slots or None
    threads : int
    """
    first, stride = _NO_VECTOR if bias is None else bias.vector
    status = lib.lsh_matmul_nt(a, weights.view, rows, first, stride, out, threads)
    if status:
        check(status, "matmul_nt")


def matmul_nn(a: Any, weights: Slots, rows: Any, out: Any, threads: int) -> None:
    """``out = a @ weights[rows]``; arguments as for :func:`matmul_nt`."""
    status = lib.lsh_matmul_nn(a, weights.view, rows, out, threads)
    if status:
        check(status, "matmul_nn")


def matmul_tn(a: Any, b: Any, out: Any, threads: int) -> None:
    """``out = a.T @ b``, all from :func:`dense`."""
    status = lib.lsh_matmul_tn(a, b, out, threads)
    if status:
        check(status, "matmul_tn")


def column_sums(a: Any, columns: int, threads: int) -> Float32:
    """The sum of the rows of an ``lsh_dense`` with ``columns`` columns, in their order."""
    result = _empty(columns, np.float32)
    status = lib.lsh_column_sums(a, _from_buffer("float *", result), threads)
    if status:
        check(status, "column_sums")
    return result


def csr_matmul(x: sp.csr_array, weights: Slots, bias: Slots | None, threads: int) -> Float32:
    """``x @ weights + bias`` for CSR rows."""
    view = csr_struct(x)
    result = _empty((view.rows, weights.columns), np.float32)
    first, stride = _NO_VECTOR if bias is None else bias.vector
    status = lib.lsh_csr_matmul(view[0], weights.view, first, stride, dense(result), threads)
    if status:
        check(status, "csr_matmul")
    return result


def csr_transpose_matmul(x: sp.csr_array, d: Any, columns: int, threads: int) -> tuple[Int32, Float32]:
    """The columns of CSR rows x that have entries, ascending, and those rows of ``x.T @ d``; d is an
    ``lsh_dense`` with ``columns`` columns.
    """
    size = x.data.size
    ids, samples = _empty(size, np.int32), _empty(size, np.int32)
    starts, values, count = _empty(size + 1, np.int64), _empty(size, np.float32), _new("int64_t *")
    at, of = _from_buffer("int64_t *", starts), _from_buffer("int32_t *", samples)
    factors = _from_buffer("float *", values)
    status = lib.lsh_csr_transpose(csr_struct(x)[0], _from_buffer("int32_t *", ids), at, of, factors, count)
    if status:
        check(status, "csr_transpose_matmul")
    gradient = _empty((count[0], columns), np.float32)
    status = lib.lsh_csr_weighted_sums(at, of, factors, d, dense(gradient), threads)
    if status:
        check(status, "csr_transpose_matmul")
    return ids[: count[0]].copy(), gradient


def csr_sampled_matmul(
    h: Any, weights: Slots, bias: Slots | None, indptr: Int64, ids: Int32, threads: int
) -> Float32:
    """``h[i] . weights[ids[t]] + bias[ids[t]]`` for t in row i of indptr, h an ``lsh_dense``."""
    values = _empty(ids.size, np.float32)
    first, stride = _NO_VECTOR if bias is None else bias.vector
    status = lib.lsh_csr_sampled_matmul(
        h, weights.view, first, stride, _from_buffer("int64_t *", indptr),
        _from_buffer("int32_t *", ids), _from_buffer("float *", values), threads,
    )  # fmt: skip
    if status:
        check(status, "csr_sampled_matmul")
    return values
