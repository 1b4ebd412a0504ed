"""Filters of labels: which may be named, what weighs them, and the values of those that no part names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import attrs
import numpy as np
import numpy.typing as npt

from lshsample._native.labels import checked_ids
from lshsample.errors import ArgumentError
from lshsample.xc.mixture import Scored
from lshsample.xc.parts import Part, Queries

__all__ = ["MAX_FEW", "MAX_WEIGHT", "LabelFilter", "independent_values", "with_labels"]

#: The largest factor of a label's probability.
MAX_WEIGHT = 1e6
#: Allowed labels up to which all of them are scored for every row.
MAX_FEW = 1000
#: Pairs of a row and a label that are computed together.
_PAIRS = 2**18


@attrs.frozen(eq=False)
class LabelFilter:
    """The labels that may be named, and the factors of their probabilities.

    Attributes
    ----------
    allowed : (n_labels,) bool array, optional
        None for all.
    weights : (n_labels,) float64 array, optional
    """

    allowed: npt.NDArray[np.bool_] | None
    weights: npt.NDArray[np.float64] | None

    @classmethod
    def of(cls, n_labels: int, labels: Any, exclude: Any, weights: Any) -> Self:
        """From the arguments of :meth:`Classifier.predict <lshsample.xc.Classifier.predict>`."""
        exclude = None if exclude is not None and not np.size(exclude) else exclude
        factors = None if weights is None else _factors(weights, n_labels)
        if labels is None and exclude is None and (factors is None or factors.all()):
            return cls(None, factors)
        allowed = np.full(n_labels, labels is None)
        for name, given, value in (("labels", labels, True), ("exclude", exclude, False)):
            if given is not None:
                allowed[checked_ids(name, given, n_labels)] = value
        if factors is not None:
            allowed &= factors > 0
        return cls(allowed, factors)

    @property
    def ids(self) -> npt.NDArray[np.int32]:
        """The labels that are allowed, if there are not all."""
        return np.flatnonzero(() if self.allowed is None else self.allowed).astype(np.int32)

    @property
    def is_few(self) -> bool:
        """Whether all labels that are allowed are scored for every row."""
        return self.allowed is not None and int(self.allowed.sum()) <= MAX_FEW

    def n_rows(self, most: int) -> int:
        """Rows that are computed together, if all labels that are allowed are scored."""
        return min(max(_PAIRS // max(len(self.ids), 1), 1), most)


def with_labels(
    parts: Mapping[str, Part], scored: Mapping[str, Scored], queries: Queries, ids: npt.NDArray[np.int32]
) -> dict[str, Scored]:
    """What parts say, and their values for chosen labels where no part names them.

    The values that were there stay as they are, and no value is above the best of its part, so that a label
    that a part names has the same probability with and without the others.
    """
    place_of = np.full(max(int(ids.max(initial=0)) + 1, 1), -1, np.int64)
    place_of[ids] = np.arange(len(ids))
    named = np.zeros((queries.raw.shape[0], len(ids)), bool)
    for labels, _ in scored.values():
        rows, columns = np.nonzero((labels >= 0) & (labels < len(place_of)))
        places = place_of[labels[rows, columns]]
        named[rows[places >= 0], places[places >= 0]] = True
    more = np.where(named, np.int32(-1), ids)
    found = {}
    for name, (labels, values) in scored.items():
        own = np.minimum(parts[name].values(queries, ids), values[:, :1])
        found[name] = np.concatenate([labels, more], axis=1), np.concatenate([values, own], axis=1)
    return found


def independent_values(
    parts: Mapping[str, Part], names: tuple[str, ...], queries: Queries, ids: npt.NDArray[np.int32]
) -> dict[str, Scored]:
    """What parts of some names say of chosen labels, by :meth:`Part.independent`."""
    labels = np.broadcast_to(ids, (queries.raw.shape[0], len(ids)))
    return {name: (labels, parts[name].independent(queries, ids)) for name in names}


def _factors(given: Any, n_labels: int) -> npt.NDArray[np.float64]:
    """A factor for each label; of a mapping, 1 for labels that it does not have."""
    wanted = f"an array of {n_labels} numbers from 0 to {MAX_WEIGHT:g}, or a mapping from labels to such"
    factors = np.ones(n_labels)
    try:
        if isinstance(given, Mapping):
            factors[checked_ids("weights", list(given), n_labels)] = np.array([*given.values()], np.float64)
        else:
            factors = np.asarray(given, np.float64)
    except (TypeError, ValueError) as error:
        if isinstance(error, ArgumentError):
            raise
        raise ArgumentError("weights", f"{given!r:.80}", wanted) from error
    if factors.shape != (n_labels,) or not ((factors >= 0) & (factors <= MAX_WEIGHT)).all():
        shown = f"shape {factors.shape}" if factors.shape != (n_labels,) else f"{given!r:.80}"
        raise ArgumentError("weights", shown, wanted)
    return factors
