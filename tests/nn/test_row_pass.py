"""Logits, loss and gradients row by row, where each row has an active set."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
import scipy.sparse as sp

from lshsample._native import loss, unchecked
from lshsample._native.core import ffi, lib
from lshsample._native.dtypes import BFLOAT16, FLOAT32
from lshsample._native.slots import Slots
from lshsample.nn import Adam, Dense, Network, Sampled, Sigmoid, Softmax, Sparse
from lshsample.nn.signals import Run
from lshsample.training import Trainer

FEATURES, LABELS, ROWS = 40, 90, 50
RNG = np.random.default_rng(0)
X = sp.random_array((ROWS, FEATURES), density=0.2, rng=RNG, format="csr")
TARGETS = (X @ sp.eye_array(FEATURES, LABELS)).toarray() > 0.7
TARGETS[np.arange(ROWS), RNG.integers(0, LABELS, ROWS)] = True  # each row has a label
Y = sp.csr_array(TARGETS)


def made(activation, **options):
    last = {"sampler": "Retrieve() | Uniform(9)", "n_hashes": 4, "n_tables": 6, "active_set": "sample"}
    precision = options.pop("precision", "float32")
    hidden = options.pop("hidden", [Dense(16)])
    return Network(
        [Sparse(FEATURES), *hidden, Sampled(LABELS, activation, **last, **options)], precision=precision
    )


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    ("activation", "options"),
    [
        ("softmax", {}),
        ("softmax", {"importance": "on", "bias": False}),
        (Softmax(smoothing=0.2), {"importance": "on"}),
        (Sigmoid(), {"hidden": [Dense(300)]}),
        (Sigmoid(propensity=(0.55, 1.5)), {"importance": "on"}),
        ("softmax", {"precision": "bfloat16"}),
        ("softmax", {"hidden": []}),
    ],
    ids=repr,
)
def test_rows_give_the_bits_of_the_parts(activation, options, threads):
    trained = []
    for by_rows in (True, False):
        network = made(activation, **options)
        assert network._by_rows
        network._by_rows = by_rows
        optimizer = Adam(weight_decay=0.3)
        Trainer(network, batch_size=20, epochs=2, lr=0.02, optimizer=optimizer, threads=threads).fit(X, Y)
        trained.append([p.raw.data.tobytes() for p in network.parameters])
    assert trained[0] == trained[1]


def test_hits_are_counted_with_the_same_loss():
    network, other = made("softmax"), made("softmax")
    for one in (network, other):
        one.allocate(Adam.slots)
    batch = network.batch(X, Y)
    for step in (1, 2):
        run = Run(2, 0, step, training=True, sampled=True, targets=batch.y)
        counted = network.train_step(batch.x, batch.y, Adam(), 0.01, run, count_hits=True)
        plain = other.train_step(batch.x, batch.y, Adam(), 0.01, run)
        assert (counted.loss, counted.active, plain.hits) == (plain.loss, plain.active, None)
        assert counted.hits is not None


@attrs.frozen(repr=False)
class Doubled(Softmax):
    """A loss of another package, with an ``apply`` of its own."""

    def apply(self, logits, threads):
        losses = super().apply(logits, threads)
        logits.values[...] *= 2
        return 2 * losses


def test_a_loss_of_another_package_is_applied_as_it_is():
    losses = []
    for activation in (Softmax(), Doubled()):
        network = made(activation)
        network.allocate(Adam.slots)
        batch = network.batch(X, Y)
        run = Run(1, 0, 1, training=True, sampled=True, targets=batch.y)
        losses.append(network.train_step(batch.x, batch.y, Adam(), 0.01, run).loss)
    assert losses[1] == pytest.approx(2 * losses[0], rel=1e-6)


def test_the_core_refuses_layers_that_do_not_fit():
    weights, ids = Slots.zeros(7, 4, [FLOAT32]), np.zeros(3, np.int32)
    h, dh, narrow = (np.zeros((2, 4), np.float32) for _ in range(3))
    indptr, targets = (
        np.array([0, 1, 3]),
        (np.zeros(3, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32)),
    )
    values, losses = np.zeros(3, np.float32), np.zeros(2, np.float32)
    view = loss.LogitsView.of(values, targets, None, indptr)
    out = ffi.from_buffer("float *", losses)

    def status(layer, view=view, kind=lib.LSH_LOSS_SOFTMAX):
        return lib.lsh_loss_sampled(kind, view.view[0], layer, out, 1)

    assert status(unchecked.sampled_layer(h, weights, None, ids, dh)) == lib.LSH_OK
    assert status(unchecked.sampled_layer(h, weights, None, ids, None)) == lib.LSH_OK
    assert status(unchecked.sampled_layer(h, weights, None, ids, None), kind=9) == lib.LSH_INVALID
    assert status(unchecked.sampled_layer(h[:1], weights, None, ids, None)) == lib.LSH_INVALID
    assert (
        status(unchecked.sampled_layer(h, weights, None, ids, np.zeros((2, 5), np.float32)))
        == lib.LSH_INVALID
    )
    other = Slots.zeros(7, 5, [BFLOAT16])
    assert status(unchecked.sampled_layer(h, other, None, ids, narrow)) == lib.LSH_INVALID
    block = loss.LogitsView.of(np.zeros((2, 3), np.float32), targets)
    assert status(unchecked.sampled_layer(h, weights, None, ids, dh), block) == lib.LSH_INVALID
