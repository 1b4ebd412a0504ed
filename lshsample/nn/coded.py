"""Parameters in 8 or 4 bits, with a cache of the most used rows in float32."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample import specs
from lshsample._native.coded import CodedRows, DecodedRows, RowCache
from lshsample._native.slots import Slots
from lshsample._native.unchecked import ids_pointer
from lshsample.errors import UnsupportedError
from lshsample.nn.parameter import Parameter

__all__ = ["CODED_PRECISIONS", "CodedParameter", "RowCodes"]

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]

#: Precisions of rows in few bits: their bits, and the share of rows that the cache has by default.
CODED_PRECISIONS = {"int8": (8, 0.05), "int4": (4, 0.01)}
#: Last in the key of the random stream of a parameter's rounding.
_ROUNDING = 0x726F756E64
#: Weights that are decoded at once where all rows are read: 8 MiB of float32.
_BLOCK = 1 << 21


@attrs.frozen
class RowCodes:
    """How the rows of wide layers are stored.

    Attributes
    ----------
    bits : int
        Of a weight: 8 or 4.
    state_bits : int
        Of optimizer state: 8 or 4.
    cache : RowCache
        The rows that are kept in float32.
    """

    bits: int = attrs.field(validator=specs.one_of(8, 4))
    state_bits: int = attrs.field(validator=specs.one_of(8, 4))
    cache: RowCache

    @classmethod
    def of(cls, precision: str, cache: RowCache | None, moments: str | None) -> RowCodes | None:
        """Those of a network's precision and moments; None if it is a type of elements."""
        if precision not in CODED_PRECISIONS:
            return None
        bits, share = CODED_PRECISIONS[precision]
        return cls(bits, 8 if moments is None else 4, RowCache(share) if cache is None else cache)


class CodedParameter(Parameter):
    """A parameter whose rows are in 8 or 4 bits, with optimizer state in few bits, and a cache.

    Parameters
    ----------
    name, rows, columns, scale, key
        As for :class:`~lshsample.nn.parameter.Parameter`.
    codes : RowCodes
        How they are stored.

    Notes
    -----
    Optimizer state is in 8 or 4 bits a weight; where weights or state are in 4 bits, the last slot is one
    value for each row.
    All weights as an array of float32 are a copy, of the size that the codes avoid: products read the rows
    that they need (:meth:`operands`), or some at a time (:meth:`blocks`).
    """

    def __init__(
        self, name: str, rows: int, columns: int, scale: float, key: tuple[int, int], codes: RowCodes
    ) -> None:
        super().__init__(name, rows, columns, scale, key)
        self.coding = codes

    @property
    def coded(self) -> CodedRows:
        """The rows, whose weights are to be multiplied by :attr:`factor`."""
        return cast("CodedRows", self.raw)

    def memory_needed(self, slots: int) -> int:
        """Bytes of all rows with their state, and of the cache."""
        codes = self.coding
        shape = self.rows, self.columns, codes.bits
        return CodedRows.bytes_needed(*shape, slots, codes.cache, codes.state_bits)

    def new_slots(self, slots: int) -> Slots:
        """Memory for :meth:`adopt`, all 0, with an empty cache."""
        seed = int(np.random.SeedSequence((*self.key, _ROUNDING)).generate_state(1, np.uint64)[0])
        codes = self.coding
        shape = self.rows, self.columns, codes.bits
        made = CodedRows.zeros(*shape, slots, codes.cache, seed, codes.state_bits)
        return cast("Slots", made)

    def _put(self, made: Slots, first: int, values: Float32) -> None:
        cast("CodedRows", made).write(first, values, threads=1)

    def _with_slots(self, slots: int) -> Slots:
        return cast("Slots", self.coded.with_slots(slots))

    @property
    def store(self) -> npt.NDArray[Any]:
        """Raises UnsupportedError: slots of rows in codes are no arrays."""
        raise UnsupportedError(f"parameter {self.name} is in {self.coding.bits} bits; read its values")

    @property
    def weights(self) -> npt.NDArray[Any]:
        """Raises UnsupportedError: weights in codes are no array that can be written to."""
        return self.store

    @property
    def values(self) -> Float32:
        """The weights as float32, a copy."""
        self.settle()
        return self.coded.read()

    @property
    def vectors(self) -> Float32:
        """The rows for what reads them in blocks, as float32, multiplied by :attr:`factor`."""
        coded: Any = self.coded
        if self._converted is None or self._converted.rows is not coded:
            self._converted = DecodedRows(coded)
        self._converted.factor = self.factor
        return cast("Float32", self._converted)

    def settle(self) -> None:
        """Multiply the scales by :attr:`factor`, which is 1 afterwards; O(rows), unless it was."""
        if self.factor != 1.0:
            factor, self.factor = self.factor, 1.0
            self.coded.multiply(factor)
            if self._converted is not None:
                self._converted.factor = 1.0

    def reset_state(self) -> None:
        """Set the optimizer's state to 0."""
        self.coded.reset_state()

    def tensors(self, state: bool, slots: Slots | None = None) -> dict[str, npt.NDArray[Any]]:
        """As :meth:`Parameter.tensors`: several arrays, of codes, of state, and of the cache."""
        if slots is None:
            slots = self.raw if state else self.slots
        coded = cast("CodedRows", slots)
        return {f"{self.name}.{name}": array for name, array in coded.arrays(state).items()}

    def read(self, read_into: Callable[[str, npt.NDArray[Any]], None], slots: int, state: bool) -> Slots:
        """As :meth:`Parameter.read`; a row in a wrong place of the cache is an ArgumentError."""
        made = super().read(read_into, slots, state)
        cast("CodedRows", made).check_tags()
        return made

    def restore(self, tensors: Any) -> None:
        """As :meth:`Parameter.restore`; optimizer state becomes 0, as rows may have been elsewhere."""
        super().restore(tensors)
        self.reset_state()

    def operands(self, ids: Int32 | None, threads: int) -> tuple[Slots, Any]:
        """A copy of some rows in float32, all of which are meant."""
        return self.coded.gather(ids, threads), ids_pointer(None)

    def csr_matmul(self, x: sp.csr_array, bias: Slots | None, threads: int) -> Float32:
        """As :meth:`Parameter.csr_matmul`, decoding rows as they are read."""
        return self.coded.csr_matmul(x, bias, threads)

    def csr_sampled_matmul(
        self, h: Float32, bias: Slots | None, indptr: npt.NDArray[np.int64], ids: Int32, threads: int
    ) -> Float32:
        """As :meth:`Parameter.csr_sampled_matmul`, decoding rows as they are read."""
        return self.coded.csr_sampled_matmul(h, bias, indptr, ids, threads)

    def blocks(self) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """All weights as (first row, rows in float32), 8 MiB at a time."""
        step = max(_BLOCK // self.columns, 1)
        for first in range(0, self.rows, step):
            yield first, self.coded.read(slice(first, first + step))

    def among(self, ids: Int32) -> tuple[npt.NDArray[Any], Int32, Int32 | None]:
        """A copy of some rows in float32, the place of each id in it, and the ids that are in it."""
        units, places = np.unique(ids, return_inverse=True)
        return self.coded.read(units), places.astype(np.int32), units
