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

__all__ = ["ONE", "checked_target", "class_ids", "encoded", "is_names"]

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


def checked_target(y: Any) -> tuple[str, npt.NDArray[Any], Any]:
    """The form of labels, :data:`ONE`, ``"dense"``, ``"sparse"`` or ``"names"``; their classes; and they.

    Raises
    ------
    ValueError
        Labels of another form, or all of one class.
    """
    if is_names(y):
        return "names", np.array(LabelNames.of(y).names, dtype=object), y
    if not isinstance(y, np.ndarray):
        return "sparse", np.arange(y.shape[1]), y
    if y.ndim == 2 and y.shape[1] > 1:
        kind = type_of_target(y, input_name="y")
        if kind != "multilabel-indicator":
            raise ArgumentError("y", f"{kind} of shape {y.shape}", "classes, or an indicator matrix")
        return "dense", np.arange(y.shape[1]), y
    y = column_or_1d(y, warn=True)
    check_classification_targets(y)
    classes = np.unique(y)
    if len(classes) < 2:
        raise ArgumentError("y", f"one class, {classes.tolist()}", "labels of at least two classes")
    return ONE, classes, y


def encoded(y: Any, classes: npt.NDArray[Any]) -> sp.csr_array:
    """Labels of any form as a CSR matrix with a column for each class; others than these are left out."""
    if is_names(y):
        return LabelNames(classes.tolist()).matrix(y)
    if sp.issparse(y) or np.ndim(y) == 2:
        return sp.csr_array(y)
    values = np.asarray(y)
    at = np.minimum(np.searchsorted(classes, values), len(classes) - 1)
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
