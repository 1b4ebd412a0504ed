"""Labels that may be named, weights of labels, thresholds and margins."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample.errors import ArgumentError
from lshsample.xc import Classifier, LinearModel, Recipe, Thresholds
from lshsample.xc import why as reasons_for
from lshsample.xc.parts import Queries

#: A network, and parts that name so few labels that filters need those that no part names.
FEW = Recipe(
    network={"hidden": 24, "epochs": 4, "lr": 0.02, "batch_size": 40, "dropout": 0.0, "n_active": 20},
    holdout=0.2,
    candidates=3,
    n_networks=2,
    refit=False,
)

SOFTMAX = {"hidden": 24, "epochs": 8, "lr": 0.02, "batch_size": 40, "dropout": 0.0, "loss": "softmax"}


@pytest.fixture(scope="module")
def fitted(rows):
    x, y = rows
    return Classifier.fit(x[:500], y[:500], FEW, threads=1)


def as_dense(found, n_labels=60):
    ids, values = found
    dense = np.full((len(ids), n_labels), np.nan)
    rows, places = np.nonzero(ids >= 0)
    dense[rows, ids[rows, places]] = values[rows, places]
    return dense


def test_labels_that_are_named_with_and_without_a_filter_have_the_same_scores(fitted, rows):
    assert set(fitted.mixture.parts) >= {"linear", "network"}
    x = rows[0][500:]
    plain = as_dense(fitted.predict(x, 60))
    chosen = np.array([3, 5, 17, 31, 59])
    filtered = as_dense(fitted.predict(x, 5, labels=chosen))
    assert not np.isnan(filtered[:, chosen]).any(), "every allowed label is named"
    assert np.isnan(np.delete(filtered, chosen, axis=1)).all()
    fitted_few = as_dense(fitted.predict(x, 3))
    both = ~np.isnan(fitted_few) & ~np.isnan(filtered)
    assert both.any()
    np.testing.assert_array_equal(filtered[both], fitted_few[both])
    # With as many candidates as labels, all are named in both ways.
    np.testing.assert_allclose(filtered[:, chosen], plain[:, chosen], atol=0.2)


def test_excluded_labels_make_room_for_others(fitted, rows):
    x = rows[0][500:520]
    best, _ = fitted.predict(x, 5)
    gone = np.arange(0, 60, 2)
    ids, probabilities = fitted.predict(x, 20, exclude=gone)
    assert (ids % 2 == 1).all()
    assert (ids >= 0).all()
    assert (np.diff(probabilities, axis=1) <= 0).all()
    ids, _ = fitted.predict(x, 40, exclude=gone)
    assert ((ids >= 0).sum(axis=1) == 30).all(), "there are no more than 30"
    ids, _ = fitted.predict(x, 5, labels=np.arange(60), exclude=best[0])
    assert not np.isin(ids[0], best[0]).any()


def test_large_filters_score_only_the_rows_that_lack_labels(fitted, rows, monkeypatch):
    x = rows[0][500:]
    wanted = fitted.predict(x, 5, exclude=[0, 1])
    monkeypatch.setattr("lshsample.xc.filters.MAX_FEW", 10)
    found = fitted.predict(x, 5, exclude=[0, 1])
    full = (found[0] >= 0).all(axis=1)
    assert full.all()
    np.testing.assert_array_equal(found[0][:, 0], wanted[0][:, 0])


@pytest.mark.parametrize("n_labels", [40, 300])
def test_the_scores_of_chosen_labels_are_those_of_the_search(n_labels):
    rng = np.random.default_rng(0)
    x = sp.random_array((400, 50), density=0.2, rng=rng, format="csr", dtype=np.float32)
    y = sp.csr_array(rng.random((400, n_labels)) < 0.03)
    model = LinearModel.fit(x, y, n_trees=2, leaf_size=40, branching=4, threads=1)
    labels, scores = model.top_k(x[:20], n_labels, beam=1000)
    chosen = rng.permutation(n_labels)[:25]
    found = model.scores(x[:20], chosen)
    dense = np.full((20, n_labels), -np.inf)
    named = labels >= 0
    dense[np.nonzero(named)[0], labels[named]] = scores[named]
    np.testing.assert_allclose(found, dense[:, chosen], rtol=1e-4, atol=1e-5)


def test_weights_multiply_the_scores(fitted, rows):
    x = rows[0][500:]
    plain = as_dense(fitted.predict(x, 3))
    weights = np.linspace(0.5, 1.5, 60)
    ids, scores = fitted.predict(x, 3, weights=weights)
    assert (np.diff(scores, axis=1) <= 0).all()
    found = as_dense((ids, scores))
    both = ~np.isnan(found) & ~np.isnan(plain)
    assert both.sum() > 200
    np.testing.assert_allclose(found[both], (plain * weights)[both], rtol=1e-4)
    ids, _ = fitted.predict(x, 3, weights={7: 0, 8: 1000})
    assert not (ids == 7).any()
    assert (ids[:, 0] == 8).sum() > (fitted.predict(x, 3)[0][:, 0] == 8).sum()


def test_margins_are_log_odds(fitted, rows):
    x = rows[0][500:520]
    ids, probabilities = fitted.predict(x, 3)
    same, margins = fitted.predict(x, 3, scores="margin")
    np.testing.assert_array_equal(ids, same)
    np.testing.assert_allclose(1 / (1 + np.exp(-margins)), probabilities, rtol=1e-4)
    few, _ = fitted.predict(x, 3, threshold=0.5)
    fewer, margins = fitted.predict(x, 3, threshold=0.5, scores="margin")
    np.testing.assert_array_equal(few, fewer)
    assert (margins[fewer < 0] == -np.inf).all()


def test_independent_scores_cost_and_depend_on_the_allowed_labels_alone(fitted, rows, tmp_path, monkeypatch):
    x, y = rows[0][500:], rows[1][500:].toarray()
    few, more = np.array([3, 17, 31]), np.arange(0, 40)
    independent = {"scores": "independent", "threads": 1}
    fitted.save(tmp_path)
    loaded = Classifier.load(tmp_path)
    for part in fitted.parts.values():  # no candidates are looked for
        monkeypatch.setattr(part, "top_k", None)
    wanted = fitted.predict(x, 40, labels=more, **independent)
    np.testing.assert_array_equal(loaded.predict(x, 40, labels=more, **independent), wanted)
    every = as_dense(wanted)
    assert not np.isnan(every[:, more]).any()
    np.testing.assert_array_equal(
        as_dense(fitted.predict(x, 3, labels=few, **independent))[:, few], every[:, few]
    )
    np.testing.assert_array_equal(fitted.predict(x[:7], 40, labels=more, **independent)[1], wanted[1][:7])
    # They are probabilities, and tell labels apart.
    truth, chances = y[:, more] > 0, every[:, more]
    assert abs(chances.mean() - truth.mean()) < 0.01
    assert chances[truth].mean() > 0.5
    assert chances[~truth].mean() < 0.05
    _, halved = fitted.predict(x, 3, labels=few, weights={17: 0.5}, threshold=0.01, **independent)
    assert ((halved == 0) | (halved >= 0.01)).all()
    for options, said in (
        ({}, r"^labels must be at most 1,000 labels with scores='independent' \(got all labels\)"),
        ({"labels": few, "threshold": "f1"}, r"^threshold must be a number or an array with scores='ind"),
    ):
        with pytest.raises(ArgumentError, match=said):
            fitted.predict(x, 3, **options, **independent)
    loaded.independent = None
    with pytest.raises(ArgumentError, match=r"^scores must be another kind, as the classifier was fitted by"):
        loaded.predict(x, 3, labels=few, **independent)


def test_the_softmax_of_independent_scores_is_close_to_that_of_all_labels(rows):
    x, y = rows
    recipe = Recipe(linear=None, neighbours=None, network=SOFTMAX, holdout=0.2, refit=False)
    made = Classifier.fit(x[:500], y[:500], recipe, threads=1)
    part, queries = made.parts["network"], Queries(x[500:], x[500:], 1)
    labels, values = part.top_k(queries, 60)
    alone = part.independent(queries, np.arange(60, dtype=np.int32))
    found = np.take_along_axis(alone, labels.astype(np.int64), axis=1)
    assert np.abs(found - values)[:, :2].mean() < 0.15
    np.testing.assert_array_equal(part.made_independent(queries, (labels, values))[0], labels)
    np.testing.assert_allclose(
        part.made_independent(queries, (labels, values))[1], found, rtol=1e-3, atol=1e-5
    )


def test_thresholds_of_f1(fitted, rows, tmp_path):
    x, y = rows
    fitted.save(tmp_path)
    loaded = Classifier.load(tmp_path)
    truth = y[500:].toarray() > 0

    def f1(threshold):
        named = ~np.isnan(as_dense(loaded.predict(x[500:], 10, threshold=threshold)))
        return 2 * (named & truth).sum() / (named.sum() + truth.sum())

    assert loaded.thresholds.overall == fitted.thresholds.overall
    assert f1("f1") > max(f1(0.02), f1(0.98))
    assert f1("f1-by-label") > max(f1(0.02), f1(0.98))
    assert f1("f1") == f1(np.full(60, fitted.thresholds.overall))


def test_reasons_for_labels_that_no_part_names(fitted, rows):
    x = rows[0][[500]]
    other = int(fitted.predict(x, 60)[0][0, -1])
    reasons = reasons_for(fitted, x, labels=[other])[0]
    assert reasons.probability == fitted.predict(x, 1, labels=[other])[1][0, 0] > 0


def test_bad_filters_are_refused(fitted, rows):
    x = rows[0][:3]
    for options, said in (
        ({"labels": [60]}, r"^labels must be a list of integers from 0 to 59"),
        ({"exclude": [[1]]}, r"^exclude must be a list of integers"),
        ({"threshold": "f2"}, r"^threshold must be a number, an array, or one of 'f1', 'f1-by-label'"),
        ({"threshold": [0.5]}, r"^threshold must be a number from 0 to 1, or an array of 60"),
        ({"threshold": 2}, r"^threshold must be"),
        ({"weights": [1.0]}, r"^weights must be an array of 60 numbers from 0 to 1e\+06"),
        ({"weights": {1: -1}}, r"^weights must be an array of 60 numbers from 0 to 1e\+06"),
        ({"weights": {61: 1}}, r"^weights must be a list of integers"),
        ({"weights": {1: "x"}}, r"^weights must be an array of 60"),
        ({"scores": "logit"}, r"^scores must be one of 'probability', 'margin'"),
        ({"scores": "margin", "weights": {1: 2}}, r"^weights must be left out with scores='margin'"),
    ):
        with pytest.raises(ArgumentError, match=said):
            fitted.predict(x, 2, **options)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"labels": [[0, 1]]}, r"^probabilities must be of shape \(1, 2\), as labels \(got shape \(1, 1\)"),
        ({"labels": [[3]]}, r"^labels must be integers below 3 .*the largest 3"),
        ({"labels": [0]}, r"^labels must be integers below 3 of shape \(rows, k\)"),
        ({"labels": [[0.0]]}, r"^labels must be integers .*float64"),
        ({"truth": [[0], [1]]}, r"^truth must be"),
        ({"n_labels": 0}, r"^n_labels must be"),
    ],
)
def test_bad_predictions_have_no_thresholds(change, match):
    """The id after the last label would be a label of the next row."""
    given = {"labels": [[0]], "probabilities": [[0.5]], "truth": [[1]], "n_labels": 3} | change
    with pytest.raises(ArgumentError, match=match):
        Thresholds.fit(**given)


def test_without_named_labels_nothing_reaches_the_threshold():
    for labels in ([[-1], [-1]], np.zeros((2, 0), int)):
        found = Thresholds.fit(labels, np.full(np.shape(labels), 0.5), [[1], [2]], 3)
        assert found.overall == 1.0
        assert found.by_label.tolist() == [1.0] * 3
