"""The reference as a compiled function: numba makes a C function of it, whose address lshsample calls."""
# numba compiles these functions: they are not Python to a type checker.
# mypy: ignore-errors
# pyright: reportPrivateImportUsage=false, reportCallIssue=false, reportArgumentType=false

import functools
import math
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import carray, cfunc, types

from lshsample.plugin import NativeKernel

__all__ = ["native_kernel"]

#: LSH_FAMILY_ABI of lshsample/family.h that the signature below was written for.
_ABI = 1
_SIZES = 2
_SIGNATURE = types.int32(
    types.voidptr,  # state
    types.int64,  # n_rows
    types.int64,  # dim
    types.CPointer(types.float32),  # values
    types.int64,  # stride: 0 for sparse rows
    types.CPointer(types.int64),  # indptr
    types.CPointer(types.int32),  # indices
    types.CPointer(types.uint32),  # codes
    types.voidptr,  # scratch
)


@functools.cache
def _compiled() -> Any:
    """Compiled at the first call, which takes a second or two."""

    @cfunc(_SIGNATURE)
    def hash_rows(state, n_rows, dim, values, stride, indptr, indices, codes, scratch):
        sizes = carray(state, _SIZES, np.int32)
        n_hashes, n_tables = sizes[0], sizes[1]
        width = n_hashes * n_tables
        directions = carray(state, _SIZES + dim * width, np.float32)[_SIZES:]
        margins = carray(scratch, width, np.float32)
        for row in range(n_rows):
            begin = indptr[row] if stride == 0 else row * stride
            count = indptr[row + 1] - begin if stride == 0 else dim
            largest = np.float32(0)
            for i in range(count):
                if values[begin + i] < 0:
                    return 1
                largest = max(largest, values[begin + i])
            exponent = 1 - math.frexp(largest)[1]
            scale = np.float32(math.ldexp(1.0, min(max(exponent, -126), 127)))
            for w in range(width):
                margins[w] = 0
            for i in range(count):
                column = indices[begin + i] if stride == 0 else i
                value = values[begin + i] * scale
                line = directions[column * width : (column + 1) * width]
                for w in range(width):
                    margins[w] += value * line[w]
            for t in range(n_tables):
                code = np.uint32(0)
                for k in range(n_hashes):
                    if margins[k * n_tables + t] >= 0:
                        code |= np.uint32(1) << np.uint32(k)
                codes[row * n_tables + t] = code
        return 0

    return hash_rows


def native_kernel(n_hashes: int, n_tables: int, directions: npt.NDArray[np.float32]) -> NativeKernel:
    """The kernel over directions (dim, K L); its state is two int32 sizes, then the directions."""
    sizes = np.array([n_hashes, n_tables], np.int32).view(np.float32)
    state = np.concatenate([sizes, directions.ravel()])
    function = _compiled()
    return NativeKernel(
        hash=function.address,
        state=state.ctypes.data,
        abi_version=_ABI,
        scratch_bytes=4 * n_hashes * n_tables,
        keepalive=(function, state),
    )
