"""A filter: a uniform draw of at most k ids."""

from __future__ import annotations

import attrs

from lshsample import specs
from lshsample._native.sample import Drawn, StageCall
from lshsample.sampling.batch import Batch
from lshsample.sampling.expected import Expected, Population
from lshsample.sampling.inclusion import Inclusion, Pairs
from lshsample.sampling.pipeline import SamplerStage
from lshsample.sampling.stage import builtin

__all__ = ["Cap"]


@builtin
@attrs.frozen
class Cap(SamplerStage):
    """Keeps at most ``k`` ids, drawn uniformly.

    Parameters
    ----------
    k : int
        Number of ids to keep, including forced ones.

    Notes
    -----
    Of U unforced ids, m are kept, each with probability m / U: an unbiased second phase of sampling (Sarndal,
    Swensson & Wretman 1992, ch. 9), so inclusion probabilities are multiplied by m / U. The ids kept are
    those with the smallest random priorities, a function of (seed, step, row, id) alone, independent of the
    order of a hash set.
    """

    k: int = attrs.field(validator=specs.integer(1, 2**31 - 2))

    def call(self, batch: Batch) -> StageCall:
        """The stage for the C core."""
        return StageCall(op="CAP", amount=self.k)

    def size(self, n_items: int) -> int:
        """``k``."""
        return self.k

    def inclusion(self, so_far: Inclusion, pairs: Pairs) -> Inclusion:
        """Multiplied by the fraction kept, which depends on the whole set."""
        if float(pairs.kept.min(initial=1.0)) == 0:
            return so_far.unknown(f"{self}: forced ids take all of its k places")
        why = f"{self}: what it keeps depends on the hash functions, so nothing can be mixed in after it"
        return so_far.cap(pairs.kept[pairs.rows]).hold(why)

    def expected(self, so_far: Expected, population: Population) -> Expected:
        """A uniform draw."""
        return so_far.at_most(self.k)

    def reason(self, before: int, after: Drawn, batch: Batch) -> str:
        """Which ids were removed."""
        if before <= self.k:
            return f"nothing removed: at most {self.k:,} ids"
        return f"removed by a uniform draw that keeps {self.k:,} of {before:,}"
