"""Why a classifier names a label: what each part says, and the features and training rows behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from lshsample._native import core
from lshsample.errors import ArgumentError
from lshsample.specs import checked_integer
from lshsample.xc.classifier import Classifier
from lshsample.xc.parts import HiddenPart, LinearPart, Queries, RowsPart

__all__ = ["Reasons", "why"]

#: Features and rows of a label, at most.
_MOST = 10


@attrs.frozen(kw_only=True)
class Reasons:
    """What speaks for a label.

    Attributes
    ----------
    label : int
    probability : float
        As :meth:`Classifier.predict <lshsample.xc.Classifier.predict>` gives it.
    parts : dict of str to float
        The value that each part gives to the label, from 0 to 1; 0 if it does not name it.
    features : list of (int, float)
        Features of the row with the largest contributions to the margin of the linear path.
    neighbours : list of (str, int, float)
        The part, the training row and the cosine of the nearest training rows that have the label.
    candidates : int
        Labels of the row that at least one part names, which are all that were compared.
    """

    label: int
    probability: float
    parts: dict[str, float]
    features: list[tuple[int, float]]
    neighbours: list[tuple[str, int, float]]
    candidates: int


def why(
    classifier: Classifier,
    x_row: Any,
    top: int = 5,
    *,
    labels: Sequence[int] | None = None,
    threads: int | None = None,
) -> list[Reasons]:
    """Why a classifier names its best labels for a row, or why it does (not) name given ones.

    Parameters
    ----------
    classifier : Classifier
    x_row : csr_array or array, shape (1, n_features)
        The row.
    top : int
        Labels, the best first.
    labels : sequence of int, optional
        These labels alone.
    threads : int, optional
        Number of threads.

    Returns
    -------
    list of Reasons

    Raises
    ------
    ArgumentError
        Not one row of the classifier's features, or labels out of range.

    Examples
    --------
    >>> import numpy as np
    >>> import scipy.sparse as sp
    >>> x = sp.csr_array(np.repeat(np.eye(4, dtype=np.float32), 10, axis=0))
    >>> y = sp.csr_array(np.repeat(np.eye(4), 10, axis=0))
    >>> classifier = Classifier.fit(x, y, "fast", threads=1)
    >>> reasons = why(classifier, x[[12]], top=1)[0]
    >>> reasons.label, reasons.features[0][0]
    (1, 1)
    """
    rows: Any = core.feature_rows(x_row, "x_row", classifier.n_features)
    if rows.shape[0] != 1:
        raise ArgumentError("x_row", f"{rows.shape[0]} rows", "one row, of shape (1, n_features)")
    top = checked_integer("top", top, 1, classifier.n_labels, ", the number of labels")
    count = core.threads_or_default(threads)
    if labels is None:
        found, _ = classifier.predict(rows, top, threads=count)
        wanted = [int(label) for label in found[0] if label >= 0]
    else:
        wanted = [checked_integer("labels", one, 0, classifier.n_labels - 1) for one in labels]
    queries = Queries(rows, classifier.weighting(rows), count)
    scored = {}
    for name in classifier.mixture.parts:
        ids, values = classifier.parts[name].top_k(queries, classifier.recipe.candidates)
        scored[name] = dict(zip(ids[0].tolist(), values[0].tolist(), strict=True))
    candidates = len(set().union(*scored.values()) - {-1})
    return [
        Reasons(
            label=label,
            probability=_probability(classifier, rows, label, count),
            parts={name: float(values.get(label, 0.0)) for name, values in scored.items()},
            features=_features(classifier, queries, label),
            neighbours=_neighbours(classifier, queries, label),
            candidates=candidates,
        )
        for label in wanted
    ]


def _probability(classifier: Classifier, rows: Any, label: int, threads: int) -> float:
    return float(classifier.predict(rows, 1, labels=[label], threads=threads)[1][0, 0])


def _features(classifier: Classifier, queries: Queries, label: int) -> list[tuple[int, float]]:
    part = classifier.parts.get("linear")
    if not isinstance(part, LinearPart):
        return []
    features, shares = part.model.shares(queries.weighted, label)
    return list(zip(features[:_MOST].tolist(), shares[:_MOST].tolist(), strict=True))


def _neighbours(classifier: Classifier, queries: Queries, label: int) -> list[tuple[str, int, float]]:
    found: list[tuple[str, int, float]] = []
    for name in ("rows", "hidden"):
        part = classifier.parts.get(name)
        if isinstance(part, RowsPart):
            ids, cosines = part.index.search(queries.weighted, part.votes.voting.k, threads=queries.threads)
        elif isinstance(part, HiddenPart):
            hidden = queries.hidden(part.network)
            ids, cosines = part.index.search(hidden, part.votes.voting.k, threads=queries.threads)
        else:
            continue
        have = part.votes.have(ids[0], label)
        near = zip(ids[0][have].tolist(), cosines[0][have].tolist(), strict=True)
        found += [(name, row, cosine) for row, cosine in near][:_MOST]
    return found
