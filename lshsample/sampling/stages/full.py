"""Every item."""

from __future__ import annotations

import attrs

from lshsample._native.sample import StageCall
from lshsample.sampling.stage import Batch, BuiltinStage

__all__ = ["Full"]


@attrs.frozen(str=False)
class Full(BuiltinStage):
    """Joins every item, with probability 1: the sampler that makes a sampled layer a dense one."""

    def call(self, batch: Batch, place: int, ordinal: int) -> StageCall:
        """The stage for the C core."""
        return StageCall(op="FULL", place=place, ordinal=ordinal)
