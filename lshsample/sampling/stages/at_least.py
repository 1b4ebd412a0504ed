"""A filter: ids that collided at least m times."""

from __future__ import annotations

import attrs

from lshsample import specs
from lshsample._native.sample import StageCall
from lshsample.sampling.stage import Batch, BuiltinStage

__all__ = ["AtLeast"]


@attrs.frozen(str=False)
class AtLeast(BuiltinStage):
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

    m: int = attrs.field(validator=specs.integer(1, 2**31 - 2))

    def call(self, batch: Batch, place: int, ordinal: int) -> StageCall:
        """The stage for the C core."""
        return StageCall(op="AT_LEAST", place=place, ordinal=ordinal, amount=self.m)
