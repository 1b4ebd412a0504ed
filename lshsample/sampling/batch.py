"""The input of a stage besides the active set: queries, tables, vectors and the random generator."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

import attrs
import numpy as np
import numpy.typing as npt

from lshsample._native import core
from lshsample._native.sample import Pattern
from lshsample.family import Rows
from lshsample.sampling.frequencies import ItemFrequencies
from lshsample.tables import TableReader

__all__ = ["Batch"]

T = TypeVar("T")


@attrs.frozen(eq=False, kw_only=True)
class Batch:
    """The queries of a call and what the sampler is bound to: what a stage may use.

    Attributes
    ----------
    queries : (n, dim) rows or None
        The queries; None if no stage needs them.
    n_queries, n_items : int
        Number of queries and of items.
    include : pattern or None
        ``(indptr, indices)`` of the ids that :class:`Include` adds.
    state : TableReader or None
        The tables that the sampler is bound to, in their state at the start of the call.
    vectors : (n_items, dim) rows or None
        The items' vectors.
    frequencies : (n_items,) float64 array or None
        The items' relative frequencies, which sum to 1.
    seed, step : int
        They determine the random draws.
    pooled : bool
        Whether there is a single row for the whole batch.
    threads : int
        Maximum number of threads.
    first_row : int
        The number of the first query in the whole batch, where this is a part of one that is run in parts.
    place : int
        Number of Python stages before the stage that gets this batch, which makes the draws of several such
        stages different.
    """

    queries: Rows | None
    n_queries: int
    n_items: int
    include: Pattern | None
    state: TableReader | None
    vectors: Rows | None
    item_frequencies: ItemFrequencies | None
    seed: int
    step: int
    pooled: bool
    threads: int
    own_states: Mapping[int, TableReader] = attrs.field(factory=dict, repr=False)
    place: int = 0
    first_row: int = 0
    _computed: dict[Hashable, Any] = attrs.field(factory=dict, repr=False)

    def once(self, key: Hashable, compute: Callable[[], T]) -> T:
        """What a stage computes once for a call, for its draws and for their law.

        Parameters
        ----------
        key : hashable
            Identifies the result in this batch: it contains the class of the stage.
        compute : callable
            Called without arguments at the first call.
        """
        if key not in self._computed:
            self._computed[key] = compute()
        found: T = self._computed[key]
        return found

    def part(self, begin: int, end: int) -> Batch:
        """The batch of the queries ``begin`` to ``end`` alone, with the draws that they have in this one."""
        include = self.include
        if include is not None:
            indptr, indices = include
            rows = indptr[begin : end + 1]
            include = np.ascontiguousarray(rows - rows[0]), indices[rows[0] : rows[-1]]
        return attrs.evolve(
            self,
            queries=None if self.queries is None else core.rows_between(self.queries, begin, end),
            n_queries=end - begin,
            include=include,
            first_row=self.first_row + begin,
            computed={},
        )

    def state_of(self, tables: TableReader) -> TableReader:
        """The state, at the start of the call, of tables that a stage holds itself (``tables_of``)."""
        state = self.own_states.get(id(tables))
        return tables.snapshot() if state is None else state

    @property
    def frequencies(self) -> npt.NDArray[np.float64] | None:
        """The items' relative frequencies."""
        return None if self.item_frequencies is None else self.item_frequencies.relative

    @property
    def n_rows(self) -> int:
        """Number of rows of the active set: one per query, or 1 if pooled."""
        return 1 if self.pooled else self.n_queries

    def generator(self, stream: int = 0) -> np.random.Generator:
        """A random generator for the stage, determined by (seed, step, place, stream).

        Parameters
        ----------
        stream : int
            Distinguishes several generators of one stage; each starts from its beginning at every call.
        """
        counter = [0, 0, stream, self.place]
        return np.random.Generator(np.random.Philox(key=[self.seed, self.step], counter=counter))
