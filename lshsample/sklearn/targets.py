"""The forms in which scikit-learn's users give labels: classes, indicator matrices, lists of names."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import column_or_1d

from lshsample.errors import ArgumentError
from lshsample.text import LabelNames

__all__ = ["ONE", "checked_target", "class_ids", "encoded", "is_names", "with_classes"]

#: A class for each row; else rows have any number of labels.
ONE = "classes"


def is_names(y: Any) -> bool:
    """Whether labels are a list of lists of names."""
    if isinstance(y, np.ndarray) and (y.dtype != object or y.ndim != 1):
        return False
    if not isinstance(y, list | tuple | np.ndarray) or not len(y):
        return False
    rows = all(isinstance(row, list | tuple | set | frozenset) for row in y)
    return rows and all(isinstance(name, str) for row in y for name in row)


def checked_target(y: Any, known: Collection[Any] | None = None) -> tuple[str, npt.NDArray[Any], Any]:
    """The form of labels, :data:`ONE`, ``"dense"``, ``"sparse"`` or ``"names"``; their classes; and they.

    Classes that are known without a row with them are among the classes.

    Raises
    ------
    ValueError
        Labels of another form, or all of one class.
    """
    if is_names(y):
        return "names", np.array(LabelNames.of([*y, known or ()]).names, dtype=object), y
    if known is not None and np.ndim(y) == 2 and y.shape[1] > 1 and len(known) != y.shape[1]:
        raise ArgumentError("classes", f"{len(known)} classes", f"{y.shape[1]}, as many as y has columns")
    if not isinstance(y, np.ndarray):
        return "sparse", np.arange(y.shape[1]), y
    if y.ndim == 2 and y.shape[1] > 1:
        kind = type_of_target(y, input_name="y")
        if kind != "multilabel-indicator":
            raise ArgumentError("y", f"{kind} of shape {y.shape}", "classes, or an indicator matrix")
        return "dense", np.arange(y.shape[1]), y
    y = column_or_1d(y, warn=True)
    check_classification_targets(y)
    classes = np.unique(y) if known is None else np.union1d(np.asarray(known), y)
    if len(classes) < 2:
        raise ArgumentError("y", f"one class, {classes.tolist()}", "labels of at least two classes")
    return ONE, classes, y


def with_classes(form: str, classes: npt.NDArray[Any], y: Any) -> npt.NDArray[Any]:
    """Classes, and behind them the new ones of labels of the same form.

    Raises
    ------
    ValueError
        Labels of another form.
    """
    names = is_names(y)
    is_matrix = not names and np.ndim(y) == 2 and y.shape[1] > 1
    if names != (form == "names") or is_matrix != (form in ("dense", "sparse")):
        given = "lists of names" if names else f"{type(y).__name__} of shape {np.shape(y)}"
        raise ArgumentError("y", given, f"labels of the form of the first ones, {form}")
    if is_matrix:
        if y.shape[1] < len(classes):
            raise ArgumentError("y", f"{y.shape[1]} columns", f"at least {len(classes)} columns")
        return np.arange(y.shape[1])
    found = LabelNames.of(y).names if names else np.unique(np.asarray(y)).tolist()
    known = set(classes.tolist())
    if not names:
        check_classification_targets(np.ravel(y))
    new = [one for one in found if one not in known]
    kind = object if classes.dtype == object else None
    return np.concatenate([classes, np.array(new, kind)]) if new else classes


def encoded(y: Any, classes: npt.NDArray[Any]) -> sp.csr_array:
    """Labels of any form as a CSR matrix with a column for each class; others than these are left out."""
    if is_names(y):
        return LabelNames(classes.tolist()).matrix(y)
    if sp.issparse(y) or np.ndim(y) == 2:
        return sp.csr_array(y)
    values = np.asarray(y)
    order = np.argsort(classes)  # those of a partial fit are behind the others
    at = order[np.minimum(np.searchsorted(classes, values, sorter=order), len(classes) - 1)]
    rows = np.flatnonzero(classes[at] == values)
    ones = np.ones(len(rows), np.float32)
    return sp.csr_array((ones, (rows, at[rows])), shape=(len(values), len(classes)))


def class_ids(argument: str, given: Collection[Any], classes: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """The columns of some classes; ArgumentError for one that is not there."""
    ids = {one: i for i, one in enumerate(classes.tolist())}
    unknown = [one for one in np.asarray(given).tolist() if one not in ids]
    if unknown or isinstance(given, str):
        wrong = given if isinstance(given, str) else unknown[0]
        raise ArgumentError(argument, repr(wrong), "a list of classes, as in classes_")
    return np.array([ids[one] for one in np.asarray(given).tolist()], np.int64)
