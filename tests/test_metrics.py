"""Metrics against a naive restatement, row by row, and against cases worked out by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap

from lshsample import metrics
from lshsample.errors import ArgumentError

FAST = settings(deadline=None, max_examples=60)


def naive(labels, y, k, weight=None):
    """(P@k, R@k, nDCG@k, PSP@k) by the definitions, one row after another."""
    precision, recall, ndcg, reached, best = [], [], [], 0.0, 0.0
    weight = np.ones(y.shape[1]) if weight is None else weight
    for row, truth in zip(labels, y, strict=True):
        true = set(np.flatnonzero(truth))
        hits = [label in true for label in row[:k]]
        precision.append(sum(hits) / k)
        recall.append(sum(hits) / len(true) if true else 0)
        gain = sum(1 / np.log2(i + 2) for i, hit in enumerate(hits) if hit)
        ideal = sum(1 / np.log2(i + 2) for i in range(min(k, len(true))))
        ndcg.append(gain / ideal if true else 0)
        reached += sum(weight[label] for label, hit in zip(row[:k], hits, strict=True) if hit)
        best += sum(sorted((weight[label] for label in true), reverse=True)[:k])
    return np.mean(precision), np.mean(recall), np.mean(ndcg), reached / best if best else 0


@FAST
@given(seed=st.integers(0, 10_000), rows=st.integers(1, 12), n_labels=st.integers(5, 20), k=st.integers(1, 5))
def test_against_the_definitions(seed, rows, n_labels, k):
    rng = np.random.default_rng(seed)
    dense = rng.random((rows, n_labels)) < rng.random() * 0.5
    labels = np.stack([rng.permutation(n_labels)[:5] for _ in range(rows)])
    labels[rng.random(labels.shape) < 0.1] = -1
    y = sp.csr_array(dense.astype(np.float32))
    p = metrics.propensities(y)
    given_values = (
        metrics.precision_at_k(labels, y, k),
        metrics.recall_at_k(labels, y, k),
        metrics.ndcg_at_k(labels, y, k),
        metrics.psp_at_k(labels, y, p, k),
    )
    assert given_values == pytest.approx(naive(labels.tolist(), dense, k, 1 / p))
    if k == 5:
        assert metrics.precision_at_k(labels, y) == given_values[0]


def test_stored_zeros_are_no_labels():
    y = sp.csr_array((np.array([0.0, 1.0]), np.array([0, 1]), np.array([0, 2])), shape=(1, 3))
    assert metrics.precision_at_k([[0, 1]], y) == 0.5


def test_rows_without_labels_count_as_zero():
    y = sp.csr_array(np.array([[1, 0], [0, 0]]))
    assert metrics.precision_at_k([[0], [0]], y) == 0.5
    assert metrics.ndcg_at_k([[0], [0]], y) == 0.5
    assert metrics.recall_at_k([[0], [0]], y) == 0.5
    assert metrics.psp_at_k([[0], [0]], y, [0.5, 1]) == 1
    assert metrics.psp_at_k([[1]], sp.csr_array((1, 2)), [0.5, 1]) == 0


def test_propensities_by_hand():
    # 1000 rows, a label on 10 of them: C = (ln 1000 - 1) 2.5^0.55, p = 1 / (1 + C 11.5^-0.55).
    y = sp.csr_array((np.ones(10), (np.arange(10), np.zeros(10, int))), shape=(1000, 2))
    c = (np.log(1000) - 1) * 2.5**0.55
    assert metrics.propensities(y) == pytest.approx([1 / (1 + c * 11.5**-0.55), 1 / (1 + c * 1.5**-0.55)])
    assert metrics.propensities(y)[0] == pytest.approx(0.2815, abs=1e-4)
    assert (metrics.propensities(y[:2]) == 1).all()
    assert metrics.propensities(y, a=0.5, b=0.4)[1] < metrics.propensities(y, a=0.5, b=2.6)[1] < 1


@pytest.mark.parametrize(
    ("labels", "k", "argument"),
    [
        ([[0, 0]], None, "labels"),
        ([[0, 9]], None, "labels"),
        ([[0], [1]], None, "labels"),
        ([0], None, "labels"),
        ([[0.5]], None, "labels"),
        (np.empty((1, 0), int), None, "labels"),
        ([[0, 1]], 3, "k"),
        ([[0, 1]], 0, "k"),
        ([[0, 1]], True, "k"),
    ],
)
def test_bad_predictions_are_refused(labels, k, argument):
    y = sp.csr_array(np.array([[1, 0, 1]]))
    for metric in (metrics.precision_at_k, metrics.recall_at_k, metrics.ndcg_at_k):
        with pytest.raises(ArgumentError, match=argument):
            metric(labels, y, k)
    with pytest.raises(ArgumentError, match=argument):
        metrics.psp_at_k(labels, y, np.ones(3), k)


@FAST
@given(seed=st.integers(0, 10_000), k=st.integers(1, 5))
def test_measures_of_rare_labels_against_loops(seed, k):
    """PSnDCG, F1 and the bins by frequency, by their definitions."""
    rng = np.random.default_rng(seed)
    y = rng.random((6, 8)) < 0.3
    labels = np.array([rng.permutation(8)[:5] for _ in range(6)])
    labels[rng.random(labels.shape) < 0.1] = -1
    p, count = rng.uniform(0.1, 1, 8), rng.integers(0, 1200, 8) * (rng.random(8) < 0.7)
    reached = best = 0.0
    for row, true in zip(labels[:, :k], y, strict=True):
        n = sum(1 / np.log2(i + 2) for i in range(min(k, int(true.sum()))))
        if n:
            hits = [(1 / p[j] if j >= 0 and true[j] else 0) / np.log2(i + 2) for i, j in enumerate(row)]
            ideal = sorted(1 / p[true])[::-1][:k]
            reached += sum(hits) / n
            best += sum(w / np.log2(i + 2) for i, w in enumerate(ideal)) / n
    expected = reached / best if best else 0
    assert metrics.psndcg_at_k(labels, y, p, k) == pytest.approx(expected)
    found = {(i, j) for i, row in enumerate(labels[:, :k]) for j in row if j >= 0}
    true = set(zip(*map(np.ndarray.tolist, np.nonzero(y)), strict=True))
    assert metrics.f1_at_k(labels, y, k) == pytest.approx(2 * len(found & true) / (len(found) + len(true)))
    bins = metrics.by_frequency(labels, y, count, k)
    assert sum(one["labels"] for one in bins) == 8
    for one in bins:
        low, high = one["rows"]
        inside = {j for j in range(8) if low <= count[j] <= high}
        mine, real = ({pair for pair in pairs if pair[1] in inside} for pairs in (found, true))
        assert (one["labels"], one["true"]) == (len(inside), len(real))
        assert one["precision"] == pytest.approx(len(mine & real) / max(len(mine), 1))
        assert one["recall"] == pytest.approx(len(mine & real) / max(len(real), 1))
        assert one["f1"] == pytest.approx(2 * len(mine & real) / max(len(mine) + len(real), 1))


def test_other_bad_arguments_are_refused():
    y = sp.csr_array(np.array([[1, 0, 1]]))
    for p in ([1, 1], [1, 1, 0], [1, 1, 2], [1, 1, np.nan]):
        with pytest.raises(ArgumentError, match="propensity"):
            metrics.psp_at_k([[0]], y, p)
        with pytest.raises(ArgumentError, match="propensity"):
            metrics.psndcg_at_k([[0]], y, p)
    for counts in ([1, 1], [1, 1, -1], [1.0, 1, 1]):
        with pytest.raises(ArgumentError, match="count must be an array of 3 integers"):
            metrics.by_frequency([[0]], y, counts)
    for bad in ({"a": np.nan}, {"b": -1}, {"a": "1"}):
        with pytest.raises(ArgumentError, match=f"^{next(iter(bad))} must be"):
            metrics.propensities(y, **bad)
    with pytest.raises(ArgumentError, match=r"b must be above 0 .* \(got 0, and label 1 has no rows\)"):
        metrics.propensities(y, b=0)
    assert 0 < metrics.propensities(y)[1] <= 1
    with pytest.raises(ArgumentError, match="no rows"):
        metrics.propensities(sp.csr_array((0, 3)))
    with pytest.raises(ArgumentError, match="y"):
        metrics.precision_at_k([[0]], 2 * np.eye(1))
    with pytest.raises(ArgumentError, match="labels"):
        metrics.precision_at_k([[0, 1], [1]], y)
    with pytest.raises(ArgumentError, match="at least one"):
        metrics.precision_at_k(np.empty((0, 2), int), sp.csr_array((0, 3)))


@FAST
@given(seed=st.integers(0, 10_000), rows=st.integers(2, 8), is_shared=st.booleans())
def test_sampler_recall_against_sets(seed, rows, is_shared):
    rng = np.random.default_rng(seed)
    sets = [
        sorted(rng.permutation(30)[: rng.integers(0, 15)].tolist()) for _ in range(1 if is_shared else rows)
    ]
    active = SimpleNamespace(
        indptr=np.cumsum([0] + [len(s) for s in sets]), ids=np.array([i for s in sets for i in s], np.int32)
    )
    dense = rng.random((rows, 30)) < 0.2
    found = [label in sets[0 if is_shared else row] for row, label in zip(*np.nonzero(dense), strict=True)]
    assert metrics.sampler_recall(active, sp.csr_array(dense)) == pytest.approx(
        np.mean(found) if found else 1
    )
    top = np.stack([rng.permutation(30)[:4] for _ in range(rows)])
    found = [label in sets[0 if is_shared else row] for row in range(rows) for label in top[row]]
    assert metrics.sampler_recall(active, top) == pytest.approx(np.mean(found))


def test_sampler_recall_refuses_other_rows():
    active = SimpleNamespace(indptr=np.array([0, 1, 2, 3]), ids=np.array([0, 1, 2]))
    with pytest.raises(ArgumentError, match="2 rows"):
        metrics.sampler_recall(active, [[0], [1]])
    assert metrics.sampler_recall(active, [[-1], [-1], [-1]]) == 1


def drawn_rows(rng, n):
    """Rows whose best prediction is right with probability 0.3, and true labels of unequal propensities."""
    truth = rng.random((n, 6)) < 0.2
    labels = np.stack([rng.permutation(6)[:3] for _ in range(n)])
    right = rng.random(n) < 0.3
    truth[np.arange(n), labels[:, 0]] = right
    return labels, sp.csr_array(truth)


def test_intervals_cover_the_true_values_as_often_as_they_say():
    rng = np.random.default_rng(5)
    propensity, names = np.array([1, 0.5, 0.05, 1, 1, 0.2]), ["p@1", "f1@3", "psp@3", "psndcg@2"]
    many = metrics.intervals(*drawn_rows(rng, 100_000), names, propensity=propensity, n_resamples=1)
    covered = np.zeros((250, len(names)))
    for i in range(len(covered)):
        drawn = drawn_rows(rng, 120)
        found = metrics.intervals(*drawn, names, propensity=propensity, level=0.9, n_resamples=300, seed=i)
        covered[i] = [found[name].low <= many[name].value <= found[name].high for name in names]
    rates = covered.mean(axis=0)
    # Four standard errors of a rate of 0.9 are 0.076.
    assert (np.abs(rates - 0.9) < 0.076).all(), rates


def test_intervals_are_those_of_scipy():
    labels, y = drawn_rows(np.random.default_rng(1), 400)
    p = metrics.propensities(y)
    found = metrics.intervals(labels, y, ["r@2", "psp@2"], propensity=p, n_resamples=20_000)
    assert found["r@2"].value == metrics.recall_at_k(labels, y, 2)
    assert found["psp@2"].value == pytest.approx(metrics.psp_at_k(labels, y, p, 2))
    hits = np.take_along_axis(y.toarray(), labels[:, :2], axis=1)
    weights = np.sort(y.toarray() / p, axis=1)[:, -2:].sum(axis=1)
    recall = hits.sum(axis=1) / np.maximum(y.sum(axis=1), 1)
    for name, above, below in (
        ("r@2", recall, np.ones(400)),
        ("psp@2", (hits / p[labels[:, :2]]).sum(axis=1), weights),
    ):
        theirs = bootstrap(
            (above, below),
            lambda a, b, axis: a.sum(axis=axis) / b.sum(axis=axis),
            paired=True,
            n_resamples=20_000,
            rng=np.random.default_rng(0),
        ).confidence_interval
        ours = found[name]
        assert (ours.low, ours.high) == pytest.approx(tuple(theirs), abs=0.04 * (theirs.high - theirs.low))


def test_intervals_by_frequency_and_of_constant_rows():
    labels, y = drawn_rows(np.random.default_rng(2), 300)
    counts = [0, 5, 50, 50, 500, 5]
    plain = metrics.by_frequency(labels, y, counts)
    for one, other in zip(metrics.by_frequency(labels, y, counts, level=0.9), plain, strict=True):
        for name, interval in one.pop("intervals").items():
            assert interval.value == pytest.approx(one[name])
            assert interval.low < interval.value < interval.high
        assert one == other
    always = metrics.intervals([[0], [0]], sp.csr_array([[1], [1]]), ["p@1", "f1@1"])
    assert always == {"p@1": (1, 1, 1), "f1@1": (1, 1, 1)}
    both = metrics.intervals(labels, y, ["p@1", "p@3"], seed=4)
    assert both == metrics.intervals(labels, y, ["p@1", "p@3"], seed=4)
    assert both["p@3"] == pytest.approx(metrics.intervals(labels, y, ["p@3"], seed=4)["p@3"])


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"measures": ["p"]}, "measures"),
        ({"measures": ["p@0"]}, "measures"),
        ({"measures": ["q@1"]}, "measures"),
        ({"measures": []}, "measures"),
        ({"measures": ["psp@1"]}, "propensity"),
        ({"measures": ["p@4"]}, "k"),
        ({"level": 95}, "level"),
        ({"n_resamples": 0}, "n_resamples"),
        ({"seed": -1}, "seed"),
    ],
)
def test_intervals_refuse_bad_arguments(options, argument):
    with pytest.raises(ArgumentError) as error:
        metrics.intervals([[0, 1, 2]], sp.csr_array([[1, 0, 1]]), **{"measures": ["p@1"], **options})
    assert error.value.argument == argument


def test_calibration_is_that_of_probabilities():
    rng = np.random.default_rng(0)
    chances = rng.random((5000, 3))
    labels = np.tile(np.arange(3), (5000, 1))
    y = sp.csr_array((rng.random((5000, 3)) < chances).astype(np.float32))
    right, off = (metrics.calibration(labels, given, y, n_bins=10) for given in (chances, chances**2))
    assert right.error < 0.02 < 0.1 < off.error
    assert right.count.sum() == 15000
    np.testing.assert_allclose(right.probability, np.arange(10) / 10 + 0.05, atol=0.01)
    np.testing.assert_allclose(right.right, right.probability, atol=0.06)
    some = labels.copy()
    some[:, 2] = -1
    assert metrics.calibration(some, chances, y).count.sum() == 10000
    for wrong, said in ((chances[:, :2], "the shape of labels"), (chances + 1, "numbers from 0 to 1")):
        with pytest.raises(ArgumentError, match=rf"^probabilities must be {said}"):
            metrics.calibration(labels, wrong, y)
