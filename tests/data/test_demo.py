"""The demo's data, its features, and the nearest-neighbour baseline."""

import builtins
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample.data import Dataset, Tfidf, cosine_knn, load, load_demo
from lshsample.data.tfidf import words_of
from lshsample.errors import ArgumentError, UnsupportedError
from lshsample.metrics import precision_at_k


@pytest.fixture(scope="module")
def demo():
    pytest.importorskip("simple_icd_10_cm", reason="needs the extra lshsample[demo]", exc_type=ImportError)
    return load_demo()


def test_sizes(demo):
    assert demo.train.n_rows > 50_000
    assert demo.test.n_rows > 5_000
    assert demo.train.n_labels > 10_000
    assert demo.train.x.shape[1] == demo.test.x.shape[1] == len(demo.vectorizer.vocabulary)
    assert len(demo.label_names) == len(set(demo.label_names)) == demo.train.n_labels
    assert len(demo.train_texts) == demo.train.n_rows
    assert len(demo.test_texts) == demo.test.n_rows
    assert np.diff(demo.test.y.indptr).min() >= 1


def test_no_test_text_is_in_the_training_set(demo):
    train = {" ".join(words_of(text)) for text in demo.train_texts}
    test = [" ".join(words_of(text)) for text in demo.test_texts]
    assert not train.intersection(test)
    assert len(train) == demo.train.n_rows
    assert len(set(test)) == demo.test.n_rows


def test_labels_are_the_headings_above(demo):
    row = demo.train_texts.index("Paratyphoid fever A")
    names = [
        demo.label_names[label] for label in demo.train.y.indices[slice(*demo.train.y.indptr[row : row + 2])]
    ]
    assert [name.split()[0] for name in names] == ["1", "A00-A09", "A01"]


def test_features_are_those_of_the_vectorizer(demo):
    again = demo.vectorizer.transform(demo.test_texts[:50])
    assert (again.toarray() == demo.test.x[:50].toarray()).all()
    length = np.sqrt((demo.train.x.multiply(demo.train.x)).sum(axis=1))
    assert length[np.diff(demo.train.x.indptr) > 0] == pytest.approx(1, abs=1e-5)


def test_bad_arguments():
    for percent in (0, 51, 10.0, True):
        with pytest.raises(ArgumentError, match="test_percent"):
            load_demo(percent)
    with pytest.raises(ArgumentError, match="min_texts"):
        Tfidf.fit(["a"], min_texts=0)


def test_the_missing_package_is_named(monkeypatch):
    monkeypatch.delitem(sys.modules, "simple_icd_10_cm", raising=False)
    plain = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "simple_icd_10_cm":
            raise ImportError(name)
        return plain(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UnsupportedError, match=r"pip install 'lshsample\[demo\]'"):
        load_demo()


def test_tfidf_of_no_texts():
    model = Tfidf.fit([])
    assert model.transform(["a"]).shape == (1, 0)
    assert model.transform([]).shape == (0, 0)


def naive_knn(train: Dataset, test: Dataset, k: int, top: int):
    """Neighbours and votes by sorting everything."""
    a, b = train.x.toarray().astype(float), test.x.toarray().astype(float)
    a /= np.maximum(np.linalg.norm(a, axis=1, keepdims=True), 1e-30)
    b /= np.maximum(np.linalg.norm(b, axis=1, keepdims=True), 1e-30)
    similarity = b @ a.T
    out = np.full((test.n_rows, top), -1)
    for row, s in enumerate(similarity):
        votes = sum(s[j] * train.y[[j]].toarray()[0] for j in np.argsort(-s)[:k])
        best = [label for label in np.argsort(-votes, kind="stable")[:top] if votes[label] > 0]
        out[row, : len(best)] = best
    return out


@pytest.mark.parametrize(("k", "top"), [(1, 1), (5, 3), (500, 5)])
def test_knn_equals_the_definition(k, top):
    rng = np.random.default_rng(3)
    train, test = (
        Dataset.of(
            sp.random_array((n, 12), density=0.4, rng=rng, format="csr"),
            sp.random_array((n, 8), density=0.2, rng=rng, format="csr"),
        )
        for n in (60, 17)
    )
    labels, scores = cosine_knn(train, test, k=k, top=top)
    assert labels.tolist() == naive_knn(train, test, k, top).tolist()
    assert (np.diff(scores, axis=1) <= 0).all()
    assert (scores[labels < 0] == 0).all()


def test_knn_of_nothing_and_of_other_shapes():
    one = Dataset.of(sp.csr_array((1, 3)), sp.csr_array((1, 2)))
    assert cosine_knn(one, one, top=2)[0].tolist() == [[-1, -1]]
    none = Dataset.of(sp.csr_array((0, 3)), sp.csr_array((0, 2)))
    assert cosine_knn(none, one, top=2)[0].tolist() == [[-1, -1]]
    with pytest.raises(ArgumentError, match="test"):
        cosine_knn(one, Dataset.of(sp.csr_array((1, 3)), sp.csr_array((1, 5))))
    for options in ({"k": 0}, {"top": 1.5}, {"k": True}):
        with pytest.raises(ArgumentError, match=next(iter(options))):
            cosine_knn(one, one, **options)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("bibtex", (56.6, 34.3, 25.3)), ("delicious", (63.1, 56.7, 51.8)), ("citeulike-t", (64.0, 45.7, 36.6))],
)
def test_knn_on_real_data(name, wanted):
    folder = os.environ.get("LSHSAMPLE_DATA")
    if not folder:
        pytest.skip("LSHSAMPLE_DATA names no folder of real data")
    train, test = (load(Path(folder) / name / f"{side}.txt.gz") for side in ("train", "test"))
    labels, _ = cosine_knn(train, test)
    given = [100 * precision_at_k(labels, test.y, k) for k in (1, 3, 5)]
    # Ties between neighbours of binary rows may fall either way.
    assert given == pytest.approx(wanted, abs=1.1)
