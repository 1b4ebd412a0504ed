"""Types of array elements: their names in NumPy, the C core and files, and which of them kernels support.

NumPy has no bfloat16 and no 8-bit floats. Arrays of them have a structured dtype with one field, named after
the type, over unsigned integers: ``np.dtype([("bfloat16", np.uint16)])``. The dtype then defines what the
bits mean, slices and views keep it, and arithmetic, which would be wrong on the bits, is an error. The bits
are ``array["bfloat16"]``; :mod:`lshsample._native.convert` turns them into values and back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from lshsample.errors import ArgumentError

__all__ = [
    "BFLOAT16",
    "DTYPES",
    "FLOAT8",
    "FLOAT32",
    "INT8",
    "KERNEL_DTYPES",
    "DType",
    "alternatives",
    "checked_device",
    "checked_dtype",
    "described",
    "dtype_of",
]


@attrs.frozen
class DType:
    """One type of array elements; the name identifies it.

    Attributes
    ----------
    name : str
        Its name in arguments, errors and specs.
    numpy : np.dtype
        Of arrays of it.
    file : str
        Its name in safetensors files.
    code : int or None
        Its number in the C core (``lsh_dtype`` in views.h); None for types that the core does not have.
    head : int
        Bytes before the elements of a row, of types whose elements are relative to what their row has there.
    """

    name: str
    numpy: np.dtype[Any] = attrs.field(eq=False)
    file: str = attrs.field(eq=False)
    code: int | None = attrs.field(default=None, eq=False)
    head: int = attrs.field(default=0, eq=False)

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return self.numpy.itemsize


def _bits(name: str, kind: type[np.generic]) -> np.dtype[Any]:
    return np.dtype([(name, kind)])


FLOAT32 = DType("float32", np.dtype(np.float32), "F32", 0)
BFLOAT16 = DType("bfloat16", _bits("bfloat16", np.uint16), "BF16", 1)
INT8 = DType("int8", np.dtype(np.int8), "I8", 5)
#: Optimizer state as small floating-point numbers, relative to the greatest of a row (``lsh_coded`` describes
#: them); arrays of it are bytes.
FLOAT8 = DType("float8", np.dtype(np.uint8), "U8", 7, head=4)
#: Every type that arrays and files may have.
DTYPES = (
    FLOAT32,
    BFLOAT16,
    DType("float16", np.dtype(np.float16), "F16", 2),
    DType("float8_e4m3", _bits("float8_e4m3", np.uint8), "F8_E4M3", 3),
    DType("float8_e5m2", _bits("float8_e5m2", np.uint8), "F8_E5M2", 4),
    INT8,
    DType("uint8", np.dtype(np.uint8), "U8", 6),
    DType("float64", np.dtype(np.float64), "F64"),
    DType("int32", np.dtype(np.int32), "I32"),
    DType("int64", np.dtype(np.int64), "I64"),
    DType("uint16", np.dtype(np.uint16), "U16"),
    DType("uint32", np.dtype(np.uint32), "U32"),
)
#: The types of weights that kernels read and write.
KERNEL_DTYPES = (FLOAT32, BFLOAT16)

_BY_NUMPY = {dtype.numpy: dtype for dtype in DTYPES}
_BY_NAME = {dtype.name: dtype for dtype in DTYPES}


def described(dtype: np.dtype[Any]) -> str:
    """A NumPy dtype's name for errors: ``bfloat16`` where NumPy says ``[('bfloat16', '<u2')]``."""
    known = _BY_NUMPY.get(dtype)
    return str(dtype) if known is None else known.name


def dtype_of(array: npt.NDArray[Any], argument: str, supported: Sequence[DType] = DTYPES) -> DType:
    """The type of an array's elements.

    Raises
    ------
    ArgumentError
        It is not one of ``supported``.
    """
    found = _BY_NUMPY.get(array.dtype)
    if found is None or found not in supported:
        raise ArgumentError(argument, described(array.dtype), f"of dtype {alternatives(supported)}")
    return found


def checked_dtype(dtype: DType | str, argument: str, supported: Sequence[DType] = KERNEL_DTYPES) -> DType:
    """A type from itself or its name, such as ``"bfloat16"``.

    Raises
    ------
    ArgumentError
        There is no such type, or it is not one of ``supported``.
    """
    found = _BY_NAME.get(dtype) if isinstance(dtype, str) else dtype
    if found is None or found not in supported:
        given = dtype.name if isinstance(dtype, DType) else repr(dtype)
        raise ArgumentError(argument, given, alternatives(supported))
    return found


def alternatives(dtypes: Sequence[DType]) -> str:
    """The names of types as text: ``float32 or bfloat16``."""
    return " or ".join(dtype.name for dtype in dtypes)


def checked_device(device: Any, argument: str = "device") -> str:
    """The name of a device that this build computes on: ``"cpu"``, the only one.

    Raises
    ------
    ArgumentError
        Any other device; the message names it.
    """
    if str(device) != "cpu":
        place = "'cpu'" if argument == "device" else "on 'cpu'"
        raise ArgumentError(argument, repr(str(device)), f"{place}, the only device of this build")
    return "cpu"
