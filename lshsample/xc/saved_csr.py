"""Sparse matrices from the arrays that are stored of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt
import scipy.sparse as sp

from lshsample._native.core import csr_from_parts
from lshsample.errors import ArgumentError

__all__ = ["parts_of", "saved_csr"]


def saved_csr(
    arrays: Mapping[str, npt.NDArray[Any]], columns: int, what: str, *, ones: bool = False
) -> sp.csr_array:
    """The matrix of ``indptr``, ``indices`` and, unless all stored values are ones, ``data``; not validated.

    Raises
    ------
    ArgumentError
        An array is missing; the error says of ``what``.
    """
    names = ("indptr", "indices") if ones else ("indptr", "indices", "data")
    indptr, indices, *data = parts_of(arrays, names, what)
    return csr_from_parts(indptr, indices, data[0] if data else None, (len(indptr) - 1, columns))


def parts_of(
    arrays: Mapping[str, npt.NDArray[Any]], names: Sequence[str], what: str
) -> list[npt.NDArray[Any]]:
    """The arrays of these names, each of one dimension; ArgumentError if one is missing."""
    for name in names:
        if name not in arrays or arrays[name].ndim != 1:
            wanted = f"{', '.join(names[:-1])} and {names[-1]} of {what}"
            raise ArgumentError("arrays", f"no {name}", wanted)
    return [arrays[name] for name in names]
