"""The dataset that every reader returns and every writer takes: features and labels as two CSR arrays."""

from __future__ import annotations

from typing import Any, Self, cast

import attrs
import numpy as np
import scipy.sparse as sp

from lshsample._native import core
from lshsample.errors import ArgumentError

__all__ = ["Dataset"]


@attrs.frozen(eq=False, repr=False)
class Dataset:
    """Samples with sparse features and any number of labels each.

    Parameters
    ----------
    x : scipy.sparse.csr_array
        Features, shape (n_rows, n_features), float32. Explicit zeros are kept.
    y : scipy.sparse.csr_array
        Labels, shape (n_rows, n_labels), float32; a stored entry of 1 is a label.

    Raises
    ------
    ArgumentError
        The two do not have the same number of rows, or :meth:`of` is given invalid values.

    Notes
    -----
    Readers return canonical arrays (int64 ``indptr``, int32 ``indices`` ascending and unique in a row). Use
    :meth:`of` for other arrays; it validates and converts them.

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> data = Dataset.of(sp.csr_array([[0.5, 0.0], [0.0, 2.0]]), sp.csr_array([[1, 0, 1], [0, 0, 0]]))
    >>> data
    Dataset(2 rows, 2 features, 3 labels, 1.0 features and 1.0 labels a row)
    >>> data.take([1]).n_rows
    1
    """

    x: sp.csr_array
    y: sp.csr_array

    def __attrs_post_init__(self) -> None:
        if self.x.shape[0] != self.y.shape[0]:
            wanted = f"a matrix of {self.x.shape[0]} rows, as many as x has"
            raise ArgumentError("y", f"{self.y.shape[0]} rows", wanted)

    @classmethod
    def of(cls, x: Any, y: Any) -> Self:
        """A dataset from any two scipy sparse arrays or matrices; every nonzero of ``y`` becomes a label.

        Parameters
        ----------
        x, y : (n_rows, n_features) and (n_rows, n_labels) sparse arrays
            Real, finite numbers, in any format; canonical float32 CSR is used without a copy.

        Raises
        ------
        ArgumentError
            Another type, NaN or infinite values, or different numbers of rows.
        """
        labels = core.csr_rows(y, "y")
        if not labels.data.all():
            labels = labels.copy()
            labels.eliminate_zeros()
            labels = core.csr_rows(labels, "y")
        return cls(core.csr_rows(x, "x"), csr(labels.shape, labels.indptr, labels.indices))

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
        return Dataset.of(self.x[index], self.y[index])

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


def csr(shape: tuple[int, int], indptr: Any, indices: Any, values: Any = None) -> sp.csr_array:
    """A CSR array of canonical parts, neither copied nor validated; without values all are 1."""
    out = cast("sp.csr_array", sp.csr_array(shape, dtype=np.float32))
    out.indptr, out.indices = indptr, indices
    out.data = np.ones(len(indices), np.float32) if values is None else values
    out.has_canonical_format = True
    return out
