"""Row-sparse optimizers: the cost of a step depends on the updated rows, not on the number of all rows.

A store is a parameter with its optimizer state interleaved by row: :class:`~lshsample._native.slots.Slots`,
or a C-contiguous float32 array (n, slots, d), with the weights in slot 0 and the state in the others. A row
with its state is thus contiguous in memory. Rows that are not given are unchanged (lazy updates). Arithmetic
is float32; slots of bfloat16, and state in float8, are read as float32 and rounded when they are written.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lshsample._native.arrays import Float32, Int32, matrix, row_ids
from lshsample._native.convert import Rounding, rounding_pointer
from lshsample._native.core import check, ffi, lib, pointer, threads_or_default
from lshsample._native.dtypes import FLOAT32
from lshsample._native.slots import Slots, array_struct
from lshsample._native.unchecked import RowSums, summed
from lshsample.errors import ArgumentError

__all__ = [
    "adagrad_rows",
    "adagrad_unchecked",
    "adam_rows",
    "adam_unchecked",
    "check_update",
    "sgd_rows",
    "sgd_unchecked",
]


def _checked_rows(rows: Int32, n: int) -> None:
    """Ids in range and unique: two updates of one row would race."""
    row_ids(rows, "rows", n)
    if np.all(rows[1:] > rows[:-1]):
        return
    ordered = np.sort(rows)
    if np.any(ordered[1:] == ordered[:-1]):
        twice = int(ordered[:-1][ordered[1:] == ordered[:-1]][0])
        raise ArgumentError("rows", f"id {twice} more than once", "unique ids")


def _update(
    store: Slots | Float32, slots: int | None, rows: Int32 | None, gradient: Float32
) -> tuple[Any, Any, Any]:
    """Pointers to the checked store and rows, and a view of the gradient."""
    if isinstance(store, Slots):
        if slots and len(store.dtypes) != slots:
            raise ArgumentError("store", f"{len(store.dtypes)} slots", f"a store of {slots} slots")
        if not store.data.flags.writeable:
            raise ArgumentError("store", "read-only memory", "writable")
        struct, n, d = store.struct, store.rows, store.columns
    else:
        struct, n, d = array_struct(store, "store", slots), store.shape[0], store.shape[2]
    if rows is not None:
        _checked_rows(rows, n)
    of_slots = store.dtypes[:1] if isinstance(store, Slots) else ()
    supported = tuple(dict.fromkeys((FLOAT32, *of_slots)))
    view = matrix(gradient, "grad", n if rows is None else rows.size, d, dtypes=supported)
    return struct, pointer("int32_t *", rows), view


def _state_rounding(store: Slots | Float32, rounding: Rounding | None) -> Any:
    """The pointer to a rounding, which state in float8 needs."""
    if rounding is None and isinstance(store, Slots) and store.small_state is not None:
        raise ArgumentError("rounding", rounding, "a Rounding, by which state in float8 is rounded")
    return rounding_pointer(rounding)


def _in_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value < high:
        raise ArgumentError(name, value, f"a number in [{low}, {high})")


def sgd_rows(
    store: Slots | Float32,
    rows: Int32 | None,
    grad: Float32,
    lr: float,
    *,
    rounding: Rounding | None = None,
    threads: int | None = None,
) -> None:
    """``w -= lr * grad`` on the given rows of a store, in place.

    Parameters
    ----------
    store : Slots or (n, slots, d) float32
        Slot 0 is used.
    rows : (r,) int32 or None
        Unique ids; None means all n rows.
    grad : (r, d) float32, or of the type of the slots
    lr : float
    rounding : Rounding or None
        How new values become bfloat16: stochastically, or, by default, to nearest. Float32 slots need
        no rounding.
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
    check(
        lib.lsh_sgd_rows(weights, ids, gradient, ffi.NULL, lr, rounding_pointer(rounding), n_threads),
        "sgd_rows",
    )


def adagrad_rows(
    store: Slots | Float32,
    rows: Int32 | None,
    grad: Float32,
    lr: float,
    eps: float = 1e-10,
    *,
    rounding: Rounding | None = None,
    threads: int | None = None,
) -> None:
    """Adagrad (Duchi, Hazan & Singer 2011) on the given rows of a store of 2 slots, in place.

    ``s += grad**2; w -= lr * grad / (sqrt(s) + eps)``, s being slot 1. Arguments and errors as for
    :func:`sgd_rows`.
    """
    n_threads = threads_or_default(threads)
    _in_range("lr", lr, 0, np.inf)
    _in_range("eps", eps, 0, np.inf)
    weights, ids, gradient = _update(store, 2, rows, grad)
    how = _state_rounding(store, rounding)
    check(
        lib.lsh_adagrad_rows(weights, ids, gradient, ffi.NULL, lr, eps, how, n_threads),
        "adagrad_rows",
    )


def adam_rows(
    store: Slots | Float32,
    rows: Int32 | None,
    grad: Float32,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    step: int = 1,
    *,
    rounding: Rounding | None = None,
    threads: int | None = None,
) -> None:
    """Lazy Adam (Kingma & Ba 2015) on the given rows of a store of 3 slots, in place.

    Slots 1 and 2 hold the running means of the gradient and of its square. Only the given rows are updated
    and only their state decays; the bias correction uses the global ``step``, counted from 1.

    Parameters
    ----------
    store : Slots or (n, 3, d) float32
    rows : (r,) int32 or None
        Unique ids; None means all n rows.
    grad : (r, d) float32
    lr, beta1, beta2, eps : float
    step : int
        From 1.
    rounding : Rounding or None
        As for :func:`sgd_rows`; state in float8 needs one.
    threads : int or None

    Raises
    ------
    ArgumentError
        A wrong dtype, layout or shape, an id out of range or given twice, a rate out of range, no rounding of
        state in float8; the store is then unchanged.
    """
    n_threads = threads_or_default(threads)
    _in_range("lr", lr, 0, np.inf)
    _in_range("beta1", beta1, 0, 1)
    _in_range("beta2", beta2, 0, 1)
    _in_range("eps", eps, 0, np.inf)
    if not 1 <= step < 2**63:
        raise ArgumentError("step", step, "an integer >= 1")
    weights, ids, gradient = _update(store, 3, rows, grad)
    how = _state_rounding(store, rounding)
    check(
        lib.lsh_adam_rows(weights, ids, gradient, ffi.NULL, lr, beta1, beta2, eps, step, how, n_threads),
        "adam_rows",
    )


def check_update(rows: Int32 | None, gradient: Float32, n_rows: int, columns: int) -> None:
    """Check a gradient of rows of a parameter (n_rows, columns).

    Parameters
    ----------
    rows : (r,) int32 or None
        Unique ids; None means all rows.
    gradient : (r, columns) float32

    Raises
    ------
    ArgumentError
        A wrong dtype, layout or shape, an id out of range or given twice.
    """
    if rows is not None:
        _checked_rows(rows, n_rows)
    matrix(gradient, "gradient", n_rows if rows is None else rows.size, columns)


# The same over arrays that are known to be valid (see lshsample._native.unchecked), or sums as gradients.


def sgd_unchecked(
    store: Slots, rows: Int32 | None, grad: Float32 | RowSums, lr: float, step: int, threads: int
) -> None:
    """:func:`sgd_rows` without a check of its arguments, and with the rounding of the store."""
    ids = ffi.NULL if rows is None else ffi.from_buffer("int32_t *", rows)
    status = lib.lsh_sgd_rows(store.struct, ids, *summed(grad), lr, store.rounding(step), threads)
    if status:
        check(status, "sgd_rows")


def adagrad_unchecked(
    store: Slots, rows: Int32 | None, grad: Float32 | RowSums, lr: float, eps: float, step: int, threads: int
) -> None:
    """:func:`adagrad_rows` without a check of its arguments, and with the rounding of the store."""
    ids, how = ffi.NULL if rows is None else ffi.from_buffer("int32_t *", rows), store.rounding(step)
    status = lib.lsh_adagrad_rows(store.struct, ids, *summed(grad), lr, eps, how, threads)
    if status:
        check(status, "adagrad_rows")


def adam_unchecked(
    store: Slots,
    rows: Int32 | None,
    grad: Float32 | RowSums,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    step: int,
    threads: int,
) -> None:
    """:func:`adam_rows` without a check of its arguments, and with the rounding of the store."""
    ids, how = ffi.NULL if rows is None else ffi.from_buffer("int32_t *", rows), store.rounding(step)
    status = lib.lsh_adam_rows(store.struct, ids, *summed(grad), lr, beta1, beta2, eps, step, how, threads)
    if status:
        check(status, "adam_rows")
