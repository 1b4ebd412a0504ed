"""A filter: the ids that collided most."""

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
    """Keeps the ``k`` ids that collided most; ties are drawn.

    Parameters
    ----------
    k : int
        Ids to keep, forced ones among them.

    Notes
    -----
    Given the tables, ids above the k-th count are certain, and t ids tied at it share the room r that is
    left: each stays with probability r / t. Over the draw of the hash functions top-k has no simple law.
    """

    k: int = attrs.field(validator=specs.integer(1, 2**31 - 2))

    def call(self, batch: Batch) -> StageCall:
        """The stage for the C core."""
        return StageCall(op="TOP", amount=self.k)

    def size(self, n_items: int) -> int:
        """``k``."""
        return self.k

    def expected(self, so_far: Expected, population: Population) -> Expected:
        """The ids above the level of collisions that leaves ``k``, and a share of those at it."""
        return so_far.most_collided(self.k)

    def reason(self, before: int, after: Drawn, batch: Batch) -> str:
        """What was dropped."""
        return f"collided less often than the best {self.k:,}"
