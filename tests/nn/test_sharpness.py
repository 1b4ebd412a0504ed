"""Sharpness: known boxes, subspaces, and what a change of scale does to it."""

from functools import partial
from itertools import product

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample.errors import ArgumentError, DivergenceError
from lshsample.nn import Dense, Input, Network, NetworkObjective, sharpness


def quadratic(curvatures, centre, offset=0.5):
    curvatures, centre = np.asarray(curvatures, float), np.asarray(centre, float)
    return lambda w: (float(curvatures @ (w - centre) ** 2 / 2) + offset, curvatures * (w - centre))


@pytest.mark.parametrize("eps", [1e-3, 5e-4])
def test_the_highest_loss_of_a_box_is_that_of_its_corner(eps):
    curvatures, centre = [1.0, 40.0, 3.0], np.array([2.0, -0.5, 0.0])
    sides = eps * (np.abs(centre) + 1)
    expected = 100 * (curvatures @ sides**2 / 2) / 1.5
    assert sharpness(quadratic(curvatures, centre), centre, eps=eps).value == pytest.approx(expected)
    sides = 2 * eps * np.abs(centre)
    expected = 100 * (curvatures @ sides**2 / 2) / 1.5
    found = sharpness(quadratic(curvatures, centre), centre, eps=eps, scale_free=True)
    assert found.value == pytest.approx(expected)
    assert found.loss == 0.5


def test_a_subspace_is_searched_inside_of_its_own_box():
    """Against all corners of the box of two directions, made here again from the same seed."""
    rng = np.random.default_rng(5)
    square = rng.standard_normal((6, 6))
    hessian, centre, eps = square @ square.T, rng.standard_normal(6), 1e-2

    def objective(w):
        off = w - centre
        return float(off @ hessian @ off / 2), hessian @ off

    basis = np.linalg.qr(np.random.default_rng(9).standard_normal((6, 2)))[0]
    sides = eps * (np.abs(basis.T @ centre) + 1)
    corners = [objective(centre + basis @ (sides * signs))[0] for signs in product((-1, 1), repeat=2)]
    found = sharpness(objective, centre, eps=eps, n_directions=2, seed=9)
    assert min(corners) * 0.999 <= found.highest <= max(corners) * 1.000001
    assert sharpness(objective, centre, eps=eps).highest > found.highest


def relu_network(scale=1.0):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((80, 10)).astype(np.float32)
    best = (x @ rng.standard_normal((10, 5))).argmax(axis=1)
    y = sp.csr_array((np.ones(80, np.float32), (np.arange(80), best)), shape=(80, 5))
    network = Network([Input(10), Dense(12, "relu"), Dense(5, "softmax")], seed=2)
    network.allocate()
    for parameter in network.parameters[:2]:
        parameter.weights[...] *= np.float32(scale)
    network.parameters[2].weights[...] /= np.float32(scale)
    return network, NetworkObjective(network, x, y, threads=1), x


def test_a_rescaled_network_is_the_same_function_with_another_number():
    values, outputs = [], []
    for scale in (1.0, 16.0):
        network, objective, x = relu_network(scale)
        weights, options = objective.weights, {"eps": 1e-2, "iterations": 30}
        loss = partial(objective, rows=np.arange(80), seed=0)
        plain = sharpness(loss, weights, **options)
        free = sharpness(loss, weights, scale_free=True, **options)
        values.append((plain.value, free.value, plain.loss))
        np.testing.assert_allclose(objective.weights, weights)
        outputs.append(network.predict(x, top=5, threads=1)[1])
    np.testing.assert_allclose(outputs[1], outputs[0], rtol=1e-5, atol=1e-6)
    (plain, free, loss), (other_plain, other_free, other_loss) = values
    assert other_loss == pytest.approx(loss, rel=1e-6)
    assert other_free == pytest.approx(free, rel=1e-3)
    assert other_plain > 1.5 * plain


def test_bad_arguments_are_refused():
    objective = quadratic([1.0, 2.0], [0, 0])
    for options, message in (
        ({"eps": 0}, "eps must be"),
        ({"n_directions": 3}, "n_directions must be an integer from 1 to 2"),
        ({"iterations": 0}, "iterations must be"),
        ({"scale_free": "yes"}, "scale_free must be True or False"),
        ({"seed": -1}, "seed must be"),
    ):
        with pytest.raises(ArgumentError, match=message):
            sharpness(objective, np.zeros(2), **options)
    with pytest.raises(ArgumentError, match="weights must be"):
        sharpness(objective, [np.nan, 0.0])
    with pytest.raises(DivergenceError, match="the loss at the weights is nan"):
        sharpness(lambda w: (np.nan, w), np.zeros(2))
