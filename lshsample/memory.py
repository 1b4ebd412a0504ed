"""Available memory, checked before a large allocation; and the named error where there is none left."""

from __future__ import annotations

import functools
import resource
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ParamSpec, TypeVar

from lshsample.errors import MemoryBudgetError

__all__ = [
    "available_bytes",
    "mebibytes",
    "named_shortage",
    "peak_bytes",
    "require_budget",
    "require_bytes",
    "resident_bytes",
]

_P = ParamSpec("_P")
_R = TypeVar("_R")

_CGROUP_LIMITS = (
    ("memory.max", "memory.current"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
)
#: A control group without a limit reports a number near 2**63.
_NO_LIMIT = 2**60


def _read_int(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _meminfo() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _cgroup(root: Path = Path("/sys/fs/cgroup")) -> int | None:
    for limit_name, used_name in _CGROUP_LIMITS:
        limit = _read_int(root / limit_name)
        if limit is not None and limit < _NO_LIMIT:
            used = _read_int(root / used_name)
            if used is not None:
                return max(limit - used, 0)
    return None


def _address_space() -> int | None:
    soft = resource.getrlimit(resource.RLIMIT_AS)[0]
    used = None if soft == resource.RLIM_INFINITY else _read_pages(0)
    return None if used is None else max(soft - used, 0)


def _read_pages(column: int) -> int | None:
    """Bytes of this process: of its address space (0), or resident (1)."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[column]) * resource.getpagesize()
    except (OSError, ValueError):
        return None


def resident_bytes() -> int | None:
    """Bytes of this process that are in memory now; None if the system does not report it."""
    return _read_pages(1)


def peak_bytes() -> int:
    """The largest number of bytes of this process that were in memory at once so far."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    # It includes that of the process which started this one.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def available_bytes() -> int | None:
    """Bytes that this process can still allocate without swapping; None if the system does not report it.

    The smallest of three figures: the kernel's ``MemAvailable``, the room below the limit of the control
    group (version 1 or 2), and the room below the limit of the address space (``ulimit -v``).
    """
    figures = [figure for figure in (_meminfo(), _cgroup(), _address_space()) if figure is not None]
    return min(figures, default=None)


def require_bytes(needed: int, what: str) -> None:
    """Refuse an allocation that is larger than the available memory, before anything is allocated.

    Parameters
    ----------
    needed : int
        Bytes to be allocated.
    what : str
        What they are for; the subject of the message.

    Raises
    ------
    MemoryBudgetError
        More bytes are needed than are available; the message has both figures.
    """
    available = available_bytes()
    if available is not None and needed > available:
        raise MemoryBudgetError(
            f"{what} needs {mebibytes(needed)}; {mebibytes(available)} are available on this machine"
        )


def require_budget(parts: Mapping[str, int], what: str, *, limit: int | None = None, advice: str = "") -> int:
    """Refuse a run whose parts together need more than a limit, before anything is allocated.

    Parameters
    ----------
    parts : mapping of str to int
        Bytes by purpose.
    what : str
        What needs them; the subject of the message.
    limit : int, optional
        Bytes that may be used; by default the available memory.
    advice : str
        How to need less memory; added to the message.

    Returns
    -------
    int
        The sum of all parts, in bytes.

    Raises
    ------
    MemoryBudgetError
        The sum is above the limit; the message has the figures of all parts.

    Examples
    --------
    >>> require_budget({"parameters": 3 * 2**20, "tables": 2**20}, "training", limit=2**21)
    Traceback (most recent call last):
        ...
    lshsample.errors.MemoryBudgetError: training needs about 4 MiB (parameters 3 MiB, tables 1 MiB); ...
    """
    total, allowed = sum(parts.values()), available_bytes() if limit is None else limit
    if allowed is not None and total > allowed:
        listed = ", ".join(f"{name} {mebibytes(size)}" for name, size in parts.items() if size)
        source = "are available on this machine" if limit is None else "is the limit"
        message = f"{what} needs about {mebibytes(total)} ({listed}); {mebibytes(allowed)} {source}"
        raise MemoryBudgetError(f"{message}. {advice}" if advice else message)
    return total


def named_shortage(what: str) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Decorates a function that does ``what``: a plain MemoryError in it is raised as a MemoryBudgetError.

    What a computation needs is checked before it begins where it is large; a limit can be met all the same by
    the small arrays around it, in NumPy, in Python or in the C core.

    Examples
    --------
    >>> @named_shortage("counting")
    ... def count():
    ...     raise MemoryError
    >>> count()
    Traceback (most recent call last):
        ...
    lshsample.errors.MemoryBudgetError: counting: not enough memory; ... MiB are available on this machine
    """

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        @functools.wraps(function)
        def guarded(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            try:
                return function(*args, **kwargs)
            except MemoryBudgetError:
                raise
            except MemoryError as error:
                raise MemoryBudgetError(_shortage(what, error)) from error

        return guarded

    return decorate


def _shortage(what: str, error: MemoryError) -> str:
    available, reason = available_bytes(), f" ({error})" if str(error) else ""
    figure = "" if available is None else f"; {mebibytes(available)} are available on this machine"
    return f"{what}: not enough memory{reason}{figure}"


def mebibytes(size: float, digits: int = 0) -> str:
    """A number of bytes as text.

    Examples
    --------
    >>> mebibytes(40_150_000, 1)
    '38.3 MiB'
    """
    return f"{size / 2**20:,.{digits}f} MiB"
