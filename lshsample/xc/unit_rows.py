"""Rows scaled to length 1, whose inner products are cosines."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from lshsample._native import core

__all__ = ["unit_rows"]

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
        row_of = np.repeat(np.arange(sparse.shape[0]), np.diff(sparse.indptr))
        squares = np.bincount(row_of, np.square(sparse.data, dtype=np.float64), sparse.shape[0])
        scale = _inverse(np.sqrt(squares))
        values = (sparse.data * scale[row_of]).astype(np.float32)
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


def _inverse(norms: Any) -> Any:
    return np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
