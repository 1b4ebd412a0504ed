"""Tensor files compared with the safetensors library, for every element type; and invalid headers."""

import json
import struct

import numpy as np
import pytest
import safetensors

from lshsample._native import convert
from lshsample._native.dtypes import BFLOAT16, DTYPES
from lshsample._native.slots import Slots
from lshsample.errors import ArgumentError, CheckpointError
from lshsample.nn import tensorfile

#: Names of dtypes in the library's writer; its reader returns those of the format.
LIBRARY = {"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "BF16": "bfloat16"}


def written_by_the_library(dtype, array):
    """A file of one tensor "a", with metadata; versions before 0.8 take bytes."""
    name, data = LIBRARY.get(dtype.file, dtype.name), array.tobytes()
    if hasattr(safetensors, "TensorSpec"):
        held = np.frombuffer(data, np.uint8)
        tensor = safetensors.TensorSpec(
            dtype=name, shape=array.shape, data_ptr=held.ctypes.data, data_len=len(data)
        )
    else:
        tensor = {"dtype": name, "shape": list(array.shape), "data": data}
    return bytes(safetensors.serialize({"a": tensor}, metadata={"format": "pt"}))


def written(path, tensors):
    """Write a new file."""
    with path.open("wb") as file:
        tensorfile.write_tensors(file, tensors)


def read(function, path, *arguments):
    """What a function reads from a file."""
    with path.open("rb") as file:
        return function(file, *arguments)


def some(dtype, shape, seed=0):
    """An array of random bits of a type."""
    bits = np.random.default_rng(seed).integers(0, 256, (*shape, dtype.itemsize), np.uint8)
    return bits.view(dtype.numpy)[..., 0]


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.name)
def test_the_library_reads_what_is_written(tmp_path, dtype):
    path, whole = tmp_path / "t", some(dtype, (7, 5, 3))
    tensors = {"strided": whole[:, 1], "whole": whole, "one": whole[0, 0, :1], "none": whole[:0]}
    written(path, tensors)
    found = dict(safetensors.deserialize(path.read_bytes()))
    for name, tensor in tensors.items():
        assert found[name]["dtype"] == dtype.file
        assert found[name]["shape"] == list(tensor.shape)
        assert bytes(found[name]["data"]) == tensor.tobytes()


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.name)
def test_what_the_library_writes_is_read(tmp_path, dtype):
    path, whole = tmp_path / "t", some(dtype, (9, 4))
    path.write_bytes(written_by_the_library(dtype, whole))
    header, _ = read(tensorfile.read_header, path)
    assert list(header) == ["a"]
    found = read(tensorfile.read_tensor, path, "a")
    assert found.dtype == dtype.numpy
    assert found.tobytes() == whole.tobytes()
    strided = np.zeros((9, 3, 4), dtype.numpy)
    read(tensorfile.read_into, path, "a", strided[:, 1])
    assert strided[:, 1].tobytes() == whole.tobytes()
    assert not strided[:, ::2].tobytes().strip(b"\0")


def test_slots_of_bfloat16_round_trip(tmp_path):
    """Weights and state, written and read as one strided view of all slots."""
    path, rng = tmp_path / "t", np.random.default_rng(1)
    slots, again = (Slots.zeros(50, 7, [BFLOAT16] * 2) for _ in range(2))
    for index in (0, 1):
        values = rng.standard_normal((50, 7), dtype=np.float32)
        slots.slot(index)[...] = convert.from_float32(values, BFLOAT16)
    written(path, {"w": slots.array})
    read(tensorfile.read_into, path, "w", again.array)
    np.testing.assert_array_equal(slots.data, again.data)


def test_tensors_larger_than_a_chunk(tmp_path):
    path, tensor = tmp_path / "t", some(BFLOAT16, (3001, 1501))
    written(path, {"a": tensor[:, :1499]})
    np.testing.assert_array_equal(read(tensorfile.read_tensor, path, "a"), tensor[:, :1499])


def test_a_type_without_a_name_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ArgumentError, match="complex128") as caught:
        written(tmp_path / "t", {"a": np.zeros(2), "b": np.zeros(2, complex)})
    assert caught.value.argument == "b"
    assert not (tmp_path / "t").stat().st_size


def test_another_type_or_shape_is_refused(tmp_path):
    path = tmp_path / "t"
    written(path, {"a": np.zeros((2, 3), BFLOAT16.numpy)})
    with pytest.raises(CheckpointError, match=r"'a' is BF16 \[2, 3\], expected float32 \[2, 3\]"):
        read(tensorfile.read_into, path, "a", np.zeros((2, 3), np.float32))
    with pytest.raises(CheckpointError, match=r"expected bfloat16 \[3, 2\]"):
        read(tensorfile.read_into, path, "a", np.zeros((3, 2), BFLOAT16.numpy))
    with pytest.raises(CheckpointError, match="no tensor 'b'"):
        read(tensorfile.read_tensor, path, "b")


def entry(low, high, shape, dtype="F32", **more):
    return {"dtype": dtype, "shape": shape, "data_offsets": [low, high], **more}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ([1], "not a safetensors file"),
        ({"a": None}, "incomplete entry"),
        ({"a": {"dtype": "F32", "shape": [2]}}, "incomplete entry"),
        ({"a": entry(0, 16, 4)}, "incomplete entry"),
        ({"a": entry(0, 16, [4.0])}, "incomplete entry"),
        ({"a": entry(0, 16, [True, 4])}, "incomplete entry"),
        ({"a": entry(0, 16, [-2, -2])}, "incomplete entry"),
        ({"a": entry(0, 16, ["4"])}, "incomplete entry"),
        ({"a": entry(0, 16, [4], ["F32"])}, "incomplete entry"),
        ({"a": entry(0, 0, [0] * 33)}, "incomplete entry"),
        ({"a": entry(0, 0, [0, 2**63])}, "incomplete entry"),
        ({"a": {**entry(0, 16, [4]), "data_offsets": [0, 8, 16]}}, "incomplete entry"),
        ({"a": entry(0, 16, [4], "F4")}, "has dtype F4; supported are F32, BF16, F16"),
        ({"a": entry(0, 20, [5])}, "truncated: tensor 'a' is outside"),
        ({"a": entry(16, 0, [0])}, "truncated: tensor 'a' is outside"),
        ({"a": entry(0, 16, [3])}, "'a' has 16 bytes, unlike F32"),
        ({"a": entry(0, 16, [4], "BF16")}, "'a' has 16 bytes, unlike BF16"),
        ({"a": entry(0, 8, [2]), "b": entry(4, 16, [3])}, "'b' begins at 4, the one before ends at 8"),
        ({"a": entry(0, 4, [1]), "b": entry(8, 16, [2])}, "'b' begins at 8, the one before ends at 4"),
        ({"a": entry(0, 8, [2])}, "8 bytes belong to no tensor"),
    ],
)
def test_invalid_headers_are_refused(tmp_path, header, message):
    text = json.dumps(header).encode()
    (tmp_path / "t").write_bytes(struct.pack("<Q", len(text)) + text + bytes(16))
    with pytest.raises(CheckpointError, match=message):
        read(tensorfile.read_header, tmp_path / "t")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"1234567",
        struct.pack("<Q", 2**40) + b"{}",
        struct.pack("<Q", 2) + b"{",
        b"\2" + bytes(7) + b"\xff{",
    ],
)
def test_files_of_other_formats_are_refused(tmp_path, content):
    (tmp_path / "t").write_bytes(content)
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        read(tensorfile.read_header, tmp_path / "t")


def test_a_header_nested_too_deep(tmp_path):
    text = b"[" * 200_000
    (tmp_path / "t").write_bytes(struct.pack("<Q", len(text)) + text)
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        read(tensorfile.read_header, tmp_path / "t")


def test_mapped_tensors_are_those_that_are_read(tmp_path):
    rng = np.random.default_rng(0)
    tensors = {
        "bytes": np.arange(7, dtype=np.uint8),
        "wide": rng.integers(0, 9, (3, 5)),
        "half": convert.from_float32(rng.standard_normal((2, 3), np.float32), BFLOAT16),
        "none": np.zeros((0, 4), np.float32),
        "single": rng.standard_normal((5, 1), np.float32),
    }
    written(tmp_path / "a", tensors)
    found, file = read(tensorfile.map_tensors, tmp_path / "a")
    assert found.keys() == tensors.keys()
    for name, array in tensors.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
        assert found[name].ctypes.data % array.dtype.itemsize == 0
        assert not found[name].flags.writeable
    file.check()


def test_a_tensor_that_lies_elsewhere_is_copied(tmp_path):
    header = {
        "a": {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]},
        "b": {"dtype": "F32", "shape": [2], "data_offsets": [3, 11]},
    }
    text = json.dumps(header).encode()
    values = np.array([1.5, -2.0], np.float32)
    content = struct.pack("<Q", len(text)) + text + b"abc" + values.tobytes()
    (tmp_path / "a").write_bytes(content)
    found, _ = read(tensorfile.map_tensors, tmp_path / "a")
    np.testing.assert_array_equal(found["b"], values)
    assert found["b"].flags.aligned
