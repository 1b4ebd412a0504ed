"""Rows as sets and weighted sets of columns, and their Jaccard similarities."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from lshsample.plugin import ArgumentError, FamilySpec, Floats, Rows, integer, number, one_of
from lshsample_families._kernels import lib

__all__ = ["SetSpec", "entries", "jaccard", "set_rule", "sets_of", "weighted_jaccard"]

Columns = npt.NDArray[np.int64]
Values = npt.NDArray[np.float32]


@attrs.frozen(kw_only=True)
class SetSpec(FamilySpec):
    """How a row defines a set of columns.

    Attributes
    ----------
    sets : str
        ``"nonzero"``: the columns of nonzero values. ``"threshold"``: of values above ``threshold``.
        ``"top"``: of the ``set_size`` largest positive values, or all of them if there are fewer; of equal
        values, the smaller columns.
    threshold : float
        For ``"threshold"``; at least 0, so that values that a sparse row does not store are no elements.
    set_size : int
        For ``"top"``.
    """

    sets: str = attrs.field(default="nonzero", validator=one_of("nonzero", "threshold", "top"))
    threshold: float = attrs.field(default=0.0, validator=number(0, 3.4e38))
    set_size: int = attrs.field(default=32, validator=integer(1, 2**20))

    def __attrs_post_init__(self) -> None:
        if self.sets != "threshold" and self.threshold != 0:
            raise ArgumentError("threshold", self.threshold, f'0, as sets="{self.sets}" does not use it')


def entries(rows: Rows) -> Iterator[tuple[Columns, Values]]:
    """(columns ascending, values) of each row's nonzero entries."""
    for i in range(rows.shape[0]):
        if isinstance(rows, np.ndarray):
            columns = np.flatnonzero(rows[i])
            yield columns, rows[i, columns]
        else:
            span = slice(rows.indptr[i], rows.indptr[i + 1])
            kept = rows.data[span] != 0
            yield rows.indices[span][kept].astype(np.int64), rows.data[span][kept]


def sets_of(rows: Rows, spec: SetSpec) -> Iterator[Columns]:
    """The set of each row."""
    for columns, values in entries(rows):
        if spec.sets == "nonzero":
            yield columns
        elif spec.sets == "threshold":
            yield columns[values > np.float32(spec.threshold)]
        else:
            columns, values = columns[values > 0], values[values > 0]
            yield columns[np.argsort(-values, kind="stable")[: spec.set_size]]


def set_rule(spec: SetSpec, seed: int) -> dict[str, Any]:
    """The fields of an ``lsh_set_rule``: how kernels read rows as sets; ``seed`` is that of the words."""
    kinds = {"nonzero": lib.LSH_SET_NONZERO, "threshold": lib.LSH_SET_ABOVE, "top": lib.LSH_SET_TOP}
    size = min(spec.set_size, spec.dim) if spec.sets == "top" else 0
    return {"kind": kinds[spec.sets], "seed": seed, "size": size, "threshold": spec.threshold}


def jaccard(q: Rows, x: Rows, spec: SetSpec) -> Floats:
    """Jaccard similarities (n,) of the sets of pairs of rows; 1 for two empty sets."""
    pairs = zip(sets_of(q, spec), sets_of(x, spec), strict=True)
    shared_and_sizes = [(len(np.intersect1d(a, b, assume_unique=True)), len(a) + len(b)) for a, b in pairs]
    shared, sizes = np.array(shared_and_sizes, np.float64).reshape(-1, 2).T
    return np.asarray(np.divide(shared, sizes - shared, out=np.ones_like(shared), where=sizes > 0))


def weighted_jaccard(q: Rows, x: Rows) -> Floats:
    """Weighted Jaccard similarities (n,) of pairs of rows: sums of minima over sums of maxima.

    It is 1 for two rows of zeros. The magnitudes of negative values are the weights of separate coordinates
    (Li, KDD 2017), so it is the ordinary similarity for rows of one sign.
    """
    out = np.ones(q.shape[0])
    for i, pair in enumerate(zip(entries(q), entries(x), strict=True)):
        weights: Any = [np.abs(values.astype(np.float64)) for _, values in pair]
        elements = [2 * columns + (values < 0) for columns, values in pair]
        _, q_at, x_at = np.intersect1d(elements[0], elements[1], assume_unique=True, return_indices=True)
        total, shared = (
            weights[0].sum() + weights[1].sum(),
            np.minimum(weights[0][q_at], weights[1][x_at]).sum(),
        )
        if total > 0:
            out[i] = shared / (total - shared)
    return out
