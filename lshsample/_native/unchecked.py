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

from lshsample._native.arrays import Array, Float32, Int32, Int64, matrix
from lshsample._native.core import check, csr_struct, ffi, lib
from lshsample._native.dtypes import KERNEL_DTYPES
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

_new, _from_buffer, _NULL = ffi.new, ffi.from_buffer, ffi.NULL
_FLOAT32, _BFLOAT16 = lib.LSH_FLOAT32, lib.LSH_BFLOAT16
_NO_VECTOR = _NULL, 1
_empty = np.empty


def dense(array: Array) -> Any:
    """An ``lsh_dense`` over rows (rows, columns) of a type with kernels, each contiguous, which must outlive
    its use.
    """
    if not array.flags.c_contiguous:
        return matrix(array, "array", dtypes=KERNEL_DTYPES)
    (rows, columns), code = array.shape, _FLOAT32 if array.itemsize == 4 else _BFLOAT16
    return _new("lsh_dense *", (_from_buffer("char *", array), rows, columns, columns, code))[0]


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
        If they are bfloat16, processors with tile registers round a to bfloat16 too.
    rows : int32_t *
        From :func:`ids_pointer`.
    bias : Slots or None
    threads : int
    """
    first, stride = _NO_VECTOR if bias is None else bias.vector
    operands = weights.dtypes[0].code
    status = lib.lsh_matmul_nt(a, weights.view, rows, first, stride, out, operands, threads)
    if status:
        check(status, "matmul_nt")


def matmul_nn(a: Any, weights: Slots, rows: Any, out: Any, threads: int) -> None:
    """``out = a @ weights[rows]``; arguments as for :func:`matmul_nt`."""
    status = lib.lsh_matmul_nn(a, weights.view, rows, out, weights.dtypes[0].code, threads)
    if status:
        check(status, "matmul_nn")


def matmul_tn(a: Any, b: Any, out: Any, weights: Slots, threads: int) -> None:
    """``out = a.T @ b``, all from :func:`dense`: the gradient of weights, whose type out may have too; the
    operands may be rounded to it.
    """
    status = lib.lsh_matmul_tn(a, b, out, weights.dtypes[0].code, threads)
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


def csr_transpose_matmul(
    x: sp.csr_array, d: Any, weights: Slots, threads: int, scale: float | None = None
) -> tuple[Int32, Array, Float32 | None]:
    """The columns of CSR rows x that have entries, ascending, and those rows of ``x.T @ d``: the gradient of
    weights, of their width and type; d is an ``lsh_dense``.

    With a ``scale`` also the sums (n, 1) of the entries of each of these columns times it: the gradient of
    biases. The entries are then grouped by column only once.
    """
    size = x.data.size
    ids, samples = _empty(size, np.int32), _empty(size, np.int32)
    starts, values, count = _empty(size + 1, np.int64), _empty(size, np.float32), _new("int64_t *")
    at, of = _from_buffer("int64_t *", starts), _from_buffer("int32_t *", samples)
    factors = _from_buffer("float *", values)
    status = lib.lsh_csr_transpose(csr_struct(x)[0], _from_buffer("int32_t *", ids), at, of, factors, count)
    if status:
        check(status, "csr_transpose_matmul")
    gradient = _empty((count[0], weights.columns), weights.dtypes[0].numpy)
    status = lib.lsh_csr_weighted_sums(at, of, factors, d, dense(gradient), threads)
    sums = None
    if scale is not None and not status:
        sums, ones = _empty((count[0], 1), np.float32), np.full((x.shape[0], 1), scale, np.float32)
        status = lib.lsh_csr_weighted_sums(at, of, factors, dense(ones), dense(sums), threads)
    if status:
        check(status, "csr_transpose_matmul")
    return ids[: count[0]].copy(), gradient, sums


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
