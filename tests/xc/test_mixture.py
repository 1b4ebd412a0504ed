"""Mixtures: which parts stay, calibrated probabilities, the best labels, refusals."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import minimize

from lshsample.errors import ArgumentError
from lshsample.metrics import calibration, precision_at_k, propensities_of_counts
from lshsample.xc import Isotonic, Mixture

N, LABELS, TOP = 3000, 12, 6


def scored(rng, strength, chances):
    """Labels and values of a part: the value of a label is near its chance if ``strength`` is large."""
    logits = np.log(chances / (1 - chances)) + rng.standard_normal(chances.shape) / strength
    values = 1 / (1 + np.exp(-logits))
    labels = np.argsort(-values, axis=1)[:, :TOP]
    return labels.astype(np.int32), np.take_along_axis(values, labels, axis=1).astype(np.float32)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(1)
    chances = rng.beta(0.3, 1.5, (N, LABELS)).clip(1e-3, 1 - 1e-3)
    truth = sp.csr_array((rng.random((N, LABELS)) < chances).astype(np.float32))
    parts = {"strong": scored(rng, 1.2, chances), "other": scored(rng, 1.0, chances)}
    parts["noise"] = parts["strong"][0], rng.random((N, TOP), dtype=np.float32)
    return parts, truth, np.asarray(truth.sum(axis=0)).ravel().astype(np.int64)


def halves(parts, truth):
    first = {name: (labels[: N // 2], values[: N // 2]) for name, (labels, values) in parts.items()}
    second = {name: (labels[N // 2 :], values[N // 2 :]) for name, (labels, values) in parts.items()}
    return first, truth[: N // 2], second, truth[N // 2 :]


def test_what_helps_is_mixed_and_what_does_not_is_left_out(data):
    parts, truth, counts = data
    first, known, second, unknown = halves(parts, truth)
    mixture = Mixture.fit(first, known, counts)
    assert mixture.parts == ("strong", "other")
    alone = Mixture.fit({"strong": first["strong"]}, known, counts)
    assert precision_at_k(mixture.predict(second, counts, 2)[0], unknown, 2) > precision_at_k(
        alone.predict(second, counts, 2)[0], unknown, 2
    )


def test_probabilities_are_calibrated_on_other_rows(data):
    parts, truth, counts = data
    first, known, second, unknown = halves(parts, truth)
    labels, probabilities = Mixture.fit(first, known, counts).predict(second, counts, 4)
    right = np.take_along_axis(unknown.toarray(), labels.astype(np.int64), axis=1)
    for low in np.arange(0.1, 0.9, 0.2):
        inside = (probabilities >= low) & (probabilities < low + 0.2)
        error = 4 * np.sqrt(0.25 / inside.sum())
        assert abs(right[inside].mean() - probabilities[inside].mean()) < error + 0.02


def test_the_weights_are_those_of_a_penalised_logistic_regression(data):
    """Compared with a general optimiser, on features computed here."""
    parts, truth, counts = data
    labels, values = (array[:400] for array in parts["strong"])
    mixture = Mixture.fit({"strong": (labels, values)}, truth[:400], counts)
    v = values.astype(np.float64)
    columns = [v, np.sqrt(v), np.log(v + 1e-3), v / v[:, :1], v == v[:, :1], np.log1p(counts[labels])]
    if mixture.by_frequency:
        columns.append(columns[-1] * np.sqrt(v))
    x = np.stack([np.broadcast_to(one, v.shape).ravel().astype(float) for one in columns], axis=1)
    y = np.take_along_axis(truth[:400].toarray(), labels.astype(np.int64), axis=1).ravel()
    scaled = (x - x.mean(axis=0)) / x.std(axis=0)

    def loss(beta):
        logits = scaled @ beta[:-1] + beta[-1]
        return np.logaddexp(0, logits).sum() - y @ logits + 0.5 * (beta[:-1] @ beta[:-1])

    found = np.asarray(mixture.weights) * x.std(axis=0)
    own = np.append(found, mixture.intercept + np.asarray(mixture.weights) @ x.mean(axis=0))
    assert loss(own) < minimize(loss, np.zeros(x.shape[1] + 1)).fun + 1e-3


def test_labels_are_best_first_and_missing_ones_have_probability_0(data):
    parts, truth, counts = data
    mixture = Mixture.fit({"strong": parts["strong"]}, truth, counts)
    few = np.array([[3, -1, -1], [-1, -1, -1], [5, 2, -1]], np.int32)
    values = np.array([[0.5, 0, 0], [0, 0, 0], [0.9, 0.1, 0]], np.float32)
    labels, probabilities = mixture.predict({"strong": (few, values)}, counts, 2)
    assert labels.tolist() == [[3, -1], [-1, -1], [5, 2]]
    assert (probabilities[labels < 0] == 0).all()
    assert probabilities[2, 0] > probabilities[2, 1] > 0
    assert all(array.dtype == kind for array, kind in ((labels, np.int32), (probabilities, np.float32)))


def test_a_tail_ranks_by_probability_over_propensity(data):
    parts, truth, counts = data
    mixture = Mixture.fit(parts, truth, counts)
    labels, probabilities = mixture.predict(parts, counts, LABELS)
    favoured = attrs.evolve(mixture, tail=0.7, n_rows=1000)
    found, own = favoured.predict(parts, counts, LABELS)
    assert (found != labels).any()
    same = {
        (row, y): p
        for row in range(len(labels))
        for y, p in zip(labels[row], probabilities[row], strict=True)
    }
    for row in range(len(found)):
        n = (found[row] >= 0).sum()
        assert own[row, :n] == pytest.approx([same[row, y] for y in found[row, :n]], rel=1e-4, abs=1e-6)
        ranked = own[row, :n] / propensities_of_counts(counts, 1000)[found[row, :n]] ** 0.7
        assert (np.diff(ranked) <= 1e-5).all()
    assert Mixture(**favoured.to_dict()) == favoured


def test_plain_data_make_the_same_mixture(data):
    parts, truth, counts = data
    mixture = Mixture.fit(parts, truth, counts)
    assert Mixture(**mixture.to_dict()) == mixture


def test_what_cannot_be_fitted_is_refused(data):
    parts, truth, counts = data
    with pytest.raises(ArgumentError, match=r"^scored must be at least one part"):
        Mixture.fit({}, truth, counts)
    with pytest.raises(ArgumentError, match=r"^truth must be rows with at least one such label"):
        Mixture.fit({"strong": parts["strong"]}, sp.csr_array((N, LABELS)), counts)
    with pytest.raises(ArgumentError, match=r"^weights must be 6 numbers"):
        Mixture(parts=("a",), weights=(1.0,), intercept=0.0)


def test_labels_of_one_frequency(data):
    """A feature that is the same for all pairs has no weight, whatever rounding makes of its deviation."""
    parts, truth, _ = data
    for count in (24, 60, 101):
        mixture = Mixture.fit(parts, truth, np.full(LABELS, count))
        assert np.abs([*mixture.weights, mixture.intercept]).max() < 100


def test_probabilities_of_the_best_labels_are_calibrated():
    """The best of many labels are right less often than such values are among all labels."""
    rng = np.random.default_rng(0)
    n, n_labels = 4000, 40
    values = rng.random((n, n_labels)).astype(np.float32) ** 3
    truth = rng.random((n, n_labels)) < 0.5 * values**4
    order = np.argsort(-values, axis=1).astype(np.int32)
    scored = {"linear": (order, np.take_along_axis(values, order, axis=1))}
    half = {"linear": (order[: n // 2], scored["linear"][1][: n // 2])}
    mixture = Mixture.fit(half, sp.csr_array(truth[: n // 2]), np.ones(n_labels))
    other = {"linear": (order[n // 2 :], scored["linear"][1][n // 2 :])}
    labels, chances = mixture.predict(other, np.ones(n_labels), 5)
    error = calibration(labels, chances, sp.csr_array(truth[n // 2 :])).error
    assert error < 0.02
    plain = attrs.evolve(mixture, calibration=Isotonic())
    same, _ = plain.predict(other, np.ones(n_labels), 5)
    np.testing.assert_array_equal(labels, same)
