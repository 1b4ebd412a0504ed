"""Whether an address is in executable memory: a check of a plugin's pointers before the C core uses them."""

from __future__ import annotations

import functools
from pathlib import Path

__all__ = ["check_callable"]

_MAPS = Path("/proc/self/maps")


@functools.lru_cache(maxsize=1024)
def check_callable(address: int) -> None:
    """Refuse an address that is not in executable memory.

    To call the address of a state instead of a function, or an address truncated to 32 bits, would end the
    process. The check needs a list of the mapped memory (``/proc/self/maps``); on systems without one, every
    address is accepted. An address that passed is not checked again, since a check takes about a millisecond.

    Raises
    ------
    ValueError
        The address is not in executable memory.
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
    raise ValueError(f"0x{address:x}, which is not in executable memory")
