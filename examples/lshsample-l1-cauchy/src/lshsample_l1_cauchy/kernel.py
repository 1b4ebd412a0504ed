"""The compiled kernel, for the instruction set in use: a shared library that ctypes loads."""

from __future__ import annotations

import ctypes
import importlib.util
from typing import TYPE_CHECKING

from lshsample.plugin import NativeKernel, isa

if TYPE_CHECKING:
    from lshsample_l1_cauchy.family import L1Cauchy

__all__ = ["native_kernel"]


class _State(ctypes.Structure):
    """``lshsample_l1_cauchy_state`` of csrc/family.h."""

    _fields_ = (
        ("n_hashes", ctypes.c_int64),
        ("n_tables", ctypes.c_int64),
        ("bits", ctypes.c_int64),
        ("width", ctypes.c_double),
        ("directions", ctypes.c_void_p),
        ("offsets", ctypes.c_void_p),
    )


_spec = importlib.util.find_spec("lshsample_l1_cauchy._kernel")
if _spec is None or _spec.origin is None:
    raise ImportError(
        "lshsample_l1_cauchy._kernel is missing; run in the package's folder: pip install --no-build-isolation -e ."
    )
_library = ctypes.CDLL(_spec.origin)
_library.lshsample_l1_cauchy_function.restype = ctypes.c_ssize_t
_library.lshsample_l1_cauchy_function.argtypes = (ctypes.c_char_p,)


def native_kernel(family: L1Cauchy) -> NativeKernel:
    """The kernel of a family."""
    spec, directions, offsets = family.spec, family.directions, family.offsets
    addresses = directions.ctypes.data, offsets.ctypes.data
    state = _State(spec.n_hashes, spec.n_tables, spec.bits, spec.width, *addresses)
    return NativeKernel(
        hash=_library.lshsample_l1_cauchy_function(isa().encode()),
        state=ctypes.addressof(state),
        abi_version=_library.lshsample_l1_cauchy_abi(),
        scratch_bytes=8 * len(offsets),
        keepalive=(state, directions, offsets),
    )
