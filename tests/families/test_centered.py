"""Centered families: the mean, its fit, exact inner products, the kernel, and the law of centred rows."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from lshsample_families import E2LSH, Centered, SimHash, SimpleLSH

from lshsample import HashTables, hash_rows, make_family
from lshsample._native import core
from lshsample.errors import ArgumentError
from lshsample.hashing import probe_rows
from lshsample.nn import Dense, Network, Sampled, Sparse
from lshsample.registry import family_from_dict, family_from_json, family_to_dict, family_to_json
from lshsample.testing.law_checks import observed_rates
from lshsample.training import Trainer

DIM = 21


def rows(n=300, seed=0, offset=2.0, dim=DIM):
    """Rows with a large common mean."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n, dim)) + offset * (1 + np.arange(dim) % 3)).astype(np.float32)


def plain(text="simhash", **options):
    return make_family("centered", dim=DIM, n_hashes=3, n_tables=5, inner=text, **options)


def test_a_build_takes_the_mean_of_its_rows_and_keeps_one_that_holds():
    x, family = rows(), plain()
    with pytest.raises(ArgumentError, match=r"mean must be the mean of the rows.*prepare.*\(got nothing\)"):
        hash_rows(family, x)
    tables = HashTables(family, threads=1).build(x)
    fitted = tables.family
    np.testing.assert_array_equal(fitted.mean, x.mean(axis=0, dtype=np.float64).astype(np.float32))
    assert fitted.query_mean is fitted.mean
    assert tables.rebuild(x[:200]).family == fitted, "the mean of a part hardly differs"
    assert fitted.with_seed(7).mean is not None
    moved = tables.rebuild(x + np.float32(1)).family
    np.testing.assert_allclose(moved.mean, fitted.mean + 1, rtol=1e-5)
    assert plain().prepare(sp.csr_array(x)) == plain().prepare(x)


@pytest.mark.parametrize(
    ("inner", "exact"),
    [
        ("simhash", False),
        ("simhash:projection=gaussian", False),
        ("cross-polytope", False),
        ("e2lsh:width=3.0", False),
        ("simple-lsh:bound=60.0", False),
        ("simple-lsh:bound=60.0", True),
        ("multiprobe:probes=2", False),
    ],
)
@pytest.mark.parametrize("isa", core.available_isas())
def test_codes_are_the_inner_familys_of_centred_rows(inner, exact, isa):
    x, q = rows(150), rows(70, seed=1, offset=3.0)
    family = plain(inner, exact=exact).fit(x, q)
    sparse = sp.csr_array(np.where(np.arange(DIM) % 4 == 0, x, 0).astype(np.float32))
    with core.forced_isa(isa):
        for data in (x, sparse):
            assert (hash_rows(family, data) == family.hash(data)).all()
            assert (hash_rows(family, data) == family.inner.hash(family.transform(data))).all()
            assert (hash_rows(family, data, query=True) == family.hash_query(data)).all()
        assert (probe_rows(family, q, 3, threads=2) == family.probe(q, 3)).all()
    assert family.native() is not None


def test_one_more_column_makes_inner_products_exact():
    x, q = rows(), rows(9, seed=1, offset=3.0)
    family = plain("simple-lsh", exact=True).fit(x, q)
    products = family.transform_query(q).astype(np.float64) @ family.transform(x).astype(np.float64).T
    expected = q.astype(np.float64) @ (x - family.mean).astype(np.float64).T
    np.testing.assert_allclose(products, expected, rtol=1e-5, atol=1e-4)
    own = family.similarity_of(np.repeat(q[:1], len(x), 0), x)
    assert (np.argsort(-own)[:20] == np.argsort(-(x @ q[0]))[:20]).all()
    inexact = plain("simple-lsh").fit(x, q).similarity_of(np.repeat(q[:1], len(x), 0), x)
    assert (np.argsort(-inexact)[:20] != np.argsort(-(x @ q[0]))[:20]).any()


@pytest.mark.parametrize("inner", ["simhash:projection=gaussian", "e2lsh:width=4.0,projection=gaussian"])
def test_the_law_is_the_inner_familys_at_centred_rows(inner):
    x = rows(8, dim=48)
    q = (x + 0.5 * np.random.default_rng(2).standard_normal(x.shape)).astype(np.float32)
    family = make_family("centered", dim=48, inner=inner).fit(rows(500, seed=3, dim=48))
    law = family.collision_probability(family.similarity_of(q, x))
    by_hand = family.inner.similarity_of(q - family.mean, x - family.mean)
    np.testing.assert_array_equal(family.similarity_of(q, x), by_hand)
    uncentred = family.inner.collision_probability(family.inner.similarity_of(q, x))

    def make(**shape):
        return make_family(family, **shape)

    seen = observed_rates(make, x, q, range(60), 1).agreed.mean(axis=(0, 2, 3))
    draws = 60 * 32
    assert (np.abs(seen - law) < 4.5 * np.sqrt(law * (1 - law) / draws) + 1e-3).all()
    if family.similarity == "cosine":
        assert (np.abs(seen - uncentred) > 0.05).all()


def test_rows_of_a_large_mean_spread_over_the_buckets():
    x = np.maximum(np.random.default_rng(0).standard_normal((2000, 64)) + 1.5, 0).astype(np.float32)
    sizes = []
    for text in ("simhash", "centered:inner=simhash"):
        tables = HashTables(make_family(text, dim=64, n_hashes=8, n_tables=4), threads=1).build(x)
        sizes.append(len(tables.query(x[:50]).ids) / 50)
    assert sizes[1] < sizes[0] / 10


def test_saved_as_plain_data_and_with_tables(tmp_path):
    x = rows()
    tables = HashTables(plain("cross-polytope"), threads=1).build(x)
    family = tables.family
    for copy in (
        pickle.loads(pickle.dumps(family)),
        family_from_dict(family_to_dict(family)),
        family_from_json(family_to_json(family)),
    ):
        assert copy == family
        assert (copy.mean == family.mean).all()
    tables.save(tmp_path / "tables.lsh")
    opened = HashTables.open(tmp_path / "tables.lsh")
    assert opened.family == family
    assert (opened.query(x[:5]).ids == tables.query(x[:5]).ids).all()
    assert "characters>" in repr(family)


def test_a_sampled_layer_fits_it_at_each_build():
    output = Sampled(
        200, sampler="Retrieve() | Include() | Uniform(9)", family="centered", n_hashes=3, n_tables=8
    )
    network = Network([Sparse(30), Dense(16), output], seed=1)
    x = sp.random_array((16, 30), density=0.3, rng=0, dtype=np.float32, format="csr")
    y = sp.csr_array((np.ones(16, np.float32), (np.arange(16), np.arange(16))), shape=(16, 200))
    trainer = Trainer(network, threads=1)
    assert all(np.isfinite(trainer.step(x, y).loss) for _ in range(3))


def test_what_is_refused():
    x = rows()
    with pytest.raises(ArgumentError, match=r"inner must be a family of cosine, euclidean or inner_product"):
        plain("minhash")
    with pytest.raises(ArgumentError, match=r"exact must be False for the similarity 'cosine' \(got True\)"):
        plain("simhash", exact=True)
    with pytest.raises(ArgumentError, match=r"exact must be True or False \(got 1\)"):
        plain("simple-lsh", exact=1)
    with pytest.raises(
        ArgumentError, match=r"mean must be 84 bytes for 1 x 21 numbers: a mean is for one dim"
    ):
        plain(mean="AAAA")
    with pytest.raises(ArgumentError, match=r"query_mean must be empty, as mean is"):
        plain(query_mean=plain().fit(x).spec.mean)
    with pytest.raises(ArgumentError, match=r"queries must be an array of at least one row \(got no rows\)"):
        plain().fit(x, x[:0])
    assert isinstance(Centered(SimHash(SimHash.Spec(dim=3))).inner, SimHash)
    assert {E2LSH.similarity, SimpleLSH.similarity} <= set(Centered.wraps)
