"""The mixture: the probability of a label from what each part says of it, fitted on held-out rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample import specs
from lshsample._native.labels import label_rows
from lshsample._native.topk import top_k_ragged
from lshsample.errors import ArgumentError
from lshsample.metrics import propensities_of_counts
from lshsample.xc.isotonic import Isotonic

__all__ = ["SMALLEST", "Mixture", "Scored"]

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
#: What a part says of rows: labels (n, k) int32, -1 for none, and values from 0 to 1 (n, k) float32.
Scored = tuple[Int32, Float32]

#: Added to a value before its logarithm; a label that a part does not name has the value 0.
SMALLEST = 1e-3
#: A part stays if without it the log loss is larger by more than this share.
_PAYS = 1e-3
#: Weights of a part, and those of them that depend on the other labels of the row.
_OF_PART, _RELATIVE = 5, 2
#: Strength of the L2 penalty on the weights of standardised features, in rows.
_PENALTY = 1.0
_ITERATIONS = 25
#: Strength of the penalty on the distance from the former weights when a mixture is fitted again.
_KEPT = 100.0
#: Logarithms of probabilities that are closer to 0 have the log odds of this one.
_SURE = 1e-9
#: Labels of a row, the best, whose probabilities are calibrated.
_BEST = 5
#: Pairs of a row and a label by which the weights are fitted and by which mixtures are compared, at most.
_FITTED, _COMPARED = 400_000, 100_000


def _isotonic(value: Isotonic | Mapping[str, Any]) -> Isotonic:
    return value if isinstance(value, Isotonic) else specs.from_dict(Isotonic, value)


def _tuple(values: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(values)


@attrs.frozen(kw_only=True)
class Mixture:
    """A logistic regression on the values that the parts of a classifier give to a label.

    Attributes
    ----------
    parts : tuple of str
        The parts that are mixed.
    weights : tuple of float
        Five for each part: for its value v, for sqrt(v), for log(v + 0.001), and, if ``relative``, for v
        divided by the largest value of the row, and for v being the largest; then one for the logarithm of
        1 + the number of the label's training rows; with ``by_frequency`` one more for each part, for the
        product of the latter and sqrt(v).
    intercept : float
    by_frequency : bool
        Whether a part's weight depends on how frequent a label is.
    relative : bool
        Whether the probability of a label depends on the other labels of the row.
    tail : float
        Labels are ranked by their probability / propensity^tail: with 1 for the largest PSP@k, with 0 for the
        largest P@k.
    n_rows : int
        Training rows, for propensities.
    calibration : Isotonic
        Turns the log odds of the regression into those of the result; fitted on the five best labels of the
        held-out rows, if that lowers the log loss of each half under the calibration by the other half.

    Notes
    -----
    The result is a probability that the label is one of the row's, calibrated on the held-out rows. A part is
    left out if without it the log loss on held-out rows rises by at most 0.1 %, by cross-validation in two
    halves; the weights by frequency are there if with them it is smaller, and the best label is right for
    more rows.

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> labels = np.array([[0, 1], [1, 0], [1, 2], [2, 1]] * 10, np.int32)
    >>> values = np.array([[0.9, 0.1], [0.8, 0.3], [0.7, 0.1], [0.9, 0.2]] * 10, np.float32)
    >>> truth = sp.csr_array(np.eye(3)[[0, 1, 1, 2] * 10])
    >>> counts = np.array([20, 40, 20])
    >>> mixture = Mixture.fit({"linear": (labels, values)}, truth, counts)
    >>> found, probabilities = mixture.predict({"linear": (labels[:1], values[:1])}, counts, 1)
    >>> found.tolist(), bool(probabilities[0, 0] > 0.7)
    ([[0]], True)
    """

    parts: tuple[str, ...] = attrs.field(converter=_tuple)
    weights: tuple[float, ...] = attrs.field(converter=_tuple)
    intercept: float
    by_frequency: bool = False
    relative: bool = True
    tail: float = 0.0
    n_rows: int = 1
    calibration: Isotonic = attrs.field(factory=Isotonic, converter=_isotonic)

    def __attrs_post_init__(self) -> None:
        of_part = _OF_PART + self.by_frequency - (0 if self.relative else _RELATIVE)
        wanted = len(self.parts) * of_part + 1
        if len(self.weights) != wanted:
            raise ArgumentError(
                "weights", f"{len(self.weights)} numbers", f"{wanted} numbers for {self.parts}"
            )

    @classmethod
    def fit(
        cls,
        scored: Mapping[str, Scored],
        truth: Any,
        counts: npt.ArrayLike,
        *,
        parts: tuple[str, ...] | None = None,
        relative: bool = True,
    ) -> Self:
        """The mixture of the parts that helps on held-out rows.

        Parameters
        ----------
        scored : mapping of str to (labels, values)
            What each part says of the held-out rows.
        truth : csr_array, shape (rows, n_labels)
            Their labels.
        counts : (n_labels,) integers
            The number of training rows of each label.
        parts : tuple of str, optional
            The parts that are mixed; by default those that help.
        relative : bool
            See the class.

        Returns
        -------
        Mixture

        Raises
        ------
        ArgumentError
            No part, or no row with a label that a part names.
        """
        if not scored:
            raise ArgumentError("scored", "no part", "at least one part")
        first = next(iter(scored.values()))[0]
        labels: Any = label_rows(truth, "truth", np.asarray(counts).size, len(first))
        pairs = _Pairs.of(scored, np.asarray(counts))
        hits = pairs.hits(labels)
        if not hits.any():
            raise ArgumentError("truth", "no label that a part names", "rows with at least one such label")
        weigh = _Chooser(pairs, hits, relative)
        parts, by_frequency = weigh.choose(tuple(scored)) if parts is None else weigh.weighed(parts)
        pairs = pairs.first(_FITTED)
        features, hits = pairs.features(parts, by_frequency, relative), hits[:_FITTED]
        weights, intercept = _fitted(features, hits)
        return cls(
            parts=parts,
            weights=weights.tolist(),
            intercept=float(intercept),
            by_frequency=by_frequency,
            relative=relative,
            calibration=_calibrated_best(features @ weights + intercept, hits, pairs.rows),
        )

    def refitted(self, scored: Mapping[str, Scored], truth: Any, counts: npt.ArrayLike) -> Self:
        """The same parts, with weights and a calibration for other held-out rows.

        Parameters
        ----------
        scored, truth, counts
            As for :meth:`fit`; of a row that no part says anything of, nothing is learnt.

        Notes
        -----
        The penalty pulls the weights to the former ones: what few rows do not say stays as it is.
        """
        named = {name: scored[name] for name in self.parts}
        labels: Any = label_rows(truth, "truth", np.asarray(counts).size, len(next(iter(named.values()))[0]))
        pairs = _Pairs.of(named, np.asarray(counts)).first(_FITTED)
        if not len(pairs.rows):
            return self
        hits, features = pairs.hits(labels), pairs.features(self.parts, self.by_frequency, self.relative)
        weights, intercept = _fitted(features, hits, (np.asarray(self.weights), self.intercept))
        calibration = _calibrated_best(features @ weights + intercept, hits, pairs.rows)
        return attrs.evolve(self, weights=weights.tolist(), intercept=intercept, calibration=calibration)

    def predict(
        self,
        scored: Mapping[str, Scored],
        counts: npt.ArrayLike,
        top: int,
        *,
        allowed: npt.NDArray[np.bool_] | None = None,
        factors: Float64 | None = None,
        margins: bool = False,
        threads: int | None = None,
    ) -> Scored:
        """The best labels of each row, and their probabilities.

        Parameters
        ----------
        scored : mapping
            What each of ``parts`` says of the rows.
        counts : (n_labels,) integers
            The number of training rows of each label.
        top : int
            Labels per row.
        allowed : (n_labels,) bool array, optional
            The labels that may be named. The probabilities do not depend on it.
        factors : (n_labels,) array, optional
            Multiply the probabilities of labels, and so change their order.
        margins : bool
            Log odds instead of probabilities; without ``factors``.
        threads : int, optional
            Maximum number of threads.

        Returns
        -------
        labels : (rows, top) int32 array
            Best first (see ``tail``), ties by the smaller label; -1 where the parts name fewer.
        probabilities : (rows, top) float32 array
            0 where the label is -1, or -inf with ``margins``.
        """
        pairs = _Pairs.of({name: scored[name] for name in self.parts}, np.asarray(counts))
        features = pairs.features(self.parts, self.by_frequency, self.relative)
        # A sum for each pair in one order, wherever it stands: BLAS may add up in another.
        logits = np.einsum("ij,j->i", features, np.asarray(self.weights)) + self.intercept
        rows, ids = pairs.rows, pairs.labels
        if allowed is not None:
            kept = allowed[ids]
            logits, rows, ids = logits[kept], rows[kept], ids[kept]
        # Ranked by the logarithm of probability / propensity^tail * factor; if that is the probability alone,
        # by the log odds, which do not round to 1.
        n_labels = max(np.asarray(counts).size, 1)
        tails, loads = np.zeros(n_labels), np.zeros(n_labels)
        if self.tail:
            tails = -self.tail * np.log(propensities_of_counts(counts, self.n_rows))
        if factors is not None:
            loads = np.log(np.maximum(factors, np.finfo(np.float64).tiny))
        is_plain = not self.tail and factors is None
        values = logits
        if not is_plain:
            values = (tails + loads)[ids] - np.logaddexp(0.0, -self.calibration(logits))
        indptr = np.searchsorted(rows, np.arange(pairs.n_rows + 1))
        labels, best = top_k_ragged(
            values.astype(np.float32), indptr, ids.astype(np.int32), top, threads=threads
        )
        best = np.where(labels < 0, -1.0, best.astype(np.float64))
        if is_plain:
            log_odds = self.calibration(best)
            found = log_odds if margins else 1.0 / (1.0 + np.exp(-log_odds))
        else:
            logs = np.minimum(best - tails[labels], loads[labels])
            found = logs - np.log(-np.expm1(np.minimum(logs, -_SURE))) if margins else np.exp(logs)
        return labels, np.where(labels < 0, -np.inf if margins else 0.0, found).astype(np.float32)

    def to_dict(self) -> dict[str, Any]:
        """The mixture as plain data."""
        plain = specs.to_dict(self)
        calibration = {key: list(value) for key, value in specs.to_dict(self.calibration).items()}
        lists = {"parts": list(self.parts), "weights": list(self.weights), "calibration": calibration}
        return {**plain, **lists}


@attrs.frozen(eq=False)
class _Pairs:
    """The pairs of a row and a label that at least one part names, ascending, and the parts' values."""

    n_rows: int
    rows: Int64
    labels: Int64
    values: dict[str, Float64]
    frequency: Float64

    @classmethod
    def of(cls, scored: Mapping[str, Scored], counts: npt.NDArray[Any]) -> _Pairs:
        n_rows, n_labels = len(next(iter(scored.values()))[0]), max(counts.size, 1)
        keys, values = {}, {}
        for name, (labels, given) in scored.items():
            named = labels >= 0
            own = (np.arange(n_rows, dtype=np.int64)[:, None] * n_labels + labels)[named]
            order = np.argsort(own, kind="stable")
            keys[name], values[name] = own[order], given[named][order].astype(np.float64)
        every = np.unique(np.concatenate(list(keys.values())))
        full = {}
        for name, own in keys.items():
            full[name] = np.zeros(len(every))
            full[name][np.searchsorted(every, own)] = np.clip(values[name], 0.0, 1.0)
        rows, ids = (part.astype(np.int64) for part in np.divmod(every, n_labels))
        frequency = np.log1p(counts[ids].astype(np.float64)) if counts.size else np.zeros(0)
        return cls(n_rows, rows, ids, full, frequency)

    def hits(self, truth: sp.csr_array) -> npt.NDArray[np.bool_]:
        """Whether the label is one of the row's."""
        row_of = np.repeat(np.arange(truth.shape[0], dtype=np.int64), np.diff(truth.indptr))
        keys = np.sort(row_of * truth.shape[1] + truth.indices)
        found = self.rows * truth.shape[1] + self.labels
        at = np.minimum(np.searchsorted(keys, found), max(len(keys) - 1, 0))
        return keys[at] == found if len(keys) else np.zeros(len(found), bool)

    def first(self, n: int) -> _Pairs:
        """The first n pairs."""
        values = {name: array[:n] for name, array in self.values.items()}
        return _Pairs(self.n_rows, self.rows[:n], self.labels[:n], values, self.frequency[:n])

    def features(self, parts: Sequence[str], by_frequency: bool, relative: bool) -> Float64:
        """The features of :class:`Mixture`, a row for each pair."""
        begins = np.flatnonzero(np.diff(self.rows, prepend=-1))
        counts, columns = np.diff(np.append(begins, len(self.rows))), []
        for name in parts:
            v = self.values[name]
            columns += [v, np.sqrt(v), np.log(v + SMALLEST)]
            if relative:
                share = v / np.repeat(np.maximum(np.maximum.reduceat(v, begins), SMALLEST), counts)
                columns += [share, share == 1.0]
        columns.append(self.frequency)
        if by_frequency:
            columns += [self.frequency * np.sqrt(self.values[name]) for name in parts]
        return np.stack(columns, axis=1)


class _Chooser:
    """Compares mixtures by the log loss of each half of the rows under the weights of the other half."""

    def __init__(self, pairs: _Pairs, hits: npt.NDArray[np.bool_], relative: bool) -> None:
        self._relative = relative
        self._pairs, self._hits = pairs.first(_COMPARED), hits[:_COMPARED]
        self._even = self._pairs.rows % 2 == 0

    def choose(self, parts: tuple[str, ...]) -> tuple[tuple[str, ...], bool]:
        """The parts that help, and whether weights by frequency do."""
        best = self._loss(parts, False)
        while len(parts) > 1:
            without = {name: tuple(p for p in parts if p != name) for name in parts}
            losses = {name: self._loss(kept, False) for name, kept in without.items()}
            name = min(losses, key=lambda one: losses[one])
            if losses[name] > (1 + _PAYS) * best:
                break
            parts, best = without[name], losses[name]
        return self.weighed(parts)

    def weighed(self, parts: tuple[str, ...]) -> tuple[tuple[str, ...], bool]:
        """The parts, and whether weights by frequency help."""
        plain, by_frequency = self._cross(parts, False), self._cross(parts, True)
        return parts, by_frequency[0] < plain[0] and by_frequency[1] > plain[1]

    def _loss(self, parts: tuple[str, ...], by_frequency: bool) -> float:
        return self._cross(parts, by_frequency)[0]

    def _cross(self, parts: tuple[str, ...], by_frequency: bool) -> tuple[float, int]:
        """The log loss, and the rows whose best label is right."""
        if not (self._hits[self._even].any() and self._hits[~self._even].any()):
            return 0.0, 0  # too few rows to compare by
        features = self._pairs.features(parts, by_frequency, self._relative)
        logits = np.empty(len(self._hits))
        for half in (self._even, ~self._even):
            weights, intercept = _fitted(features[half], self._hits[half])
            logits[~half] = features[~half] @ weights + intercept
        loss = np.logaddexp(0.0, np.where(self._hits, -logits, logits)).sum()
        order = np.lexsort((-logits, self._pairs.rows))
        best = order[np.flatnonzero(np.diff(self._pairs.rows[order], prepend=-1))]
        return float(loss), int(self._hits[best].sum())


def _calibrated_best(logits: Float64, hits: npt.NDArray[np.bool_], rows: Int64) -> Isotonic:
    """The calibration by the best labels of each row."""
    order = np.lexsort((-logits, rows))
    rank = np.arange(len(order)) - np.searchsorted(rows[order], rows[order])
    best = order[rank < _BEST]
    return _calibration(logits[best], hits[best], rows[best] % 2 == 0)


def _calibration(logits: Float64, hits: npt.NDArray[np.bool_], even: npt.NDArray[np.bool_]) -> Isotonic:
    """A calibration, if one by each half of the rows lowers the log loss of the other half."""
    calibrated = logits.copy()
    for half in (even, ~even):
        calibrated[~half] = Isotonic.fit(logits[half], hits[half])(logits[~half])
    losses = [np.logaddexp(0.0, np.where(hits, -one, one)).sum() for one in (logits, calibrated)]
    return Isotonic.fit(logits, hits) if losses[1] < losses[0] else Isotonic()


def _fitted(
    features: Float64, hits: npt.NDArray[np.bool_], before: tuple[Float64, float] | None = None
) -> tuple[Float64, float]:
    """Weights and intercept of the logistic regression, by Newton's method with halved steps.

    The penalty is on the distance from those before, if there are any, else on the weights.
    """
    mean, spread = features.mean(axis=0), features.std(axis=0)
    spread[spread <= 1e-9 * np.maximum(np.abs(mean), 1.0)] = 1.0  # a constant, up to its rounding
    x = np.concatenate([(features - mean) / spread, np.ones((len(features), 1))], axis=1)
    penalty = np.full(x.shape[1], _PENALTY)
    penalty[-1] = 1e-6  # hardly any on the intercept, which would else be unbounded without a hit
    centre = np.zeros(x.shape[1])
    if before is not None:
        centre = np.append(before[0] * spread, before[1] + before[0] @ mean)
        penalty[:] = _KEPT

    def loss(beta: Float64) -> float:
        logits = x @ beta
        return float(np.logaddexp(0.0, logits).sum() - hits @ logits + 0.5 * penalty @ (beta - centre) ** 2)

    beta, now = centre, loss(centre)
    for _ in range(_ITERATIONS):
        p = 1.0 / (1.0 + np.exp(-np.clip(x @ beta, -500.0, 500.0)))
        gradient = x.T @ (p - hits) + penalty * (beta - centre)
        hessian = (x * (p * (1.0 - p))[:, None]).T @ x + np.diag(penalty)
        step, size = np.linalg.solve(hessian, gradient), 1.0
        while (new := loss(beta - size * step)) > now and size > 1e-4:
            size *= 0.5
        beta = beta - size * step
        if now - new < 1e-6 * abs(now):
            break
        now = new
    weights = beta[:-1] / spread
    return weights, float(beta[-1] - weights @ mean)
