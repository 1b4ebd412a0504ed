"""Vectors of texts, by scikit-learn, that can be stored without code."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Self

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample import specs
from lshsample.errors import ArgumentError, needs_extra
from lshsample.text.names import packed_texts, unpacked_texts

__all__ = ["TermCounter", "TextVectorizer", "VectorizerSpec"]


def _sklearn() -> Any:
    try:
        from sklearn.feature_extraction import text
    except ModuleNotFoundError as error:
        raise needs_extra("the vectorizer of texts", "text", error) from error
    return text


@attrs.frozen(kw_only=True)
class VectorizerSpec:
    """How texts become vectors.

    Attributes
    ----------
    analyzer : str
        ``"word"``, ``"char"`` or ``"char_wb"`` (characters within words).
    ngrams : int
        Sequences of 1 to this number of words, or of 2 to this number of characters.
    min_df : int
        Terms in fewer texts are left out.
    max_features : int, optional
        The most frequent terms that are kept; with ``hashing`` the number of features, by default 2**18.
    hashing : bool
        Whether a term's feature is its hash: nothing is learned from the texts but how rare features are.
    """

    analyzer: str = attrs.field(default="word", validator=specs.one_of("word", "char", "char_wb"))
    ngrams: int = attrs.field(default=1, validator=specs.integer(1, 10))
    min_df: int = attrs.field(default=2, validator=specs.integer(1))
    max_features: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(specs.integer(1, 2**31 - 1))
    )
    hashing: bool = attrs.field(default=False, validator=attrs.validators.instance_of(bool))

    @property
    def n_hashes(self) -> int:
        """The number of features with ``hashing``."""
        return 2**18 if self.max_features is None else self.max_features


#: Ids, and the count of each.
IdCounts = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]


class TextVectorizer:
    """TF-IDF vectors of texts, of length 1: 1 + log(count) times the inverse document frequency.

    Made by :meth:`fit` or :meth:`from_arrays`.

    Examples
    --------
    >>> vectorizer = TextVectorizer.fit(["a grey cat", "a black cat", "a dog"], VectorizerSpec(min_df=1))
    >>> vectorizer.n_features, vectorizer.transform(["the cat and the dog"]).nnz
    (5, 2)
    """

    def __init__(
        self, spec: VectorizerSpec, terms: Sequence[str] | None, idf: npt.NDArray[np.float32]
    ) -> None:
        self.spec, self.terms, self.idf = spec, None if terms is None else list(terms), idf
        self._counter = _counter(spec, self.terms)

    @classmethod
    def fit(cls, texts: Sequence[str], spec: VectorizerSpec | None = None) -> Self:
        """Learn terms, and how rare they are, from texts.

        Raises
        ------
        ArgumentError
            No text has a term that is in ``min_df`` of them.
        LshsampleError
            scikit-learn is not installed.
        """
        spec = VectorizerSpec() if spec is None else spec
        counter = _counter(spec, None)
        try:
            counts = sp.csr_array(counter.fit_transform(texts))
        except ValueError as error:  # of scikit-learn, when no term is left
            wanted = f"texts with terms that are in {spec.min_df} of them"
            raise ArgumentError("texts", f"{len(texts)} texts ({error})", wanted) from error
        terms = None if spec.hashing else counter.get_feature_names_out().tolist()
        frequency = np.bincount(counts.indices, minlength=counts.shape[1])
        return cls(spec, terms, _idf(frequency, counts.shape[0]))

    @classmethod
    def of_frequencies(
        cls, spec: VectorizerSpec, frequencies: Mapping[str, int] | npt.NDArray[np.int64], n_texts: int
    ) -> Self:
        """The vectorizer of texts that were counted by a :class:`TermCounter`: by term, or by hash.

        As :meth:`fit`, except that ``max_features`` keeps the terms that are in the most texts, not those
        that occur most often; of terms in equally many texts, the first in the order of the alphabet.
        """
        if isinstance(frequencies, np.ndarray):
            return cls(spec, None, _idf(frequencies, n_texts))
        terms, counts = _frequent(frequencies, spec.min_df, spec.max_features)
        if not terms:
            wanted = f"texts with terms that are in {spec.min_df} of them"
            raise ArgumentError("texts", f"{n_texts} texts", wanted)
        return cls(spec, terms, _idf(counts, n_texts))

    def extended(self, texts: Sequence[str], n_texts: int) -> Self:
        """With the terms of more texts that it does not know, behind the others, which stay as they are.

        Parameters
        ----------
        texts : sequence of str
            Terms that are in ``min_df`` of them are taken, the most frequent up to ``max_features`` in all.
        n_texts : int
            Texts that it was fitted to or extended by before.

        Returns
        -------
        TextVectorizer
            Itself where there is no new term, as with ``hashing``.
        """
        if self.terms is None:
            return self
        known, found = set(self.terms), TermCounter(self.spec).by_term(texts)
        new = {term: count for term, count in found.items() if term not in known}
        limit = self.spec.max_features
        room = None if limit is None else max(limit - len(known), 0)
        chosen, counts = _frequent(new, self.spec.min_df, room)
        if not chosen:
            return self
        idf = np.concatenate([self.idf, _idf(counts, n_texts + len(texts))])
        return type(self)(self.spec, self.terms + chosen, idf)

    @property
    def n_features(self) -> int:
        """The number of columns."""
        return len(self.idf)

    def transform(self, texts: Sequence[str]) -> sp.csr_array:
        """The vectors of texts.

        Returns
        -------
        csr_array, shape (len(texts), n_features)
            float32; a text without a known term has an empty row.
        """
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise ArgumentError("texts", f"{texts!r:.80}", "a list of texts")
        counts = sp.csr_array(self._counter.transform(texts))
        counts.sort_indices()
        values = (1.0 + np.log(counts.data)) * self.idf[counts.indices]
        lengths = np.diff(counts.indptr)
        row_of = np.repeat(np.arange(len(texts)), lengths)
        norms = np.sqrt(np.bincount(row_of, weights=values**2, minlength=len(texts)))
        values = (values / norms[row_of]).astype(np.float32)
        return sp.csr_array((values, counts.indices.astype(np.int32), counts.indptr), shape=counts.shape)

    def to_arrays(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """Plain data and arrays, that :meth:`from_arrays` takes."""
        terms = {} if self.terms is None else packed_texts(self.terms)
        return specs.to_dict(self.spec), {"idf": self.idf, **{f"terms/{k}": a for k, a in terms.items()}}

    @classmethod
    def from_arrays(cls, spec: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """The vectorizer that :meth:`to_arrays` returned; no code is executed."""
        chosen = specs.from_dict(VectorizerSpec, spec)
        terms = None
        if not chosen.hashing:
            terms = unpacked_texts({key: arrays[f"terms/{key}"] for key in ("bytes", "ends")})
        return cls(chosen, terms, arrays["idf"])

    def __repr__(self) -> str:
        return f"TextVectorizer({self.n_features:,} features, {self.spec})"


class TermCounter:
    """Counts in how many texts terms are; with ``hashing``, their hashes."""

    def __init__(self, spec: VectorizerSpec) -> None:
        self._spec, self._counter = spec, _counter(spec, None)
        self._analyze = self._counter.build_analyzer()

    def __reduce__(self) -> Any:
        return type(self), (self._spec,)

    def __call__(self, texts: Sequence[str]) -> Counter[str] | IdCounts:
        """The number of the texts that have each term, or each hash."""
        return self.by_hash(texts) if self._spec.hashing else self.by_term(texts)

    def by_hash(self, texts: Sequence[str]) -> IdCounts:
        """The hashes of terms that are in the texts, and the number of the texts that have each."""
        counts = np.bincount(self._counter.transform(texts).indices)
        hashes = np.flatnonzero(counts)
        return hashes, counts[hashes]

    def by_term(self, texts: Sequence[str]) -> Counter[str]:
        """The number of the texts that have each term."""
        found: Counter[str] = Counter()
        for text in texts:
            found.update(set(self._analyze(text)))
        return found


def _frequent(
    frequencies: Mapping[str, int], min_df: int, most: int | None
) -> tuple[list[str], npt.NDArray[np.float64]]:
    """The terms in the most texts, at least ``min_df``, in the order of the alphabet, and in how many."""
    kept = [(-count, term) for term, count in frequencies.items() if count >= min_df]
    terms = sorted(term for _, term in sorted(kept)[:most])
    return terms, np.array([frequencies[term] for term in terms], np.float64)


def _idf(frequency: npt.NDArray[Any], n_texts: int) -> npt.NDArray[np.float32]:
    """The inverse document frequencies of terms, of the number of texts that have each."""
    idf: npt.NDArray[Any] = 1.0 + np.log((1.0 + n_texts) / (1.0 + frequency))
    return idf.astype(np.float32)


#: Single characters are words too: in some languages, and C and R.
_WORD = re.compile(r"\w+")
_SPACES = {code: " " for code in range(128) if not _WORD.fullmatch(chr(code))}


def _words(text: str) -> list[str]:
    """The words of a text. Without the regular expression where all is ASCII: in a third of its time."""
    return text.translate(_SPACES).split() if text.isascii() else _WORD.findall(text)


def _counter(spec: VectorizerSpec, terms: Sequence[str] | None) -> Any:
    text = _sklearn()
    first = 1 if spec.analyzer == "word" else min(2, spec.ngrams)
    common: dict[str, Any] = {
        "analyzer": spec.analyzer,
        "ngram_range": (first, spec.ngrams),
        "tokenizer": _words if spec.analyzer == "word" else None,
        "token_pattern": None,
    }
    if spec.hashing:
        return text.HashingVectorizer(n_features=spec.n_hashes, alternate_sign=False, norm=None, **common)
    if terms is not None:
        return text.CountVectorizer(vocabulary=terms, **common)
    return text.CountVectorizer(min_df=spec.min_df, max_features=spec.max_features, **common)
