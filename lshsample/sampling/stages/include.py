"""Ids given by the caller, such as true labels."""

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
    """Adds the ids given by the caller for each query (true labels); no later stage removes them.

    Notes
    -----
    Their inclusion probability is 1 under both laws. Descriptions do not count them.
    """

    forces_ids = True
    outcome_is_certain = True

    def call(self, batch: Batch) -> StageCall:
        """The stage for the C core."""
        pattern = batch.include
        if pattern is None:
            pattern = np.zeros(batch.n_queries + 1, np.int64), _NO_IDS
        return StageCall(op="INCLUDE", pattern=pattern)

    def inclusion(self, so_far: Inclusion, pairs: Pairs) -> Inclusion:
        """1 for the included ids."""
        return so_far.force(pairs.forced)

    def reason(self, before: int, after: Drawn, batch: Batch) -> str:
        """Which ids were added."""
        return "given by the caller"
