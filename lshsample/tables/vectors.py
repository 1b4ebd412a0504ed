"""Which vectors a state of tables keeps when ids change."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample import hashing
from lshsample.errors import ArgumentError
from lshsample.family import Rows
from lshsample.tables.state import TableState

__all__ = ["kept_vectors"]

Int32 = npt.NDArray[np.int32]


def kept_vectors(state: TableState, names: Int32, given: Rows, rows: Rows | None) -> Rows | None:
    """The rows that a state keeps after a change: the given ones, or the old ones if they contain the change.

    Parameters
    ----------
    state : TableState
        The state after the change, with the vectors from before it.
    names : (m,) int32 array
        The ids, ascending.
    given : rows
        Their checked rows.
    rows : rows or None
        All rows, as the caller gave them.

    Raises
    ------
    ArgumentError
        Too few rows, or rows that differ from the given ones for these ids.
    """
    if rows is not None:
        all_rows = hashing.checked_rows(state.family, rows, "rows", finite=False)
        if all_rows.shape[0] < state.n_ids:
            wanted = f"an array of {state.n_ids} rows, one for each id"
            raise ArgumentError("rows", f"{all_rows.shape[0]} rows", wanted)
        if not _equal(all_rows[names], given):
            wanted = "an array with rows[ids] equal to vectors"
            raise ArgumentError("rows", "other rows for these ids", wanted)
        return all_rows
    old = state.vectors
    if not isinstance(old, np.ndarray) or not isinstance(given, np.ndarray) or len(old) < state.n_ids:
        return None
    return old if np.array_equal(old[names], given) else None


def _equal(a: Rows, b: Rows) -> bool:
    """Whether two sets of rows hold the same values."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return np.array_equal(a, b)
    return sp.issparse(a) and sp.issparse(b) and abs(a - b).sum() == 0
