"""Sums in a fixed order, which have the same bits wherever their parts were computed.

Parts are added in pairs, then pairs of pairs, and so on. A process has a power of two of neighbouring parts,
so that its sum is an inner node of this tree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import attrs
import numpy as np
import numpy.typing as npt

from lshsample.display import array_text
from lshsample.nn.parameter import Update

__all__ = ["MAX_PARTS", "Gradients", "RowGradient", "added", "ranges", "tree"]

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
T = TypeVar("T")

#: Parts of a batch, or blocks of a layer, at most.
MAX_PARTS = 1024


def tree(parts: Sequence[T], add: Callable[[T, T], T]) -> T:
    """The sum of a power of two of parts: neighbours are added in pairs, then the pairs, and so on."""
    several = list(parts)
    while len(several) > 1:
        several = [add(several[i], several[i + 1]) for i in range(0, len(several), 2)]
    return several[0]


def ranges(parts: int, n: int) -> list[tuple[int, int]]:
    """The parts of each of n processes, first and last + 1; both numbers are powers of two."""
    size = parts // n
    return [(i * size, (i + 1) * size) for i in range(n)]


@attrs.frozen(eq=False)
class RowGradient:
    """The gradient of some rows of a parameter, ascending; of all if ``rows`` is None."""

    rows: Int32 | None = attrs.field(repr=array_text)
    gradient: Float32 = attrs.field(repr=array_text)

    @classmethod
    def of(cls, update: Update, scale: float = 1.0) -> RowGradient:
        """That of an update, times a factor; its rows may be in any order."""
        rows, gradient = update.rows, update.gradient
        if scale != 1.0:
            gradient = gradient * np.float32(scale)
        if rows is None or bool(np.all(rows[1:] > rows[:-1])):
            return cls(rows, gradient)
        order = np.argsort(rows)
        return cls(rows[order], gradient[order])

    def plus(self, other: RowGradient) -> RowGradient:
        """The sum, of the rows of either."""
        if self.rows is None and other.rows is None:
            return RowGradient(None, self.gradient + other.gradient)
        if self.rows is None or other.rows is None:
            whole, some = (self, other) if self.rows is None else (other, self)
            gradient = whole.gradient.copy()
            gradient[some.rows] += some.gradient
            return RowGradient(None, gradient)
        rows = np.union1d(self.rows, other.rows)
        gradient = np.zeros((len(rows), self.gradient.shape[1]), np.float32)
        gradient[np.searchsorted(rows, self.rows)] = self.gradient
        gradient[np.searchsorted(rows, other.rows)] += other.gradient
        return RowGradient(rows, gradient)


#: Gradients by the number of their parameter.
Gradients = Mapping[int, RowGradient]


def added(one: Gradients, other: Gradients) -> Gradients:
    """The sum, of the parameters of either."""
    of = dict(one)
    for number, gradient in other.items():
        of[number] = of[number].plus(gradient) if number in of else gradient
    return of
