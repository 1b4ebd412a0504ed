"""The why command: what speaks for the labels that a classifier names for a text or a row."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from lshsample.cli.app import JsonFile, Threads, output, write_json
from lshsample.cli.messages import working
from lshsample.errors import ArgumentError
from lshsample.xc import Classifier
from lshsample.xc import why as reasons_for

__all__ = ["why"]

#: Features and rows that are shown for a label.
_SHOWN = 6


def why(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="Folder of a classifier of texts, of train --save.")
    ],
    text: Annotated[str, typer.Argument(help="The text.")],
    top: Annotated[int, typer.Option(min=1, help="Labels.")] = 5,
    threads: Threads = None,
    json: JsonFile = None,
) -> None:
    """Show why a classifier names its labels for a text: parts, words and similar training rows."""
    with working(f"loading {model}"):
        classifier = Classifier.load(model)
    if classifier.vectorizer is None or classifier.names is None:
        raise ArgumentError("MODEL", model, "a classifier that was trained on texts")
    x = classifier.vectorizer.transform([text])
    found = reasons_for(classifier, x, min(top, classifier.n_labels), threads=threads)
    terms, names = classifier.feature_names, classifier.names.names
    table = Table("label", "%", "parts, %", "words", "training rows (cosine)", box=None, padding=(0, 2, 0, 0))
    table.columns[1].justify = "right"
    rows = []
    for one in found:
        words = [(str(i) if terms is None else terms[i], share) for i, share in one.features]
        speaking = [word for word, share in words if share > 0][:_SHOWN]
        near = [f"{row} ({cosine:.2f})" for _, row, cosine in one.neighbours[:_SHOWN]]
        parts = [f"{name} {100 * value:.0f}" for name, value in one.parts.items() if value >= 0.005]
        cells = (names[one.label], f"{100 * one.probability:.1f}", *map(", ".join, (parts, speaking, near)))
        table.add_row(*map(escape, cells))
        rows.append(
            {
                "label": names[one.label],
                "probability": one.probability,
                "parts": one.parts,
                "words": dict(words),
                "neighbours": [{"part": p, "row": row, "cosine": c} for p, row, c in one.neighbours],
            }
        )
    output.print(table if rows else "no label was found for this text")
    write_json(json, {"labels": rows, "candidates": found[0].candidates if found else 0})
