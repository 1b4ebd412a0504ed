"""Labels as they are taken everywhere: indicator matrices of 0 and 1, or lists of ids."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample._native import core
from lshsample.errors import ArgumentError

__all__ = ["CheckedLabels", "are_labels", "checked_ids", "label_rows"]

_WANTED = "1 for a label and 0 for none (entries of one place are summed)"


@attrs.frozen(eq=False)
class CheckedLabels:
    """Labels from :func:`label_rows`, which it returns as they are: a step checks nothing twice."""

    matrix: sp.csr_array


def label_rows(y: Any, argument: str, n_labels: int | None = None, n_rows: int | None = None) -> sp.csr_array:
    """Labels as a canonical CSR array of ones.

    Parameters
    ----------
    y : (n_rows, n_labels) sparse or dense array, or sequence of n_rows sequences of int
        An indicator matrix (of any type: 1 or True is a label, 0 or False and what is not stored is none),
        or the ids of each row's labels: ``[[3, 7], [1], []]``; an id that is repeated counts once. Nested
        lists of ``n_labels`` zeros and ones are an indicator matrix, as ids would repeat; with one or two
        labels they could be either, and are refused.
    argument : str
        The name in errors.
    n_labels, n_rows : int or None
        Required sizes. Without ``n_labels``, lists of ids have one column more than their largest id.

    Returns
    -------
    csr_array of float32, shape (n_rows, n_labels)

    Raises
    ------
    ArgumentError
        Another shape; a value other than 0 and 1; an id out of range.
    """
    if isinstance(y, CheckedLabels):
        return y.matrix
    ids = _lists(y)
    if ids is not None and not _is_indicator(ids, argument, n_labels):
        labels = _of_ids(ids, argument, n_labels)
    else:
        labels = core.feature_rows(y, argument, None if n_rows is not None else n_labels)
    if n_rows is not None and labels.shape[0] != n_rows:
        raise ArgumentError(argument, f"shape {labels.shape}", f"a matrix of {n_rows} rows, as many as X has")
    if n_labels is not None and labels.shape[1] != n_labels:
        raise ArgumentError(argument, f"{labels.shape[1]} columns", f"a matrix with {n_labels} columns")
    odd = np.flatnonzero(labels.data != 1.0)
    if len(odd):
        row = int(np.searchsorted(labels.indptr, odd[0], side="right")) - 1
        given = f"the value {labels.data[odd[0]]} at {(row, int(labels.indices[odd[0]]))}"
        raise ArgumentError(argument, given, _WANTED)
    return labels


def _lists(y: Any) -> list[Any] | None:
    """The rows of nested sequences of integers; None for everything else."""
    if isinstance(y, np.ndarray) and y.dtype == object and y.ndim == 1:
        y = y.tolist()
    if not isinstance(y, list | tuple) or not all(map(_is_list, y)):
        return None
    return list(y) if all(map(_is_id, chain.from_iterable(y))) else None


def _is_list(row: Any) -> bool:
    return isinstance(row, Sequence | set | frozenset) or (isinstance(row, np.ndarray) and row.ndim == 1)


def _is_id(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _is_indicator(rows: list[Any], argument: str, n_labels: int | None) -> bool:
    """Whether lists of integers are the rows of an indicator matrix."""
    widths = {len(row) for row in rows}
    width = widths.pop() if len(widths) == 1 else 0
    is_binary = width > 0 and set(chain.from_iterable(rows)) <= {0, 1}
    if not is_binary or width != (n_labels or width) or (n_labels is None and width == 1):
        return False
    if width <= 2:
        given = f"lists of {width} integers 0 or 1, which may be ids or an indicator matrix"
        raise ArgumentError(argument, given, "an array for an indicator matrix, or a sparse array")
    return True


def _of_ids(rows: list[Any], argument: str, n_labels: int | None) -> sp.csr_array:
    """The indicator matrix of lists of ids."""
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    ids = np.array(list(chain.from_iterable(rows)), dtype=object)
    largest = max(ids, default=-1)
    size = largest + 1 if n_labels is None else n_labels
    row_of = np.repeat(np.arange(len(rows)), lengths)
    if len(ids) and not (min(ids) >= 0 and largest < min(size, 2**31 - 1)):
        at = next(i for i, label in enumerate(ids) if not 0 <= label < min(size, 2**31 - 1))
        wanted = f"ids from 0 to {size - 1}" if n_labels is not None else "ids from 0 to 2147483646"
        raise ArgumentError(argument, f"the label {ids[at]} in row {row_of[at]}", wanted)
    keys: npt.NDArray[np.int64] = np.unique(row_of * max(size, 1) + ids.astype(np.int64))
    indptr = np.searchsorted(keys, np.arange(len(rows) + 1) * max(size, 1))
    return core.csr_from_parts(indptr, (keys % max(size, 1)).astype(np.int32), None, (len(rows), size))


def checked_ids(argument: str, given: npt.ArrayLike, n_labels: int) -> npt.NDArray[np.int64]:
    """Ids of labels; ArgumentError if they are no list of integers from 0 to ``n_labels - 1``."""
    ids = np.asarray(given)
    if ids.size == 0:
        ids = ids.astype(np.int64)
    sound = ids.ndim == 1 and ids.dtype.kind in "iu"
    if not sound or (ids.size and not 0 <= int(ids.min()) <= int(ids.max()) < n_labels):
        raise ArgumentError(argument, f"{given!r:.80}", f"a list of integers from 0 to {n_labels - 1}")
    return ids.astype(np.int64)


def are_labels(labels: sp.csr_array, ids: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
    """Whether ids, shape (rows, k), are labels of their rows, shape (rows, n_labels); -1 is none.

    Returns an array of bool, shape (rows, k). Sorts the labels and the ids.
    """
    rows = np.repeat(np.arange(labels.shape[0], dtype=np.int64), np.diff(labels.indptr))
    places = np.arange(len(ids), dtype=np.int64)[:, None] * labels.shape[1] + ids
    return np.isin(places, rows * labels.shape[1] + labels.indices) & (ids >= 0)
