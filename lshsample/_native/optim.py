"""Row-sparse optimizers over row stores: a step costs what it touches, never the number of rows.

A store is a C-contiguous float32 array (n, slots, d): slot 0 the weights, the others optimizer state, so that
a row's update is one streak of memory. Rows that are not given stay as they are (lazy updates).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lshsample._native.arrays import Float32, Int32, matrix, row_ids, whole
from lshsample._native.core import check, lib, pointer, threads_or_default
from lshsample.errors import ArgumentError

__all__ = ["adagrad_rows", "adam_rows", "sgd_rows"]


def _checked_rows(rows: Int32, n: int) -> None:
    """Ids in range and unique: two updates of one row would race."""
    row_ids(rows, "rows", n)
    if np.all(rows[1:] > rows[:-1]):
        return
    ordered = np.sort(rows)
    if np.any(ordered[1:] == ordered[:-1]):
        twice = int(ordered[:-1][ordered[1:] == ordered[:-1]][0])
        raise ArgumentError("rows", f"id {twice} more than once", "unique ids")


def _update(store: Float32, slots: int | None, rows: Int32 | None, gradient: Float32) -> tuple[Any, Any, Any]:
    """Pointers to the checked store and rows, and a view of the gradient."""
    wanted = f"a float32 array (n, {slots or 'slots'}, d)"
    if not isinstance(store, np.ndarray) or store.dtype != np.float32 or store.ndim != 3:
        given = f"{store.ndim}-D {store.dtype}" if isinstance(store, np.ndarray) else type(store).__name__
        raise ArgumentError("store", given, wanted)
    if store.shape[1] != slots if slots else store.shape[1] < 1:
        raise ArgumentError("store", f"shape {store.shape}", wanted)
    whole(store, "store")
    if not store.flags.writeable:
        raise ArgumentError("store", "a read-only array", "an array that can be written")
    if rows is not None:
        _checked_rows(rows, store.shape[0])
    view = matrix(gradient, "grad", store.shape[0] if rows is None else rows.size, store.shape[2])
    return pointer("float *", store), pointer("int32_t *", rows), view


def _in_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value < high:
        raise ArgumentError(name, value, f"a number in [{low}, {high})")


def sgd_rows(
    store: Float32, rows: Int32 | None, grad: Float32, lr: float, *, threads: int | None = None
) -> None:
    """``w -= lr * grad`` on the given rows of a store, in place.

    Parameters
    ----------
    store : (n, slots, d) float32
        Slot 0 is used.
    rows : (r,) int32 or None
        Unique ids; None means all n rows.
    grad : (r, d) float32
    lr : float
    threads : int or None

    Raises
    ------
    ArgumentError
        A wrong dtype, layout or shape, an id out of range or given twice; the store is then unchanged.

    Examples
    --------
    >>> import numpy as np
    >>> from lshsample._native import optim
    >>> store = np.zeros((3, 1, 2), np.float32)
    >>> optim.sgd_rows(store, np.array([1], np.int32), np.ones((1, 2), np.float32), lr=0.5)
    >>> store[:, 0]
    array([[ 0. ,  0. ],
           [-0.5, -0.5],
           [ 0. ,  0. ]], dtype=float32)
    """
    n_threads = threads_or_default(threads)
    _in_range("lr", lr, 0, np.inf)
    weights, ids, gradient = _update(store, None, rows, grad)
    check(lib.lsh_sgd_rows(weights, store.shape[1], ids, gradient, lr, n_threads), "sgd_rows")


def adagrad_rows(
    store: Float32,
    rows: Int32 | None,
    grad: Float32,
    lr: float,
    eps: float = 1e-10,
    *,
    threads: int | None = None,
) -> None:
    """Adagrad (Duchi, Hazan & Singer 2011) on the given rows of a store (n, 2, d), in place.

    ``s += grad**2; w -= lr * grad / (sqrt(s) + eps)``, s being slot 1. Arguments and errors as for
    :func:`sgd_rows`.
    """
    n_threads = threads_or_default(threads)
    _in_range("lr", lr, 0, np.inf)
    _in_range("eps", eps, 0, np.inf)
    weights, ids, gradient = _update(store, 2, rows, grad)
    check(lib.lsh_adagrad_rows(weights, ids, gradient, lr, eps, n_threads), "adagrad_rows")


def adam_rows(
    store: Float32,
    rows: Int32 | None,
    grad: Float32,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    step: int = 1,
    *,
    threads: int | None = None,
) -> None:
    """Lazy Adam (Kingma & Ba 2015) on the given rows of a store (n, 3, d), in place.

    Slots 1 and 2 hold the running means of the gradient and of its square. Only the given rows move and only
    their state decays; the bias correction uses the global ``step``, counted from 1.

    Parameters
    ----------
    store : (n, 3, d) float32
    rows : (r,) int32 or None
        Unique ids; None means all n rows.
    grad : (r, d) float32
    lr, beta1, beta2, eps : float
    step : int
        From 1.
    threads : int or None

    Raises
    ------
    ArgumentError
        A wrong dtype, layout or shape, an id out of range or given twice, a rate out of range; the store is
        then unchanged.
    """
    n_threads = threads_or_default(threads)
    _in_range("lr", lr, 0, np.inf)
    _in_range("beta1", beta1, 0, 1)
    _in_range("beta2", beta2, 0, 1)
    _in_range("eps", eps, 0, np.inf)
    if not 1 <= step < 2**63:
        raise ArgumentError("step", step, "an integer from 1")
    weights, ids, gradient = _update(store, 3, rows, grad)
    check(lib.lsh_adam_rows(weights, ids, gradient, lr, beta1, beta2, eps, step, n_threads), "adam_rows")
