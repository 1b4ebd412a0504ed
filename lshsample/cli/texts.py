"""Texts as data of commands: rows by a vectorizer, labels by their names."""

from __future__ import annotations

from pathlib import Path

from lshsample.cli.messages import say, working
from lshsample.cli.reading import ReadOptions
from lshsample.data import Dataset
from lshsample.errors import ArgumentError
from lshsample.text import LabelNames, TextRow, TextVectorizer, VectorizerSpec, read_vocabulary

__all__ = ["fitted_texts", "named_dataset", "read_all"]


def read_all(path: Path, reading: ReadOptions) -> list[TextRow] | None:
    """All texts of a file; None if it holds rows of features."""
    rows = reading.texts(path)
    if rows is None:
        return None
    with working(f"reading {path}"):
        return list(rows)


def fitted_texts(
    rows: list[TextRow], spec: VectorizerSpec, vocabulary: Path | None
) -> tuple[Dataset, TextVectorizer, LabelNames]:
    """Training data of texts, with what made them; names are those of a vocabulary, or those that occur."""
    names = LabelNames.of(row.labels for row in rows) if vocabulary is None else read_vocabulary(vocabulary)
    if not len(names):
        raise ArgumentError("TRAIN", "no label of any text", "texts with labels")
    with working("making rows of texts"):
        vectorizer = TextVectorizer.fit([row.text for row in rows], spec)
        return named_dataset(rows, vectorizer, names), vectorizer, names


def named_dataset(rows: list[TextRow], vectorizer: TextVectorizer, names: LabelNames) -> Dataset:
    """Rows of texts, with those of their labels that are known."""
    unknown = {one for row in rows for one in row.labels if names.id_of(one) is None}
    if unknown:
        say(
            f"note: {len(unknown):,} labels that the model does not have are left out, {min(unknown)!r} first"
        )
    labels = names.matrix([row.labels for row in rows])
    return Dataset.of(vectorizer.transform([row.text for row in rows]), labels)
