"""A filter: a uniform draw of at most k ids."""

from __future__ import annotations

import attrs

from lshsample import specs
from lshsample._native.sample import StageCall
from lshsample.sampling.stage import Batch, BuiltinStage

__all__ = ["Cap"]


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

    k: int = attrs.field(validator=specs.integer(1, 2**31 - 2))

    def call(self, batch: Batch, place: int, ordinal: int) -> StageCall:
        """The stage for the C core."""
        return StageCall(op="CAP", place=place, ordinal=ordinal, amount=self.k)
