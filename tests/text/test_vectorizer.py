"""Vectorizers: values by hand, stored without code, hashing; names of labels."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from lshsample.errors import ArgumentError
from lshsample.text import LabelNames, TextVectorizer, VectorizerSpec
from lshsample.text.vectorizer import TermCounter

TEXTS = ["a grey cat and a grey dog", "the cat", "C is a language", "dog dog dog", "über cats"]


@pytest.mark.parametrize("ngrams", [1, 2])
def test_values_are_those_of_scikit_learn(ngrams: int) -> None:
    found = TextVectorizer.fit(TEXTS, VectorizerSpec(min_df=1, ngrams=ngrams)).transform(TEXTS)
    peer = TfidfVectorizer(sublinear_tf=True, token_pattern=r"(?u)\b\w+\b", ngram_range=(1, ngrams))
    np.testing.assert_allclose(found.toarray(), peer.fit_transform(TEXTS).toarray(), rtol=1e-5)
    assert found.dtype == np.float32


@pytest.mark.parametrize(
    "spec",
    [
        VectorizerSpec(),
        VectorizerSpec(min_df=1, ngrams=3, max_features=7),
        VectorizerSpec(analyzer="char_wb", ngrams=4, min_df=1),
        VectorizerSpec(hashing=True, max_features=64, ngrams=2),
    ],
)
def test_a_stored_vectorizer_is_the_same(spec: VectorizerSpec) -> None:
    vectorizer = TextVectorizer.fit(TEXTS, spec)
    again = TextVectorizer.from_arrays(*vectorizer.to_arrays())
    assert (again.spec, again.terms) == (spec, vectorizer.terms)
    others = [*TEXTS, "", "unknown words", "ÜBER Cat"]
    one, other = vectorizer.transform(others), again.transform(others)
    for name in ("indptr", "indices", "data"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    lengths = np.sqrt(one.multiply(one).sum(axis=1))
    np.testing.assert_allclose(lengths[np.diff(one.indptr) > 0], 1, rtol=1e-5)


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(codec="ascii") | st.sampled_from("éßİあ²_")))
def test_words_are_runs_of_letters_digits_and_underscores(text: str) -> None:
    assert dict(TermCounter(VectorizerSpec()).by_term([text])) == dict.fromkeys(
        re.findall(r"\w+", text.lower()), 1
    )


def test_what_cannot_be_a_text_is_refused() -> None:
    vectorizer = TextVectorizer.fit(TEXTS)
    for bad in ("one text", [3], ["a", None]):
        with pytest.raises(ArgumentError, match=r"^texts must be a list of texts"):
            vectorizer.transform(bad)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"^texts must be texts with terms that are in 2 of them"):
        TextVectorizer.fit(["a", "b"])
    with pytest.raises(ArgumentError, match=r"^analyzer must be one of 'word'"):
        VectorizerSpec(analyzer="words")


def test_names_have_ids_in_both_directions() -> None:
    names = LabelNames(["b", "a", "ü"], uris=["x:1", "x:2", "x:3"])
    assert [names.id_of(one) for one in ("a", "x:3", "c")] == [1, 2, None]
    matrix = names.matrix([["ü", "x:3", "c"], [], ["b", "a"]])
    assert matrix.toarray().tolist() == [[0, 0, 1], [0, 0, 0], [1, 1, 0]]
    for one in (names, LabelNames([]), LabelNames(["one"])):
        again = LabelNames.from_arrays(one.to_arrays())
        assert (again.names, again.uris) == (one.names, one.uris)


def test_names_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"^names must be texts that are all different \(got 'a'\)"):
        LabelNames(["a", "a"])
    with pytest.raises(ArgumentError, match=r"^uris must be 1, as many as names \(got 2\)"):
        LabelNames(["a"], uris=["1", "2"])
