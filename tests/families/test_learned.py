"""Learned families: what training changes, that it can be repeated and stored, and what is refused."""

import json
import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from lshsample_families import ITQ, LearnedSimHash, SimpleLSH

from lshsample import HashTables, Retrieve, Uniform
from lshsample.errors import ArgumentError, BiasedSampleError, UnsupportedError
from lshsample.hashing import hash_rows
from lshsample.registry import family_from_dict, family_from_toml, family_to_dict, family_to_toml, make_family

DIM = 32


def pairs(n, seed):
    """Items and queries that share 6 columns and differ in 26 louder ones."""
    rng = np.random.default_rng(seed)
    items, queries = rng.standard_normal((2, n, DIM)).astype(np.float32)
    queries[:, :6] = items[:, :6] + 0.2 * rng.standard_normal((n, 6)).astype(np.float32)
    return queries, items


def rates(family, queries, items):
    """How often codes of pairs agree, and of a query with another's item."""
    q, x = hash_rows(family, queries, query=True), hash_rows(family, items)
    return (q == x).mean(), (q == np.roll(x, 1, axis=0)).mean()


def simhash(**options):
    return make_family("learned-simhash", dim=DIM, n_hashes=6, n_tables=16, **options)


@pytest.mark.parametrize("kind", ["dense", "csr"])
def test_queries_learn_to_find_their_positives(kind):
    queries, items = pairs(1500, 0)
    family = simhash()
    pick = sp.csr_array if kind == "csr" else np.asarray
    fitted = family.fit(pick(queries), sp.eye_array(1500, format="csr"), pick(items), epochs=8)
    held_out = pairs(1500, 1)
    before, after = rates(family, *held_out), rates(fitted, *held_out)
    assert after[0] > 10 * before[0], (before, after)
    assert after[0] / after[1] > 8 * before[0] / before[1], (before, after)


def test_training_is_repeated_by_the_seed_and_leaves_the_family_as_it_was():
    queries, items = pairs(300, 0)
    family = simhash(seed=3)
    fits = [family.fit(queries, sp.eye_array(300, format="csr"), items, epochs=2) for _ in range(2)]
    assert fits[0] == fits[1] != family
    assert not family.is_fitted
    further = fits[0].fit(queries, sp.eye_array(300, format="csr"), items, epochs=1)
    assert further != fits[0]
    with pytest.raises(UnsupportedError, match="not drawn by a seed"):
        fits[0].with_seed(4)
    assert family.with_seed(4).seed == 4


def test_before_a_fit_it_is_simhash():
    x = pairs(60, 0)[0]
    plain = make_family("simhash", dim=DIM, n_hashes=6, n_tables=16, seed=2, projection="gaussian")
    assert (hash_rows(simhash(seed=2), x) == hash_rows(plain, x)).all()


def test_retraining_while_tables_live():
    queries, items = pairs(400, 0)
    tables = HashTables(simhash()).build(items)
    fitted = tables.family.fit(queries, sp.eye_array(400, format="csr"), items, epochs=3)
    found = np.mean([i in tables.query(queries[i : i + 1]).ids for i in range(100)])
    assert tables.rebuild(items, fitted).family is fitted
    assert np.mean([i in tables.query(queries[i : i + 1]).ids for i in range(100)]) > found
    with pytest.raises(ArgumentError, match=r"family must be .* \(got 3\)"):
        tables.rebuild(items, 3)
    active = Retrieve(tables).bind(n_items=400).sample(queries[:2], law="marginal")
    with pytest.raises(BiasedSampleError, match="have no collision probability"):
        _ = active.log_inclusion
    exact = (Retrieve(tables) | Uniform(9)).bind(n_items=400).sample(queries[:2])
    assert not exact.is_biased


@pytest.mark.parametrize("name", ["learned-simhash", "itq", "product-quantization"])
def test_what_was_learned_is_stored(name, tmp_path):
    queries, items = pairs(200, 0)
    family = make_family(name, dim=DIM, n_hashes=4, n_tables=3)
    is_supervised = name == "learned-simhash"
    given = (queries, sp.eye_array(200, format="csr"), items) if is_supervised else (items,)
    fitted = family.fit(*given)
    for again in (
        family_from_dict(json.loads(json.dumps(family_to_dict(fitted)))),
        family_from_toml(family_to_toml(fitted)),
        pickle.loads(pickle.dumps(fitted)),
    ):
        assert again == fitted
        assert (hash_rows(again, queries) == hash_rows(fitted, queries)).all()
    tables = HashTables(fitted).build(items)
    tables.save(tmp_path / "tables")
    assert HashTables.open(tmp_path / "tables").family == fitted
    assert len(repr(fitted)) < 300


def test_itq_loses_less_than_random_directions():
    """Codes of rows near a plane: ITQ's separate neighbours from others better, at as many bits."""
    rng = np.random.default_rng(0)
    basis = rng.standard_normal((8, DIM))
    items = (rng.standard_normal((2000, 8)) @ basis + 5).astype(np.float32)
    queries = (items + 0.4 * rng.standard_normal(items.shape)).astype(np.float32)
    itq = make_family("itq", dim=DIM, n_hashes=8, n_tables=6, components=8).fit(items)
    plain = make_family("simhash", dim=DIM, n_hashes=8, n_tables=6)
    ratio = {f: np.divide(*rates(f, queries, items)) for f in (itq, plain)}
    assert ratio[itq] > 5 * ratio[plain]
    codes = hash_rows(itq, items)
    assert len({tuple(column) for column in codes.T}) == 6, "tables differ"
    bits = codes[:, :, None] >> np.arange(8, dtype=np.uint32) & 1
    assert np.abs(bits.mean(axis=0) - 0.5).max() < 0.1, "centred rows: bits are balanced"


def test_itq_rotations_are_orthogonal_and_the_loss_falls():
    items = pairs(500, 0)[1] * np.linspace(3, 0.1, DIM, dtype=np.float32)
    losses = []
    for iterations in (1, 50):
        family = make_family("itq", dim=DIM, n_hashes=6, n_tables=1, components=6, iterations=iterations).fit(
            items
        )
        planes = family._matrix[:-1].astype(np.float64)
        np.testing.assert_allclose(planes.T @ planes, np.eye(6), atol=1e-5)
        margins = (items - items.mean(axis=0)) @ planes
        losses.append(((np.where(margins >= 0, 1, -1) - margins) ** 2).sum())
    assert losses[1] <= losses[0]


def test_itq_is_fitted_by_a_build_kept_by_a_rebuild_and_learned_again_by_a_rehash():
    items = pairs(300, 0)[1]
    family = make_family("itq", dim=DIM, n_hashes=4, n_tables=3)
    with pytest.raises(ArgumentError, match=r"planes must be learned hyperplanes; ITQ.fit.* \(got nothing\)"):
        hash_rows(family, items)
    tables = HashTables(family).build(items)
    first = tables.family
    assert first == family.fit(items)
    assert tables.rebuild(items * 2).family is first
    assert tables.rehash(items, seed=5).family == make_family(
        "itq", dim=DIM, n_hashes=4, n_tables=3, seed=5
    ).fit(items)
    sparse = sp.random_array(
        (200, DIM), density=0.2, format="csr", dtype=np.float32, rng=np.random.default_rng(0)
    )
    a, b = family.fit(sparse), family.fit(sparse.toarray())
    assert (hash_rows(a, sparse) == hash_rows(b, sparse)).mean() > 0.97


def test_what_is_refused():
    queries, items = pairs(50, 0)
    family, eye = simhash(), sp.eye_array(50, format="csr")
    for given, name in [
        ((queries[:, 1:], eye, items), "queries"),
        ((queries, eye, items[:, 1:]), "vectors"),
        ((queries, eye, np.full_like(items, np.nan)), "vectors"),
        ((queries, eye[:, :10], items), "positives"),
        ((queries, 2 * eye, items), "positives"),
        ((queries, sp.csr_array((50, 50)), items), "positives"),
    ]:
        with pytest.raises(ArgumentError, match=f"^{name}"):
            family.fit(*given)
    for option, value in [
        ("epochs", 0),
        ("batch_size", True),
        ("n_negatives", 1.5),
        ("margin", 0),
        ("learning_rate", np.nan),
    ]:
        with pytest.raises(ArgumentError, match=f"^{option}"):
            family.fit(queries, eye, items, **{option: value})
    with pytest.raises(ArgumentError, match=r"vectors must be .* \(got 31 columns"):
        make_family("itq", dim=DIM).fit(items[:, 1:])
    with pytest.raises(ArgumentError, match="n_hashes <= components"):
        make_family("itq", dim=4, n_hashes=5)
    for planes, what in [("???", "not base64"), ("AAAA", "3 bytes"), ("AADAfwAAwH8AAMB/AADAfw==", "NaN")]:
        with pytest.raises(ArgumentError, match=rf"planes must be .* \(got .*{what}"):
            make_family("learned-simhash", dim=2, n_hashes=2, n_tables=1, planes=planes)
    for inner in (family, make_family("itq", dim=DIM)):
        with pytest.raises(
            ArgumentError, match=r"inner must be .* \(got \w+, a family of similarity 'learned'\)"
        ):
            SimpleLSH(inner)
    assert {type(family), type(make_family("itq", dim=9))} == {LearnedSimHash, ITQ}
