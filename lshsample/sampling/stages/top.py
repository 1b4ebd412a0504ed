"""A filter: the ids that collided most."""

from __future__ import annotations

import attrs

from lshsample import specs
from lshsample._native.sample import StageCall
from lshsample.sampling.stage import Batch, BuiltinStage

__all__ = ["Top"]


@attrs.frozen(str=False)
class Top(BuiltinStage):
    """Keeps the ``k`` ids that collided most; ties are drawn.

    Parameters
    ----------
    k : int
        Ids to keep, forced ones among them.

    Notes
    -----
    Given the tables, ids above the k-th count are certain, and t ids tied at it share the room r that is
    left: each stays with probability r / t. Over the draw of the hash functions top-k has no simple law:
    typed as biased.
    """

    k: int = attrs.field(validator=specs.integer(1, 2**31 - 2))

    def call(self, batch: Batch, place: int, ordinal: int) -> StageCall:
        """The stage for the C core."""
        return StageCall(op="TOP", place=place, ordinal=ordinal, amount=self.k)
