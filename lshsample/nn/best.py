"""The best units of each row, among active ones or several ranges of units; how often they are labels."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample._native import layers as kernels
from lshsample._native.labels import are_labels
from lshsample.display import array_text
from lshsample.nn.signals import Block, Signal, indptr_of

__all__ = ["Chosen", "best_units", "hits_of", "merge_top"]

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]


def best_units(logits: Signal) -> tuple[npt.NDArray[np.integer], Float32]:
    """The unit with the largest logit of each row, ties by the smaller unit, and its logit; -1 and -inf
    without units.
    """
    if not isinstance(logits, Block):
        units, scores = kernels.top_k_ragged(logits.data, indptr_of(logits), logits.indices, 1)
        return units[:, 0], scores[:, 0]
    values = logits.values
    if not values.shape[1]:
        return np.full(len(values), -1, np.int32), np.full(len(values), -np.inf, np.float32)
    columns = values.argmax(axis=1)
    scores = np.take_along_axis(values, columns[:, None], axis=1)[:, 0]
    return columns if logits.ids is None else logits.ids[columns], scores


def hits_of(best: npt.NDArray[np.integer], labels: sp.csr_array) -> float:
    """Fraction of rows whose best unit is one of their labels."""
    return float(are_labels(labels, best[:, None]).sum()) / max(len(best), 1)


@attrs.frozen(eq=False)
class Chosen:
    """The best units of rows, and their scores.

    Attributes
    ----------
    ids : ndarray of int32, shape (rows, k)
        Units of the whole layer; -1 where there are fewer.
    scores : ndarray of float32, shape (rows, k)
    """

    ids: Int32 = attrs.field(repr=array_text)
    scores: Float32 = attrs.field(repr=array_text)


def merge_top(parts: Sequence[Chosen], k: int) -> Chosen:
    """The best k units of several ranges of units, in their order: best first, ties by the smaller unit."""
    ids = np.concatenate([part.ids for part in parts], axis=1)
    scores = np.concatenate([part.scores for part in parts], axis=1)
    # The sort is stable, and parts are in the order of their units, so that among equal scores the smaller
    # unit comes first. What is missing comes last, after units with a score of minus infinity.
    order = np.lexsort((-scores, ids < 0), axis=1)[:, :k]
    return Chosen(np.take_along_axis(ids, order, 1), np.take_along_axis(scores, order, 1))
