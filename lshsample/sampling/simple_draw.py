"""Which pipelines draw one simple random sample, so that the variance of a sum is known exactly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lshsample._native.sample import Drawn
from lshsample.sampling.stages import AtLeast, Fill, Include, Retrieve, Uniform
from lshsample.sampling.stages.exact_top import ExactTop

if TYPE_CHECKING:
    from lshsample.sampling.stage import Stage

__all__ = ["simple_draws"]


def simple_draws(stages: Sequence[Stage], drawn: Drawn) -> npt.NDArray[np.int64] | None:
    """Size (rows,) of the one simple random sample of a pipeline; None if it draws otherwise.

    Notes
    -----
    The stages before ``Uniform(n)`` or ``Fill(k)`` leave ids that are certain given the tables; what it
    joins is a simple random sample without replacement, of all items (Uniform: draws that hit certain ids
    count as zeros) or of those outside the set (Fill). Ids that ``Include`` joins later are certain too.
    """
    at = next((i for i, stage in enumerate(stages) if isinstance(stage, Uniform | Fill)), None)
    if at is None or not all(isinstance(s, Retrieve | AtLeast | Include | ExactTop) for s in stages[:at]):
        return None
    stage, rows = stages[at], len(drawn.indptr) - 1
    if isinstance(stage, Uniform):
        simple = all(isinstance(later, Include) for later in stages[at + 1 :])
        return np.full(rows, stage.n, np.int64) if simple else None
    if at + 1 < len(stages):
        return None
    uncertain = np.concatenate([[0], np.cumsum(drawn.log_inclusion < 0)])
    return np.asarray(np.diff(uncertain[drawn.indptr]), np.int64)
