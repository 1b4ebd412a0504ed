"""Rows scaled to length 1, whose inner products are cosines."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample._native import core

__all__ = ["row_lengths", "unit_rows"]

#: Values that are scaled at once.
_CELLS = 1 << 22


def unit_rows(rows: Any, argument: str, dim: int | None = None) -> Any:
    """Rows scaled to length 1, as float32: dense, or canonical CSR; rows of zeros stay.

    Raises
    ------
    ArgumentError
        Rows that are not finite, or of another number of columns.
    """
    if sp.issparse(rows):
        sparse: Any = core.csr_rows(rows, argument, dim)
        scale = _inverse(row_lengths(sparse.data, sparse.indptr))
        values = (sparse.data * np.repeat(scale, np.diff(sparse.indptr))).astype(np.float32)
        # Values that are far below the others in their row may have become 0.
        return core.csr_rows(
            core.csr_from_parts(sparse.indptr, sparse.indices, values, sparse.shape), argument
        )
    dense = core.dense_rows(rows, argument, dim)
    out = np.empty(dense.shape, np.float32)
    step = max(1, _CELLS // max(1, dense.shape[1]))
    for begin in range(0, len(dense), step):
        part = dense[begin : begin + step]
        squares = np.einsum("ij,ij->i", part, part, dtype=np.float64)
        out[begin : begin + step] = part * _inverse(np.sqrt(squares))[:, None]
    return out


def row_lengths(values: npt.NDArray[Any], indptr: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """The lengths of rows, given by the values of a CSR matrix and its row pointers."""
    sizes = np.diff(indptr)
    row_of = np.repeat(np.arange(len(sizes)), sizes)
    return np.sqrt(np.bincount(row_of, np.square(values, dtype=np.float64), len(sizes)))


def _inverse(norms: Any) -> Any:
    return np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
