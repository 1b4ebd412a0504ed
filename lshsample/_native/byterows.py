"""Exact top k through an 8-bit copy of the weights: bounds in 8 bits, the scores that matter in float32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from lshsample._native.arrays import Array, Float32, Int32, matrix, strided_vector, vector
from lshsample._native.core import check, ffi, lib, pointer, threads_or_default
from lshsample._native.dtypes import INT8, KERNEL_DTYPES
from lshsample._native.topk import checked_k
from lshsample.errors import ArgumentError

__all__ = ["ByteRows", "bytes_needed"]

#: The arrays of a copy, as ``lsh_byte_rows`` in C has them.
_KINDS = {
    "values": "int8_t *",
    "offsets": "int32_t *",
    "terms": "float *",
    "ids": "int32_t *",
    "direction": "float *",
    "limits": "float *",
}


def bytes_needed(n: int, d: int, in_order: bool = False) -> int:
    """Bytes of the copy of n rows of d weights: about d + 20 a row, and 60 while an order is chosen."""
    panel = int(lib.LSH_BYTE_PANEL)
    return -(-n // panel) * panel * (-(-d // 4) * 4 + (80 if in_order else 20))


class ByteRows:
    """A copy of rows of weights in 8 bits with one scale a row, beside the rows themselves.

    Parameters
    ----------
    weights : (n, d) float32 or bfloat16
        A view with contiguous rows, d at most 65536. It is read by :meth:`top_k` too; if it changes, the copy
        is out of date, and so is the result.
    bias : (n,) float32 or None
        May be strided.
    like : (m, d) float32, optional
        Rows of input, at least one, such as those that :meth:`top_k` will be called with: the copy is put in
        an order in which rows of weights with large products with them come first, and most of it is not
        read (Notes). By default it has the order of the weights, and all of it is read.
    threads : int or None

    Raises
    ------
    ArgumentError
        A wrong dtype, layout or shape.

    Notes
    -----
    ``n * (d + 20)`` bytes, made in one pass over the weights; with ``like`` in two, and 5 bytes a row more.

    With a direction u of norm 1, w = a u + r and h = b u + s, the inequality of Cauchy and Schwarz bounds h w
    by a b plus the product of the norms of r and s. With ``like``, u is the direction of its mean; rows of
    weights are ordered by this bound for its mean parts, and 32 of them are skipped together where the bound
    of their largest parts is below the k-th best score. The rows of input of a trained layer have a large
    mean, and trained rows of weights larger norms than others, so that little is left.

    Weights that are 8-bit integers times a scale a row (:meth:`of_int8`) are in the copy as they are, which
    is then all there is.
    """

    def __init__(
        self,
        weights: Array,
        bias: Float32 | None,
        *,
        like: Float32 | None = None,
        threads: int | None = None,
    ) -> None:
        view = matrix(weights, "weights", dtypes=KERNEL_DTYPES)
        self._begin(weights.shape, weights, bias)
        if like is not None:
            self._put_in_order(view, like, threads)
        self._make(view, ffi.NULL, threads)

    @classmethod
    def of_int8(
        cls,
        values: npt.NDArray[np.int8],
        scales: Float32,
        bias: Float32 | None,
        *,
        threads: int | None = None,
    ) -> Self:
        """Rows whose weights are ``scales[:, None] * values``.

        Parameters
        ----------
        values : (n, d) int8
            From -127 to 127.
        scales : (n,) float32
        bias : (n,) float32 or None
        threads : int or None
        """
        out = cls.__new__(cls)
        view = matrix(values, "values", dtypes=(INT8,))
        out._begin(values.shape, None, bias)
        out._make(view, pointer("float *", vector(scales, "scales", np.float32, len(values))), threads)
        return out

    @classmethod
    def from_arrays(
        cls,
        arrays: Mapping[str, npt.NDArray[Any]],
        shape: tuple[int, int],
        weights: Array | None,
        bias: Float32 | None,
    ) -> Self:
        """The rows of :attr:`arrays`, over the arrays themselves, which may be mapped files.

        Parameters
        ----------
        arrays : mapping of arrays
        shape : (n, d)
        weights, bias
            As they were; None for those of :meth:`of_int8`.

        Raises
        ------
        ArgumentError
            Arrays of another type, or shape, or that are missing; those of a copy in an order of its own.
        """
        out = cls.__new__(cls)
        if weights is not None:
            matrix(weights, "weights", shape[0], shape[1], dtypes=KERNEL_DTYPES)
        out._begin(shape, weights, bias, arrays)
        return out

    def _begin(
        self,
        shape: tuple[int, ...],
        weights: Array | None,
        bias: Float32 | None,
        arrays: Mapping[str, npt.NDArray[Any]] | None = None,
    ) -> None:
        (n, d), panel = shape, int(lib.LSH_BYTE_PANEL)
        if d > lib.LSH_BYTE_DEPTH:
            raise ArgumentError("weights", f"{d} columns", f"at most {lib.LSH_BYTE_DEPTH} columns")
        strided_vector(bias, "bias", n)
        self.shape, self._weights, self._bias = (n, d), weights, bias
        panels = -(-n // panel)
        wanted = {
            "values": ((panels, -(-d // 4), panel, 4), np.int8),
            "offsets": ((panels, panel), np.int32),
            "terms": ((panels, 4, panel), np.float32),
        }
        if arrays is not None and "ids" in arrays:
            raise ArgumentError("ids", "an array", "left out: a copy in an order of its own is not stored")
        if arrays is None:
            arrays = {name: np.empty(size, dtype) for name, (size, dtype) in wanted.items()}
        for name, (size, dtype) in wanted.items():
            given = arrays.get(name)
            if given is None or given.shape != size or given.dtype != dtype or not given.flags.c_contiguous:
                what = "nothing" if given is None else f"{given.dtype} {given.shape}"
                raise ArgumentError(name, what, f"{np.dtype(dtype)} {size}, contiguous")
        #: The copy: ``values``, ``offsets`` and ``terms``, as ``lsh_byte_rows`` in C describes them.
        self.arrays = {name: arrays[name] for name in wanted}

    def _put_in_order(self, view: Any, like: Float32, threads: int | None) -> None:
        """Choose the order and the direction of the copy."""
        n, d = self.shape
        matrix(like, "like", cols=d)
        panel, panels = int(lib.LSH_BYTE_PANEL), len(self.arrays["offsets"])
        with np.errstate(all="ignore"):  # an order of values that are not finite is as good as any
            mean = like.mean(axis=0, dtype=np.float64)
            direction = np.nan_to_num(mean / max(float(np.linalg.norm(mean)), 1e-30)).astype(np.float32)
            along = like @ direction
            across = np.sqrt(np.maximum(np.einsum("ij,ij->i", like, like) - along**2, 0))
            bias, stride = strided_vector(self._bias, "bias", n)
            own = np.full((panels * panel, int(lib.LSH_BYTE_LIMITS)), -np.inf, np.float32)
            status = lib.lsh_byte_row_limits(
                view,
                bias,
                stride,
                pointer("float *", direction),
                pointer("float *", own),
                threads_or_default(threads),
            )
            check(status, "ByteRows")
            typical = own[:n, 0] * along.mean() + own[:n, 2] * across.mean() + own[:n, 4]
            ids = np.arange(panels * panel, dtype=np.int32)
            ids[:n] = np.argsort(-typical, kind="stable")
            limits = own[ids].reshape(panels, panel, -1).max(axis=1)
        self.arrays |= {"ids": ids.reshape(panels, panel), "direction": direction, "limits": limits}

    def _make(self, view: Any, scales: Any, threads: int | None) -> None:
        count = threads_or_default(threads)
        bias, stride = strided_vector(self._bias, "bias", self.shape[0])
        check(lib.lsh_byte_rows_make(view, scales, bias, stride, self._view(), count), "ByteRows")

    def _view(self) -> Any:
        return ffi.new(
            "lsh_byte_rows *",
            [pointer(kind, self.arrays[k]) if k in self.arrays else ffi.NULL for k, kind in _KINDS.items()],
        )[0]

    def rows(self, ids: npt.NDArray[np.integer[Any]]) -> Float32:
        """The weights of some rows, rounded as they are in the copy."""
        if "ids" in self.arrays:
            ids = np.argsort(self.arrays["ids"].ravel()[: self.shape[0]])[ids]
        panel, place = np.divmod(ids, int(lib.LSH_BYTE_PANEL))
        values = self.arrays["values"][panel, :, place].reshape(len(panel), -1)[:, : self.shape[1]]
        out: Float32 = values.astype(np.float32)
        out *= self.arrays["terms"][panel, 0, place][:, None]
        return out

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
        n_threads, (n, d) = threads_or_default(threads), self.shape
        left = matrix(h, "h", cols=d)
        if self._weights is None:  # those of the copy
            right = ffi.new("lsh_dense *", (ffi.NULL, n, d, d, lib.LSH_FLOAT32))[0]
        else:
            right = matrix(self._weights, "weights", dtypes=KERNEL_DTYPES)
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
