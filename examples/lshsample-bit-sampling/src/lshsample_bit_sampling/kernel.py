"""The compiled kernel, through cffi."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lshsample.plugin import NativeKernel
from lshsample_bit_sampling._kernel import ffi, lib

if TYPE_CHECKING:
    from lshsample_bit_sampling.family import BitSamplingSpec

__all__ = ["native_kernel"]


def native_kernel(spec: BitSamplingSpec, positions: npt.NDArray[np.int32]) -> NativeKernel:
    """The kernel over positions (K L,), with their inverse: the hashes that use each column."""
    order = np.argsort(positions, kind="stable").astype(np.int32)
    starts = np.searchsorted(positions[order], np.arange(spec.dim + 1)).astype(np.int32)
    state = ffi.new("bit_sampling_state *")
    state.n_hashes, state.n_tables, state.threshold = spec.n_hashes, spec.n_tables, spec.threshold
    state.positions = ffi.cast("int32_t *", positions.ctypes.data)
    state.starts = ffi.cast("int32_t *", starts.ctypes.data)
    state.hashes = ffi.cast("int32_t *", order.ctypes.data)
    return NativeKernel(
        hash=int(lib.bit_sampling_function()),
        state=int(ffi.cast("intptr_t", state)),
        abi_version=int(lib.bit_sampling_abi()),
        keepalive=(state, positions, starts, order),
    )
