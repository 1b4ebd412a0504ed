"""The inverted index: exact products, ties, parts, rows that are added, saved arrays, refused input."""

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample._native.inverted import PART_ROWS
from lshsample.errors import ArgumentError
from lshsample.tables import InvertedIndex


def rows(n, dim=40, density=0.1, seed=0, signed=False):
    rng = np.random.default_rng(seed)
    x = sp.random_array((n, dim), density=density, rng=rng, dtype=np.float32, format="csr")
    x.data = (rng.integers(-2 if signed else 1, 4, x.nnz) * 0.5).astype(np.float32)
    x.eliminate_zeros()
    return x


def by_hand(q, x, k, exclude=None):
    """Products above 0 by dense NumPy, ties by the smaller id; products of halves are exact in float32."""
    products = (q.astype(np.float64) @ x.T.astype(np.float64)).toarray()
    if exclude is not None:
        products[np.arange(len(exclude)), exclude] = 0
    products[products <= 0] = -np.inf
    ids = np.argsort(-products, axis=1, kind="stable")[:, :k]
    best = np.take_along_axis(products, ids, axis=1)
    return np.where(best > 0, ids, -1), best


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("k", [1, 7, 60])
def test_the_exact_products_for_any_number_of_threads(signed, k):
    x, q = rows(300, signed=signed), rows(50, seed=1, signed=signed)
    index = InvertedIndex(40).add(x)
    ids, products = by_hand(q, x, k)
    for threads in (1, 3):
        found = index.search(q, k, threads=threads)
        assert (found[0] == ids).all()
        assert (found[1] == products).all()
    assert (index.search(q.toarray(), k)[0] == ids).all()


def test_more_parts_than_one_and_rows_added_bit_by_bit():
    x, q = rows(PART_ROWS + 500, dim=300, density=0.01), rows(20, dim=300, density=0.03, seed=1)
    whole = InvertedIndex(300).add(x)
    pieces = InvertedIndex(300)
    for begin, end in ((0, 3), (3, 3), (3, 40_000), (40_000, x.shape[0])):
        assert pieces.add(x[begin:end]) is pieces
    assert pieces.n_items == whole.n_items == x.shape[0]
    assert len(whole.arrays()["sizes"]) == 2
    for name, array in whole.arrays().items():
        np.testing.assert_array_equal(pieces.arrays()[name], array)
    ids, products = by_hand(q, x, 10)
    assert (whole.search(q, 10)[0] == ids).all()
    assert (whole.search(q, 10)[1] == products).all()
    assert whole.memory_bytes == 6 * x.nnz + 2 * 301 * 8


def test_a_row_is_left_out_for_each_query():
    x = rows(200)
    index = InvertedIndex(40).add(x)
    own = np.arange(200)
    ids, _ = index.search(x, 5, exclude=own)
    assert (ids == by_hand(x, x, 5, own)[0]).all()
    assert not (ids == own[:, None]).any()
    assert (index.search(x, 5, exclude=np.full(200, -1))[0] == index.search(x, 5)[0]).all()
    with pytest.raises(ArgumentError, match=r"exclude must be -1 to 199 \(got ids from 0 to 200\)"):
        index.search(x, 5, exclude=own + (own == 199))
    with pytest.raises(ArgumentError, match=r"exclude must be 200 integers, .* \(got int64 \(3,\)\)"):
        index.search(x, 5, exclude=[1, 2, 3])


def test_saved_as_arrays():
    x = rows(100)
    index = InvertedIndex(40).add(x)
    arrays = index.arrays()
    opened = InvertedIndex.from_arrays(arrays)
    assert (opened.search(x, 5)[0] == index.search(x, 5)[0]).all()
    assert opened.add(x).n_items == 200
    empty = InvertedIndex.from_arrays(InvertedIndex(40).arrays())
    assert (empty.dim, empty.n_items) == (40, 0)
    assert (empty.search(x[:2], 3)[0] == -1).all()


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("rows", lambda a: a + np.uint16(99), r"rows must be rows below 100 \(got "),
        ("rows", lambda a: a.astype(np.int32), r"rows must be a 1-D array of uint16 \(got int32"),
        ("starts", lambda a: a[:, ::-1].copy(), r"starts must be "),
        ("starts", lambda a: a[0], r"starts must be a 2-D array of int64"),
        ("values", lambda a: a[:-1], r"values must be \d+ finite values"),
        ("values", lambda a: a * np.float32(np.inf), r"values must be \d+ finite values"),
        ("sizes", lambda a: a - a, r"sizes must be from 1 to 65536 \(got 0\)"),
        ("sizes", lambda a: None, r"sizes must be a 1-D array of int64 \(got None\)"),
    ],
)
def test_arrays_that_contradict_each_other_are_refused(name, change, message):
    arrays = InvertedIndex(40).add(rows(100)).arrays()
    with pytest.raises(ArgumentError, match=message):
        InvertedIndex.from_arrays({**arrays, name: change(arrays[name])})


def test_what_is_refused():
    index = InvertedIndex(40).add(rows(10))
    with pytest.raises(ArgumentError, match=r"rows must be a matrix with 40 columns \(got 41 columns\)"):
        index.add(rows(3, dim=41))
    with pytest.raises(ArgumentError, match=r"k must be an integer from 1 to .* \(got 0\)"):
        index.search(rows(3), 0)
    with pytest.raises(ArgumentError, match=r"dim must be an integer from 1 to"):
        InvertedIndex(0)
    assert index.n_items == 10
