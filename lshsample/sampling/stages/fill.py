"""Uniform draws from outside of the set, up to a size."""

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
    """Tops the set up to ``k`` ids with uniform draws from outside of it.

    Parameters
    ----------
    k : int
        Ids wanted; a set that has as many is left alone, and then items outside have probability 0.

    Notes
    -----
    With U ids in the set, U fixed given the tables, each of the N - U outside joins with probability u = (k
    - U) / (N - U), so pi becomes pi + (1 - pi) u. That makes sums unbiased for every tables, hence also over
    the draw of the hash functions, where these weights are taken.
    """

    k: int = attrs.field(validator=specs.integer(1, 2**31 - 2))

    def call(self, batch: Batch) -> StageCall:
        """The stage for the C core."""
        return StageCall(op="FILL", amount=self.k)

    def check(self, n_items: int) -> None:
        """No more ids than items."""
        at_most(self, self.k, n_items)

    def size(self, n_items: int) -> int:
        """``k``."""
        return self.k

    def simple_sample(self, later: Sequence[Stage], drawn: Drawn) -> npt.NDArray[np.int64] | None:
        """The ids that are not certain; with stages after it they would not be all that were drawn."""
        if later:
            return None
        uncertain = np.concatenate([[0], np.cumsum(drawn.log_inclusion < 0)])
        return np.asarray(np.diff(uncertain[drawn.indptr]), np.int64)

    def expected(self, so_far: Expected, population: Population) -> Expected:
        """Draws from outside."""
        return so_far.fill(self.k)

    def reason(self, before: int, after: Drawn, batch: Batch) -> str:
        """What joined."""
        return f"drawn uniformly from outside, up to {self.k:,} ids"
