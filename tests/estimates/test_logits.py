"""Logits of any size: sums of exponentials do not overflow, and have the precision of float64."""

import numpy as np
import pytest
import scipy.sparse as sp
from law_cases import data
from scipy import special

from lshsample.errors import ArgumentError
from lshsample.estimates import (
    attention,
    kernel_density,
    log_partition_function,
    partition_function,
    sigmoid_gradient,
    softmax_gradient,
)
from lshsample.registry import make_family
from lshsample.sampling import ActiveSet, Full, Uniform, parse_pipeline
from lshsample.tables import HashTables

N, DIM = 200, 6
LEVELS = [-1e4, -700.0, 0.0, 700.0, 1e4]
ALL = Full().bind(n_items=N)


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    return rng.standard_normal((N, DIM), dtype=np.float32), rng.standard_normal((3, DIM), dtype=np.float32)


def logits_of(items, queries, level):
    return queries.astype(float) @ items.T.astype(float) + level


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("level", LEVELS)
def test_with_every_item_the_logarithm_is_exact(level, sparse, rows):
    items, queries = rows
    exact = special.logsumexp(logits_of(items, queries, level), axis=1)
    given = (sp.csr_array(items), sp.csr_array(queries)) if sparse else (items, queries)
    estimate = log_partition_function(ALL, given[1], given[0], bias=np.full(N, level))
    np.testing.assert_allclose(estimate.value, exact, rtol=4e-16, atol=1e-14)


@pytest.mark.parametrize("scale", [1 / 3, 0.1, 1e3])
def test_the_scale_has_the_precision_of_float64(scale, rows):
    items, queries = rows
    exact = special.logsumexp(logits_of(items, queries, 0) * scale, axis=1)
    estimate = log_partition_function(ALL, queries, items, scale=scale)
    np.testing.assert_allclose(estimate.value, exact, rtol=4e-16, atol=1e-14)


def test_the_logarithm_is_that_of_the_partition_function(rows):
    items, queries = rows
    sampler = Uniform(50).bind(n_items=N)
    of_sum = partition_function(sampler, queries, items).log()
    direct = log_partition_function(sampler, queries, items)
    np.testing.assert_allclose(direct.value, of_sum.value, rtol=1e-13)
    np.testing.assert_allclose(direct.standard_error, of_sum.standard_error, rtol=1e-13)
    assert direct.method == "design"
    # An equal number for all logits is added to the logarithm, and its error stays.
    moved = log_partition_function(sampler, queries, items, bias=np.full(N, 1e4))
    np.testing.assert_allclose(moved.value, direct.value + 1e4, rtol=1e-13)
    np.testing.assert_allclose(moved.standard_error, direct.standard_error, rtol=1e-9)


def test_a_sum_beyond_float64_is_refused_and_one_below_is_zero(rows):
    items, queries = rows
    with pytest.raises(
        ArgumentError, match=r"at most 1\.8e308.*log_partition_function .*1000\d.* for query 0"
    ):
        partition_function(ALL, queries, items, bias=np.full(N, 1e4))
    assert partition_function(ALL, queries, items, bias=np.full(N, -1e4)).value.tolist() == [0, 0, 0]
    near = partition_function(ALL, queries, items, bias=np.full(N, 700.0)).value
    exact = special.logsumexp(logits_of(items, queries, 700.0), axis=1)
    np.testing.assert_allclose(near, np.exp(exact), rtol=1e-12)


@pytest.mark.parametrize("level", LEVELS)
def test_losses_of_large_logits(level, rows):
    items, queries = rows
    logits, bias = logits_of(items, queries, level), np.full(N, level)
    targets = sp.csr_array((np.ones(3), ([0, 1, 2], [4, 5, 6])), shape=(3, N))
    hit = logits[[0, 1, 2], [4, 5, 6]]
    softmax = softmax_gradient(ALL, queries, items, targets, bias=bias)
    atol = 1e-15 * (1e3 + abs(level)) * 10
    np.testing.assert_allclose(softmax.loss.value, special.logsumexp(logits, axis=1) - hit, atol=atol)
    p = special.softmax(logits, axis=1)
    np.testing.assert_allclose(softmax.logits.toarray(), p - targets.toarray(), atol=1e-11)
    np.testing.assert_allclose(
        softmax.gradient.value, (p - targets.toarray()) @ items.astype(float), atol=1e-10
    )
    sigmoid = sigmoid_gradient(ALL, queries, items, targets, bias=bias)
    exact = np.logaddexp(0, logits).sum(axis=1) - hit
    np.testing.assert_allclose(sigmoid.loss.value, exact, rtol=1e-13)
    np.testing.assert_allclose(
        sigmoid.logits.toarray(), special.expit(logits) - targets.toarray(), rtol=1e-11, atol=1e-300
    )


@pytest.mark.parametrize("scale", [1.0, 1e4, -1e4])
def test_attention_with_large_logits(scale, rows):
    items, queries = rows
    values = np.random.default_rng(1).standard_normal((N, 4))
    estimate = attention(ALL, queries, items, values, scale=scale)
    exact = special.softmax(logits_of(items, queries, 0) * scale, axis=1) @ values
    np.testing.assert_allclose(estimate.value, exact, atol=1e-9)


def test_distances_of_rows_far_from_the_origin(rows):
    items, queries = rows
    far, points = items + np.float32(1e4), queries + np.float32(1e4)
    distance = ((points[:, None].astype(float) - far) ** 2).sum(axis=2)
    for kernel, exact in (("gaussian", np.exp(-distance / 2)), ("exponential", np.exp(-np.sqrt(distance)))):
        for given in ((points, far), (sp.csr_array(points), sp.csr_array(far))):
            estimate = kernel_density(ALL, *given, kernel=kernel)
            np.testing.assert_allclose(estimate.value, exact.mean(axis=1), rtol=1e-12)


def test_an_id_of_weight_zero_does_not_set_the_scale():
    """Weights of a budget may be 0, also that of the id with the largest logit."""
    active = ActiveSet(
        indptr=np.array([0, 3]),
        ids=np.arange(3, dtype=np.int32),
        counts=np.ones(3, np.int32),
        n_items=3,
        log_inclusion=np.array([np.inf, 0, 0], np.float32),
    )
    query, items = np.ones((1, 1)), np.array([[1e4], [1.0], [2.0]])
    exact = np.logaddexp(1.0, 2.0)
    assert log_partition_function(active, query, items).value == pytest.approx([exact], rel=1e-15)
    out = attention(active, query, items, np.array([[5.0], [1.0], [2.0]]), scale=1.0).value
    assert out == pytest.approx((np.exp(1.0) + 2 * np.exp(2.0)) / np.exp(exact))


def test_a_sample_without_ids_has_the_logarithm_minus_infinity():
    given = data(90)
    family = make_family("simhash", dim=12, n_hashes=20, n_tables=2, projection="gaussian")
    sampler = parse_pipeline("Retrieve()").bind(tables=HashTables(family, threads=1).build(given.items))
    estimate = log_partition_function(sampler, -given.queries, given.items, law="marginal")
    assert estimate.value.tolist() == [-np.inf, -np.inf]


POOLED = parse_pipeline("Retrieve() | Uniform(40)")


def test_a_pooled_set_gives_one_estimate_for_each_query(rows):
    """The same ids for all queries, each with the terms of its own query."""
    items, queries = rows
    tables = HashTables(make_family("simhash", dim=DIM, n_hashes=4, n_tables=4), threads=1).build(items)
    sampler, targets = POOLED.bind(tables=tables), sp.csr_array(np.eye(3, N))
    shared = sampler.sample(queries, pool=True)
    values = items.astype(float)
    runs = {
        "partition": lambda s, q, **o: partition_function(s, q, items, **o),
        "log": lambda s, q, **o: log_partition_function(s, q, items, **o),
        "density": lambda s, q, **o: kernel_density(s, q, items, **o),
        "attention": lambda s, q, **o: attention(s, q, items, values, **o),
        "softmax": lambda s, q, y=targets, **o: softmax_gradient(s, q, items, y, **o).loss,
        "sigmoid": lambda s, q, y=targets, **o: sigmoid_gradient(s, q, items, y, **o).gradient,
    }
    for name, run in runs.items():
        pooled = run(sampler, queries, pool=True)
        assert pooled.value.shape[0] == 3
        assert pooled.method == "design"
        np.testing.assert_array_equal(run(shared, queries).value, pooled.value)
        for row in range(3):
            own = {"y": targets[[row]]} if name in ("softmax", "sigmoid") else {}
            alone = run(shared, queries[[row]], **own)
            np.testing.assert_allclose(pooled.value[row], alone.value[0], rtol=1e-13, atol=1e-15)
            np.testing.assert_allclose(pooled.standard_error[row], alone.standard_error[0], rtol=1e-9)


def test_estimates_from_pooled_sets_are_unbiased(rows):
    items, queries = rows
    tables = HashTables(make_family("simhash", dim=DIM, n_hashes=4, n_tables=4), threads=1).build(items)
    sampler = POOLED.bind(tables=tables)
    exact = np.exp(logits_of(items, queries, 0)).sum(axis=1)
    draws = np.array(
        [partition_function(sampler, queries, items, pool=True, step=k).value for k in range(400)]
    )
    error = draws.std(axis=0, ddof=1) / 20
    assert np.all(np.abs(draws.mean(axis=0) - exact) < 4 * error)
    covers = partition_function(sampler, queries, items, pool=True, replicates=5)
    assert covers.value.shape == (3,)
