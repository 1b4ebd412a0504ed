"""A filter: the ids with the most collisions."""

from __future__ import annotations

import attrs

from lshsample import specs
from lshsample._native.sample import Drawn, StageCall
from lshsample.sampling.batch import Batch
from lshsample.sampling.expected import Expected, Population
from lshsample.sampling.pipeline import SamplerStage
from lshsample.sampling.stage import builtin

__all__ = ["Top"]


@builtin
@attrs.frozen
class Top(SamplerStage):
    """Keeps the ``k`` ids with the most collisions; ties are broken at random.

    Parameters
    ----------
    k : int
        Number of ids to keep, including forced ones.

    Notes
    -----
    Given the tables, ids above the k-th largest count are certain, and of t ids tied at it, r are kept, each
    with probability r / t. Marginally over the hash functions, top-k has no simple law.
    """

    k: int = attrs.field(validator=specs.integer(1, 2**31 - 2))

    def call(self, batch: Batch) -> StageCall:
        """The stage for the C core."""
        return StageCall(op="TOP", amount=self.k)

    def size(self, n_items: int) -> int:
        """``k``."""
        return self.k

    def expected(self, so_far: Expected, population: Population) -> Expected:
        """The ids above the k-th largest count, and a fraction of those tied at it."""
        return so_far.most_collided(self.k)

    def reason(self, before: int, after: Drawn, batch: Batch) -> str:
        """Which ids were removed."""
        return f"collided less often than the top {self.k:,}"
