"""All gradients compared with central differences of a float64 network with the same active sets."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
import scipy.sparse as sp

from lshsample._native import core
from lshsample._native import layers as kernels
from lshsample.nn import ACTIVATIONS, Dense, Input, Network, Sampled, Softmax, Sparse
from lshsample.nn.losses import Logits
from lshsample.nn.signals import Block, Run, values_of

POOLED = {"sampler": "uniform", "n_active": 12}
SINGLE = {**POOLED, "active_set": "sample"}

STACKS = {
    "dense": [Sparse(20), Dense(9, "tanh"), Dense(15, "softmax")],
    "dense-input": [Input(20), Dense(9), Dense(15, "sigmoid", bias=False)],
    "linear": [Sparse(20), Sampled(30, **POOLED)],
    "pooled": [Sparse(20), Dense(9, "tanh"), Sampled(30, **POOLED)],
    "single": [Sparse(20), Dense(9, "tanh"), Sampled(30, **SINGLE)],
    "pooled-sigmoid": [Input(20), Dense(9), Sampled(30, "sigmoid", **POOLED)],
    "single-sigmoid": [Input(20), Dense(9), Sampled(30, "sigmoid", **SINGLE)],
    "no-bias": [Sparse(20), Dense(9, bias=False), Sampled(30, bias=False, **SINGLE)],
    "hidden-pooled": [Sparse(20), Sampled(25, "tanh", **POOLED), Dense(8, "tanh"), Sampled(30, **POOLED)],
    "hidden-single": [Sparse(20), Sampled(25, "tanh", **SINGLE), Dense(8, "tanh"), Sampled(30, **SINGLE)],
    "sampled-on-sampled": [Sparse(20), Sampled(25, "relu", **POOLED), Sampled(18, "tanh", **SINGLE),
                           Sampled(30, **POOLED)],
    "dropout": [Sparse(20, dropout=0.2), Dense(9, "tanh", dropout=0.5), Sampled(30, **POOLED)],
    "hidden-dropout": [Input(20, dropout=0.2), Sampled(25, "tanh", dropout=0.3, **POOLED), Dense(8, "relu"),
                       Sampled(30, **SINGLE)],
}  # fmt: skip


def parameters64(network: Network) -> dict[str, np.ndarray]:
    """The weights as float64 arrays by name."""
    return {p.name: p.weights.astype(np.float64) for p in network.parameters}


def loss64(network, weights, x, labels, sets, masks=None, corrections=None):
    """Mean loss of dense float64 rows, given each layer's active units and dropout masks (rows, units)."""
    h = np.asarray(x, np.float64)
    if masks and 0 in masks:
        h = h * masks[0]
    last = len(network.spec.layers) - 1
    for index, layer in enumerate(network.spec.layers[1:], 1):
        w = weights[f"{index}.weights"]
        z = h @ (w if isinstance(layer, Dense) else w.T)
        if layer.bias:
            z = z + weights[f"{index}.bias"].reshape(-1)
        if index == last:
            break
        h = {"relu": lambda v: np.maximum(v, 0), "tanh": np.tanh, "linear": lambda v: v}[
            ACTIVATIONS.name_of(layer.activation)
        ](z)
        if index in sets:
            h = h * sets[index]
        if masks and index in masks:
            h = h * masks[index]
    active = sets.get(last, np.ones_like(z, bool))
    log_pi = np.zeros_like(z) if corrections is None else corrections
    t = labels / np.maximum(labels.sum(1, keepdims=True), 1)
    if layer.activation == Softmax():
        shifted = np.where(active, z - log_pi, -np.inf)
        top = shifted.max(1, keepdims=True)
        log_z = top[:, 0] + np.log(np.exp(shifted - top).sum(1))
        per_row = (t * np.where(active, log_z[:, None] - shifted, 0)).sum(1)
    else:
        terms = np.logaddexp(0, z) - labels * z
        per_row = np.where(active, terms * np.exp(-log_pi), 0).sum(1)
    return per_row.mean()


def full_gradient(network: Network, updates) -> dict[str, np.ndarray]:
    """Updates as dense arrays over all rows; each row of a parameter at most once."""
    out = {p.name: np.zeros((p.rows, p.columns)) for p in network.parameters}
    for update in updates:
        rows = slice(None) if update.rows is None else update.rows
        if update.rows is not None:
            assert len(np.unique(rows)) == len(rows)
        out[update.parameter.name][rows] += update.gradient
    return out


def mask_of(signal, width) -> np.ndarray:
    """A mask of the units that a signal has values for, (rows, width)."""
    if isinstance(signal, Block):
        mask = np.zeros((len(signal.values), width), bool)
        mask[:, slice(None) if signal.ids is None else signal.ids] = True
        return mask
    mask = np.zeros(signal.shape, bool)
    mask[np.repeat(np.arange(signal.shape[0]), np.diff(signal.indptr)), signal.indices] = True
    return mask


def _data(network: Network, rows: int = 6):
    rng = np.random.default_rng(5)
    x = sp.random_array((rows, network.n_features), density=0.4, rng=rng, dtype=np.float32)
    y = sp.csr_array(rng.random((rows, network.n_labels)) < 0.1)
    y = core.csr_rows(sp.csr_array(y + sp.csr_array(np.eye(rows, network.n_labels, 3))).astype(bool), "y")
    return core.csr_rows(x, "x"), y


def _signal(network, x):
    if isinstance(network.spec.layers[0], Sparse):
        return x
    return Block(x.toarray(), x.shape[1])


def _observe(network: Network, x, run: Run):
    """Each sampled layer's active units, each layer's dropout mask, and the last layer's log inclusion."""
    sets, masks, signal = {}, {}, _signal(network, x)
    correction = None
    for index, (layer, spec) in enumerate(zip(network.layers, network.spec.layers, strict=True)):
        rate = spec.dropout if index < len(network.layers) - 1 else 0.0
        before = signal
        if index == len(network.layers) - 1:
            signal, log_inclusion, _ = layer.logits(before, run)
            if log_inclusion is not None:
                correction = np.zeros((x.shape[0], layer.units))
                places = mask_of(signal, layer.units)
                correction[places] = (
                    log_inclusion if not isinstance(signal, Block) else np.tile(log_inclusion, x.shape[0])
                )
        else:
            signal, _ = layer.forward(before, run)
        if isinstance(spec, Sampled):
            sets[index] = mask_of(signal, layer.units)
        if rate:
            shape = values_of(signal).shape
            mask = kernels.dropout_mask(
                run.seed, run.step, index, shape if len(shape) == 2 else (*shape, 1), rate
            )
            whole = np.zeros((x.shape[0], layer.units))
            whole[mask_of(signal, layer.units)] = mask.reshape(-1)
            masks[index] = whole
    return sets, masks, correction


def _numeric(network, weights, arguments, name, places, eps=1e-6):
    out = []
    for place in places:
        values = []
        for sign in (1, -1):
            moved = {**weights, name: weights[name].copy()}
            moved[name][place] += sign * eps
            values.append(loss64(network, moved, *arguments))
        out.append((values[0] - values[1]) / (2 * eps))
    return np.array(out)


@pytest.mark.parametrize("importance", ["on", "off"])
@pytest.mark.parametrize("name", STACKS)
def test_gradients_are_those_of_the_definition(name, importance):
    """Loss and gradients of every parameter, at random entries and at the largest ones."""
    layers = STACKS[name]
    if isinstance(layers[-1], Sampled):
        layers = [*layers[:-1], attrs.evolve(layers[-1], importance=importance)]
    elif importance == "on":
        pytest.skip("nothing to correct")
    network = Network(layers, seed=2)
    network.allocate(3)
    for parameter in network.parameters:
        parameter.weights[...] += np.random.default_rng(1).normal(0, 0.3, parameter.weights.shape)
    x, y = _data(network)
    run = Run(threads=2, seed=7, step=3, training=True, sampled=True, targets=y)
    network.prepare(0, 1)
    sets, masks, correction = _observe(network, x, run)
    report, updates = network.gradients(_signal(network, x), y, run)
    found, weights = full_gradient(network, updates), parameters64(network)
    arguments = (x.toarray(), y.toarray(), sets, masks, correction)
    assert report.loss == pytest.approx(loss64(network, weights, *arguments), rel=1e-5)
    rng = np.random.default_rng(0)
    for parameter, gradient in found.items():
        flat = np.unique(
            np.concatenate([rng.integers(0, gradient.size, 25), np.argsort(-abs(gradient), axis=None)[:15]])
        )
        places = [np.unravel_index(i, gradient.shape) for i in flat]
        wanted = _numeric(network, weights, arguments, parameter, places)
        scale = max(abs(gradient).max(), 1e-3)
        np.testing.assert_allclose([gradient[p] for p in places], wanted, rtol=2e-3, atol=2e-5 * scale + 1e-7)


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
@pytest.mark.parametrize("active_set", ["batch", "sample"])
def test_the_full_active_set_equals_the_dense_layer(loss, active_set):
    """Same weights, all units active: the same loss and gradients up to rounding."""
    dense = Network([Sparse(20), Dense(9), Dense(30, loss)], seed=4)
    sampled = Network(
        [Sparse(20), Dense(9), Sampled(30, loss, sampler="full", active_set=active_set)], seed=4
    )
    dense.allocate(1)
    sampled.allocate(1)
    sampled.parameters[2].weights[...] = dense.parameters[2].weights.T
    x, y = _data(dense)
    run = Run(threads=1, seed=7, step=1, training=True, sampled=True, targets=y)
    one, other = dense.gradients(x, y, run), sampled.gradients(x, y, run)
    assert one[0].loss == pytest.approx(other[0].loss, rel=1e-6)
    left, right = full_gradient(dense, one[1]), full_gradient(sampled, other[1])
    right["2.weights"] = right["2.weights"].T
    right["2.bias"] = right["2.bias"].reshape(1, -1)
    for name in left:
        np.testing.assert_allclose(left[name], right[name], rtol=1e-4, atol=1e-7)


def test_a_label_that_is_not_active_is_refused():
    """The last layer's sampler must include the labels; a loss without them would be silently wrong."""
    logits = Block(np.zeros((1, 2), np.float32), 10, np.array([3, 5], np.int32))
    y = core.csr_rows(sp.csr_array(np.eye(1, 10, 4)), "y")
    with pytest.raises(TypeError, match="Include"):
        Logits.of(logits, y, np.ones(1, np.float32))
