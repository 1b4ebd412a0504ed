"""The true nearest items of queries by brute force, for each metric of comparisons."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample.errors import ArgumentError, UnsupportedError
from lshsample.family import DISTANCES, HashFamily, Rows
from lshsample.sampling.stages.exact_top import largest

__all__ = ["METRICS", "METRIC_NAMES", "kth_closeness", "nearest", "own_nearest"]

Floats = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]

#: What a metric is called in titles, by its name in options.
METRIC_NAMES = {
    "inner": "inner product",
    "cosine": "cosine similarity",
    "l2": "Euclidean distance",
    "l1": "L1 distance",
    "jaccard": "Jaccard similarity",
    "own": "each family's own similarity",
}
#: The metrics; ``own`` is the similarity that each family's collision probability depends on.
METRICS = tuple(METRIC_NAMES)

#: Numbers of a block of scores, and of a block of rows of a family's own similarity.
_SCORES, _NUMBERS = 2**23, 2**22
#: Items by which it is found whether a family's own similarity is a distance.
_SAMPLE = 256


def _dense(matrix: Any) -> Floats:
    return np.asarray(matrix if isinstance(matrix, np.ndarray) else matrix.toarray(), dtype=np.float64)


def _wide(rows: Rows) -> Any:
    return rows.astype(np.float64)


def _square_norms(rows: Any) -> Floats:
    squares = np.square(rows) if isinstance(rows, np.ndarray) else rows.multiply(rows)
    return np.asarray(squares.sum(axis=1), dtype=np.float64).reshape(-1)


def _inner(queries: Any, items: Any) -> Floats:
    return _dense(queries @ items.T)


def _cosine(queries: Any, items: Any) -> Floats:
    scale = np.sqrt(np.outer(_square_norms(queries), _square_norms(items)))
    inner = _inner(queries, items)
    return np.divide(inner, scale, out=np.zeros_like(inner), where=scale > 0)


def _l2(queries: Any, items: Any) -> Floats:
    if isinstance(items, np.ndarray):
        # Distances do not depend on the origin; a near one keeps the digits that would cancel.
        centre = items.mean(axis=0)
        queries, items = queries - centre, items - centre
    return 2 * _inner(queries, items) - _square_norms(queries)[:, None] - _square_norms(items)


def _l1(queries: Any, items: Any) -> Floats:
    if isinstance(items, np.ndarray):
        # Imported here: it takes longer than all the rest of a command's start.
        from scipy.spatial import distance

        return -distance.cdist(queries, items, "cityblock")
    # Only the columns that both rows have differ from the sum of their norms: |q - x| - |q| - |x|.
    by_column: Any = sp.csc_array(items)
    own = np.asarray(abs(items).sum(axis=1), dtype=np.float64).reshape(-1)
    found = np.empty((queries.shape[0], items.shape[0]))
    for row in range(queries.shape[0]):
        query = queries[[row]]
        shared = by_column[:, query.indices]
        value = np.repeat(query.data, np.diff(shared.indptr))
        change = np.abs(value - shared.data) - np.abs(value) - np.abs(shared.data)
        found[row] = own + np.abs(query.data).sum() + np.bincount(shared.indices, change, items.shape[0])
    return -found


def _jaccard(queries: Any, items: Any) -> Floats:
    sets = [_pattern(rows) for rows in (queries, items)]
    common = _inner(*sets)
    sizes = [np.asarray(rows.sum(axis=1), dtype=np.float64).reshape(-1) for rows in sets]
    union = sizes[0][:, None] + sizes[1] - common
    return np.divide(common, union, out=np.ones_like(common), where=union > 0)


def _pattern(rows: Any) -> Any:
    return (rows != 0).astype(np.float64)


#: Closeness of all pairs of queries and items in float64: the larger, the nearer.
_CLOSENESS: dict[str, Callable[[Any, Any], Floats]] = {
    "inner": _inner,
    "cosine": _cosine,
    "l2": _l2,
    "l1": _l1,
    "jaccard": _jaccard,
}
#: The metric of a family's own similarity, where it is the one that the base class implements.
_OF_SIMILARITY = {"inner_product": "inner", "cosine": "cosine", "euclidean": "l2", "l1": "l1"}


def _nearest(blocks: Iterator[tuple[int, Floats]], k: int) -> Ids:
    """Ids of the k largest values, (m, k) ascending, from the first id and the values of each block."""
    scores: Floats | None = None
    ids: Ids | None = None
    for begin, values in blocks:
        here: Any = np.broadcast_to(np.arange(begin, begin + values.shape[1]), values.shape)
        if scores is not None and ids is not None:
            values, here = np.hstack([scores, values]), np.hstack([ids, here])
        scores, ids = largest(values, here, k)
    return np.sort(np.asarray(ids), axis=1)


def nearest(queries: Rows, items: Rows, k: int, metric: str) -> Ids:
    """Ids of the k nearest items of each query.

    Parameters
    ----------
    queries : (m, dim) rows
        Dense float32 or CSR.
    items : (n, dim) rows
        Of the same kind as the queries.
    k : int
        From 1 to n.
    metric : str
        ``inner``, ``cosine`` (0 for a row of zeros), ``l2``, ``l1``, or ``jaccard``, of the sets of non-zero
        columns (1 for two empty sets).

    Returns
    -------
    (m, k) int64 array
        Ascending in a row; of equally near items the smaller ids.

    Raises
    ------
    ArgumentError
        An unknown metric.

    Examples
    --------
    >>> rows = np.array([[1, 0], [3, 3], [2, 0]], np.float32)
    >>> [nearest(rows[:1], rows, 2, metric).tolist() for metric in ("inner", "cosine", "l2")]
    [[[1, 2]], [[0, 2]], [[0, 2]]]
    """
    if metric not in _CLOSENESS:
        raise ArgumentError("metric", repr(metric), f"one of {', '.join(_CLOSENESS)}")
    wide = _wide(queries)
    step = max(k, _SCORES // max(1, queries.shape[0]))

    def blocks() -> Iterator[tuple[int, Floats]]:
        for begin in range(0, items.shape[0], step):
            yield begin, _CLOSENESS[metric](wide, _wide(items[begin : begin + step]))

    return _nearest(blocks(), k)


def kth_closeness(queries: Rows, items: Rows, ids: Ids, metric: str) -> Floats:
    """The least closeness of each query to the items of its ids: (m,), larger is nearer."""
    each = [
        _CLOSENESS[metric](_wide(queries[[row]]), _wide(items[found])).min() for row, found in enumerate(ids)
    ]
    return np.array(each, dtype=np.float64)


def own_nearest(family: HashFamily, queries: Rows, items: Rows, k: int) -> Ids:
    """Ids of the k items that are nearest to each query by the similarity of a family.

    Parameters
    ----------
    family : HashFamily
        The family; its ``similarity_of`` is evaluated for all pairs. Whether it grows or falls with nearness
        (a distance) follows from the collision probability.
    queries, items, k
        As for :func:`nearest`.

    Returns
    -------
    (m, k) int64 array
        Ascending in a row; of equally near items the smaller ids.

    Raises
    ------
    UnsupportedError
        The family has no similarity, such as one that is learned.
    """
    metric = _OF_SIMILARITY.get(family.similarity)
    if metric is not None and type(family).similarity_of is HashFamily.similarity_of:
        return nearest(queries, items, k, metric)
    try:
        sign = _direction(family, queries, items)
    except UnsupportedError as error:
        raise UnsupportedError(f"metric own needs the similarity of a family: {error}") from error
    step = max(1, _NUMBERS // max(1, items.shape[1]))
    found = []
    for row in range(queries.shape[0]):

        def blocks(row: int = row) -> Iterator[tuple[int, Floats]]:
            for begin in range(0, items.shape[0], step):
                block = items[begin : begin + step]
                yield begin, sign * family.similarity_of(_repeated(queries, row, block), block)[None, :]

        found.append(_nearest(blocks(), k))
    return np.concatenate(found)


def _repeated(queries: Rows, row: int, items: Rows) -> Rows:
    return queries[np.full(items.shape[0], row)]


def _direction(family: HashFamily, queries: Rows, items: Rows) -> int:
    """1 if rows with more of the family's similarity are nearer, that is, collide more often; -1 if less."""
    some = items[: min(_SAMPLE, items.shape[0])]
    repeated = _repeated(queries, 0, some)
    similarity = family.similarity_of(repeated, some)
    chance = family.pair_probability(repeated, some)
    together = np.sum((similarity - similarity.mean()) * (chance - chance.mean()))
    return -1 if together < 0 or (together == 0 and family.similarity in DISTANCES) else 1
