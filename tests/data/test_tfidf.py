"""Features of texts."""

import pytest

from lshsample.data import Tfidf
from lshsample.errors import ArgumentError


@pytest.mark.parametrize(
    ("texts", "given"),
    [
        ("abc", "str 'abc'"),
        (b"abc", "bytes"),
        (None, "NoneType"),
        (5, "int"),
        ([None], "texts\\[0\\] must be a text .*NoneType"),
        (["a", b"a"], "texts\\[1\\] must be a text .*bytes"),
        ([["a", "b"]], "texts\\[0\\] must be a text .*list"),
        ([], "0 texts with 0 terms"),
        (["a", "b"], "2 texts with 2 terms"),
        (["?", "!"], "2 texts with 0 terms"),
    ],
)
def test_what_are_no_texts_is_refused(texts, given):
    with pytest.raises(ArgumentError, match=given):
        Tfidf.fit(texts)
    model = Tfidf.fit(["a b", "a"])
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        with pytest.raises(ArgumentError, match=given):
            model.transform(texts)
    assert model.transform([]).shape == (0, 1)
    assert Tfidf.fit(text for text in ("a b", "a")).vocabulary == {"a": 0}


def test_the_smallest_number_of_texts_is_checked():
    with pytest.raises(ArgumentError, match="min_texts"):
        Tfidf.fit(["a"], min_texts=0)
