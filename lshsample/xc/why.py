"""Why a classifier names a label: what each part says, and the features and training rows behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from lshsample._native import core
from lshsample.errors import ArgumentError
from lshsample.specs import checked_integer
from lshsample.xc.classifier import Classifier
from lshsample.xc.filters import LabelFilter, with_labels
from lshsample.xc.parts import HiddenPart, LinearPart, Queries, RowsPart
from lshsample.xc.votes import LabelVotes

__all__ = ["Reasons", "why"]

#: Features and rows of a label, at most.
_MOST = 10
#: The name of a part, its votes, and the ids and cosines of the training rows nearest to one row.
_Near = tuple[str, LabelVotes, npt.NDArray[np.int32], npt.NDArray[np.float32]]


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
        Features of the row with the largest contributions to the margin of the linear path; what a pair of
        features contributes is shared by both.
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
    wanted = None
    if labels is not None:
        wanted = [checked_integer("labels", one, 0, classifier.n_labels - 1) for one in labels]
    queries = Queries(rows, classifier.weighting(rows), count)
    width = classifier.recipe.candidates if wanted is not None else max(classifier.recipe.candidates, top)
    scored = {name: classifier.parts[name].top_k(queries, width) for name in classifier.mixture.parts}
    n_candidates = len(np.unique(np.concatenate([one[one >= 0] for one, _ in scored.values()])))
    if wanted:
        scored = with_labels(classifier.parts, scored, queries, np.unique(wanted).astype(np.int32))
    values = {
        name: dict(zip(*(part[0].tolist() for part in one), strict=True)) for name, one in scored.items()
    }
    asked = LabelFilter.of(classifier.n_labels, wanted, classifier.removed, None)
    if wanted is not None:
        top = max(len(set(wanted)), 1)
    found = classifier.mixture.predict(scored, classifier.counts, top, allowed=asked.allowed, threads=count)
    chances = dict(zip(*(part[0].tolist() for part in found), strict=True))
    near = _near(classifier, queries)
    return [
        Reasons(
            label=label,
            probability=chances.get(label, 0.0),
            parts={name: float(one.get(label, 0.0)) for name, one in values.items()},
            features=_features(classifier, queries, label),
            neighbours=_neighbours(near, label),
            candidates=n_candidates,
        )
        for label in ([one for one in chances if one >= 0] if wanted is None else wanted)
    ]


def _features(classifier: Classifier, queries: Queries, label: int) -> list[tuple[int, float]]:
    part = classifier.parts.get("linear")
    if not isinstance(part, LinearPart):
        return []
    features, shares = part.shares(queries, label)
    return list(zip(features[:_MOST].tolist(), shares[:_MOST].tolist(), strict=True))


def _near(classifier: Classifier, queries: Queries) -> list[_Near]:
    """The nearest training rows by each part that looks for them."""
    near: list[_Near] = []
    for name in ("rows", "hidden"):
        part = classifier.parts.get(name)
        if isinstance(part, RowsPart | HiddenPart):
            vectors = queries.weighted if isinstance(part, RowsPart) else queries.hidden(part.network)
            ids, cosines = part.index.search(vectors, part.votes.voting.k, threads=queries.threads)
            near.append((name, part.votes, ids[0], cosines[0]))
    return near


def _neighbours(near: list[_Near], label: int) -> list[tuple[str, int, float]]:
    """Those of the nearest training rows that have a label."""
    found: list[tuple[str, int, float]] = []
    for name, votes, ids, cosines in near:
        have = votes.have(ids, label)
        pairs = list(zip(ids[have].tolist(), cosines[have].tolist(), strict=True))[:_MOST]
        found += [(name, row, cosine) for row, cosine in pairs]
    return found
