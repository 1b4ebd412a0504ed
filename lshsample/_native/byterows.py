"""Exact top k through an 8-bit copy of the weights: bounds in 8 bits, the scores that matter in float32."""

from __future__ import annotations

import numpy as np

from lshsample._native.arrays import Array, Float32, Int32, matrix, strided_vector
from lshsample._native.core import check, ffi, lib, pointer, threads_or_default
from lshsample._native.dtypes import KERNEL_DTYPES
from lshsample._native.topk import checked_k
from lshsample.errors import ArgumentError

__all__ = ["ByteRows", "bytes_needed"]


def bytes_needed(n: int, d: int) -> int:
    """Bytes of the copy of n rows of d weights: about d + 20 a row."""
    panel = int(lib.LSH_BYTE_PANEL)
    return -(-n // panel) * panel * (-(-d // 4) * 4 + 20)


class ByteRows:
    """A copy of rows of weights in 8 bits with one scale a row, beside the rows themselves.

    Parameters
    ----------
    weights : (n, d) float32 or bfloat16
        A view with contiguous rows, d at most 65536. It is read by :meth:`top_k` too; if it changes, the copy
        is out of date, and so is the result.
    bias : (n,) float32 or None
        May be strided.
    threads : int or None

    Raises
    ------
    ArgumentError
        A wrong dtype, layout or shape.

    Notes
    -----
    ``n * (d + 20)`` bytes, made in one pass over the weights.
    """

    def __init__(self, weights: Array, bias: Float32 | None, *, threads: int | None = None) -> None:
        n_threads = threads_or_default(threads)
        view = matrix(weights, "weights", dtypes=KERNEL_DTYPES)
        (n, d), panel = weights.shape, lib.LSH_BYTE_PANEL
        if d > lib.LSH_BYTE_DEPTH:
            raise ArgumentError("weights", f"{d} columns", f"at most {lib.LSH_BYTE_DEPTH} columns")
        bias_pointer, bias_stride = strided_vector(bias, "bias", n)
        panels, quads = -(-n // panel), -(-d // 4)
        self._weights, self._bias = weights, bias
        self._values = np.empty((panels, quads, panel, 4), np.int8)
        self._offsets = np.empty((panels, panel), np.int32)
        self._terms = np.empty((panels, 4, panel), np.float32)
        status = lib.lsh_byte_rows_make(view, bias_pointer, bias_stride, self._view(), n_threads)
        check(status, "ByteRows")

    def _view(self) -> object:
        arrays = (("int8_t *", self._values), ("int32_t *", self._offsets), ("float *", self._terms))
        return ffi.new("lsh_byte_rows *", tuple(pointer(kind, array) for kind, array in arrays))[0]

    def top_k(self, h: Float32, k: int, *, threads: int | None = None) -> tuple[Int32, Float32, int]:
        """The exact best k rows for each row of h, to the bit those of :func:`~lshsample._native.topk.top_k`.

        Parameters
        ----------
        h : (m, d) float32
        k : int
            From 1 to n.
        threads : int or None

        Returns
        -------
        ids : (m, k) int32
        scores : (m, k) float32
        scored : int
            How many scores were computed in float32: those of rows whose bound did not rule them out.

        Raises
        ------
        ArgumentError
            A wrong dtype, layout or shape, or k out of range.

        Notes
        -----
        m n d multiplications in 8 bits, and the float32 scores. If the weights or a row of h are not finite,
        nothing is ruled out.
        """
        n_threads, (n, d) = threads_or_default(threads), self._weights.shape
        left, right = matrix(h, "h", cols=d), matrix(self._weights, "weights", dtypes=KERNEL_DTYPES)
        if checked_k(k) > n:
            raise ArgumentError("k", k, f"an integer from 1 to {n}, the number of rows of weights")
        bias_pointer, bias_stride = strided_vector(self._bias, "bias", n)
        ids, scores = np.empty((len(h), k), np.int32), np.empty((len(h), k), np.float32)
        scored = np.zeros(1, np.int64)
        status = lib.lsh_byte_top_k(
            left,
            right,
            bias_pointer,
            bias_stride,
            self._view(),
            k,
            pointer("int32_t *", ids),
            pointer("float *", scores),
            pointer("int64_t *", scored),
            n_threads,
        )
        check(status, "ByteRows.top_k")
        return ids, scores, int(scored[0])
