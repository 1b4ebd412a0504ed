"""Metrics of ranked predictions, and of samplers.

The conventions are those of the Extreme Classification Repository: every metric is a fraction, averaged over
all rows; a row without true labels counts as zero; P@k divides by k even if a row has fewer labels. A
predicted label of -1 means "no prediction" and is never correct; a label that is predicted twice for one row
is an error.

References
----------
K. Bhatia et al., "The Extreme Classification Repository", 2016. H. Jain, Y. Prabhu, M. Varma, "Extreme
multi-label loss functions for recommendation, tagging, ranking & other missing label applications", KDD
2016.
"""

from __future__ import annotations

from numbers import Real
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample._native import core
from lshsample._native.labels import label_rows
from lshsample.errors import ArgumentError

__all__ = [
    "by_frequency",
    "f1_at_k",
    "ndcg_at_k",
    "precision_at_k",
    "propensities",
    "psndcg_at_k",
    "psp_at_k",
    "recall_at_k",
    "sampler_recall",
]

Floats = npt.NDArray[np.float64]


class ActiveIds(Protocol):
    """The attributes of an active set that :func:`sampler_recall` uses."""

    @property
    def indptr(self) -> npt.NDArray[np.int64]:
        """Row pointers, (n_rows + 1,), or (2,) for a set that all rows share."""

    @property
    def ids(self) -> npt.NDArray[np.int32]:
        """The ids, ascending in a row."""


def precision_at_k(labels: npt.ArrayLike, y: Any, k: int | None = None) -> float:
    """P@k: the mean share of true labels among the first k predictions.

    Parameters
    ----------
    labels : array_like of int, shape (n_rows, >= k)
        Predicted labels, best first.
    y : sparse or dense array, shape (n_rows, n_labels), or lists of ids
        True labels: 1 for a label, 0 for none, or the ids of each row's labels.
    k : int, optional
        Number of predictions; by default all columns of ``labels``.

    Returns
    -------
    float
        From 0 to 1.

    Raises
    ------
    ArgumentError
        Shapes or ids do not match, or a label is predicted twice for one row.

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> y = sp.csr_array([[1, 0, 1, 0], [0, 1, 0, 0]])
    >>> precision_at_k([[0, 1], [1, 0]], y, 1), precision_at_k([[0, 1], [1, 0]], y, 2)
    (1.0, 0.5)
    """
    hits, _ = _hits(labels, y, k)
    return float(hits.mean())


def recall_at_k(labels: npt.ArrayLike, y: Any, k: int | None = None) -> float:
    """R@k: the mean share of a row's true labels that are among its first k predictions.

    Parameters and errors as for :func:`precision_at_k`.

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> recall_at_k([[0, 1]], sp.csr_array([[1, 0, 1, 0]]))
    0.5
    """
    hits, pattern = _hits(labels, y, k)
    n_true = np.diff(pattern.indptr)
    return float(np.mean(hits.sum(axis=1) / np.maximum(n_true, 1)))


def ndcg_at_k(labels: npt.ArrayLike, y: Any, k: int | None = None) -> float:
    """nDCG@k: hits discounted by log2(1 + rank), divided by the largest value possible for the row.

    Parameters and errors as for :func:`precision_at_k`.

    Notes
    -----
    DCG@k = sum over ranks i = 1..k of hit_i / log2(1 + i), divided by sum over i = 1..min(k, labels of the
    row) of 1 / log2(1 + i) (Bhatia et al. 2016).

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> round(ndcg_at_k([[0, 1]], sp.csr_array([[0, 1, 0, 0]])), 4)
    0.6309
    """
    hits, pattern = _hits(labels, y, k)
    discount = 1 / np.log2(np.arange(hits.shape[1]) + 2)
    best = np.concatenate([[0], np.cumsum(discount)])[np.minimum(np.diff(pattern.indptr), hits.shape[1])]
    return float(np.mean((hits @ discount) / np.where(best > 0, best, 1)))


def f1_at_k(labels: npt.ArrayLike, y: Any, k: int | None = None) -> float:
    """F1@k: the harmonic mean of precision and recall of all predictions of all rows together (micro-F1).

    Parameters and errors as for :func:`precision_at_k`.

    Notes
    -----
    2 hits / (predictions + true labels); a label of -1 is no prediction.

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> f1_at_k([[0, 1]], sp.csr_array([[1, 0, 1, 0]]))
    0.5
    """
    hits, pattern = _hits(labels, y, k)
    n = int((np.asarray(labels)[:, : hits.shape[1]] >= 0).sum()) + pattern.nnz
    return float(2 * hits.sum() / n) if n else 0.0


def by_frequency(
    labels: npt.ArrayLike, y: Any, count: npt.ArrayLike, k: int | None = None
) -> list[dict[str, Any]]:
    """Precision, recall and F1 of the labels in bins by their number of training rows.

    Parameters
    ----------
    labels, y, k
        As for :func:`precision_at_k`.
    count : array_like of int, shape (n_labels,)
        The number of training rows of each label.

    Returns
    -------
    list of dict
        For each bin, 0, 1 to 9, 10 to 99, ..., that has labels: ``rows`` (its bounds, both included),
        ``labels`` (their number), ``true`` (their occurrences in y), and the fractions ``precision``,
        ``recall`` and ``f1`` of all predictions of its labels together; 0 where there are none.

    Raises
    ------
    ArgumentError
        As for P@k, and if ``count`` has another shape or negative values.

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> y = sp.csr_array([[1, 0, 1], [0, 1, 0]])
    >>> for one in by_frequency([[0, 1], [1, 0]], y, [12, 3, 0]):
    ...     print(one["rows"], one["labels"], one["true"], one["precision"], one["recall"])
    (0, 0) 1 1 0.0 0.0
    (1, 9) 1 1 0.5 1.0
    (10, 99) 1 1 0.5 1.0
    """
    hits, pattern = _hits(labels, y, k)
    counts = np.asarray(count)
    if counts.shape != (pattern.shape[1],) or counts.dtype.kind not in "iu" or (counts < 0).any():
        wanted = f"an array of {pattern.shape[1]} integers of at least 0, one for each label"
        raise ArgumentError("count", f"{counts.dtype} of shape {counts.shape}", wanted)
    # 0 for no rows, d for a number of d digits.
    digits = np.searchsorted(10 ** np.arange(19), counts, side="right")
    ids = np.asarray(labels)[:, : hits.shape[1]]
    n_bins = int(digits.max(initial=0)) + 1
    sizes = np.bincount(digits, minlength=n_bins)
    true = np.bincount(digits[pattern.indices], minlength=n_bins)
    predicted = np.bincount(digits[ids[ids >= 0]], minlength=n_bins)
    found = np.bincount(digits[ids[hits]], minlength=n_bins)
    return [
        {
            "rows": (10 ** (d - 1), 10**d - 1) if d else (0, 0),
            "labels": int(sizes[d]),
            "true": int(true[d]),
            "precision": float(found[d] / max(predicted[d], 1)),
            "recall": float(found[d] / max(true[d], 1)),
            "f1": float(2 * found[d] / max(predicted[d] + true[d], 1)),
        }
        for d in np.flatnonzero(sizes).tolist()
    ]


def propensities(y: Any, a: float = 0.55, b: float = 1.5) -> Floats:
    """Propensity of each label: the probability that it is recorded where it is true (Jain et al. 2016).

    Parameters
    ----------
    y : sparse or dense array, shape (n_rows, n_labels), or lists of ids
        The training labels: 1 for a label, 0 for none.
    a, b : float
        The model's A and B; (0.55, 1.5) by default, (0.5, 0.4) for Wikipedia, (0.6, 2.6) for Amazon data.

    Returns
    -------
    numpy.ndarray of float64, shape (n_labels,)
        In (0, 1].

    Raises
    ------
    ArgumentError
        No rows, bad labels, a or b out of range; ``b=0`` if there are labels without rows, whose propensity
        would be 0.

    Notes
    -----
    p_l = 1 / (1 + C (N_l + B)^-A), C = (ln N - 1)(B + 1)^A, for N rows, N_l of them with label l (Jain et
    al. 2016, section 4). C is taken as 0 for N < 3, where it would be negative.

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> propensities(sp.csr_array([[1, 0], [1, 0], [1, 0], [1, 1]])).round(3)
    array([0.8  , 0.721])
    """
    for name, value in (("a", a), ("b", b)):
        number = isinstance(value, Real) and not isinstance(value, bool)
        if not (number and 0 <= value < np.inf):
            raise ArgumentError(name, repr(value), "a finite number of at least 0")
    pattern = label_rows(y, "y")
    if not pattern.shape[0]:
        raise ArgumentError("y", "no rows", "a matrix with at least one row")
    count = np.bincount(pattern.indices, minlength=pattern.shape[1])
    if not b and (rare := np.flatnonzero(count == 0)).size:
        given = f"0, and label {rare[0]} has no rows"
        raise ArgumentError("b", given, "above 0 where a label has no rows: its propensity would be 0")
    c = max(np.log(pattern.shape[0]) - 1, 0.0) * (b + 1) ** a
    return np.asarray(1 / (1 + c * (count + b) ** -a), dtype=np.float64)


def psp_at_k(labels: npt.ArrayLike, y: Any, propensity: npt.ArrayLike, k: int | None = None) -> float:
    """PSP@k: P@k with each hit weighted by 1 / propensity, divided by its largest possible value.

    Parameters
    ----------
    labels, y, k
        As for :func:`precision_at_k`.
    propensity : array_like of float, shape (n_labels,)
        From :func:`propensities` of the *training* labels.

    Returns
    -------
    float
        From 0 to 1: the ratio of the two sums over all rows, as in the scripts of the repository.

    Raises
    ------
    ArgumentError
        As for P@k, and if a propensity is not in (0, 1].

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> round(psp_at_k([[0], [0]], sp.csr_array([[1, 0], [1, 1]]), [1.0, 0.5]), 4)
    0.6667
    """
    hits, pattern = _hits(labels, y, k)
    weight = _inverse(propensity, pattern.shape[1])
    reached = _weighted(hits, labels, weight).sum()
    best = _best(pattern, weight, hits.shape[1])[2].sum()
    return float(reached / best) if best else 0.0


def psndcg_at_k(labels: npt.ArrayLike, y: Any, propensity: npt.ArrayLike, k: int | None = None) -> float:
    """PSnDCG@k: nDCG@k with each hit weighted by 1 / propensity, divided by its largest possible value.

    Parameters, result and errors as for :func:`psp_at_k`.

    Notes
    -----
    As for nDCG@k, the sum of a row is divided by that of 1 / log2(1 + i) over its first min(k, labels of the
    row) ranks i; the largest possible value has the row's true labels by descending weight.

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> y = sp.csr_array([[1, 0], [1, 1]])
    >>> psndcg_at_k([[0, 1], [1, 0]], y, [1.0, 0.5])
    1.0
    >>> round(psndcg_at_k([[1, 0], [0, 1]], y, [1.0, 0.5]), 4)
    0.7722
    """
    hits, pattern = _hits(labels, y, k)
    weight = _inverse(propensity, pattern.shape[1])
    discount = 1 / np.log2(np.arange(hits.shape[1]) + 2)
    sums = np.concatenate([[1], np.cumsum(discount)])[np.minimum(np.diff(pattern.indptr), hits.shape[1])]
    reached = ((_weighted(hits, labels, weight) @ discount) / sums).sum()
    rows, place, weights = _best(pattern, weight, hits.shape[1])
    best = (weights * discount[place] / sums[rows]).sum()
    return float(reached / best) if best else 0.0


def _inverse(propensity: npt.ArrayLike, n_labels: int) -> Floats:
    """1 / propensity of each label."""
    p = np.asarray(propensity, dtype=np.float64)
    if p.shape != (n_labels,):
        raise ArgumentError(
            "propensity", f"shape {p.shape}", f"an array of shape ({n_labels},), one value for each label"
        )
    if not ((p > 0) & (p <= 1)).all():
        raise ArgumentError("propensity", "a value outside this interval", "in (0, 1]")
    return 1 / p


def _weighted(hits: npt.NDArray[np.bool_], labels: npt.ArrayLike, weight: Floats) -> Floats:
    """The weight of each prediction that is a hit, else 0."""
    if not hits.any():
        return np.zeros(hits.shape)
    ids = np.asarray(labels)[:, : hits.shape[1]]
    return hits * weight[np.where(hits, ids, 0)]


def _best(
    pattern: sp.csr_array, weight: Floats, k: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Floats]:
    """The k largest weights of true labels of each row: their row, their rank from 0, and they."""
    rows = np.repeat(np.arange(pattern.shape[0]), np.diff(pattern.indptr))
    w = weight[pattern.indices]
    order = np.lexsort((-w, rows))
    place = np.arange(len(w)) - pattern.indptr[rows]
    first = place < k
    return rows[first], place[first], w[order][first]


def sampler_recall(active: ActiveIds, relevant: Any) -> float:
    """The share of true ids that an active set contains, over all rows together.

    Parameters
    ----------
    active : ActiveSet
        Any object with ``indptr`` and ``ids`` (ascending in a row). A single row is shared by all rows
        (pooled).
    relevant : scipy.sparse array of shape (n_rows, n_items), or array_like of int of shape (n_rows, k)
        The true ids: the true labels (1 for a label, 0 for none), or the exact top k, with -1 for none.

    Returns
    -------
    float
        From 0 to 1; 1 if there are no true ids.

    Raises
    ------
    ArgumentError
        The numbers of rows differ.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> active = SimpleNamespace(indptr=np.array([0, 2, 3]), ids=np.array([1, 4, 0]))
    >>> sampler_recall(active, [[4, 2], [0, -1]])
    0.6666666666666666
    """
    rows, ids, n_rows = _relevant_pairs(relevant)
    indptr, found = np.asarray(active.indptr), np.asarray(active.ids)
    is_shared = len(indptr) == 2 and n_rows != 1
    if not is_shared and len(indptr) - 1 != n_rows:
        raise ArgumentError(
            "relevant", f"{n_rows} rows", f"an array of {len(indptr) - 1} rows, as many as the active set"
        )
    if not len(ids):
        return 1.0
    span = int(max(ids.max(), found.max(initial=0))) + 1
    own = np.zeros(len(found), np.int64) if is_shared else np.repeat(np.arange(n_rows), np.diff(indptr))
    key = (ids if is_shared else rows * span + ids).astype(np.int64)
    return float(_contains(own * span + found, key).mean())


def _relevant_pairs(relevant: Any) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], int]:
    """The rows and ids of all true ids, and the number of rows."""
    if sp.issparse(relevant):
        pattern = label_rows(relevant, "relevant")
        rows = np.repeat(np.arange(pattern.shape[0]), np.diff(pattern.indptr))
        return rows, pattern.indices.astype(np.int64), int(pattern.shape[0])
    ids = _label_array(relevant, "relevant")
    rows, columns = np.nonzero(ids >= 0)
    return rows, ids[rows, columns], len(ids)


def _contains(sorted_keys: npt.NDArray[np.int64], keys: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which keys are in an ascending array."""
    if not len(sorted_keys):
        return np.zeros(keys.shape, np.bool_)
    place = np.minimum(np.searchsorted(sorted_keys, keys), len(sorted_keys) - 1)
    return np.asarray(sorted_keys[place] == keys)


def _hits(labels: npt.ArrayLike, y: Any, k: int | None) -> tuple[npt.NDArray[np.bool_], sp.csr_array]:
    """Which of the first k predictions are true, (n_rows, k), and the pattern of true labels."""
    pattern = label_rows(y, "y")
    ids = _label_array(labels, "labels")
    if len(ids) != pattern.shape[0] or not len(ids):
        raise ArgumentError(
            "labels",
            f"{len(ids)} rows",
            f"an array of {pattern.shape[0]} rows, as many as y, and at least one",
        )
    columns = ids.shape[1] if k is None else k
    if (
        isinstance(columns, bool)
        or not isinstance(columns, (int, np.integer))
        or not 1 <= columns <= ids.shape[1]
    ):
        raise ArgumentError(
            "k", repr(k), f"an integer from 1 to {ids.shape[1]}, the number of columns of labels"
        )
    ids = ids[:, :columns]
    if ids.max() >= pattern.shape[1]:
        raise ArgumentError(
            "labels", f"label {ids.max()}", f"less than {pattern.shape[1]}, the number of columns of y"
        )
    ordered = np.sort(ids, axis=1)
    if ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any():
        raise ArgumentError("labels", "a label twice in a row", "different within each row")
    own = np.repeat(np.arange(len(ids)), np.diff(pattern.indptr)) * pattern.shape[1] + pattern.indices
    keys = np.arange(len(ids))[:, None] * pattern.shape[1] + ids
    return _contains(own, keys) & (ids >= 0), pattern


def _label_array(labels: Any, argument: str) -> npt.NDArray[np.int64]:
    ids = core.array_of(labels, argument)
    if ids.ndim != 2 or ids.dtype.kind not in "iu" or not ids.shape[1]:
        raise ArgumentError(
            argument, f"{ids.dtype} of shape {ids.shape}", "an integer array of shape (n_rows, k), k >= 1"
        )
    return ids.astype(np.int64)
