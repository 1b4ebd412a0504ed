"""Uniform draws from outside of the set, up to a size."""

from __future__ import annotations

import attrs

from lshsample import specs
from lshsample._native.sample import StageCall
from lshsample.sampling.stage import Batch, BuiltinStage, at_most

__all__ = ["Fill"]


@attrs.frozen(str=False)
class Fill(BuiltinStage):
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

    def call(self, batch: Batch, place: int, ordinal: int) -> StageCall:
        """The stage for the C core."""
        return StageCall(op="FILL", place=place, ordinal=ordinal, amount=self.k)

    def check(self, n_items: int) -> None:
        """No more ids than items."""
        at_most(self, self.k, n_items)
