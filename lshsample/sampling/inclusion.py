"""Inclusion probabilities: the value that the stages of a pipeline change one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import attrs
import numpy as np
import numpy.typing as npt

from lshsample import laws
from lshsample._native.sample import Drawn
from lshsample.sampling.active_set import ActiveSet, Law
from lshsample.sampling.batch import Batch

__all__ = ["CollisionLaw", "Inclusion", "Pairs"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@attrs.frozen(eq=False)
class CollisionLaw:
    """In how many tables each pair collides: the law that a threshold on counts needs.

    Attributes
    ----------
    chances : (n, 1) or (n, n_tables) float64 array
        Probability that a table's probed buckets hold the pair: one number for all tables, or one for each.
    n_tables : int
        Number of tables, which are independent.
    by_table : bool
        Whether each table has a probability of its own.
    """

    chances: Floats
    n_tables: int
    by_table: bool

    def at_least(self, m: int) -> Floats:
        """Probability (n,) to collide in at least m tables: a binomial or Poisson binomial tail."""
        if self.by_table:
            return laws.tables_inclusion(self.chances, m)
        if m > 1:
            return laws.at_least_inclusion(self.chances[:, 0], self.n_tables, m)
        return laws.union_inclusion(self.chances[:, 0], self.n_tables)


@attrs.frozen(eq=False, kw_only=True)
class Inclusion:
    """How likely each pair is to be in the set, after some stages of a pipeline.

    A stage's ``inclusion`` gets it as it is after the stages before, and returns it as it is after this one,
    by the methods below. All of them leave a value that has a ``reason`` as it is.

    Attributes
    ----------
    probability : (n,) float64 array
        Of each pair, but for what ``kept`` and ``forced`` say. After a stage that acts on a set of random
        size it is the reciprocal of an unbiased weight.
    reason : str or None
        Why there are no probabilities, naming the stage.
    final : str or None
        Why nothing can be mixed in any more, naming the stage: what it keeps depends on the whole set.
    every_item_possible : (rows,) bool array
        Whether every item has a probability above 0.
    uses_functions : bool
        Whether the hash functions of tables have a part in it.
    collisions : CollisionLaw or None
        Straight after a first retrieval: the law of the counts.
    kept : (n,) float32 array or None
        The fraction of the row that the caps kept.
    forced : (n,) bool array or None
        Ids that the caller named, whose probability is 1.
    """

    probability: Floats
    reason: str | None = None
    final: str | None = None
    every_item_possible: Bools
    uses_functions: bool = False
    collisions: CollisionLaw | None = None
    kept: npt.NDArray[np.float32] | None = None
    forced: Bools | None = None

    def _with(self, **changes: object) -> Self:
        """A changed value; the law of the counts does not outlast the stage after the retrieval."""
        if self.reason is not None:
            return self
        return attrs.evolve(self, **{"collisions": None, **changes})  # type: ignore[arg-type]

    def unknown(self, reason: str) -> Self:
        """No probabilities, and why; the reason begins with the stage."""
        return self._with(reason=reason)

    def mix(
        self, probability: npt.ArrayLike, *, everywhere: bool = True, uses_functions: bool = False
    ) -> Self:
        """The union with an independent sample: 1 - (1 - pi)(1 - p).

        Parameters
        ----------
        probability : number or (n,) array
            Of each pair to be in that sample, whatever else is in the set.
        everywhere : bool
            Whether every item has a probability above 0 to be in it.
        uses_functions : bool
            Whether the sample depends on the hash functions of tables.
        """
        if self.final is not None:
            return self.unknown(self.final)
        possible = np.ones_like(self.every_item_possible) if everywhere else self.every_item_possible
        mixed = self.probability
        if self.reason is None:
            mixed = laws.mixture_inclusion(self.probability, probability)
        uses = self.uses_functions or uses_functions
        return self._with(probability=mixed, every_item_possible=possible, uses_functions=uses)

    def collide(self, collisions: CollisionLaw) -> Self:
        """The counts have this law, until the next stage."""
        return self._with(collisions=collisions)

    def weigh(self, weights: Floats, why: str) -> Self:
        """Unbiased weights (n,) of a first retrieval in place of probabilities; nothing can be mixed in."""
        with np.errstate(divide="ignore"):
            reciprocal = np.asarray(1 / weights)
        possible = np.ones_like(self.every_item_possible)
        weighed = self._with(probability=reciprocal, every_item_possible=possible, uses_functions=True)
        return weighed.hold(why)

    def multiply(self, fraction: npt.ArrayLike) -> Self:
        """Each pair stays with this probability, above 0, whatever else is in the set.

        Parameters
        ----------
        fraction : number or (n,) array
            Probabilities to stay. Forced ids stay anyway.
        """
        stays = np.asarray(fraction, np.float64)
        return self._with(probability=np.asarray(self.probability * stays))

    def cap(self, kept: npt.NDArray[np.float32]) -> Self:
        """Caps have kept this fraction (n,) of each pair's row in all, this one among them."""
        return self._with(kept=kept)

    def hold(self, why: str) -> Self:
        """Nothing can be mixed in from here on, for what was kept depends on the whole set."""
        return self if self.final is not None else self._with(final=why)

    def certain(self) -> Self:
        """Every item is in the set."""
        if self.final is not None:
            return self.unknown(self.final)
        possible = np.ones_like(self.every_item_possible)
        return self._with(probability=np.ones_like(self.probability), every_item_possible=possible)

    def force(self, named: Bools) -> Self:
        """These pairs (n,) are in the set, whatever is drawn or dropped."""
        return self._with(forced=named if self.forced is None else self.forced | named)

    @property
    def values(self) -> Floats:
        """The probabilities (n,), with caps and forced ids."""
        pi = self.probability if self.kept is None else self.probability * self.kept
        return pi if self.forced is None else np.where(self.forced, 1.0, pi)


@attrs.frozen(eq=False, kw_only=True)
class Pairs:
    """The ids of a set that a pipeline drew, as pairs of a row and an item, for one of its stages.

    Attributes
    ----------
    rows, ids : (n,) arrays
        The row and the item of each pair.
    batch : Batch
        What the pipeline ran on.
    law : "conditional" or "marginal"
        What the probabilities are over: the draws given the tables, or the hash functions as well.
    place : int
        The stage's place in the pipeline, from 0.
    kept : (rows,) float32 array
        The fraction of each row that the caps up to this stage kept in all. Caps that run together with
        later ones, in one call of the core, count these as well.
    """

    rows: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int32]
    batch: Batch
    law: Law
    place: int
    kept: npt.NDArray[np.float32]
    _drawn_by: Callable[[int], Drawn] = attrs.field(repr=False)

    def before(self) -> ActiveSet:
        """The set that the stage met; the stages before it run again for it."""
        return self._set(self.place)

    def after(self) -> ActiveSet:
        """The set that the stage left; the stages up to it run again for it."""
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
        """The place of each pair (n,) in a set's ``ids``; -1 where the set does not hold it."""
        if not len(active.ids):
            return np.full(len(self.ids), -1)
        keys = active.row_of_ids() * active.n_items + active.ids
        wanted = self.rows * active.n_items + self.ids
        place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        return np.where(keys[place] == wanted, place, -1)

    @property
    def forced(self) -> Bools:
        """Which pairs (n,) the caller named."""
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
