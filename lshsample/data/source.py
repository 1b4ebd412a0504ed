"""Plain and gzip files in blocks of complete lines, with bounded memory."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from io import RawIOBase
from os import PathLike
from pathlib import Path
from typing import BinaryIO

import attrs

from lshsample.errors import DataFormatError

__all__ = ["GZIP_MAGIC", "MAX_LINE", "LineSource", "TextBlock"]

GZIP_MAGIC = b"\x1f\x8b"
#: A longer line (or run of empty lines) is refused, which bounds the memory for any file.
MAX_LINE = 2**28
_MAX_FIRST_LINE = 4096
_CHUNK = 2**20


@attrs.frozen
class TextBlock:
    """Complete lines of a file; ``text`` ends with a line end unless the last line of the file lacks one."""

    text: bytes
    first_line: int


@attrs.define
class LineSource:
    """A text file, plain or gzip (recognised by its first bytes), read once from start to end.

    Parameters
    ----------
    path : str or PathLike
        The file.

    Notes
    -----
    Empty lines at the end of the file are not part of a block. Their number is :attr:`trailing_lines` after
    :meth:`blocks` is exhausted.
    """

    path: str | PathLike[str]
    trailing_lines: int = attrs.field(default=0, init=False)
    _lines_read: int = attrs.field(default=0, init=False)
    _chunks: Iterator[bytes] = attrs.field(init=False)
    _rest: bytes = attrs.field(default=b"", init=False)

    def __attrs_post_init__(self) -> None:
        self._chunks = _read(Path(self.path), self)

    def fail(self, problem: str, line: int | None = None, column: int = 0) -> DataFormatError:
        """An error at a line (by default the one after the last that was read)."""
        return DataFormatError(self.path, self._lines_read + 1 if line is None else line, column, problem)

    def peek_line(self) -> bytes:
        """At most 4096 bytes of the first line, without its end and without taking it."""
        self._fill_first_line()
        return self._rest.partition(b"\n")[0][:_MAX_FIRST_LINE].removesuffix(b"\r")

    def first_line(self) -> bytes:
        """Read the first line, without its line end.

        Raises
        ------
        DataFormatError
            The file is empty, or its first line is longer than 4096 bytes.
        """
        self._fill_first_line()
        line, _, rest = self._rest.partition(b"\n")
        if len(line) > _MAX_FIRST_LINE:
            raise self.fail(f"the first line is longer than {_MAX_FIRST_LINE} bytes: not a header")
        self._rest = rest
        self._lines_read = 1
        return line.removesuffix(b"\r")

    def _fill_first_line(self) -> None:
        while b"\n" not in self._rest[: _MAX_FIRST_LINE + 1] and len(self._rest) <= _MAX_FIRST_LINE:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            self._rest += chunk
        if not self._rest:
            raise self.fail("the file is empty", 0)

    def blocks(self, block_bytes: int) -> Iterator[TextBlock]:
        """Yield the remaining lines in blocks of about ``block_bytes`` bytes, at least one line each."""
        rest = self._rest
        self._rest = b""
        while True:
            parts, size, is_end = [rest], len(rest), False
            while len(parts) == 1 or size < block_bytes:
                chunk = next(self._chunks, None)
                if chunk is None:
                    is_end = True
                    break
                parts.append(chunk)
                size += len(chunk)
            data = b"".join(parts)
            cut = _complete_lines(data, is_end)
            if cut:
                yield self._block(data[:cut])
            rest = data[cut:]
            if is_end:
                self.trailing_lines = rest.count(b"\n")
                return
            if len(rest) > MAX_LINE:
                raise self.fail(f"no sample ends within {MAX_LINE} bytes: not a text file of samples")

    def _block(self, text: bytes) -> TextBlock:
        block = TextBlock(text, self._lines_read + 1)
        self._lines_read += text.count(b"\n")
        return block


def _complete_lines(data: bytes, is_end: bool) -> int:
    """The number of bytes of complete lines, without the empty ones at the end, which may be the last."""
    complete = len(data) if is_end else data.rfind(b"\n") + 1
    end = complete
    while end and data[end - 1] in b"\r\n":
        end -= 1
    if not end:
        return 0
    line_end = data.find(b"\n", end, complete)
    return line_end + 1 if line_end >= 0 else complete


def _read(path: Path, source: LineSource) -> Iterator[bytes]:
    """The file's bytes in pieces of at most 1 MiB, decompressed if it is gzip."""
    with path.open("rb", buffering=0) as file:
        magic = file.read(2)
        file.seek(0)
        if magic == GZIP_MAGIC:
            yield from _gunzip(file, source)
        else:
            while chunk := file.read(_CHUNK):
                yield chunk


def _gunzip(file: RawIOBase | BinaryIO, source: LineSource) -> Iterator[bytes]:
    """All members of a gzip file in pieces of at most 1 MiB; zero bytes after a member are padding."""
    member, is_fresh, total, data = zlib.decompressobj(31), True, 0, b""
    while data := data or file.read(_CHUNK) or b"":
        if is_fresh and total and not (data := data.lstrip(b"\0")):
            continue
        is_fresh = False
        try:
            piece = member.decompress(data, _CHUNK)
        except zlib.error as error:
            raise source.fail(
                f"the gzip stream is damaged after {total} decompressed bytes ({error})", 0
            ) from error
        data, total = member.unconsumed_tail, total + len(piece)
        yield piece
        if member.eof:
            data, member, is_fresh = member.unused_data, zlib.decompressobj(31), True
    if not is_fresh:
        yield member.flush()
        if not member.eof:
            raise source.fail(f"the gzip stream is truncated after {total} decompressed bytes", 0)
