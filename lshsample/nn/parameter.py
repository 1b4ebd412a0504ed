"""Parameters: row stores, allocated when they are first needed."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import attrs
import numpy as np
import numpy.typing as npt

from lshsample.errors import NativeError

__all__ = ["Parameter", "Update"]

Float32 = npt.NDArray[np.float32]

# Values that are drawn in one piece: a constant, so that the weights of a seed never depend on the machine.
_BLOCK = 1 << 18


class Parameter:
    """Rows of weights with the optimizer's state beside each row: one float32 array (rows, slots, columns).

    Nothing is allocated before :meth:`allocate`: a network can be described, counted and refused for free.

    Parameters
    ----------
    name : str
        Its name in saved files.
    rows, columns : int
        Shape of the weights.
    scale : float
        Standard deviation of the initial weights, which are uniform around 0.
    key : tuple of int
        Names the random stream: the same key always gives the same weights.
    trained : bool
        Whether an optimizer moves it; else it is a statistic of the data that is saved with the network.
    """

    def __init__(
        self, name: str, rows: int, columns: int, scale: float, key: tuple[int, int], trained: bool = True
    ) -> None:
        self.name, self.rows, self.columns, self.scale, self.key = name, rows, columns, scale, key
        self.trained = trained
        self._store: Float32 | None = None

    @property
    def size(self) -> int:
        """Number of weights."""
        return self.rows * self.columns

    def memory_needed(self, slots: int) -> int:
        """Bytes of the store with so many slots a row."""
        return 4 * self.size * slots

    @property
    def allocated(self) -> bool:
        """Whether the weights are there."""
        return self._store is not None

    @property
    def store(self) -> Float32:
        """The array (rows, slots, columns)."""
        if self._store is None:
            raise NativeError(f"parameter {self.name} is used before it is allocated")
        return self._store

    @property
    def weights(self) -> Float32:
        """A strided view (rows, columns) of the weights; writing to it changes them."""
        return self.store[:, 0]

    @property
    def vector(self) -> Float32:
        """The weights of a parameter of one row or one column, as a strided 1-D view."""
        return self.weights[0] if self.rows == 1 else self.weights[:, 0]

    def allocate(self, slots: int, threads: int = 1) -> None:
        """Make room for ``slots`` values a weight; the weights are drawn at the first call and kept
        afterwards.
        """
        if self._store is None:
            store = np.zeros((self.rows, slots, self.columns), np.float32)
            self._draw(store[:, 0], threads)
            self._store = store
        elif self._store.shape[1] != slots:
            store = np.zeros((self.rows, slots, self.columns), np.float32)
            store[:, 0] = self._store[:, 0]
            self._store = store

    def adopt(self, store: Float32) -> None:
        """Take an array (rows, slots, columns) as the store."""
        assert store.shape[::2] == (self.rows, self.columns)
        self._store = store

    def reset_state(self) -> None:
        """Forget the optimizer's state."""
        self.store[:, 1:] = 0.0

    def _draw(self, weights: Float32, threads: int) -> None:
        """Fill with uniform values of the wanted deviation; each block of rows has a stream of its own."""
        if self.scale == 0.0:
            return
        rows, half = max(_BLOCK // self.columns, 1), np.float32(math.sqrt(3.0) * self.scale)
        key = np.array(self.key, np.uint64)

        def fill(start: int) -> None:
            stream = np.random.Philox(key=key, counter=np.array([0, 0, 0, start // rows], np.uint64))
            block = weights[start : start + rows]
            values = np.random.Generator(stream).random(block.shape, dtype=np.float32)
            values -= np.float32(0.5)
            values *= 2 * half
            block[...] = values

        with ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(fill, range(0, self.rows, rows)):
                pass


@attrs.frozen(eq=False)
class Update:
    """A gradient for some rows of a parameter.

    Attributes
    ----------
    parameter : Parameter
        Whose weights.
    rows : ndarray of int32 or None
        Which rows, each once; None for all.
    gradient : ndarray of float32
        Shape (number of rows, columns).
    """

    parameter: Parameter
    rows: npt.NDArray[np.int32] | None
    gradient: Float32
