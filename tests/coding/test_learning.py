"""Dictionaries learned by the two-phase rule: its signals and its atoms."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.decomposition import DictionaryLearning
from sklearn.linear_model import Lasso

from lshsample.coding import SpikingLCA, TwoPhaseLearning
from lshsample.errors import ArgumentError, DivergenceError


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def digits():
    return unit(load_digits().data).astype(np.float32)


def test_local_signals_are_the_gradient_of_the_objective(digits):
    model = TwoPhaseLearning(30, lam=0.1, tol=1e-4, feedback_share=0.3, epochs=1).fit(digits[:60])
    model.lateral = model.feedforward @ model.feedforward.T
    model.feedback = np.ascontiguousarray(model.feedforward.T)
    signals = digits[60:70]
    first, second, errors = model._phases(signals)
    solver = Lasso(0.1 / 64, positive=True, fit_intercept=False, tol=1e-12, max_iter=100_000)
    atoms = model.feedforward.astype(float)
    codes = np.array([solver.fit(atoms.T, s).coef_ for s in signals])
    np.testing.assert_allclose(first, codes, atol=2e-3)
    np.testing.assert_allclose(second, codes, atol=2e-3)
    gradient = codes.T @ (signals - codes @ atoms)
    np.testing.assert_allclose(second.T @ errors, gradient, atol=5e-3)
    assert np.abs(gradient).max() > 0.1


def test_lateral_weights_follow_the_products_of_the_atoms(digits):
    model = TwoPhaseLearning(40, lam=0.1, epochs=3, seed=2).fit(digits[:500])
    products = model.feedforward @ model.feedback
    assert np.abs(model.lateral - products).max() < 0.05
    np.testing.assert_allclose(np.linalg.norm(model.feedforward, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(model.feedback, model.feedforward.T, atol=1e-5)
    assert np.diff(model.errors).max() < 0


def test_atoms_are_as_good_as_those_of_block_coordinate_descent(digits):
    train, held_out = digits[:400], digits[1000:1100]
    own = TwoPhaseLearning(32, lam=0.1, epochs=12, seed=0).fit(train).feedforward
    other = DictionaryLearning(
        32, alpha=0.1, max_iter=12, tol=0, fit_algorithm="cd", positive_code=True, random_state=0
    )
    other = unit(other.fit(train.astype(float)).components_)

    def objective(atoms):
        codes = SpikingLCA(atoms, lam=0.1).encode(held_out).codes
        return (np.square(held_out - codes @ atoms).sum() / 2 + 0.1 * codes.sum()) / len(held_out)

    assert objective(own) < 1.02 * objective(other)


def test_networks_that_excite_themselves_without_end_are_an_error():
    model = TwoPhaseLearning(2, lam=0.1)
    lateral = np.array([[1, -2], [-2, 1]], np.float32)
    with pytest.raises(DivergenceError, match="1 of 2 networks did not settle"):
        model._settled(lateral, np.array([[1, 1], [0, 0]], np.float32), 0.1)


def test_a_seed_determines_everything(digits):
    first, second = (
        TwoPhaseLearning(10, lam=0.2, epochs=2, seed=3, threads=threads).fit(digits[:100])
        for threads in (1, 2)
    )
    np.testing.assert_array_equal(first.feedforward, second.feedforward)
    np.testing.assert_array_equal(first.lateral, second.lateral)


@pytest.mark.parametrize(
    "options",
    [
        {"n_atoms": 0}, {"lam": 0}, {"epochs": 0}, {"batch_size": 0}, {"feedback_share": 1.0},
        {"memory": 1.0}, {"tol": 0}, {"seed": -1},
    ],
)  # fmt: skip
def test_bad_options_are_refused(options):
    with pytest.raises(ArgumentError, match=f"{next(iter(options))} must be"):
        TwoPhaseLearning(**{"n_atoms": 4, "lam": 0.1, **options})


def test_too_few_signals_are_refused():
    signals = np.zeros((9, 4))
    signals[:3] = 1
    with pytest.raises(ArgumentError, match=r"signals must be .* at least 4 rows .* \(got 3 of them\)"):
        TwoPhaseLearning(4, lam=0.1).fit(signals)
