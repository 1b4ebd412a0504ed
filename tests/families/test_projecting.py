"""E2LSH, cross-polytope and WTA: options, edge rows, wide rows, every projection."""

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample._native import core
from lshsample.errors import ArgumentError
from lshsample.hashing import hash_rows
from lshsample.registry import make_family

PROJECTIONS = ("gaussian", "hadamard", "sparse")


def wide_rows(n, each, dim):
    rng = np.random.default_rng(0)
    columns = np.sort(rng.integers(0, dim // each, (n, each)) + np.arange(each) * (dim // each), axis=1)
    values = rng.standard_normal(n * each).astype(np.float32)
    return sp.csr_array((values, columns.ravel().astype(np.int32), np.arange(n + 1) * each), shape=(n, dim))


def assert_reference(family, rows):
    expected = family.hash(core.csr_rows(rows, "x") if sp.issparse(rows) else rows)
    for name in core.available_isas():
        with core.forced_isa(name):
            assert (hash_rows(family, rows) == expected).all()


@pytest.mark.parametrize("projection", PROJECTIONS)
@pytest.mark.parametrize("name", ["e2lsh", "cross-polytope"])
@pytest.mark.parametrize(("dim", "n_tables"), [(3, 5), (64, 64), (100, 70)])
def test_kernels_of_every_projection(name, projection, dim, n_tables):
    family = make_family(name, dim=dim, n_hashes=3, n_tables=n_tables, projection=projection)
    x = np.random.default_rng(1).standard_normal((37, dim)).astype(np.float32)
    x[5] = 0
    x[6, 1:] = 0
    for rows in (x, sp.csr_array(x), x * np.float32(1e30), x * np.float32(1e-30)):
        assert_reference(family, rows)


@pytest.mark.parametrize("dimension", [2, 64, 256])
def test_dimensions_of_cross_polytopes(dimension):
    family = make_family("cross-polytope", dim=30, n_hashes=3, n_tables=9, dimension=dimension)
    x = np.random.default_rng(1).standard_normal((20, 30)).astype(np.float32)
    assert_reference(family, x)
    assert (hash_rows(family, np.zeros((1, 30))) == 0).all()
    if dimension == 2:
        assert set(np.unique(hash_rows(family, x) & 3)) == {0, 1, 2, 3}


def test_far_and_extreme_rows_have_buckets():
    family = make_family("e2lsh", dim=4, n_hashes=4, width=1e-3, bits=8)
    x = np.float32([[3e38] * 4, [-3e38] * 4, [1e-45] * 4, [0] * 4])
    assert_reference(family, x)
    codes = hash_rows(family, x)
    assert (codes[2] == codes[3]).all(), "a subnormal row lies where zero lies"
    assert len(np.unique(hash_rows(family, np.random.default_rng(0).standard_normal((50, 4))))) > 40


def test_every_bucket_and_code_can_be_reached():
    x = 40 * np.random.default_rng(0).standard_normal((4000, 16))
    codes = hash_rows(make_family("e2lsh", dim=16, n_hashes=2, n_tables=1, bits=3), x)
    assert len(np.unique(codes)) == 64


@pytest.mark.parametrize("name", ["e2lsh", "cross-polytope"])
def test_ten_million_columns_take_sparse_directions(name):
    rows = wide_rows(3, 30, 10_000_000)
    family = make_family(name, dim=10_000_000, n_hashes=1, n_tables=2, projection="sparse", density=1 / 64,
                         **({"dimension": 2} if name == "cross-polytope" else {}))  # fmt: skip
    assert_reference(family, rows)
    with pytest.raises(ArgumentError, match='"gaussian" or "sparse" take more'):
        make_family(name, dim=10_000_000)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("dim", [2000, 10_000_000])
def test_wta_of_wide_rows(dim, sign):
    """Mostly zeros; then windows without a positive value fall to their first zero."""
    rows = wide_rows(6, 300, dim)
    rows.data[:] = sign * np.abs(rows.data)
    rows.data[::3] *= -1
    family = make_family("wta", dim=dim, n_hashes=3, n_tables=40, window=4)
    if dim == 2000:
        assert_reference(family, rows)
        assert_reference(family, rows.toarray())
        assert_reference(family, rows.toarray() - np.float32(3))
    else:
        assert (hash_rows(family, rows) == 0).mean() > 0.95
        assert family.similarity_of(core.csr_rows(rows[:1], "x"), core.csr_rows(rows[1:2], "x"))[0] > 0.99


def test_zeros_are_values_of_wta():
    family = make_family("wta", dim=8, n_hashes=1, n_tables=200, window=8)
    x = np.float32([[-1, -2, 0, -3, -4, -5, -6, -7]])
    assert {int(window[code]) for window, code in zip(family._windows.columns, hash_rows(family, x)[0], strict=True)} == {2}  # fmt: skip # noqa: E501
    assert (hash_rows(family, np.zeros((1, 8))) == 0).all()


def test_options_are_checked():
    for width in (0, -1, float("inf"), float("nan"), "1", True):
        with pytest.raises(ArgumentError, match="width"):
            make_family("e2lsh", dim=4, width=width)
    for bits in (0, 31, 1.5):
        with pytest.raises(ArgumentError, match="bits"):
            make_family("e2lsh", dim=4, bits=bits)
    for dimension in (1, 3, 512, "8"):
        with pytest.raises(ArgumentError, match="dimension"):
            make_family("cross-polytope", dim=4, dimension=dimension)
    with pytest.raises(ArgumentError, match=r"at most 32 bits \(got 7 hashes of 5 bits\)"):
        make_family("cross-polytope", dim=4, n_hashes=7)
    with pytest.raises(ArgumentError, match=r"window must be at most dim = 4 \(got 8\)"):
        make_family("wta", dim=4)
    for name in ("e2lsh", "cross-polytope", "wta"):
        for wrong in ({"n_hashes": 0}, {"n_tables": 0}):
            with pytest.raises(ArgumentError, match=next(iter(wrong))):
                make_family(name, dim=8, **wrong)
        with pytest.raises(ArgumentError, match="8 columns"):
            hash_rows(make_family(name, dim=8), np.ones((1, 5)))
        with pytest.raises(ArgumentError, match="queries"):
            hash_rows(make_family(name, dim=8), np.full((1, 8), np.nan), query=True)
