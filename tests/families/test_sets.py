"""MinHash and consistent weighted sampling: options, edge rows, wide rows."""

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample._native import core
from lshsample.errors import ArgumentError
from lshsample.hashing import hash_rows
from lshsample.registry import make_family

FAMILIES = [
    ("minhash", {}),
    ("minhash", {"method": "doph"}),
    ("minhash", {"sets": "threshold", "threshold": 0.5}),
    ("minhash", {"sets": "top", "set_size": 7, "method": "doph"}),
    ("icws", {}),
]


@pytest.mark.parametrize(("name", "options"), FAMILIES)
def test_rows_without_elements_have_the_code_zero(name, options):
    family = make_family(name, dim=9, n_tables=5, **options)
    rows = np.zeros((2, 9), np.float32)
    stored = sp.csr_array((np.zeros(2, np.float32), [3, 4], [0, 1, 2]), shape=(2, 9))
    for given in (rows, sp.csr_array(rows), stored):
        assert (hash_rows(family, given) == 0).all()
        assert (family.hash(given) == 0).all()


@pytest.mark.parametrize(("name", "options"), FAMILIES)
def test_ten_million_columns(name, options):
    dim = 10_000_000
    family = make_family(name, dim=dim, n_hashes=2, n_tables=7, **options)
    rng = np.random.default_rng(0)
    columns = np.sort(rng.integers(0, dim // 50, (20, 50)) + np.arange(50) * (dim // 50), axis=1)
    values = rng.standard_normal(1000).astype(np.float32)
    x = sp.csr_array((values, columns.ravel().astype(np.int32), np.arange(21) * 50), shape=(20, dim))
    expected = family.hash(core.csr_rows(x, "x"))
    for name in core.available_isas():
        with core.forced_isa(name):
            assert (hash_rows(family, x) == expected).all()


@pytest.mark.parametrize("n", [1, 255, 256, 257, 600])
@pytest.mark.parametrize(("name", "options"), FAMILIES)
def test_sets_larger_than_a_chunk(name, options, n):
    family = make_family(name, dim=1000, n_hashes=3, n_tables=6, **options)
    x = np.zeros((3, 1000), np.float32)
    x[:, np.random.default_rng(n).permutation(1000)[:n]] = np.random.default_rng(1).standard_normal((3, n))
    for rows in (x, core.csr_rows(sp.csr_array(x), "x")):
        assert (hash_rows(family, rows) == family.hash(rows)).all()


@pytest.mark.parametrize("set_size", [1, 2, 5, 40, 500])
def test_the_largest_are_chosen_with_ties_by_column(set_size):
    rng = np.random.default_rng(4)
    x = rng.integers(-2, 4, (30, 60)).astype(np.float32)
    top = make_family("minhash", dim=60, sets="top", set_size=set_size)
    plain = make_family("minhash", dim=60)
    chosen = np.zeros_like(x)
    for row, values in zip(chosen, x, strict=True):
        order = np.lexsort((np.arange(60), -values))
        row[[i for i in order if values[i] > 0][:set_size]] = 1
    assert (hash_rows(top, x) == hash_rows(plain, chosen)).all()


@pytest.mark.parametrize(("dim", "n_tables"), [(3, 1), (40, 33), (300, 200)])
def test_draws_that_are_kept_and_draws_that_are_made_again_are_the_same(dim, n_tables, monkeypatch):
    x = np.random.default_rng(0).standard_normal((5, dim)).astype(np.float32)
    kept = hash_rows(make_family("icws", dim=dim, n_tables=n_tables), x)
    monkeypatch.setattr("lshsample_families.icws._MOST_KEPT", 0)
    family = make_family("icws", dim=dim, n_tables=n_tables)
    assert family._drawn.table is None
    for name in core.available_isas():
        with core.forced_isa(name):
            assert (hash_rows(family, x) == kept).all()


def test_options_are_checked():
    for name in ("minhash", "icws"):
        with pytest.raises(
            ArgumentError,
            match=r"n_hashes must be such that a code has at most 32 bits \(got \d+ hashes of \d+ bits\)",
        ):
            make_family(name, dim=4, n_hashes=4, bits=9)
        for bits in (0, 33, 2.0, True):
            with pytest.raises(ArgumentError, match="bits"):
                make_family(name, dim=4, n_hashes=1, bits=bits)
        for wrong in ({"n_hashes": 0}, {"n_tables": 0}):
            with pytest.raises(ArgumentError, match=next(iter(wrong))):
                make_family(name, dim=4, **wrong)
        with pytest.raises(ArgumentError, match="4 columns"):
            hash_rows(make_family(name, dim=4), np.ones((1, 5)))
    with pytest.raises(ArgumentError, match=r"method must be one of .* \(got 'one'\)"):
        make_family("minhash", dim=4, method="one")
    with pytest.raises(ArgumentError, match=r"sets must be one of .* \(got 'all'\)"):
        make_family("minhash", dim=4, sets="all")
    for threshold in (-1, float("nan"), "1"):
        with pytest.raises(ArgumentError, match="threshold"):
            make_family("minhash", dim=4, sets="threshold", threshold=threshold)
    with pytest.raises(
        ArgumentError, match=r'threshold must be 0, .*sets="nonzero" does not use it \(got 0.5\)'
    ):
        make_family("minhash", dim=4, threshold=0.5)
    with pytest.raises(ArgumentError, match="set_size"):
        make_family("minhash", dim=4, sets="top", set_size=0)
