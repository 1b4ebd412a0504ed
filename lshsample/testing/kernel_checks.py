"""Calls of compiled kernels with memory that reveals what they write beside their results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lshsample._native import core
from lshsample._native.addresses import library_data
from lshsample._native.core import ffi
from lshsample._native.kernels import KernelStruct
from lshsample.family import HashFamily, Rows
from lshsample.hashing import kernel_struct

__all__ = ["kernels_of", "overrun", "static_data_changed"]

#: Bytes that are watched behind the scratch memory, and codes behind and before those of a call.
_BEHIND, _AROUND = 1 << 20, 4096
_FILLS = (0xA5, 0x00, 0xFF)


def kernels_of(family: HashFamily) -> Iterator[tuple[str, KernelStruct, int]]:
    """The family's kernels by name, with the number of probes for which to call them (0: to hash)."""
    for name, query in (("hash", False), ("hash_query", True)):
        kernel = kernel_struct(family, query)
        if kernel is not None:
            yield name, kernel, 0
            if query and kernel.can_probe:
                yield "probe", kernel, min(5, 2**family.code_bits)


def _call(
    kernel: KernelStruct, rows: Rows, n_probes: int, fill: int
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint8], npt.NDArray[np.uint32]]:
    """Codes, the bytes behind the scratch memory, and the codes around those of the call, after a call."""
    struct, n_rows = kernel.pointer, rows.shape[0]
    n_codes = n_rows * struct.n_tables * max(n_probes, 1)
    scratch = np.full(64 + struct.scratch_bytes + _BEHIND, fill, np.uint8)
    start = -scratch.ctypes.data % 64
    codes = np.full(n_codes + 2 * _AROUND, 0xA5A5A5A5, np.uint32)
    first = codes[_AROUND:]
    if isinstance(rows, np.ndarray):
        arguments: tuple[Any, ...] = (rows, rows.strides[0] // 4, None, None)
    else:
        arguments = (rows.data, 0, rows.indptr.astype(np.int64), rows.indices.astype(np.int32))
    values, stride, indptr, indices = arguments
    function, probes = (struct.probe, (n_probes,)) if n_probes else (struct.hash, ())
    function(
        struct.state,
        n_rows,
        struct.dim,
        core.pointer("const float *", values),
        stride,
        core.pointer("const int64_t *", indptr),
        core.pointer("const int32_t *", indices),
        *probes,
        core.pointer("uint32_t *", first),
        ffi.cast("void *", scratch.ctypes.data + start),
    )
    around = np.concatenate([codes[:_AROUND], codes[_AROUND + n_codes :]])
    return first[:n_codes], scratch[start + struct.scratch_bytes :], around


def overrun(family: HashFamily, rows: Rows) -> str | None:
    """What a kernel of the family writes behind its scratch memory or around its codes; None if nothing.

    Also whether its codes depend on what the scratch memory contains. The kernel runs on memory with room
    for what it writes too much, and not in the C core.
    """
    for name, kernel, n_probes in kernels_of(family):
        codes = []
        for fill in _FILLS:
            found, behind, around = _call(kernel, rows, n_probes, fill)
            last = np.flatnonzero(behind != fill)
            if len(last):
                declared = int(kernel.pointer.scratch_bytes)
                return (
                    f"the kernel of {name} writes {last[-1] + 1} bytes behind its scratch memory: "
                    f"scratch_bytes is {declared}, and must be at least {declared + last[-1] + 1}"
                )
            if (around != 0xA5A5A5A5).any():
                return f"the kernel of {name} writes around the codes of its rows"
            codes.append(found)
        if any((other != codes[0]).any() for other in codes[1:]):
            return f"the codes of the kernel of {name} depend on the contents of its scratch memory"
    return None


def static_data_changed(family: HashFamily, parts: Sequence[Rows]) -> str | None:
    """The library whose variables a kernel changes when it hashes three blocks of rows; None if none.

    Needs a list of the mapped memory, as Linux has; without one it finds nothing.
    """
    for name, kernel, n_probes in kernels_of(family):
        address = int(ffi.cast("intptr_t", kernel.pointer.probe if n_probes else kernel.pointer.hash))
        library, spans = library_data(address)
        _call(
            kernel, parts[0], n_probes, 0
        )  # what happens once, such as finding functions of other libraries
        seen = []
        for part in parts:
            _call(kernel, part, n_probes, 0)
            seen.append([bytes(ffi.buffer(ffi.cast("char *", begin), size)) for begin, size in spans])
        if spans and seen[0] != seen[1] and seen[1] != seen[2]:
            return f"the kernel of {name} changes static variables of {library}"
    return None
