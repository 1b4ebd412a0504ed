"""Row-sparse optimizers against float64 over several steps."""

import numpy as np
import pytest

from lshsample._native import optim
from lshsample.errors import ArgumentError
from lshsample.testing import reference

SLOTS = {"sgd": 1, "adagrad": 2, "adam": 3}


def update(module, name, store, rows, grad, step, **threads):
    call = getattr(module, f"{name}_rows")
    if name == "adam":
        return call(store, rows, grad, 0.01, 0.9, 0.999, 1e-8, step, **threads)
    return call(store, rows, grad, 0.01, **threads)


@pytest.mark.parametrize("name", list(SLOTS))
@pytest.mark.parametrize("d", [1, 3, 17, 33, 128, 129])
def test_against_float64(isa, rng, name, d):
    n, start = 70, np.zeros((70, SLOTS[name], d), np.float32)
    start[:, 0] = rng.standard_normal((n, d))
    stores = {t: start.copy() for t in (1, 2, 4)}
    wanted = start.astype(np.float64)
    for step in range(1, 6):
        rows = rng.permutation(n)[: 23 * step % 71].astype(np.int32) if step < 5 else None
        grad = rng.standard_normal((n if rows is None else len(rows), d + 2), dtype=np.float32)[:, 1:-1]
        wanted = update(reference, name, wanted, rows, grad, step)
        for threads, store in stores.items():
            update(optim, name, store, rows, grad, step, threads=threads)
    np.testing.assert_allclose(stores[1], wanted, rtol=2e-5, atol=2e-6)
    np.testing.assert_array_equal(stores[1], stores[2])
    np.testing.assert_array_equal(stores[1], stores[4])


@pytest.mark.parametrize("name", list(SLOTS))
def test_other_rows_keep_their_bits(isa, rng, name):
    store = rng.random((40, SLOTS[name], 19), dtype=np.float32)
    before = store.copy()
    rows = np.array([3, 17, 39], np.int32)
    update(optim, name, store, rows, np.ones((3, 19), np.float32), 1)
    others = np.setdiff1d(np.arange(40), rows)
    np.testing.assert_array_equal(store[others], before[others])
    assert (store[rows] != before[rows]).any()


def test_adam_after_many_steps(isa):
    """The bias corrections tend to 1 and never overflow."""
    store = np.zeros((1, 3, 5), np.float32)
    optim.adam_rows(store, None, np.ones((1, 5), np.float32), 0.1, step=2**40)
    wanted = reference.adam_rows(np.zeros((1, 3, 5)), None, np.ones((1, 5)), 0.1, step=2**40)
    np.testing.assert_allclose(store, wanted, rtol=1e-5)


STORE, ROWS, GRAD = np.zeros((4, 3, 2), np.float32), np.array([2, 0], np.int32), np.ones((2, 2), np.float32)


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("store", lambda: optim.adam_rows(STORE[:, :2], ROWS, GRAD, 0.1)),
        ("store", lambda: optim.adam_rows(STORE[::2], ROWS, GRAD, 0.1)),
        ("store", lambda: optim.adam_rows(STORE.astype(float), ROWS, GRAD, 0.1)),
        ("store", lambda: optim.adagrad_rows(STORE, ROWS, GRAD, 0.1)),
        ("store", lambda: optim.sgd_rows([1.0], ROWS, GRAD, 0.1)),
        ("rows", lambda: optim.sgd_rows(STORE, ROWS + np.int32(2), GRAD, 0.1)),
        ("rows", lambda: optim.sgd_rows(STORE, np.array([1, 1], np.int32), GRAD, 0.1)),
        ("rows", lambda: optim.sgd_rows(STORE, np.array([1, 2]), GRAD, 0.1)),
        ("grad", lambda: optim.sgd_rows(STORE, ROWS, GRAD[:1], 0.1)),
        ("grad", lambda: optim.sgd_rows(STORE, None, GRAD, 0.1)),
        ("grad", lambda: optim.sgd_rows(STORE, ROWS, GRAD[:, :1], 0.1)),
        ("lr", lambda: optim.sgd_rows(STORE, ROWS, GRAD, float("nan"))),
        ("beta2", lambda: optim.adam_rows(STORE, ROWS, GRAD, 0.1, beta2=1.0)),
        ("eps", lambda: optim.adam_rows(STORE, ROWS, GRAD, 0.1, eps=-1.0)),
        ("step", lambda: optim.adam_rows(STORE, ROWS, GRAD, 0.1, step=0)),
    ],
)
def test_bad_arguments_are_named(argument, call):
    with pytest.raises(ArgumentError) as caught:
        call()
    assert caught.value.argument == argument
    assert (STORE == 0).all()
