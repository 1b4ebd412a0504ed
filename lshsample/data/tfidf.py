"""Sparse features of texts: words and pairs of adjacent words, weighted by tf-idf."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, Self

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample._native.core import csr_from_parts
from lshsample.display import array_text
from lshsample.errors import ArgumentError

__all__ = ["Tfidf", "words_of"]

_WORD = re.compile(r"[^\W_]+")


def words_of(text: str) -> list[str]:
    """The words of a text: runs of letters and digits, in lower case."""
    return _WORD.findall(text.lower())


def _texts(texts: Any) -> list[str]:
    """The texts as a list; refused if they are one text, bytes, or anything else."""
    if isinstance(texts, str | bytes) or not isinstance(texts, Iterable):
        raise ArgumentError("texts", _shown(texts), "an iterable of texts (str), such as a list of them")
    several = list(texts)
    for i, text in enumerate(several):
        if not isinstance(text, str):
            raise ArgumentError(f"texts[{i}]", _shown(text), "a text (str)")
    return several


def _shown(thing: object) -> str:
    text = repr(thing)
    return f"{type(thing).__name__} {text if len(text) < 40 else text[:37] + '...'}"


def _terms(text: str) -> list[str]:
    words = words_of(text)
    return words + [f"{a} {b}" for a, b in pairwise(words)]


@attrs.frozen(eq=False)
class Tfidf:
    """A vocabulary of words and word pairs with their weights, made by :meth:`fit`.

    Attributes
    ----------
    vocabulary : dict of str to int
        The column of each term, in alphabetical order.
    idf : numpy.ndarray of float32
        The weight of each column.

    Notes
    -----
    A term that occurs n times in a text has the weight (1 + ln n) * (1 + ln((1 + N) / (1 + N_t))), N being
    the number of texts and N_t that of the texts with the term; then each row is scaled to length 1 (Salton &
    Buckley 1988). Terms outside the vocabulary are ignored; a text without known terms is an empty row.

    Examples
    --------
    >>> model = Tfidf.fit(["fracture of the neck", "fracture of the hip", "pain in the neck"], min_texts=2)
    >>> list(model.vocabulary)
    ['fracture', 'fracture of', 'neck', 'of', 'of the', 'the', 'the neck']
    >>> model.transform(["the neck", "unknown"]).toarray().round(2)
    array([[0.  , 0.  , 0.62, 0.  , 0.  , 0.48, 0.62],
           [0.  , 0.  , 0.  , 0.  , 0.  , 0.  , 0.  ]], dtype=float32)
    """

    vocabulary: dict[str, int]
    idf: npt.NDArray[np.float32] = attrs.field(repr=array_text)

    @classmethod
    def fit(cls, texts: Iterable[str], min_texts: int = 2) -> Self:
        """The vocabulary of all terms that occur in at least ``min_texts`` of the texts.

        Raises
        ------
        ArgumentError
            Not an iterable of texts, ``min_texts`` below 1, or no term in so many texts.
        """
        if isinstance(min_texts, bool) or not isinstance(min_texts, int) or min_texts < 1:
            raise ArgumentError("min_texts", repr(min_texts), "an integer >= 1")
        several = _texts(texts)
        count = Counter(term for text in several for term in set(_terms(text)))
        kept = sorted(term for term, n in count.items() if n >= min_texts)
        if not kept:
            wanted = f"texts with at least one term that is in {min_texts} of them (min_texts)"
            raise ArgumentError("texts", f"{len(several)} texts with {len(count)} terms", wanted)
        in_texts = np.array([count[term] for term in kept], dtype=np.float64)
        idf = 1 + np.log((1 + len(several)) / (1 + in_texts))
        return cls({term: column for column, term in enumerate(kept)}, idf.astype(np.float32))

    def transform(self, texts: Iterable[str]) -> sp.csr_array:
        """Features of texts: canonical CSR (n_texts, n_terms), float32, rows of length 1 (or empty).

        Raises
        ------
        ArgumentError
            Not an iterable of texts.
        """
        rows = [self._row(text) for text in _texts(texts)]
        indptr = np.concatenate(
            [np.zeros(1, np.int64), np.cumsum([len(row) for row in rows], dtype=np.int64)]
        )
        columns = np.array([column for row in rows for column, _ in row], dtype=np.int32)
        counts = np.array([n for row in rows for _, n in row], dtype=np.float64)
        values = (1 + np.log(counts)) * self.idf[columns]
        row_of = np.repeat(np.arange(len(rows)), np.diff(indptr))
        length = np.sqrt(np.bincount(row_of, weights=values**2, minlength=len(rows)))
        values = (values / length[row_of]).astype(np.float32)
        return csr_from_parts(indptr, columns, values, (len(rows), len(self.vocabulary)))

    def _row(self, text: str) -> list[tuple[int, int]]:
        """(column, count) of the known terms of a text, by column."""
        known = (self.vocabulary.get(term) for term in _terms(text))
        return sorted(Counter(column for column in known if column is not None).items())
