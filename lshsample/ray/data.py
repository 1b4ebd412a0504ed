"""Rows and texts of Ray Data, in an order that does not depend on how they were computed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample.data import Dataset
from lshsample.errors import ArgumentError
from lshsample.specs import checked_integer

__all__ = ["dataset_rows", "dataset_texts"]

Int64 = npt.NDArray[np.int64]
#: Rows that are fetched at a time.
_ROWS = 8192


def dataset_rows(dataset: Any, n_features: int, n_labels: int) -> Dataset:
    """Rows of a Ray dataset, for a trainer in this process.

    Ray computes blocks of rows side by side, and may return them in any order. Here they are in the order of
    their numbers, so that training has the same bits as with the same rows from a file.

    Parameters
    ----------
    dataset : ray.data.Dataset
        With the columns ``row`` (integers from 0, one for each row), ``labels`` (a list of label ids for each
        row), and for features either ``ids`` and ``values`` (lists of the same length for each row; an id
        that occurs twice counts with the sum of its values) or ``x`` (all values of each row).
    n_features, n_labels : int
        Numbers of features and labels.

    Returns
    -------
    Dataset

    Raises
    ------
    ArgumentError
        A missing column, row numbers that are not 0 to n - 1, ids that are out of range, or values that are
        not finite.
    """
    n_features = checked_integer("n_features", n_features, 1, 2**31 - 1)
    n_labels = checked_integer("n_labels", n_labels, 1, 2**31 - 1)
    names, several = _columns(dataset, "row", "labels"), []
    dense = "x" in names
    if not dense:
        _columns(dataset, "ids", "values")
    for batch in _batches(dataset):
        ids, counts = _flat(batch["labels"], np.int64, "labels")
        if dense:
            values, widths = _flat(batch["x"], np.float64, "x")
            if (widths != n_features).any():
                given = int(widths[widths != n_features][0])
                raise ArgumentError("dataset", f"{given} values in a row of column x", f"{n_features}")
            features = np.tile(np.arange(n_features), len(widths))
        else:
            features, widths = _flat(batch["ids"], np.int64, "ids")
            values, lengths = _flat(batch["values"], np.float64, "values")
            if (lengths != widths).any():
                raise ArgumentError("dataset", "other lengths of ids than of values", "as many in each row")
        _within("ids", features, n_features)
        _within("labels", ids, n_labels)
        several.append((np.asarray(batch["row"]), features, values, widths, ids, counts))
    order = _order([one[0] for one in several])
    _, features, values, widths, ids, counts = (np.concatenate(one) for one in zip(*several, strict=True))
    x = _csr(features, values, widths, n_features)
    y = _csr(ids, np.ones(len(ids), bool), counts, n_labels)  # True twice is True
    return Dataset(x[order], y[order])


def dataset_texts(dataset: Any) -> tuple[list[str], list[list[str]]]:
    """Texts and their labels, in the order of their numbers, as ``Classifier.fit_texts`` takes them.

    Parameters
    ----------
    dataset : ray.data.Dataset
        With the columns ``row`` (integers from 0, one for each text), ``text`` and ``labels`` (a list of
        names for each text).

    Raises
    ------
    ArgumentError
        A missing column, or row numbers that are not 0 to n - 1.
    """
    _columns(dataset, "row", "text", "labels")
    numbers, texts, labels = [], list[str](), list[list[str]]()
    for batch in _batches(dataset):
        numbers.append(np.asarray(batch["row"]))
        texts += map(str, batch["text"])
        labels += [list(map(str, names)) for names in batch["labels"]]
    order = _order(numbers)
    return [texts[i] for i in order], [labels[i] for i in order]


def _columns(dataset: Any, *wanted: str) -> list[str]:
    """The names of a dataset's columns; refused without some of them."""
    if not callable(getattr(dataset, "iter_batches", None)):
        raise ArgumentError("dataset", type(dataset).__name__, "a ray.data.Dataset")
    names: list[str] = dataset.columns() or []
    missing = [name for name in wanted if name not in names]
    if missing:
        raise ArgumentError("dataset", f"columns {names}", f"one with a column {missing[0]}")
    return names


def _batches(dataset: Any) -> Iterator[Mapping[str, Any]]:
    found: Iterator[Mapping[str, Any]] = dataset.iter_batches(batch_size=_ROWS, batch_format="numpy")
    return iter(found)


def _flat(column: Any, dtype: type, name: str) -> tuple[npt.NDArray[Any], Int64]:
    """All numbers of a column of lists, and their number in each row."""
    rows = [np.asarray(row) for row in column]
    for row in rows:
        if row.ndim != 1 or (row.size and row.dtype.kind not in ("iu" if dtype is np.int64 else "iuf")):
            raise ArgumentError("dataset", f"{row!r} in column {name}", "a list of numbers in each row")
    counts = np.array([len(row) for row in rows], np.int64)
    return np.concatenate([np.zeros(0, dtype), *(row.astype(dtype) for row in rows)]), counts


def _within(name: str, ids: Int64, size: int) -> None:
    outside = ids[(ids < 0) | (ids >= size)]
    if len(outside):
        wanted = f"integers from 0 to {size - 1} in column {name}"
        raise ArgumentError("dataset", int(outside[0]), wanted)


def _order(numbers: list[npt.NDArray[Any]]) -> Int64:
    """What sorts rows by their numbers."""
    rows = np.concatenate([np.zeros(0, np.int64), *numbers])
    if not len(rows):
        raise ArgumentError("dataset", "no rows", "at least one row")
    order = np.argsort(rows, kind="stable")
    if rows.dtype.kind not in "iu" or (rows[order] != np.arange(len(rows))).any():
        wanted = f"each integer from 0 to {len(rows) - 1} once in column row"
        raise ArgumentError("dataset", "other numbers", wanted)
    return order


def _csr(ids: Int64, values: npt.NDArray[Any], counts: Int64, width: int) -> sp.csr_array:
    indptr = np.concatenate([[0], np.cumsum(counts)])
    return sp.csr_array((values, ids, indptr), shape=(len(counts), width))
