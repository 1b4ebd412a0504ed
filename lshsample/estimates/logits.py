"""Logits of sampled classes, and their exponentials relative to the largest one of each row."""

from __future__ import annotations

from typing import Any, Self

import attrs
import numpy as np
import numpy.typing as npt

from lshsample.estimates.samples import Samples, pair_products

__all__ = ["Logits", "class_logits"]

Floats = npt.NDArray[np.float64]


def class_logits(samples: Samples, inputs: Any, weights: Any, bias: npt.ArrayLike | None) -> list[Floats]:
    """The logits q.x_j + b_j of each set's ids, (n,) float64 each; dim multiplications for each id."""
    products = (pair_products(inputs, weights, active) for active in samples.sets)
    if bias is None:
        return list(products)
    offsets = np.asarray(bias, np.float64)
    return [each + offsets[active.ids] for each, active in zip(products, samples.sets, strict=True)]


@attrs.frozen(eq=False)
class Logits:
    """Logits of the ids of some samples.

    Attributes
    ----------
    samples : Samples
        The samples.
    values : list of (n,) float64 arrays
        The logits of each set's ids.
    largest : (rows,) float64 array
        The largest logit of each row over all sets; 0 for a row without ids. Exponentials are taken relative
        to it, so that none overflows.
    """

    samples: Samples
    values: list[Floats]
    largest: Floats

    @classmethod
    def of(cls, samples: Samples, values: list[Floats]) -> Self:
        """Logits with their largest value in each row."""
        largest = np.full(samples.sets[0].n_rows, -np.inf)
        for active, logit in zip(samples.sets, values, strict=True):
            np.maximum.at(largest, active.row_of_ids(), logit)
        return cls(samples, values, np.where(np.isfinite(largest), largest, 0.0))

    def exponentials(self) -> list[Floats]:
        """exp(logit - largest of the row) of each set's ids, (n, 1) each."""
        return [
            np.exp(logit - self.largest[active.row_of_ids()])[:, None]
            for active, logit in zip(self.samples.sets, self.values, strict=True)
        ]
