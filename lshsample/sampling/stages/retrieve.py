"""Retrieval from hash tables."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from lshsample import hashing, specs
from lshsample._native.sample import StageCall
from lshsample.errors import ArgumentError, UnsupportedError
from lshsample.sampling.stage import Batch, BuiltinStage, required
from lshsample.tables import TableReader

__all__ = ["Retrieve"]


def _tables_or_none(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and not isinstance(value, TableReader):
        wanted = "HashTables or another TableReader, or None for the sampler's own"
        raise ArgumentError(attribute.name, type(value).__name__, wanted)


@attrs.frozen(str=False)
class Retrieve(BuiltinStage):
    """Joins every id that shares a probed bucket with the query.

    Parameters
    ----------
    tables : TableReader, optional
        The tables; without them, those that the sampler is bound to.
    probes : int, optional
        Buckets per table, best first, where the family can probe; by default the family's own number.
    budget : int, optional
        SLIDE's vanilla strategy: look into tables in random order, and stop after the table with which the
        set holds so many ids. Without it, all tables are looked into.

    Notes
    -----
    Over the draw of the hash functions an id of code probability p^K is joined with probability 1 - (1 -
    p^K)^L (Spring & Shrivastava 2017, arXiv 1703.05160); a budget stops where earlier tables say: its ids
    have unbiased weights instead (:func:`~lshsample.sampling.budget.visited_shares`). Given the tables, what
    they returned is certain and the rest has probability 0. Pooled, the batch is one query with all its
    codes: counts add up over the queries.
    """

    tables: TableReader | None = attrs.field(default=None, validator=_tables_or_none)
    probes: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(specs.integer(1, 65536))
    )
    budget: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(specs.integer(1, 2**31 - 2))
    )

    def call(self, batch: Batch, place: int, ordinal: int) -> StageCall:
        """The stage for the C core: hashes the queries, or joins what a reader without arrays retrieved."""
        state = self.state(batch)
        queries = required(batch.queries, "queries", self)
        if state.native is None:
            return self._join(state, batch, place, ordinal)
        codes = hashing.probe_rows(state.family, queries, self.probes_of(state), threads=batch.threads)
        return StageCall(
            op="RETRIEVE",
            place=place,
            ordinal=ordinal,
            amount=self.budget or 0,
            reader=state.native,
            codes=np.ascontiguousarray(codes),
        )

    def _join(self, state: TableReader, batch: Batch, place: int, ordinal: int) -> StageCall:
        if self.budget is not None:
            reader = type(state).__name__
            why = f"a budget visits tables one by one, and {reader} gives candidates of all tables together"
            raise UnsupportedError(f"{self}: {why}")
        found = state.query(batch.queries, self.probes_of(state), threads=batch.threads)
        pattern = np.ascontiguousarray(found.indptr), np.ascontiguousarray(found.ids)
        counts = np.ascontiguousarray(found.counts)
        return StageCall(op="JOIN", place=place, ordinal=ordinal, pattern=pattern, counts=counts)

    def state(self, batch: Batch) -> TableReader:
        """The state of the tables that it reads."""
        state: TableReader = (
            batch.state_of(self.tables) if self.tables is not None else required(batch.state, "tables", self)
        )
        if state.n_ids > batch.n_items:
            raise ArgumentError("tables", f"ids up to {state.n_ids - 1}", f"{batch.n_items} items, as bound")
        return state

    def probes_of(self, state: TableReader) -> int:
        """Buckets that it looks into in each table of a state."""
        return state.family.default_probes if self.probes is None else self.probes

    def needs(self) -> frozenset[str]:
        """Queries, and tables unless it holds its own."""
        return frozenset({"queries"} if self.tables is not None else {"queries", "tables"})

    def tables_of(self) -> TableReader | None:
        """Its own tables."""
        return self.tables
