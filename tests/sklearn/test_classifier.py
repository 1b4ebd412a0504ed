"""The classifier with scikit-learn's tools, and all forms of labels."""

import pickle
import sys
from importlib import import_module

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline

from lshsample.errors import ArgumentError, LshsampleError
from lshsample.sklearn import LSHClassifier, precision_scorer
from lshsample.xc import Classifier, Recipe

WORDS = ["cat", "dog", "bird", "fish", "horse", "snail"]


@pytest.fixture(scope="module")
def texts():
    """240 texts, each with two words that are its names, and noise."""
    rng = np.random.default_rng(0)
    names = [tuple(rng.choice(WORDS, 2, replace=False).tolist()) for _ in range(240)]
    noise = [" ".join(f"w{i}" for i in rng.integers(0, 30, 3)) for _ in names]
    return [f"{a} {rest} {b}" for (a, b), rest in zip(names, noise, strict=True)], names


@pytest.fixture(scope="module")
def rows(texts):
    x = sp.csr_array(TfidfVectorizer().fit_transform(texts[0]))
    y = np.array([[word in names for word in WORDS] for names in texts[1]], int)
    return x, y


def test_a_pipeline_of_texts_and_names(texts):
    given, names = texts
    model = make_pipeline(TfidfVectorizer(), LSHClassifier("fast")).fit(given[:200], names[:200])
    assert list(model.classes_) == sorted(WORDS)
    found = model.predict(given[200:])
    assert np.mean([set(a) == set(b) for a, b in zip(found, names[200:], strict=True)]) > 0.9
    assert model.score(given[200:], names[200:]) == np.mean(
        [set(a) == set(b) for a, b in zip(found, names[200:], strict=True)]
    )
    assert precision_scorer(2)(model, given[200:], names[200:]) > 0.95


def test_results_have_the_form_of_the_labels(rows):
    x, y = rows
    dense = LSHClassifier("fast").fit(x[:200], y[:200])
    sparse = LSHClassifier("fast").fit(x[:200], sp.csr_array(y[:200]))
    assert dense.multilabel_
    assert dense.predict(x).shape == y.shape
    assert isinstance(dense.predict_proba(x), np.ndarray)
    assert isinstance(sparse.predict(x), sp.csr_array)
    assert isinstance(sparse.predict_proba(x), sp.csr_array)
    np.testing.assert_array_equal(dense.predict(x), sparse.predict(x).toarray())
    np.testing.assert_array_equal(dense.predict_proba(x), sparse.predict_proba(x).toarray())
    stored = sparse.decision_function(x)
    np.testing.assert_array_equal(
        stored.toarray()[stored.nonzero()], dense.decision_function(x)[stored.nonzero()]
    )
    np.testing.assert_array_equal(dense.decision_function(x) > 0, dense.predict(x))
    assert dense.score(x[200:], y[200:]) == sparse.score(x[200:], sp.csr_array(y[200:])) > 0.9


def test_probabilities_are_those_of_the_classifier(rows):
    x, y = rows
    model = LSHClassifier("fast").fit(x, sp.csr_array(y))
    labels, probabilities = Classifier.fit(x, y, "fast", threads=1).predict(x, 6)
    expected = np.zeros(y.shape, np.float32)
    at, place = np.nonzero(labels >= 0)
    expected[at, labels[at, place]] = probabilities[at, place]
    np.testing.assert_array_equal(model.predict_proba(x).toarray(), expected)


def test_classes(rows):
    x, y = rows
    classes = np.array(WORDS)[y.argmax(axis=1)]
    model = LSHClassifier("fast").fit(x[:200], classes[:200])
    assert not model.multilabel_
    shares = model.predict_proba(x)
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(model.classes_[shares.argmax(axis=1)], model.predict(x))
    empty = model.predict_proba(sp.csr_array((1, x.shape[1])))
    assert empty.sum() == pytest.approx(1)
    assert precision_scorer(1)(model, x, classes) == pytest.approx(model.score(x, classes))


def test_chosen_labels(rows):
    x, y = rows
    for labels in (sp.csr_array(y), y.argmax(axis=1)):
        model = LSHClassifier("fast").fit(x, labels)
        chosen = sp.csr_array(model.predict_proba(x, labels=[0, 3], exclude=[3]))
        assert set(chosen.indices) == {0}
        with pytest.raises(
            ArgumentError, match=r"labels must be a list of classes, as in classes_ \(got 9\)"
        ):
            model.decision_function(x, labels=[9])
    with pytest.raises(ArgumentError, match="exclude must be"):
        LSHClassifier("fast").fit(x, np.array(WORDS)[y.argmax(axis=1)]).predict_proba(x, exclude="cat")


def test_top_k_and_threshold(rows):
    x, y = rows
    model = LSHClassifier("fast", top_k=1, threshold=0.01).fit(x, sp.csr_array(y))
    assert np.diff(model.predict_proba(x).indptr).max() == 1
    model.set_params(top_k=6)
    many = model.predict(x).nnz
    assert many > model.set_params(threshold=0.9).predict(x).nnz
    np.testing.assert_array_equal(model.decision_function(x).toarray() > 0, model.predict(x).toarray())


def test_searches_and_cross_validation(texts, rows):
    x, y = rows
    search = GridSearchCV(
        LSHClassifier(Recipe.preset("fast")), {"threshold": [0.3, 0.99]}, cv=3, scoring="f1_micro"
    ).fit(x, y)
    assert search.best_params_ == {"threshold": 0.3}
    model = make_pipeline(TfidfVectorizer(), LSHClassifier("fast"))
    scores = cross_val_score(model, *texts, cv=KFold(3), scoring=precision_scorer(1))
    assert scores.min() > 0.9


def test_labels_are_routed(rows):
    x, y = rows
    with sklearn.config_context(enable_metadata_routing=True):
        model = make_pipeline(LSHClassifier("fast").set_predict_proba_request(labels=True)).fit(
            x, sp.csr_array(y)
        )
        assert set(model.predict_proba(x, labels=[2]).indices) == {2}


def test_a_copy_by_pickle_and_a_clone(rows):
    x, y = rows
    model = LSHClassifier({"network": {"epochs": 1, "hidden": [16]}}, n_jobs=2, random_state=3).fit(x, y)
    again = clone(model)
    with pytest.raises(NotFittedError):
        again.predict(x)
    again.set_params(n_jobs=1).fit(x, y)
    for other in (again, pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(model.predict_proba(x), other.predict_proba(x))
    assert model.classifier_.recipe.seed == 3
    drawn = LSHClassifier("fast", random_state=np.random.RandomState(0)).fit(x, y)
    assert drawn.classifier_.recipe.seed == np.random.RandomState(0).randint(2**31 - 1)


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({"recipe": "fats"}, "recipe must be one of .*did you mean 'fast'"),
        ({"top_k": 0}, r"top_k must be an integer >= 1 \(got 0\)"),
        ({"threshold": 1}, "threshold must be a finite number in"),
        ({"n_jobs": 0}, r"n_jobs must be None, or an integer other than 0 \(got 0\)"),
    ],
)
def test_bad_parameters(rows, parameters, match):
    with pytest.raises(ArgumentError, match=match):
        LSHClassifier(**{"recipe": "fast", **parameters}).fit(*rows)


def test_bad_labels(rows):
    x, _ = rows
    n = x.shape[0]
    for y, match in (
        (np.zeros(n, int), "y must be labels of at least two classes"),
        (np.arange(2 * n).reshape(n, 2) % 3, "y must be classes, or an indicator matrix"),
        ([["a"]] * (n - 1), "inconsistent numbers of samples"),
        (np.linspace(0, 1, n), "Unknown label type"),
    ):
        with pytest.raises(ValueError, match=match):
            LSHClassifier("fast").fit(x, y)
    with pytest.raises(ArgumentError, match="k must be an integer >= 1"):
        precision_scorer(0)


def test_the_extra_is_named(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("lshsample.sklearn")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(LshsampleError, match=r"needs pip install 'lshsample\[sklearn\]'"):
        import_module("lshsample.sklearn")


def test_a_partial_fit_learns_more_rows_and_classes(rows):
    x, y = rows
    one = y.argmax(axis=1)
    first = np.flatnonzero(one[:200] < 4)
    model = LSHClassifier("fast").partial_fit(x[first], one[first], classes=[0, 1, 2, 3, 5])
    assert model.classes_.tolist() == [0, 1, 2, 3, 5]
    rest = np.setdiff1d(np.arange(200), first)
    assert model.partial_fit(x[rest], one[rest]) is model
    assert model.classes_.tolist() == [0, 1, 2, 3, 5, 4]
    assert model.score(x[200:], one[200:]) > 0.6
    assert (model.predict(x[rest]) >= 4).mean() > 0.8
    assert model.predict_proba(x[:3]).shape == (3, 6)
    with pytest.raises(ArgumentError, match=r"^y must be labels of the form of the first ones, classes"):
        model.partial_fit(x, y)
    with pytest.raises(ArgumentError, match=r"^classes must be 6, as many as y has columns"):
        LSHClassifier("fast").partial_fit(x, y, classes=[0, 1])


def test_names_of_a_partial_fit(texts):
    given, names = texts
    x = TfidfVectorizer().fit_transform(given)
    model = LSHClassifier("fast").partial_fit(x[:150], [one[:1] for one in names[:150]])
    cats = np.array(["cat" in one for one in names])
    model.partial_fit(x[150:], [(*one, "pet") if "cat" in one else one for one in names[150:]])
    assert list(model.classes_) == [*sorted(WORDS), "pet"]
    pets = model.predict_proba(x, labels=["pet"]).toarray()[:, 6]
    assert pets[cats].mean() > 5 * pets[~cats].mean()
