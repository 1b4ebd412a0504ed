"""Rankers: what is taken, that results of exact ways are the same, and what is kept."""

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample import HashTables, Retrieve, make_family
from lshsample.errors import ArgumentError, DivergenceError, UnsupportedError
from lshsample.nn import Dense, Input, Network, Sampled, Sparse

INPUTS, UNITS = 24, 3000


def network_of(*layers, seed=1):
    return Network([Input(INPUTS), *layers], seed=seed)


@pytest.fixture
def network():
    return network_of(Sampled(UNITS, "softmax", sampler="full"))


@pytest.fixture
def x():
    return np.random.default_rng(0).standard_normal((600, INPUTS)).astype(np.float32)


def same(one, other):
    np.testing.assert_array_equal(one.labels, other.labels)
    np.testing.assert_array_equal(one.scores, other.scores)


def test_a_ranker_keeps_its_copy_and_ranks_as_the_network(network, x):
    wanted = network.rank(x, 3)
    assert wanted.took == {"float32": 600}
    ranker = network.ranker(x[:50], 3)
    for batch_size in (1, 256):
        found = ranker.rank(x[:300], batch_size=batch_size, threads=2)
        assert found.took == {"int8": 300}
        np.testing.assert_array_equal(found.labels, wanted.labels[:300])
        np.testing.assert_array_equal(found.scores, wanted.scores[:300])
    assert found.scored_mean < UNITS / 2
    same(network.ranker(x[:0], 3, "exact", precision="int8").rank(x), wanted)
    assert network.ranker(x, 3, "exact").rank(x[:2]).took == {"float32": 2}
    assert ranker.rank(x[:0]).took == {}


def test_auto_makes_a_copy_for_many_rows(network, x):
    many = np.tile(x, (3, 1))
    few, much = network.rank(x[:20], mode="auto"), network.rank(many, mode="auto")
    assert (few.took, much.took) == ({"float32": 20}, {"int8": 1800})
    same(much, network.rank(many))
    y = sp.csr_array((np.ones(len(x)), (np.arange(len(x)), few.labels[0].repeat(120))), shape=(600, UNITS))
    assert network.evaluate(x, y, mode="auto") == network.evaluate(x, y)


def test_the_copy_is_read_while_it_rules_labels_out(x):
    """Where all labels have the same score, bounds leave them all, and float32 is cheaper."""
    network = network_of(Dense(UNITS, "softmax", init_scale=0.0))
    network.allocate_for_prediction()
    found = network.ranker(x[:64]).rank(x)
    assert found.took == {"float32": 600}


@pytest.mark.parametrize("probes", [1, 64])
def test_tables_are_taken_if_they_find_the_best_labels(probes):
    rng = np.random.default_rng(1)
    network = network_of(Sampled(20_000, "softmax", sampler="full"))
    network.allocate_for_prediction()
    units = network.output.unit_vectors()
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    noise = 0.08 * rng.standard_normal((300, INPUTS), np.float32)
    x = units[rng.integers(0, 20_000, 300)] + noise
    family = make_family("simhash:projection=gaussian", dim=INPUTS, n_hashes=14, n_tables=6)
    sampler = Retrieve(probes=probes).bind(tables=HashTables(family).build(units))
    ranker = network.ranker(x[:100], 1, sampler=sampler, recall=0.97)
    found, exact = ranker.rank(x, batch_size=1), network.rank(x, 1)
    assert found.took == {"tables" if probes == 64 else "int8": 300}
    assert (found.labels == exact.labels).mean() > 0.95
    assert found.scored_mean < 2_000
    assert network.rank(x, 1, "auto", sampler=sampler).took.keys() <= {"float32", "int8", "tables"}


def test_layers_without_a_copy_are_scored_in_float32(network, x, monkeypatch):
    def refused(threads, like=None):
        raise UnsupportedError("no copy")

    monkeypatch.setattr(network.output, "byte_rows", refused)
    same(network.ranker(x).rank(x), network.rank(x))
    with pytest.raises(UnsupportedError, match="no copy"):
        network.ranker(x, mode="exact", precision="int8")


def test_bad_arguments_are_named(network, x):
    for argument, options in (
        ("mode", {"mode": "fast"}),
        ("precision", {"precision": "int8"}),
        ("precision", {"precision": "int4", "mode": "exact"}),
        ("recall", {"recall": 0}),
        ("recall", {"recall": True}),
        ("top", {"top": UNITS + 1}),
        ("sampler", {"sampler": Retrieve().bind(tables=HashTables("simhash").build(x[:9]))}),
    ):
        with pytest.raises(ArgumentError) as caught:
            network.ranker(x, **options)
        assert caught.value.argument == argument
    network.allocate_for_prediction()
    network.output.weights.weights[...] = np.nan
    for options in ({}, {"mode": "exact"}):
        with pytest.raises(DivergenceError, match="row 0: scores are NaN"):
            network.ranker(x, **options).rank(x)


def test_sparse_rows():
    network = Network([Sparse(50), Dense(8), Sampled(90, "softmax", sampler="full")], seed=2)
    x = sp.random_array((30, 50), density=0.2, format="csr", dtype=np.float32, rng=np.random.default_rng(0))
    same(network.ranker(x, 4).rank(x), network.rank(x, 4))
