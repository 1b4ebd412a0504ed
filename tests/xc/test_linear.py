"""Linear models: against liblinear, over trees, odd shapes, threads, saved arrays, errors."""

import json

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.svm import LinearSVC

from lshsample._native import core
from lshsample.errors import ArgumentError
from lshsample.xc import LinearModel

EXACT = {"tolerance": 1e-5, "max_epochs": 3000, "prune": 0.0}


@pytest.fixture(params=core.available_isas())
def isa(request):
    """Every instruction set that this machine has, one after another."""
    with core.forced_isa(request.param):
        yield request.param


def problem(rows=200, features=40, labels=21, seed=0):
    """Rows of length 1 and the labels that a random linear rule gives them."""
    rng = np.random.default_rng(seed)
    x = sp.random_array((rows, features), density=0.2, rng=rng, dtype=np.float32, format="csr")
    x = sp.csr_array(x / np.maximum(np.sqrt(x.multiply(x).sum(axis=1)), 1e-9)[:, None])
    scores = x @ rng.standard_normal((features, labels)) + 0.3 * rng.standard_normal((rows, labels))
    return x, sp.csr_array((scores > 0.6).astype(np.float32))


def many(rows=1500, features=300, labels=150, seed=0):
    """Rows whose features tell the one or two labels that they have."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, labels, (rows, 2))
    words = np.concatenate([2 * label, 2 * label + 1, rng.integers(0, features, (rows, 3))], axis=1)
    x = sp.csr_array((np.ones(words.size, np.float32), words.ravel(), np.arange(rows + 1) * words.shape[1]))
    x = sp.csr_array((x.data, x.indices, x.indptr), shape=(rows, features))
    x.sum_duplicates()
    x.data = np.minimum(x.data, 1) / np.repeat(np.sqrt(np.diff(x.indptr)), np.diff(x.indptr)).astype(
        np.float32
    )
    return x, [sorted(set(row)) for row in label.tolist()]


def dense(model):
    """(weights, biases) of a model of one node, by label."""
    arrays, out = model.arrays(), np.zeros((model.n_labels, model.n_features))
    labels = ~arrays["children"]
    ends = np.append(arrays["offsets"][1:], len(arrays["entries"])).astype(int)
    for feature, begin, end in zip(arrays["features"], arrays["offsets"], ends, strict=True):
        entries = arrays["entries"][begin:end]
        values = (entries << 16).astype(np.uint32).view(np.float32)
        out[labels[entries >> 16], feature] = values
    bias = np.zeros(model.n_labels)
    bias[labels] = arrays["bias"]
    return out, bias


def objective(w, bias, x, y, c, positive=1.0):
    """The primal objective and a bound of it from the dual, both in float64."""
    sign = np.where(y, 1.0, -1.0)
    weights = c * np.where(y, positive, 1.0)
    short = np.maximum(0, 1 - sign * (x @ w + bias))
    alpha = 2 * weights * short  # feasible, and the solution of the dual where w is that of the primal
    combined, combined_bias = x.T @ (alpha * sign), float((alpha * sign).sum())
    square = w @ w + bias * bias
    dual = alpha.sum() - 0.5 * (combined @ combined + combined_bias**2) - (alpha**2 / (4 * weights)).sum()
    return 0.5 * square + float(weights @ short**2), float(dual)


@pytest.mark.parametrize("positive", [1.0, 4.0])
def test_one_node_is_liblinear(isa, positive):
    x, y = problem()
    model = LinearModel.fit(x, y, c=0.7, positive_weight=positive, threads=1, **EXACT)
    weights, biases = dense(model)
    wide, targets = x.toarray().astype(np.float64), y.toarray() > 0
    for label in range(y.shape[1]):
        peer = LinearSVC(C=0.7, tol=1e-8, max_iter=100_000, class_weight={1: positive}, random_state=0)
        peer.fit(wide, targets[:, label])
        # Weights are stored as bfloat16, whose steps are 1/256 of the value.
        np.testing.assert_allclose(weights[label], peer.coef_[0], rtol=2**-8, atol=1e-3)
        np.testing.assert_allclose(biases[label], peer.intercept_[0], atol=1e-3)
        ours, dual = objective(weights[label], biases[label], wide, targets[:, label], 0.7, positive)
        theirs, _ = objective(peer.coef_[0], peer.intercept_[0], wide, targets[:, label], 0.7, positive)
        assert ours == pytest.approx(theirs, rel=1e-4)
        assert 0 <= ours - dual < 1e-2 * ours


def test_scores_are_those_of_the_weights():
    x, y = problem()
    model = LinearModel.fit(x, y, threads=1)
    weights, biases = dense(model)
    margins = x.toarray() @ weights.T + biases
    wanted = -(np.maximum(0, 1 - margins) ** 2)
    labels, scores = model.top_k(x, y.shape[1], threads=1)
    np.testing.assert_allclose(np.take_along_axis(wanted, labels, 1), scores, atol=1e-4)
    assert (np.diff(scores, axis=1) <= 0).all()
    features, parts = model.shares(x[[3]], 5)
    np.testing.assert_allclose(parts.sum() + biases[5], margins[3, 5], atol=1e-5)
    np.testing.assert_allclose(parts, x.toarray()[3, features] * weights[5, features], atol=1e-6)


def test_weights_of_labels_are_those_of_their_own_problems():
    x, y = problem()
    factors = np.linspace(1, 5, y.shape[1])
    together = dense(LinearModel.fit(x, y, positive_weight=factors, threads=1, **EXACT))
    for label in (0, 20):
        alone = dense(LinearModel.fit(x, y, positive_weight=factors[label], threads=1, **EXACT))
        np.testing.assert_allclose(together[0][label], alone[0][label], rtol=2**-7, atol=1e-3)


def test_trees_find_the_labels(isa):
    x, y = many()
    model = LinearModel.fit(x[:1000], y[:1000], leaf_size=20, branching=4, c=2.0, threads=1)
    assert model.spec["n_trees"] == 3
    labels, scores = model.top_k(x[1000:], 5, threads=1)
    hits = [label in row for label, row in zip(labels[:, 0], y[1000:], strict=True)]
    assert np.mean(hits) > 0.9
    assert (scores <= 0).all()
    arrays = model.arrays()
    leaves = arrays["children"][arrays["children"] < 0]
    assert np.bincount(~leaves, minlength=150).tolist() == [3] * 150, "each label once in each tree"
    assert np.diff(arrays["child_begin"]).max() <= 20


def test_the_number_of_threads_changes_nothing():
    x, y = many()
    calls = []
    one = LinearModel.fit(x, y, leaf_size=20, branching=8, seed=3, threads=1)
    two = LinearModel.fit(
        x, y, leaf_size=20, branching=8, seed=3, threads=4, progress=lambda *a: calls.append(a)
    )
    for name, array in one.arrays().items():
        np.testing.assert_array_equal(array, two.arrays()[name])
    np.testing.assert_array_equal(one.top_k(x, 7, threads=1), two.top_k(x, 7, threads=4))
    assert calls[0][0] == 0
    assert calls[-1][0] == calls[-1][1] > 0
    assert calls == sorted(calls)
    other = LinearModel.fit(x, y, leaf_size=20, branching=8, seed=4, threads=1)
    assert (one.arrays()["children"] != other.arrays()["children"]).any()


def test_what_progress_raises_ends_the_training():
    def stop(done, total):
        if done:
            raise RuntimeError("enough")

    x, y = many()
    with pytest.raises(RuntimeError, match="enough"):
        LinearModel.fit(x, y, progress=stop)


def test_rows_without_features_and_labels_without_rows():
    x = sp.csr_array(np.array([[1, 0, 0], [0, 0, 0], [0, 1, 0], [0, 0, 0]], np.float32))
    y = sp.csr_array(np.array([[0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0], [0, 1, 0, 1]], np.float32))
    model = LinearModel.fit(x, y, c=5.0)
    labels, scores = model.top_k(x, 4)
    assert (np.sort(labels, axis=1) == [-1, -1, 1, 3]).all(), "labels without rows are not predicted"
    assert np.isneginf(scores[labels < 0]).all()
    features, parts = model.shares(x[[1]], 0)
    assert len(features) == len(parts) == 0


@pytest.mark.parametrize("leaf_size", [1, 2, 3, None])
@pytest.mark.parametrize(("rows", "labels"), [(1, 1), (1, 3), (4, 1), (5, 5)])
def test_small_shapes(rows, labels, leaf_size):
    x = np.eye(rows, 6, dtype=np.float32)
    y = [[i % labels] for i in range(rows)]
    model = LinearModel.fit(x, y, leaf_size=leaf_size, branching=2, c=10.0)
    found, _ = model.top_k(x, 1)
    assert found.ravel().tolist() == [i % labels for i in range(rows)]
    assert model.top_k(x[:0], 1)[0].shape == (0, 1)


def test_a_budget_keeps_the_largest_weights():
    x, y = many()
    full = LinearModel.fit(x, y, threads=1)
    small = LinearModel.fit(x, y, max_bytes=full.nbytes // 3, threads=1)
    assert full.nbytes // 4 < small.nbytes <= full.nbytes // 3
    assert small.spec["prune"] > full.spec["prune"]
    kept, all_weights = dense(small)[0], dense(full)[0]
    np.testing.assert_array_equal(kept[kept != 0], all_weights[kept != 0])
    assert np.abs(all_weights[kept == 0]).max() <= np.abs(kept[kept != 0]).min() + 1e-6


def test_a_model_is_its_spec_and_arrays():
    x, y = many()
    model = LinearModel.fit(x, y, leaf_size=30)
    again = LinearModel.from_arrays(json.loads(json.dumps(model.spec)), model.arrays())
    np.testing.assert_array_equal(model.top_k(x, 5), again.top_k(x, 5))
    assert again.nbytes == model.nbytes
    assert (again.n_labels, again.n_features) == (model.n_labels, model.n_features) == (150, 300)


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [
        ("roots", 0, 1),
        ("child_begin", 1, 10**9),
        ("children", 0, 0),
        ("children", -1, ~150),
        ("features", -1, 300),
        ("features", 0, -1),
        ("offsets", 1, 2**31),
        ("entries", 0, 60000 << 16),
        ("entries", 0, 0x7F80),
        ("bias", 0, np.nan),
        ("entry_begin", 1, -1),
        ("feature_begin", 1, 10**9),
    ],
)
def test_damaged_arrays_are_refused(name, place, value):
    x, y = many(rows=300)
    model = LinearModel.fit(x, y, leaf_size=30)
    arrays = model.arrays() | {name: model.arrays()[name].copy()}
    arrays[name][place] = value
    with pytest.raises(ArgumentError, match="arrays must be those of a LinearModel"):
        LinearModel.from_arrays(model.spec, arrays)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"c": 0}, r"c must be a finite number in \(0, 1000000.0\] \(got 0\)"),
        ({"n_trees": 0}, "n_trees must be an integer from 1 to 64"),
        ({"leaf_size": 0}, "leaf_size must be an integer"),
        ({"branching": 1}, "branching must be an integer from 2 to 65536"),
        ({"max_epochs": 0}, "max_epochs must be"),
        ({"tolerance": -1}, "tolerance must be"),
        ({"prune": -1}, "prune must be"),
        ({"positive_weight": 0}, "positive_weight must be a number from 1e-6"),
        ({"positive_weight": np.ones(3)}, r"positive_weight must be .* array of 150, .* shape \(3,\)"),
        ({"max_bytes": 10}, r"max_bytes must be at least \d+, the size without any weight \(got 10\)"),
        ({"seed": -1}, "seed must be"),
        ({"threads": 0}, "threads must be"),
    ],
)
def test_options_out_of_range(options, message):
    x, y = many(rows=300)
    with pytest.raises(ArgumentError, match=message):
        LinearModel.fit(x, y, **options)


def test_other_errors():
    x, y = many(rows=300)
    with pytest.raises(ArgumentError, match="Y must be a matrix of 300 rows"):
        LinearModel.fit(x, y[:-1])
    with pytest.raises(ArgumentError, match="Y must be an array in which some row has a label"):
        LinearModel.fit(x, sp.csr_array((300, 4), dtype=np.float32))
    model = LinearModel.fit(x, y)
    with pytest.raises(ArgumentError, match="X must be a matrix with 300 columns"):
        model.top_k(x[:, :-1], 5)
    with pytest.raises(ArgumentError, match="k must be an integer from 1 to 150, the number of labels"):
        model.top_k(x, 151)
    with pytest.raises(ArgumentError, match="beam must be an integer"):
        model.top_k(x, 5, beam=0)
    with pytest.raises(ArgumentError, match="label must be an integer from 0 to 149"):
        model.shares(x[[0]], 150)
    with pytest.raises(ArgumentError, match="x_row must be one row"):
        model.shares(x[:2], 0)
    with pytest.raises(ArgumentError, match="arrays must be roots, child_begin"):
        LinearModel.from_arrays(model.spec, {})
