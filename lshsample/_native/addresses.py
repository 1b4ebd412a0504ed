"""Whether an address can be called: the last look at a plugin's pointer before the C core follows it."""

from __future__ import annotations

import functools
from pathlib import Path

__all__ = ["check_callable"]

_MAPS = Path("/proc/self/maps")


@functools.lru_cache(maxsize=1024)
def check_callable(address: int) -> None:
    """Refuse an address at which this process has no code to run.

    A state's address in the place of a function's, or one that was cut to 32 bits, would end the process.
    Only systems that tell what is mapped (``/proc/self/maps``) can say; elsewhere every address is taken. An
    address that passed is not looked up again: the look takes about a millisecond.

    Raises
    ------
    ValueError
        Nothing is mapped there, or memory that is not executable.
    """
    try:
        lines = _MAPS.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        span, permissions = line.split(maxsplit=2)[:2]
        begin, end = (int(bound, 16) for bound in span.split("-"))
        if begin <= address < end and "x" in permissions:
            return
    raise ValueError(f"0x{address:x}, where there is no code")
