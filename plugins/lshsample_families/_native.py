"""What the makers of compiled kernels share: pointers, addresses of functions, the NativeKernel."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from lshsample.plugin import NativeKernel, PluginError, isa
from lshsample_families._kernels import ffi, lib

__all__ = ["function", "kernel", "pointer"]


def pointer(ctype: str, array: npt.NDArray[Any]) -> Any:
    """A C pointer to a contiguous array, which must outlive it."""
    return ffi.cast(ctype, ffi.from_buffer(array))


def function(name: str) -> int:
    """Address of a compiled function, by its name in ``csrc/kernels.h``, for the instruction set in use.

    Raises
    ------
    PluginError
        There is no such function.
    """
    address = int(lib.lsh_family_function(isa().encode(), name.encode()))
    if not address:
        raise PluginError(f"lshsample_families has no kernel {name!r} for the instruction set {isa()}")
    return address


def kernel(
    state: Any, hash_address: int, probe_address: int, scratch: int, *keepalive: object
) -> NativeKernel:
    """A kernel over a state; ``keepalive`` holds the owners of the arrays that the state points to."""
    return NativeKernel(
        hash=int(hash_address),
        probe=int(probe_address),
        state=int(ffi.cast("intptr_t", state)),
        abi_version=int(lib.LSH_FAMILY_ABI),
        scratch_bytes=int(scratch),
        keepalive=(state, *keepalive),
    )
