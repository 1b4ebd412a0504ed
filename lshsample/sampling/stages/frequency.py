"""Random draws by the items' frequencies: in proportion to a power of them, or by their rank."""

from __future__ import annotations

from abc import abstractmethod

import attrs
import numpy as np
import numpy.typing as npt

from lshsample import laws, specs
from lshsample._native.sample import AliasTable, Drawn, StageCall
from lshsample.sampling.batch import Batch
from lshsample.sampling.expected import Expected, Population
from lshsample.sampling.inclusion import Inclusion, Pairs
from lshsample.sampling.pipeline import SamplerStage
from lshsample.sampling.stage import builtin, required

__all__ = ["Frequency", "FrequencyDraws", "LogUniform"]

Floats = npt.NDArray[np.float64]


@attrs.frozen
class FrequencyDraws(SamplerStage):
    """What the draws by frequency share: ``n`` independent draws from one distribution over the items."""

    n: int = attrs.field(validator=specs.integer(1, 2**31 - 2))

    @abstractmethod
    def probabilities(self, frequencies: Floats) -> Floats:
        """Probability (n_items,) of each item in one draw, from relative frequencies; they sum to 1."""

    def _table(self, batch: Batch) -> AliasTable:
        known = required(batch.item_frequencies, "frequencies", self)
        table: AliasTable = known.table(attrs.evolve(self, n=1), self.probabilities)
        return table

    def call(self, batch: Batch) -> StageCall:
        """The stage for the C core."""
        return StageCall(op="FREQUENCY", amount=self.n, frequencies=self._table(batch))

    def needs(self) -> frozenset[str]:
        """Frequencies."""
        return frozenset({"frequencies"})

    def size(self, n_items: int) -> int:
        """``n``."""
        return self.n

    def inclusion(self, so_far: Inclusion, pairs: Pairs) -> Inclusion:
        """Mixed with 1 - (1 - p_j)^n."""
        table = self._table(pairs.batch)
        drawn = laws.frequency_inclusion(table.frequency[pairs.ids], self.n)
        return so_far.mix(drawn, everywhere=table.positive)

    def expected(self, so_far: Expected, population: Population) -> Expected:
        """Draws with the mean probability: frequency and similarity are assumed to be independent."""
        each = self.probabilities(required(population.frequencies, "frequencies", self))
        drawn = laws.frequency_inclusion(each, self.n)
        outside = 1 - so_far.size / so_far.n_items
        variance = so_far.variance + outside * float(np.sum(drawn * (1 - drawn)))
        return attrs.evolve(so_far.join(drawn.mean()), variance=variance, most=so_far.most + self.n)


@builtin
@attrs.frozen
class Frequency(FrequencyDraws):
    """Adds the ids of ``n`` independent draws in proportion to a power of the items' frequencies.

    Parameters
    ----------
    n : int
        Number of draws with replacement: at most ``n`` different ids.
    power : float
        The exponent alpha, from 0 (uniform over the items of positive frequency) to 1 (in proportion to
        frequency, the default); word2vec draws negatives with 0.75 (Mikolov et al. 2013, arXiv 1310.4546).

    Notes
    -----
    One draw is item j with probability p_j = f_j^alpha / sum_i f_i^alpha, so that it is among the draws with
    probability 1 - (1 - p_j)^n; pi becomes 1 - (1 - pi)(1 - p_j)^n. Items of frequency 0 are never drawn:
    without another source the set is then biased.
    """

    power: float = attrs.field(default=1.0, validator=specs.number(0.0, 1.0))

    def probabilities(self, frequencies: Floats) -> Floats:
        """f^alpha, normalised; 0 for items of frequency 0."""
        if self.power == 1:
            return frequencies
        raised = np.where(frequencies > 0, frequencies**self.power, 0.0)
        return np.asarray(raised / raised.sum())

    def reason(self, before: int, after: Drawn, batch: Batch) -> str:
        """Which ids were added."""
        return f"{self.n:,} draws in proportion to frequency" + f"^{self.power:g}" * (self.power != 1)


@builtin
@attrs.frozen
class LogUniform(FrequencyDraws):
    """Adds the ids of ``n`` independent draws, log-uniform in the items' rank by frequency.

    Parameters
    ----------
    n : int
        Number of draws with replacement: at most ``n`` different ids.

    Notes
    -----
    The item of rank r (0 for the most frequent; ties by id) is drawn with probability log((r + 2) / (r + 1))
    / log(N + 1): the sampler of TensorFlow's ``log_uniform_candidate_sampler`` and of word2vec in its place,
    without the condition that ids are sorted by frequency. All items, also those of frequency 0, are
    possible. Inclusion as for :class:`Frequency`.
    """

    def probabilities(self, frequencies: Floats) -> Floats:
        """By rank."""
        ranks = np.empty(len(frequencies))
        ranks[np.argsort(-frequencies, kind="stable")] = np.arange(len(frequencies))
        return np.asarray(np.log1p(1 / (ranks + 1)) / np.log(len(frequencies) + 1))

    def reason(self, before: int, after: Drawn, batch: Batch) -> str:
        """Which ids were added."""
        return f"{self.n:,} draws, log-uniform in the rank by frequency"
