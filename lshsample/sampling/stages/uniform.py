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
    """Adds ``n`` distinct ids drawn uniformly from all items; pooled, n in total for the whole batch.

    Parameters
    ----------
    n : int
        Number of ids to draw from all items, including those already in the set.

    Notes
    -----
    Every item is drawn with probability u = n / N, independently of the set: pi becomes 1 - (1 - pi)(1 - u),
    and weights 1 / pi are at most N / n.
    """

    n: int = attrs.field(validator=specs.integer(1, 2**31 - 2))

    def call(self, batch: Batch) -> StageCall:
        """The stage for the C core."""
        return StageCall(op="UNIFORM", amount=self.n)

    def check(self, n_items: int) -> None:
        """``n`` is at most the number of items."""
        at_most(self, self.n, n_items)

    def size(self, n_items: int) -> int:
        """``n``."""
        return self.n

    def inclusion(self, so_far: Inclusion, pairs: Pairs) -> Inclusion:
        """Mixed with n / N."""
        return so_far.mix(laws.uniform_inclusion(self.n, pairs.batch.n_items))

    def simple_sample(self, later: Sequence[Stage], drawn: Drawn) -> npt.NDArray[np.int64] | None:
        """``n``, if all later stages only force ids."""
        if not all(stage.forces_ids for stage in later):
            return None
        return np.full(len(drawn.indptr) - 1, self.n, np.int64)

    def expected(self, so_far: Expected, population: Population) -> Expected:
        """``n`` distinct uniform draws."""
        return so_far.draw(self.n)

    def reason(self, before: int, after: Drawn, batch: Batch) -> str:
        """Which ids were added."""
        return f"{self.n:,} of {batch.n_items:,} drawn uniformly"
