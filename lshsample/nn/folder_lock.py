"""The lock of a folder that a process writes to; readers do not need it."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import socket
import time
import warnings
from io import FileIO
from pathlib import Path
from weakref import WeakSet

from lshsample.errors import CheckpointError
from lshsample.files import try_lock

__all__ = ["LOCK", "FolderLock"]

#: The file that is locked; it exists while a process writes, and after one was killed.
LOCK = "lshsample.lock"
#: How often a lock file is read, 10 ms apart, whose holder has not written its name yet.
_ATTEMPTS = 50

_held: WeakSet[FolderLock] = WeakSet()


def _leave_to_parent() -> None:
    """In a forked child: the locks are those of the parent, and end with it."""
    for lock in list(_held):
        lock.close()


os.register_at_fork(after_in_child=_leave_to_parent)


class FolderLock:
    """The exclusive lock of a folder, from construction to :meth:`release` or the end of the process.

    The operating system ends the lock of a process that was killed, so that the file which it leaves never
    keeps others out.

    Raises
    ------
    CheckpointError
        Another process or another thread has the lock; the message says which.
    OSError
        The folder cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / LOCK
        # A file object and no bare handle: whatever interrupts this, it is closed, and the lock ends.
        self._file = self._locked()
        _held.add(self)
        self._sign()

    @property
    def is_held(self) -> bool:
        """Whether this process has the lock; a folder that was removed meanwhile takes it along."""
        return not self._file.closed and self._is_path_of(self._file)

    def release(self) -> None:
        """End the lock, and remove its file."""
        if self.is_held:
            with contextlib.suppress(OSError):
                self.path.unlink()
        self.close()

    def close(self) -> None:
        """Close the file, which another process may have locked too; see :func:`_leave_to_parent`."""
        self._file.close()
        _held.discard(self)

    def _locked(self) -> FileIO:
        for attempt in itertools.count():
            with contextlib.ExitStack() as stack:
                file = stack.enter_context(FileIO(self.path, "r+", opener=_open))
                if self._lock(file):
                    if self._is_path_of(file):
                        stack.pop_all()
                        return file
                    continue  # the holder before removed the file while this one opened it
                holder = _signature(file)
            if holder is not None or attempt == _ATTEMPTS:
                raise CheckpointError(f"{self.folder}: in use by {holder or 'another process'}")
            time.sleep(0.01)  # the holder has not signed yet
        raise AssertionError

    def _lock(self, file: FileIO) -> bool:
        try:
            return try_lock(file.fileno())
        except OSError as error:
            warnings.warn(
                f"{self.folder}: its file system has no locks ({error.strerror}); only one process may write",
                RuntimeWarning,
                stacklevel=2,
            )
            return True

    def _is_path_of(self, file: FileIO) -> bool:
        try:
            return os.path.samestat(os.fstat(file.fileno()), os.lstat(self.path))
        except FileNotFoundError:
            return False

    def _sign(self) -> None:
        """Write who has the lock, for the message of others; a full disk is no reason to have no lock."""
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        text = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since})
        with contextlib.suppress(OSError):
            self._file.truncate(0)
            os.pwrite(self._file.fileno(), text.encode(), 0)


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)


def _signature(file: FileIO) -> str | None:
    """Who has a lock, in words; None if its file does not say."""
    try:
        signed = json.loads(os.pread(file.fileno(), 1000, 0))
        return f"process {int(signed['pid'])} on {signed['host']} since {signed['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return None
