"""The best k labels of each row: exact search streamed over all labels, and selection within candidates."""

from __future__ import annotations

import numpy as np

from lshsample._native.arrays import (
    Array,
    Float32,
    Int32,
    Int64,
    csr_pattern,
    matrix,
    row_ids,
    strided_vector,
    vector,
)
from lshsample._native.core import check, lib, pointer, threads_or_default
from lshsample._native.dtypes import KERNEL_DTYPES
from lshsample.errors import ArgumentError

__all__ = ["checked_k", "csr_top_k", "top_k", "top_k_ragged"]


def checked_k(k: int) -> int:
    """The number of labels wanted, at least 1."""
    if not isinstance(k, (int, np.integer)) or isinstance(k, bool) or not 1 <= k < 2**31:
        raise ArgumentError("k", repr(k), "an integer from 1 to the number of candidates")
    return int(k)


def top_k(
    h: Float32,
    weights: Array,
    bias: Float32 | None,
    k: int,
    *,
    by_columns: bool = False,
    threads: int | None = None,
) -> tuple[Int32, Float32]:
    """The exact best k rows of ``weights`` for each row of h, streamed: no (m, n) array is made.

    Parameters
    ----------
    h : (m, d) float32
    weights : (n, d) float32 or bfloat16, or (d, n) by columns
        A view with contiguous rows.
    bias : (n,) float32 or None
        May be strided.
    k : int
        From 1 to n.
    by_columns : bool
        Whether the n vectors are the columns of ``weights``, which are then read without a transposed copy.
        The results are the same, to the bit.
    threads : int or None

    Returns
    -------
    ids : (m, k) int32
        By score descending, ties by smaller id. -1 where NaN scores left fewer than k.
    scores : (m, k) float32
        ``h @ weights[ids] + bias[ids]``; -inf where the id is -1.

    Raises
    ------
    ArgumentError
        A wrong dtype, layout or shape, or k out of range.

    Notes
    -----
    2 m n d operations, as the product, and heaps of k entries.
    """
    n_threads = threads_or_default(threads)
    left, d = matrix(h, "h"), h.shape[1]
    rows, cols = (d, None) if by_columns else (None, d)
    right = matrix(weights, "weights", rows, cols, dtypes=KERNEL_DTYPES)
    n, what = (weights.shape[1], "columns") if by_columns else (weights.shape[0], "rows")
    if checked_k(k) > n:
        raise ArgumentError("k", k, f"an integer from 1 to {n}, the number of {what} of weights")
    bias_pointer, bias_stride = strided_vector(bias, "bias", n)
    ids, scores = np.empty((h.shape[0], k), np.int32), np.empty((h.shape[0], k), np.float32)
    search = lib.lsh_top_k_columns if by_columns else lib.lsh_top_k
    status = search(
        left,
        right,
        bias_pointer,
        bias_stride,
        k,
        pointer("int32_t *", ids),
        pointer("float *", scores),
        n_threads,
    )
    check(status, "top_k")
    return ids, scores


def top_k_ragged(
    values: Float32, indptr: Int64, ids: Int32, k: int, *, threads: int | None = None
) -> tuple[Int32, Float32]:
    """The best k of each row of candidates, by score descending, ties by smaller id.

    Parameters
    ----------
    values : (nnz,) float32
        Scores.
    indptr : (m + 1,) int64
    ids : (nnz,) int32
        Ids from 0, unique within a row.
    k : int
    threads : int or None

    Returns
    -------
    ids : (m, k) int32
        -1 where a row has fewer than k candidates.
    scores : (m, k) float32
        -inf where the id is -1.

    Raises
    ------
    ArgumentError
        A wrong dtype, layout or shape, or k below 1.
    """
    n_threads = threads_or_default(threads)
    checked_k(k)
    vector(values, "values", np.float32)
    row_ids(ids, "ids", 2**31 - 1, values.size)
    csr_pattern(indptr, "indptr", None, values.size)
    m = indptr.size - 1
    best, scores = np.empty((m, k), np.int32), np.empty((m, k), np.float32)
    status = lib.lsh_top_k_ragged(
        pointer("float *", values),
        pointer("int64_t *", indptr),
        pointer("int32_t *", ids),
        m,
        k,
        pointer("int32_t *", best),
        pointer("float *", scores),
        n_threads,
    )
    check(status, "top_k_ragged")
    return best, scores


def csr_top_k(
    h: Float32,
    weights: Array,
    bias: Float32 | None,
    indptr: Int64,
    ids: Int32,
    k: int,
    *,
    threads: int | None = None,
) -> tuple[Int32, Float32]:
    """The best k of each row's own candidates, by ``h[i] . weights[id] + bias[id]``, ties by smaller id.

    Parameters
    ----------
    h : (m, d) float32
    weights : (n, d) float32 or bfloat16
        A view with contiguous rows.
    bias : (n,) float32 or None
        May be strided.
    indptr : (m + 1,) int64
    ids : (nnz,) int32
        Candidates, unique within a row.
    k : int
    threads : int or None

    Returns
    -------
    ids, scores : (m, k) int32 and float32
        As :func:`top_k_ragged`'s.

    Raises
    ------
    ArgumentError
        A wrong dtype, layout or shape, decreasing offsets, an id out of range, or k below 1.
    """
    n_threads = threads_or_default(threads)
    left, right = matrix(h, "h"), matrix(weights, "weights", cols=h.shape[1], dtypes=KERNEL_DTYPES)
    vector(ids, "ids", np.int32)
    vector(indptr, "indptr", np.int64, len(h) + 1)
    if indptr[-1] != ids.size:
        csr_pattern(indptr, "indptr", len(h), ids.size)
    bias_pointer, bias_stride = strided_vector(bias, "bias", weights.shape[0])
    best, scores = np.empty((len(h), checked_k(k)), np.int32), np.empty((len(h), k), np.float32)
    status = lib.lsh_csr_top_k(
        left,
        right,
        bias_pointer,
        bias_stride,
        pointer("int64_t *", indptr),
        pointer("int32_t *", ids),
        k,
        pointer("int32_t *", best),
        pointer("float *", scores),
        n_threads,
    )
    if status == lib.LSH_OUT_OF_RANGE:
        csr_pattern(indptr, "indptr", len(h), ids.size)
        row_ids(ids, "ids", weights.shape[0])
    check(status, "csr_top_k")
    return best, scores
