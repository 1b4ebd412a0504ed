"""Losses over active sets: logits become gradients in place, and the losses of the rows come back.

With ``log_inclusion`` (the log of each active label's inclusion probability) the sums over the active set
estimate the sums over all labels: importance weights as in Bengio & Senecal 2008, "Adaptive importance
sampling to accelerate training of a neural probabilistic language model". Gradients are not divided by the
number of rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lshsample._native.arrays import Float32, Int32, Int64, csr_pattern, matrix, vector
from lshsample._native.core import check, ffi, lib, pointer, threads_or_default
from lshsample.errors import ArgumentError

__all__ = ["sigmoid", "sigmoid_ragged", "softmax", "softmax_ragged"]


def _targets(rows: int, lengths: int | Int64, indptr: Int64, positions: Int32, values: Float32) -> Any:
    """An ``lsh_targets`` whose positions lie inside of their rows (``lengths``: a number or one a row)."""
    vector(values, "target_values", np.float32)
    vector(positions, "target_positions", np.int32, values.size)
    csr_pattern(indptr, "target_indptr", rows, values.size)
    limits = lengths if isinstance(lengths, int) else np.repeat(lengths, np.diff(indptr))
    outside = (positions < 0) | (positions >= limits)
    if outside.any():
        bad = int(np.flatnonzero(outside)[0])
        raise ArgumentError(
            "target_positions", f"{positions[bad]} at {bad}", "places of the row's active set"
        )
    targets = ffi.new("lsh_targets *")
    targets.indptr, targets.positions = pointer("int64_t *", indptr), pointer("int32_t *", positions)
    targets.values = pointer("float *", values)
    return targets


def _writeable(array: Float32, argument: str) -> None:
    if not array.flags.writeable:
        raise ArgumentError(
            argument, "a read-only array", "an array that can be written: it becomes the gradient"
        )


def _dense(
    function: Any,
    logits: Float32,
    targets: tuple[Int64, Int32, Float32],
    log_inclusion: Float32 | None,
    threads: int | None,
) -> Float32:
    n_threads = threads_or_default(threads)
    view = matrix(logits, "logits")
    _writeable(logits, "logits")
    m, n = logits.shape
    aimed = _targets(m, n, *targets)
    if log_inclusion is not None:
        vector(log_inclusion, "log_inclusion", np.float32, n)
    loss = np.empty(m, np.float32)
    weights = pointer("float *", log_inclusion)
    check(function(view, aimed[0], weights, pointer("float *", loss), n_threads), "loss")
    return loss


def _ragged(
    function: Any,
    values: Float32,
    indptr: Int64,
    targets: tuple[Int64, Int32, Float32],
    log_inclusion: Float32 | None,
    threads: int | None,
) -> Float32:
    n_threads = threads_or_default(threads)
    vector(values, "values", np.float32)
    _writeable(values, "values")
    csr_pattern(indptr, "indptr", None, values.size)
    m = indptr.size - 1
    aimed = _targets(m, np.diff(indptr), *targets)
    if log_inclusion is not None:
        vector(log_inclusion, "log_inclusion", np.float32, values.size)
    loss = np.empty(m, np.float32)
    starts, weights = pointer("int64_t *", indptr), pointer("float *", log_inclusion)
    check(
        function(
            pointer("float *", values), starts, m, aimed[0], weights, pointer("float *", loss), n_threads
        ),
        "loss",
    )
    return loss


def softmax(
    logits: Float32,
    target_indptr: Int64,
    target_positions: Int32,
    target_values: Float32,
    log_inclusion: Float32 | None = None,
    *,
    threads: int | None = None,
) -> Float32:
    """Softmax cross-entropy over an active set shared by all rows; ``logits`` becomes the gradient.

    Parameters
    ----------
    logits : (m, n) float32
        o; overwritten with the gradient ``T p - t``, where ``p_j = exp(o_j - log_inclusion_j) / Z`` and T is
        the sum of the row's targets: ``p - t`` where targets sum to 1, and 0 in a row without labels.
    target_indptr : (m + 1,) int64
        Row i has the targets ``target_indptr[i]`` up to ``target_indptr[i + 1]``.
    target_positions : (nnz,) int32
        Columns of logits, unique in a row.
    target_values : (nnz,) float32
        t, for example 1 / the row's number of labels.
    log_inclusion : (n,) float32 or None
        Log inclusion probabilities of the columns; None means all 0.
    threads : int or None

    Returns
    -------
    (m,) float32
        ``-sum_j t_j log p_j``.

    Raises
    ------
    ArgumentError
        A wrong dtype, layout or shape, or a position outside of its row; logits are then unchanged.

    Notes
    -----
    One exp per logit, within 1.5 units in the last place; three passes over a row that stays in cache.

    Examples
    --------
    >>> import numpy as np
    >>> from lshsample._native import loss
    >>> logits = np.zeros((1, 2), np.float32)
    >>> loss.softmax(logits, np.array([0, 1]), np.array([1], np.int32), np.array([1], np.float32))
    array([0.6931472], dtype=float32)
    >>> logits
    array([[ 0.5, -0.5]], dtype=float32)
    """
    targets = (target_indptr, target_positions, target_values)
    return _dense(lib.lsh_softmax, logits, targets, log_inclusion, threads)


def sigmoid(
    logits: Float32,
    target_indptr: Int64,
    target_positions: Int32,
    target_values: Float32,
    log_inclusion: Float32 | None = None,
    *,
    threads: int | None = None,
) -> Float32:
    """One-vs-all logistic loss over an active set shared by all rows; ``logits`` becomes the gradient.

    ``sum_j w_j (log(1 + exp(o_j)) - t_j o_j)`` with weights ``w_j = exp(-log_inclusion_j)`` (1 without), and
    gradient ``w_j (sigmoid(o_j) - t_j)``. Arguments, shapes and errors as for :func:`softmax`; targets are 1
    at a row's labels.

    Returns
    -------
    (m,) float32
    """
    targets = (target_indptr, target_positions, target_values)
    return _dense(lib.lsh_sigmoid, logits, targets, log_inclusion, threads)


def softmax_ragged(
    values: Float32,
    indptr: Int64,
    target_indptr: Int64,
    target_positions: Int32,
    target_values: Float32,
    log_inclusion: Float32 | None = None,
    *,
    threads: int | None = None,
) -> Float32:
    """:func:`softmax` over per-sample active sets.

    Parameters
    ----------
    values : (nnz,) float32
        Logits, overwritten with the gradient.
    indptr : (m + 1,) int64
        Row i's active set is ``indptr[i]`` up to ``indptr[i + 1]``.
    target_indptr, target_positions, target_values
        As for :func:`softmax`; positions count from the first place of the row.
    log_inclusion : (nnz,) float32 or None
    threads : int or None

    Returns
    -------
    (m,) float32
    """
    targets = (target_indptr, target_positions, target_values)
    return _ragged(lib.lsh_softmax_ragged, values, indptr, targets, log_inclusion, threads)


def sigmoid_ragged(
    values: Float32,
    indptr: Int64,
    target_indptr: Int64,
    target_positions: Int32,
    target_values: Float32,
    log_inclusion: Float32 | None = None,
    *,
    threads: int | None = None,
) -> Float32:
    """:func:`sigmoid` over per-sample active sets; arguments as for :func:`softmax_ragged`."""
    targets = (target_indptr, target_positions, target_values)
    return _ragged(lib.lsh_sigmoid_ragged, values, indptr, targets, log_inclusion, threads)
