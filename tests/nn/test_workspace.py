"""The memory that a step of a layer with a set for each row takes is what it says."""

import tracemalloc

import numpy as np
import scipy.sparse as sp

from lshsample.nn import Adam, Dense, Network, Sampled, Sparse
from lshsample.nn.signals import Run


def test_a_set_for_each_row_needs_no_gradient_of_its_rows():
    rng, rows, units = np.random.default_rng(0), 128, 20_000
    x = sp.random_array((rows, 500), density=0.1, format="csr", rng=rng).astype(np.float32)
    ids = np.arange(rows), rng.integers(0, units, rows)
    y = sp.csr_array((np.ones(rows, np.float32), ids), shape=(rows, units))
    last = Sampled(units, sampler="Include() | Uniform(300)", active_set="sample")
    network, adam = Network([Sparse(500), Dense(64), last]), Adam()
    network.allocate(adam.slots, 1)

    def step(number):
        run = Run(1, 0, number, training=True, sampled=True, targets=y)
        network.train_step(x, y, adam, 1e-3, run)

    step(1)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        step(2)
        measured = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    # It counts 512 units a row, not 301, and what the C core allocates.
    assert measured <= network.output.workspace_needed(rows) <= 3 * measured
