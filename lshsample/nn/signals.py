"""The data passed between layers: dense blocks of some columns, or sparse rows.

A layer's output is a *block* (all rows have values in the same columns: all of them, or one active set for
the batch) or a CSR array (each row has its own columns: sparse input, active sets per sample). All other
columns are 0.
"""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample._native import core
from lshsample._native.core import csr_from_parts
from lshsample.display import array_text

__all__ = [
    "Block",
    "LossGradient",
    "Run",
    "Signal",
    "as_dense",
    "csr_from_parts",
    "from_dense",
    "indptr_of",
    "row_slice",
    "scaled",
    "take_rows",
    "times",
    "values_of",
    "with_values",
]

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]


@attrs.frozen(eq=False)
class Block:
    """Values of the same k columns in each row.

    Attributes
    ----------
    values : ndarray of float32, shape (rows, k)
        The values.
    width : int
        Number of columns, those without values included.
    ids : ndarray of int32 or None
        The k columns, ascending; None for all of them.
    """

    values: Float32 = attrs.field(repr=array_text)
    width: int
    ids: Int32 | None = attrs.field(default=None, repr=array_text)


Signal = Block | sp.csr_array


@attrs.frozen(eq=False)
class LossGradient:
    """What a loss returns to the last layer: the gradient of each row's loss, and a factor.

    The gradient of the mean loss is ``scale`` times the signal. The layer applies the factor, and can do so
    where there are fewer numbers: to its input instead of to the logits.

    Attributes
    ----------
    signal : Block or csr_array
        Gradient with respect to the logits.
    scale : float
        The factor, 1 / the number of rows.
    """

    signal: Signal
    scale: float

    def scaled(self) -> Signal:
        """The gradient of the mean loss."""
        return with_values(self.signal, values_of(self.signal) * np.float32(self.scale))


@attrs.frozen(eq=False)
class Run:
    """The options of one pass through the layers.

    Attributes
    ----------
    threads : int
        Number of threads; the result does not depend on it.
    seed, step : int
        Determine the random draws (samplers, dropout).
    training : bool
        Whether dropout is applied.
    sampled : bool
        Whether sampled layers sample; otherwise they compute all units.
    targets : csr_array or None
        The labels of the batch, which the last layer includes in its active set.
    """

    threads: int
    seed: int = 0
    step: int = 0
    training: bool = False
    sampled: bool = False
    targets: sp.csr_array | None = attrs.field(default=None, repr=array_text)


def indptr_of(rows: sp.csr_array) -> Int64:
    """The row pointers of a validated CSR array, as int64."""
    return core.offsets_of(rows)


def take_rows(x: sp.csr_array, rows: npt.NDArray[np.int64]) -> sp.csr_array:
    """The given rows of a validated CSR array; O(their values)."""
    starts: Any = x.indptr[rows]
    lengths: Any = x.indptr[rows + 1] - starts
    indptr = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(lengths, out=indptr[1:])
    places = np.repeat(starts - indptr[:-1], lengths)
    places += np.arange(len(places))
    return csr_from_parts(indptr, x.indices[places], x.data[places], (len(rows), x.shape[1]))


def row_slice(signal: Signal, start: int, stop: int) -> Signal:
    """Rows ``start`` to ``stop - 1``, without copying the values."""
    if isinstance(signal, Block):
        return Block(signal.values[start:stop], signal.width, signal.ids)
    indptr = signal.indptr[start : stop + 1]
    low, high = indptr[0], indptr[-1]
    shape = (stop - start, signal.shape[1])
    return csr_from_parts(indptr - low, signal.indices[low:high], signal.data[low:high], shape)


def values_of(signal: Signal) -> Float32:
    """The stored values, without their columns."""
    return signal.values if isinstance(signal, Block) else signal.data


def with_values(signal: Signal, values: Float32) -> Signal:
    """A signal with the same columns and other values."""
    if isinstance(signal, Block):
        return Block(values, signal.width, signal.ids)
    return csr_from_parts(signal.indptr, signal.indices, values, signal.shape)


def times(values: Float32, factor: float) -> Float32:
    """Values times a factor; the same array where the factor is 1."""
    return values if factor == 1.0 else values * np.float32(factor)


def scaled(signal: Signal, factor: float) -> Signal:
    """A signal times a factor; the same one where the factor is 1."""
    return signal if factor == 1.0 else with_values(signal, times(values_of(signal), factor))


def as_dense(signal: Signal) -> Float32:
    """All columns of a signal, zeros included."""
    if not isinstance(signal, Block):
        return np.ascontiguousarray(signal.toarray())
    if signal.ids is None:
        return signal.values
    out = np.zeros((len(signal.values), signal.width), np.float32)
    out[:, signal.ids] = signal.values
    return out


def from_dense(gradient: Float32, like: Signal) -> Signal:
    """The gradient of a signal's stored values, from the gradient of all columns."""
    if isinstance(like, Block):
        values = gradient if like.ids is None else np.ascontiguousarray(gradient[:, like.ids])
        return Block(values, like.width, like.ids)
    rows = np.repeat(np.arange(like.shape[0]), np.diff(like.indptr))
    return with_values(like, gradient[rows, like.indices])
