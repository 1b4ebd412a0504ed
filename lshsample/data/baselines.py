"""Baselines for trained networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample.data.dataset import Dataset
from lshsample.errors import ArgumentError

__all__ = ["cosine_knn"]

#: Dense similarities that are held at once: rows of a block times training rows.
_BLOCK_CELLS = 2**23


def cosine_knn(
    train: Dataset, test: Dataset, k: int = 20, top: int = 5
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Predict labels by a vote of the k nearest training rows by cosine, weighted by the cosine.

    Parameters
    ----------
    train, test : Dataset
        Datasets with the same numbers of features and labels.
    k : int
        Number of neighbours.
    top : int
        Number of labels to predict.

    Returns
    -------
    labels : numpy.ndarray of int32, shape (test.n_rows, top)
        Best first, ties by the smaller label; -1 if fewer labels have a positive vote.
    scores : numpy.ndarray of float32, shape (test.n_rows, top)
        The sums of cosines; 0 for a label of -1.

    Raises
    ------
    ArgumentError
        The two datasets differ in their numbers of features or labels, or ``k`` or ``top`` is below 1.

    Notes
    -----
    Exact, by sparse products of blocks of rows: the time is that of ``test.x @ train.x.T``, the memory about
    100 MiB. Rows without features have cosine 0 with every row, and no votes.

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> train = Dataset.of(sp.csr_array([[1.0, 0.0], [0.0, 1.0]]), sp.csr_array([[1, 0, 1], [0, 1, 0]]))
    >>> labels, scores = cosine_knn(train, train, k=1, top=2)
    >>> labels
    array([[ 0,  2],
           [ 1, -1]], dtype=int32)
    """
    if (train.n_features, train.n_labels) != (test.n_features, test.n_labels):
        given = f"{test.n_features} features and {test.n_labels} labels"
        raise ArgumentError(
            "test", given, f"a dataset of {train.n_features} features and {train.n_labels} labels"
        )
    for argument, value in (("k", k), ("top", top)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise ArgumentError(argument, repr(value), "an integer >= 1")
    labels = np.full((test.n_rows, top), -1, np.int32)
    scores = np.zeros((test.n_rows, top), np.float32)
    if not train.n_rows:
        return labels, scores
    queries, rows = _unit_rows(test.x), sp.csr_array(_unit_rows(train.x).T)
    block = max(1, _BLOCK_CELLS // max(train.n_rows, train.n_labels, 1))
    for begin in range(0, test.n_rows, block):
        end = min(begin + block, test.n_rows)
        votes = _neighbours(queries[begin:end] @ rows, min(k, train.n_rows)) @ train.y
        _best_labels(sp.csr_array(votes), labels[begin:end], scores[begin:end])
    return labels, scores


def _unit_rows(x: sp.csr_array) -> sp.csr_array:
    """Rows scaled to length 1; empty rows remain empty."""
    length = np.sqrt(np.bincount(_row_of(x), weights=x.data.astype(np.float64) ** 2, minlength=x.shape[0]))
    unit = x.copy()
    unit.data = (x.data / np.where(length > 0, length, 1)[_row_of(x)]).astype(np.float32)
    return unit


def _row_of(x: Any) -> npt.NDArray[np.int64]:
    """The row of each stored entry."""
    return np.repeat(np.arange(x.shape[0]), np.diff(x.indptr))


def _neighbours(similarity: Any, k: int) -> sp.csr_array:
    """The k largest similarities of each row, negative ones as 0."""
    dense = similarity.toarray()
    nearest = np.argpartition(-dense, k - 1, axis=1)[:, :k]
    cosine = np.maximum(np.take_along_axis(dense, nearest, axis=1), 0)
    indptr = np.arange(0, cosine.size + 1, k)
    return sp.csr_array((cosine.reshape(-1), nearest.reshape(-1), indptr), shape=dense.shape)


def _best_labels(votes: Any, labels: npt.NDArray[np.int32], scores: npt.NDArray[np.float32]) -> None:
    """Fill in the labels of the largest positive votes, ties by the smaller label."""
    order = np.lexsort((votes.indices, -votes.data, _row_of(votes)))
    place = np.arange(len(order)) - votes.indptr[_row_of(votes)]
    kept = (place < labels.shape[1]) & (votes.data[order] > 0)
    row, column = _row_of(votes)[kept], place[kept]
    labels[row, column] = votes.indices[order][kept]
    scores[row, column] = votes.data[order][kept]
