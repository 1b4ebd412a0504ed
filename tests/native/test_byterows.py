"""Exact top-k through 8-bit bounds: the bits of the search in float32, whatever the weights."""

import numpy as np
import pytest

from lshsample._native import convert, layers
from lshsample._native.byterows import ByteRows, bytes_needed
from lshsample.errors import ArgumentError


def check(h, w, bias, k):
    """The same bits in any order, for any number of threads; the number scored in the order of the rows."""
    wanted, scored = layers.top_k(h, w, bias, k), 0
    for rows in (ByteRows(w, bias, like=h, threads=2), ByteRows(w, bias, threads=2)):
        counts = set()
        for threads in (1, 2, 4):
            ids, scores, some = rows.top_k(h, k, threads=threads)
            np.testing.assert_array_equal(ids, wanted[0])
            np.testing.assert_array_equal(scores, wanted[1])
            counts.add(some)
        (scored,) = counts
    return scored


def like_trained(rng, m, n, d, bias=True):
    """Rows of input with a large mean, and few rows of weights that products with it are large of."""
    h = np.abs(rng.standard_normal((m, d), np.float32))
    w = rng.standard_normal((n, d), np.float32) / np.float32(np.sqrt(d))
    w[rng.integers(0, n, n // 50)] *= 4
    return h, w, (rng.standard_normal(n, np.float32) / 10 if bias else None)


@pytest.mark.parametrize(
    ("m", "n", "d", "k"),
    [(1, 1, 1, 1), (3, 7, 5, 7), (33, 129, 17, 5), (7, 5000, 31, 10), (600, 2100, 3, 2), (9, 9001, 300, 33)],
)
def test_the_results_are_those_of_float32(isa, rng, m, n, d, k):
    h = rng.standard_normal((m, d), dtype=np.float32)
    w, bias = rng.standard_normal((n, 3, d), dtype=np.float32)[:, 0], rng.standard_normal(n, dtype=np.float32)
    check(h, w, bias, k)
    check(h, w, None, k)
    check(np.maximum(h, 0), convert.from_float32(np.ascontiguousarray(w), "bfloat16"), bias, k)


def test_few_labels_are_scored_in_float32(isa, rng):
    h, w = rng.standard_normal((40, 64), np.float32), rng.standard_normal((20000, 64), np.float32)
    assert 5 * 40 <= check(h, w, None, 5) < 300 * 40


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("m", "k"), [(1, 1), (1, 5), (150, 3), (530, 1)])
def test_in_an_order_most_rows_are_not_read(isa, rng, m, k, bias):
    h, w, b = like_trained(rng, m, 12_000, 36, bias)
    check(h, w, b, k)
    check(-h, convert.from_float32(w, "bfloat16"), b, k)
    check(h, w - 2 * w.mean(), None if b is None else b * 100, k)
    # Integers that are bounded leave out those of most panels.
    rows = ByteRows(w, b, like=h)
    rows.arrays["values"][rows.arrays["limits"][:, 2] < 1.5] = 127
    ids, _, _ = rows.top_k(h, k)
    np.testing.assert_array_equal(ids, layers.top_k(h, w, b, k)[0])
    some = rng.integers(0, len(w), 9)
    np.testing.assert_array_equal(ByteRows(w, b, like=h).rows(some), ByteRows(w, b).rows(some))
    # A copy for some rows serves any others.
    other = rng.standard_normal((7, 36), np.float32) * 10.0 ** rng.integers(-2, 3, (7, 1)).astype(np.float32)
    for one, wanted in zip(
        ByteRows(w, b, like=h).top_k(other, k), layers.top_k(other, w, b, k), strict=False
    ):
        np.testing.assert_array_equal(one, wanted)


def test_ties_go_to_the_smaller_id(isa):
    w = np.ones((9000, 4), np.float32)
    w[[8999, 2500, 37]] = 2
    check(np.ones((2, 4), np.float32), w, None, 5)
    check(np.zeros((2, 4), np.float32), w, None, 5)


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf, 1e30, 3e38, 1e-40, 0.0])
def test_special_values(isa, rng, special):
    h, w = rng.standard_normal((6, 5), np.float32), rng.standard_normal((300, 5), np.float32)
    bias = rng.standard_normal(300, np.float32)
    w[[3, 299], 2], w[7], bias[[4, 50]], h[1, 0], h[2] = special, special, special, special, special
    with np.errstate(all="ignore"):
        check(h, w, bias, 5)
        check(np.zeros_like(h), w, bias, 5)


def test_values_of_many_magnitudes(isa, rng):
    """One large weight in a row takes the other ones' bits: bounds are wide, results the same."""
    h = rng.standard_normal((20, 40), np.float32) * 10.0 ** rng.integers(-3, 4, (20, 40)).astype(np.float32)
    w = rng.standard_normal((3000, 40), np.float32) * 10.0 ** rng.integers(-3, 4, (3000, 1)).astype(
        np.float32
    )
    w[::3, 0] *= 1e4
    check(h, w, rng.standard_normal(3000, np.float32) * 1e3, 5)


def test_bad_arguments_are_named():
    h, w = np.ones((2, 3), np.float32), np.ones((4, 3), np.float32)
    rows = ByteRows(w, None)
    for argument, call in (
        ("k", lambda: rows.top_k(h, 0)),
        ("k", lambda: rows.top_k(h, 5)),
        ("h", lambda: rows.top_k(h[:, :2].copy(), 1)),
        ("bias", lambda: ByteRows(w, np.ones(3, np.float32))),
        ("weights", lambda: ByteRows(w.astype(np.float64), None)),
        ("like", lambda: ByteRows(w, None, like=h[:, :2].copy())),
        ("weights", lambda: ByteRows(np.zeros((1, 65537), np.float32), None)),
    ):
        with pytest.raises(ArgumentError) as caught:
            call()
        assert caught.value.argument == argument
    assert (bytes_needed(33, 5), bytes_needed(33, 5, True)) == (64 * 28, 64 * 88)


@pytest.mark.parametrize(("m", "n", "d"), [(1, 1, 1), (5, 40, 7), (70, 5000, 33), (3, 2100, 300)])
def test_rows_of_8_bits_need_no_others(isa, rng, m, n, d):
    values = rng.integers(-127, 128, (n, d)).astype(np.int8)
    scales = rng.random(n, np.float32) * 1e-3
    weights, bias = values * scales[:, None], rng.standard_normal(n).astype(np.float32) * 0.01
    h = rng.standard_normal((m, d), dtype=np.float32)
    rows = ByteRows.of_int8(values, scales, bias, threads=2)
    again = ByteRows.from_arrays(rows.arrays, (n, d), None, bias)
    for k in {1, min(n, 9)}:
        wanted = layers.top_k(h, weights, bias, k)
        for one in (rows, again, ByteRows.from_arrays(ByteRows(weights, bias).arrays, (n, d), weights, bias)):
            ids, scores, _ = one.top_k(h, k, threads=2)
            np.testing.assert_array_equal(ids, wanted[0])
            np.testing.assert_array_equal(scores, wanted[1])
    some = rng.integers(0, n, 5)
    np.testing.assert_array_equal(rows.rows(some), weights[some])


def test_arrays_of_another_form_are_refused(rng):
    w = rng.standard_normal((40, 6), np.float32)
    arrays = ByteRows(w, None).arrays
    with pytest.raises(
        ArgumentError, match=r"^values must be int8 \(2, 2, 32, 4\), contiguous \(got nothing\)"
    ):
        ByteRows.from_arrays({}, (40, 6), w, None)
    with pytest.raises(ArgumentError, match=r"^terms must be float32 \(2, 4, 32\)"):
        ByteRows.from_arrays({**arrays, "terms": arrays["terms"][:1]}, (40, 6), w, None)
    with pytest.raises(ArgumentError, match=r"^ids must be left out"):
        ByteRows.from_arrays(ByteRows(w, None, like=w).arrays, (40, 6), w, None)
    with pytest.raises(ArgumentError, match=r"^values must be a 2-D array of int8"):
        ByteRows.of_int8(w, np.ones(40, np.float32), None)
