"""Every item."""

from __future__ import annotations

import attrs

from lshsample._native.sample import Drawn, StageCall
from lshsample.sampling.batch import Batch
from lshsample.sampling.expected import Expected, Population
from lshsample.sampling.inclusion import Inclusion, Pairs
from lshsample.sampling.pipeline import SamplerStage
from lshsample.sampling.stage import builtin

__all__ = ["Full"]


@builtin
@attrs.frozen
class Full(SamplerStage):
    """Adds every item, with probability 1: a sampled layer then computes the same as a dense one."""

    joins_every_item = True

    def call(self, batch: Batch) -> StageCall:
        """The stage for the C core."""
        return StageCall(op="FULL")

    def size(self, n_items: int) -> int:
        """All items."""
        return n_items

    def inclusion(self, so_far: Inclusion, pairs: Pairs) -> Inclusion:
        """1."""
        return so_far.certain()

    def expected(self, so_far: Expected, population: Population) -> Expected:
        """Every item."""
        return attrs.evolve(so_far.join(1.0), variance=0.0)

    def reason(self, before: int, after: Drawn, batch: Batch) -> str:
        """Which ids were added."""
        return "every item"
