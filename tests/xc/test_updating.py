"""Changes of fitted classifiers: new rows, labels and features, labels that are taken away."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample.errors import ArgumentError
from lshsample.text import TextVectorizer, VectorizerSpec
from lshsample.xc import Classifier, Recipe, RowNeighbours
from lshsample.xc import why as reasons_for
from lshsample.xc.parts import Queries

SMALL = {"hidden": 24, "epochs": 8, "lr": 0.02, "batch_size": 40, "dropout": 0.0, "n_active": 20}
RECIPE = Recipe(network=SMALL, holdout=0.2, refit=False)
#: Labels that the first rows do not have.
NEW = 10


def split(rows):
    """Rows of the first 50 labels and 200 features, and others with all."""
    x, y = rows
    old = np.flatnonzero(y[:, -NEW:].sum(axis=1) == 0)
    first, second = old[:250], np.setdiff1d(np.arange(500), old[:250])
    return (x[first][:, :200], y[first][:, :50]), (x[second], y[second]), (x[500:], y[500:])


@pytest.fixture
def fitted(rows):
    return Classifier.fit(*split(rows)[0], RECIPE, threads=1)


def scores(classifier, x, ids):
    found, values = classifier.predict(x, len(ids), labels=ids)
    return np.take_along_axis(values, np.argsort(found, axis=1), axis=1)


def test_new_labels_and_features_are_learnt(fitted, rows, tmp_path):
    _, second, (x, y) = split(rows)
    before = fitted.evaluate(x[:, :200], y[:, :50], [1])["p@1"]
    again = Classifier.fit(*split(rows)[0], RECIPE, threads=2)
    assert fitted.update(*second, threads=1) is fitted
    assert (fitted.n_labels, fitted.n_features) == (60, 240)
    assert fitted.evaluate(x, y, [1])["p@1"] > max(before + 2, 80)
    of_new = np.flatnonzero(y[:, -NEW:].sum(axis=1))
    found, _ = fitted.predict(x[of_new], 1, labels=np.arange(50, 60))
    assert np.mean([y[row, label] for row, label in zip(of_new, found[:, 0], strict=True)]) > 0.9
    again.update(*second, threads=2)
    wanted = fitted.predict(x, 5)
    np.testing.assert_array_equal(again.predict(x, 5), wanted)
    fitted.save(tmp_path)
    np.testing.assert_array_equal(Classifier.load(tmp_path).predict(x, 5), wanted)
    label = int(found[0, 0])
    reasons = reasons_for(fitted, x[of_new[:1]], labels=[label])[0]
    assert reasons.features
    assert {part for part, _, _ in reasons.neighbours} == {"rows", "hidden"} & set(fitted.parts)


def test_the_network_and_the_linear_path_of_old_labels_stay(fitted, rows):
    _, second, _ = split(rows)
    before = fitted.network.output.weights.weights.copy()
    old = fitted.parts["linear"].models[0].arrays()
    fitted.update(*second, threads=1)
    after = fitted.network.output.weights.weights
    np.testing.assert_array_equal(after[:50], before)
    assert len(after) == 60
    for key, array in fitted.parts["linear"].models[0].arrays().items():
        np.testing.assert_array_equal(array, old[key])


def test_a_label_begins_with_its_text(fitted, rows):
    x = sp.csr_array((np.ones(4), (np.zeros(4, int), np.arange(200, 204))), shape=(1, 204))
    fitted.update(x, [[50]], threads=1)
    found, _ = fitted.predict(x, 1)
    assert found[0, 0] == 50
    others = sp.csr_array(rows[0][500:, :204])
    without = others[others[:, 200:].sum(axis=1) == 0]
    assert without.shape[0] > 50
    assert (fitted.predict(without, 1)[0] == 50).mean() < 0.02


def test_labels_that_are_not_trained_are_not_named_by_a_network(fitted, rows, tmp_path):
    _, second, (x, _) = split(rows)
    fitted.update(*second, network="none", threads=1)
    found, _ = fitted.parts["network"].top_k(Queries(x, fitted.weighting(x), 1), 5)
    assert (found < 50).all()
    fitted.save(tmp_path)
    np.testing.assert_array_equal(Classifier.load(tmp_path).predict(x, 5), fitted.predict(x, 5))


def test_all_weights_of_a_network_can_be_trained(fitted, rows):
    _, second, (x, y) = split(rows)
    before = fitted.network.output.weights.weights.copy()
    fitted.update(*second, network="all", threads=1)
    assert (fitted.network.output.weights.weights[:50] != before).any()
    assert fitted.evaluate(x, y, [1])["p@1"] > 80


def test_removed_labels_leave_the_others_as_they_are(fitted, rows, tmp_path):
    x, y = rows[0][500:, :200], rows[1][500:, :50]
    kept = np.setdiff1d(np.arange(50), [3, 4])
    before = scores(fitted, x, kept)
    best, chances = fitted.predict(x, 5)
    fitted.remove_labels([3]).remove_labels([4])
    np.testing.assert_array_equal(scores(fitted, x, kept), before)
    found, values = fitted.predict(x, 5)
    assert not np.isin(found, [3, 4]).any()
    for row, (ids, old) in enumerate(zip(best, chances, strict=True)):
        same = ~np.isin(ids, [3, 4]) & (ids >= 0)
        n = same.sum()
        np.testing.assert_array_equal(found[row, :n], ids[same])
        np.testing.assert_array_equal(values[row, :n], old[same])
    assert 3 not in fitted.predict(x, 5, labels=[3, 5])[0]
    assert all(one.label not in (3, 4) for one in reasons_for(fitted, x[[0]], top=20))
    fitted.save(tmp_path)
    loaded = Classifier.load(tmp_path)
    np.testing.assert_array_equal(loaded.predict(x, 5), (found, values))
    loaded.update(x[:20], y[:20] if y[:20, 3].nnz else [[3]] * 20, network="none", threads=1)
    assert 3 not in loaded.removed


def shifted(n, noise, seed):
    """Rows of 50 labels, whose features are those of other labels as often as the noise says."""
    rng = np.random.default_rng(seed)
    labels = np.array([rng.choice(50, 2, replace=False) for _ in range(n)])
    shown = np.where(rng.random((n, 2)) < noise, rng.integers(0, 50, (n, 2)), labels)
    columns = (4 * shown[:, :, None] + rng.integers(0, 4, (n, 2, 2))).reshape(n, 4)
    x = sp.csr_array((np.ones(4 * n), (np.repeat(np.arange(n), 4), columns.ravel())), (n, 200))
    x.sum_duplicates()
    y = sp.csr_array((np.ones(2 * n), (np.repeat(np.arange(n), 2), labels.ravel())), (n, 50))
    return x, y


def calibration_error(classifier, x, y):
    ids, chances = classifier.predict(x, 5, threads=1)
    hits = np.take_along_axis(y.toarray(), ids.astype(np.int64), axis=1).ravel()
    bins = np.minimum((15 * chances.ravel()).astype(int), 14)
    return sum(abs((chances.ravel() - hits)[bins == i].sum()) for i in range(15)) / len(hits)


def test_held_out_new_rows_calibrate_again(tmp_path):
    old, new, test = shifted(600, 0.0, 0), shifted(800, 0.5, 1), shifted(600, 0.5, 2)
    made = Classifier.fit(*old, "fast", threads=1)
    made.save(tmp_path)
    plain, again, same = (Classifier.load(tmp_path) for _ in range(3))
    plain.update(*new, threads=1)
    again.update(*new, holdout=0.25, threads=1)
    assert plain.mixture.weights == made.mixture.weights
    assert calibration_error(again, *test) < 0.5 * calibration_error(plain, *test)
    assert again.evaluate(*test, [1])["p@1"] > plain.evaluate(*test, [1])["p@1"] - 0.3
    # What is named by independent scores and by thresholds is fitted again too.
    assert again.independent.weights != plain.independent.weights
    assert again.thresholds.overall != plain.thresholds.overall
    # All new rows are neighbours, and the same rows are held out by every number of threads.
    assert again.mixture.n_rows == 1400
    same.update(*new, holdout=0.25, threads=2)
    np.testing.assert_array_equal(same.predict(test[0], 5), again.predict(test[0], 5))
    # By few rows the mixture hardly changes.
    few = Classifier.load(tmp_path).update(new[0][:10], new[1][:10], holdout=0.2, threads=1)
    little, much = (np.subtract(one.mixture.weights, made.mixture.weights) for one in (few, again))
    assert np.linalg.norm(little) < 0.5 * np.linalg.norm(much)


def test_held_out_rows_teach_the_labels_that_no_other_new_row_has(fitted, rows):
    x, y = rows[0][:5, :200], [[50], [51], [52], [53], [54]]
    fitted.update(x, y, holdout=0.5, network="all", threads=1)
    assert (fitted.counts[50:] == 1).all()
    labels = {label for model in fitted.parts["linear"].models for label in ~model.forest.children}
    assert labels >= {50, 51, 52, 53, 54}


def test_names_of_new_texts_become_labels():
    texts = ["purring whiskers", "barking loudly", "claws and whiskers", "a leash, barking"] * 20
    labels = [["cats"], ["dogs"], ["cats"], ["dogs"]] * 20
    classifier = Classifier.fit_texts(texts, labels, "fast", threads=1)
    classifier.update_texts(["claws, barking and a leash"] * 5, [["bears", "dogs"]] * 5)
    assert classifier.names.names == ("cats", "dogs", "bears")
    best = classifier.predict_texts(["claws, barking and a leash"], top=2)[0]
    assert {name for name, _ in best} == {"bears", "dogs"}


def test_terms_of_new_texts_become_features(tmp_path):
    texts = ["purring whiskers", "barking loudly", "claws and whiskers", "a leash, barking"] * 20
    labels = [["cats"], ["dogs"], ["cats"], ["dogs"]] * 20
    more = ["growling and hibernating", "hibernating in a cave"] * 5
    known = Classifier.fit_texts(texts, labels, "fast", threads=1)
    terms, before = known.vectorizer.terms, known.vectorizer.transform(texts)
    known.update_texts(more, [["bears"]] * 10, new_terms=False, threads=1)
    assert known.vectorizer.terms == terms
    grown = Classifier.fit_texts(texts, labels, "fast", threads=1)
    grown.update_texts(more, [["bears"]] * 10, threads=1)
    assert grown.feature_names == [*terms, "cave", "growling", "hibernating", "in"]
    after = grown.vectorizer.transform(texts)
    assert (after[:, : len(terms)] != before).nnz == 0
    assert after.nnz == before.nnz
    assert not known.vectorizer.transform(["hibernating"]).nnz
    ((label, chance),) = grown.predict_texts(["hibernating"], top=1)[0]
    assert label == "bears"
    assert chance > known.predict_texts(["hibernating"], top=1)[0][0][1]
    grown.save(tmp_path)
    again = Classifier.load(tmp_path)
    assert again.predict_texts(["hibernating"]) == grown.predict_texts(["hibernating"])
    # Up to max_features, and terms that are in min_df of the texts.
    spec = VectorizerSpec(min_df=2, max_features=9)
    limited = TextVectorizer.fit(texts, spec)
    assert limited.extended([*more, "unique"], len(texts)).terms[len(limited.terms) :] == ["hibernating"]


@pytest.mark.parametrize("index", ["inverted", "exact", "lsh"])
def test_added_rows_are_found(index):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((300, 20)).astype(np.float32)
    given = sp.csr_array(rows) if index == "inverted" else rows
    grown = RowNeighbours.build(given[:200], index, threads=1).add(given[200:])
    assert grown.n_rows == 300
    ids, cosines = grown.search(given[250:], 5)
    assert (ids[:, 0] == np.arange(250, 300)).all()
    np.testing.assert_allclose(cosines[:, 0], 1, atol=0.01)
    with pytest.raises(ArgumentError, match=r"^rows must be "):
        grown.add(given[:, :5] if index != "inverted" else rows)


def test_bad_changes_are_refused(fitted, rows):
    x, y = rows[0][:5, :200], rows[1][:5, :50]
    for arguments, options, said in (
        ((x, y), {"network": "some"}, r"^network must be one of 'labels', 'all', 'none'"),
        ((x, y), {"holdout": 1.0}, r"^holdout must be a finite number in \[0, 0.9\]"),
        ((x[:1], y[:1]), {"holdout": 0.5}, r"^holdout must be a share that leaves some of the rows"),
        ((x[:, :7], y), {}, r"^X must be at least one row of at least 200 columns"),
        ((x[:0], y[:0]), {}, r"^X must be at least one row"),
        ((x, y[:, :7]), {}, r"^Y must be a matrix of at least 50 columns"),
        ((x, y[:3]), {}, r"^Y must be a matrix of 5 rows"),
    ):
        with pytest.raises(ArgumentError, match=said):
            fitted.update(*arguments, **options)
    with pytest.raises(ArgumentError, match=r"^ids must be a list of integers from 0 to 49"):
        fitted.remove_labels([50])
    with pytest.raises(ArgumentError, match=r"^ids must be some of the labels"):
        fitted.remove_labels(np.arange(50))
    with pytest.raises(ArgumentError, match=r"^texts must be left out"):
        fitted.update_texts(["a"], [["b"]])
