"""Validation by samplers: consistent sizes, and the result of a Python stage."""

from __future__ import annotations

import numpy as np

from lshsample.errors import ArgumentError, PluginError
from lshsample.sampling.active_set import ActiveSet

__all__ = ["agreed", "check_result"]


def agreed(sizes: dict[str, int | None], default: int | None) -> int:
    """The number of queries, on which all arguments must agree."""
    known = {name: size for name, size in sizes.items() if size is not None}
    if not known:
        if default is None:
            raise ArgumentError(
                "n_queries", "nothing", "the number of rows, unless queries or include are given"
            )
        return default
    first, count = next(iter(known.items()))
    for name, size in known.items():
        if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 0 or size != count:
            wanted = f"for {count} rows, as given by {first}" if name != first else "an integer >= 0"
            raise ArgumentError(name, f"{size} rows", wanted)
    return int(count)


def check_result(result: ActiveSet, n_rows: int, n_items: int, label: str) -> None:
    """Raise PluginError if the active set that a Python stage returned is not valid."""
    indptr, ids, counts = result.indptr, result.ids, result.counts
    for name, array, dtype in (
        ("indptr", indptr, np.int64),
        ("ids", ids, np.int32),
        ("counts", counts, np.int32),
    ):
        if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != 1:
            given = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
            raise PluginError(f"{label}: {name} is not a 1-D {np.dtype(dtype).name} array, but {given}")
    if result.n_items != n_items:
        raise PluginError(f"{label}: returned a set of {result.n_items} items, expected one of {n_items}")
    if len(indptr) != n_rows + 1:
        raise PluginError(f"{label}: returned {len(indptr) - 1} rows, expected {n_rows}")
    if indptr[0] != 0 or indptr[-1] != len(ids) or np.any(np.diff(indptr) < 0):
        raise PluginError(f"{label}: indptr does not divide {len(ids)} ids into {n_rows} rows")
    if len(counts) != len(ids):
        raise PluginError(f"{label}: {len(counts)} counts of {len(ids)} ids")
    if len(ids) and (ids.min() < 0 or ids.max() >= n_items):
        span = f"{ids.min()} to {ids.max()}"
        raise PluginError(f"{label}: ids out of range (0 to {n_items - 1}): from {span}")
    keys = np.repeat(np.arange(n_rows), np.diff(indptr)) * n_items + ids
    if np.any(np.diff(keys) <= 0):
        raise PluginError(f"{label}: ids are not ascending and unique in each row")
