"""Rows of weights in 8 or 4 bits with their optimizer state, and a cache of the most used rows in float32.

The numbers of a row, their rounding and the cache are described in ``cext/include/lshsample/coded.h``.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Self

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample import specs
from lshsample._native.arrays import Array, Float32, Int32, Int64, matrix, row_ids
from lshsample._native.convert import ConvertedRows, Rounding, rounding_pointer
from lshsample._native.core import check, csr_struct, ffi, lib, pointer, threads_or_default
from lshsample._native.dtypes import FLOAT32, DType
from lshsample._native.slots import Slots
from lshsample._native.unchecked import RowSums, dense, ids_pointer
from lshsample.errors import ArgumentError

__all__ = ["POLICIES", "CodedRows", "CodedStep", "DecodedRows", "RowCache"]

#: Which row leaves the cache for another: that with the fewest updates, or the one updated the longest ago.
POLICIES = ("lfu", "lru")


@attrs.frozen
class RowCache:
    """The rows of a parameter in few bits that are kept in float32.

    Attributes
    ----------
    share : float
        Their share of the rows, in [0, 1]; 0 for none.
    policy : str
        ``"lfu"``: rows that are updated more often than others; a row with fewer updates does not displace
        one with more. ``"lru"``: rows that were updated last.
    ways : int
        Places that each row may take, from 1 to 64: more keep more of the most used rows, and cost more to
        look through.
    """

    share: float = attrs.field(validator=specs.number(0.0, 1.0))
    policy: str = attrs.field(default="lfu", validator=specs.one_of(*POLICIES), kw_only=True)
    ways: int = attrs.field(default=8, validator=specs.integer(1, 64), kw_only=True)

    def shape(self, rows: int) -> tuple[int, int]:
        """Sets and ways of the cache of that many rows."""
        places = int(self.share * rows + 0.5)
        ways = min(self.ways, places)
        return (places // ways, ways) if places else (0, 0)


@attrs.frozen
class CodedStep:
    """One step of an optimizer, as plain numbers.

    With 1 slot ``w -= rate g``; with 2 ``s += g**2`` and ``w -= rate g / (sqrt(s) + eps)``; with 3
    ``m = beta1 m + rest1 g``, ``v = beta2 v + rest2 g**2`` and ``w -= rate m / (scale sqrt(v) + eps)``.
    """

    rate: float
    beta1: float = 0.0
    rest1: float = 1.0
    beta2: float = 1.0
    rest2: float = 1.0
    scale: float = 1.0
    eps: float = 0.0


@attrs.frozen(eq=False)
class CodedRows:
    """A parameter in 8 or 4 bits with its optimizer state and its cache.

    Attributes
    ----------
    records : ndarray of uint8, shape (rows, bytes of a row)
        Scale and offset, what the state is relative to, and the codes of each row.
    columns : int
        Weights of a row.
    bits : int
        8 or 4.
    state_bits : int
        8 or 4, of optimizer state.
    slots : int
        1: no state; 2: sums of squares, as of Adagrad; 3: Adam's two moments. The last slot has one mean for
        each row where weights or state are in 4 bits.
    policy : str
        Of the cache.
    tags : ndarray of int32, shape (sets, ways)
        The row in each place of the cache, or -1.
    cached : ndarray of float32, shape (sets * ways, slots * columns)
        The rows in the cache: weights, then state.
    uses : ndarray of uint16, shape (rows,) or (0,)
        Number of updates of each row, all halved when one would be above 65,535; of the policy ``"lfu"``.
    used : ndarray of int64, shape (sets * ways,) or (0,)
        The step of the last update of each cached row; of the policy ``"lru"``.
    seed : int
        Of the stochastic rounding.
    """

    records: npt.NDArray[np.uint8]
    columns: int
    bits: int
    state_bits: int
    slots: int
    policy: str
    tags: Int32
    cached: Float32
    uses: npt.NDArray[np.uint16]
    used: Int64
    seed: int = 0

    @classmethod
    def zeros(
        cls,
        rows: int,
        columns: int,
        bits: int,
        slots: int,
        cache: RowCache,
        seed: int = 0,
        state_bits: int = 8,
    ) -> Self:
        """Rows of zeros with an empty cache.

        Raises
        ------
        ArgumentError
            Other ``bits`` or ``state_bits`` than 8 and 4, or not 1 to 3 ``slots``.
        """
        for name, given in (("bits", bits), ("state_bits", state_bits)):
            if given not in (4, 8):
                raise ArgumentError(name, given, "8 or 4")
        if slots not in (1, 2, 3):
            raise ArgumentError("slots", slots, "1, 2 or 3")
        sets, ways = cache.shape(rows)
        lfu = cache.policy == "lfu"
        return cls(
            np.zeros((rows, lib.lsh_coded_bytes(columns, bits, state_bits, slots)), np.uint8),
            columns,
            bits,
            state_bits,
            slots,
            cache.policy,
            np.full((sets, ways), -1, np.int32),
            np.zeros((sets * ways, slots * columns), np.float32),
            np.zeros(rows if lfu and sets else 0, np.uint16),
            np.zeros(0 if lfu else sets * ways, np.int64),
            seed,
        )

    @staticmethod
    def bytes_needed(
        rows: int, columns: int, bits: int, slots: int, cache: RowCache, state_bits: int = 8
    ) -> int:
        """Bytes of :meth:`zeros`."""
        sets, ways = cache.shape(rows)
        place = 4 * slots * columns + 4 + (0 if cache.policy == "lfu" else 8)
        uses = 2 * rows if cache.policy == "lfu" and sets else 0
        row = int(lib.lsh_coded_bytes(columns, bits, state_bits, slots))
        return rows * row + sets * ways * place + uses

    @property
    def nbytes(self) -> int:
        """Bytes of the memory."""
        arrays = (self.records, self.tags, self.cached, self.uses, self.used)
        return sum(array.nbytes for array in arrays)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.records)

    @property
    def dtypes(self) -> tuple[DType, ...]:
        """The type of gradients, once for each slot."""
        return (FLOAT32,) * self.slots

    @property
    def _head(self) -> int:
        return 4 * (1 + self.slots)

    @property
    def scales(self) -> Float32:
        """The view (rows, 2) of scales and offsets."""
        return self.records[:, :8].view(np.float32)

    @property
    def codes(self) -> npt.NDArray[np.uint8]:
        """The view of the codes of the weights."""
        size = self.columns if self.bits == 8 else (self.columns + 1) // 2
        return self.records[:, self._head : self._head + size]

    def arrays(self, state: bool) -> dict[str, Array]:
        """All of its numbers, as views; without optimizer state those that determine the weights."""
        if state:
            return {
                "records": self.records,
                "tags": self.tags,
                "cached": self.cached,
                "uses": self.uses,
                "used": self.used,
            }
        weights = self.cached[:, : self.columns]
        return {"scales": self.scales, "codes": self.codes, "tags": self.tags, "cached": weights}

    def check_tags(self) -> None:
        """Check arrays that were read from a file.

        Raises
        ------
        ArgumentError
            A place of the cache with a row of another set, or a row in two places.
        """
        sets = np.arange(len(self.tags), dtype=np.int64)[:, None]
        filled = self.tags >= 0
        right = (self.tags < self.rows) & (self.tags % max(len(self.tags), 1) == sets)
        rows = self.tags[filled]
        if not (right | (self.tags == -1)).all() or len(np.unique(rows)) != len(rows):
            raise ArgumentError("tags", "rows in wrong places of the cache", "each row in its set, once")

    def with_slots(self, slots: int) -> CodedRows:
        """A copy of the weights, and of the cache, with new state."""
        row = lib.lsh_coded_bytes(self.columns, self.bits, self.state_bits, slots)
        made = attrs.evolve(
            self,
            records=np.zeros((self.rows, row), np.uint8),
            slots=slots,
            tags=self.tags.copy(),
            cached=np.zeros((len(self.cached), slots * self.columns), np.float32),
            uses=self.uses.copy(),
            used=self.used.copy(),
        )
        made.scales[...], made.codes[...] = self.scales, self.codes
        made.cached[:, : self.columns] = self.cached[:, : self.columns]
        return made

    def reset_state(self) -> None:
        """Set the optimizer's state to 0."""
        self.records[:, 8 : self._head] = 0
        self.records[:, self._head + self.codes.shape[1] :] = 0
        self.cached[:, self.columns :] = 0

    def multiply(self, factor: float) -> None:
        """Multiply all weights: their scales and offsets, and the cached ones."""
        self.scales[...] *= np.float32(factor)
        self.cached[:, : self.columns] *= np.float32(factor)

    @cached_property
    def struct(self) -> Any:
        """A ``const lsh_coded *`` over the memory, which must outlive its use."""
        sets, ways = self.tags.shape
        return ffi.new(
            "lsh_coded *",
            {
                "records": pointer("uint8_t *", self.records),
                "rows": self.rows,
                "cols": self.columns,
                "record_bytes": self.records.shape[1],
                "bits": self.bits,
                "state_bits": self.state_bits,
                "slots": self.slots,
                "sets": sets,
                "ways": ways,
                "tags": pointer("int32_t *", self.tags),
                "cached": pointer("float *", self.cached),
                "uses": pointer("uint16_t *", self.uses) if self.policy == "lfu" else ffi.NULL,
                "used": pointer("int64_t *", self.used) if self.policy == "lru" else ffi.NULL,
            },
        )

    def read(
        self, rows: Int32 | slice | None = None, *, slot: int = 0, threads: int | None = None
    ) -> Float32:
        """Values of a slot of rows in float32; by default the weights.

        Parameters
        ----------
        rows : (n,) int32, slice or None
            Ids, a slice of all rows, whose step is 1, or None for all.
        slot : int
            Below :attr:`slots`.
        threads : int or None

        Returns
        -------
        (n, columns) float32
        """
        if rows is None or isinstance(rows, slice):
            first, last, step = (rows or slice(None)).indices(self.rows)
            if step != 1:
                return self.read(np.arange(first, last, step, dtype=np.int32), slot=slot, threads=threads)
            ids, n = ffi.NULL, max(last - first, 0)
        else:
            row_ids(rows, "rows", self.rows)
            first, ids, n = 0, pointer("int32_t *", rows), len(rows)
        out = np.empty((n, self.columns), np.float32)
        count = threads_or_default(threads)
        check(lib.lsh_coded_read(self.struct, ids, first, slot, dense(out), count), "coded_read")
        return out

    def write(self, first: int, values: Float32, *, threads: int | None = None) -> None:
        """Set the weights of rows ``first``, ``first + 1``, ...: to nearest, or as they are in the cache."""
        view = matrix(values, "values", cols=self.columns)
        status = lib.lsh_coded_write(self.struct, first, view, threads_or_default(threads))
        check(status, "coded_write")

    # Over arrays that are known to be valid (see lshsample._native.unchecked).

    def gather(self, rows: Int32 | None, threads: int) -> Slots:
        """Weights of rows in float32, as a step's products take them."""
        out = np.empty((self.rows if rows is None else len(rows), 1, self.columns), np.float32)
        status = lib.lsh_coded_read(self.struct, ids_pointer(rows), 0, 0, dense(out[:, 0]), threads)
        if status:
            check(status, "coded_read")
        return Slots.of(out)

    def update(
        self, rows: Int32 | None, gradient: Float32 | RowSums, how: CodedStep, step: int, threads: int
    ) -> None:
        """One step of an optimizer on some rows, whose number is the counter of the random bits."""
        if isinstance(gradient, RowSums):
            gradient = gradient.array(threads)
        numbers = (how.rate, how.beta1, how.rest1, how.beta2, how.rest2, how.scale, how.eps)
        plain, rounding = ffi.new("lsh_coded_step *", numbers), rounding_pointer(Rounding(self.seed, step))
        ids = ids_pointer(rows)
        status = lib.lsh_coded_update(self.struct, ids, dense(gradient), plain, rounding, threads)
        if status:
            check(status, "coded_update")

    def csr_matmul(self, x: sp.csr_array, bias: Slots | None, threads: int) -> Float32:
        """``x @ weights + bias`` for CSR rows."""
        view = csr_struct(x)
        result = np.empty((view.rows, self.columns), np.float32)
        first, stride = (ffi.NULL, 1) if bias is None else bias.vector
        status = lib.lsh_coded_csr_matmul(view[0], self.struct, first, stride, dense(result), threads)
        if status:
            check(status, "coded_csr_matmul")
        return result

    def csr_sampled_matmul(
        self, h: Float32, bias: Slots | None, indptr: Int64, ids: Int32, threads: int
    ) -> Float32:
        """``h[i] @ weights[ids[t]] + bias[ids[t]]`` for t in row i of indptr."""
        values = np.empty(ids.size, np.float32)
        first, stride = (ffi.NULL, 1) if bias is None else bias.vector
        status = lib.lsh_coded_csr_sampled_matmul(
            dense(h), self.struct, first, stride, pointer("int64_t *", indptr),
            pointer("int32_t *", ids), pointer("float *", values), threads,
        )  # fmt: skip
        if status:
            check(status, "coded_csr_sampled_matmul")
        return values


class DecodedRows(ConvertedRows):
    """Rows in few bits that are read as float32: slices and selections are float32 copies.

    Parameters
    ----------
    rows : CodedRows
        Kept by reference.
    factor : float
        What the values are multiplied by.
    """

    def __init__(self, rows: CodedRows, factor: float = 1.0) -> None:
        self.rows: Any = rows
        self.factor = factor

    @property
    def shape(self) -> tuple[int, int]:
        """(n, d)."""
        return self.rows.rows, self.rows.columns

    def __len__(self) -> int:
        return int(self.rows.rows)

    def __getitem__(self, rows: slice | npt.NDArray[Any]) -> Float32:
        ids = rows if isinstance(rows, slice) else np.ascontiguousarray(rows, np.int32)
        values: Float32 = self.rows.read(ids)
        if self.factor != 1.0:
            values *= np.float32(self.factor)
        return values

    def copy(self) -> DecodedRows:
        """A copy that does not change with the rows."""
        copies = {name: array.copy() for name, array in self.rows.arrays(state=True).items()}
        return DecodedRows(attrs.evolve(self.rows, **copies), self.factor)
