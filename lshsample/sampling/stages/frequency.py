"""Random draws in proportion to the items' frequencies."""

from __future__ import annotations

import attrs
import numpy as np

from lshsample import laws, specs
from lshsample._native.sample import Drawn, StageCall
from lshsample.sampling.batch import Batch
from lshsample.sampling.expected import Expected, Population
from lshsample.sampling.inclusion import Inclusion, Pairs
from lshsample.sampling.pipeline import SamplerStage
from lshsample.sampling.stage import builtin, required

__all__ = ["Frequency"]


@builtin
@attrs.frozen
class Frequency(SamplerStage):
    """Adds the ids of ``n`` independent draws in proportion to the items' frequencies.

    Parameters
    ----------
    n : int
        Number of draws with replacement: at most ``n`` different ids.

    Notes
    -----
    Item j is drawn with probability 1 - (1 - f_j)^n; pi becomes 1 - (1 - pi)(1 - f_j)^n. Items of frequency
    0 are never drawn: without another source the set is then biased.
    """

    n: int = attrs.field(validator=specs.integer(1, 2**31 - 2))

    def call(self, batch: Batch) -> StageCall:
        """The stage for the C core."""
        table = required(batch.alias, "frequencies", self)
        return StageCall(op="FREQUENCY", amount=self.n, frequencies=table)

    def needs(self) -> frozenset[str]:
        """Frequencies."""
        return frozenset({"frequencies"})

    def size(self, n_items: int) -> int:
        """``n``."""
        return self.n

    def inclusion(self, so_far: Inclusion, pairs: Pairs) -> Inclusion:
        """Mixed with 1 - (1 - f_j)^n."""
        table = required(pairs.batch.alias, "frequencies", self)
        drawn = laws.frequency_inclusion(table.frequency[pairs.ids], self.n)
        return so_far.mix(drawn, everywhere=table.positive)

    def expected(self, so_far: Expected, population: Population) -> Expected:
        """Draws with the mean probability: frequency and similarity are assumed to be independent."""
        drawn = laws.frequency_inclusion(required(population.frequencies, "frequencies", self), self.n)
        outside = 1 - so_far.size / so_far.n_items
        variance = so_far.variance + outside * float(np.sum(drawn * (1 - drawn)))
        return attrs.evolve(so_far.join(drawn.mean()), variance=variance, most=so_far.most + self.n)

    def reason(self, before: int, after: Drawn, batch: Batch) -> str:
        """Which ids were added."""
        return f"{self.n:,} draws in proportion to frequency"
