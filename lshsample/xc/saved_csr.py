"""Sparse matrices from the arrays that are stored of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample.errors import ArgumentError

__all__ = ["saved_csr"]


def saved_csr(
    arrays: Mapping[str, npt.NDArray[Any]], columns: int, what: str, *, ones: bool = False
) -> sp.csr_array:
    """The matrix of ``indptr``, ``indices`` and, unless all stored values are ones, ``data``; not validated.

    Raises
    ------
    ArgumentError
        An array is missing; the error says of ``what``.
    """
    names = ["indptr", "indices"] if ones else ["indptr", "indices", "data"]
    missing = [name for name in names if name not in arrays]
    if missing:
        wanted = f"{', '.join(names[:-1])} and {names[-1]} of {what}"
        raise ArgumentError("arrays", f"no {missing[0]}", wanted)
    data = np.ones(len(arrays["indices"]), np.float32) if ones else arrays["data"]
    shape = len(arrays["indptr"]) - 1, columns
    return sp.csr_array((data, arrays["indices"], arrays["indptr"]), shape=shape)
