"""What estimators compute with: matrices and numbers for each item, and inner products of sampled pairs."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample._native.dtypes import checked_device
from lshsample.errors import ArgumentError
from lshsample.sampling import ActiveSet
from lshsample.sampling.membership import pair_parts

__all__ = [
    "finite_array",
    "finite_number",
    "finite_rows",
    "item_numbers",
    "pair_products",
    "real_array",
    "real_matrix",
    "require_finite",
    "sampled_rows",
    "squared_distances",
]

Floats = npt.NDArray[np.float64]

#: Pairs of rows that are multiplied at once.
_BLOCK = 65536


def real_array(values: Any, argument: str) -> npt.NDArray[Any]:
    """An array of real numbers, of any shape; not copied."""
    if sp.issparse(values):
        raise ArgumentError(argument, "a sparse matrix", "a dense array")
    checked_device(getattr(values, "device", "cpu"), argument)
    try:
        array = np.asarray(values)
    except (TypeError, ValueError):  # nested sequences of different lengths, tensors with gradients
        raise ArgumentError(argument, type(values).__name__, "an array of real numbers") from None
    if array.dtype.kind not in "fiub":
        given = f"{type(values).__name__} of dtype {array.dtype}"
        raise ArgumentError(argument, given, "an array of real numbers")
    return array


def real_matrix(
    values: Any, argument: str, *, rows: int | None = None, columns: int | None = None, dense: bool = False
) -> Any:
    """A matrix of real numbers, an array or (unless ``dense``) a csr_array; not copied, and not read.

    Parameters
    ----------
    values : array or sparse matrix
        The matrix.
    argument : str
        Its name in errors.
    rows : int, optional
        The number of items, of which it must have one row each.
    columns : int, optional
        The number of columns that it must have.
    dense : bool
        Whether to refuse sparse matrices.
    """
    matrix: Any = values
    if sp.issparse(values) and not dense:
        if matrix.ndim != 2 or matrix.dtype.kind not in "fiub":
            given = f"dtype {matrix.dtype} of shape {matrix.shape}"
            raise ArgumentError(argument, given, "a 2-D matrix of real numbers")
        matrix = sp.csr_array(matrix)
    else:
        matrix = real_array(values, argument)
        if matrix.ndim != 2:
            raise ArgumentError(argument, f"shape {matrix.shape}", "a 2-D array (n_rows, n_columns)")
    if rows is not None and matrix.shape[0] != rows:
        wanted = f"an array of {rows} rows, one for each item of the samples"
        raise ArgumentError(argument, f"{matrix.shape[0]} rows", wanted)
    if columns is not None and matrix.shape[1] != columns:
        raise ArgumentError(argument, f"{matrix.shape[1]} columns", f"an array with {columns} columns")
    return matrix


def finite_array(values: Any, argument: str, ndim: int) -> Floats:
    """A finite array of ``ndim`` dimensions, as float64."""
    array = real_array(values, argument)
    if array.ndim != ndim:
        raise ArgumentError(argument, f"shape {array.shape}", f"a {ndim}-D array")
    require_finite(array, argument)
    return array.astype(np.float64)


def finite_rows(values: Any, argument: str) -> Any:
    """A matrix as :func:`real_matrix`, without NaN and infinities."""
    matrix = real_matrix(values, argument)
    require_finite(matrix if isinstance(matrix, np.ndarray) else matrix.data, argument)
    return matrix


def item_numbers(values: Any, argument: str, n_items: int) -> Floats:
    """One finite number for each item, (n_items,)."""
    array = real_array(values, argument)
    if array.shape != (n_items,):
        wanted = f"an array of {n_items} numbers, one for each item"
        raise ArgumentError(argument, f"shape {array.shape}", wanted)
    return finite_array(array, argument, 1)


def finite_number(argument: str, value: Any, low: float = -math.inf) -> float:
    """A finite number above ``low``."""
    right = isinstance(value, Real) and not isinstance(value, bool)
    if not right or not low < value < math.inf:
        wanted = "a finite number" if low == -math.inf else f"a finite number above {low:g}"
        raise ArgumentError(argument, repr(value), wanted)
    return float(value)


def require_finite(array: npt.NDArray[Any], argument: str, rows: npt.NDArray[Any] | None = None) -> None:
    """Refuse NaN and infinities, with the place of the first; ``rows`` are the numbers of its rows."""
    finite = np.isfinite(array)
    if not finite.all():
        first = [int(i) for i in np.argwhere(~finite)[0]]
        value = array[tuple(first)]
        if rows is not None:
            first[0] = int(rows[first[0]])
        where = first[0] if len(first) == 1 else tuple(first)
        raise ArgumentError(argument, f"{value} at {where}", "finite")


def sampled_rows(matrix: npt.NDArray[Any], argument: str, active: ActiveSet) -> Floats:
    """The rows (n, c) of a set's ids, float64, which must be finite."""
    rows = matrix[active.ids].astype(np.float64)
    require_finite(rows, argument, active.ids)
    return rows


def pair_products(queries: Any, vectors: Any, active: ActiveSet, name: str = "vectors") -> Floats:
    """Inner products (n,) of the vector of each id with the query of its row, computed in float64.

    Raises
    ------
    ArgumentError
        The vector of an id is not finite, or a product is beyond float64. Vectors of other items are not
        read.
    """

    def products(q: Any, x: Any) -> Any:
        if isinstance(q, np.ndarray) and isinstance(x, np.ndarray):
            return np.einsum("ij,ij->i", q, x, dtype=np.float64)
        product = x.multiply(q) if isinstance(q, np.ndarray) else q.multiply(x)
        return product.sum(axis=1)

    return _by_pair(products, queries, vectors, active, name)


def squared_distances(queries: Any, vectors: Any, active: ActiveSet) -> Floats:
    """Squared Euclidean distances (n,) of the same pairs, in float64; errors as :func:`pair_products`."""

    def distances(q: Any, x: Any) -> Any:
        difference = q - x
        if isinstance(difference, np.ndarray):
            return np.einsum("ij,ij->i", difference, difference)
        return difference.multiply(difference).sum(axis=1)

    return _by_pair(distances, queries, vectors, active, "vectors")


def _by_pair(
    compute: Callable[[Any, Any], Any], queries: Any, vectors: Any, active: ActiveSet, name: str
) -> Floats:
    rows, out = active.row_of_ids(), np.empty(len(active.ids))
    with np.errstate(over="ignore", invalid="ignore"):  # refused below
        for part in pair_parts(rows, _BLOCK, by_query=False):
            pair = queries[rows[part]].astype(np.float64), vectors[active.ids[part]].astype(np.float64)
            out[part] = np.asarray(compute(*pair)).reshape(-1)
    if not np.isfinite(out).all():
        bad = int(np.flatnonzero(~np.isfinite(out))[0])
        for matrix, argument, row in (
            (queries, "queries", int(rows[bad])),
            (vectors, name, int(active.ids[bad])),
        ):
            held = matrix[[row]]
            dense = held if isinstance(held, np.ndarray) else held.toarray()
            require_finite(dense, argument, np.array([row]))
        given = f"an inner product with item {active.ids[bad]} of {out[bad]}"
        raise ArgumentError(name, given, "of products within float64")
    return out
