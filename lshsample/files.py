"""Files that are written atomically."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import BinaryIO

__all__ = ["atomic_file"]


@contextmanager
def atomic_file(path: str | PathLike[str]) -> Iterator[BinaryIO]:
    """Open a binary file that replaces ``path`` when the ``with`` block ends without an error.

    The bytes are written to a temporary file in the same folder, which is synced to disk and renamed to
    ``path``. After an error (a full disk, Ctrl-C) the temporary file is removed, and ``path`` is unchanged.

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
    target = Path(path)
    if target.exists() and not target.is_file():
        with _named(path, path), target.open("wb") as stream:
            yield stream
        return
    target = Path(os.path.realpath(target))
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with _named(path, temporary):
            with temporary.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


@contextmanager
def _named(path: str | PathLike[str], written: str | PathLike[str]) -> Iterator[None]:
    """Errors of the operating system name ``path``, also where they name no file (a full disk)."""
    try:
        yield
    except OSError as error:
        if error.filename is None or error.filename == os.fspath(written):
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error
        raise


def _sync_folder(folder: Path) -> None:
    """Sync a folder, so that a rename in it survives a power failure."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
