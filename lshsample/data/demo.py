"""Real text data without a download: the ICD-10-CM classification, from the package simple-icd-10-cm.

The task: given a diagnosis as text (the description of a code, or one of its inclusion terms), predict the
headings of the classification above it, from the chapter down: many thousand labels, several for each text.
The texts are a work of the United States' government in the public domain (CMS and NCHS); the package is
under the MIT licence.
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Sequence
from typing import Any

import attrs

from lshsample.data.dataset import Dataset
from lshsample.data.tfidf import Tfidf, words_of
from lshsample.errors import ArgumentError, needs_extra

__all__ = ["Demo", "load_demo"]

#: Codes that share this many first characters are in the same set, training or test.
_GROUP = 7


@attrs.frozen(eq=False)
class Demo:
    """The demo's data.

    Attributes
    ----------
    train, test : Dataset
        Texts as tf-idf rows, headings as labels.
    label_names : tuple of str
        Each label in words: code and description.
    train_texts, test_texts : tuple of str
        The text of each row.
    vectorizer : Tfidf
        Converts texts to rows; fitted on the training texts alone.
    """

    train: Dataset
    test: Dataset
    label_names: tuple[str, ...]
    train_texts: tuple[str, ...]
    test_texts: tuple[str, ...]
    vectorizer: Tfidf


def load_demo(test_percent: int = 10, seed: int = 0) -> Demo:
    """The demo's data, built from the installed package in a few seconds; nothing is written.

    Codes are held out by their first seven characters, so that no variant of a test code is in the training
    set. Texts of the training set are removed from the test set (texts are compared word by word, ignoring
    case and punctuation). A text of several codes is one row with the labels of all of them.

    Parameters
    ----------
    test_percent : int
        Percentage of groups of codes to hold out, 1 to 50.
    seed : int
        Determines the split.

    Returns
    -------
    Demo

    Raises
    ------
    UnsupportedError
        simple-icd-10-cm is not installed.
    ArgumentError
        ``test_percent`` is out of range.

    Notes
    -----
    Codes of seven characters with an encounter extension ("initial encounter", "sequela") are left out:
    their texts repeat those of their parents. The labels of a text are the chapter, block, category and
    subcategories above its code, and the code itself if it has subcodes.
    """
    if isinstance(test_percent, bool) or not isinstance(test_percent, int) or not 1 <= test_percent <= 50:
        raise ArgumentError("test_percent", repr(test_percent), "an integer from 1 to 50")
    icd = _package()
    # A block with one category has the same code as the category: both are one label.
    codes = [code for code in dict.fromkeys(icd.get_all_codes()) if not icd.is_extended_subcategory(code)]
    headings = {heading for code in codes for heading in icd.get_ancestors(code)}
    names = [code for code in codes if code in headings]
    label_of = {code: label for label, code in enumerate(names)}
    train: dict[str, _Row] = {}
    test: dict[str, _Row] = {}
    for code in codes:
        if not icd.is_category_or_subcategory(code):
            continue
        labels = {label_of[heading] for heading in (code, *icd.get_ancestors(code)) if heading in label_of}
        is_test = zlib.crc32(f"{seed} {code[:_GROUP]}".encode()) % 100 < test_percent
        for text in (icd.get_description(code), *icd.get_inclusion_term(code), *icd.get_includes(code)):
            row = (test if is_test else train).setdefault(" ".join(words_of(text)), _Row(text, set()))
            row.labels.update(labels)
    held_out = [row for words, row in test.items() if words not in train]
    label_names = tuple(f"{code} {icd.get_description(code)}" for code in names)
    return _build(list(train.values()), held_out, label_names)


@attrs.frozen
class _Row:
    """A text and the labels of all its codes."""

    text: str
    labels: set[int]


def _package() -> Any:
    try:
        with warnings.catch_warnings():
            # The package reads its files through a function that is deprecated in Python 3.11 and 3.12.
            warnings.simplefilter("ignore", DeprecationWarning)
            import simple_icd_10_cm
    except ImportError as error:
        raise needs_extra("the demo, whose texts are in a package,", "demo", error) from error
    return simple_icd_10_cm


def _build(train: Sequence[_Row], test: Sequence[_Row], label_names: tuple[str, ...]) -> Demo:
    """The demo of texts and their sets of labels."""
    train_texts, test_texts = tuple(row.text for row in train), tuple(row.text for row in test)
    vectorizer = Tfidf.fit(train_texts)
    sides = [
        Dataset.of(vectorizer.transform(texts), [row.labels for row in rows], len(label_names))
        for texts, rows in ((train_texts, train), (test_texts, test))
    ]
    return Demo(sides[0], sides[1], label_names, train_texts, test_texts, vectorizer)
