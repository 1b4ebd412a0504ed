"""Tensors in files of the safetensors format, written and read in pieces.

The safetensors library copies a tensor before it writes it; strided views of weights that fill half of the
memory must not be copied. A file is the length of the header in eight bytes, the header in JSON, and the
values; any safetensors reader reads these files. bfloat16 and 8-bit floats are arrays of bits, as described
in :mod:`lshsample._native.dtypes`.

Tensors come by the size of their elements, the largest first, and the values begin at a multiple of 64 bytes,
so that :func:`map_tensors` finds every tensor where its type may lie.

The functions take open files, so that what was verified is what is read, whatever a path leads to by then.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from lshsample._native.dtypes import DTYPES, described, dtype_of
from lshsample.errors import CheckpointError
from lshsample.tables.mapped import MappedFile

__all__ = ["map_tensors", "read_header", "read_into", "read_tensor", "under", "write_tensors"]

_DTYPES = {dtype.file: dtype.numpy for dtype in DTYPES}
_METADATA = "__metadata__"
_MAX_HEADER = 1 << 24
_CHUNK = 1 << 22
#: Array libraries have at most 32 or 64 dimensions.
_MAX_DIMENSIONS = 32
#: Where the values may begin: a cache line.
_ALIGNMENT = 64


def write_tensors(file: BinaryIO, tensors: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write tensors to an empty file, strided ones too, a few megabytes at a time.

    Raises
    ------
    ArgumentError
        A tensor of a dtype that is not supported; nothing is written.
    """
    header: dict[str, Any] = {}
    at = 0
    tensors = dict(sorted(tensors.items(), key=lambda item: -item[1].dtype.itemsize))
    for name, array in tensors.items():
        header[name] = {
            "dtype": dtype_of(array, name).file,
            "shape": list(array.shape),
            "data_offsets": [at, at + array.nbytes],
        }
        at += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % _ALIGNMENT)
    file.write(struct.pack("<Q", len(text)) + text)
    for array in tensors.values():
        rows = np.atleast_1d(array)
        step = max(_CHUNK * len(rows) // max(rows.nbytes, 1), 1)
        for start in range(0, len(rows), step):
            file.write(np.ascontiguousarray(rows[start : start + step]).data)


def read_header(file: BinaryIO) -> tuple[dict[str, Any], int]:
    """The tensors of a file (dtype, shape, data_offsets by name), and the offset of their values.

    Raises
    ------
    CheckpointError
        The file is not of this format: no header; a tensor of unknown dtype, whose size does not match its
        shape, or that is outside of the file; tensors that overlap or leave gaps.
    """
    path = file.name
    try:
        file.seek(0)
        prefix = file.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else _MAX_HEADER + 1
        if length > _MAX_HEADER:
            raise CheckpointError(f"{path}: not a safetensors file")
        header = json.loads(file.read(length))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not a safetensors file ({error})") from error
    if not isinstance(header, dict):
        raise CheckpointError(f"{path}: not a safetensors file")
    header.pop(_METADATA, None)
    size = os.fstat(file.fileno()).st_size - 8 - length
    for name, entry in header.items():
        _check_entry(path, name, entry, size)
    _check_coverage(path, header, size)
    return header, 8 + length


def _check_entry(path: str, name: str, entry: Any, size: int) -> None:
    """Raise CheckpointError if a tensor's entry is incomplete or does not fit the file."""
    try:
        kind, shape, (low, high) = entry["dtype"], entry["shape"], entry["data_offsets"]
        complete = all(type(value) is int and 0 <= value < 2**63 for value in (*shape, low, high))
    except (KeyError, TypeError, ValueError):
        complete = False
    if not (complete and isinstance(kind, str) and isinstance(shape, list) and len(shape) <= _MAX_DIMENSIONS):
        raise CheckpointError(f"{path}: tensor {name!r} has an incomplete entry in the header")
    if kind not in _DTYPES:
        raise CheckpointError(f"{path}: tensor {name!r} has dtype {kind}; supported are {', '.join(_DTYPES)}")
    if not low <= high <= size:
        raise CheckpointError(f"{path}: truncated: tensor {name!r} is outside of the file")
    if high - low != math.prod(shape) * _DTYPES[kind].itemsize:
        raise CheckpointError(f"{path}: tensor {name!r} has {high - low} bytes, unlike {kind} {shape}")


def _check_coverage(path: str, header: dict[str, Any], size: int) -> None:
    """Raise CheckpointError if tensors overlap, or if bytes belong to no tensor."""
    at = 0
    for low, high, name in sorted((*entry["data_offsets"], name) for name, entry in header.items()):
        if low != at:
            raise CheckpointError(f"{path}: tensor {name!r} begins at {low}, the one before ends at {at}")
        at = high
    if at != size:
        raise CheckpointError(f"{path}: {size - at} bytes belong to no tensor")


def read_into(file: BinaryIO, name: str, out: npt.NDArray[Any]) -> None:
    """Read one tensor into an array, strided or not, of the same shape and dtype."""
    path, (header, start) = file.name, read_header(file)
    entry = header.get(name)
    if entry is None:
        raise CheckpointError(f"{path}: there is no tensor {name!r}")
    if tuple(entry["shape"]) != out.shape or _DTYPES[entry["dtype"]] != out.dtype:
        given = f"{entry['dtype']} {entry['shape']}"
        wanted = f"{described(out.dtype)} {list(out.shape)}"
        raise CheckpointError(f"{path}: tensor {name!r} is {given}, expected {wanted}")
    step = max(_CHUNK * len(out) // max(out.nbytes, 1), 1)
    file.seek(start + entry["data_offsets"][0])
    for at in range(0, len(out), step):
        block = out[at : at + step]
        data = np.fromfile(file, out.dtype, block.size)
        if data.size != block.size:
            raise CheckpointError(f"{path}: truncated in tensor {name!r}")
        block[...] = data.reshape(block.shape)


def read_tensor(file: BinaryIO, name: str) -> npt.NDArray[Any]:
    """Read one tensor."""
    header, _ = read_header(file)
    if name not in header:
        raise CheckpointError(f"{file.name}: there is no tensor {name!r}")
    try:
        out = np.empty(header[name]["shape"], _DTYPES[header[name]["dtype"]])
    except ValueError as error:  # no element, and a product of the other dimensions beyond NumPy's range
        raise CheckpointError(f"{file.name}: tensor {name!r} has shape {header[name]['shape']}") from error
    read_into(file, name, out)
    return out


def map_tensors(file: BinaryIO) -> tuple[dict[str, npt.NDArray[Any]], MappedFile]:
    """All tensors of a file, mapped into memory and read only: none is read.

    Returns
    -------
    tensors : dict of arrays
        Processes that map the file share them. A tensor that lies where its type may not, in a file of
        another program, is copied.
    file : MappedFile
        What tells whether the file was changed since.
    """
    header, start = read_header(file)
    mapped = MappedFile(file, file.name)
    found = {}
    for name, entry in header.items():
        dtype, (low, high) = _DTYPES[entry["dtype"]], entry["data_offsets"]
        count = (high - low) // dtype.itemsize
        try:
            array = np.frombuffer(mapped.data, dtype, count, start + low).reshape(entry["shape"])
        except ValueError as error:  # no element, and other dimensions beyond NumPy's range
            raise CheckpointError(f"{file.name}: tensor {name!r} has shape {entry['shape']}") from error
        found[name] = array if array.ctypes.data % dtype.itemsize == 0 else array.copy()
    return found, mapped


def under(arrays: Mapping[str, npt.NDArray[Any]], prefix: str) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a folder, without its name."""
    return {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}
