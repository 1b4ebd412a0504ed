"""Tensors in files of the safetensors format, written and read in streams.

The safetensors library copies a tensor before it writes it; weights that lie strided beside their optimizer
state, and that fill half of the memory, must not be copied. The format is a header in JSON (its length in
eight bytes before it) and the values behind it; any safetensors reader reads these files.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lshsample.errors import CheckpointError

__all__ = ["read_header", "read_into", "read_tensor", "write_tensors"]

_NAMES = {"float32": "F32", "float64": "F64", "int32": "I32", "int64": "I64", "uint32": "U32"}
_DTYPES = {name: np.dtype(dtype) for dtype, name in _NAMES.items()}
_MAX_HEADER = 1 << 24
_CHUNK = 1 << 22


def write_tensors(path: Path, tensors: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write tensors, strided ones too, a few megabytes at a time."""
    header: dict[str, Any] = {}
    at = 0
    for name, array in tensors.items():
        header[name] = {
            "dtype": _NAMES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [at, at + array.nbytes],
        }
        at += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in tensors.values():
            rows = np.atleast_1d(array)
            step = max(_CHUNK * len(rows) // max(rows.nbytes, 1), 1)
            for start in range(0, len(rows), step):
                file.write(np.ascontiguousarray(rows[start : start + step]).data)


def read_header(path: Path) -> tuple[dict[str, Any], int]:
    """The tensors of a file (name to dtype, shape, data_offsets), and where their values begin."""
    try:
        with path.open("rb") as file:
            prefix = file.read(8)
            length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else _MAX_HEADER + 1
            if length > _MAX_HEADER:
                raise CheckpointError(f"{path}: not a safetensors file")
            header = json.loads(file.read(length))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not a safetensors file ({error})") from error
    size = path.stat().st_size - 8 - length
    for name, entry in header.items():
        _check_entry(path, name, entry, size)
    return header, 8 + length


def _check_entry(path: Path, name: str, entry: Any, size: int) -> None:
    try:
        low, high = entry["data_offsets"]
        wanted = math.prod(entry["shape"]) * _DTYPES[entry["dtype"]].itemsize
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: tensor {name!r} is not described as safetensors want it") from error
    if not 0 <= low <= high <= size or high - low != wanted:
        raise CheckpointError(f"{path}: truncated: tensor {name!r} lies outside of the file")


def read_into(path: Path, name: str, out: npt.NDArray[Any]) -> None:
    """Read one tensor into an array, strided or not, of the same shape and dtype."""
    header, start = read_header(path)
    entry = header.get(name)
    if entry is None:
        raise CheckpointError(f"{path}: there is no tensor {name!r}")
    if tuple(entry["shape"]) != out.shape or _DTYPES[entry["dtype"]] != out.dtype:
        given = f"{entry['dtype']} {entry['shape']}"
        raise CheckpointError(f"{path}: tensor {name!r} is {given}; wanted {out.dtype} {list(out.shape)}")
    step = max(_CHUNK * len(out) // max(out.nbytes, 1), 1)
    with path.open("rb") as file:
        file.seek(start + entry["data_offsets"][0])
        for at in range(0, len(out), step):
            block = out[at : at + step]
            data = np.fromfile(file, out.dtype, block.size)
            if data.size != block.size:
                raise CheckpointError(f"{path}: truncated in tensor {name!r}")
            block[...] = data.reshape(block.shape)


def read_tensor(path: Path, name: str) -> npt.NDArray[Any]:
    """Read one tensor."""
    header, _ = read_header(path)
    if name not in header:
        raise CheckpointError(f"{path}: there is no tensor {name!r}")
    out = np.empty(header[name]["shape"], _DTYPES[header[name]["dtype"]])
    read_into(path, name, out)
    return out
