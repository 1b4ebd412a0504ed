"""Exact top-k: order, ties, blocks, threads."""

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

from lshsample._native import convert, core, layers
from lshsample.errors import ArgumentError


@pytest.mark.parametrize(
    ("m", "n", "d", "k"),
    [(1, 1, 1, 1), (3, 7, 5, 7), (33, 129, 17, 5), (7, 5000, 31, 10), (600, 2100, 3, 2), (2, 40, 300, 3)],
)
def test_against_the_product(isa, rng, m, n, d, k):
    h = rng.standard_normal((m, d), dtype=np.float32)
    w, bias = rng.standard_normal((n, 3, d), dtype=np.float32)[:, 0], rng.standard_normal(n, dtype=np.float32)
    ids, scores = layers.top_k(h, w, bias, k, threads=1)
    wanted_ids, wanted = reference.top_k(layers.matmul_nt(h, w, bias=bias), k)
    np.testing.assert_array_equal(ids, wanted_ids)
    np.testing.assert_array_equal(scores, wanted.astype(np.float32))
    for threads in (2, 4):
        again = layers.top_k(h, w, bias, k, threads=threads)
        np.testing.assert_array_equal(ids, again[0])
        np.testing.assert_array_equal(scores, again[1])


@pytest.mark.parametrize(
    ("m", "n", "d", "k"), [(1, 1, 1, 1), (3, 7, 5, 7), (33, 129, 17, 5), (600, 5001, 300, 3)]
)
def test_columns_are_searched_as_the_rows_of_the_transpose(isa, rng, m, n, d, k):
    """To the bit, and for any number of threads, whatever lies behind a row."""
    h, store = rng.standard_normal((m, d), np.float32), rng.standard_normal((d, n + 3), np.float32)
    w, bias = store[:, 1 : n + 1], rng.standard_normal((n, 2), np.float32)[:, 1]
    wanted = layers.top_k(h, np.ascontiguousarray(w.T), bias, k, threads=1)
    for threads in (1, 2, 4):
        found = layers.top_k(h, w, bias, k, by_columns=True, threads=threads)
        np.testing.assert_array_equal(found[0], wanted[0])
        np.testing.assert_array_equal(found[1], wanted[1])
    with pytest.raises(ArgumentError, match="number of columns of weights"):
        layers.top_k(h, w, bias, n + 1, by_columns=True)
    with pytest.raises(ArgumentError, match=rf"weights must be an array with .* rows \(got {d} rows\)"):
        layers.top_k(np.zeros((m, d + 1), np.float32), w, bias, k, by_columns=True)


@pytest.mark.parametrize(("m", "n", "d", "k"), [(1, 1, 1, 1), (7, 5000, 31, 10), (2, 40, 300, 3)])
def test_bfloat16_weights(isa, rng, m, n, d, k):
    """As over the same weights in float32, to the bit."""
    h, bias = rng.standard_normal((m, d), dtype=np.float32), rng.standard_normal(n, dtype=np.float32)
    w = convert.from_float32(rng.standard_normal((n, d), dtype=np.float32), "bfloat16")
    for threads in (1, 2, 4):
        found = layers.top_k(h, w, bias, k, threads=threads)
        wanted = layers.top_k(h, convert.to_float32(w), bias, k)
        np.testing.assert_array_equal(found, wanted)
    indptr, ids = np.arange(m + 1) * n, np.tile(np.arange(n, dtype=np.int32), m)
    found = layers.csr_top_k(h, w, bias, indptr, ids, k)
    wanted = layers.csr_top_k(h, convert.to_float32(w), bias, indptr, ids, k)
    np.testing.assert_array_equal(found, wanted)


def test_ties_go_to_the_smaller_id_across_blocks(isa):
    w = np.ones((9000, 4), np.float32)
    w[[8999, 2500, 37]] = 2
    ids, scores = layers.top_k(np.ones((2, 4), np.float32), w, None, 5)
    assert ids.tolist() == [[37, 2500, 8999, 0, 1]] * 2
    assert scores.tolist() == [[8, 8, 8, 4, 4]] * 2


def test_nan_is_never_chosen(isa):
    w = np.array([[1], [np.nan], [2]], np.float32)
    ids, scores = layers.top_k(np.ones((1, 1), np.float32), w, None, 3)
    assert ids.tolist() == [[2, 0, -1]]
    assert scores.tolist() == [[2, 1, -np.inf]]


@given(st.lists(st.lists(st.integers(-3, 3), max_size=12), max_size=6), st.integers(1, 5))
@settings(deadline=None, max_examples=60)
def test_ragged(rows, k):
    indptr = np.concatenate([[0], np.cumsum([len(r) for r in rows])]).astype(np.int64)
    values = np.array([v for r in rows for v in r], np.float32)
    ids = np.array([3 * len(r) - i for r in rows for i in range(len(r))], np.int32)
    found = layers.top_k_ragged(values, indptr, ids, k)
    wanted = reference.top_k_ragged(values, indptr, ids, k)
    np.testing.assert_array_equal(found[0], wanted[0])
    np.testing.assert_array_equal(found[1], wanted[1])


def test_candidates_are_ranked_as_by_products_and_a_choice(isa, rng):
    h, w = rng.standard_normal((5, 33), np.float32), rng.standard_normal((40, 35), np.float32)[:, 1:34]
    bias = rng.standard_normal((40, 2), np.float32)[:, 1]
    rows = [rng.permutation(40)[:n].astype(np.int32) for n in (0, 1, 2, 17, 40)]
    indptr, ids = np.cumsum([0, *map(len, rows)]), np.concatenate(rows)
    values = layers.csr_sampled_matmul(h, w, bias, indptr, ids)
    for threads in (1, 2, 4):
        found = layers.csr_top_k(h, w, bias, indptr, ids, 3, threads=threads)
        np.testing.assert_array_equal(found, layers.top_k_ragged(values, indptr, ids, 3))
    found, wanted = layers.csr_top_k(h, w, None, indptr, ids, 40), (h @ w.T)[4]
    np.testing.assert_array_equal(found[0][4], reference.top_k(wanted[None], 40)[0][0])
    np.testing.assert_allclose(found[1][4], np.sort(wanted)[::-1], rtol=1e-5)


H, W, PAIR = np.ones((2, 3), np.float32), np.ones((4, 3), np.float32), np.array([0, 1], np.int32)


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("k", lambda: layers.top_k(H, W, None, 0)),
        ("k", lambda: layers.top_k(H, W, None, 5)),
        ("k", lambda: layers.top_k(H, W, None, 1.5)),
        ("weights", lambda: layers.top_k(H, W[:, :2], None, 1)),
        ("ids", lambda: layers.top_k_ragged(W[0], np.array([0, 3]), np.array([0, -1, 2], np.int32), 1)),
        ("indptr", lambda: layers.top_k_ragged(W[0], np.array([0, 2]), np.array([0, 1, 2], np.int32), 1)),
        ("k", lambda: layers.csr_top_k(H, W, None, np.array([0, 1, 2]), PAIR, 0)),
        ("weights", lambda: layers.csr_top_k(H, W[:, :2], None, np.array([0, 1, 2]), PAIR, 1)),
        ("ids", lambda: layers.csr_top_k(H, W, None, np.array([0, 1, 2]), PAIR + 3, 1)),
        ("ids", lambda: layers.csr_top_k(H, W, None, np.array([0, 1, 2]), PAIR - 1, 1)),
        ("indptr", lambda: layers.csr_top_k(H, W, None, np.array([0, 1, 3]), PAIR, 1)),
        ("indptr", lambda: layers.csr_top_k(H, W, None, np.array([0, 3, 2]), PAIR, 1)),
        ("indptr", lambda: layers.csr_top_k(H, W, None, np.array([1, 1, 2]), PAIR, 1)),
        ("indptr", lambda: layers.csr_top_k(H, W, None, np.array([0, 2]), PAIR, 1)),
    ],
)
def test_bad_arguments_are_named(argument, call):
    with pytest.raises(ArgumentError) as caught:
        call()
    assert caught.value.argument == argument


def test_every_set_finds_the_same_ids(rng):
    h, w = rng.standard_normal((20, 64), dtype=np.float32), rng.standard_normal((3000, 64), dtype=np.float32)
    found = []
    for name in core.available_isas():
        with core.forced_isa(name):
            found.append(layers.top_k(h, w, None, 3)[0])
    for ids in found[1:]:
        np.testing.assert_array_equal(found[0], ids)
