"""Losses over the active set: from logits to their gradient, in place.

Softmax cross-entropy over several labels has the target 1/|Y| at each; its normaliser over a sample of all units is
``sum_j exp(o_j) / pi_j`` with pi_j the probability that j is in the sample, an unbiased estimate of the full one. The
sigmoid loss adds ``BCE_j / pi_j``. A sample without labels has no softmax loss; to the sigmoid it is all negatives.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample._native import loss as kernels
from lshsample.errors import UnsupportedError
from lshsample.nn.signals import Block, Signal

__all__ = ["apply_loss"]

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]


def apply_loss(
    name: str, logits: Signal, targets: sp.csr_array, log_inclusion: Float32 | None, threads: int
) -> Float32:
    """Replace logits by the gradient of each row's loss (not divided by the number of rows).

    Parameters
    ----------
    name : str
        ``"softmax"`` or ``"sigmoid"``.
    logits : Block or csr_array
        Overwritten with the gradient.
    targets : csr_array
        The rows' labels, all of them among the logits' columns.
    log_inclusion : ndarray of float32 or None
        Log of each active unit's inclusion probability; None for no correction.
    threads : int
        Threads.

    Returns
    -------
    ndarray of float32, shape (rows,)
        The loss of each row.
    """
    positions, values = _positions(logits, targets.indices, targets.indptr), _target_values(name, targets)
    if isinstance(logits, Block):
        block = kernels.softmax if name == "softmax" else kernels.sigmoid
        return block(logits.values, targets.indptr, positions, values, log_inclusion, threads=threads)
    ragged = kernels.softmax_ragged if name == "softmax" else kernels.sigmoid_ragged
    in_row = positions - np.repeat(logits.indptr[:-1], np.diff(targets.indptr))
    return ragged(
        logits.data,
        logits.indptr,
        targets.indptr,
        in_row.astype(np.int32),
        values,
        log_inclusion,
        threads=threads,
    )


def _target_values(name: str, targets: sp.csr_array) -> Float32:
    if name == "sigmoid":
        return np.ones(targets.nnz, np.float32)
    lengths = np.diff(targets.indptr)
    return np.repeat((1.0 / np.maximum(lengths, 1)).astype(np.float32), lengths)


def _positions(logits: Signal, labels: Int32, indptr: npt.NDArray[np.int64]) -> npt.NDArray[np.integer]:
    """Where each label's logit stands: by binary search, so that the width of the layer costs nothing."""
    if isinstance(logits, Block):
        if logits.ids is None:
            return labels
        places = np.searchsorted(logits.ids, labels).astype(np.int32)
        found = logits.ids[np.minimum(places, len(logits.ids) - 1)] if len(logits.ids) else labels[:0]
        sought = labels
    else:
        width = np.int64(logits.shape[1])
        keys = _keys(logits.indices, logits.indptr, width)
        sought = _keys(labels, indptr, width)
        places = np.searchsorted(keys, sought)
        found = keys[np.minimum(places, len(keys) - 1)] if len(keys) else sought[:0]
    if len(found) != len(sought) or (found != sought).any():
        raise UnsupportedError(
            "the active set lacks labels of the batch; the last layer's sampler needs Include()"
        )
    return places


def _keys(indices: Int32, indptr: npt.NDArray[np.int64], width: np.int64) -> npt.NDArray[np.int64]:
    """One ascending key for each stored (row, column)."""
    return np.repeat(np.arange(len(indptr) - 1), np.diff(indptr)) * width + indices
