"""Arrays in NumPy's formats npy and npz, whose sizes are checked before anything is allocated."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Iterable
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from lshsample import memory

__all__ = ["Archive", "read_array"]


def read_array(file: Any, name: str, n_bytes: int | None = None) -> npt.NDArray[Any]:
    """The array of an npy stream; pickled objects are never loaded.

    Parameters
    ----------
    file : binary file
        At the beginning of the array; it need not be able to seek.
    name : str
        The name in errors.
    n_bytes : int, optional
        The size of the whole stream, if it is known: the header must state the same.

    Raises
    ------
    MemoryBudgetError
        The array is larger than the available memory.
    ValueError
        It is damaged, or has objects.
    """
    counted = _Counting(file)
    shape, is_fortran, dtype = _header(counted, name)
    if dtype.hasobject:
        raise ValueError(f"{name}: an array of objects; expected numbers")
    count = 1
    for size in shape:
        count *= size
    size = count * dtype.itemsize
    if n_bytes is not None and n_bytes != counted.at + size:
        raise ValueError(f"{name}: its header states {size} bytes of values, it has {n_bytes - counted.at}")
    memory.require_bytes(size, f"the array {name}")
    values = np.empty(count, dtype)
    view, done = memoryview(values.view(np.uint8).data if size else b""), 0
    while done < size:
        read = file.readinto(view[done : done + 2**24])
        if not read:
            raise ValueError(f"{name}: it ends after {done} of {size} bytes")
        done += read
    return values.reshape(shape, order="F" if is_fortran else "C")


def _header(file: Any, name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and dtype."""
    version = np.lib.format.read_magic(file)
    if version != (1, 0):  # headers of later ones may be of any length: they are for structured types
        raise ValueError(
            f"{name}: npy version {version}; expected an array of numbers, which is of version 1.0"
        )
    shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file)
    if any(size < 0 for size in shape):
        raise ValueError(f"{name}: a header with shape {shape}")
    return shape, is_fortran, dtype


class Archive:
    """The arrays of an npz archive by name; only those that are asked for are read.

    Parameters
    ----------
    file : binary file
        That can seek.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._archive = zipfile.ZipFile(file)
        members = Counter(info.filename for info in self._archive.infolist())
        twice = [name for name, n in members.items() if n > 1]
        if twice:
            raise ValueError(f"{twice[0]} is in the archive twice; expected each array once")
        self.names = {name.removesuffix(".npy") for name in members if name.endswith(".npy")}

    def read(self, name: str) -> npt.NDArray[Any]:
        """One array."""
        info = self._archive.getinfo(f"{name}.npy")
        with self._archive.open(info) as member:
            array = read_array(member, name, info.file_size)
            if member.read(1):  # the end also checks the sum over all bytes
                raise ValueError(f"{name}: bytes behind the array")
            return array

    def missing(self, names: Iterable[str]) -> list[str]:
        """Those of the names that the archive lacks."""
        return [name for name in names if name not in self.names]


class _Counting:
    """A stream that counts the bytes that are read of it."""

    def __init__(self, file: Any) -> None:
        self._file, self.at = file, 0

    def read(self, size: int) -> bytes:
        data: bytes = self._file.read(size)
        self.at += len(data)
        return data
