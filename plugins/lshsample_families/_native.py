"""The compiled kernels of this package, handed out as NativeKernels for the instruction set in use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy.typing as npt

from lshsample.plugin import FamilySpec, NativeKernel, isa
from lshsample_families._kernels import ffi, lib
from lshsample_families._projections import DenseMatrix, Hadamard, Projection, SparseMatrix

if TYPE_CHECKING:
    from lshsample_families._mips import Tail
    from lshsample_families.dwta import DWTASpec, Windows

__all__ = ["dwta_kernel", "mips_kernel", "simhash_kernel", "wta_kernel"]

_ISAS = ("baseline", "avx2", "avx512")


def _pointer(ctype: str, array: npt.NDArray[Any]) -> Any:
    return ffi.cast(ctype, ffi.from_buffer(array))


def _isa_number() -> int:
    return _ISAS.index(isa())


def _kernel(
    state: Any, hash_address: int, probe_address: int, scratch: int, *keepalive: object
) -> NativeKernel:
    return NativeKernel(
        hash=int(hash_address),
        probe=int(probe_address),
        state=int(ffi.cast("intptr_t", state)),
        abi_version=int(lib.LSH_FAMILY_ABI),
        scratch_bytes=int(scratch),
        keepalive=(state, *keepalive),
    )


def _probing_kernel(state: Any, functions: Any, scratch: int, *keepalive: object) -> NativeKernel:
    number = _isa_number()
    return _kernel(state, functions(number, 0), functions(number, 1), scratch, *keepalive)


def _window_kernel(spec: DWTASpec, windows: Windows, functions: Any) -> NativeKernel:
    """Windows in turn for few columns, lists of windows by column for many."""
    state = ffi.new("lsh_dwta_state *")
    state.dim, state.n_hashes, state.n_tables, state.window = (
        spec.dim,
        spec.n_hashes,
        spec.n_tables,
        spec.window,
    )
    state.windows, state.seeds = _pointer("int32_t *", windows.columns), _pointer("uint32_t *", windows.seeds)
    by_column = windows.by_column
    if by_column is not None:
        state.indptr, state.entries = (
            _pointer("int64_t *", by_column[0]),
            _pointer("uint32_t *", by_column[1]),
        )
    address = functions(_isa_number(), by_column is not None)
    return _kernel(state, address, 0, lib.lsh_dwta_scratch(state), windows, by_column)


def mips_kernel(
    spec: FamilySpec, tail: Tail, bounds: npt.NDArray[Any], inner: NativeKernel, *, query: bool
) -> NativeKernel:
    """The kernel of a wrapper for inner products, over the wrapped family's kernel."""
    state = ffi.new("lsh_mips_state *")
    state.dim, state.n_tables, state.tail, state.query = spec.dim, spec.n_tables, tail.count, query
    state.root, state.offset, state.sign, state.query_tail = tail.root, tail.offset, tail.sign, tail.query
    state.limit, state.n_bounds, state.bounds = tail.limit, len(bounds), _pointer("double *", bounds)
    state.hash, state.probe, state.state = inner.hash, inner.probe, ffi.cast("void *", inner.state)
    probe = lib.lsh_mips_function(1) if inner.probe else 0
    kernel = _kernel(state, lib.lsh_mips_function(0), probe, inner.scratch_bytes, bounds, inner)
    # The wrapped kernel may come from another plugin, compiled against another header.
    return attrs.evolve(kernel, abi_version=inner.abi_version)


def dwta_kernel(spec: DWTASpec, windows: Windows) -> NativeKernel:
    """The kernel of DWTA."""
    return _window_kernel(spec, windows, lib.lsh_dwta_function)


def wta_kernel(spec: DWTASpec, windows: Windows) -> NativeKernel:
    """The kernel of WTA, where zeros are values."""
    return _window_kernel(spec, windows, lib.lsh_wta_function)


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
        state.tables = _pointer("int32_t *", projection.inverses)
        return _probing_kernel(state, lib.lsh_hadamard_function, lib.lsh_hadamard_scratch(state), projection)
    scratch = lib.lsh_margins_scratch(shape)
    if isinstance(projection, DenseMatrix):
        state = ffi.new(
            "lsh_matrix_state *", {"shape": shape[0], "matrix": _pointer("float *", projection.matrix)}
        )
        return _probing_kernel(state, lib.lsh_matrix_function, scratch, projection)
    assert isinstance(projection, SparseMatrix)
    indptr, entries = _pointer("int64_t *", projection.indptr), _pointer("uint32_t *", projection.entries)
    state = ffi.new("lsh_lists_state *", {"shape": shape[0], "indptr": indptr, "entries": entries})
    return _probing_kernel(state, lib.lsh_lists_function, scratch, projection)
