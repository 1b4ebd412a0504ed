"""The best active unit of each row, and how often it is one of the row's labels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample._native import layers as kernels
from lshsample.nn.signals import Block, Signal, indptr_of

__all__ = ["best_units", "hits_of"]

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
    indptr, hits = labels.indptr, 0
    for row, unit in enumerate(best.tolist()):
        hits += unit in labels.indices[indptr[row] : indptr[row + 1]]
    return hits / max(len(best), 1)
