"""Workloads made of a trained layer."""

import numpy as np
import scipy.sparse as sp

from lshsample.compare import Workload
from lshsample.nn import Dense, Network, Sampled, Sparse


def test_a_trained_layer():
    network = Network([Sparse(30), Dense(8, "relu"), Sampled(150, "softmax", init_scale=0.3)], seed=1)
    rows = sp.random_array((40, 30), density=0.3, format="csr", dtype=np.float32, rng=1)
    workload = Workload.of_layer(network, rows, n_items=120, n_queries=10)
    assert workload.items.shape == (120, 8)
    assert workload.queries.shape == (10, 8)
    whole = Workload.of_layer(network, rows)
    _, scores = network.predict(rows, top=1)
    np.testing.assert_allclose((whole.queries @ whole.items.T).max(axis=1), scores[:, 0], rtol=1e-5)
    dense = Network([Sparse(30), Dense(8, "relu"), Dense(150, "softmax")], seed=1)
    assert Workload.of_layer(dense, rows).items.shape == (150, 8)
