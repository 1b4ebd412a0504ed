"""The demo's data: its split, its labels, its features."""

import builtins
import sys

import numpy as np
import pytest

from lshsample.data import load_demo
from lshsample.data.tfidf import words_of
from lshsample.errors import ArgumentError, UnsupportedError


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
