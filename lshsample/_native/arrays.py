"""Checked views of arrays that layers, losses and optimizers pass to the C core without a copy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lshsample._native.core import ffi, pointer
from lshsample._native.dtypes import FLOAT32, DType, alternatives, checked_device, described
from lshsample.errors import ArgumentError

__all__ = ["csr_pattern", "matrix", "new_or_checked", "row_ids", "strided_vector", "vector", "whole"]

#: Of any element type, bfloat16 too (see :mod:`lshsample._native.dtypes`).
Array = npt.NDArray[Any]
Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]


def _refuse(array: Any, argument: str, ndim: int, dtypes: str) -> ArgumentError:
    """The error for an object that is not a NumPy array of these dtypes and number of dimensions."""
    if isinstance(array, np.ndarray):
        given = f"{array.ndim}-D {described(array.dtype)} of shape {array.shape}"
    else:
        checked_device(getattr(array, "device", "cpu"), argument)
        given = type(array).__name__
    return ArgumentError(argument, given, f"a {ndim}-D array of {dtypes}")


def _typed(array: Any, argument: str, dtype: type, ndim: int) -> None:
    """Refuse anything but a NumPy array of this dtype and number of dimensions."""
    if not (isinstance(array, np.ndarray) and array.dtype == dtype and array.ndim == ndim):
        raise _refuse(array, argument, ndim, np.dtype(dtype).name)


def _element(array: Any, argument: str, dtypes: Sequence[DType]) -> DType:
    """The element type of a matrix, one of ``dtypes``."""
    if isinstance(array, np.ndarray) and array.ndim == 2:
        for dtype in dtypes:
            if array.dtype == dtype.numpy:
                return dtype
    raise _refuse(array, argument, 2, alternatives(dtypes))


def _size(given: int, wanted: int, argument: str, what: str) -> None:
    if given != wanted:
        raise ArgumentError(argument, f"{given} {what}", f"an array with {wanted} {what}")


def matrix(
    array: Array,
    argument: str,
    rows: int | None = None,
    cols: int | None = None,
    *,
    dtypes: Sequence[DType] = (FLOAT32,),
) -> Any:
    """An ``lsh_dense`` over an array whose rows are contiguous (a slot of interleaved rows is such a view).

    Parameters
    ----------
    array : (rows, cols) array
        Any start, and a row stride that is a multiple of an element and not shorter than a row.
    argument : str
        The name in errors.
    rows, cols : int or None
        Required sizes.
    dtypes : sequence of DType
        The types that this argument may have.

    Raises
    ------
    ArgumentError
        Another dtype, device, number of dimensions, size or layout.
    """
    dtype = _element(array, argument, dtypes)
    (n, width), (row, item), size = array.shape, array.strides, array.itemsize
    if rows is not None:
        _size(n, rows, argument, "rows")
    if cols is not None:
        _size(width, cols, argument, "columns")
    inner = width <= 1 or item == size
    outer = n <= 1 or (row % size == 0 and row >= size * width)
    if array.size and not (inner and outer):
        wanted = "an array of contiguous rows in ascending order"
        raise ArgumentError(argument, f"strides {array.strides}", wanted)
    stride = row // size if n > 1 else width
    return ffi.new("lsh_dense *", (pointer("char *", array), n, width, stride, dtype.code))[0]


def strided_vector(array: Float32 | None, argument: str, size: int) -> tuple[Any, int]:
    """A float pointer and a stride in floats over a 1-D float32 array; None gives NULL."""
    if array is None:
        return ffi.NULL, 1
    _typed(array, argument, np.float32, 1)
    _size(array.size, size, argument, "elements")
    stride = array.strides[0]
    if size > 1 and (stride < 4 or stride % 4):
        raise ArgumentError(argument, f"stride {stride}", "of a positive stride, a multiple of 4 bytes")
    return pointer("float *", array), stride // 4


def vector(array: npt.NDArray[Any], argument: str, dtype: type, size: int | None = None) -> npt.NDArray[Any]:
    """A checked contiguous 1-D array."""
    _typed(array, argument, dtype, 1)
    if size is not None:
        _size(array.size, size, argument, "elements")
    return whole(array, argument)


def whole(array: npt.NDArray[Any], argument: str) -> npt.NDArray[Any]:
    """The array itself, if it is contiguous in C order."""
    if not array.flags.c_contiguous:
        raise ArgumentError(argument, f"strides {array.strides}", "a contiguous array in C order")
    return array


def row_ids(ids: Int32, argument: str, bound: int, size: int | None = None) -> Int32:
    """Checked contiguous int32 ids, each in [0, bound)."""
    vector(ids, argument, np.int32, size)
    # As unsigned numbers negative ids are large: one pass finds both errors.
    if ids.size and int(ids.view(np.uint32).max()) >= bound:
        bad = int(np.flatnonzero((ids < 0) | (ids >= bound))[0])
        raise ArgumentError(argument, f"id {ids[bad]} at {bad}", f"ids from 0 to {bound - 1}")
    return ids


def csr_pattern(indptr: Int64, argument: str, rows: int | None, entries: int) -> Int64:
    """A checked indptr: int64, from 0, nondecreasing, ending at the number of entries."""
    vector(indptr, argument, np.int64, None if rows is None else rows + 1)
    if indptr.size == 0 or indptr[0] != 0 or indptr[-1] != entries:
        ends = f"{indptr[0]} .. {indptr[-1]}" if indptr.size else "no elements"
        raise ArgumentError(argument, ends, f"offsets from 0 to {entries}, one more than there are rows")
    if np.any(indptr[1:] < indptr[:-1]):
        raise ArgumentError(argument, "decreasing offsets", "nondecreasing offsets")
    return indptr


def new_or_checked(out: Float32 | None, rows: int, cols: int, *inputs: Float32 | None) -> Float32:
    """``out``, checked for shape, writing and overlap with the inputs, or a new array of this shape."""
    if out is None:
        return np.empty((rows, cols), np.float32)
    matrix(out, "out", rows, cols)
    if not out.flags.writeable:
        raise ArgumentError("out", "a read-only array", "a writable array")
    if any(source is not None and np.may_share_memory(out, source) for source in inputs):
        raise ArgumentError("out", "memory shared with an input", "an array that overlaps no input")
    return out
