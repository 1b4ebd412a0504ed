"""A batch: what a stage may look at."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import numpy as np
import numpy.typing as npt

from lshsample._native.sample import AliasTable, Pattern
from lshsample.family import Rows
from lshsample.tables import TableReader

__all__ = ["Batch"]


@attrs.frozen(eq=False, kw_only=True)
class Batch:
    """What a stage may look at: the batch and what the sampler is bound to.

    Attributes
    ----------
    queries : (n, dim) rows or None
        The queries; None where no stage needs them.
    n_queries, n_items : int
        Sizes.
    include : pattern or None
        ``(indptr, indices)`` of the ids that :class:`Include` joins.
    state : TableReader or None
        The tables that the sampler is bound to, as they were when the call began.
    vectors : (n_items, dim) rows or None
        The items' own vectors.
    frequencies : (n_items,) float64 array or None
        The items' relative frequencies, with sum 1.
    seed, step : int
        They determine the draws.
    pooled : bool
        Whether there is one row for the whole batch.
    threads : int
        At most so many threads.
    place : int
        How many Python stages stand before the stage that gets this batch: what keeps the draws of several
        such stages apart.
    """

    queries: Rows | None
    n_queries: int
    n_items: int
    include: Pattern | None
    state: TableReader | None
    vectors: Rows | None
    alias: AliasTable | None
    seed: int
    step: int
    pooled: bool
    threads: int
    own_states: Mapping[int, TableReader] = attrs.field(factory=dict, repr=False)
    place: int = 0

    def state_of(self, tables: TableReader) -> TableReader:
        """The state of tables that a stage holds itself (``tables_of``), as it was when the call began."""
        state = self.own_states.get(id(tables))
        return tables.snapshot() if state is None else state

    @property
    def frequencies(self) -> npt.NDArray[np.float64] | None:
        """The items' relative frequencies."""
        return None if self.alias is None else self.alias.frequency

    @property
    def n_rows(self) -> int:
        """Rows of the active set: one per query, or 1 if pooled."""
        return 1 if self.pooled else self.n_queries

    def generator(self, stream: int = 0) -> np.random.Generator:
        """A random generator for a stage's own draws, which (seed, step, place, stream) determine.

        Parameters
        ----------
        stream : int
            Tells several generators of one stage apart; each begins anew at every call.
        """
        counter = [0, 0, stream, self.place]
        return np.random.Generator(np.random.Philox(key=[self.seed, self.step], counter=counter))
