"""Arguments of the estimators: each error names the argument, what is wanted and what was given."""

import inspect

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample.errors import ArgumentError
from lshsample.estimates import (
    KERNELS,
    GradientSampler,
    attention,
    horvitz_thompson,
    kernel_density,
    log_partition_function,
    partition_function,
    self_normalised,
    sigmoid_gradient,
    softmax_gradient,
    sum_by_tables,
)
from lshsample.registry import make_family
from lshsample.sampling import Uniform, parse_pipeline
from lshsample.tables import Candidates, HashTables

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
@pytest.mark.parametrize("targets", [np.zeros((2, 49)), sp.csr_array((2, 49)), sp.csr_array((3, 50)), None])
def test_targets_are_a_sparse_matrix_of_rows_and_items(loss, targets):
    with pytest.raises(ArgumentError, match="targets"):
        loss(FULL, ROWS[:2], ROWS, targets)


@pytest.mark.parametrize("loss", [softmax_gradient, sigmoid_gradient])
@pytest.mark.parametrize("value", [1e300, np.nan, np.inf])
def test_bad_targets_are_refused(loss, value):
    targets = sp.csr_array(([1.0, value], ([0, 1], [3, 40])), shape=(2, 50))
    with pytest.raises(ArgumentError, match="targets must be"):
        loss(FULL, ROWS[:2], ROWS, targets)


def test_targets_of_a_sum_over_classes_are_labels():
    """1 for the true classes, 0 for the others."""
    with pytest.raises(ArgumentError, match=r"targets must be .*the value 2.0 at \(1, 40\)"):
        sigmoid_gradient(FULL, ROWS[:2], ROWS, sp.csr_array(([2.0], ([1], [40])), shape=(2, 50)))


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
        ({"features": np.ones(10)}, "features"),
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


SAMPLER = Uniform(40).bind(n_items=60)
ITEMS = np.random.default_rng(5).standard_normal((60, 5), dtype=np.float32)
QUERIES = ITEMS[:3]
TARGETS = sp.csr_array(np.eye(3, 60))
PAIRS = {
    partition_function: (QUERIES, ITEMS),
    log_partition_function: (QUERIES, ITEMS),
    kernel_density: (QUERIES, ITEMS),
    attention: (QUERIES, ITEMS, ITEMS),
    softmax_gradient: (QUERIES, ITEMS, TARGETS),
    sigmoid_gradient: (QUERIES, ITEMS, TARGETS),
}
WRONG_ROWS = {
    "too few": (lambda a: a[:-1], r"of 60 rows, one for each item of the samples \(got 59 rows\)"),
    "too many": (lambda a: np.vstack([a, a[:1]]), r"of 60 rows, one for each item of the samples \(got 61"),
    "one dimension": (lambda a: a[:, 0], r"a 2-D array \(n_rows, n_columns\) \(got shape \(60,\)\)"),
    "objects": (lambda a: a.astype(object), r"an array of real numbers \(got ndarray of dtype object\)"),
    "complex": (lambda a: a * 1j, "an array of real numbers"),
    "text": (lambda a: a.astype(str), "an array of real numbers"),
    "ragged": (lambda a: [[1.0], [1.0, 2.0]], r"an array of real numbers \(got list\)"),
    "nothing": (lambda a: None, "an array of real numbers"),
    "NaN": (lambda a: np.full_like(a, np.nan), r"finite \(got nan at \(\d+, 0\)\)"),
    "infinite": (lambda a: np.where(np.arange(5) == 2, np.inf, a), r"finite \(got inf at \(\d+, 2\)\)"),
    "huge": (lambda a: np.sign(a).astype(float) * 1.7e308, "of products within float64"),
}


@pytest.mark.parametrize("problem", WRONG_ROWS)
@pytest.mark.parametrize("function", PAIRS, ids=lambda function: function.__name__)
def test_items_that_are_no_finite_rows_are_refused(function, problem):
    change, message = WRONG_ROWS[problem]
    names = list(inspect.signature(function).parameters)[2:4]
    for place in range(1, 3 if function is attention else 2):
        if place == 2 and problem == "huge":
            continue  # values are summed, not multiplied with each other
        arguments = [*PAIRS[function]]
        arguments[place] = change(ITEMS)
        with pytest.raises(ArgumentError, match=f"{names[place - 1]} must be .*{message}"):
            function(SAMPLER, *arguments)


WRONG_QUERIES = {
    "other columns": (lambda q: q[:, :4], "4 columns"),
    "one dimension": (lambda q: q[0], r"2-D .*shape \(5,\)"),
    "NaN": (lambda q: np.full_like(q, np.nan), r"finite \(got nan at \(0, 0\)\)"),
    "infinite": (lambda q: np.full_like(q, -np.inf), r"finite \(got -inf"),
    "objects": (lambda q: q.astype(object), "real numbers"),
    "nothing": (lambda q: None, "real numbers"),
    "other rows": (lambda q: q[:2], "3 rows, one for each row of the active sets .got 2 rows"),
}


@pytest.mark.parametrize("problem", WRONG_QUERIES)
@pytest.mark.parametrize("function", PAIRS, ids=lambda function: function.__name__)
def test_queries_that_are_no_finite_rows_are_refused(function, problem):
    change, message = WRONG_QUERIES[problem]
    drawn = SAMPLER.sample(n_queries=3)  # a set drawn before checks no queries
    named = "vectors|weights|keys|" if problem == "other columns" else ""
    with pytest.raises(ArgumentError, match=rf"^({named}queries|inputs) must be .*({message}|5 columns.*4)"):
        function(drawn, change(QUERIES), *PAIRS[function][1:])


@pytest.mark.parametrize("function", PAIRS, ids=lambda function: function.__name__)
@pytest.mark.parametrize("bad", [None, 3, "lsh", ITEMS, Candidates(*np.zeros((3, 1), np.int64))])
def test_something_else_than_a_sampler_is_refused_with_the_right_call(function, bad):
    with pytest.raises(ArgumentError, match=r"sampler must be a Sampler, such as .*\.bind\(tables=tables\)"):
        function(bad, *PAIRS[function])


@pytest.mark.parametrize("function", [horvitz_thompson, self_normalised])
@pytest.mark.parametrize("bad", [None, 3, "lsh", ITEMS, SAMPLER, SAMPLER.pipeline, [SAMPLER], []])
def test_sums_take_active_sets(function, bad):
    with pytest.raises(
        ArgumentError, match=r"samples must be an ActiveSet, such as sampler\.sample\(queries\)"
    ):
        function(bad, np.ones(60))


@pytest.mark.parametrize("function", [horvitz_thompson, self_normalised])
@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.where(np.arange(60) == 7, np.nan, 1.0), r"values must be finite \(got nan at 7\)"),
        (np.where(np.arange(60) == 8, np.inf, 1.0)[:, None], r"finite \(got inf at \(8, 0\)\)"),
        (np.ones(60, complex), "real numbers"),
        (np.ones(60, object), "real numbers"),
        (sp.csr_array(np.ones((60, 2))), "a dense array .got a sparse matrix"),
        (None, "real numbers"),
        (lambda active: np.full(len(active.ids), np.nan), r"values must be finite \(got nan at \d+"),
        (lambda active: None, "real numbers"),
    ],
)
def test_values_are_finite_numbers(function, values, message):
    with pytest.raises(ArgumentError, match=message):
        function(SAMPLER.sample(n_queries=2), values)


@pytest.mark.parametrize("function", [partition_function, log_partition_function, softmax_gradient])
@pytest.mark.parametrize(
    "bias", [np.ones(59), np.ones((60, 1)), np.full(60, np.nan), np.ones(60, object), 1.0]
)
def test_biases_are_a_finite_number_for_each_item(function, bias):
    with pytest.raises(ArgumentError, match="bias must be"):
        function(SAMPLER, *PAIRS[function], bias=bias)


@pytest.mark.parametrize("bad", [np.nan, np.inf, None, "1", True])
def test_scales_are_finite_numbers(bad):
    with pytest.raises(ArgumentError, match="scale must be a finite number"):
        partition_function(SAMPLER, QUERIES, ITEMS, scale=bad)
    with pytest.raises(ArgumentError, match="bandwidth must be a finite number above 0"):
        kernel_density(SAMPLER, QUERIES, ITEMS, bandwidth=bad)
    with pytest.raises(ArgumentError, match="scale must be such that the logits are within float64"):
        partition_function(SAMPLER, QUERIES * 10, ITEMS, scale=1e308)


@pytest.mark.parametrize("function", [softmax_gradient, sigmoid_gradient])
@pytest.mark.parametrize(
    "bad", [TARGETS[:2], TARGETS[:, :50], TARGETS.toarray(), TARGETS * np.nan, TARGETS * 1j, None]
)
def test_targets_are_a_finite_sparse_matrix(function, bad):
    with pytest.raises(ArgumentError, match="targets must be"):
        function(SAMPLER, QUERIES, ITEMS, bad)


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        ({"tables": SAMPLER}, "tables must be HashTables or another TableReader: sum_by_tables"),
        ({"groups": 2.5}, "groups must be an integer from 2 to 4"),
        ({"groups": 5}, "groups must be an integer from 2 to 4"),
        ({"groups": True}, "groups"),
        ({"values": np.full(60, np.nan)}, "values must be finite"),
        ({"queries": QUERIES * np.nan}, "queries"),
        ({"queries": QUERIES[:, :3]}, "queries"),
        ({"probes": 0}, "probes"),
        ({"probes": "2"}, "probes"),
    ],
)
def test_arguments_of_sums_by_tables(bad, named):
    family = make_family("simhash", dim=5, n_hashes=3, n_tables=4, projection="gaussian")
    tables = HashTables(family, threads=1).build(ITEMS)
    given = {"tables": tables, "queries": QUERIES, "values": np.ones(60), **bad}
    with pytest.raises(ArgumentError, match=named):
        sum_by_tables(given.pop("tables"), given.pop("queries"), given.pop("values"), **given)


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        ({"family": make_family("simhash", dim=5, n_hashes=2, n_tables=2)}, "family must be of dim 6"),
        ({"family": "simhsh"}, "did you mean 'simhash'"),
        ({"law": "margin"}, "law must be one of"),
        ({"pipeline": "lsh"}, "pipeline must be a Pipeline"),
        ({"features": ITEMS * np.nan}, "features must be finite"),
        ({"features": None}, "features must be"),
        ({"targets": np.full(60, np.inf)}, "targets must be finite"),
    ],
)
def test_arguments_of_gradient_samplers(bad, named):
    family = make_family("simhash", dim=6, n_hashes=2, n_tables=2)
    given = {"features": ITEMS, "targets": np.ones(60), "family": family, "threads": 1, **bad}
    with pytest.raises(ArgumentError, match=named):
        GradientSampler(given.pop("features"), given.pop("targets"), given.pop("family"), **given)


@pytest.mark.parametrize("theta", [np.zeros(4), np.zeros((1, 5)), np.full(5, np.nan), None])
def test_parameters_of_a_gradient_are_checked(theta):
    family = make_family("simhash", dim=6, n_hashes=2, n_tables=2)
    sampler = GradientSampler(ITEMS, np.ones(60), family, threads=1)
    for run in (sampler.gradient, sampler.full_gradient, lambda at: sampler.descend(at, steps=1, rate=0.1)):
        with pytest.raises(ArgumentError, match="theta must be"):
            run(theta)
    with pytest.raises(ArgumentError, match="steps must be an integer"):
        sampler.descend(np.zeros(5), steps=1.5, rate=0.1)
    with pytest.raises(ArgumentError, match="rate must be a finite number"):
        sampler.descend(np.zeros(5), steps=1, rate=np.nan)
