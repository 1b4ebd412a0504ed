"""Inclusion probabilities, as the stages of a pipeline update them one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import attrs
import numpy as np
import numpy.typing as npt

from lshsample import laws
from lshsample._native.sample import Drawn
from lshsample.errors import ArgumentError
from lshsample.family import HashFamily
from lshsample.sampling.active_set import ActiveSet, Law
from lshsample.sampling.batch import Batch

__all__ = ["CollisionLaw", "Inclusion", "Pairs"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@attrs.frozen(eq=False)
class CollisionLaw:
    """Distribution of the number of tables in which each pair collides, for a threshold on counts.

    Attributes
    ----------
    chances : (n, 1) or (n, n_tables) float64 array
        Probability that a table's probed buckets contain the pair: the same for all tables, or one each.
    n_tables : int
        Number of independent tables.
    by_table : bool
        Whether the probabilities differ between tables.
    """

    chances: Floats
    n_tables: int
    by_table: bool

    def with_tables(self, other: CollisionLaw) -> CollisionLaw:
        """The number of these tables and of others, of independent functions, that contain a pair."""
        each = [np.broadcast_to(law.chances, (len(law.chances), law.n_tables)) for law in (self, other)]
        return CollisionLaw(np.hstack(each), self.n_tables + other.n_tables, by_table=True)

    def at_least(self, m: int) -> Floats:
        """Probability (n,) to collide in at least m tables: a binomial or Poisson binomial tail."""
        if self.by_table:
            return laws.tables_inclusion(self.chances, m)
        if m > 1:
            return laws.at_least_inclusion(self.chances[:, 0], self.n_tables, m)
        return laws.union_inclusion(self.chances[:, 0], self.n_tables)


@attrs.frozen(eq=False, kw_only=True)
class Inclusion:
    """Probability of each pair to be in the set after some stages of a pipeline.

    A stage's ``inclusion`` gets the value after the previous stages and returns the one after this stage, by
    the methods below. If ``reason`` is set, all of them return the value unchanged.

    Attributes
    ----------
    probability : (n,) float64 array
        Probability of each pair, before ``kept`` and ``forced`` are applied. After a stage that acts on a
        set of random size it is the reciprocal of an unbiased weight.
    reason : str or None
        Why there are no probabilities, with the stage's name.
    final : str or None
        Why nothing can be mixed in later, with the stage's name: what it keeps depends on the whole set.
    every_item_possible : (rows,) bool array
        Whether every item has a positive probability.
    functions : tuple of HashFamily or None
        The hash functions that the set depends on: the families of the tables, None for functions that are
        not known.
    collisions : CollisionLaw or None
        Directly after retrievals without a stage before: the distribution of the counts.
    kept : (n,) float32 array or None
        Fraction of the pair's row kept by the caps.
    forced : (n,) bool array or None
        Pairs included by the caller, whose probability is 1.
    """

    probability: Floats
    reason: str | None = None
    final: str | None = None
    every_item_possible: Bools
    functions: tuple[HashFamily | None, ...] = ()
    collisions: CollisionLaw | None = None
    kept: npt.NDArray[np.float32] | None = None
    forced: Bools | None = None

    @property
    def uses_functions(self) -> bool:
        """Whether the set depends on the hash functions of tables."""
        return bool(self.functions)

    def dependence_on(self, family: HashFamily) -> str | None:
        """Why the set may depend on a family's functions; None if all so far are of other seeds."""
        if None in self.functions:
            return "an earlier stage depends on hash functions that are not known"
        if any(used is not None and used.seed == family.seed for used in self.functions):
            why = f"a second retrieval with functions of seed {family.seed}, as an earlier one,"
            return f"{why} may depend on it; tables of another seed have a law: family.with_seed(...)"
        return None

    def _with(self, **changes: object) -> Self:
        """An updated value, without the distribution of the counts, which holds for one stage only."""
        if self.reason is not None:
            return self
        return attrs.evolve(self, **{"collisions": None, **changes})  # type: ignore[arg-type]

    def _each(self, values: npt.ArrayLike, argument: str) -> Floats:
        """A number, or one for each pair."""
        array = np.asarray(values)
        if array.dtype.kind not in "fiub" or array.shape not in ((), self.probability.shape):
            wanted = f"a number, or an array of shape {self.probability.shape}, one for each pair"
            raise ArgumentError(argument, f"{array.dtype} {array.shape}", wanted)
        return array.astype(np.float64)

    def unknown(self, reason: str) -> Self:
        """There are no probabilities from here on; the reason starts with the stage."""
        return self._with(reason=reason)

    def mix(
        self,
        probability: npt.ArrayLike,
        *,
        everywhere: bool = True,
        uses_functions: bool = False,
        family: HashFamily | None = None,
    ) -> Self:
        """The union with an independent sample: 1 - (1 - pi)(1 - p).

        Parameters
        ----------
        probability : number or (n,) array
            Probability of each pair to be in that sample, independent of the set.
        everywhere : bool
            Whether every item has a positive probability to be in it.
        uses_functions : bool
            Whether the sample depends on the hash functions of tables.
        family : HashFamily, optional
            These functions; without them no tables can be mixed in later, as they may share functions.
        """
        if self.final is not None:
            return self.unknown(self.final)
        possible = np.ones_like(self.every_item_possible) if everywhere else self.every_item_possible
        mixed = self.probability
        if self.reason is None:
            mixed = laws.mixture_inclusion(self.probability, self._each(probability, "probability"))
        functions = (*self.functions, family) if uses_functions else self.functions
        return self._with(probability=mixed, every_item_possible=possible, functions=functions)

    def collide(self, collisions: CollisionLaw) -> Self:
        """Set the distribution of the counts, which holds until the next stage."""
        return self._with(collisions=collisions)

    def weigh(self, weights: Floats, why: str) -> Self:
        """Unbiased weights (n,) of a first retrieval instead of probabilities; no later mixture."""
        with np.errstate(divide="ignore"):
            reciprocal = np.asarray(1 / weights)
        possible = np.ones_like(self.every_item_possible)
        weighed = self._with(probability=reciprocal, every_item_possible=possible, functions=(None,))
        return weighed.hold(why)

    def multiply(self, fraction: npt.ArrayLike) -> Self:
        """Each pair is kept with this positive probability, independently of the rest of the set.

        Parameters
        ----------
        fraction : number or (n,) array
            Probability to be kept. Forced ids are always kept.
        """
        stays = self._each(fraction, "fraction")
        if not np.all((stays > 0) & (stays <= 1)):
            given = f"values from {stays.min()} to {stays.max()}"
            raise ArgumentError("fraction", given, "probabilities above 0 and at most 1")
        return self._with(probability=np.asarray(self.probability * stays))

    def cap(self, kept: npt.NDArray[np.float32]) -> Self:
        """All caps so far, including this one, kept this fraction (n,) of each pair's row."""
        return self._with(kept=kept)

    def hold(self, why: str) -> Self:
        """Nothing can be mixed in after this stage, since what it keeps depends on the whole set."""
        return self if self.final is not None else self._with(final=why)

    def certain(self) -> Self:
        """Every item is in the set."""
        if self.final is not None:
            return self.unknown(self.final)
        possible = np.ones_like(self.every_item_possible)
        return self._with(probability=np.ones_like(self.probability), every_item_possible=possible)

    def force(self, pairs: Bools) -> Self:
        """These pairs, (n,) bool, are in the set with probability 1, whatever is drawn or dropped."""
        given = np.asarray(pairs)
        if given.dtype != np.bool_ or given.shape != self.probability.shape:
            wanted = f"a bool array of shape {self.probability.shape}, one for each pair"
            raise ArgumentError("pairs", f"{given.dtype} {given.shape}", wanted)
        return self._with(forced=pairs if self.forced is None else self.forced | pairs)

    @property
    def values(self) -> Floats:
        """The probabilities (n,), with caps and forced ids applied."""
        pi = self.probability if self.kept is None else self.probability * self.kept
        return pi if self.forced is None else np.where(self.forced, 1.0, pi)


@attrs.frozen(eq=False, kw_only=True)
class Pairs:
    """The ids of a drawn set as pairs of a row and an item, for one stage of the pipeline.

    Attributes
    ----------
    rows, ids : (n,) arrays
        The row and the item of each pair.
    batch : Batch
        The batch that the pipeline ran on.
    law : "conditional" or "marginal"
        Whether the probabilities are conditional on the tables, or marginal over the hash functions.
    place : int
        Index of the stage in the pipeline, from 0.
    kept : (rows,) float32 array
        Fraction of each row kept by all caps up to this stage, and by later caps that run in the same call
        of the C core.
    """

    rows: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int32]
    batch: Batch
    law: Law
    place: int
    kept: npt.NDArray[np.float32]
    _drawn_by: Callable[[int], Drawn] = attrs.field(repr=False)

    def before(self) -> ActiveSet:
        """The input set of the stage, for which the previous stages run again."""
        return self._set(self.place)

    def after(self) -> ActiveSet:
        """The output set of the stage, for which the stages up to it run again."""
        return self._set(self.place + 1)

    def _set(self, n_stages: int) -> ActiveSet:
        drawn = self._drawn_by(n_stages)
        return ActiveSet(
            indptr=drawn.indptr,
            ids=drawn.ids,
            counts=drawn.counts,
            n_items=self.batch.n_items,
            pooled=self.batch.pooled,
        )

    def find(self, active: ActiveSet) -> npt.NDArray[np.int64]:
        """Index (n,) of each pair in a set's ``ids``; -1 if the set does not contain it."""
        if not len(active.ids):
            return np.full(len(self.ids), -1)
        keys = active.row_of_ids() * active.n_items + active.ids
        pairs = self.rows * active.n_items + self.ids
        place = np.minimum(np.searchsorted(keys, pairs), len(keys) - 1)
        return np.where(keys[place] == pairs, place, -1)

    @property
    def forced(self) -> Bools:
        """Which pairs (n,) the caller included."""
        batch = self.batch
        if batch.include is None:
            return np.zeros(len(self.ids), bool)
        indptr, indices = batch.include
        row = (
            np.zeros(len(indices), np.int64)
            if batch.pooled
            else np.repeat(np.arange(batch.n_queries), np.diff(indptr))
        )
        return np.isin(self.rows * batch.n_items + self.ids, row * batch.n_items + indices)
