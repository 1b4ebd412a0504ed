"""Uniform draws from all items."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np
import numpy.typing as npt

from lshsample import laws, specs
from lshsample._native.sample import Drawn, StageCall
from lshsample.sampling.batch import Batch
from lshsample.sampling.expected import Expected, Population
from lshsample.sampling.inclusion import Inclusion, Pairs
from lshsample.sampling.pipeline import SamplerStage
from lshsample.sampling.stage import Stage, at_most, builtin

__all__ = ["Uniform"]


@builtin
@attrs.frozen
class Uniform(SamplerStage):
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

    def call(self, batch: Batch) -> StageCall:
        """The stage for the C core."""
        return StageCall(op="UNIFORM", amount=self.n)

    def check(self, n_items: int) -> None:
        """No more ids than items."""
        at_most(self, self.n, n_items)

    def size(self, n_items: int) -> int:
        """``n``."""
        return self.n

    def inclusion(self, so_far: Inclusion, pairs: Pairs) -> Inclusion:
        """Mixed with n / N."""
        return so_far.mix(laws.uniform_inclusion(self.n, pairs.batch.n_items))

    def simple_sample(self, later: Sequence[Stage], drawn: Drawn) -> npt.NDArray[np.int64] | None:
        """``n``, if later stages do nothing but force ids."""
        if not all(stage.forces_ids for stage in later):
            return None
        return np.full(len(drawn.indptr) - 1, self.n, np.int64)

    def expected(self, so_far: Expected, population: Population) -> Expected:
        """Distinct draws."""
        return so_far.draw(self.n)

    def reason(self, before: int, after: Drawn, batch: Batch) -> str:
        """What joined."""
        return f"{self.n:,} of {batch.n_items:,} drawn uniformly"
