"""The classifier of :mod:`lshsample.xc` as a scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Self

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data

from lshsample.sklearn.targets import ONE, checked_target, class_ids, encoded, is_names, with_classes
from lshsample.sklearn.threads import seed_of, threads_of
from lshsample.specs import checked_integer, checked_number
from lshsample.xc import Classifier, Recipe

__all__ = ["LSHClassifier"]

#: Probabilities are kept that far from 0 and 1 in log odds.
_EDGE = 1e-12


class LSHClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier of many labels: a linear path, neighbours and a network, mixed by held-out rows.

    Parameters
    ----------
    recipe : str, Recipe or mapping
        The name of a preset (``"fast"``, ``"balanced"``, ``"accurate"``), a :class:`~lshsample.xc.Recipe`, or
        its settings.
    top_k : int
        Labels of a row that get a probability, at most; the others' is 0.
    threshold : float
        With several labels a row: those of a larger probability are predicted.
    max_seconds : float, optional
        Time that a fit may take; see :meth:`Classifier.fit <lshsample.xc.Classifier.fit>`.
    random_state : int or RandomState, optional
        Determines every random choice; by default the recipe's seed.
    n_jobs : int, optional
        Threads; by default one, -1 for all. Results do not depend on it.

    Attributes
    ----------
    classes_ : array, shape (n_classes,)
        The classes or names, sorted; column numbers if ``y`` is an indicator matrix.
    classifier_ : Classifier
        What was fitted; ``classifier_.save(folder)`` writes it without pickle.
    multilabel_ : bool
        Whether rows have any number of labels, and not one class each.
    n_features_in_, feature_names_in_
        As in scikit-learn.

    Notes
    -----
    ``y`` is an array of classes, an indicator matrix (dense or sparse), or a list of lists of names.
    Predictions are of the same form. Probabilities and decisions are sparse (CSR, the ``top_k`` best labels
    of each row) for sparse ``y`` and names, else dense. Of one class a row, probabilities are scaled to a sum
    of 1, and are the classes' frequencies where no class is named.

    Examples
    --------
    >>> from sklearn.feature_extraction.text import TfidfVectorizer
    >>> from sklearn.pipeline import make_pipeline
    >>> texts = ["a grey cat", "a black cat", "cat and dog", "the dog barks", "an old dog", "dog, cat"] * 5
    >>> names = [["cat"], ["cat"], ["cat", "dog"], ["dog"], ["dog"], ["cat", "dog"]] * 5
    >>> model = make_pipeline(TfidfVectorizer(), LSHClassifier("fast")).fit(texts, names)
    >>> model.predict(["a black cat"])
    [('cat',)]
    """

    classes_: npt.NDArray[Any]
    _form: str

    def __init__(
        self,
        recipe: Recipe | str | Mapping[str, Any] = "balanced",
        *,
        top_k: int = 50,
        threshold: float = 0.5,
        max_seconds: float | None = None,
        random_state: Any = None,
        n_jobs: int | None = None,
    ) -> None:
        self.recipe = recipe
        self.top_k = top_k
        self.threshold = threshold
        self.max_seconds = max_seconds
        self.random_state = random_state
        self.n_jobs = n_jobs

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.target_tags.multi_output = True
        tags.classifier_tags.multi_label = True
        return tags

    def fit(self, X: Any, y: Any) -> Self:
        """Fit the classifier.

        Parameters
        ----------
        X : array or sparse matrix, shape (rows, n_features)
        y : array (rows,), indicator matrix (rows, n_labels), or lists of names

        Returns
        -------
        LSHClassifier
            Itself.

        Raises
        ------
        ValueError
            Bad rows or labels, a bad parameter, fewer than two classes.
        """
        X, y = self._validated(X, y, reset=True)
        return self._fit(X, *checked_target(y))

    def partial_fit(
        self, X: Any, y: Any, classes: Collection[Any] | None = None, *, network: str = "labels"
    ) -> Self:
        """Fit to first rows, or learn from more rows and their new classes.

        Parameters
        ----------
        X : array or sparse matrix, shape (rows, n_features)
        y : labels, in the form of the first call
            Classes that are new are added behind ``classes_``.
        classes : list of classes, optional
            For the first call: all classes that are known already.
        network : str
            What later calls train of networks; see
            :meth:`Classifier.update <lshsample.xc.Classifier.update>`.

        Returns
        -------
        LSHClassifier
            Itself.

        Raises
        ------
        ValueError
            As :meth:`fit`; labels of another form than before.
        """
        if not hasattr(self, "classifier_"):
            X, y = self._validated(X, y, reset=True)
            return self._fit(X, *checked_target(y, classes))
        X, y = self._validated(X, y, reset=False)
        found = with_classes(self._form, self.classes_, y)
        labels = encoded(y, found)
        self.classifier_.update(X, labels, network=network, threads=threads_of(self.n_jobs))
        self.classes_ = found
        return self

    def _validated(self, X: Any, y: Any, *, reset: bool) -> tuple[Any, Any]:
        """Checked rows and labels."""
        if is_names(y):
            X = validate_data(self, X, accept_sparse="csr", dtype="numeric", reset=reset)
            check_consistent_length(X, y)
            return X, y
        checks = {"accept_sparse": "csr", "dtype": "numeric", "multi_output": True}
        X, y = validate_data(self, X, y, reset=reset, **checks)
        return X, y

    def _fit(self, X: Any, form: str, classes: npt.NDArray[Any], y: Any) -> Self:
        recipe = Recipe.of(self.recipe)
        recipe = attrs.evolve(recipe, seed=seed_of(self.random_state, recipe.seed))
        checked_integer("top_k", self.top_k, 1)
        checked_number("threshold", self.threshold, 0, 1, open_low=True, open_high=True)
        threads = threads_of(self.n_jobs)
        labels = encoded(y, classes)
        self.classifier_ = Classifier.fit(X, labels, recipe, threads=threads, max_seconds=self.max_seconds)
        self.classes_, self._form, self.multilabel_ = classes, form, form != ONE
        return self

    def predict(self, X: Any) -> Any:
        """The labels of rows, in the form of ``y`` in :meth:`fit`.

        Parameters
        ----------
        X : array or sparse matrix, shape (rows, n_features)

        Returns
        -------
        array, csr_array, or list of tuples of names
            The most probable class; of several labels those above ``threshold``, names by probability.
        """
        ids, probabilities = self._best(X)
        if self._form == ONE:
            return self.classes_[self._distribution(ids, probabilities).argmax(axis=1)]
        above = probabilities > self.threshold
        if self._form == "names":
            return [tuple(self.classes_[i[kept]]) for i, kept in zip(ids, above, strict=True)]
        found = self._matrix(np.where(above, ids, -1), np.ones(ids.shape, np.int64))
        return found if self._form == "sparse" else found.toarray()

    def predict_proba(
        self, X: Any, *, labels: Collection[Any] | None = None, exclude: Collection[Any] | None = None
    ) -> npt.NDArray[np.float32] | sp.csr_array:
        """The probabilities of the labels of rows.

        Parameters
        ----------
        X : array or sparse matrix, shape (rows, n_features)
        labels, exclude : lists of classes, optional
            Those that may be named, and those that may not.

        Returns
        -------
        array or csr_array, shape (rows, n_classes)
            float32.

        Raises
        ------
        ValueError
            Bad rows, or a class that is not in ``classes_``.
        """
        allowed = self._allowed(labels, exclude)
        ids, probabilities = self._best(X, allowed)
        if self._form == ONE:
            return self._distribution(ids, probabilities, allowed)
        found = self._matrix(ids, probabilities)
        return found.toarray() if self._form == "dense" else found

    def decision_function(
        self, X: Any, *, labels: Collection[Any] | None = None, exclude: Collection[Any] | None = None
    ) -> npt.NDArray[np.float64] | sp.csr_array:
        """Scores of labels, above 0 where :meth:`predict` names one of several.

        Parameters
        ----------
        X : array or sparse matrix, shape (rows, n_features)
        labels, exclude : lists of classes, optional
            As for :meth:`predict_proba`.

        Returns
        -------
        array or csr_array, shape (rows, n_classes)
            float64. One class a row: log probabilities, or (rows,) log odds of the second of two classes.
            Several labels: log odds over those of ``threshold``; what a CSR matrix does not store is lower
            than all that it stores, whatever its sign.
        """
        allowed = self._allowed(labels, exclude)
        ids, probabilities = self._best(X, allowed)
        if self._form == ONE:
            shares = self._distribution(ids, probabilities, allowed).astype(np.float64)
            logs = np.log(np.maximum(shares, _EDGE))
            return logs[:, 1] - logs[:, 0] if len(self.classes_) == 2 else logs
        if self._form == "dense":
            return self._odds(self._matrix(ids, probabilities).toarray())
        return self._matrix(ids, self._odds(probabilities))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The share of rows whose labels are all right, and none is missing.

        Parameters
        ----------
        X : array or sparse matrix, shape (rows, n_features)
        y : labels, in the form of :meth:`fit`
        sample_weight : (rows,) array, optional
        """
        if not is_names(y):
            return float(super().score(X, y, sample_weight))
        right = [set(a) == set(b) for a, b in zip(self.predict(X), y, strict=True)]
        return float(np.average(right, weights=sample_weight))

    def _allowed(
        self, labels: Collection[Any] | None, exclude: Collection[Any] | None
    ) -> npt.NDArray[np.bool_] | None:
        """Which classes may be named; None for all."""
        check_is_fitted(self)
        if labels is None and exclude is None:
            return None
        allowed = np.full(len(self.classes_), labels is None)
        if labels is not None:
            allowed[class_ids("labels", labels, self.classes_)] = True
        if exclude is not None:
            allowed[class_ids("exclude", exclude, self.classes_)] = False
        return allowed

    def _best(
        self, X: Any, allowed: npt.NDArray[np.bool_] | None = None
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """The best labels of each row, -1 where there are fewer, and their probabilities."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", dtype="numeric", reset=False)
        chosen = None if allowed is None else np.flatnonzero(allowed)
        top = min(self.top_k, len(self.classes_))
        return self.classifier_.predict(X, top, labels=chosen, threads=threads_of(self.n_jobs))

    def _matrix(self, ids: npt.NDArray[np.int32], values: npt.NDArray[Any]) -> sp.csr_array:
        """The values of ids, -1 left out."""
        named = ids >= 0
        indptr = np.concatenate([[0], np.cumsum(named.sum(axis=1))])
        shape = (len(ids), len(self.classes_))
        found = sp.csr_array((values[named], ids[named], indptr), shape=shape)
        found.sort_indices()
        return found

    def _distribution(
        self,
        ids: npt.NDArray[np.int32],
        probabilities: npt.NDArray[np.float32],
        allowed: npt.NDArray[np.bool_] | None = None,
    ) -> npt.NDArray[np.float32]:
        """Probabilities of a sum of 1, of one class a row."""
        dense = self._matrix(ids, probabilities.astype(np.float64)).toarray()
        frequencies = self.classifier_.counts / max(self.classifier_.counts.sum(), 1)
        dense[dense.sum(axis=1) == 0] = np.where(True if allowed is None else allowed, frequencies, 0)
        total = dense.sum(axis=1, keepdims=True)
        np.divide(dense, total, out=dense, where=total > 0)
        return np.asarray(dense, np.float32)

    def _odds(self, probabilities: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Log odds over those of the threshold."""
        p = np.clip(probabilities.astype(np.float64), _EDGE, 1 - _EDGE)
        return np.asarray(np.log(p) - np.log1p(-p) - (np.log(self.threshold) - np.log1p(-self.threshold)))
