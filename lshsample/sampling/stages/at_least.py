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
        Minimum number of collisions.

    Notes
    -----
    Directly after ``Retrieve``, marginally over the hash functions, an id is in the set with the binomial
    tail probability sum_{i >= m} C(L, i) q^i (1 - q)^(L - i), q = p^K (Chen et al. 2020, SLIDE; m = 2 is
    MagicPIG's rule). Given the tables it is deterministic.
    """

    outcome_is_certain = True

    m: int = attrs.field(validator=specs.integer(1, 2**31 - 2))

    def call(self, batch: Batch) -> StageCall:
        """The stage for the C core."""
        return StageCall(op="AT_LEAST", amount=self.m)

    def inclusion(self, so_far: Inclusion, pairs: Pairs) -> Inclusion:
        """The binomial tail, directly after a first retrieval from unbounded, independent tables."""
        if so_far.collisions is None:
            return so_far.unknown(
                f"{self}: its law, a binomial tail, holds only directly after a first Retrieve() from "
                "unbounded, independent tables"
            )
        return attrs.evolve(so_far, probability=so_far.collisions.at_least(self.m), collisions=None)

    def expected(self, so_far: Expected, population: Population) -> Expected:
        """The ids with at least ``m`` collisions."""
        return so_far.with_at_least(self.m)

    def reason(self, before: int, after: Drawn, batch: Batch) -> str:
        """Which ids were removed."""
        return f"collided fewer than {self.m} times"
