"""Retrieval from hash tables."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import scipy

from lshsample import specs
from lshsample._native.sample import Drawn, StageCall
from lshsample.errors import ArgumentError, UnsupportedError
from lshsample.family import HashFamily
from lshsample.hashing import retrieval
from lshsample.sampling.batch import Batch
from lshsample.sampling.budget import table_weights
from lshsample.sampling.expected import (
    NODE_WEIGHTS,
    Expected,
    Population,
    RetrievalLaw,
    collision_counts,
    expected_minimum,
    minimum_moments,
    moved_chances,
)
from lshsample.sampling.inclusion import CollisionLaw, Inclusion, Pairs
from lshsample.sampling.membership import table_probabilities
from lshsample.sampling.pipeline import SamplerStage
from lshsample.sampling.stage import UNPLAIN, builtin, required
from lshsample.tables import TableReader

__all__ = ["Retrieve"]

Floats = npt.NDArray[np.float64]


def tables_or_none(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """A validator of tables that a stage may hold."""
    if value is not None and not isinstance(value, TableReader):
        wanted = "HashTables or another TableReader, or None for the tables of the sampler"
        raise ArgumentError(attribute.name, type(value).__name__, wanted)


@builtin
@attrs.frozen
class Retrieve(SamplerStage):
    """Adds every id in the probed buckets of the query.

    Parameters
    ----------
    tables : TableReader, optional
        The tables; by default those that the sampler is bound to.
    probes : int, optional
        Number of buckets per table, best first, if the family supports multi-probe; by default the family's
        ``default_probes``.
    budget : int, optional
        SLIDE's vanilla strategy: probe the tables in random order, until the set has at least ``budget`` ids
        after a table. By default all tables are probed.

    Notes
    -----
    Marginally over the hash functions, an id of code probability p^K is added with probability
    1 - (1 - p^K)^L (Spring & Shrivastava 2017, arXiv 1703.05160). With a budget the number of tables depends
    on their contents, and ids have unbiased weights instead
    (:func:`~lshsample.sampling.budget.visited_shares`). Conditional on the tables, retrieved ids are certain
    and the others have probability 0. Pooled, the batch is one query with all its codes: counts add up over
    the queries.
    """

    outcome_is_certain = True

    tables: TableReader | None = attrs.field(default=None, validator=tables_or_none, metadata=UNPLAIN)
    probes: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(specs.integer(1, 65536))
    )
    budget: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(specs.integer(1, 2**31 - 2))
    )

    def call(self, batch: Batch) -> StageCall:
        """The stage for the C core; readers without arrays for the core retrieve in Python."""
        state = self.state(batch)
        queries = required(batch.queries, "queries", self)
        probes = self.n_probes(state.family)
        native = state.native
        if native is None:
            return self._join(state, batch)
        call = retrieval(state.family, native, queries, probes, threads=batch.threads)
        call.amount = self.budget or 0
        return call

    def _join(self, state: TableReader, batch: Batch) -> StageCall:
        if self.budget is not None:
            reader = type(state).__name__
            why = f"a budget visits tables one by one, and {reader} returns candidates of all tables together"
            raise UnsupportedError(f"{self}: {why}")
        found = state.query(batch.queries, self.n_probes(state.family), threads=batch.threads)
        pattern = np.ascontiguousarray(found.indptr), np.ascontiguousarray(found.ids)
        return StageCall(op="JOIN", pattern=pattern, counts=np.ascontiguousarray(found.counts))

    def state(self, batch: Batch) -> TableReader:
        """The state, at the start of the call, of the tables that it reads."""
        state: TableReader = (
            batch.state_of(self.tables) if self.tables is not None else required(batch.state, "tables", self)
        )
        if state.n_ids > batch.n_items:
            wanted = f"of at most {batch.n_items} items, as bound"
            raise ArgumentError("tables", f"ids up to {state.n_ids - 1}", wanted)
        return state

    def needs(self) -> frozenset[str]:
        """Queries, and tables unless it holds them itself."""
        return frozenset({"queries"} if self.tables is not None else {"queries", "tables"})

    def tables_of(self) -> TableReader | None:
        """The tables that it holds itself."""
        return self.tables

    def n_probes(self, family: HashFamily) -> int:
        """``probes``, or the default of the family."""
        return family.default_probes if self.probes is None else self.probes

    def inclusion(self, so_far: Inclusion, pairs: Pairs) -> Inclusion:
        """Mixed with 1 - (1 - p^K)^L; unbiased weights with a budget, or bounded or dependent tables.

        With several probes, table l has the probability P_l of its probes given the query, and the union
        1 - prod_l (1 - P_l). After a retrieval from tables of another seed, whose functions are independent,
        the union is 1 - (1 - pi_1)(1 - pi_2), and counts are those of all tables together.
        """
        if pairs.law == "conditional":
            return so_far.unknown(f"{self}: given the tables, the retrieved ids are certain")
        if pairs.batch.pooled:
            return so_far.unknown(
                f"{self}: pooled queries share hash functions; their union has no simple law"
            )
        state = self.state(pairs.batch)
        weighted = self._is_weighted(state)
        if weighted and pairs.place > 0:
            why = "the weights of a budget, or of bounded buckets or dependent tables, hold only"
            return so_far.unknown(f"{self}: {why} for the first stage")
        dependence = so_far.dependence_on(state.family)
        if dependence is not None:
            return so_far.unknown(f"{self}: {dependence}")
        try:
            return self._weighed(so_far, pairs, state) if weighted else self._mixed(so_far, pairs, state)
        except UnsupportedError as error:
            return so_far.unknown(f"{self}: {error}")

    def _is_weighted(self, state: TableReader) -> bool:
        """Whether its ids have weights from single tables instead of a probability."""
        bounded = bool(state.bucket_size)
        return self.budget is not None or bounded or not state.family.independent_tables

    def _mixed(self, so_far: Inclusion, pairs: Pairs, state: TableReader) -> Inclusion:
        probes, queries = self.n_probes(state.family), pairs.batch.queries
        chances = table_probabilities(state, queries, pairs.rows, pairs.ids, probes)
        law = CollisionLaw(chances, state.family.n_tables, by_table=probes > 1)
        mixed = so_far.mix(law.at_least(1), uses_functions=True, family=state.family)
        if pairs.place == 0:
            return mixed.collide(law)
        before = so_far.collisions
        return mixed if before is None else mixed.collide(before.with_tables(law))

    def _weighed(self, so_far: Inclusion, pairs: Pairs, state: TableReader) -> Inclusion:
        probes = self.n_probes(state.family)
        weights = np.ones(len(pairs.ids))
        if len(pairs.ids):
            retrieved = pairs.after()
            found = table_weights(state, pairs.batch, retrieved, probes, self.budget)
            # Ids that were not retrieved are forced, with probability 1.
            weights = found[pairs.find(retrieved)] if len(found) else weights
        else:
            table_probabilities(state, pairs.batch.queries, pairs.rows, pairs.ids, probes)
        why = f"{self}: what it retrieves depends on the hash functions, so nothing can be mixed in after it"
        return so_far.weigh(weights, why)

    def expected(self, so_far: Expected, population: Population) -> Expected:
        """The ids in the tables, all of them or until the budget is reached."""
        law = population.retrieval
        if law.repeats and self.budget is None:
            return so_far.collide_again()
        if self.budget is not None:
            return so_far.collide(_visited(so_far, law, self.budget))
        return so_far.collide(law.counts(_held(law, so_far.weights), law.n_tables))

    def reason(self, before: int, after: Drawn, batch: Batch) -> str:
        """Which ids were added."""
        family = self.state(batch).family
        each = after.counts.sum() / (family.n_tables * batch.n_queries)
        until = f", in random order until {self.budget:,} ids" if self.budget else ""
        return (
            f"share a bucket with the query: {family.n_tables} tables x {self.n_probes(family)} "
            f"buckets{until}, {each:.1f} ids per table"
        )


def _bounded(law: RetrievalLaw, chance: Floats, weights: Floats) -> Floats:
    """Probability that buckets keep an item: P E[min(R, n)] / E[n] if R of n ids are kept."""
    if law.bucket_size is None:
        return chance
    size, spread = weights @ chance, weights @ (chance * (1 - chance))
    return np.asarray(chance * expected_minimum(size, spread, law.bucket_size) / np.maximum(size, 1e-300))


def _held(law: RetrievalLaw, weights: Floats) -> Floats:
    """Probability that a table's buckets contain and keep an item, over the functions of one table."""
    if law.bucket_size is None:
        return law.chance
    moved = moved_chances(law.chance, law.spread)
    return np.asarray(
        sum(share * _bounded(law, some, weights) for share, some in zip(NODE_WEIGHTS, moved, strict=True))
    )


#: Number of simulated sequences of tables, to describe a budget.
_SEQUENCES = 45


def _visited(so_far: Expected, law: RetrievalLaw, budget: int) -> Floats:
    """Distribution of the counts (groups, c) with tables visited in random order until a budget is reached.

    Table t + 1 is visited if the set after t tables is below the budget. The sizes of the buckets vary
    between tables: sequences of tables are simulated, in each of which the size of the set is assumed to be
    gamma distributed, with the variance of independent items.
    """
    tables = _by_exponent(law, so_far.weights)
    rng = np.random.default_rng(0)
    each = np.arange(_SEQUENCES) % len(tables)
    order = rng.permuted(np.tile(np.arange(tables.shape[1]), (_SEQUENCES, 1)), axis=1)
    outside = so_far.weights * so_far.outside.sum(axis=1)
    missed = np.ones((_SEQUENCES, len(law.chance)))
    going, found, shares = np.ones(_SEQUENCES), np.zeros(len(law.chance)), []
    for visit in range(law.n_tables):
        here = tables[rng.permutation(each), order[:, visit % tables.shape[1]]]
        found += (going @ (missed * here)) / _SEQUENCES
        missed *= 1 - here
        before = going.mean()
        going = np.minimum(going, _below(so_far, law, outside, missed, budget))
        shares.append(before - going.mean())
        if going.max() < 1e-9:
            break
    shares[-1] += going.mean()
    counts = np.zeros((len(found), min(len(shares), 512) + 1))
    for visited, share in enumerate(shares, 1):
        if share > 1e-9:
            part = collision_counts(law.chance.mean(axis=1, keepdims=True), visited)
            counts[:, : part.shape[1]] += share * part
    counts[:, 0] = 1 - found
    counts[:, 1:] *= (found / np.maximum(counts[:, 1:].sum(axis=1), 1e-300))[:, None]
    return counts


def _by_exponent(law: RetrievalLaw, weights: Floats) -> Floats:
    """Probabilities (exponents, tables, groups) for tables with larger and smaller cells around the query."""
    logs = np.log(np.maximum(law.chance, 1e-300))
    powers = np.exp(np.minimum((law.exponents - 1)[:, None, None] * logs, 30.0))
    moved = np.minimum(law.chance * powers / powers.mean(axis=0), 1.0)
    return np.stack([_bounded(law, some, weights).T for some in moved])


def _below(so_far: Expected, law: RetrievalLaw, outside: Floats, missed: Floats, budget: int) -> Floats:
    """Probability, for each sequence of tables, that the set is still below the budget."""
    size = so_far.size + (1 - missed) @ outside
    variance = so_far.variance + _relative_variance(law, so_far.weights) * ((missed * (1 - missed)) @ outside)
    spread = variance > 1e-9 * np.maximum(size, 1.0)
    scale = np.where(spread, variance, 1.0) / np.maximum(size, 1e-300)
    # Continuity correction for an integer size.
    below = scipy.special.gammainc(np.where(spread, size / scale, 1.0), (budget - 0.5) / scale)
    return np.where(spread, below, size < budget)


def _relative_variance(law: RetrievalLaw, weights: Floats) -> float:
    """Variance of a bucket's size, relative to that of independent ids; below 1 for bounded buckets."""
    if law.bucket_size is None:
        return 1.0
    chance = law.chance.mean(axis=1)
    size, spread = weights @ chance, weights @ (chance * (1 - chance))
    first, second = minimum_moments(size, spread, law.bucket_size)
    return float(np.clip((second - first**2) / max(float(first), 1e-300), 0.0, 1.0))
