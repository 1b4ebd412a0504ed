"""Logits of sampled classes, and their exponentials relative to the largest one of each row."""

from __future__ import annotations

from typing import Any, Self

import attrs
import numpy as np
import numpy.typing as npt

from lshsample.errors import ArgumentError
from lshsample.estimates.inputs import item_numbers, pair_products
from lshsample.estimates.samples import Samples

__all__ = ["Logits", "class_logits"]

Floats = npt.NDArray[np.float64]


def class_logits(
    samples: Samples,
    inputs: Any,
    weights: Any,
    bias: npt.ArrayLike | None,
    *,
    scale: float = 1.0,
    name: str = "vectors",
) -> list[Floats]:
    """The logits scale q.x_j + b_j of each set's ids, (n,) float64 each; dim multiplications for each id.

    ``name`` is that of the ``weights`` in errors.
    """
    with np.errstate(over="ignore"):
        logits = [scale * pair_products(inputs, weights, active, name) for active in samples.sets]
    if not all(np.isfinite(each).all() for each in logits):
        raise ArgumentError("scale", scale, "such that the logits are within float64")
    if bias is None:
        return logits
    offsets = item_numbers(bias, "bias", samples.sets[0].n_items)
    return [each + offsets[active.ids] for each, active in zip(logits, samples.sets, strict=True)]


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
        The largest logit of each row over all sets, of the ids with a positive weight; 0 for a row without
        any. Exponentials are taken relative to it, so that none overflows, and not all of them underflow.
    """

    samples: Samples
    values: list[Floats]
    largest: Floats

    @classmethod
    def of(cls, samples: Samples, values: list[Floats]) -> Self:
        """Logits with their largest value in each row."""
        largest = np.full(samples.sets[0].n_rows, -np.inf)
        for active, weight, logit in zip(samples.sets, samples.weights, values, strict=True):
            np.maximum.at(largest, active.row_of_ids(), np.where(weight > 0, logit, -np.inf))
        return cls(samples, values, np.where(np.isfinite(largest), largest, 0.0))

    def exponentials(self) -> list[Floats]:
        """exp(logit - largest of the row) of each set's ids, (n, 1) each; 0 for ids of weight 0."""
        return [
            np.exp(np.where(weight > 0, logit - self.largest[active.row_of_ids()], -np.inf))[:, None]
            for active, weight, logit in zip(
                self.samples.sets, self.samples.weights, self.values, strict=True
            )
        ]
