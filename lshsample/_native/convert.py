"""Arrays of one element type made from arrays of another, and how values are rounded to a narrower type."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from lshsample import specs
from lshsample._native.arrays import Array, Float32, matrix
from lshsample._native.core import check, ffi, lib, threads_or_default
from lshsample._native.dtypes import FLOAT32, KERNEL_DTYPES, DType, checked_dtype
from lshsample.errors import ArgumentError

__all__ = ["ConvertedRows", "Rounding", "from_float32", "rounding_pointer", "to_float32"]


@attrs.frozen
class Rounding:
    """Stochastic rounding (Gupta et al., ICML 2015): a value between two neighbours of the narrower type
    becomes the upper one with a probability equal to its distance from the lower one over their gap.

    The expected result is the value itself, so that updates much smaller than the gap are not lost. The
    random bits are a pure function of (seed, step, row, column): Philox, purpose ``LSH_DRAW_ROUNDING``.

    Attributes
    ----------
    seed, step : int
        Determine the random bits; each parameter needs a different seed. From 0 to 2**64 - 1.
    """

    seed: int = attrs.field(validator=specs.integer(0, 2**64 - 1))
    step: int = attrs.field(validator=specs.integer(0, 2**64 - 1))


def rounding_pointer(rounding: Rounding | None) -> Any:
    """A ``const lsh_rounding *``; NULL, which means to nearest, for None."""
    if rounding is None:
        return ffi.NULL
    if not isinstance(rounding, Rounding):
        raise ArgumentError("rounding", type(rounding).__name__, "a Rounding, or None to round to nearest")
    return ffi.new("lsh_rounding *", (rounding.seed, rounding.step))


def _convert(source: Array, target: Array, rounding: Rounding | None, threads: int | None) -> None:
    views = matrix(source, "values", dtypes=KERNEL_DTYPES), matrix(target, "out", dtypes=KERNEL_DTYPES)
    check(lib.lsh_convert(*views, rounding_pointer(rounding), threads_or_default(threads)), "convert")


def from_float32(
    values: Float32, dtype: DType | str, rounding: Rounding | None = None, *, threads: int | None = None
) -> Array:
    """Float32 values as another type.

    Parameters
    ----------
    values : (rows, columns) float32
        Rows contiguous, the row stride free.
    dtype : DType or str
        float32 or bfloat16.
    rounding : Rounding or None
        None rounds to nearest, ties to even; values beyond the type's range become infinite. NaN stays NaN.
    threads : int or None

    Returns
    -------
    (rows, columns) array of that type
        The same bits for any number of threads and on every instruction set.

    Raises
    ------
    ArgumentError
        A wrong shape, layout or dtype.

    Examples
    --------
    >>> import numpy as np
    >>> from lshsample._native import convert
    >>> halves = convert.from_float32(np.array([[1.0, 3.14159]], np.float32), "bfloat16")
    >>> halves.nbytes, convert.to_float32(halves)
    (4, array([[1.      , 3.140625]], dtype=float32))
    """
    wanted = checked_dtype(dtype, "dtype")
    matrix(values, "values")
    out = np.empty(values.shape, wanted.numpy)
    _convert(values, out, rounding, threads)
    return out


def to_float32(values: npt.NDArray[Any], *, threads: int | None = None) -> Float32:
    """Values of a type with kernels (rows, columns) as float32; exact.

    Raises
    ------
    ArgumentError
        A wrong shape, layout or dtype.
    """
    matrix(values, "values", dtypes=KERNEL_DTYPES)
    out = np.empty(values.shape, FLOAT32.numpy)
    _convert(values, out, None, threads)
    return out


class ConvertedRows:
    """Rows of a narrower type that are read as float32: slices and selections are float32 copies.

    Where rows are read in blocks, as for hashing, they take the place of a float32 array of all rows.

    Parameters
    ----------
    rows : (n, d) array
        Of a type with kernels, rows contiguous; kept by reference.
    factor : float
        What the values are multiplied by.

    Examples
    --------
    >>> import numpy as np
    >>> from lshsample._native import convert
    >>> rows = convert.ConvertedRows(convert.from_float32(np.eye(3, dtype=np.float32), "bfloat16"), 0.5)
    >>> rows.shape, rows[1:]
    ((3, 3), array([[0. , 0.5, 0. ],
           [0. , 0. , 0.5]], dtype=float32))
    """

    ndim, dtype = 2, FLOAT32.numpy

    def __init__(self, rows: Array, factor: float = 1.0) -> None:
        self.rows = rows  #: the rows, as given
        self.factor = factor

    @property
    def shape(self) -> tuple[int, int]:
        """(n, d)."""
        n, d = self.rows.shape
        return n, d

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: slice | npt.NDArray[Any]) -> Float32:
        values = to_float32(self.rows[rows])
        if self.factor != 1.0:
            values *= np.float32(self.factor)
        return values

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        if copy is False:
            raise ValueError("rows of another type can only be read as a copy")
        return self[:].astype(FLOAT32.numpy if dtype is None else dtype, copy=False)

    def copy(self) -> ConvertedRows:
        """A copy that does not change with the rows."""
        return ConvertedRows(self.rows.copy(), self.factor)
