"""Sources: stages that join ids by draws of their own, because the caller names them, or all there are."""

from __future__ import annotations

import attrs

from lshsample import specs
from lshsample._native.sample import StageCall
from lshsample.errors import ArgumentError
from lshsample.sampling.stage import Batch, BuiltinStage, required

__all__ = ["Fill", "Frequency", "Full", "Include", "Uniform"]

_AMOUNT = specs.integer(1, 2**31 - 2)


def _at_most(stage: BuiltinStage, amount: int, n_items: int) -> None:
    if amount > n_items:
        raise ArgumentError(str(stage), amount, f"at most the {n_items} items that there are")


@attrs.frozen(str=False)
class Include(BuiltinStage):
    """Joins the ids that the caller names for each query (the true labels); no later stage drops them.

    Notes
    -----
    Their inclusion probability is 1, under both laws.
    """

    def call(self, batch: Batch, place: int, ordinal: int) -> StageCall:
        """The stage for the C core."""
        return StageCall(op="INCLUDE", place=place, ordinal=ordinal, pattern=batch.include)


@attrs.frozen(str=False)
class Fill(BuiltinStage):
    """Tops the set up to ``k`` ids with uniform draws from outside of it.

    Parameters
    ----------
    k : int
        Ids wanted; a set that has as many is left alone, and then items outside have probability 0.

    Notes
    -----
    With U ids in the set, U fixed given the tables, each of the N - U outside joins with probability u = (k
    - U) / (N - U), so pi becomes pi + (1 - pi) u. That makes sums unbiased for every tables, hence also over
    the draw of the hash functions, where these weights are taken.
    """

    k: int = attrs.field(validator=_AMOUNT)

    def call(self, batch: Batch, place: int, ordinal: int) -> StageCall:
        """The stage for the C core."""
        return StageCall(op="FILL", place=place, ordinal=ordinal, amount=self.k)

    def check(self, n_items: int) -> None:
        """No more ids than items."""
        _at_most(self, self.k, n_items)


@attrs.frozen(str=False)
class Uniform(BuiltinStage):
    """Joins ``n`` distinct ids drawn uniformly from all items; pooled, n in total for the whole batch.

    Parameters
    ----------
    n : int
        Ids to draw; those that are in the set already are drawn all the same, so that the law stays simple.

    Notes
    -----
    u = n / N for every item, independently of the set: pi becomes 1 - (1 - pi)(1 - u), and weights stay
    below N / n.
    """

    n: int = attrs.field(validator=_AMOUNT)

    def call(self, batch: Batch, place: int, ordinal: int) -> StageCall:
        """The stage for the C core."""
        return StageCall(op="UNIFORM", place=place, ordinal=ordinal, amount=self.n)

    def check(self, n_items: int) -> None:
        """No more ids than items."""
        _at_most(self, self.n, n_items)


@attrs.frozen(str=False)
class Frequency(BuiltinStage):
    """Joins what ``n`` independent draws in proportion to the items' frequencies give.

    Parameters
    ----------
    n : int
        Draws, with replacement: at most so many ids.

    Notes
    -----
    Item j is drawn with probability 1 - (1 - f_j)^n; pi becomes 1 - (1 - pi)(1 - f_j)^n. Items of frequency
    0 are never drawn: without another source the set is then typed as biased.
    """

    n: int = attrs.field(validator=_AMOUNT)

    def call(self, batch: Batch, place: int, ordinal: int) -> StageCall:
        """The stage for the C core."""
        table = required(batch.alias, "frequencies", self)
        return StageCall(op="FREQUENCY", place=place, ordinal=ordinal, amount=self.n, frequencies=table)

    def needs(self) -> frozenset[str]:
        """Frequencies."""
        return frozenset({"frequencies"})


@attrs.frozen(str=False)
class Full(BuiltinStage):
    """Joins every item, with probability 1: the sampler that makes a sampled layer a dense one."""

    def call(self, batch: Batch, place: int, ordinal: int) -> StageCall:
        """The stage for the C core."""
        return StageCall(op="FULL", place=place, ordinal=ordinal)
