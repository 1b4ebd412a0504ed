"""Ids that the caller names: true labels."""

from __future__ import annotations

import attrs

from lshsample._native.sample import StageCall
from lshsample.sampling.stage import Batch, BuiltinStage

__all__ = ["Include"]


@attrs.frozen(str=False)
class Include(BuiltinStage):
    """Joins the ids that the caller names for each query (the true labels); no later stage drops them.

    Notes
    -----
    Their inclusion probability is 1, under both laws.
    """

    def call(self, batch: Batch, place: int, ordinal: int) -> StageCall:
        """The stage for the C core."""
        return StageCall(op="INCLUDE", place=place, ordinal=ordinal, pattern=batch.include)
