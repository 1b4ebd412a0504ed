"""Rows of the train command that need not fit into memory."""

from __future__ import annotations

from pathlib import Path

from lshsample.cli.messages import say, working
from lshsample.cli.reading import ReadOptions
from lshsample.cli.training_run import STREAMED
from lshsample.errors import ArgumentError
from lshsample.nn.bundle import kind_of
from lshsample.streams import RowFiles, StreamedRows
from lshsample.text import read_vocabulary
from lshsample.xc import Recipe

__all__ = ["streamed_rows"]

#: The options of reading that files of rows take.
_READ = ("text_format", "text_column", "label_column", "label_separator", "trust_rows")


def streamed_rows(
    path: Path,
    reading: ReadOptions,
    recipe: Recipe,
    vocabulary: Path | None,
    parsers: int,
    checkpoint: Path | None,
) -> StreamedRows:
    """The rows of files, after a pass over them, or as an interrupted run has found them."""
    recipe.check_stream()
    for name, value in reading.given().items():
        if name not in _READ:
            raise ArgumentError(f"--{name.replace('_', '-')}", value, "used without --stream")
    files = RowFiles(
        paths=path,
        form=reading.text_format,
        text=reading.text_column or "text",
        labels=reading.label_column or "labels",
        separator=reading.label_separator or ";",
        trust_rows=reading.trust_rows,
    )
    say(f"files     {len(files.files):,}, {files.size:,} bytes")
    found = None if checkpoint is None else checkpoint / STREAMED
    if found is not None and kind_of(found) is not None:
        return StreamedRows.load(found, files)
    names = None if vocabulary is None else read_vocabulary(vocabulary)
    with working("reading all rows once") as progress:
        rows = StreamedRows.scan(
            files,
            recipe.text,
            names=names,
            holdout=recipe.holdout,
            seed=recipe.seed,
            parsers=parsers,
            progress=lambda _, done, total: progress(done, total),
        )
    if rows.unknown is not None:
        count, first = rows.unknown
        say(f"note: {count:,} labels that the vocabulary does not have are left out, {first!r} first")
    return rows
