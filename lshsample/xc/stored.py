"""Weights in fewer bits: what a stored model keeps of a network."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lshsample._native import convert
from lshsample._native.dtypes import BFLOAT16

__all__ = ["pack", "unpack"]

Arrays = dict[str, npt.NDArray[Any]]


def pack(weights: npt.NDArray[np.float32], storage: str) -> Arrays:
    """The arrays in which weights are stored.

    Parameters
    ----------
    weights : (n, d) float32 array
    storage : str
        ``"float32"``; ``"bfloat16"``; or ``"int8"``: integers from -127 to 127 and one factor a row, for
        matrices of more than one column.

    Returns
    -------
    dict of arrays
        ``values``, and ``scales`` with ``"int8"``.
    """
    rows = np.ascontiguousarray(weights)
    if storage == "float32" or rows.shape[1] == 1:
        return {"values": rows}
    if storage == "bfloat16":
        return {"values": convert.from_float32(rows, BFLOAT16)}
    scales = np.abs(rows).max(axis=1, initial=0.0, keepdims=True) / np.float32(127)
    scales[scales == 0] = 1
    values = np.rint(rows / scales).astype(np.int8)
    return {"values": values, "scales": scales.astype(np.float32)}


def unpack(arrays: Arrays) -> npt.NDArray[np.float32]:
    """The weights that :func:`pack` stored, rounded as they are there."""
    values = arrays["values"]
    if "scales" in arrays:
        return values.astype(np.float32) * arrays["scales"]
    return values if values.dtype == np.float32 else convert.to_float32(values)
