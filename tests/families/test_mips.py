"""Wrappers for inner products: transforms, the bound of the norms, what they wrap and what they refuse."""

import json
import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from lshsample_families import NormRanging, SignALSH, SimHash, SimpleLSH
from lshsample_families._mips import row_norms

from lshsample import HashTables, Retrieve, Uniform
from lshsample._native import core
from lshsample.errors import ArgumentError
from lshsample.hashing import hash_rows
from lshsample.registry import family_from_dict, family_from_toml, family_to_dict, family_to_toml, make_family

NAMES = ["norm-ranging", "sign-alsh", "simple-lsh"]
DIM = 24


def rows(n=200, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n, DIM)) * rng.lognormal(0, 0.7, (n, 1))).astype(np.float32)


def plain(name, **options):
    return make_family(name, dim=DIM, n_hashes=5, n_tables=12, **options)


@pytest.mark.parametrize("name", NAMES)
def test_augmented_rows_have_the_published_similarity(name):
    x, q = rows(), rows(seed=1)
    family = plain(name).prepare(x)
    p, queries = family.transform(x).astype(np.float64), family.transform_query(q).astype(np.float64)
    cosines = (p * queries).sum(1) / np.linalg.norm(p, axis=1) / np.linalg.norm(queries, axis=1)
    norms, s = row_norms(x), family.similarity_of(q, x)
    np.testing.assert_allclose(s, (q * x).sum(1, dtype=np.float64) / np.linalg.norm(q, axis=1), rtol=1e-5)
    if name == "sign-alsh":
        scaled = norms * 0.75 / norms.max()
        expected = s * 0.75 / norms.max() / np.sqrt(2 / 4 + scaled**8)
    else:
        edges = np.array(family.edges)
        expected = s / edges[np.searchsorted(edges, norms)]
    np.testing.assert_allclose(cosines, expected, atol=1e-6)
    np.testing.assert_allclose(
        family.collision_probability(s, norms), 1 - np.arccos(cosines) / np.pi, atol=1e-4
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_bound_is_that_of_the_rows_and_grows_with_them(name):
    x = rows()
    family = plain(name)
    with pytest.raises(ArgumentError, match=r"bound must be .*prepare.* \(got nothing\)"):
        hash_rows(family, x)
    tables = HashTables(family).build(x)
    assert tables.family.edges[-1] == row_norms(x).max()
    before = tables.family
    assert tables.rebuild(x * np.float32(0.5)).family is before, "a bound that holds is kept"
    after = tables.rebuild(x * np.float32(2)).family
    assert after.edges[-1] == 2 * before.edges[-1]
    assert after.seed == before.seed
    # Scaled by a power of two, rows and bound give the same augmented rows: nothing was clipped.
    assert (hash_rows(after, x * np.float32(2)) == hash_rows(before, x)).all()
    assert tables.rehash(x * np.float32(4), seed=9).family.edges[-1] == 4 * before.edges[-1]
    roomy = plain(name, headroom=1.5).prepare(x)
    assert roomy.edges[-1] == row_norms(x).max() * 1.5


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("make", [np.asarray, sp.csr_array])
def test_a_row_beyond_the_bound_is_refused_with_the_figure(name, make):
    x = rows()
    family = plain(name).prepare(x)
    x[17] *= np.float32(1e3)
    norm = row_norms(x)[17]
    for hashed in (hash_rows, lambda f, r: f.hash(r)):
        with pytest.raises(ArgumentError) as caught:
            hashed(family, core.csr_rows(make(x), "x") if make is sp.csr_array else x)
        assert f"(got row 17 of norm {norm:.9g})" in str(caught.value)
        assert f"{family.edges[-1]:.9g}" in str(caught.value)
    hash_rows(family, x, query=True)  # a query may be as long as it likes


def test_rows_of_zeros_have_a_bound_that_the_first_real_row_outgrows():
    zeros = np.zeros((5, DIM), np.float32)
    for name in NAMES:
        tables = HashTables(plain(name)).build(zeros)
        assert 0 < tables.family.edges[-1] < 1e-30
        assert tables.rebuild(zeros + 1).family.edges[-1] == pytest.approx(DIM**0.5)


def test_ranges_hold_equally_many_rows():
    x = rows(320)
    family = plain("norm-ranging", n_ranges=8).prepare(x)
    ranges = np.searchsorted(family.edges, row_norms(x))
    assert np.bincount(ranges).tolist() == [40] * 8
    for bad in ((1, 1), (0, 1), (2, 1), (1, np.inf), "12", 3, (True,), (np.nan,)):
        if bad == 3:
            assert plain("norm-ranging", edges=bad).edges == (3.0,)
            continue
        with pytest.raises(ArgumentError, match="edges"):
            plain("norm-ranging", edges=bad)


def test_norms_are_the_same_for_dense_and_sparse_rows_and_do_not_overflow():
    x = rows(50)
    x[np.random.default_rng(2).random(x.shape) < 0.6] = 0
    x[3] = 3e38
    x[4] = 1e-45
    norms = row_norms(x)
    assert (norms == row_norms(core.csr_rows(sp.csr_array(x), "x"))).all()
    np.testing.assert_allclose(norms, np.linalg.norm(x.astype(np.float64), axis=1), rtol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_plain_data_and_pickle(name):
    family = plain(name, inner={"family": "simhash", "projection": "gaussian"}).prepare(rows())
    data = family_to_dict(family)
    assert data["inner"] == {"family": "simhash", "projection": "gaussian", "density": 1 / 3}
    assert family_from_dict(json.loads(json.dumps(data))) == family
    assert family_from_toml(family_to_toml(family)) == family
    assert pickle.loads(pickle.dumps(family)) == family
    assert (hash_rows(family_from_dict(data), rows()) == hash_rows(family, rows())).all()


def test_wrapping_in_python():
    inner = SimHash(SimHash.Spec(dim=DIM, n_hashes=3, n_tables=4, seed=7, projection="gaussian"))
    family = SimpleLSH(inner, bound=2.0)
    assert (family.dim, family.n_hashes, family.n_tables, family.seed) == (DIM, 3, 4, 7)
    assert family == make_family("simple-lsh", dim=DIM, n_hashes=3, n_tables=4, seed=7, bound=2.0,
                                 inner={"family": "simhash", "projection": "gaussian"})  # fmt: skip
    assert family.inner.dim == DIM + 1
    assert family.with_seed(8).inner.seed == 8
    with pytest.raises(
        ArgumentError, match=r"options must be left out: the spec has the options \(got bound\)"
    ):
        SimpleLSH(family.spec, bound=1.0)


def test_tables_are_saved_with_their_bound(tmp_path):
    tables = HashTables(plain("norm-ranging", n_ranges=3)).build(rows())
    tables.save(tmp_path / "tables")
    assert HashTables.open(tmp_path / "tables").family == tables.family


@pytest.mark.parametrize("cls", [SimpleLSH, SignALSH, NormRanging])
def test_what_does_not_fit_is_refused_with_the_reason(cls):
    shape = {"dim": DIM, "n_hashes": 2, "n_tables": 3}
    with pytest.raises(ArgumentError, match=r"inner must be a family of .*: the .* \(got DWTA, .*'rank'\)"):
        cls(make_family("dwta", **shape))
    with pytest.raises(
        ArgumentError, match=r"inner must be .* \(got SimpleLSH, a family of similarity 'inner_product'\)"
    ):
        cls(make_family("simple-lsh", **shape))
    for bad in (None, 3, ["simhash"]):
        with pytest.raises(
            ArgumentError, match=r"inner must be a HashFamily, text .*, or a mapping .* \(got .*\)"
        ):
            cls.Spec(dim=DIM, inner=bad)
    with pytest.raises(ArgumentError, match=r"inner\.family must be one of .*simhash.* \(got 'simhahs'\)"):
        cls.Spec(dim=DIM, inner="simhahs")
    for shaped in ({"family": "simhash", "dim": 5}, "simhash:dim=5"):
        with pytest.raises(ArgumentError, match=r"inner\.dim must be left out: .*inherited.* \(got 5\)"):
            cls.Spec(dim=DIM, inner=shaped)
    with pytest.raises(ArgumentError, match=r"n_ranges|bound"):
        cls.Spec(dim=DIM, **({"n_ranges": 0} if cls is NormRanging else {"bound": -1.0}))


def test_laws_that_need_norms_say_so():
    family = plain("sign-alsh", bound=1.0)
    with pytest.raises(ArgumentError, match=r"norms must be the norms of the data rows.* \(got nothing\)"):
        family.collision_probability([0.5])


@pytest.mark.parametrize("name", NAMES)
def test_inclusion_over_the_functions_gives_unbiased_sums(name):
    """The estimate of a sum over all items, averaged over draws of the functions, is the sum."""
    x, q = rows(60), rows(1, seed=5)
    values = np.random.default_rng(3).random(60)
    totals = []
    for seed in range(150):
        tables = HashTables(plain(name, seed=seed), threads=1).build(x)
        active = (
            (Retrieve(tables) | Uniform(3)).bind(n_items=60).sample(q, law="marginal", seed=seed, threads=1)
        )
        totals.append((values[active.ids] / np.exp(active.log_inclusion)).sum())
    error = np.std(totals) / len(totals) ** 0.5
    assert np.mean(totals) == pytest.approx(values.sum(), abs=4 * error)
    assert error < 0.07 * values.sum()
