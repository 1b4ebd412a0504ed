"""A file that arrays are mapped from, and whether it was changed since."""

from __future__ import annotations

import errno
import mmap
import os
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from lshsample.errors import CheckpointError, MemoryBudgetError

__all__ = ["MappedFile"]


class MappedFile:
    """The bytes of a file, mapped into memory, and the file itself, which tells whether it was changed.

    Attributes
    ----------
    name : str
        The name of the file in messages.
    data : memoryview
        Its bytes, read only.

    Raises
    ------
    CheckpointError
        The file is empty.
    MemoryBudgetError
        There is no address space to map it.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.name = name
        self._handle = os.dup(file.fileno())
        try:
            self.data = memoryview(_mapped(self._handle, name))
            self._stamp = self._now()
        except BaseException:
            os.close(self._handle)
            self._handle = -1
            raise

    def __del__(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)

    def __reduce__(self) -> Any:
        """None, pickled or copied: arrays are copied with their bytes, and have no file."""
        return type(None), ()

    def _now(self) -> tuple[int, int]:
        now = os.fstat(self._handle)
        return now.st_size, now.st_mtime_ns

    def check(self) -> None:
        """Raise CheckpointError if the file was written to or truncated since it was opened.

        A read beyond the end of a truncated file would end the process.
        """
        if self._now() != self._stamp:
            raise CheckpointError(
                f"{self.name}: was changed in place since it was opened; replace a file in use with save or "
                "mv, never with cp, or open it with copy=True"
            )

    def read(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A copy of an array over :attr:`data`, read from the file.

        Raises
        ------
        CheckpointError
            As :meth:`check`.
        """
        self.check()
        out = np.empty(array.shape, array.dtype)
        rest = out.reshape(-1).view(np.uint8).data
        at = array.ctypes.data - np.frombuffer(self.data, np.uint8).ctypes.data
        while len(rest):
            done = os.preadv(self._handle, [rest], at)
            if not done:
                raise CheckpointError(f"{self.name}: was truncated since it was opened")
            rest, at = rest[done:], at + done
        return out


def _mapped(handle: int, name: str) -> mmap.mmap:
    size = os.fstat(handle).st_size
    if not size:
        raise CheckpointError(f"{name}: not a file of lshsample (it is empty)")
    try:
        return mmap.mmap(handle, size, access=mmap.ACCESS_READ)
    except OSError as error:
        if error.errno != errno.ENOMEM:
            raise
        needed = f"{size / 2**20:,.0f} MiB of address space"
        raise MemoryBudgetError(f"{name}: mapping it needs {needed}, more than the limit allows") from error
