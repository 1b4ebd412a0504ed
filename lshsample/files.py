"""Files: paths from outside, atomic writing, regular files only, locks that end with their process."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import BinaryIO, cast

from lshsample.errors import ArgumentError, CheckpointError

__all__ = [
    "as_path",
    "atomic_file",
    "create_file",
    "make_folder",
    "name_of",
    "open_regular",
    "sync_folder",
    "try_lock",
]

#: Bytes of a file name that its temporary name repeats: with its other characters it stays below 255.
_MAX_STEM = 200


def as_path(path: str | PathLike[str], argument: str = "path") -> Path:
    """A path from outside; ArgumentError for anything else, for an empty one, or one with a null byte."""
    text = os.fspath(path) if isinstance(path, str | PathLike) else None
    if not isinstance(text, str) or not text or "\0" in text:
        raise ArgumentError(argument, repr(path), "a path: text that is not empty and has no null character")
    return Path(text)


def name_of(file: str | PathLike[str] | BinaryIO) -> str:
    """The name of a file, given by its path or open, in messages."""
    return os.fspath(file) if isinstance(file, str | PathLike) else str(getattr(file, "name", file))


@contextmanager
def atomic_file(path: str | PathLike[str]) -> Iterator[BinaryIO]:
    """Open a binary file that replaces ``path`` when the ``with`` block ends without an error.

    The bytes are written to a temporary file in the same folder, which is synced to disk and renamed to
    ``path``, with the mode and, where permitted, the owner of the file that it replaces. After an error (a
    full disk, Ctrl-C) the temporary file is removed, and ``path`` is unchanged. Temporary files of processes
    that were killed are removed by the next call for the same path.

    For a symbolic link, the file that it points to is replaced. Anything but a regular file (a pipe, a device
    such as ``/dev/stdout``) is written to directly.

    Parameters
    ----------
    path : str or PathLike
        The file to write.

    Yields
    ------
    file object
        Open for writing in binary.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a"
    >>> with atomic_file(path) as file:
    ...     _ = file.write(b"all")
    >>> path.read_bytes()
    b'all'
    """
    given = as_path(path)
    old = _status(given)
    if old is not None and not stat.S_ISREG(old.st_mode):
        with _named(path, path), given.open("wb") as stream:
            yield stream
        return
    target = Path(os.path.realpath(given))
    _remove_unfinished(target)
    while True:
        temporary = target.with_name(f".{_stem(target.name)}.{secrets.token_hex(4)}.tmp")
        try:
            with _named(path, temporary), create_file(temporary, old) as file:
                if not _is_kept(file, temporary):
                    continue  # another writer took it for that of a killed process before it was locked
                yield file
                file.flush()
                os.fsync(file.fileno())
                temporary.replace(target)  # while it is locked
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        break
    sync_folder(target.parent)


def _is_kept(file: BinaryIO, path: Path) -> bool:
    """Lock a new temporary file; False if another writer removes it, which from then on none can."""
    try:
        return try_lock(file.fileno()) and os.path.lexists(path)
    except OSError:  # a file system without locks
        return True


def create_file(path: Path, like: os.stat_result | None = None) -> BinaryIO:
    """A new file, open for reading and writing; an existing file or link is an error.

    It has the mode of ``like`` from the beginning, and its owner where permitted. If its group cannot be
    kept, the group has no rights.
    """
    mode = 0o666 if like is None else stat.S_IMODE(like.st_mode) & 0o777
    file = cast(BinaryIO, open(path, "x+b", opener=lambda name, flags: os.open(name, flags, mode)))  # noqa: SIM115
    if like is not None:
        made = os.fstat(file.fileno())
        if (made.st_uid, made.st_gid) != (like.st_uid, like.st_gid) and not _give(file.fileno(), like):
            mode &= ~stat.S_IRWXG
        with contextlib.suppress(OSError):  # a file system without modes
            os.fchmod(file.fileno(), mode)
    return file


def _give(handle: int, like: os.stat_result) -> bool:
    """Give a file the owner and group of another, or the group alone; False if neither is permitted."""
    for owner in (like.st_uid, -1):
        with contextlib.suppress(OSError):
            os.fchown(handle, owner, like.st_gid)
            return True
    return False


def open_regular(path: str | PathLike[str]) -> BinaryIO:
    """Open a file for reading; a pipe, a device or a folder, which may have no end, is refused.

    Raises
    ------
    CheckpointError
        It is not a regular file.
    OSError
        It does not exist or cannot be opened.
    """
    where = as_path(path)
    with contextlib.ExitStack() as stack:
        try:
            # Without O_NONBLOCK, opening a pipe waits for its other end.
            file = open(where, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
        except IsADirectoryError as error:
            raise CheckpointError(f"{where}: is a folder, expected a file") from error
        stack.callback(file.close)
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise CheckpointError(f"{where}: is not a regular file")
        stack.pop_all()
    return file


def make_folder(folder: Path) -> None:
    """Create a folder and its parents; those that are new survive a power failure."""
    missing = [part for part in (folder, *folder.parents) if not part.exists()]
    for part in reversed(missing):
        with contextlib.suppress(FileExistsError):  # by another process meanwhile
            part.mkdir()
        sync_folder(part.parent)
    if not folder.is_dir():
        raise NotADirectoryError(20, "Not a directory", str(folder))


def sync_folder(folder: Path) -> None:
    """Sync a folder, so that a new or renamed file in it survives a power failure."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def try_lock(handle: int) -> bool:
    """Lock an open file until it is closed, also by the end of its process; False if another has the lock.

    Raises
    ------
    OSError
        The file system has no locks.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _stem(name: str) -> str:
    """The first part of a file name, so that its temporary name is not too long either."""
    return os.fsencode(name)[:_MAX_STEM].decode(errors="ignore")


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _remove_unfinished(target: Path) -> None:
    """Remove temporary files for a path that no living process writes: those that can be locked."""
    unfinished = re.compile(rf"\.{re.escape(_stem(target.name))}\.[0-9a-f]{{8}}\.tmp")
    with contextlib.suppress(OSError):
        for name in os.listdir(target.parent):
            if unfinished.fullmatch(name):
                _remove_unlocked(target.with_name(name))


def _remove_unlocked(path: Path) -> None:
    with contextlib.suppress(OSError):  # gone, of another user, or not a file
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            if stat.S_ISREG(os.fstat(handle).st_mode) and try_lock(handle):
                path.unlink()
        finally:
            os.close(handle)


@contextmanager
def _named(path: str | PathLike[str], written: str | PathLike[str]) -> Iterator[None]:
    """Errors of the operating system name ``path``, also where they name no file (a full disk)."""
    try:
        yield
    except OSError as error:
        if error.filename is None or os.fspath(error.filename) == os.fspath(written):
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error
        raise
