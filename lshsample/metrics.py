"""Metrics of ranked predictions, and of samplers.

The conventions are those of the Extreme Classification Repository: every metric is a fraction, averaged over
all rows; a row without true labels counts as zero; P@k divides by k even if a row has fewer labels. A
predicted label of -1 means "no prediction" and is never correct; a label that is predicted twice for one row
is an error. :func:`intervals` gives several metrics at once, with bootstrap intervals over the rows.

References
----------
K. Bhatia et al., "The Extreme Classification Repository", 2016. H. Jain, Y. Prabhu, M. Varma, "Extreme
multi-label loss functions for recommendation, tagging, ranking & other missing label applications", KDD
2016. B. Efron, "Better bootstrap confidence intervals", Journal of the American Statistical Association 82,
1987.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from numbers import Real
from typing import Any, NamedTuple, Protocol

import attrs
import numpy as np
import numpy.typing as npt
import scipy
import scipy.sparse as sp

from lshsample._native import core
from lshsample._native.labels import label_rows
from lshsample.errors import ArgumentError, did_you_mean
from lshsample.specs import checked_integer

__all__ = [
    "MEASURES",
    "Calibration",
    "Interval",
    "by_frequency",
    "calibration",
    "f1_at_k",
    "intervals",
    "ndcg_at_k",
    "precision_at_k",
    "propensities",
    "propensities_of_counts",
    "psndcg_at_k",
    "psp_at_k",
    "recall_at_k",
    "sampler_recall",
]

Floats = npt.NDArray[np.float64]
Sums = tuple[Floats, Floats]
"""A metric as a ratio of two sums: the numerator and the denominator (n_rows,) that each row adds."""

#: Numbers of a block of bootstrap weights: 32 MiB.
_BLOCK = 2**22


class Interval(NamedTuple):
    """A metric with its confidence interval; ``low <= value <= high`` up to the bootstrap's resolution."""

    value: float
    low: float
    high: float


@attrs.define(eq=False)
class _Ranked:
    """Checked predictions: their first ``k``, which of them are true, and the pattern of true labels."""

    ids: npt.NDArray[np.int64]
    hits: npt.NDArray[np.bool_]
    pattern: sp.csr_array
    weight: Floats | None = None

    def at(self, k: int) -> _Ranked:
        """The first ``k`` predictions."""
        return _Ranked(self.ids[:, :k], self.hits[:, :k], self.pattern, self.weight)

    def weighed(self, propensity: npt.ArrayLike) -> _Ranked:
        """The same predictions with the weights of labels, 1 / propensity."""
        return attrs.evolve(self, weight=_inverse(propensity, self.pattern.shape[1]))

    @property
    def k(self) -> int:
        return int(self.hits.shape[1])

    @cached_property
    def n_true(self) -> npt.NDArray[np.int64]:
        """Number of true labels (n_rows,)."""
        return np.asarray(np.diff(self.pattern.indptr), np.int64)

    @cached_property
    def discount(self) -> Floats:
        """1 / log2(1 + rank) of each rank, (k,)."""
        return np.asarray(1 / np.log2(np.arange(self.k) + 2))

    @property
    def first_discounts(self) -> Floats:
        """The sum (n_rows,) of the first min(k, true labels) discounts; 1 without true labels."""
        sums = np.concatenate([[1.0], np.cumsum(self.discount)])
        return np.asarray(sums[np.minimum(self.n_true, self.k)])

    def weighted(self) -> Floats:
        """The weight (n_rows, k) of each prediction that is a hit, else 0."""
        assert self.weight is not None
        return np.asarray(self.hits * self.weight[np.where(self.hits, self.ids, 0)])

    def best(self, discount: Floats) -> Floats:
        """The sum (n_rows,) of the k largest weights of true labels, times the discount of their ranks."""
        assert self.weight is not None
        rows = np.repeat(np.arange(len(self.hits)), self.n_true)
        w = self.weight[self.pattern.indices]
        order = np.lexsort((-w, rows))
        place = np.arange(len(w)) - self.pattern.indptr[rows]
        first = place < self.k
        parts = w[order][first] * discount[place[first]]
        return np.bincount(rows[first], weights=parts, minlength=len(self.hits)).astype(np.float64)


def _precision(ranked: _Ranked) -> Sums:
    return ranked.hits.sum(axis=1).astype(np.float64), np.full(len(ranked.hits), float(ranked.k))


def _recall(ranked: _Ranked) -> Sums:
    return ranked.hits.sum(axis=1) / np.maximum(ranked.n_true, 1), np.ones(len(ranked.hits))


def _ndcg(ranked: _Ranked) -> Sums:
    return (ranked.hits @ ranked.discount) / ranked.first_discounts, np.ones(len(ranked.hits))


def _f1(ranked: _Ranked) -> Sums:
    n = (ranked.ids >= 0).sum(axis=1) + ranked.n_true
    return 2.0 * ranked.hits.sum(axis=1), n.astype(np.float64)


def _psp(ranked: _Ranked) -> Sums:
    return ranked.weighted().sum(axis=1), ranked.best(np.ones(ranked.k))


def _psndcg(ranked: _Ranked) -> Sums:
    sums = ranked.first_discounts
    return (ranked.weighted() @ ranked.discount) / sums, ranked.best(ranked.discount) / sums


_SUMS: dict[str, Callable[[_Ranked], Sums]] = {
    "p": _precision,
    "r": _recall,
    "ndcg": _ndcg,
    "f1": _f1,
    "psp": _psp,
    "psndcg": _psndcg,
}
#: The names of the metrics of :func:`intervals`, and whether they need propensities.
MEASURES: Mapping[str, bool] = {name: name.startswith("ps") for name in _SUMS}


def _value(sums: Sums) -> float:
    return float(_ratio(sums[0].sum(), sums[1].sum()))


def _ratio(numerator: Any, denominator: Any) -> Floats:
    """Ratios of arrays; 0 where the denominator is."""
    some = np.asarray(denominator) > 0
    return np.asarray(np.where(some, numerator, 0.0) / np.where(some, denominator, 1.0))


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
    return _value(_precision(_ranked(labels, y, k)))


def recall_at_k(labels: npt.ArrayLike, y: Any, k: int | None = None) -> float:
    """R@k: the mean share of a row's true labels that are among its first k predictions.

    Parameters and errors as for :func:`precision_at_k`.

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> recall_at_k([[0, 1]], sp.csr_array([[1, 0, 1, 0]]))
    0.5
    """
    return _value(_recall(_ranked(labels, y, k)))


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
    return _value(_ndcg(_ranked(labels, y, k)))


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
    return _value(_f1(_ranked(labels, y, k)))


def by_frequency(
    labels: npt.ArrayLike,
    y: Any,
    count: npt.ArrayLike,
    k: int | None = None,
    *,
    level: float | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Precision, recall and F1 of the labels in bins by their number of training rows.

    Parameters
    ----------
    labels, y, k
        As for :func:`precision_at_k`.
    count : array_like of int, shape (n_labels,)
        The number of training rows of each label.
    level : float, optional
        The level of confidence intervals, such as 0.95; without it there are none.
    n_resamples, seed : int
        As for :func:`intervals`.

    Returns
    -------
    list of dict
        For each bin, 0, 1 to 9, 10 to 99, ..., that has labels: ``rows`` (its bounds, both included),
        ``labels`` (their number), ``true`` (their occurrences in y), and the fractions ``precision``,
        ``recall`` and ``f1`` of all predictions of its labels together; 0 where there are none. With a
        ``level``, also ``intervals``: an :class:`Interval` of each fraction by its name.

    Raises
    ------
    ArgumentError
        As for P@k and :func:`intervals`, and if ``count`` has another shape or negative values.

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
    ranked = _ranked(labels, y, k)
    pattern, counts = ranked.pattern, np.asarray(count)
    if counts.shape != (pattern.shape[1],) or counts.dtype.kind not in "iu" or (counts < 0).any():
        wanted = f"an array of {pattern.shape[1]} integers of at least 0, one for each label"
        raise ArgumentError("count", f"{counts.dtype} of shape {counts.shape}", wanted)
    # 0 for no rows, d for a number of d digits.
    digits = np.searchsorted(10 ** np.arange(19), counts, side="right")
    n_rows, n_bins = len(ranked.hits), int(digits.max(initial=0)) + 1
    sizes = np.bincount(digits, minlength=n_bins)

    def of_rows(rows: npt.NDArray[np.int64], ids: npt.NDArray[np.integer[Any]]) -> Floats:
        """How often each row has labels of each bin, (n_rows, n_bins)."""
        cells = np.bincount(rows * n_bins + digits[ids], minlength=n_rows * n_bins)
        return cells.reshape(n_rows, n_bins).astype(np.float64)

    true = of_rows(np.repeat(np.arange(n_rows), ranked.n_true), pattern.indices)
    predicted, found = (
        of_rows(np.nonzero(mask)[0], ranked.ids[mask]) for mask in (ranked.ids >= 0, ranked.hits)
    )
    fractions = {
        "precision": (found, predicted),
        "recall": (found, true),
        "f1": (2 * found, predicted + true),
    }
    values = {
        name: _ratio(above.sum(axis=0), below.sum(axis=0)) for name, (above, below) in fractions.items()
    }
    bins: list[dict[str, Any]] = [
        {
            "rows": (10 ** (d - 1), 10**d - 1) if d else (0, 0),
            "labels": int(sizes[d]),
            "true": int(true[:, d].sum()),
            **{name: float(value[d]) for name, value in values.items()},
        }
        for d in np.flatnonzero(sizes).tolist()
    ]
    if level is not None:
        both = [np.hstack([pair[side] for pair in fractions.values()]) for side in (0, 1)]
        each = _bootstrap(both[0], both[1], level, n_resamples, seed)
        for one, d in zip(bins, np.flatnonzero(sizes).tolist(), strict=True):
            one["intervals"] = {name: each[i * n_bins + d] for i, name in enumerate(fractions)}
    return bins


def intervals(
    labels: npt.ArrayLike,
    y: Any,
    measures: Iterable[str] = ("p@1", "p@3", "p@5"),
    *,
    propensity: npt.ArrayLike | None = None,
    level: float = 0.95,
    n_resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Interval]:
    """Metrics with bootstrap confidence intervals.

    Parameters
    ----------
    labels : array_like of int, shape (n_rows, >= k)
        Predicted labels, best first.
    y : sparse or dense array, shape (n_rows, n_labels), or lists of ids
        True labels.
    measures : iterable of str
        Names of ``MEASURES`` with a number of predictions: ``"p@1"``, ``"psp@5"``, ``"ndcg@3"``.
    propensity : array_like of float, shape (n_labels,), optional
        From :func:`propensities` of the training labels, for ``psp`` and ``psndcg``.
    level : float
        The level of confidence, above 0 and below 1.
    n_resamples : int
        Number of bootstrap samples.
    seed : int
        Determines them.

    Returns
    -------
    dict of str to Interval
        ``value``, ``low`` and ``high`` of each measure, by its name.

    Raises
    ------
    ArgumentError
        As for :func:`precision_at_k` and :func:`psp_at_k`; an unknown measure, or propensities that are
        missing; ``level`` or ``n_resamples`` out of range.

    Notes
    -----
    Rows are drawn with replacement, as many as there are. Each metric is a ratio of two sums over the rows,
    which are resampled together; the interval has the bias-corrected and accelerated (BCa) percentiles of the
    resampled ratios (Efron 1987), with the acceleration of the jackknife. All measures share the resamples,
    so that the cost is O(n_resamples n_rows) once, and as much again for each 10 measures: two seconds for
    65,000 rows. Intervals are for other rows of the same kind and this model, not for other trainings.

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> y = sp.csr_array([[1, 0, 1], [0, 1, 0], [0, 0, 1], [1, 0, 0]])
    >>> found = intervals([[0, 2], [1, 0], [0, 1], [0, 1]], y, ["p@1", "r@2"])
    >>> found["p@1"].value, found["r@2"].value
    (0.75, 0.75)
    >>> 0 <= found["p@1"].low < 0.75 < found["p@1"].high <= 1
    True
    """
    wanted = [_measure(text) for text in measures]
    if not wanted:
        raise ArgumentError("measures", "none", "at least one, such as 'p@1'")
    scored = next((name for name, _ in wanted if MEASURES[name]), None)
    if scored is not None and propensity is None:
        raise ArgumentError("propensity", "nothing", f"given, as {scored} needs it: propensities(y_train)")
    ranked = _ranked(labels, y, max(k for _, k in wanted))
    if scored is not None and propensity is not None:
        ranked = ranked.weighed(propensity)
    sums = [_SUMS[name](ranked.at(k)) for name, k in wanted]
    above, below = (np.stack([pair[side] for pair in sums], axis=1) for side in (0, 1))
    each = _bootstrap(above, below, level, n_resamples, seed)
    return {f"{name}@{k}": one for (name, k), one in zip(wanted, each, strict=True)}


def _measure(text: Any) -> tuple[str, int]:
    """The name and the number of predictions of a measure."""
    name, at, number = text.partition("@") if isinstance(text, str) else ("", "", "")
    if name not in MEASURES or not at or not number.isdecimal() or int(number) < 1:
        hint = did_you_mean(name, MEASURES)
        raise ArgumentError(
            "measures", repr(text), f"such as 'p@1', with a name of {', '.join(MEASURES)}{hint}"
        )
    return name, int(number)


def _bootstrap(above: Floats, below: Floats, level: float, n_resamples: int, seed: int) -> list[Interval]:
    """BCa intervals of the ratios of sums of columns: arrays (n_rows, n_ratios) of what each row adds."""
    if isinstance(level, bool) or not isinstance(level, Real) or not 0 < level < 1:
        raise ArgumentError("level", repr(level), "a number above 0 and below 1")
    checked_integer("n_resamples", n_resamples, 1, 10**6)
    generator = np.random.default_rng(checked_integer("seed", seed, 0))
    both, n = np.hstack([above, below]), len(above)
    drawn, size = np.empty((n_resamples, both.shape[1])), max(_BLOCK // n, 1)
    for begin in range(0, n_resamples, size):
        m = min(size, n_resamples - begin)
        cells = generator.integers(n, size=(m, n)) + n * np.arange(m)[:, None]
        drawn[begin : begin + m] = np.bincount(cells.ravel(), minlength=m * n).reshape(m, n) @ both
    ratios = _ratio(*np.hsplit(drawn, 2))
    total = both.sum(axis=0)
    value = _ratio(*np.split(total, 2))
    without = _ratio(*np.hsplit(np.maximum(total - both, 0.0), 2))
    return [
        Interval(float(value[i]), *_bca(ratios[:, i], float(value[i]), without[:, i], float(level)))
        for i in range(len(value))
    ]


def _bca(ratios: Floats, value: float, without: Floats, level: float) -> tuple[float, float]:
    """The bounds from resampled ratios, the ratio, and the ratios without one row each (Efron 1987, 2.3)."""
    rounding = 1e-12 * value  # ties are counted half
    below = (np.sum(ratios < value - rounding) + np.sum(ratios <= value + rounding)) / (2 * len(ratios))
    if not 0 < below < 1:  # all resamples on one side: there is no bias to correct
        below = np.float64(0.5)
    bias = scipy.special.ndtri(below)
    spread = without.mean() - without
    # Rounding leaves a spread where all rows are the same.
    scale = (spread**2).sum() ** 1.5
    acceleration = (spread**3).sum() / (6 * scale) if scale > 1e-40 else 0.0
    normal = bias + scipy.special.ndtri(np.array([(1 - level) / 2, (1 + level) / 2]))
    at = scipy.special.ndtr(bias + normal / (1 - acceleration * normal))
    low, high = np.quantile(ratios, at)
    return float(low), float(high)


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
    return propensities_of_counts(count, pattern.shape[0], a, b)


def propensities_of_counts(counts: npt.ArrayLike, n_rows: int, a: float = 0.55, b: float = 1.5) -> Floats:
    """Propensities from how many training rows each label has; see :func:`propensities`.

    Parameters
    ----------
    counts : array_like of int, shape (n_labels,)
        Training rows of each label; ``b`` is above 0 if some are 0.
    n_rows : int
        Number of training rows.
    a, b : float
        The model's A and B.

    Returns
    -------
    numpy.ndarray of float64, shape (n_labels,)
        In (0, 1].

    Examples
    --------
    >>> propensities_of_counts([4, 1], 4).round(3)
    array([0.8  , 0.721])
    """
    n_rows = checked_integer("n_rows", n_rows, 1)
    c = max(np.log(n_rows) - 1, 0.0) * (b + 1) ** a
    return np.asarray(1 / (1 + c * (np.asarray(counts) + b) ** -a), dtype=np.float64)


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
    return _value(_psp(_ranked(labels, y, k).weighed(propensity)))


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
    return _value(_psndcg(_ranked(labels, y, k).weighed(propensity)))


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


def _ranked(labels: npt.ArrayLike, y: Any, k: int | None) -> _Ranked:
    """The checked first k predictions."""
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
    return _Ranked(ids, _contains(own, keys) & (ids >= 0), pattern)


def _label_array(labels: Any, argument: str) -> npt.NDArray[np.int64]:
    ids = core.array_of(labels, argument)
    if ids.ndim != 2 or ids.dtype.kind not in "iu" or not ids.shape[1]:
        raise ArgumentError(
            argument, f"{ids.dtype} of shape {ids.shape}", "an integer array of shape (n_rows, k), k >= 1"
        )
    return ids.astype(np.int64)


@attrs.frozen(kw_only=True, eq=False)
class Calibration:
    """How probabilities compare with how often they are right.

    Attributes
    ----------
    error : float
        The expected calibration error: the mean over all predictions of the difference between the mean
        probability of a bin and the share of its predictions that are right, from 0 to 1.
    probability, right, count : (n_bins,) arrays
        The mean probability, the share that is right, and the number of predictions of each bin; NaN in an
        empty bin.
    """

    error: float
    probability: Floats
    right: Floats
    count: npt.NDArray[np.int64]


def calibration(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, y: Any, *, n_bins: int = 15
) -> Calibration:
    """The reliability of probabilities, in bins of equal width.

    Parameters
    ----------
    labels : array_like of int, shape (n_rows, k)
        Predicted labels; -1 for none.
    probabilities : array_like of float, shape (n_rows, k)
        From 0 to 1.
    y : sparse or dense array, shape (n_rows, n_labels), or lists of ids
        True labels.
    n_bins : int
        Bins of equal width from 0 to 1.

    Returns
    -------
    Calibration

    Raises
    ------
    ArgumentError
        Shapes or ids do not match, or numbers that are no probabilities.

    Notes
    -----
    Naeini et al., "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015.

    Examples
    --------
    >>> chances = [[0.9], [0.9], [0.1], [0.1]]
    >>> found = calibration([[0], [1], [0], [1]], chances, [[0], [1], [1], [0]], n_bins=2)
    >>> round(found.error, 3), found.right.tolist()
    (0.1, [0.0, 1.0])
    """
    ranked = _ranked(labels, y, None)
    given = np.asarray(probabilities, np.float64)
    if given.shape != ranked.hits.shape:
        raise ArgumentError(
            "probabilities", f"shape {given.shape}", f"the shape of labels, {ranked.hits.shape}"
        )
    named = ranked.ids >= 0
    chances, hits = given[named], ranked.hits[named]
    if not ((chances >= 0) & (chances <= 1)).all():
        raise ArgumentError("probabilities", "others", "numbers from 0 to 1")
    n_bins = checked_integer("n_bins", n_bins, 1, 10**6)
    at = np.minimum((chances * n_bins).astype(np.int64), n_bins - 1)
    count = np.bincount(at, minlength=n_bins)
    with np.errstate(invalid="ignore"):
        mean, right = (np.bincount(at, weights=w, minlength=n_bins) / count for w in (chances, hits))
    gaps = np.nan_to_num(np.abs(mean - right)) * count
    return Calibration(
        error=float(gaps.sum() / max(count.sum(), 1)), probability=mean, right=right, count=count
    )
