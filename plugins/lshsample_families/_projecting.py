"""What families over random projections share: the choice of a projection, and the kernels of E2LSH and
cross-polytope.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from lshsample.plugin import ArgumentError, FamilySpec, NativeKernel, number, one_of
from lshsample_families._kernels import ffi, lib
from lshsample_families._native import _isa_number, _kernel, _pointer
from lshsample_families._projections import DenseMatrix, Hadamard, Projection, SparseMatrix

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["ProjectingSpec", "draw_projection", "e2lsh_kernel", "vertex_kernel"]


@attrs.frozen(kw_only=True)
class ProjectingSpec(FamilySpec):
    """Options of families over random projections.

    Attributes
    ----------
    projection : str
        Where the directions come from. ``"hadamard"``: fast transforms, for up to 65,536 columns.
        ``"gaussian"``: a matrix of normal numbers. ``"sparse"``: signs at a few places, for millions of
        columns.
    density : float
        Of ``"sparse"``: the fraction of a direction's coordinates that are not zero.
    """

    projection: str = attrs.field(default="hadamard", validator=one_of("hadamard", "gaussian", "sparse"))
    density: float = attrs.field(default=1 / 3, validator=number(0, 1, open_low=True))

    def __attrs_post_init__(self) -> None:
        if self.projection == "hadamard" and self.dim > Hadamard.LARGEST:
            raise ArgumentError(
                "dim",
                self.dim,
                f'at most {Hadamard.LARGEST} columns for projection "hadamard"; '
                '"gaussian" or "sparse" take more',
            )


def draw_projection(spec: ProjectingSpec, margins: int) -> Projection:
    """The spec's projection, to so many margins for each table."""
    if spec.projection == "hadamard":
        return Hadamard(spec.dim, margins, spec.n_tables, spec.seed)
    if spec.projection == "gaussian":
        return DenseMatrix(spec.dim, margins, spec.n_tables, spec.seed)
    return SparseMatrix(spec.dim, margins, spec.n_tables, spec.seed, spec.density)


def _set_projection(state: Any, dim: int, projection: Projection) -> list[object]:
    """Points the state to the projection; returns what it borrows."""
    if isinstance(projection, Hadamard):
        shape = {"dim": dim, "n_hashes": projection.n_hashes, "n_tables": projection.n_tables}
        own = ffi.new("lsh_hadamard_state *", {"shape": shape})
        own.size, own.outputs, own.groups = projection.size, projection.outputs, projection.groups
        own.first_signs = _pointer("float *", projection.first_signs)
        own.second_signs = _pointer("float *", projection.second_signs)
        own.diagonals = _pointer("float *", projection.diagonals)
        own.permutations = _pointer("int32_t *", projection.permutations)
        own.tables = _pointer("int32_t *", projection.inverses)
        state.hadamard = own
    elif isinstance(projection, DenseMatrix):
        own = ffi.new("lsh_matrix_state *", {"matrix": _pointer("float *", projection.matrix)})
        state.matrix = own
    else:
        assert isinstance(projection, SparseMatrix)
        own = ffi.new("lsh_lists_state *", {"indptr": _pointer("int64_t *", projection.indptr)})
        own.entries = _pointer("uint32_t *", projection.entries)
        state.lists = own
    return [own, projection]


def e2lsh_kernel(
    spec: ProjectingSpec, projection: Projection, step: float, offsets: npt.NDArray[np.float64], bits: int
) -> NativeKernel:
    """The kernel of E2LSH over a projection."""
    state = ffi.new("lsh_e2lsh_state *", {"n_hashes": spec.n_hashes, "n_tables": spec.n_tables, "bits": bits})
    state.step, state.offsets = step, _pointer("double *", offsets)
    borrowed = _set_projection(state, spec.dim, projection)
    addresses = [lib.lsh_e2lsh_function(_isa_number(), probing, state) for probing in (0, 1)]
    return _kernel(state, *addresses, lib.lsh_e2lsh_scratch(state), offsets, *borrowed)


def vertex_kernel(spec: ProjectingSpec, projection: Projection, dimension: int, bits: int) -> NativeKernel:
    """The kernel of cross-polytope over a projection to n_hashes x dimension margins for each table."""
    state = ffi.new("lsh_vertex_state *", (spec.n_hashes, spec.n_tables, dimension, bits))
    borrowed = _set_projection(state, spec.dim, projection)
    addresses = [lib.lsh_vertex_function(_isa_number(), probing, state) for probing in (0, 1)]
    return _kernel(state, *addresses, lib.lsh_vertex_scratch(state), *borrowed)
