"""How much memory there is, asked before a large piece of it is taken."""

from __future__ import annotations

import resource
from pathlib import Path

from lshsample.errors import MemoryBudgetError

__all__ = ["available_bytes", "require_bytes"]

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
        limit, used = _read_int(root / limit_name), _read_int(root / used_name)
        if limit is not None and used is not None and limit < _NO_LIMIT:
            return max(limit - used, 0)
    return None


def _address_space() -> int | None:
    soft = resource.getrlimit(resource.RLIMIT_AS)[0]
    used = _read_pages()
    return max(soft - used, 0) if soft != resource.RLIM_INFINITY and used is not None else None


def _read_pages() -> int | None:
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except (OSError, ValueError):
        return None


def available_bytes() -> int | None:
    """Bytes that this process can still take without swapping; None where the system does not say.

    The smallest of what the kernel holds available, what the control group leaves, and the address-space
    limit.
    """
    figures = [figure for figure in (_meminfo(), _cgroup(), _address_space()) if figure is not None]
    return min(figures, default=None)


def require_bytes(needed: int, what: str) -> None:
    """Refuse a plan that needs more memory than there is, with both figures, before anything is taken.

    Raises
    ------
    MemoryBudgetError
        More bytes are needed than are available.
    """
    available = available_bytes()
    if available is not None and needed > available:
        raise MemoryBudgetError(
            f"{what} needs {needed / 2**20:,.0f} MiB; "
            f"{available / 2**20:,.0f} MiB are available on this machine"
        )
