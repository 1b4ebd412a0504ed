"""Files of rows that are read in blocks of lines, which are the same however often they are read."""

from __future__ import annotations

import glob
import io
import re
from collections.abc import Iterable, Iterator
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import attrs

from lshsample.data.source import MAX_LINE, LineSource, TextBlock
from lshsample.data.xc import Header, is_xc_header, read_header
from lshsample.errors import ArgumentError, DataFormatError, did_you_mean
from lshsample.files import as_path
from lshsample.text import FORMATS, detect_text_format

__all__ = ["BLOCK_BYTES", "STREAM_FORMATS", "Block", "RowFile", "RowFiles"]

#: The formats of files that can be streamed: those of texts with a row a line, and that of the XC repository.
STREAM_FORMATS = (*(form for form in FORMATS if form != "folder"), "xc")
#: Bytes of a block, before its last line is completed: what a parser takes at once.
BLOCK_BYTES = 2**20
#: What is read of a folder.
_SUFFIXES = re.compile(r"\.(jsonl|json|tsv|csv|txt)(\.(gz|bz2|xz|zst))?$", re.IGNORECASE)


@attrs.frozen
class Block:
    """Complete lines of a file, as a :class:`~lshsample.text.reading.Lines`.

    Attributes
    ----------
    path : str
        The file.
    form : str
        Its format.
    head : bytes
        The first line of a table, which names the columns; else empty.
    text : bytes
        The lines.
    first_line : int
        The number of the first of them.
    """

    path: str
    form: str
    head: bytes
    text: bytes
    first_line: int

    def blocks(self, _: int) -> Iterator[TextBlock]:
        """The lines, those of a table after its head."""
        if self.head:
            yield TextBlock(self.head, 1)
        yield TextBlock(self.text, self.first_line)

    def fail(self, problem: str, line: int | None = None, column: int = 0) -> DataFormatError:
        """An error at a line."""
        return DataFormatError(self.path, self.first_line if line is None else line, column, problem)


@attrs.frozen
class RowFile:
    """A file of rows.

    Attributes
    ----------
    path : Path
    form : str
        One of :data:`STREAM_FORMATS`.
    size : int
        Its bytes.
    header : Header, optional
        The first line of a file in the format of the XC repository.
    """

    path: Path
    form: str
    size: int
    header: Header | None = None

    @classmethod
    def of(cls, path: Path, form: str | None) -> RowFile:
        """A file, in a format that is recognised by its first line unless it is given."""
        chosen = form or _form_of(path)
        header = read_header(LineSource(path)) if chosen == "xc" else None
        return cls(path, chosen, path.stat().st_size, header)

    def content(self) -> io.BufferedReader:
        """An open file of the lines, decompressed, without the first line of the format of the XC repository.

        Raises
        ------
        DataFormatError
            That first line is wrong; while it is read: damaged or truncated compression.
        """
        source = LineSource(self.path)
        if self.header is not None:
            read_header(source)
        return source.as_file()

    def blocks(self) -> Iterator[Block]:
        """The lines in blocks, which are a function of the decompressed content alone.

        Raises
        ------
        DataFormatError
            A line of more than 256 MiB; damaged or truncated compression.
        """
        file, path, head = self.content(), fspath(self.path), b""
        line = 1 if self.header is None else 2
        if self.form in ("tsv", "csv"):
            head, line = file.readline(MAX_LINE), 2
        while text := file.read(BLOCK_BYTES):
            if not text.endswith(b"\n"):
                text += file.readline(MAX_LINE)
                if len(text) >= MAX_LINE:
                    problem = f"a line of more than {MAX_LINE} bytes: not a text file of rows"
                    raise DataFormatError(self.path, line + text.count(b"\n"), 0, problem)
            if self.header is not None and not file.peek(1):
                text = text.rstrip(b"\r\n") + b"\n"  # empty lines at the end are no rows
            yield Block(path, self.form, head, text, line)
            line += text.count(b"\n")


def _files(value: Any) -> tuple[Path | RowFile, ...]:
    """The files of a path, a folder, a pattern, or of several of them, sorted."""
    if isinstance(value, RowFile):
        return (value,)
    if isinstance(value, str | PathLike):
        return tuple(_found(as_path(value)))
    if not isinstance(value, Iterable):
        raise ArgumentError("paths", repr(value), "a path, or a sequence of paths")
    return tuple(file for one in value for file in _files(one))


def _found(path: Path) -> list[Path]:
    if path.is_dir():
        found = [one for one in path.rglob("*") if one.is_file() and _SUFFIXES.search(one.name)]
        wanted = "a folder with files .jsonl, .tsv, .csv or .txt, plain or compressed"
    elif path.is_file():
        return [path]
    else:
        found = [Path(one) for one in glob.glob(fspath(path), recursive=True)]
        found = [one for one in found if one.is_file()]
        wanted = "a file, a folder, or a pattern of files"
    if not found:
        raise ArgumentError("paths", path, wanted)
    return sorted(found)


@attrs.frozen(kw_only=True)
class RowFiles:
    r"""Files of rows, all of texts or all of features, in their order.

    Parameters
    ----------
    paths : path, RowFile, or sequence of them
        Files, folders (their files ``.jsonl``, ``.tsv``, ``.csv`` and ``.txt``, also in folders below) and
        patterns such as ``"rows/*.jsonl.gz"``. Compression (gzip, bzip2, xz, zstd) is recognised. A
        :class:`RowFile` is taken as it is.
    form : str, optional
        One of :data:`STREAM_FORMATS`; by default recognised by the first line of each file, as
        :func:`~lshsample.text.detect_text_format` does. A cell of a table must not contain line ends.
    text, labels, separator : str
        As for :func:`~lshsample.text.read_texts`.
    trust_rows : bool
        Read all rows of a file in the format of the XC repository, whatever number its header states.

    Attributes
    ----------
    files : tuple of RowFile
        The files that were found.

    Raises
    ------
    ArgumentError
        There is no such file, a file twice, texts beside features, or files of other numbers of features or
        labels.
    DataFormatError
        A first line that does not follow its format, or an empty file.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> for name in "ab":
    ...     _ = (folder / f"{name}.jsonl").write_text('{"text": "a cat", "labels": ["cats"]}\n')
    >>> [file.path.name for file in RowFiles(paths=folder).files]
    ['a.jsonl', 'b.jsonl']
    """

    paths: tuple[Path | RowFile, ...] = attrs.field(converter=_files)
    form: str | None = None
    text: str = "text"
    labels: str = "labels"
    separator: str = ";"
    trust_rows: bool = False
    files: tuple[RowFile, ...] = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if self.form is not None and self.form not in STREAM_FORMATS:
            wanted = f"one of {', '.join(STREAM_FORMATS)}{did_you_mean(self.form, STREAM_FORMATS)}"
            raise ArgumentError("form", repr(self.form), wanted)
        if not self.paths:
            raise ArgumentError("paths", "nothing", "at least one file")
        seen: set[Path] = set()
        for path in (one.path if isinstance(one, RowFile) else one for one in self.paths):
            if path.resolve() in seen:
                raise ArgumentError("paths", f"{path} twice", "each file once")
            seen.add(path.resolve())
        files = tuple(one if isinstance(one, RowFile) else RowFile.of(one, self.form) for one in self.paths)
        first = files[0]
        for file in files:
            if (file.form == "xc") != (first.form == "xc"):
                given = f"{first.path} ({first.form}) and {file.path} ({file.form})"
                raise ArgumentError("paths", given, "files of texts alone, or of features alone")
            if file.header is not None and first.header is not None:
                for name in ("n_features", "n_labels"):
                    known, found = getattr(first.header, name), getattr(file.header, name)
                    if found != known:
                        given = f"{file.path}, whose header says {found}"
                        raise ArgumentError(name, given, f"{known}, as {first.path} says")
        object.__setattr__(self, "files", files)

    @property
    def size(self) -> int:
        """Bytes of all files, compressed as they are."""
        return sum(file.size for file in self.files)

    @property
    def header(self) -> Header | None:
        """The first header of files in the format of the XC repository; None for texts."""
        return self.files[0].header


def _form_of(path: Path) -> str:
    form = detect_text_format(path)
    if form is None and is_xc_header(LineSource(path).peek_line()):
        form = "xc"
    if form is None:
        raise ArgumentError(
            "form", f"a format that is not recognised, of {path}", f"one of {', '.join(STREAM_FORMATS)}"
        )
    return form
