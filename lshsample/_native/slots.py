"""A parameter with its optimizer state: interleaved by row, so that a row's update is contiguous, or not."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from lshsample._native.arrays import Array, Float32, matrix, whole
from lshsample._native.core import ffi, pointer
from lshsample._native.dtypes import FLOAT8, FLOAT32, KERNEL_DTYPES, DType, alternatives, described, dtype_of
from lshsample.errors import ArgumentError, NativeError

__all__ = ["ArraySlots", "Slots", "array_struct", "row_bytes"]

#: Every slot begins at a multiple of this, so that NumPy can view any of them.
_ALIGNMENT = 4
_MAX_SLOTS = 8


@lru_cache(maxsize=256)
def _offsets(columns: int, dtypes: tuple[DType, ...]) -> tuple[int, ...]:
    """Where each slot begins in a row, and, last, how long a row is."""
    offsets = [0]
    for dtype in dtypes:
        size = dtype.head + columns * dtype.itemsize
        offsets.append(-(-(offsets[-1] + size) // _ALIGNMENT) * _ALIGNMENT)
    return tuple(offsets)


@lru_cache(maxsize=256)
def _template(columns: int, dtypes: tuple[DType, ...]) -> Any:
    """An ``lsh_store *`` without memory, to be copied, which takes half of the time of making one."""
    offsets = _offsets(columns, dtypes)
    slots = [(offset, offsets[-1], dtype.code) for offset, dtype in zip(offsets, dtypes, strict=False)]
    return ffi.new("lsh_store *", (ffi.NULL, 0, columns, len(slots), slots))


@lru_cache(maxsize=256)
def _float32_template(columns: int, slots: int) -> Any:
    return _template(columns, (FLOAT32,) * slots)


def _struct(template: Any, memory: npt.NDArray[Any]) -> Any:
    """An ``lsh_store *`` over the rows of an array, which must outlive its use."""
    struct = ffi.new("lsh_store *", template[0])
    struct.data, struct.rows = pointer("char *", memory), len(memory)
    return struct


def row_bytes(columns: int, dtypes: Sequence[DType]) -> int:
    """Bytes of one row of slots of these types."""
    return _offsets(columns, tuple(dtypes))[-1]


def _check_array(
    array: Any, argument: str, slots: int | None, supported: Sequence[DType] = (FLOAT32,)
) -> DType:
    """The type of a C-contiguous array (rows, slots, columns); anything else is refused."""
    wanted = f"a {alternatives(supported)} array (n, {slots or 'slots'}, d)"
    if (
        not isinstance(array, np.ndarray)
        or array.ndim != 3
        or array.dtype not in [d.numpy for d in supported]
    ):
        shaped = isinstance(array, np.ndarray)
        given = f"{array.ndim}-D {described(array.dtype)}" if shaped else type(array).__name__
        raise ArgumentError(argument, given, wanted)
    count = array.shape[1]
    if count != slots if slots else not 1 <= count <= _MAX_SLOTS:
        more = "" if slots else f" of 1 to {_MAX_SLOTS} slots"
        raise ArgumentError(argument, f"shape {array.shape}", wanted + more)
    whole(array, argument)
    return dtype_of(array, argument, supported)


def array_struct(array: Float32, argument: str, slots: int | None = None) -> Any:
    """An ``lsh_store *`` over a float32 array (rows, slots, columns), which must outlive its use.

    Raises
    ------
    ArgumentError
        Another dtype or layout, another number of slots than ``slots``, or an array that cannot be written.
    """
    _check_array(array, argument, slots)
    if not array.flags.writeable:
        raise ArgumentError(argument, "a read-only array", "a writable array")
    return _struct(_float32_template(array.shape[2], array.shape[1]), array)


@attrs.frozen(eq=False)
class Slots:
    """Rows of ``columns`` weights (slot 0), followed by as many values of optimizer state in each other slot.

    All slots are float32, or all bfloat16; or those of state are float8. Each begins at a multiple of 4
    bytes: slots of float32 are thus the C-contiguous array (rows, slots, columns), and so are those of an
    even number of columns in bfloat16.

    Attributes
    ----------
    data : ndarray of uint8, shape (rows, bytes of a row)
        The memory; C-contiguous.
    columns : int
        Values in a slot of a row.
    dtypes : tuple of DType
        Type of each slot, 1 to 8 of them.
    seed : int or None
        Seed of the stochastic rounding of slots in bfloat16 and float8
        (:class:`~lshsample._native.convert.Rounding`); None rounds bfloat16 to nearest.
    """

    data: npt.NDArray[np.uint8]
    columns: int
    dtypes: tuple[DType, ...]
    seed: int | None = None

    @classmethod
    def zeros(cls, rows: int, columns: int, dtypes: Sequence[DType]) -> Slots:
        """New rows, all zero.

        Raises
        ------
        ArgumentError
            No slots or more than 8, a type without kernels, or another type in another slot.
        """
        if not 1 <= len(dtypes) <= _MAX_SLOTS:
            raise ArgumentError("dtypes", f"{len(dtypes)} slots", f"those of 1 to {_MAX_SLOTS} slots")
        for slot, dtype in enumerate(dtypes):
            state = dtypes[1] if slot > 1 and dtypes[1] == FLOAT8 else dtypes[0]
            supported = KERNEL_DTYPES if not slot else (state, FLOAT8) if slot == 1 else (state,)
            if dtype not in supported:
                wanted = f"{alternatives(supported)} in slot {slot}"
                raise ArgumentError("dtypes", f"{dtype.name} in slot {slot}", wanted)
        return cls(np.zeros((rows, row_bytes(columns, dtypes)), np.uint8), columns, tuple(dtypes))

    @classmethod
    def of(cls, array: Array, argument: str = "store") -> Slots:
        """A view of an array (rows, slots, columns) of a type with kernels.

        Raises
        ------
        ArgumentError
            Another dtype or layout, a number of slots that is not from 1 to 8, or slots of bfloat16 that do
            not begin at multiples of 4 bytes.
        """
        dtypes = (_check_array(array, argument, None, KERNEL_DTYPES),) * array.shape[1]
        rows, count, columns = array.shape
        if row_bytes(columns, dtypes) != count * columns * array.itemsize:
            raise ArgumentError(argument, f"{columns} columns", "an even number of columns in bfloat16")
        return cls(array.reshape(rows, count * columns).view(np.uint8), columns, dtypes)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.data)

    @property
    def nbytes(self) -> int:
        """Bytes of the memory."""
        return self.data.nbytes

    def slot(self, index: int) -> Array:
        """A view (rows, columns) of one slot, whose rows are contiguous; writing to it changes the slot.

        One in float8 has the bytes of what its values are relative to, an int32, before them.
        """
        dtype, begin = self.dtypes[index], _offsets(self.columns, self.dtypes)[index]
        end = begin + dtype.head + self.columns * dtype.itemsize
        return self.data[:, begin:end].view(dtype.numpy)

    @cached_property
    def weights(self) -> Array:
        """The view of slot 0."""
        return self.slot(0)

    @property
    def array(self) -> Array:
        """The view (rows, slots, columns) of all slots; NativeError if they are not of one type."""
        if self.small_state is not None:
            raise NativeError("slots of several types are not one array")
        kind, offsets = self.dtypes[0], _offsets(self.columns, self.dtypes)
        strides = offsets[-1], offsets[1], kind.itemsize
        return np.ndarray((self.rows, len(self.dtypes), self.columns), kind.numpy, self.data, strides=strides)

    @property
    def small_state(self) -> npt.NDArray[np.uint8] | None:
        """The view of all bytes of state in float8; None where it is of the type of the weights."""
        if self.dtypes[-1] != FLOAT8:
            return None
        return self.data[:, _offsets(self.columns, self.dtypes)[1] :]

    def rounding(self, step: int) -> Any:
        """A ``const lsh_rounding *`` of a step: stochastic, or NULL, which is to nearest, without a seed."""
        return ffi.NULL if self.seed is None else ffi.new("lsh_rounding *", (self.seed, step))

    @cached_property
    def view(self) -> Any:
        """An ``lsh_dense`` over the weights, which must outlive its use."""
        dtype = self.dtypes[0]
        shape = self.rows, self.columns, self.data.shape[1] // dtype.itemsize, dtype.code
        return ffi.new("lsh_dense *", (pointer("char *", self.data), *shape))[0]

    @cached_property
    def vector(self) -> tuple[Any, int]:
        """A ``float *`` to float32 weights of one row or one column, and the floats from one to the next."""
        stride = 1 if len(self.data) == 1 else self.data.shape[1] // FLOAT32.itemsize
        return ffi.cast("float *", pointer("char *", self.data)), stride

    @cached_property
    def struct(self) -> Any:
        """An ``lsh_store *`` over the memory, which must outlive its use."""
        return _struct(_template(self.columns, self.dtypes), self.data)


@attrs.frozen(eq=False)
class ArraySlots(Slots):
    """Slots in arrays whose memory belongs to somebody else; made by :meth:`over`.

    An update of a row accesses as many ranges of memory as there are arrays that are not interleaved.

    Attributes
    ----------
    arrays : tuple of ndarray, each of shape (rows, columns)
        The slots.
    """

    arrays: tuple[Array, ...] = ()

    @classmethod
    def over(cls, *arrays: Array) -> ArraySlots:
        """Slots over arrays with contiguous rows, all of float32 or all of bfloat16.

        Raises
        ------
        ArgumentError
            Another dtype or layout, or arrays of several shapes or types.
        """
        rows, columns = arrays[0].shape
        matrix(arrays[0], "slot 0", rows, columns, dtypes=KERNEL_DTYPES)
        dtype = dtype_of(arrays[0], "slot 0")
        for slot, array in enumerate(arrays[1:], 1):
            matrix(array, f"slot {slot}", rows, columns, dtypes=(dtype,))
        return cls(arrays[0].view(np.uint8), columns, (dtype,) * len(arrays), arrays=arrays)

    def slot(self, index: int) -> Array:
        """The array of one slot."""
        return self.arrays[index]

    @property
    def nbytes(self) -> int:
        """Bytes of the memory."""
        return sum(array.nbytes for array in self.arrays)

    @cached_property
    def struct(self) -> Any:
        """An ``lsh_store *`` over the memory, which must outlive its use."""
        begin = self.arrays[0].ctypes.data
        slots = [
            (array.ctypes.data - begin, array.strides[0], dtype.code)
            for array, dtype in zip(self.arrays, self.dtypes, strict=True)
        ]
        where = ffi.cast("void *", begin)
        return ffi.new("lsh_store *", (where, self.rows, self.columns, len(slots), slots))
