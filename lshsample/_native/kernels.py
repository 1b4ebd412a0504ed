"""Compiled hash kernels: their structs for the C core, checked, and their calls over blocks of rows."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample._native import core
from lshsample._native.addresses import check_callable
from lshsample._native.core import ffi, lib
from lshsample.errors import PluginError

__all__ = ["KernelStruct", "kernel_struct", "run_kernel"]


@attrs.frozen(eq=False)
class KernelStruct:
    """A ``lsh_family_kernel`` that the C core can call, with the objects that it refers to.

    Attributes
    ----------
    pointer : cffi pointer
        The struct; owned by this object.
    can_probe : bool
        Whether it has a probe function.
    keepalive : object
        The plugin's arrays and libraries behind it.
    """

    pointer: Any
    can_probe: bool
    keepalive: object


def kernel_struct(where: str, kernel: Any, *, dim: int, n_tables: int, code_bits: int) -> KernelStruct:
    """A checked kernel for the C core.

    Parameters
    ----------
    where : str
        Its name in errors: the family's method.
    kernel : NativeKernel
        What a family returned.
    dim, n_tables, code_bits : int
        The family's sizes.

    Raises
    ------
    PluginError
        Not a NativeKernel, compiled against another ABI version, or without a hash function.
    """
    _check_kernel(where, kernel)
    struct = ffi.new("lsh_family_kernel *")
    struct.abi_version, struct.n_tables, struct.code_bits = kernel.abi_version, n_tables, code_bits
    struct.dim, struct.scratch_bytes = dim, kernel.scratch_bytes
    struct.state = ffi.cast("void *", kernel.state)
    struct.hash = ffi.cast("lsh_hash_fn", kernel.hash)
    struct.probe = ffi.cast("lsh_probe_fn", kernel.probe)
    core.check(lib.lsh_kernel_check(struct, 0), where)
    return KernelStruct(struct, bool(kernel.probe), kernel)


def _check_kernel(where: str, kernel: Any) -> None:
    for name in ("hash", "state", "abi_version", "scratch_bytes", "probe"):
        if not hasattr(kernel, name):
            raise PluginError(f"{where}: returned {type(kernel).__name__}, expected a NativeKernel or None")
        value = getattr(kernel, name)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
            raise PluginError(
                f"{where}: NativeKernel.{name} is {value!r}, expected an integer (an address or a size)"
            )
    if kernel.abi_version != lib.LSH_FAMILY_ABI:
        raise PluginError(
            f"{where}: the kernel was compiled against version {kernel.abi_version} of lshsample/family.h; "
            f"this lshsample has version {lib.LSH_FAMILY_ABI}, so build the plugin again"
        )
    if kernel.hash == 0:
        raise PluginError(f"{where}: NativeKernel.hash is 0, expected the address of an lsh_hash_fn")
    for name in ("hash", "probe"):
        address = getattr(kernel, name)
        try:
            if address:
                check_callable(address)
        except ValueError as error:
            raise PluginError(
                f"{where}: NativeKernel.{name} is {error}; expected the address of an lsh_{name}_fn"
            ) from None


def run_kernel(
    kernel: KernelStruct, rows: npt.NDArray[np.float32] | sp.csr_array, n_probes: int, threads: int
) -> tuple[int, npt.NDArray[np.uint32]]:
    """The status and the codes of one call over checked rows: hashes, or probes if ``n_probes`` is above 0.

    The core checks that values are finite and codes in range; the caller turns the status into an error.
    """
    n_tables = int(kernel.pointer.n_tables)
    codes = np.empty((rows.shape[0], n_tables) + ((n_probes,) if n_probes else ()), np.uint32)
    out = core.pointer("uint32_t *", codes)
    if isinstance(rows, np.ndarray):
        return lib.lsh_hash_dense(kernel.pointer, core.dense_view(rows), n_probes, threads, out), codes
    return lib.lsh_hash_csr(kernel.pointer, core.csr_view(rows), n_probes, threads, out), codes
