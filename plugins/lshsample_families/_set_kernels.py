"""The compiled kernels of families of sets, handed out as NativeKernels for the instruction set in use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lshsample.plugin import NativeKernel
from lshsample_families._kernels import ffi, lib
from lshsample_families._native import _isa_number, _kernel, _pointer

if TYPE_CHECKING:
    from lshsample_families._sets import SetSpec
    from lshsample_families.icws import ICWSDraws, ICWSSpec
    from lshsample_families.minhash import MinHashDraws, MinHashSpec

__all__ = ["icws_kernel", "minhash_kernel"]


def _set_rule(spec: SetSpec, seed: int) -> dict[str, Any]:
    kinds = {
        "nonzero": lib.LSH_SET_NONZERO,
        "threshold": lib.LSH_SET_ABOVE,
        "top": lib.LSH_SET_TOP,
    }
    size = min(spec.set_size, spec.dim) if spec.sets == "top" else 0
    return {"kind": kinds[spec.sets], "seed": seed, "size": size, "threshold": spec.threshold}


def minhash_kernel(spec: MinHashSpec, drawn: MinHashDraws) -> NativeKernel:
    """The kernel of MinHash's method."""
    state = ffi.new("lsh_minhash_state *", {"rule": _set_rule(spec, drawn.seed)})
    state.n_hashes, state.n_tables, state.bits = spec.n_hashes, spec.n_tables, spec.bits
    state.multipliers = _pointer("uint32_t *", drawn.multipliers)
    state.offsets = _pointer("uint32_t *", drawn.offsets)
    if spec.method == "doph":
        state.tries = _pointer("uint32_t *", drawn.tries)
    address = lib.lsh_minhash_function(_isa_number(), spec.method == "doph")
    return _kernel(state, address, 0, lib.lsh_minhash_scratch(state), drawn)


def icws_kernel(spec: ICWSSpec, drawn: ICWSDraws) -> NativeKernel:
    """The kernel of consistent weighted sampling."""
    state = ffi.new("lsh_icws_state *", (spec.n_hashes, spec.n_tables, spec.bits, drawn.seed))
    state.seeds = _pointer("uint32_t *", drawn.seeds)
    if drawn.table is not None:
        state.draws = _pointer("float *", drawn.table)
    address = lib.lsh_icws_function(_isa_number())
    return _kernel(state, address, 0, lib.lsh_icws_scratch(state), drawn)
