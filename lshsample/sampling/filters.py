"""Filters: at least m collisions, the top k, a uniform cap. Ids that Include forced pass every filter."""

from __future__ import annotations

import attrs

from lshsample import specs
from lshsample._native.sample import StageCall
from lshsample.sampling.stage import Batch, BuiltinStage

__all__ = ["AtLeast", "Cap", "Top"]

_AMOUNT = specs.integer(1, 2**31 - 2)


@attrs.frozen(str=False)
class AtLeast(BuiltinStage):
    """Keeps ids that collided at least ``m`` times: SLIDE's hard threshold.

    Parameters
    ----------
    m : int
        Collisions wanted.

    Notes
    -----
    Straight after ``Retrieve``, over the draw of the hash functions, an id stays with the binomial tail
    sum_{i >= m} C(L, i) q^i (1 - q)^(L - i), q = p^K (Chen et al. 2020, SLIDE; m = 2 is MagicPIG's rule).
    Given the tables it draws nothing.
    """

    m: int = attrs.field(validator=_AMOUNT)

    def call(self, batch: Batch, place: int, ordinal: int) -> StageCall:
        """The stage for the C core."""
        return StageCall(op="AT_LEAST", place=place, ordinal=ordinal, amount=self.m)


@attrs.frozen(str=False)
class Top(BuiltinStage):
    """Keeps the ``k`` ids that collided most; ties are drawn.

    Parameters
    ----------
    k : int
        Ids to keep, forced ones among them.

    Notes
    -----
    Given the tables, ids above the k-th count are certain, and t ids tied at it share the room r that is
    left: each stays with probability r / t. Over the draw of the hash functions top-k has no simple law:
    typed as biased.
    """

    k: int = attrs.field(validator=_AMOUNT)

    def call(self, batch: Batch, place: int, ordinal: int) -> StageCall:
        """The stage for the C core."""
        return StageCall(op="TOP", place=place, ordinal=ordinal, amount=self.k)


@attrs.frozen(str=False)
class Cap(BuiltinStage):
    """Keeps at most ``k`` ids, drawn uniformly.

    Parameters
    ----------
    k : int
        Ids to keep, forced ones among them.

    Notes
    -----
    Of U unforced ids, with room m for them, each stays with probability m / U: an unbiased second phase
    (Sarndal, Swensson & Wretman 1992, ch. 9), so inclusion probabilities are multiplied by m / U. The ids
    kept are those with the smallest random priorities, a function of (seed, step, row, id) alone: never of
    the order of a hash set.
    """

    k: int = attrs.field(validator=_AMOUNT)

    def call(self, batch: Batch, place: int, ordinal: int) -> StageCall:
        """The stage for the C core."""
        return StageCall(op="CAP", place=place, ordinal=ordinal, amount=self.k)
