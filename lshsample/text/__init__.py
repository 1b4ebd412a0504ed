"""Texts with named labels: readers, vectorizers, names of labels."""

from __future__ import annotations

from lshsample.text.names import LabelNames
from lshsample.text.reading import FORMATS, TextRow, detect_text_format, read_texts, read_vocabulary
from lshsample.text.vectorizer import TextVectorizer, VectorizerSpec

__all__ = [
    "FORMATS",
    "LabelNames",
    "TextRow",
    "TextVectorizer",
    "VectorizerSpec",
    "detect_text_format",
    "read_texts",
    "read_vocabulary",
]
