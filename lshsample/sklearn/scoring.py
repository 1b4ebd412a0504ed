"""Scorers for scikit-learn's searches and cross-validation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import scipy.sparse as sp

from lshsample._native.topk import top_k_ragged
from lshsample.metrics import precision_at_k
from lshsample.sklearn.targets import encoded
from lshsample.specs import checked_integer

__all__ = ["precision_scorer"]


def precision_scorer(k: int = 1) -> Callable[[Any, Any, Any], float]:
    """A scorer by P@k, from 0 to 1: the share of the k most probable labels that are the row's.

    Parameters
    ----------
    k : int
        At least 1.

    Returns
    -------
    callable
        For ``scoring=`` of scikit-learn. It takes a fitted estimator with ``classes_`` and ``predict_proba``,
        such as a pipeline; rows; and labels in any form of :class:`LSHClassifier`.

    Examples
    --------
    >>> from sklearn.datasets import make_classification
    >>> from sklearn.model_selection import cross_val_score
    >>> from lshsample.sklearn import LSHClassifier
    >>> x, y = make_classification(random_state=0)
    >>> scores = cross_val_score(LSHClassifier("fast"), x, y, scoring=precision_scorer(1), cv=3)
    >>> scores.shape
    (3,)
    """
    return partial(_precision, k=checked_integer("k", k, 1))


def _precision(estimator: Any, X: Any, y: Any, *, k: int) -> float:
    found: Any = sp.csr_array(estimator.predict_proba(X))
    values, ids = found.data.astype(np.float32), found.indices.astype(np.int32)
    best, _ = top_k_ragged(values, found.indptr.astype(np.int64), ids, k)
    return float(precision_at_k(best, encoded(y, estimator.classes_), k))
