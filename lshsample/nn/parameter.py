"""Parameters with their optimizer state interleaved by row, allocated at first use."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol, cast

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample import memory
from lshsample._native import convert, unchecked
from lshsample._native.convert import ConvertedRows
from lshsample._native.dtypes import FLOAT8, FLOAT32, DType, checked_device, checked_dtype
from lshsample._native.slots import Slots, row_bytes
from lshsample._native.unchecked import RowSums, ids_pointer
from lshsample.display import array_text
from lshsample.errors import NativeError

__all__ = ["Parameter", "StoredRows", "Update"]

Float32 = npt.NDArray[np.float32]

# Values drawn from one random stream: a constant, so that the weights do not depend on the machine.
_BLOCK = 1 << 18
#: Last in the key of the random stream of a parameter's rounding.
_ROUNDING = 0x726F756E64
#: A smaller factor of weight decay is applied to the weights, far from the ends of float32.
_SMALLEST_FACTOR = 2.0**-20
#: The stack and the heap of a thread, reserved when it starts: below that, Python can wait for it forever.
_THREAD_BYTES = 1 << 25


class StoredRows(Protocol):
    """Weights in another form than an array of float32, such as a mapped file in fewer bits."""

    def rows(self, ids: npt.NDArray[np.integer[Any]]) -> Float32:
        """The weights of some rows, a new array (n, columns)."""

    def whole(self) -> Float32:
        """All weights, a new array (rows, columns)."""


class Parameter:
    """A matrix of weights with its optimizer state interleaved by row.

    A row is its slots one after another: slot 0 holds the weights, the others optimizer state. Unless state
    is in 8 bits, all slots are of one type, and thus one array (rows, slots, columns). Nothing is allocated
    before :meth:`allocate`, so that the memory of a network can be computed before it is needed.

    Parameters
    ----------
    name : str
        Its name in saved files.
    rows, columns : int
        Shape of the weights.
    scale : float
        Standard deviation of the initial weights, which are uniform with mean 0.
    key : tuple of int
        Key of the random stream: the same key always gives the same weights.
    trained : bool
        Whether an optimizer updates it; otherwise it is a statistic of the data, saved with the network.
    decays : bool
        Whether an optimizer's weight decay applies to it; biases do not decay.
    dtype : DType or str
        Type of the weights and of their optimizer state: ``"float32"`` or ``"bfloat16"``, which the
        optimizers of this package round stochastically (:class:`~lshsample._native.convert.Rounding`), by a
        seed that the key determines.
    device : str
        Where its memory is; ``"cpu"`` is the only device.
    first_row : int
        Number of its first row in the matrix that it is a block of; its initial weights are these rows'.
    moments : str, optional
        ``"float8"``: optimizer state is in 8 bits a weight, and 4 bytes for each row and slot, rounded
        stochastically. By default it is of the type of the weights.

    Raises
    ------
    ArgumentError
        For any other dtype or device.

    Examples
    --------
    >>> parameter = Parameter("w", 1000, 100, 0.1, (0, 0), dtype="bfloat16")
    >>> parameter.memory_needed(slots=3)  # 2 bytes a weight, 4 of optimizer state
    600000

    Notes
    -----
    Weight decay multiplies all weights at each step, which would cost a pass over all of them. It is kept in
    :attr:`factor` (Shalev-Shwartz et al. 2011, Pegasos): the weights are ``factor * raw.weights``, the decay
    of a step is one multiplication, and rows that no step touches decay like the others. Layers of this
    package read ``raw`` and apply the factor to their input. All other attributes first multiply the stored
    weights by the factor (:meth:`settle`), so that they are right as they are.
    """

    def __init__(
        self,
        name: str,
        rows: int,
        columns: int,
        scale: float,
        key: tuple[int, int],
        trained: bool = True,
        *,
        decays: bool = True,
        dtype: DType | str = FLOAT32,
        device: str = "cpu",
        first_row: int = 0,
        moments: str | None = None,
    ) -> None:
        self.first_row, self.moments = first_row, moments
        self.name, self.rows, self.columns, self.scale, self.key = name, rows, columns, scale, key
        self.trained, self.decays = trained, trained and decays
        #: The weights are this factor times the stored ones; it is in (0, 1].
        self.factor = 1.0
        self.dtype, self.device = checked_dtype(dtype, "dtype"), checked_device(device)
        self._slots: Slots | None = None
        self._stored: StoredRows | None = None
        self._converted: ConvertedRows | None = None

    @property
    def size(self) -> int:
        """Number of weights."""
        return self.rows * self.columns

    def memory_needed(self, slots: int) -> int:
        """Bytes of all rows with ``slots`` slots each."""
        return self.rows * row_bytes(self.columns, self._slot_dtypes(slots))

    def _slot_dtypes(self, slots: int) -> tuple[DType, ...]:
        state = self.dtype if self.moments is None else FLOAT8
        return (self.dtype, *[state] * (slots - 1))

    @property
    def allocated(self) -> bool:
        """Whether there are weights: allocated, or stored."""
        return self._slots is not None or self._stored is not None

    @property
    def stored(self) -> StoredRows | None:
        """The weights of :meth:`lend`, until anything needs all of them in memory."""
        return self._stored

    @property
    def raw(self) -> Slots:
        """The rows with all of their slots, whose weights are to be multiplied by :attr:`factor`."""
        stored = self._stored
        if stored is not None:
            self.adopt(stored.whole().reshape(self.rows, 1, self.columns))
        if self._slots is None:
            raise NativeError(f"parameter {self.name} is used before it is allocated")
        return self._slots

    @property
    def slots(self) -> Slots:
        """The rows with all of their slots, as :mod:`lshsample._native.optim` takes them."""
        self.settle()
        return self.raw

    @property
    def store(self) -> npt.NDArray[Any]:
        """The view (rows, slots, columns) of all slots, where they are of one type."""
        return self.slots.array

    @property
    def weights(self) -> npt.NDArray[Any]:
        """A strided view (rows, columns) of the weights; writing to it changes them."""
        return self.slots.weights

    @property
    def vector(self) -> npt.NDArray[Any]:
        """The weights of a parameter of one row or one column, as a strided 1-D view."""
        return self.weights[0] if self.rows == 1 else self.weights[:, 0]

    @property
    def values(self) -> Float32:
        """The weights as float32: a view, writing to which changes them, or, of another type, a copy."""
        weights = self.weights
        return weights if self.dtype == FLOAT32 else convert.to_float32(weights)

    @property
    def vectors(self) -> Float32:
        """The rows as float32, for what reads them in blocks: a view of the stored weights, which are to be
        multiplied by :attr:`factor`; or, of another type,
        :class:`~lshsample._native.convert.ConvertedRows`, which are multiplied already.
        """
        weights = self.raw.weights
        if self.dtype == FLOAT32:
            return weights
        if self._converted is None or self._converted.rows is not weights:
            self._converted = ConvertedRows(weights)
        self._converted.factor = self.factor
        return cast("Float32", self._converted)

    def decay(self, factor: float) -> None:
        """Multiply all weights by a factor in (0, 1], in O(1)."""
        self.factor *= factor
        if self.factor < _SMALLEST_FACTOR:
            self.settle()

    def settle(self) -> None:
        """Multiply the stored weights by :attr:`factor`, which is 1 afterwards; O(weights), unless it was."""
        if self.factor != 1.0:
            weights, factor, self.factor = self.raw.weights, np.float32(self.factor), 1.0
            if self.dtype == FLOAT32:
                weights *= factor
                return
            if self._converted is not None:
                self._converted.factor = 1.0
            # A factor near 1 would be lost by rounding to nearest. The random bits are those of the factor
            # itself in the place of a step: the result is a function of the state alone.
            assert self._slots is not None
            seed, bits = self._slots.seed, int(np.float64(factor).view(np.uint64))
            rounding = None if seed is None else convert.Rounding(seed, bits)
            for start in range(0, self.rows, step := max(_BLOCK // self.columns, 1)):
                block = weights[start : start + step]
                values = convert.to_float32(block, threads=1) * factor
                block[...] = convert.from_float32(values, self.dtype, rounding, threads=1)

    def allocate(self, slots: int, threads: int = 1) -> None:
        """Allocate ``slots`` numbers per weight; the weights are drawn at the first call and kept by later
        ones.
        """
        if not self.allocated:
            made = self.new_slots(slots)
            self._draw(partial(self._put, made), threads)
            self._slots = made
        elif len(self.raw.dtypes) != slots:
            self._slots = self._with_slots(slots)

    def _put(self, made: Slots, first: int, values: Float32) -> None:
        """Write the first weights of some rows."""
        narrow = self.dtype != FLOAT32
        block = made.weights[first : first + len(values)]
        block[...] = convert.from_float32(values, self.dtype, threads=1) if narrow else values

    def _with_slots(self, slots: int) -> Slots:
        """The weights with another number of slots."""
        made = self.new_slots(slots)
        made.weights[...] = self.raw.weights
        return made

    def new_slots(self, slots: int) -> Slots:
        """Memory for :meth:`adopt`: ``slots`` slots of all rows, all 0."""
        made = Slots.zeros(self.rows, self.columns, self._slot_dtypes(slots))
        if made.dtypes[-1] == FLOAT32:
            return made
        stream = np.random.SeedSequence((*self.key, _ROUNDING))
        return attrs.evolve(made, seed=int(stream.generate_state(1, np.uint64)[0]))

    def adopt(self, store: Slots | npt.NDArray[Any], factor: float = 1.0) -> None:
        """Use slots of :meth:`new_slots`, or an array (rows, slots, columns) of the parameter's type, as
        memory, without a copy; their weights are to be multiplied by ``factor``.
        """
        slots = Slots.of(store) if isinstance(store, np.ndarray) else store
        assert (slots.rows, slots.columns, slots.dtypes[0]) == (self.rows, self.columns, self.dtype)
        self._slots, self._stored, self.factor = slots, None, factor

    def lend(self, stored: StoredRows) -> None:
        """Use weights that are stored in another form. They are unpacked when anything needs all of them;
        until then a sparse product unpacks the rows that it touches.
        """
        self._slots, self._stored, self.factor = None, stored, 1.0

    def reset_state(self) -> None:
        """Set the optimizer's state to 0."""
        for index in range(1, len(self.slots.dtypes)):
            self.slots.slot(index).view(np.uint8)[...] = 0

    def tensors(self, state: bool, slots: Slots | None = None) -> dict[str, npt.NDArray[Any]]:
        """Views of all of its numbers by their names in files; without optimizer state those of the weights.

        Parameters
        ----------
        state : bool
            Whether to include optimizer state.
        slots : Slots, optional
            The memory, from :meth:`new_slots`; by default its own.
        """
        if slots is None:
            slots = self.raw if state else self.slots
        small = slots.small_state
        if state and small is not None:
            return {self.name: slots.weights, f"{self.name}.state": small}
        return {self.name: slots.array if state else slots.weights}

    def read(self, read_into: Callable[[str, npt.NDArray[Any]], None], slots: int, state: bool) -> Slots:
        """Memory for :meth:`adopt`, filled by a function that is called for each of :meth:`tensors`.

        Raises
        ------
        ArgumentError
            What was read is not valid.
        """
        made = self.new_slots(slots)
        for name, array in self.tensors(state, made).items():
            read_into(name, array)
        return made

    def restore(self, tensors: Mapping[str, npt.NDArray[Any]]) -> None:
        """Return to weights that were copied from :meth:`tensors` without state."""
        self.settle()
        for name, array in self.tensors(state=False).items():
            array[...] = tensors[name]

    def operands(self, ids: npt.NDArray[np.int32] | None, threads: int) -> tuple[Slots, Any]:
        """Weights that products with some rows read, to be multiplied by :attr:`factor`, and which of them: a
        pointer to ids, or NULL for all.
        """
        return self.raw, ids_pointer(ids)

    def csr_matmul(self, x: sp.csr_array, bias: Slots | None, threads: int) -> Float32:
        """``x @ weights + bias`` for CSR rows, with the stored weights."""
        return unchecked.csr_matmul(x, self.raw, bias, threads)

    def csr_sampled_matmul(
        self,
        h: Float32,
        bias: Slots | None,
        indptr: npt.NDArray[np.int64],
        ids: npt.NDArray[np.int32],
        threads: int,
    ) -> Float32:
        """``h[i] @ weights[ids[t]] + bias[ids[t]]`` for t in row i of indptr, with the stored weights."""
        return unchecked.csr_sampled_matmul(unchecked.dense(h), self.raw, bias, indptr, ids, threads)

    def blocks(self) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """All stored weights, to be multiplied by :attr:`factor`, as (first row, rows): one view of all."""
        yield 0, self.raw.weights

    def among(
        self, ids: npt.NDArray[np.int32]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.int32], npt.NDArray[np.int32] | None]:
        """Stored weights that hold some rows, to be multiplied by :attr:`factor`; the place of each id in
        them; and the ids that they are copies of, or None if they are all rows.
        """
        return self.raw.weights, ids, None

    def _draw(self, put: Callable[[int, Float32], None], threads: int) -> None:
        """Put uniform values of standard deviation ``scale``; one random stream per block of rows."""
        if self.scale == 0.0:
            return
        rows, half = max(_BLOCK // self.columns, 1), np.float32(math.sqrt(3.0) * self.scale)
        key = np.array(self.key, np.uint64)

        first, last = self.first_row, self.first_row + self.rows

        def fill(start: int) -> None:
            stream = np.random.Philox(key=key, counter=np.array([0, 0, 0, start // rows], np.uint64))
            low, high = max(start, first), min(start + rows, last)
            values = np.random.Generator(stream).random((high - start, self.columns), dtype=np.float32)
            values = values[low - start :]
            values -= np.float32(0.5)
            values *= 2 * half
            put(low - first, values)

        starts = range(first - first % rows, last, rows)
        available = memory.available_bytes()
        if threads > 1 and (available is None or available > threads * _THREAD_BYTES):
            # Where the system starts no more threads, this one draws the same values.
            with contextlib.suppress(RuntimeError), ThreadPoolExecutor(threads) as pool:
                for _ in pool.map(fill, starts):
                    pass
                return
        for start in starts:
            fill(start)


@attrs.frozen(eq=False)
class Update:
    """A gradient for some rows of a parameter.

    Attributes
    ----------
    parameter : Parameter
        The parameter.
    rows : ndarray of int32 or None
        The rows, without duplicates; None for all.
    gradient : ndarray of float32, or RowSums
        Shape (number of rows, columns). Layers of this package give that of weights in bfloat16 in bfloat16,
        rounded to nearest, and that of sparse rows as sums (:class:`~lshsample._native.unchecked.RowSums`).
        The attribute ``stored`` is what was given; ``gradient`` is an array, computed from sums at each
        access.
    """

    parameter: Parameter
    rows: npt.NDArray[np.int32] | None = attrs.field(repr=array_text)
    stored: npt.NDArray[Any] | RowSums = attrs.field(alias="gradient", repr=False)

    @property
    def gradient(self) -> npt.NDArray[Any]:
        """The gradient as an array."""
        return self.stored.array() if isinstance(self.stored, RowSums) else self.stored
