"""Files, pipes and standard input, plain or compressed, in blocks of complete lines, with bounded memory."""

from __future__ import annotations

import bz2
import io
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import chain
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Protocol

import attrs

from lshsample.errors import DataFormatError

__all__ = ["MAX_LINE", "STDIN", "LineSource", "TextBlock", "file_of"]

#: The path that stands for standard input.
STDIN = "-"
#: A longer line (or run of empty lines) is refused, which bounds the memory for any file.
MAX_LINE = 2**28
_MAX_FIRST_LINE = 4096
_CHUNK = 2**20
#: Memory that an xz file may ask for, four times that of its highest level.
_XZ_MEMORY = 2**28


class _Decompressor(Protocol):
    """One member of a compressed file, as in ``bz2``, ``lzma`` and ``compression.zstd``."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Gunzip:
    """A gzip member with the methods that the other decompressors of the standard library have."""

    def __init__(self) -> None:
        self._stream, self._tail = zlib.decompressobj(31), b""
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        piece = self._stream.decompress(self._tail + data, max_length)
        self._tail = self._stream.unconsumed_tail
        self.needs_input = not self._tail and len(piece) < max_length
        return piece


def _unxz() -> _Decompressor:
    return lzma.LZMADecompressor(memlimit=_XZ_MEMORY)


def _unzstd() -> _Decompressor:
    for module in ("compression.zstd", "backports.zstd"):  # the former from Python 3.14 on
        try:
            made: _Decompressor = import_module(module).ZstdDecompressor()
        except ImportError:
            continue
        return made
    raise ImportError(
        "zstd files need Python 3.14 or the package backports.zstd: pip install 'lshsample[zstd]'"
    )


#: By the first bytes of a file: the name of its compression, and what decompresses a member.
_COMPRESSIONS: dict[bytes, tuple[str, Callable[[], _Decompressor]]] = {
    b"\x1f\x8b": ("gzip", _Gunzip),
    b"BZh": ("bzip2", bz2.BZ2Decompressor),
    b"\xfd7zXZ\0": ("xz", _unxz),
    b"\x28\xb5\x2f\xfd": ("zstd", _unzstd),
}


@attrs.frozen
class TextBlock:
    """Complete lines of a file; ``text`` ends with a line end unless the last line of the file lacks one."""

    text: bytes
    first_line: int


@attrs.define
class LineSource:
    """A text file, read once from start to end; compression is recognised by its first bytes.

    Parameters
    ----------
    path : str or PathLike
        The file, a pipe, or ``"-"`` for standard input.

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
        self._chunks = self._read()

    def fail(self, problem: str, line: int | None = None, column: int = 0) -> DataFormatError:
        """An error at a line (by default the one after the last that was read)."""
        return DataFormatError(self.path, self._lines_read + 1 if line is None else line, column, problem)

    def peek(self, size: int) -> bytes:
        """The first ``size`` bytes, without taking them; fewer if there are no more.

        Raises
        ------
        DataFormatError
            The file is empty.
        """
        self._fill(lambda: len(self._rest) >= size)
        return self._rest[:size]

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
        self._fill(lambda: len(self._rest) > _MAX_FIRST_LINE or b"\n" in self._rest[: _MAX_FIRST_LINE + 1])

    def _fill(self, is_enough: Callable[[], bool]) -> None:
        while not is_enough():
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            self._rest += chunk
        if not self._rest:
            raise self.fail("the file is empty", 0)

    def as_file(self) -> io.BufferedReader:
        """The remaining bytes as a file object without seeking."""
        pieces = chain([self._rest], self._chunks)
        self._rest = b""
        return file_of(pieces)

    def blocks(self, block_bytes: int) -> Iterator[TextBlock]:
        """Yield the remaining lines in blocks of about ``block_bytes`` bytes, at least one line each.

        Every byte is looked at and copied a constant number of times, however long lines and runs of empty
        lines are.
        """
        complete: list[memoryview] = []  # up to the end of the last line that is not empty,
        held: list[memoryview] = []  # and what comes after it: empty lines, and the beginning of another
        n_complete = n_held = 0
        is_open = False  # whether a line has begun in what is held
        for chunk in chain([self._rest] if self._rest else [], self._chunks):
            self._rest = b""
            cut, view = _last_end(chunk, is_open), memoryview(chunk)
            if cut:
                complete += [*held, view[:cut]]
                n_complete += n_held + cut
                held, n_held, is_open = [], 0, False
            held.append(view[cut:])
            n_held += len(held[-1])
            is_open = is_open or bool(chunk[cut:].strip(b"\r\n"))
            if n_complete >= block_bytes:
                yield self._block(b"".join(complete))
                complete, n_complete = [], 0
            if n_held > MAX_LINE:
                line = self._lines_read + b"".join(complete).count(b"\n") + 1
                problem = f"no sample ends within {MAX_LINE} bytes: not a text file of samples"
                raise self.fail(problem, line)
        rest = b"".join(held)
        cut = len(rest.rstrip(b"\r\n"))
        if cut:
            end = rest.find(b"\n", cut)
            cut = len(rest) if end < 0 else end + 1
            complete.append(memoryview(rest)[:cut])
        if complete:
            yield self._block(b"".join(complete))
        self.trailing_lines = rest.count(b"\n", cut)

    def _block(self, text: bytes) -> TextBlock:
        block = TextBlock(text, self._lines_read + 1)
        self._lines_read += text.count(b"\n")
        return block

    def _read(self) -> Iterator[bytes]:
        """The bytes in pieces of at most 1 MiB, decompressed."""
        raw = _raw(self.path)
        head = b""
        while len(head) < max(map(len, _COMPRESSIONS)) and (piece := next(raw, b"")):
            head += piece
        whole = chain([head] if head else [], raw)
        for magic, (name, make) in _COMPRESSIONS.items():
            if head.startswith(magic):
                return (yield from self._decompressed(whole, name, make))
        yield from whole

    def _decompressed(
        self, raw: Iterator[bytes], name: str, make: Callable[[], _Decompressor]
    ) -> Iterator[bytes]:
        """All members of a compressed file in pieces of at most 1 MiB; zero bytes after one are padding."""
        try:
            member = make()
        except ImportError as error:
            raise self.fail(str(error), 0) from error
        is_fresh, total, data = True, 0, b""
        while data or not (is_fresh or member.needs_input) or (data := next(raw, b"")):
            if is_fresh and total and not (data := data.lstrip(b"\0")):
                continue
            is_fresh = False
            try:
                piece = member.decompress(data, _CHUNK)
            except MemoryError:
                raise
            except Exception as error:  # each library has its own
                problem = f"the {name} stream is damaged after {total} decompressed bytes ({error})"
                raise self.fail(problem, 0) from error
            data, total = b"", total + len(piece)
            if piece:
                yield piece
            if member.eof:
                data, member, is_fresh = member.unused_data, make(), True
        if not is_fresh:
            raise self.fail(f"the {name} stream is truncated after {total} decompressed bytes", 0)


def file_of(pieces: Iterator[bytes]) -> io.BufferedReader:
    """An iterator of bytes as a file object without seeking."""
    return io.BufferedReader(_Pieces(pieces))


class _Pieces(io.RawIOBase):
    """An iterator of bytes as a file, before it is buffered."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._left = pieces, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._left = memoryview(piece)
        target = memoryview(buffer)
        n = min(len(target), len(self._left))
        target[:n], self._left = self._left[:n], self._left[n:]
        return n


def _last_end(chunk: bytes, is_open: bool) -> int:
    """The end in a chunk of the last line that is complete and not empty; 0 if there is none.

    ``is_open`` says whether a line has begun before the chunk.
    """
    complete = chunk.rfind(b"\n") + 1
    # Nearly always the last few bytes have the answer, without a copy of the chunk.
    begin = max(0, complete - 64)
    few = chunk[begin:complete].rstrip(b"\r\n")
    last = begin + len(few) if few else len(chunk[:begin].rstrip(b"\r\n"))
    if not (last or (is_open and complete)):
        return 0
    return chunk.find(b"\n", last) + 1


def _raw(path: str | PathLike[str]) -> Iterator[bytes]:
    """The bytes of a file, a pipe or standard input, in pieces of at most 1 MiB."""
    if fspath(path) == STDIN:
        stream: Any = sys.stdin.buffer
        while chunk := stream.read1(_CHUNK):
            yield chunk
        return
    with Path(path).open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK) or b"":
            yield chunk
