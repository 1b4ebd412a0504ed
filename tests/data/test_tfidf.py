"""Features of texts."""

import pytest

from lshsample.data import Tfidf
from lshsample.errors import ArgumentError


def test_tfidf_of_no_texts():
    model = Tfidf.fit([])
    assert model.transform(["a"]).shape == (1, 0)
    assert model.transform([]).shape == (0, 0)


def test_the_smallest_number_of_texts_is_checked():
    with pytest.raises(ArgumentError, match="min_texts"):
        Tfidf.fit(["a"], min_texts=0)
