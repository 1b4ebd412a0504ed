"""Compiled hash functions that users supply: checks of their signatures, their kernels, calls."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lshsample.plugin import ArgumentError, FamilySpec, NativeKernel, Rows
from lshsample_families._kernels import ffi, lib

__all__ = ["call_kernel", "checked_address", "own_kernel"]


def _pointer(ctype: str, array: npt.NDArray[Any]) -> Any:
    return ffi.cast(ctype, array.ctypes.data)


#: The parameters of lsh_hash_fn, each by its type names in C and numba.
_INT64 = ("int64_t", "long", "long long", "int64")
_HASH_FN: tuple[tuple[str, ...], ...] = (
    ("void *", "void*", "uint8_t *", "char *"),
    _INT64,
    _INT64,
    ("float *", "float32*"),
    _INT64,
    tuple(f"{name}{star}" for name in _INT64 for star in (" *", "*")),
    ("int32_t *", "int *", "int32*"),
    ("uint32_t *", "unsigned int *", "uint32*"),
    ("void *", "void*"),
)
_C_TYPE = (
    "int32_t(*)(const void *, int64_t, int64_t, const float *, int64_t, const int64_t *, const int32_t *, "
    "uint32_t *, void *)"
)
_INT32 = ("int32_t", "int", "int32")
_WANTED = (
    "a cffi function pointer or a numba cfunc of the signature of lsh_hash_fn: int32_t (const void *state, "
    "int64_t n_rows, int64_t dim, const float *values, int64_t stride, const int64_t *indptr, "
    "const int32_t *indices, uint32_t *codes, void *scratch)"
)


def _signature(function: Any) -> tuple[list[str], str, int] | None:
    """Parameters, result and address of a compiled function; None for anything else."""
    if isinstance(function, ffi.CData):
        kind = ffi.typeof(function)
        if kind.kind != "function" or kind.ellipsis:
            return None
        return [a.cname for a in kind.args], kind.result.cname, int(ffi.cast("intptr_t", function))
    signature, address = getattr(function, "_sig", None), getattr(function, "address", None)
    if signature is None or not isinstance(address, int):
        return None
    return [str(a) for a in signature.args], str(signature.return_type), address


def checked_address(function: Any) -> int:
    """The address of a compiled hash function whose signature is that of the ABI."""
    found = _signature(function)
    if found is None:
        raise ArgumentError("function", type(function).__name__, _WANTED)
    arguments, result, address = found
    same = len(arguments) == len(_HASH_FN) and all(
        a in names for a, names in zip(arguments, _HASH_FN, strict=True)
    )
    if not same or result not in _INT32 or address == 0:
        given = "NULL" if address == 0 else f"{result} ({', '.join(arguments)})"
        raise ArgumentError("function", given, _WANTED)
    return address


def own_kernel(address: int, state: npt.NDArray[Any] | None, scratch: int, keepalive: object) -> NativeKernel:
    """The kernel of a user's compiled function."""
    return NativeKernel(
        hash=address,
        state=0 if state is None else int(state.ctypes.data),
        abi_version=int(lib.LSH_FAMILY_ABI),
        scratch_bytes=scratch,
        keepalive=(state, keepalive),
    )


def call_kernel(spec: FamilySpec, kernel: NativeKernel, x: Rows) -> npt.NDArray[np.uint32]:
    """Codes (n, n_tables) of rows by one call of a kernel, in this thread."""
    codes = np.zeros((x.shape[0], spec.n_tables), np.uint32)
    scratch = np.zeros(kernel.scratch_bytes + 64, np.uint8)
    aligned = _pointer("char *", scratch) + -scratch.ctypes.data % 64
    function, state = ffi.cast(_C_TYPE, kernel.hash), ffi.cast("void *", kernel.state)
    if isinstance(x, np.ndarray):
        rows = np.ascontiguousarray(x, np.float32)
        arguments = (_pointer("float *", rows), spec.dim, ffi.NULL, ffi.NULL)
    else:
        indptr, indices = np.ascontiguousarray(x.indptr, np.int64), np.ascontiguousarray(x.indices, np.int32)
        values = np.ascontiguousarray(x.data, np.float32)
        arguments = (
            _pointer("float *", values),
            0,
            _pointer("int64_t *", indptr),
            _pointer("int32_t *", indices),
        )
    failed = function(state, x.shape[0], spec.dim, *arguments, _pointer("uint32_t *", codes), aligned)
    if failed:
        raise RuntimeError(f"the compiled function returned {failed}")
    return codes
