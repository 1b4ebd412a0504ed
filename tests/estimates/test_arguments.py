"""Arguments of the estimators that only one of them has."""

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample.errors import ArgumentError
from lshsample.estimates import (
    KERNELS,
    GradientSampler,
    attention,
    kernel_density,
    self_normalised,
    sigmoid_gradient,
    softmax_gradient,
    sum_by_tables,
)
from lshsample.registry import make_family
from lshsample.sampling import parse_pipeline
from lshsample.tables import HashTables

ROWS = np.random.default_rng(0).standard_normal((50, 4), dtype=np.float32)
FULL = parse_pipeline("Full()").bind(n_items=50)


def test_attention_takes_a_value_for_each_key():
    with pytest.raises(ArgumentError, match="values"):
        attention(FULL, ROWS[:2], ROWS, ROWS[:49])


def test_attention_over_all_keys_is_exact():
    weights = np.exp(ROWS[:2] @ ROWS.T * 0.3)
    found = attention(FULL, ROWS[:2], ROWS, ROWS, scale=0.3)
    np.testing.assert_allclose(found.value, weights @ ROWS / weights.sum(axis=1, keepdims=True), rtol=1e-5)


@pytest.mark.parametrize("kernel", KERNELS)
def test_densities_over_all_items_are_exact(kernel):
    distance = np.linalg.norm(ROWS[:2, None].astype(float) - ROWS[None], axis=2) / 0.7
    expected = KERNELS[kernel](distance).mean(axis=1)
    sparse = [ROWS[:2], sp.csr_array(ROWS[:2])], [ROWS, sp.csr_array(ROWS)]
    for queries, vectors in zip(*sparse, strict=True):
        found = kernel_density(FULL, queries, vectors, kernel=kernel, bandwidth=0.7)
        np.testing.assert_allclose(found.value, expected, rtol=1e-4)


@pytest.mark.parametrize("bad", [{"kernel": "box"}, {"bandwidth": 0}, {"bandwidth": float("nan")}])
def test_kernels_and_bandwidths_are_checked(bad):
    with pytest.raises(ArgumentError, match=next(iter(bad))):
        kernel_density(FULL, ROWS[:1], ROWS, **bad)


@pytest.mark.parametrize("loss", [softmax_gradient, sigmoid_gradient])
@pytest.mark.parametrize("targets", [np.zeros((2, 50)), sp.csr_array((2, 49)), sp.csr_array((3, 50)), None])
def test_targets_are_a_sparse_matrix_of_rows_and_items(loss, targets):
    with pytest.raises(ArgumentError, match="targets"):
        loss(FULL, ROWS[:2], ROWS, targets)


@pytest.mark.parametrize("bias", [None, np.linspace(-1, 1, 50)])
def test_losses_over_all_classes_are_exact(bias):
    targets = sp.csr_array((np.ones(2), ([0, 1], [3, 40])), shape=(2, 50))
    logits = ROWS[:2].astype(float) @ ROWS.T + (0 if bias is None else bias)
    share = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    found = softmax_gradient(FULL, ROWS[:2], ROWS, targets, bias=bias)
    np.testing.assert_allclose(found.loss.value, -np.log(share[[0, 1], [3, 40]]), rtol=1e-5)
    np.testing.assert_allclose(found.logits.toarray(), share - targets.toarray(), atol=1e-6)
    np.testing.assert_allclose(found.gradient.value, (share - targets.toarray()) @ ROWS, rtol=1e-4, atol=1e-5)
    found = sigmoid_gradient(FULL, ROWS[:2], ROWS, targets, bias=bias)
    rate = 1 / (1 + np.exp(-logits))
    loss = np.logaddexp(0, logits).sum(axis=1) - logits[[0, 1], [3, 40]]
    np.testing.assert_allclose(found.loss.value, loss, rtol=1e-5)
    np.testing.assert_allclose(found.logits.toarray(), rate - targets.toarray(), atol=1e-6)
    np.testing.assert_allclose(found.gradient.value, (rate - targets.toarray()) @ ROWS, rtol=1e-4, atol=1e-4)


def test_a_mean_is_self_normalised():
    values = np.arange(50.0)
    assert self_normalised(FULL.sample(n_queries=1), values).value.tolist() == [values.mean()]


@pytest.mark.parametrize("groups", [1, 0, 6, True])
def test_groups_of_tables_are_two_or_more(groups):
    family = make_family("simhash", dim=4, n_hashes=2, n_tables=5, projection="gaussian")
    with pytest.raises(ArgumentError, match="groups"):
        sum_by_tables(HashTables(family, threads=1).build(ROWS), ROWS[:1], np.ones(50), groups=groups)


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        ({"targets": np.ones(9)}, "targets"),
        ({"features": np.ones(10)}, "targets"),
        ({"loss": "hinge"}, "loss"),
        ({"loss": "logistic"}, "targets"),
        ({"dim": 4}, "family"),
    ],
)
def test_training_examples_are_checked(bad, named):
    given = {"features": ROWS[:10], "targets": np.arange(10.0), "dim": 5, "loss": "squared", **bad}
    family = make_family("simhash", dim=given["dim"], n_hashes=2, n_tables=3)
    with pytest.raises(ArgumentError, match=named):
        GradientSampler(given["features"], given["targets"], family, loss=given["loss"])
