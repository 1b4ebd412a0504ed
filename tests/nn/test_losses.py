"""Options of losses: smoothing, propensities, initial biases; what they need of the training labels."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample.errors import ArgumentError, UnsupportedError
from lshsample.metrics import propensities
from lshsample.nn import LOSSES, Dense, Network, Sampled, Sigmoid, Softmax, Sparse
from lshsample.training import Trainer

RNG = np.random.default_rng(2)
X = sp.random_array((120, 30), density=0.2, rng=RNG, format="csr", dtype=np.float32)
Y = sp.csr_array((X @ sp.random_array((30, 25), density=0.3, rng=RNG)).toarray() > 0.5)
MODEL = (0.5, 0.4)


def make(loss, **options):
    return Network([Sparse(30), Dense(8), Sampled(25, loss, sampler="full", **options)], seed=1)


def test_targets_follow_the_propensities() -> None:
    factors = 1 / propensities(Y, *MODEL)
    made = Softmax(propensity=MODEL)
    given = made.label_factors(Y)
    np.testing.assert_allclose(given, factors, rtol=1e-6)
    weights = made.label_weights(Y, given)
    for row in range(Y.shape[0]):
        mine = slice(Y.indptr[row], Y.indptr[row + 1])
        own = factors[Y.indices[mine]]
        np.testing.assert_allclose(weights[mine], own / own.sum(), rtol=1e-6)
    np.testing.assert_allclose(
        Sigmoid(propensity=MODEL).label_weights(Y, given), factors[Y.indices], rtol=1e-6
    )


@pytest.mark.parametrize("kind", [Softmax, Sigmoid])
def test_rare_labels_gain(kind) -> None:
    """Under the propensity model, scores of labels with few rows rise against those with many."""
    count = np.bincount(Y.indices, minlength=25)
    rare, common = count <= np.quantile(count, 0.3), count >= np.quantile(count, 0.7)
    gaps = []
    for loss in (kind(), kind(propensity=(0.55, 1.5))):
        network = make(loss)
        Trainer(network, epochs=10, batch_size=20, lr=0.02, threads=1).fit(X, Y)
        scores = network.output.score(network.hidden(X))
        gaps.append(scores[:, rare].mean() - scores[:, common].mean())
    assert gaps[1] > gaps[0] + 0.05


@pytest.mark.parametrize("kind", [Softmax, Sigmoid])
def test_propensities_need_the_training_labels(kind) -> None:
    network = make(kind(propensity=MODEL))
    trainer = Trainer(network, threads=1)
    with pytest.raises(UnsupportedError, match=r"Network\.observe"):
        trainer.step(X, Y)
    network.observe(X, Y)
    assert np.isfinite(trainer.step(X, Y).loss)


def test_sigmoid_biases_begin_at_log_odds_and_are_not_set_again() -> None:
    network = make("sigmoid")
    network.observe(X, Y)
    share = np.full(25, (Y.nnz + 0.5) / (Y.shape[0] * 25 + 1))
    bias = network.output.bias.vector
    np.testing.assert_allclose(bias, np.log(share / (1 - share)), rtol=1e-5)
    trainer = Trainer(network, batch_size=40, epochs=1, threads=1)
    trainer.fit(X, Y)
    before = network.output.bias.vector.copy()
    network.observe(X, Y)
    np.testing.assert_array_equal(network.output.bias.vector, before)
    for last in (
        Sampled(25, "softmax", sampler="full"),
        Sampled(25, "sigmoid", sampler="full", bias=False),
        Dense(25, "sigmoid"),
    ):
        other = Network([Sparse(30), Dense(8), last])
        other.observe(X, Y)
        if isinstance(last, Dense):
            np.testing.assert_allclose(other.output.bias.vector, np.log(share / (1 - share)), rtol=1e-6)
        elif last.bias:
            assert not other.output.bias.vector.any()


@pytest.mark.parametrize("active_set", ["batch", "sample"])
@pytest.mark.parametrize("kind", [Softmax, Sigmoid])
def test_smoothing_flattens_and_gives_the_same_bits_for_any_number_of_threads(kind, active_set) -> None:
    largest, results = [], []
    for smoothing, threads in ((0.0, 1), (0.4, 1), (0.4, 3)):
        last = Sampled(25, kind(smoothing=smoothing), sampler="Include() | Uniform(9)", active_set=active_set,
                       importance="on")  # fmt: skip
        network = Network([Sparse(30), Dense(8), last], seed=1)
        Trainer(network, epochs=12, batch_size=20, lr=0.03, threads=threads).fit(X, Y)
        scores = network.output.score(network.hidden(X))
        largest.append(np.ptp(scores, axis=1).mean())
        results.append([p.weights.tobytes() for p in network.parameters])
    assert largest[1] < 0.9 * largest[0]
    assert results[1] == results[2]


@pytest.mark.parametrize("name", ["softmax", "sigmoid"])
def test_options_survive_a_file(name, tmp_path) -> None:
    made = LOSSES.make({"loss": name, "smoothing": 0.1, "propensity": [0.55, 1.5]})
    assert made.propensity == (0.55, 1.5)
    make(made).save(tmp_path / "m")
    assert Network.load(tmp_path / "m").loss == made


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"smoothing": 1.0}, "smoothing must be a finite number in"),
        ({"smoothing": -0.1}, "smoothing must be a finite number in"),
        ({"propensity": 0.5}, "propensity must be a pair"),
        ({"propensity": (0.5, 0)}, "propensity must be a pair"),
        ({"propensity": (0.5, "x")}, "propensity must be a pair"),
        ({"propensity": [1, 2, 3]}, "propensity must be a pair"),
    ],
)
def test_bad_options_are_named(options, words) -> None:
    for kind in (Softmax, Sigmoid):
        with pytest.raises(ArgumentError, match=words):
            kind(**options)
