"""Codes of families in other processes, to find functions that depend on more than their spec.

A process that has imported the libraries, but no plugin, waits for requests, and answers each in a copy of
itself (``os.fork``). So a request takes a hundredth of a second, and finds no state of earlier ones.
"""

from __future__ import annotations

import atexit
import datetime
import functools
import importlib
import importlib.util
import locale
import os
import pickle
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, Any
from unittest import SkipTest

import attrs
import numpy as np
import numpy.typing as npt

from lshsample.errors import ArgumentError
from lshsample.family import Codes, HashFamily

__all__ = ["PLACES", "codes_elsewhere", "serve"]

#: Processes by what is different in them.
PLACES = ("hash seed 1", "hash seed 2", "surroundings")

_LENGTH = struct.Struct("<q")
_SERVE = """
import sys
sys.path[:] = sys.argv[2:]
from lshsample.testing.other_process import serve
serve(sys.argv[1])
"""


@attrs.frozen
class _Request:
    path: list[str]
    module: str
    file: str | None
    #: The pickled class, specs and rows.
    work: bytes


def codes_elsewhere(
    families: Sequence[HashFamily], rows: Sequence[npt.NDArray[np.float32]]
) -> dict[str, list[Codes]]:
    """The codes of rows by families of the same class and specs, in each of :data:`PLACES`.

    Raises
    ------
    SkipTest
        The class cannot be imported there: it was defined in a session or in a function.
    AssertionError
        It raises an error, or ends the process.
    """
    cls = type(families[0])
    try:
        work = pickle.dumps((cls, [family.spec for family in families], list(rows)))
    except Exception as error:
        raise SkipTest(f"{cls.__name__} cannot be sent to another process: {error}") from None
    if cls.__module__ == "__main__":
        raise SkipTest(f"{cls.__name__} is defined in __main__, which another process cannot import")
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    request = pickle.dumps(_Request(_path(), cls.__module__, file, work))
    for place in PLACES:
        _write(_process(place).stdin, request)
    answers = {place: _read(_process(place).stdout) for place in PLACES}
    codes = {}
    for place, answer in answers.items():
        assert answer, f"hashing in another process ({place}) ends that process"
        kind, value = pickle.loads(answer)
        if kind == "absent":
            raise SkipTest(f"{cls.__name__} cannot be made in another process: {value}")
        assert kind == "codes", f"another process ({place}) raises {value}"
        codes[place] = value
    return codes


def _path() -> list[str]:
    return [os.path.abspath(entry) for entry in sys.path]


@functools.cache
def _process(place: str) -> subprocess.Popen[bytes]:
    environment = dict(os.environ, PYTHONHASHSEED="2" if place == "hash seed 2" else "1")
    if place == "surroundings":
        environment |= {"TZ": "Elsewhere-11", "LC_ALL": "C", "OMP_NUM_THREADS": "3"}
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVE, place, *_path()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        cwd="/" if place == "surroundings" else None,
    )
    atexit.register(_end, process)
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(OSError):
        process.communicate()  # it ends when its input does


def _write(stream: IO[bytes] | None, data: bytes) -> None:
    assert stream is not None
    stream.write(_LENGTH.pack(len(data)) + data)
    stream.flush()


def _read(stream: IO[bytes] | None) -> bytes:
    assert stream is not None
    header = stream.read(_LENGTH.size)
    return stream.read(_LENGTH.unpack(header)[0]) if header else b""


def serve(place: str) -> None:
    """Answer requests until the input ends: the main function of the process of a place."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a plugin prints is not an answer
    if place == "surroundings":
        _move()
    while request := _read(sys.stdin.buffer):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            with os.fdopen(writer, "wb") as stream:
                stream.write(pickle.dumps(_answer(pickle.loads(request))))
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as stream:
            answer = stream.read()
        os.waitpid(child, 0)
        _write(answers, answer)


def _answer(request: _Request) -> tuple[str, Any]:
    try:
        sys.path[:] = request.path
        _import(request.module, request.file)
        cls, specs, rows = pickle.loads(request.work)
    except Exception as error:
        return "absent", f"{type(error).__name__}: {error}"
    try:
        families = [cls(spec) for spec in specs]
    except ArgumentError as error:  # its spec names what only exists in the session that sent it
        return "absent", str(error)
    except Exception as error:
        return "error", f"{type(error).__name__}: {error}"
    try:
        return "codes", [family.hash(x) for family, x in zip(families, rows, strict=True)]
    except Exception as error:
        return "error", f"{type(error).__name__}: {error}"


def _import(name: str, file: str | None) -> None:
    """Import a module by its name, or from its file if it is not on the path, as are modules of tests."""
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        spec = importlib.util.spec_from_file_location(name, file) if file else None
        if spec is None or spec.loader is None:
            raise
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)


def _move() -> None:
    """Another clock, locale and number of processors, for all that is imported later."""
    for name in ("de_DE.UTF-8", "fr_FR.UTF-8", "tr_TR.UTF-8"):
        with suppress(locale.Error):
            locale.setlocale(locale.LC_ALL, name)
            break
    count = os.cpu_count() or 1
    os.cpu_count = lambda: count + 1
    now = time.time
    time.time = lambda: now() + 700.3 * 86400
    time.time_ns = lambda: int(time.time() * 1e9)
    for name in ("localtime", "gmtime", "ctime"):
        real = getattr(time, name)
        setattr(time, name, lambda seconds=None, real=real: real(time.time() if seconds is None else seconds))

    class Datetime(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Any:
            return cls.fromtimestamp(time.time(), tz)

        @classmethod
        def today(cls) -> Any:
            return cls.now()

        @classmethod
        def utcnow(cls) -> Any:
            return cls.now(datetime.UTC).replace(tzinfo=None)

    class Date(datetime.date):
        @classmethod
        def today(cls) -> Any:
            return cls.fromtimestamp(time.time())

    datetime.datetime, datetime.date = Datetime, Date  # type: ignore[misc]
