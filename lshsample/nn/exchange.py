"""Approximate exchange between processes: the largest numbers alone, or all of them in few bits.

What is sent of a hidden row, and what comes back of its gradient, is a function of this row: nothing is
remembered between steps, and nothing depends on the number of processes.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from lshsample import specs
from lshsample.display import array_text
from lshsample.errors import DivergenceError
from lshsample.nn.sums import tree

__all__ = [
    "STEPS",
    "ApproximateActivations",
    "ApproximateGradients",
    "CodedRows",
    "Entries",
    "ErrorFeedback",
    "KeptRows",
    "RoundedActivations",
    "RoundedRows",
    "SentRows",
    "as_matrix",
]

Float32 = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]


class SentRows(ABC):
    """Hidden rows as they are sent to shards, with the form of the gradient that comes back."""

    @abstractmethod
    def matrix(self) -> Float32:
        """The rows that shards compute with."""

    @abstractmethod
    def answer(self, gradients: Sequence[Float32]) -> Any:
        """What a shard returns of the gradients of its blocks."""

    @abstractmethod
    def gradient(self, answers: Sequence[Any]) -> Float32:
        """The gradient of the rows, from what all shards return."""


@attrs.frozen(eq=False)
class KeptRows(SentRows):
    """The same number of columns of each row of a matrix; the others count as 0.

    Attributes
    ----------
    columns : ndarray of unsigned integers, shape (rows, k)
        Ascending within a row, in the smallest type that holds them.
    values : ndarray of float32, shape (rows, k)
    width : int
        Columns of the matrix.
    """

    columns: npt.NDArray[np.unsignedinteger[Any]] = attrs.field(repr=array_text)
    values: Float32 = attrs.field(repr=array_text)
    width: int

    def matrix(self, values: Float32 | None = None) -> Float32:
        """The matrix of these values, or of others at the same places."""
        out = np.zeros((len(self.values), self.width), np.float32)
        np.put_along_axis(out, self._places(), self.values if values is None else values, 1)
        return out

    def answer(self, gradients: Sequence[Float32]) -> Float32:
        """The sum at the places of the values."""
        return tree([self.part_of(gradient) for gradient in gradients], np.add)

    def gradient(self, answers: Sequence[Float32]) -> Float32:
        """The sum, which is 0 elsewhere."""
        return self.matrix(tree(answers, np.add))

    def part_of(self, matrix: Float32) -> Float32:
        """The values of another matrix at the same places, shape (rows, k)."""
        return np.take_along_axis(matrix, self._places(), 1)

    def _places(self) -> npt.NDArray[np.int64]:
        return self.columns.astype(np.int64)


def as_matrix(h: Float32 | SentRows) -> Float32:
    """A matrix as it is, or that of the rows that were sent."""
    return h.matrix() if isinstance(h, SentRows) else h


@attrs.frozen
class ApproximateActivations:
    """Of each row of hidden units only the largest are sent to the shards of a :class:`Sharded` layer.

    It approximates: the last layer takes the other units of the row as 0, in training and in prediction, and
    they get no gradient.

    Attributes
    ----------
    kept : float
        Share of the units of a row that is sent, above 0; at least one unit.

    Notes
    -----
    Dynamic communication thresholding for model parallelism (Gupta et al. 2020, arXiv 2010.08899). A unit
    that is sent costs 9 or 10 bytes a row, its gradient included, instead of 8 bytes for every unit.

    Examples
    --------
    >>> exchange = ApproximateActivations(0.5)
    >>> kept = exchange.sent(np.array([[1, -3, 0, 2]], np.float32))
    >>> kept.columns, kept.values
    (array([[1, 3]], dtype=uint8), array([[-3.,  2.]], dtype=float32))
    """

    kept: float = attrs.field(validator=specs.number(0.0, 1.0, open_low=True))

    def count(self, width: int) -> int:
        """Units of a row that are sent, of a number of units."""
        return max(1, math.ceil(self.kept * width - 1e-9))

    def sent(self, h: Float32) -> KeptRows:
        """The units of the largest magnitude of each row, among equal ones the first."""
        rows, width = h.shape
        k = self.count(width)
        size = np.abs(h)
        least = np.partition(size, width - k, axis=1)[:, width - k, None]
        above, equal = size > least, size == least
        missing = k - np.count_nonzero(above, axis=1)[:, None]
        columns = np.nonzero(above | (equal & (np.cumsum(equal, axis=1) <= missing)))[1].reshape(rows, k)
        values = np.take_along_axis(h, columns, 1)
        return KeptRows(columns.astype(np.min_scalar_type(width - 1)), values, width)


#: Steps of a uniform grid, as multiples of the mean magnitude, with the least squared error for a normal
#: distribution (Max, Quantizing for minimum distortion, IRE Transactions on Information Theory 1960): of
#: 2**bits values around 0, and of as many from 0 on, for the positive values of a row without negative ones.
_AROUND = {1: 2.0, 2: 1.25, 4: 0.421}
_FROM_ZERO = {1: 1.535, 2: 0.817, 4: 0.243}
#: Steps by their code: 0, and four in each octave from 2**-31.75 to 2**31.75. The constants are written out,
#: so that the table is the same on all machines.
_OCTAVE = np.array([1.0, 1.189207115002721, 1.4142135623730951, 1.681792830507429])
STEPS = np.concatenate(
    [[0.0], np.ldexp(_OCTAVE[np.arange(1, 256) % 4], (np.arange(1, 256) - 128) // 4)]
).astype(np.float32)
_BETWEEN = 0.5 * (STEPS[1:-1].astype(np.float64) + STEPS[2:])


@attrs.frozen(eq=False)
class CodedRows:
    """Rows whose values are multiples of a step of each row, in few bits.

    Attributes
    ----------
    codes : ndarray of uint8
        Of ``8 / bits`` values in each byte.
    steps : ndarray of uint8, shape (rows,)
        Numbers of the steps in a table.
    around : ndarray of bool, shape (rows,), or None
        Whether the values of a row lie around 0, half a step from it, instead of from 0 on; None if those of
        all rows do.
    bits, width : int
    """

    codes: Bytes = attrs.field(repr=array_text)
    steps: Bytes = attrs.field(repr=array_text)
    around: npt.NDArray[np.bool_] | None = attrs.field(repr=array_text)
    bits: int
    width: int

    @classmethod
    def of(cls, values: Float32, bits: int, may_be_from_zero: bool) -> CodedRows:
        """The nearest values of a grid for each row; DivergenceError if any is not finite."""
        around: Any = (values < 0).any(axis=1) if may_be_from_zero else None
        signed: Any = np.ones(len(values), bool) if around is None else around
        size = np.abs(values)
        total = size.sum(axis=1, dtype=np.float64)
        if not np.isfinite(total).all():
            raise DivergenceError("what is exchanged of a hidden layer is not finite")
        count = np.where(signed, values.shape[1], np.count_nonzero(values, axis=1))
        wanted = np.where(signed, _AROUND[bits], _FROM_ZERO[bits]) * total / np.maximum(count, 1)
        steps = np.where(total > 0, 1 + np.searchsorted(_BETWEEN, wanted), 0).astype(np.uint8)
        step = np.where(steps > 0, STEPS[steps], np.float32(1))[:, None]
        n = 2**bits
        scaled = values / step
        codes = np.where(signed[:, None], np.floor(scaled) + n // 2, np.rint(scaled))
        codes = np.clip(codes, 0, n - 1, out=codes).astype(np.uint8)
        return cls(_packed(codes, bits), steps, around, bits, values.shape[1])

    def matrix(self) -> Float32:
        """The rows."""
        shifts = np.arange(0, 8, self.bits, dtype=np.uint8)
        codes = (self.codes[:, :, None] >> shifts) & np.uint8(2**self.bits - 1)
        codes = codes.reshape(len(codes), codes.shape[1] * len(shifts))[:, : self.width]
        first = np.float32((2**self.bits - 1) / 2)
        signed = True if self.around is None else self.around[:, None]
        values = codes.astype(np.float32)
        values -= np.where(signed, first, np.float32(0))
        values *= STEPS[self.steps][:, None]
        return values


def _packed(codes: Bytes, bits: int) -> Bytes:
    """Codes of a row in bytes, the first in the lowest bits; zeros fill the last one."""
    per = 8 // bits
    whole = np.zeros((len(codes), -(-codes.shape[1] // per) * per), np.uint8)
    whole[:, : codes.shape[1]] = codes
    out = whole[:, 0::per].copy()
    for i in range(1, per):
        out |= whole[:, i::per] << np.uint8(i * bits)
    return out


@attrs.frozen(eq=False)
class RoundedRows(SentRows):
    """All values of rows in few bits."""

    rows: CodedRows
    gradient_bits: int

    def matrix(self) -> Float32:
        """The rounded rows."""
        return self.rows.matrix()

    def answer(self, gradients: Sequence[Float32]) -> list[CodedRows]:
        """The rounded gradient of each block: a rounded sum would depend on which blocks a shard has."""
        return [CodedRows.of(gradient, self.gradient_bits, False) for gradient in gradients]

    def gradient(self, answers: Sequence[list[CodedRows]]) -> Float32:
        """The sum over all blocks."""
        return tree([coded.matrix() for one in answers for coded in one], np.add)


@attrs.frozen
class RoundedActivations:
    """Hidden rows and their gradients are sent in few bits.

    It approximates: a value is rounded to the nearest of ``2**bits`` multiples of a step, which is chosen for
    each row by the mean magnitude of its values. The last layer computes with the rounded rows, also in
    prediction.

    Attributes
    ----------
    bits : int
        Of an activation: 1, 2 or 4.
    gradient_bits : int
        Of the gradient of an activation, for each block of labels: 1, 2 or 4. A gradient of one bit is its
        sign, times a mean magnitude.

    Examples
    --------
    >>> RoundedActivations().sent(np.array([[0, 1, 2, 9, 0, 3]], np.float32)).matrix().round(1)
    array([[0. , 0. , 2.8, 8.5, 0. , 2.8]], dtype=float32)
    """

    bits: int = attrs.field(default=2, validator=specs.one_of(*_AROUND))
    gradient_bits: int = attrs.field(default=2, validator=specs.one_of(*_AROUND))

    def sent(self, h: Float32) -> RoundedRows:
        """Rows as they are sent; DivergenceError if a value is not finite."""
        return RoundedRows(CodedRows.of(h, self.bits, True), self.gradient_bits)


@attrs.frozen
class ApproximateGradients:
    """Of the gradient of each parameter only the largest numbers are sent; the others are added to the next.

    It approximates: a number that is not sent waits in the memory of its process (error feedback), until
    what has been added up is large enough.

    Attributes
    ----------
    kept : float
        Share of the weights of a parameter that is sent at a step, above 0.
    renew_steps : int
        Steps after which the threshold that separates this share is determined anew. In between the number
        that is sent changes with the gradient.

    Notes
    -----
    Dynamic communication thresholding for data parallelism (Gupta et al. 2020, arXiv 2010.08899), with the
    whole gradient plus what was left in a memory of 4 bytes a weight for each part of a batch. A number that
    is sent costs 8 bytes.
    """

    kept: float = attrs.field(validator=specs.number(0.0, 1.0, open_low=True))
    renew_steps: int = attrs.field(default=1000, validator=specs.integer(1, 2**31 - 1))

    def renews_at(self, done: int) -> bool:
        """Whether the threshold is determined anew after a number of steps."""
        if done < self.renew_steps:
            return done & (done - 1) == 0
        return done % self.renew_steps == 0


@attrs.frozen(eq=False)
class Entries:
    """Some numbers of a matrix; the others count as 0.

    Attributes
    ----------
    places : ndarray of int64 or uint32
        Ascending, counted along the rows.
    values : ndarray of float32
    """

    places: npt.NDArray[np.integer[Any]] = attrs.field(repr=array_text)
    values: Float32 = attrs.field(repr=array_text)


class ErrorFeedback:
    """What one process has not sent of the gradient of one parameter.

    Parameters
    ----------
    exchange : ApproximateGradients
        The share that is sent.
    shape : (int, int)
        Rows and columns of the parameter.
    """

    def __init__(self, exchange: ApproximateGradients, shape: tuple[int, int]) -> None:
        self._exchange, self._steps, self._threshold = exchange, 0, np.float32(0.0)
        self._left = np.zeros(shape, np.float32)
        self._place_type = np.uint32 if self._left.size <= 2**32 else np.int64

    def sent(self, rows: npt.NDArray[np.int32] | None, gradient: Float32) -> Entries:
        """Add the gradient of some rows, or of all; returns what is sent of the sum, and keeps the rest."""
        if rows is None:
            self._left += gradient
        else:
            self._left[rows] += gradient
        left = self._left.reshape(-1)
        size = np.abs(left)
        if self._exchange.renews_at(self._steps):
            k = max(1, math.ceil(self._exchange.kept * left.size - 1e-9))
            self._threshold = np.partition(size, left.size - k)[left.size - k]
        self._steps += 1
        places = np.flatnonzero((size >= self._threshold) & (size > 0))
        values = left[places]
        left[places] = 0.0
        return Entries(places.astype(self._place_type), values)
