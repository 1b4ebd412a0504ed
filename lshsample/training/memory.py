"""What a run will need, told and checked before anything is allocated."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lshsample.errors import MemoryBudgetError

__all__ = ["available_memory", "check_memory"]


def available_memory() -> int | None:
    """Bytes that this process can still take, by the system and its control group; None if unknown."""
    figures = []
    meminfo = _read("/proc/meminfo")
    for line in meminfo.splitlines():
        if line.startswith("MemAvailable:"):
            figures.append(1024 * int(line.split()[1]))
    limit, used = _read("/sys/fs/cgroup/memory.max").strip(), _read("/sys/fs/cgroup/memory.current").strip()
    if limit.isdigit() and used.isdigit():
        figures.append(max(int(limit) - int(used), 0))
    return min(figures) if figures else None


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def check_memory(needed: Mapping[str, int], limit: int | None) -> int:
    """Refuse a run that needs more than there is.

    Parameters
    ----------
    needed : mapping
        Bytes by purpose.
    limit : int or None
        Bytes that may be used; None for what is available.

    Returns
    -------
    int
        Bytes that are needed.
    """
    total, there = sum(needed.values()), available_memory() if limit is None else limit
    if there is not None and total > there:
        parts = ", ".join(f"{name} {_megabytes(size)}" for name, size in needed.items() if size)
        raise MemoryBudgetError(
            f"training needs about {_megabytes(total)} ({parts}); there are {_megabytes(there)}. "
            "Fewer units, a smaller batch or n_active, fewer tables, or a plainer optimizer need less"
        )
    return total


def _megabytes(size: int) -> str:
    return f"{size / 2**20:,.0f} MB"
