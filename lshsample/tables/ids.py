"""Validation of ids and of their number."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lshsample.errors import ArgumentError

__all__ = ["MAX_ITEMS", "ascending_ids", "check_items", "checked_ids"]

Int32 = npt.NDArray[np.int32]

MAX_ITEMS = 2**31 - 2


def check_items(n_items: object, argument: str = "n_items") -> None:
    """Refuse a number of items that tables cannot hold."""
    if not isinstance(n_items, (int, np.integer)) or not 1 <= n_items <= MAX_ITEMS:
        if argument == "n_items":
            raise ArgumentError(argument, n_items, f"an integer from 1 to {MAX_ITEMS}")
        raise ArgumentError(argument, f"{n_items} rows", f"an array of 1 to {MAX_ITEMS} rows")


def checked_ids(ids: Any, argument: str = "ids") -> tuple[Int32, npt.NDArray[np.int64] | None]:
    """Ids in ascending order, and the permutation that sorts them; None if they are sorted already.

    Raises
    ------
    ArgumentError
        Not 1-D integers from 0 to 2**31 - 3, or an id twice.
    """
    array = np.asarray(ids)
    if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
        raise ArgumentError(argument, f"{array.dtype} of shape {array.shape}", "a 1-D array of integers")
    order = None
    if array.size and np.any(array[1:] <= array[:-1]):
        order = np.argsort(array, kind="stable")
        array = array[order]
        twice = np.flatnonzero(array[1:] == array[:-1])
        if len(twice):
            raise ArgumentError(argument, f"{array[twice[0]]} twice", "unique ids")
    if array.size and (array[0] < 0 or array[-1] >= MAX_ITEMS):
        wrong = array[0] if array[0] < 0 else array[-1]
        raise ArgumentError(argument, wrong, f"ids from 0 to {MAX_ITEMS - 1}")
    return np.ascontiguousarray(array, np.int32), order


def ascending_ids(ids: Any, n_items: int) -> Int32:
    """The ids of the rows of a build: one for each, ascending."""
    names, order = checked_ids(ids)
    if order is not None or len(names) != n_items:
        given = f"{len(names)} ids" + ("" if order is None else " out of order")
        raise ArgumentError("ids", given, f"{n_items} ascending ids, one for each row")
    return names
