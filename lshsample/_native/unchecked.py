"""The kernels of a training step over arrays that are known to be valid: nothing is checked here.

Data are validated where they enter a network, and what a layer of another package returns is validated by the
network; from there on arrays are valid by construction, and a step checks nothing twice. An invalid array
leads to reads or writes outside of its memory. Where arrays may be invalid, use
:mod:`lshsample._native.layers`, whose functions compute the same, to the bit.

Weights and biases come as :class:`~lshsample._native.slots.Slots`, whose views are made once.
"""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import scipy.sparse as sp

from lshsample._native.arrays import Array, Float32, Int32, Int64, matrix
from lshsample._native.core import check, csr_struct, ffi, lib
from lshsample._native.dtypes import FLOAT32, KERNEL_DTYPES, DType
from lshsample._native.slots import Slots

__all__ = [
    "RowSums",
    "column_sums",
    "csr_matmul",
    "csr_sampled_matmul",
    "csr_transpose_matmul",
    "dense",
    "ids_pointer",
    "matmul_nn",
    "matmul_nt",
    "matmul_tn",
    "sampled_layer",
    "summed",
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
    x: sp.csr_array, d: Float32, weights: Slots, scale: float | None = None
) -> tuple[Int32, RowSums, RowSums | None]:
    """The columns of CSR rows x that have entries, ascending, and those rows of ``x.T @ d``: the gradient of
    weights, of their type; d is float32, of their width.

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
    groups = starts[: count[0] + 1], samples, values
    gradient = RowSums(*groups, d, weights.dtypes[0])
    ones = None if scale is None else np.full((x.shape[0], 1), scale, np.float32)
    return ids[: count[0]].copy(), gradient, None if ones is None else RowSums(*groups, ones, FLOAT32)


@attrs.frozen(eq=False)
class RowSums:
    """A gradient (n, columns) whose rows are sums of rows of another array, computed where they are used.

    Row i is the sum of ``values[t] * of[samples[t]]``, t from ``starts[i]`` to ``starts[i + 1] - 1``, in that
    order. What reads each row once, as an update of weights does, need not write it to memory before.

    Attributes
    ----------
    starts : (n + 1,) int64 array
    samples, values : arrays of int32 and float32
    of : (m, columns) float32 array
    dtype : DType
        The type that a row is rounded to.
    """

    starts: Int64
    samples: Int32
    values: Float32
    of: Float32
    dtype: DType

    @property
    def shape(self) -> tuple[int, int]:
        """(n, columns)."""
        return len(self.starts) - 1, self.of.shape[1]

    def array(self, threads: int = 1) -> Array:
        """All rows."""
        out = _empty(self.shape, self.dtype.numpy)
        starts, samples = _from_buffer("int64_t *", self.starts), _from_buffer("int32_t *", self.samples)
        values = _from_buffer("float *", self.values)
        status = lib.lsh_csr_weighted_sums(starts, samples, values, dense(self.of), dense(out), threads)
        check(status, "csr_transpose_matmul")
        return out


def summed(gradient: Array | RowSums) -> tuple[Any, Any]:
    """The ``lsh_dense`` and the ``lsh_row_sums *`` of a gradient, which must outlive their use."""
    if not isinstance(gradient, RowSums):
        return dense(gradient), _NULL
    buffers = (
        _from_buffer("int64_t *", gradient.starts),
        _from_buffer("int32_t *", gradient.samples),
        _from_buffer("float *", gradient.values),
    )
    return dense(gradient.of), _new("lsh_row_sums *", (len(gradient.starts) - 1, *buffers))


def sampled_layer(h: Float32, weights: Slots, bias: Slots | None, ids: Int32, dh: Float32 | None) -> Any:
    """An ``lsh_sampled_layer *`` of rows with active sets of their own; its arrays must outlive its use.

    Parameters
    ----------
    h : (m, columns) float32 array
        The input.
    weights : Slots
    bias : Slots or None
    ids : (nnz,) int32 array
        The active units of all rows.
    dh : (m, columns) float32 array or None
        Becomes the gradient at h.
    """
    first, stride = _NO_VECTOR if bias is None else bias.vector
    gradient = (_NULL, 0, 0, 0, _FLOAT32) if dh is None else dense(dh)
    parts = dense(h), weights.view, first, stride, _from_buffer("int32_t *", ids), gradient
    return _new("lsh_sampled_layer *", parts)


def csr_sampled_matmul(
    h: Any, weights: Slots, bias: Slots | None, indptr: Int64, ids: Int32, threads: int
) -> Float32:
    """``h[i] @ weights[ids[t]] + bias[ids[t]]`` for t in row i of indptr, h an ``lsh_dense``."""
    values = _empty(ids.size, np.float32)
    first, stride = _NO_VECTOR if bias is None else bias.vector
    status = lib.lsh_csr_sampled_matmul(
        h, weights.view, first, stride, _from_buffer("int64_t *", indptr),
        _from_buffer("int32_t *", ids), _from_buffer("float *", values), threads,
    )  # fmt: skip
    if status:
        check(status, "csr_sampled_matmul")
    return values
