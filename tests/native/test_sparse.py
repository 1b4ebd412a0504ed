"""Sparse-input products and per-sample active sets against float64."""

import numpy as np
import pytest
import reference
import scipy.sparse as sp

from lshsample._native import convert, core, layers
from lshsample._native.dtypes import BFLOAT16
from lshsample._native.slots import Slots
from lshsample.errors import ArgumentError

WIDTHS = [1, 3, 17, 33, 128, 129, 300]


def sparse(rng, rows, cols, density=0.1):
    x = sp.random_array((rows, cols), density=density, rng=rng, dtype=np.float32)
    return core.csr_rows(sp.csr_array(x), "x")


def store_weights(rng, n, d):
    """Slot 0 of a store: a strided view."""
    return rng.standard_normal((n, 3, d), dtype=np.float32)[:, 0]


@pytest.mark.parametrize("d", WIDTHS)
def test_csr_matmul(isa, rng, d):
    x, w = sparse(rng, 37, 211), store_weights(rng, 211, d)
    bias = rng.standard_normal((d, 2), dtype=np.float32)[:, 0]
    found = layers.csr_matmul(x, w, bias, threads=1)
    np.testing.assert_allclose(found, reference.csr_matmul(x, w, bias), rtol=1e-5, atol=1e-5)
    for threads in (2, 4):
        np.testing.assert_array_equal(found, layers.csr_matmul(x, w, bias, threads=threads))
    np.testing.assert_allclose(layers.csr_matmul(x, w), reference.csr_matmul(x, w), rtol=1e-5, atol=1e-5)


def bfloat16_weights(rng, n, d):
    """Slot 0 of a parameter with optimizer state, and its values."""
    slots = Slots.zeros(n, d, [BFLOAT16] * 3)
    slots.weights[...] = convert.from_float32(rng.standard_normal((n, d), dtype=np.float32), BFLOAT16)
    return slots.weights, reference.bfloat16_values(slots.weights["bfloat16"])


@pytest.mark.parametrize("d", WIDTHS)
def test_csr_matmul_of_bfloat16_weights(isa, rng, d):
    x, (w, values), bias = sparse(rng, 37, 211), bfloat16_weights(rng, 211, d), rng.random(d, np.float32)
    found = layers.csr_matmul(x, w, bias, threads=1)
    np.testing.assert_allclose(found, reference.csr_matmul(x, values, bias), rtol=1e-5, atol=1e-5)
    for threads in (2, 4):
        np.testing.assert_array_equal(found, layers.csr_matmul(x, w, bias, threads=threads))
    np.testing.assert_array_equal(found, layers.csr_matmul(x, values.astype(np.float32), bias))


@pytest.mark.parametrize("d", WIDTHS)
@pytest.mark.parametrize("cols", [1, 211, 2048, 2049, 5_000_000])
def test_csr_transpose_matmul(isa, rng, d, cols):
    x, right = sparse(rng, 41, cols, 20 / max(cols, 20)), rng.standard_normal((41, d), dtype=np.float32)
    rows, gradient = layers.csr_transpose_matmul(x, right, threads=1)
    wanted_rows, wanted = reference.csr_transpose_matmul(x, right)
    np.testing.assert_array_equal(rows, wanted_rows)
    assert rows.dtype == np.int32
    np.testing.assert_allclose(gradient, wanted, rtol=1e-5, atol=1e-5)
    for threads in (2, 4):
        np.testing.assert_array_equal(gradient, layers.csr_transpose_matmul(x, right, threads=threads)[1])


def test_widest_matrix(rng):
    x = core.csr_rows(sp.csr_array(([1.0, 2.0], ([0, 0], [0, 2**31 - 2])), shape=(1, 2**31 - 1)), "x")
    rows, gradient = layers.csr_transpose_matmul(x, np.ones((1, 2), np.float32))
    assert rows.tolist() == [0, 2**31 - 2]
    assert gradient.tolist() == [[1, 1], [2, 2]]


def test_without_entries():
    empty = core.csr_rows(sp.csr_array((3, 9)), "x")
    assert (layers.csr_matmul(empty, np.ones((9, 5), np.float32)) == 0).all()
    rows, gradient = layers.csr_transpose_matmul(empty, np.ones((3, 5), np.float32))
    assert rows.shape == (0,)
    assert gradient.shape == (0, 5)


@pytest.mark.parametrize("d", WIDTHS)
def test_csr_sampled_matmul(isa, rng, d):
    h, w = rng.standard_normal((9, d), dtype=np.float32), store_weights(rng, 57, d)
    bias = rng.standard_normal((57, 3), dtype=np.float32)[:, 0]
    indptr = np.concatenate([[0], np.cumsum(rng.integers(0, 30, size=9))])
    ids = rng.integers(0, 57, size=indptr[-1], dtype=np.int32)
    for b in (bias, None):
        found = layers.csr_sampled_matmul(h, w, b, indptr, ids, threads=1)
        wanted = reference.csr_sampled_matmul(h, w, b, indptr, ids)
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=2e-5)
        for threads in (2, 4):
            np.testing.assert_array_equal(
                found, layers.csr_sampled_matmul(h, w, b, indptr, ids, threads=threads)
            )


@pytest.mark.parametrize("d", WIDTHS)
def test_csr_sampled_matmul_of_bfloat16_weights(isa, rng, d):
    h, (w, values) = rng.standard_normal((9, d), dtype=np.float32), bfloat16_weights(rng, 57, d)
    indptr = np.concatenate([[0], np.cumsum(rng.integers(0, 30, size=9))])
    ids = rng.integers(0, 57, size=indptr[-1], dtype=np.int32)
    found = layers.csr_sampled_matmul(h, w, None, indptr, ids, threads=1)
    wanted = reference.csr_sampled_matmul(h, values, None, indptr, ids)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=2e-5)
    for threads in (2, 4):
        again = layers.csr_sampled_matmul(h, w, None, indptr, ids, threads=threads)
        np.testing.assert_array_equal(found, again)


def test_dropout_mask_restates_philox():
    for shape, rate in [((3, 5), 0.25), ((1, 1), 0.5), ((7, 9), 0.0)]:
        found = layers.dropout_mask(2**40 + 3, 2**33 + 1, 5, shape, rate)
        wanted = reference.dropout_mask(2**40 + 3, 2**33 + 1, 5, shape, rate)
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_dropout_mask_rate_and_threads():
    one = layers.dropout_mask(1, 2, 3, (513, 129), 0.3, threads=1)
    for threads in (2, 4):
        np.testing.assert_array_equal(one, layers.dropout_mask(1, 2, 3, (513, 129), 0.3, threads=threads))
    # 66,177 draws: three standard deviations of the share are 0.0053.
    assert abs((one == 0).mean() - 0.3) < 0.0054
    assert not np.array_equal(one, layers.dropout_mask(1, 3, 3, (513, 129), 0.3))


X = core.csr_rows(sp.csr_array(np.eye(3, 4)), "x")
W = np.ones((4, 5), np.float32)
H, PTR, IDS = np.ones((2, 5), np.float32), np.array([0, 1, 3]), np.array([0, 1, 2], np.int32)


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("x", lambda: layers.csr_matmul(np.eye(3), W)),
        ("x", lambda: layers.csr_matmul(sp.csr_array(np.eye(3, 4)), W)),
        ("weights", lambda: layers.csr_matmul(X, W[:3])),
        ("bias", lambda: layers.csr_matmul(X, W, W[:, 0])),
        ("out", lambda: layers.csr_matmul(X, W, out=W)),
        ("d", lambda: layers.csr_transpose_matmul(X, W)),
        ("weights", lambda: layers.csr_sampled_matmul(H, W[:, :2], None, PTR, IDS)),
        ("ids", lambda: layers.csr_sampled_matmul(H, W, None, PTR, IDS + np.int32(2))),
        ("indptr", lambda: layers.csr_sampled_matmul(H, W, None, PTR[:2], IDS)),
        ("indptr", lambda: layers.csr_sampled_matmul(H, W, None, np.array([0, 4, 3]), IDS)),
        ("indptr", lambda: layers.csr_sampled_matmul(H, W, None, PTR + 1, IDS)),
        ("rate", lambda: layers.dropout_mask(0, 0, 0, (2, 2), 1.0)),
        ("seed", lambda: layers.dropout_mask(-1, 0, 0, (2, 2), 0.5)),
        ("shape", lambda: layers.dropout_mask(0, 0, 0, (2**20, 2**20), 0.5)),
    ],
)
def test_bad_arguments_are_named(argument, call):
    with pytest.raises(ArgumentError) as caught:
        call()
    assert caught.value.argument == argument
