"""Ids that the caller names: true labels."""

from __future__ import annotations

import attrs
import numpy as np

from lshsample._native.sample import Drawn, StageCall
from lshsample.sampling.batch import Batch
from lshsample.sampling.inclusion import Inclusion, Pairs
from lshsample.sampling.pipeline import SamplerStage
from lshsample.sampling.stage import builtin

__all__ = ["Include"]

_NO_IDS = np.empty(0, np.int32)


@builtin
@attrs.frozen
class Include(SamplerStage):
    """Joins the ids that the caller names for each query (the true labels); no later stage drops them.

    Notes
    -----
    Their inclusion probability is 1, under both laws. Descriptions do not count them.
    """

    forces_ids = True
    outcome_is_certain = True

    def call(self, batch: Batch) -> StageCall:
        """The stage for the C core."""
        named = batch.include
        if named is None:
            named = np.zeros(batch.n_queries + 1, np.int64), _NO_IDS
        return StageCall(op="INCLUDE", pattern=named)

    def inclusion(self, so_far: Inclusion, pairs: Pairs) -> Inclusion:
        """1 for the named ids."""
        return so_far.force(pairs.forced)

    def reason(self, before: int, after: Drawn, batch: Batch) -> str:
        """What joined."""
        return "named by the caller"
