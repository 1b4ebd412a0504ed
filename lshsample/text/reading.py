"""Readers of texts with labels: JSON lines, tables, fastText, and the forms of Annif."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import attrs

from lshsample.data.source import STDIN, LineSource, TextBlock
from lshsample.errors import ArgumentError, DataFormatError, did_you_mean
from lshsample.files import as_path
from lshsample.text.names import LabelNames

__all__ = [
    "FORMATS",
    "Lines",
    "TextRow",
    "detect_text_format",
    "read_texts",
    "read_vocabulary",
    "rows_of_lines",
]

#: The formats of texts with labels.
FORMATS = ("jsonl", "tsv", "csv", "fasttext", "annif", "folder")
_BLOCK = 2**20
_PREFIX = "__label__"
_URI = re.compile(r"<([^<>]*)>")


@attrs.frozen
class TextRow:
    """A text and the names, or identifiers, of its labels."""

    text: str
    labels: tuple[str, ...]


class Lines(Protocol):
    """Lines to read rows from: a :class:`~lshsample.data.source.LineSource`, or a part of one."""

    def blocks(self, block_bytes: int) -> Iterator[TextBlock]:
        """The lines, in blocks of complete ones."""
        ...

    def fail(self, problem: str, line: int | None = None, column: int = 0) -> DataFormatError:
        """An error at a line."""
        ...


def detect_text_format(path: str | PathLike[str]) -> str | None:
    """The format of a file of texts by its name and its first line; None if it is none of :data:`FORMATS`.

    ``folder`` for a folder; ``jsonl`` if the line begins with ``{``; ``fasttext`` if it begins with
    ``__label__``; ``annif`` if it has a tab that ``<`` follows; ``tsv`` and ``csv`` by the name.
    """
    file = as_path(path)
    if file.is_dir():
        return "folder"
    if str(file) == STDIN or not file.is_file():
        return None
    return _form_of(file, LineSource(file))


def read_vocabulary(path: str | PathLike[str]) -> LabelNames:
    """Names and identifiers of labels: a line of each, ``<identifier>``, a tab, the name (Annif's form).

    Raises
    ------
    DataFormatError
        A line that does not follow the format, or that names a label again; the error names it.
    """
    source, names, uris = LineSource(as_path(path)), dict[str, int](), dict[str, int]()
    for number, line in _lines(source):
        found = re.match(r"\s*<([^<>\t]+)>\t([^\t]+)", line)
        if not found:
            raise source.fail("<identifier>, a tab and a name are expected", number)
        for what, known, given in (("identifier", uris, found[1]), ("name", names, found[2].strip())):
            if given in known:
                raise source.fail(f"the {what} {given!r:.80} is that of line {known[given]} too", number)
            known[given] = number
    return LabelNames(names, uris)


def _form_of(file: Path, source: LineSource) -> str | None:
    line = source.peek_line()
    if line.startswith(b"{"):
        return "jsonl"
    if line.startswith(_PREFIX.encode()):
        return "fasttext"
    if re.search(rb"\t\s*<", line):
        return "annif"
    suffixes = [suffix.lower() for suffix in file.suffixes]
    return next((name for name in ("tsv", "csv") if f".{name}" in suffixes), None)


def read_texts(
    path: str | PathLike[str],
    *,
    form: str | None = None,
    text: str = "text",
    labels: str = "labels",
    separator: str = ";",
) -> Iterator[TextRow]:
    r"""Texts with their labels, one after the other.

    Parameters
    ----------
    path : path
        A file, plain or compressed; ``"-"`` for standard input; or a folder.
    form : str, optional
        One of :data:`FORMATS`, by default as :func:`detect_text_format` says, and ``"jsonl"`` for standard
        input. ``jsonl``: an object a line, with the text and a list of labels. ``tsv`` and ``csv``: columns,
        named by the first line, with the text and the labels, which ``separator`` separates. ``fasttext``:
        ``__label__NAME`` before the text. ``annif``: the text, a tab, and identifiers in angle brackets.
        ``folder``: files ``NAME.txt``, with labels in ``NAME.tsv`` (identifiers in angle brackets) or
        ``NAME.key`` (a name a line).
    text, labels : str
        The keys or columns; labels may be absent.
    separator : str
        Between the labels of a table's cell.

    Yields
    ------
    TextRow

    Raises
    ------
    ArgumentError
        An unknown format, or one that cannot be recognised.
    DataFormatError
        A line that does not follow the format; the error names the file and the line.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "texts.jsonl"
    >>> _ = file.write_text('{"text": "a grey cat", "labels": ["cats"]}\n')
    >>> list(read_texts(file))
    [TextRow(text='a grey cat', labels=('cats',))]
    """
    if form is not None and form not in FORMATS:
        wanted = f"one of {', '.join(FORMATS)}{did_you_mean(form, FORMATS)}"
        raise ArgumentError("form", repr(form), wanted)
    file = as_path(path)
    if file.is_dir():
        return _folder(file)
    source = LineSource(file)
    chosen = form or ("jsonl" if str(file) == STDIN else _form_of(file, source))
    if chosen is None:
        raise ArgumentError(
            "form", f"a format that is not recognised, of {file}", f"one of {', '.join(FORMATS)}"
        )
    return rows_of_lines(source, chosen, text, labels, separator)


def rows_of_lines(source: Lines, form: str, text: str, labels: str, separator: str) -> Iterator[TextRow]:
    """The rows of lines in a format that is known, of those but ``folder``; see :func:`read_texts`."""
    if form in ("tsv", "csv"):
        return _table(source, "\t" if form == "tsv" else ",", text, labels, separator)
    if form == "jsonl":
        return _json_lines(source, text, labels)
    return (_fasttext if form == "fasttext" else _annif)(source)


def _lines(source: Lines) -> Iterator[tuple[int, str]]:
    """The lines that are not empty, with their numbers."""
    for block in source.blocks(_BLOCK):
        for offset, line in enumerate(block.text.split(b"\n")):
            number = block.first_line + offset
            if line.strip():
                try:
                    yield number, line.rstrip(b"\r").decode()
                except UnicodeDecodeError as error:
                    raise source.fail("the line is not UTF-8", number, error.start + 1) from None


def _json_lines(source: Lines, text: str, labels: str) -> Iterator[TextRow]:
    for number, line in _lines(source):
        try:
            data = json.loads(line)
        except (ValueError, RecursionError) as error:
            column = getattr(error, "colno", 0)
            raise source.fail("not a JSON object", number, column) from None
        if not isinstance(data, dict):
            raise source.fail(f"a JSON object is expected, not {data!r:.40}", number)
        if not isinstance(data.get(text), str):
            raise source.fail(f"the key {text!r} must be a text, not {data.get(text)!r:.40}", number)
        named = data.get(labels, [])
        if not isinstance(named, list) or not all(isinstance(one, str) for one in named):
            raise source.fail(f"the key {labels!r} must be a list of names, not {named!r:.40}", number)
        yield TextRow(data[text], tuple(named))


def _table(source: Lines, delimiter: str, text: str, labels: str, separator: str) -> Iterator[TextRow]:
    number = 0

    def lines() -> Iterator[str]:
        nonlocal number
        for number, line in _lines(source):  # noqa: B007 - the number is told in errors
            yield line + "\n"

    rows = csv.reader(lines(), delimiter=delimiter, strict=True)
    try:
        header = next(rows, [])
        if text not in header:
            columns = ", ".join(map(repr, header))
            raise source.fail(f"there is no column {text!r}: the columns are {columns:.200}", 1)
        of_text, of_labels = header.index(text), header.index(labels) if labels in header else None
        for row in rows:
            if len(row) != len(header):
                raise source.fail(f"{len(row)} columns, the first line has {len(header)}", number)
            cell = "" if of_labels is None else row[of_labels]
            named = tuple(name.strip() for name in cell.split(separator) if name.strip())
            yield TextRow(row[of_text], named)
    except csv.Error as error:
        raise source.fail(str(error), number) from None


def _fasttext(source: Lines) -> Iterator[TextRow]:
    for _, line in _lines(source):
        words = line.split()
        count = next((i for i, word in enumerate(words) if not word.startswith(_PREFIX)), len(words))
        named = tuple(word.removeprefix(_PREFIX) for word in words[:count])
        yield TextRow(" ".join(words[count:]), named)


def _annif(source: Lines) -> Iterator[TextRow]:
    for _, line in _lines(source):
        text, _, subjects = line.partition("\t")
        yield TextRow(text, tuple(_URI.findall(subjects)))


def _folder(folder: Path) -> Iterator[TextRow]:
    files = sorted(folder.glob("*.txt"))
    if not files:
        raise ArgumentError("path", folder, "a folder with .txt files")

    def rows() -> Iterator[TextRow]:
        for file in files:
            yield TextRow(_content(file), _subjects(file))

    return rows()


def _content(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataFormatError(file, 0, 0, "the file is not UTF-8") from error


def _subjects(file: Path) -> tuple[Any, ...]:
    table, keys = file.with_suffix(".tsv"), file.with_suffix(".key")
    if table.exists():
        return tuple(_URI.findall(_content(table)))
    if keys.exists():
        return tuple(line.strip() for line in _content(keys).splitlines() if line.strip())
    return ()
