"""Draws in proportion to the items' frequencies."""

from __future__ import annotations

import attrs

from lshsample import specs
from lshsample._native.sample import StageCall
from lshsample.sampling.stage import Batch, BuiltinStage, required

__all__ = ["Frequency"]


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

    n: int = attrs.field(validator=specs.integer(1, 2**31 - 2))

    def call(self, batch: Batch, place: int, ordinal: int) -> StageCall:
        """The stage for the C core."""
        table = required(batch.alias, "frequencies", self)
        return StageCall(op="FREQUENCY", place=place, ordinal=ordinal, amount=self.n, frequencies=table)

    def needs(self) -> frozenset[str]:
        """Frequencies."""
        return frozenset({"frequencies"})
