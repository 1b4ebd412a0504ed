"""The dataset that every reader returns and every writer takes: features and labels as two CSR arrays."""

from __future__ import annotations

from typing import Any, Self

import attrs
import numpy as np
import scipy.sparse as sp

from lshsample._native import core
from lshsample._native.labels import label_rows
from lshsample.errors import ArgumentError
from lshsample.specs import checked_integer

__all__ = ["Dataset"]


def _features(x: Any) -> sp.csr_array:
    return core.csr_rows(x, "x")


def _labels(y: Any) -> sp.csr_array:
    if not sp.issparse(y):
        raise ArgumentError("y", type(y).__name__, "a scipy.sparse matrix or array")
    return label_rows(y, "y")


@attrs.frozen(eq=False, repr=False)
class Dataset:
    """Samples with sparse features and any number of labels each.

    Parameters
    ----------
    x : scipy.sparse array or matrix, shape (n_rows, n_features)
        Features: finite real numbers.
    y : scipy.sparse array or matrix, shape (n_rows, n_labels)
        Labels: 1 for a label, 0 or nothing for none.

    Attributes
    ----------
    x, y : scipy.sparse.csr_array
        Validated and converted: float32, columns ascending and unique in a row, without stored zeros, row
        offsets and column indices of one type (int32, and int64 from 2**31 entries on). What has this form
        already is not copied.

    Raises
    ------
    ArgumentError
        Other types; NaN, infinite values or values beyond float32; labels other than 0 and 1; different
        numbers of rows.

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> data = Dataset(sp.csr_array([[0.5, 0.0], [0.0, 2.0]]), sp.csr_array([[1, 0, 1], [0, 0, 0]]))
    >>> data
    Dataset(2 rows, 2 features, 3 labels, 1.0 features and 1.0 labels a row)
    >>> data.take([1]).n_rows
    1
    """

    x: sp.csr_array = attrs.field(converter=_features)
    y: sp.csr_array = attrs.field(converter=_labels)

    def __attrs_post_init__(self) -> None:
        if self.x.shape[0] != self.y.shape[0]:
            wanted = f"a matrix of {self.x.shape[0]} rows, as many as x has"
            raise ArgumentError("y", f"{self.y.shape[0]} rows", wanted)

    @classmethod
    def of(cls, x: Any, y: Any, n_labels: int | None = None) -> Self:
        """A dataset from features and labels in any form.

        Parameters
        ----------
        x : array_like or sparse array, shape (n_rows, n_features)
            Features, sparse or dense.
        y : array_like or sparse array, shape (n_rows, n_labels), or sequence of n_rows sequences of int
            An indicator matrix, sparse or dense (1 or True for a label, 0 or False for none), or the ids of
            each row's labels: ``[[3, 7], [1], []]``.
        n_labels : int, optional
            The number of labels; by default the columns of an indicator matrix, or one more than the largest
            id of lists.

        Raises
        ------
        ArgumentError
            As the class; ids out of range.

        Examples
        --------
        >>> Dataset.of([[0.5, 0.0], [0.0, 2.0], [1.0, 1.0]], [[3, 7], [1], []], n_labels=10)
        Dataset(3 rows, 2 features, 10 labels, 1.3 features and 1.0 labels a row)
        """
        if n_labels is not None:
            n_labels = checked_integer("n_labels", n_labels, 0, 2**31 - 1)
        return cls(core.feature_rows(x, "x"), label_rows(y, "y", n_labels))

    @property
    def n_rows(self) -> int:
        """The number of samples."""
        return int(self.x.shape[0])

    @property
    def n_features(self) -> int:
        """The number of columns of ``x``."""
        return int(self.x.shape[1])

    @property
    def n_labels(self) -> int:
        """The number of columns of ``y``."""
        return int(self.y.shape[1])

    def take(self, rows: Any) -> Dataset:
        """The samples that ``rows`` (a slice, indices or a mask) selects, in that order."""
        index = np.arange(self.n_rows)[rows]
        return Dataset(self.x[index], self.y[index])

    def __len__(self) -> int:
        return self.n_rows

    def __repr__(self) -> str:
        n = max(self.n_rows, 1)
        return (
            f"Dataset({self.n_rows} rows, {self.n_features} features, {self.n_labels} labels, "
            f"{self.x.nnz / n:.1f} features and {self.y.nnz / n:.1f} labels a row)"
        )


def check_dataset(data: Dataset) -> None:
    """Raise an ArgumentError for anything else than a dataset."""
    if not isinstance(data, Dataset):
        raise ArgumentError("data", type(data).__name__, "a Dataset (Dataset.of(x, y) makes one)")
