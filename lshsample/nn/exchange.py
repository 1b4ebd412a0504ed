"""Approximate exchange: only the largest of the numbers between processes are sent (Gupta et al. 2020).

Dynamic communication thresholding for model parallelism: of each row of hidden activations the largest are
sent, with their columns; the gradients of the same ones come back. Nothing is remembered between steps.
"""

from __future__ import annotations

import math
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from lshsample import specs
from lshsample.display import array_text

__all__ = [
    "ApproximateActivations",
    "ApproximateGradients",
    "Entries",
    "ErrorFeedback",
    "KeptRows",
    "as_matrix",
]

Float32 = npt.NDArray[np.float32]


@attrs.frozen(eq=False)
class KeptRows:
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

    def part_of(self, matrix: Float32) -> Float32:
        """The values of another matrix at the same places, shape (rows, k)."""
        return np.take_along_axis(matrix, self._places(), 1)

    def _places(self) -> npt.NDArray[np.int64]:
        return self.columns.astype(np.int64)


def as_matrix(h: Float32 | KeptRows) -> Float32:
    """All columns of a matrix of which some may be kept."""
    return h.matrix() if isinstance(h, KeptRows) else h


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
    >>> kept = exchange.largest(np.array([[1, -3, 0, 2]], np.float32))
    >>> kept.columns, kept.values
    (array([[1, 3]], dtype=uint8), array([[-3.,  2.]], dtype=float32))
    """

    kept: float = attrs.field(validator=specs.number(0.0, 1.0, open_low=True))

    def count(self, width: int) -> int:
        """Units of a row that are sent, of a number of units."""
        return max(1, math.ceil(self.kept * width - 1e-9))

    def largest(self, h: Float32) -> KeptRows:
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
