"""Uniform draws from outside the set, up to a size."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np
import numpy.typing as npt

from lshsample import specs
from lshsample._native.sample import Drawn, StageCall
from lshsample.sampling.batch import Batch
from lshsample.sampling.expected import Expected, Population
from lshsample.sampling.pipeline import SamplerStage
from lshsample.sampling.stage import Stage, at_most, builtin

__all__ = ["Fill"]


@builtin
@attrs.frozen
class Fill(SamplerStage):
    """Fills the set up to ``k`` ids with uniform draws from outside it.

    Parameters
    ----------
    k : int
        Size of the set; a set of at least ``k`` ids is unchanged, and items outside it have probability 0.

    Notes
    -----
    With U ids in the set, where U is fixed given the tables, each of the N - U items outside is added with
    probability u = (k - U) / (N - U), so pi becomes pi + (1 - pi) u. Weighted sums are unbiased conditional
    on any tables, hence also marginally, where the same weights are used.
    """

    k: int = attrs.field(validator=specs.integer(1, 2**31 - 2))

    def call(self, batch: Batch) -> StageCall:
        """The stage for the C core."""
        return StageCall(op="FILL", amount=self.k)

    def check(self, n_items: int) -> None:
        """``k`` is at most the number of items."""
        at_most(self, self.k, n_items)

    def size(self, n_items: int) -> int:
        """``k``."""
        return self.k

    def simple_sample(self, later: Sequence[Stage], drawn: Drawn) -> npt.NDArray[np.int64] | None:
        """The ids that are not certain, if it is the last stage: a later one could add or remove draws."""
        if later:
            return None
        uncertain = np.concatenate([[0], np.cumsum(drawn.log_inclusion < 0)])
        return np.asarray(np.diff(uncertain[drawn.indptr]), np.int64)

    def expected(self, so_far: Expected, population: Population) -> Expected:
        """Uniform draws from outside the set."""
        return so_far.fill(self.k)

    def reason(self, before: int, after: Drawn, batch: Batch) -> str:
        """Which ids were added."""
        return f"drawn uniformly from outside, up to {self.k:,} ids"
