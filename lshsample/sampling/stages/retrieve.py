"""Retrieval from hash tables."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from lshsample import hashing, specs
from lshsample._native.sample import StageCall
from lshsample.errors import ArgumentError
from lshsample.sampling.stage import Batch, BuiltinStage, required
from lshsample.tables import HashTables, TableState

__all__ = ["Retrieve"]


def _tables_or_none(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and not isinstance(value, HashTables):
        raise ArgumentError(attribute.name, type(value).__name__, "HashTables, or None for the sampler's own")


@attrs.frozen(str=False)
class Retrieve(BuiltinStage):
    """Joins every id that shares a probed bucket with the query.

    Parameters
    ----------
    tables : HashTables, optional
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

    tables: HashTables | None = attrs.field(default=None, validator=_tables_or_none)
    probes: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(specs.integer(1, 65536))
    )
    budget: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(specs.integer(1, 2**31 - 2))
    )

    def call(self, batch: Batch, place: int, ordinal: int) -> StageCall:
        """The stage for the C core: hashes the queries."""
        state = self.state(batch)
        queries = required(batch.queries, "queries", self)
        codes = hashing.probe_rows(state.family, queries, self.probes_of(state), threads=batch.threads)
        return StageCall(
            op="RETRIEVE",
            place=place,
            ordinal=ordinal,
            amount=self.budget or 0,
            tables=state.packed,
            overlays=state.overlays,
            codes=np.ascontiguousarray(codes),
        )

    def state(self, batch: Batch) -> TableState:
        """The state of the tables that it reads."""
        state: TableState = (
            batch.state_of(self.tables) if self.tables is not None else required(batch.state, "tables", self)
        )
        if state.n_ids > batch.n_items:
            raise ArgumentError("tables", f"ids up to {state.n_ids - 1}", f"{batch.n_items} items, as bound")
        return state

    def probes_of(self, state: TableState) -> int:
        """Buckets that it looks into in each table of a state."""
        return state.family.default_probes if self.probes is None else self.probes

    def needs(self) -> frozenset[str]:
        """Queries, and tables unless it holds its own."""
        return frozenset({"queries"} if self.tables is not None else {"queries", "tables"})

    def tables_of(self) -> HashTables | None:
        """Its own tables."""
        return self.tables
