"""The compiled kernels of this package, handed out as NativeKernels for the instruction set in use."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lshsample.plugin import FamilySpec, NativeKernel, isa
from lshsample_families._kernels import ffi, lib
from lshsample_families._projections import DenseMatrix, Hadamard, Projection, SparseMatrix

__all__ = ["simhash_kernel"]

_ISAS = ("baseline", "avx2", "avx512")


def _pointer(ctype: str, array: npt.NDArray[Any]) -> Any:
    return ffi.cast(ctype, array.ctypes.data)


def _kernel(state: Any, functions: Any, scratch: int, *keepalive: object, probing: bool = True) -> NativeKernel:
    number = _ISAS.index(isa())
    return NativeKernel(
        hash=int(functions(number, 0)),
        probe=int(functions(number, 1)) if probing else 0,
        state=int(ffi.cast("intptr_t", state)),
        abi_version=int(lib.LSH_FAMILY_ABI),
        scratch_bytes=int(scratch),
        keepalive=(state, *keepalive),
    )


def simhash_kernel(spec: FamilySpec, projection: Projection) -> NativeKernel:
    """The kernel of SimHash's projection."""
    shape = ffi.new("lsh_simhash_shape *", (spec.dim, spec.n_hashes, spec.n_tables))
    if isinstance(projection, Hadamard):
        state = ffi.new("lsh_hadamard_state *", {"shape": shape[0]})
        state.size, state.outputs, state.groups = projection.size, projection.outputs, projection.groups
        state.first_signs = _pointer("float *", projection.first_signs)
        state.second_signs = _pointer("float *", projection.second_signs)
        state.diagonals = _pointer("float *", projection.diagonals)
        state.permutations = _pointer("int32_t *", projection.permutations)
        return _kernel(state, lib.lsh_hadamard_function, lib.lsh_hadamard_scratch(state), projection)
    scratch = lib.lsh_margins_scratch(shape)
    if isinstance(projection, DenseMatrix):
        state = ffi.new("lsh_matrix_state *", {"shape": shape[0], "matrix": _pointer("float *", projection.matrix)})
        return _kernel(state, lib.lsh_matrix_function, scratch, projection)
    assert isinstance(projection, SparseMatrix)
    state = ffi.new("lsh_lists_state *", {"shape": shape[0]})
    state.indptr, state.entries = _pointer("int64_t *", projection.indptr), _pointer("uint32_t *", projection.entries)
    return _kernel(state, lib.lsh_lists_function, scratch, projection)
