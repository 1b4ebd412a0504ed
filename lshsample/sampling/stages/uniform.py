"""Uniform draws from all items."""

from __future__ import annotations

import attrs

from lshsample import specs
from lshsample._native.sample import StageCall
from lshsample.sampling.stage import Batch, BuiltinStage, at_most

__all__ = ["Uniform"]


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

    n: int = attrs.field(validator=specs.integer(1, 2**31 - 2))

    def call(self, batch: Batch, place: int, ordinal: int) -> StageCall:
        """The stage for the C core."""
        return StageCall(op="UNIFORM", place=place, ordinal=ordinal, amount=self.n)

    def check(self, n_items: int) -> None:
        """No more ids than items."""
        at_most(self, self.n, n_items)
