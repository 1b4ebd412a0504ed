"""A filter: ids that collided at least m times."""

from __future__ import annotations

import attrs

from lshsample import specs
from lshsample._native.sample import Drawn, StageCall
from lshsample.sampling.batch import Batch
from lshsample.sampling.expected import Expected, Population
from lshsample.sampling.inclusion import Inclusion, Pairs
from lshsample.sampling.pipeline import SamplerStage
from lshsample.sampling.stage import builtin

__all__ = ["AtLeast"]


@builtin
@attrs.frozen
class AtLeast(SamplerStage):
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

    outcome_is_certain = True

    m: int = attrs.field(validator=specs.integer(1, 2**31 - 2))

    def call(self, batch: Batch) -> StageCall:
        """The stage for the C core."""
        return StageCall(op="AT_LEAST", amount=self.m)

    def inclusion(self, so_far: Inclusion, pairs: Pairs) -> Inclusion:
        """The binomial tail, straight after a first retrieval from whole, independent tables."""
        if so_far.collisions is None:
            return so_far.unknown(
                f"{self}: its law, the binomial tail, holds only straight after a first Retrieve() from "
                "whole, independent tables"
            )
        return attrs.evolve(so_far, probability=so_far.collisions.at_least(self.m), collisions=None)

    def expected(self, so_far: Expected, population: Population) -> Expected:
        """The ids of so many collisions."""
        return so_far.with_at_least(self.m)

    def reason(self, before: int, after: Drawn, batch: Batch) -> str:
        """What was dropped."""
        return f"collided fewer than {self.m} times"
