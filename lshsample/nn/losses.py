"""Losses over the active set: from logits to their gradient, in place.

Softmax cross-entropy over several labels has the target 1/|Y| at each; its normaliser over a sample of all
units is ``sum_j exp(o_j) / pi_j`` with pi_j the probability that j is in the sample, an unbiased estimate of
the full one. The sigmoid loss adds ``BCE_j / pi_j``. A sample without labels has no softmax loss; to the
sigmoid it is all negatives.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample._native import loss as kernels
from lshsample.errors import UnsupportedError
from lshsample.nn.signals import Block, Signal, indptr_of

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
    values, indptr = _target_values(name, targets), indptr_of(targets)
    if isinstance(logits, Block):
        places = _in_block(logits, targets.indices)
        block = kernels.softmax if name == "softmax" else kernels.sigmoid
        return block(logits.values, indptr, places, values, log_inclusion, threads=threads)
    places = _in_rows(logits, targets)
    ragged = kernels.softmax_ragged if name == "softmax" else kernels.sigmoid_ragged
    starts = indptr_of(logits)
    return ragged(logits.data, starts, indptr, places, values, log_inclusion, threads=threads)


def _target_values(name: str, targets: sp.csr_array) -> Float32:
    if name == "sigmoid":
        return np.ones(targets.nnz, np.float32)
    lengths = np.diff(targets.indptr)
    return np.repeat((1.0 / np.maximum(lengths, 1)).astype(np.float32), lengths)


def _in_block(logits: Block, labels: Int32) -> Int32:
    """Each label's column: by binary search, so that the width of the layer costs nothing."""
    if logits.ids is None:
        return labels
    places = np.searchsorted(logits.ids, labels)
    _check_found(logits.ids, places, labels)
    return places.astype(np.int32)


def _in_rows(logits: sp.csr_array, targets: sp.csr_array) -> Int32:
    """Each label's place in its row, by binary search over (row, column) as one ascending key."""
    keys, sought = _keys(logits), _keys(targets)
    places = np.searchsorted(keys, sought)
    _check_found(keys, places, sought)
    starts = np.repeat(indptr_of(logits)[:-1], np.diff(targets.indptr))
    return (places - starts).astype(np.int32)


def _keys(rows: sp.csr_array) -> npt.NDArray[np.int64]:
    return np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr)) * np.int64(rows.shape[1]) + rows.indices


def _check_found(
    keys: npt.NDArray[np.integer], places: npt.NDArray[np.int64], sought: npt.NDArray[np.integer]
) -> None:
    if len(sought) and (not len(keys) or (keys[np.minimum(places, len(keys) - 1)] != sought).any()):
        raise UnsupportedError(
            "the active set lacks labels of the batch; the last layer's sampler needs Include()"
        )
