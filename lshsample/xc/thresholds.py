"""Thresholds of probabilities that give the largest F1 on held-out rows, for all labels and for each."""

from __future__ import annotations

from typing import Any, Self

import attrs
import numpy as np
import numpy.typing as npt

from lshsample._native.labels import are_labels, label_rows
from lshsample.errors import ArgumentError
from lshsample.specs import checked_integer

__all__ = ["THRESHOLDS", "Thresholds"]

#: The names of thresholds in :meth:`Classifier.predict <lshsample.xc.Classifier.predict>`.
THRESHOLDS = ("f1", "f1-by-label")
#: Held-out rows with a label from which on it has its own threshold.
_ROWS = 10


@attrs.frozen(eq=False)
class Thresholds:
    """The smallest probabilities of labels that are named.

    Attributes
    ----------
    overall : float
        That of the largest F1 over all pairs of a row and a label (micro-averaged).
    by_label : (n_labels,) float32 array
        Those of the largest F1 of each label; ``overall`` for labels of fewer than 10 held-out rows.

    Examples
    --------
    >>> labels, chances = np.array([[0], [0], [0]]), np.array([[0.9], [0.5], [0.2]])
    >>> Thresholds.fit(labels, chances, [[0], [0], []], 1).overall
    0.5
    """

    overall: float
    by_label: npt.NDArray[np.float32]

    @classmethod
    def fit(cls, labels: npt.ArrayLike, probabilities: npt.ArrayLike, truth: Any, n_labels: int) -> Self:
        """From what was predicted for held-out rows.

        Parameters
        ----------
        labels, probabilities : (rows, k) arrays
            Integers below ``n_labels``, -1 for no label; and numbers.
        truth : csr_array or lists of ids
            The labels of the rows.
        n_labels : int

        Raises
        ------
        ArgumentError
            Arrays of other shapes, or ids or numbers of rows that are out of range.
        """
        checked_integer("n_labels", n_labels, 1, 2**31 - 1)
        ids, chances = np.asarray(labels), np.asarray(probabilities, np.float32)
        if ids.ndim != 2 or ids.dtype.kind not in "iu" or (ids.size and ids.max() >= n_labels):
            given = f"{ids.dtype} of shape {ids.shape}, the largest {ids.max(initial=-1)}"
            wanted = f"integers below {n_labels} of shape (rows, k), -1 for no label"
            raise ArgumentError("labels", given, wanted)
        if chances.shape != ids.shape:
            raise ArgumentError("probabilities", f"shape {chances.shape}", f"of shape {ids.shape}, as labels")
        true: Any = label_rows(truth, "truth", n_labels, len(ids))
        named = ids >= 0
        hits = are_labels(true, ids)[named]
        ids, chances = ids[named].astype(np.int64), chances[named]
        overall = _best(chances, hits, true.nnz)
        by_label = np.full(n_labels, overall, np.float32)
        counts = np.bincount(true.indices, minlength=n_labels)
        order = np.argsort(ids, kind="stable")
        bounds = np.searchsorted(ids[order], np.arange(n_labels + 1))
        for label in np.flatnonzero(counts >= _ROWS):
            own = order[bounds[label] : bounds[label + 1]]
            if hits[own].any():
                by_label[label] = _best(chances[own], hits[own], int(counts[label]))
        return cls(overall, by_label)

    def refitted(self, labels: npt.ArrayLike, probabilities: npt.ArrayLike, truth: Any) -> Self:
        """From other held-out rows; a label with too few of these keeps a threshold of its own."""
        n_labels = len(self.by_label)
        new = type(self).fit(labels, probabilities, truth, n_labels)
        counts = np.bincount(label_rows(truth, "truth", n_labels).indices, minlength=n_labels)
        kept = (counts < _ROWS) & (self.by_label != np.float32(self.overall))
        return attrs.evolve(new, by_label=np.where(kept, self.by_label, new.by_label))


def _best(chances: npt.NDArray[np.float32], hits: npt.NDArray[np.bool_], n_true: int) -> float:
    """The threshold of the largest F1, the largest of equally good ones; 1 if nothing is named."""
    if not len(chances):
        return 1.0
    order = np.argsort(-chances, kind="stable")
    ranked = chances[order]
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # no threshold parts equal scores
    f1 = 2 * np.cumsum(hits[order])[ends] / (ends + 1 + n_true)
    return float(ranked[ends[np.argmax(f1)]])
