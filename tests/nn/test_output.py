"""The interface of output layers: unit vectors, scores, and the best units, for every memory layout."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample.errors import ArgumentError, UnsupportedError
from lshsample.nn import Dense, Input, Network, Sampled, Sparse
from lshsample.registry import make_family
from lshsample.sampling import Retrieve
from lshsample.tables import Candidates, HashTables

UNITS, INPUTS = 300, 24


def output_of(kind: str, bias: bool = True):
    """A last layer with known weights, the same for every kind."""
    last = {
        "dense": Dense(UNITS, "softmax", bias=bias),
        "pooled": Sampled(UNITS, sampler="full", bias=bias),
        "tables": Sampled(UNITS, sampler="Retrieve()", n_hashes=2, n_tables=6, bias=bias),
    }[kind]
    network = Network([Input(INPUTS), last], seed=1)
    network.allocate()
    rng = np.random.default_rng(0)
    network.output.unit_vectors()[...] = rng.standard_normal((UNITS, INPUTS))
    if bias:
        network.parameters[1].vector[...] = rng.standard_normal(UNITS)
    return network


def rows(n: int = 7) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((n, INPUTS), dtype=np.float32)


def logits(network: Network, h: np.ndarray) -> np.ndarray:
    """The logits in float64."""
    vectors = network.output.unit_vectors().astype(np.float64)
    bias = network.parameters[1].vector.astype(np.float64) if len(network.parameters) > 1 else 0.0
    return h @ vectors.T + bias


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", ["dense", "pooled", "tables"])
def test_scores_are_inner_products_with_unit_vectors(kind, bias):
    network, h = output_of(kind, bias), rows()
    last, wanted = network.output, logits(network, h)
    assert last.unit_vectors().shape == (UNITS, INPUTS)
    ids = np.array([5, 299, 0, 5, 17], np.int32)
    np.testing.assert_allclose(last.score(h), wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(last.score(h, ids, threads=2), wanted[:, ids], rtol=1e-4, atol=1e-5)
    assert last.score(h, ids[:0]).shape == (7, 0)
    for bad in (np.array([300], np.int32), np.array([-1], np.int32)):
        with pytest.raises(ArgumentError, match="id"):
            last.score(h, bad)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", ["pooled", "tables"])
def test_the_best_units_do_not_depend_on_the_memory_layout(kind, bias):
    """The same bits for single rows and batches, over all units and over candidates."""
    dense, sampled = output_of("dense", bias).output, output_of(kind, bias).output
    for n in (1, 7):
        h = rows(n)
        one, other = dense.top_k(h, 9, threads=1), sampled.top_k(h, 9, threads=2)
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])
        lists = [np.sort(np.random.default_rng(i).choice(UNITS, 3 * i, replace=False)) for i in range(n)]
        ids = np.concatenate(lists).astype(np.int32)
        found = Candidates(np.cumsum([0, *map(len, lists)]), ids, np.ones(len(ids), np.int32))
        one, other = dense.top_k(h, 5, found), sampled.top_k(h, 5, found)
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])
        assert (one[0][0] == -1).all()


def test_a_dense_layer_predicts_through_tables_of_its_units():
    """Candidates from any sampler over the unit vectors; without one, a layer without tables has none."""
    network, h = output_of("dense"), rows()
    tables = HashTables(make_family("simhash", dim=INPUTS, n_hashes=2, n_tables=40)).build(
        network.output.unit_vectors()
    )
    sampler = Retrieve(probes=4).bind(tables=tables)
    found = network.predict(h, top=3, mode="sampled", sampler=sampler)
    exact = network.predict(h, top=3)
    np.testing.assert_array_equal(found[0], exact[0])
    np.testing.assert_allclose(found[1], exact[1], rtol=1e-4)
    with pytest.raises(UnsupportedError, match="a last layer that samples"):
        network.predict(h, mode="sampled")
    for kind in ("dense", "pooled"):
        last = output_of(kind).output
        assert not last.retrieves
        with pytest.raises(UnsupportedError, match="layer 1 has no hash tables"):
            last.candidates(h, 1)
    last = output_of("tables").output
    assert last.retrieves
    assert last.candidates(h, 1).indptr.shape == (8,)


@pytest.mark.parametrize("rows_of", ["sparse", "dense", "sampled"])
def test_a_dense_last_layer_predicts_from_any_layer_below(rows_of):
    """Sparse rows, all units of a layer, and a layer whose units are sampled while training."""
    below = {
        "sparse": [Sparse(INPUTS)],
        "dense": [Sparse(INPUTS), Dense(16)],
        "sampled": [Sparse(INPUTS), Sampled(40, "relu", sampler="uniform", n_active=9)],
    }[rows_of]
    network = Network([*below, Dense(UNITS, "softmax")], seed=2)
    x = sp.csr_array(rows() * (rows() > 0.5))
    h = network.hidden(x)
    labels, scores = network.predict(x, top=4)
    wanted = h.astype(np.float64) @ network.output.unit_vectors().T.astype(np.float64)
    np.testing.assert_allclose(scores, -np.sort(-wanted)[:, :4], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(wanted, labels, 1), scores, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", ["dense", "pooled", "tables"])
def test_8_bit_prediction_gives_the_same_bits(kind, bias):
    network, x = output_of(kind, bias), rows(9)
    network.parameters[0].decay(0.75)
    wanted = network.rank(x, top=4)
    found = network.rank(x, top=4, precision="int8", batch_size=4)
    np.testing.assert_array_equal(found.labels, wanted.labels)
    np.testing.assert_array_equal(found.scores, wanted.scores)
    assert wanted.scored_mean == UNITS
    assert 4 <= found.scored_mean < UNITS
    # The copy is of the weights at the call.
    network.output.unit_vectors()[...] *= -1
    np.testing.assert_array_equal(network.predict(x, precision="int8"), network.predict(x))
    y = np.zeros((9, UNITS), np.float32)
    y[:, 5] = 1
    assert network.evaluate(x, y, precision="int8") == network.evaluate(x, y)
    assert network.rank(x[:0], precision="int8").scored_mean == 0


def test_precision_is_checked():
    network = output_of("tables")
    for arguments in ({"precision": "int4"}, {"precision": "int8", "mode": "sampled"}):
        with pytest.raises(ArgumentError, match="precision"):
            network.predict(rows(), **arguments)
