"""Workloads made of rows and of a trained layer."""

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample.compare import Workload
from lshsample.errors import ArgumentError
from lshsample.nn import Dense, Network, Sampled, Sparse


def test_a_trained_layer():
    network = Network(
        [Sparse(30), Dense(8, "relu"), Sampled(150, "softmax", n_active=50, init_scale=0.3)], seed=1
    )
    rows = sp.random_array((40, 30), density=0.3, format="csr", dtype=np.float32, rng=1)
    workload = Workload.of_layer(network, rows, n_items=120, n_queries=10)
    assert workload.items.shape == (120, 8)
    assert workload.queries.shape == (10, 8)
    whole = Workload.of_layer(network, rows)
    _, scores = network.predict(rows, top=1)
    np.testing.assert_allclose((whole.queries @ whole.items.T).max(axis=1), scores[:, 0], rtol=1e-5)
    dense = Network([Sparse(30), Dense(8, "relu"), Dense(150, "softmax")], seed=1)
    assert Workload.of_layer(dense, rows).items.shape == (150, 8)


def test_rows_of_any_kind():
    rng = np.random.default_rng(0)
    rows = rng.random((60, 5)) * (rng.random((60, 5)) < 0.7)
    dense = Workload.of_rows("", rows.tolist(), n_queries=6, k=3)
    sparse = Workload.of_rows("", sp.coo_array(rows), n_queries=6, k=3)
    np.testing.assert_array_equal(dense.truth, sparse.truth)
    np.testing.assert_array_equal(dense.items, sparse.items.toarray())


def test_the_digest_tells_workloads_apart():
    one = Workload.synthetic(60, 4, 5)
    assert one.digest == Workload.synthetic(60, 4, 5, k=3, metric="l2").digest
    assert one.digest != Workload.synthetic(60, 4, 5, seed=1).digest
    assert one.digest != Workload.of("", one.items, one.queries[:4]).digest
    sparse = Workload.of("", sp.csr_array(one.items), sp.csr_array(one.queries))
    assert sparse.digest == Workload.of("", sp.csr_array(one.items), sp.csr_array(one.queries)).digest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 60}, "workload must be rows with more than 60 items"),
        ({"k": 0}, r"k must be an integer >= 1 \(got 0\)"),
        ({"metric": "l3"}, "metric must be one of "),
        ({"queries": np.ones((2, 5))}, "queries must be as the items: dense of 4 columns"),
        ({"queries": sp.csr_array(np.ones((2, 4)))}, "queries must be as the items"),
        ({"items": np.full((60, 4), np.inf)}, "items must be finite"),
    ],
)
def test_rows_that_do_not_fit(change, message):
    given = {"name": "", "items": np.ones((60, 4)), "queries": np.ones((2, 4))} | change
    with pytest.raises(ArgumentError, match=message):
        Workload.of(**given)
