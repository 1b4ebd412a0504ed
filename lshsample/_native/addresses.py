"""The mapped memory of the process: whether an address is in executable memory, the data of a library."""

from __future__ import annotations

import functools
import struct
from pathlib import Path
from typing import NamedTuple

__all__ = ["check_callable", "library_data"]

_MAPS = Path("/proc/self/maps")
#: The format of libraries (System V ABI, ELF): loaded parts, and the flag of writable ones.
_ELF_HEADERS, _PT_LOAD, _PF_W = 4096, 1, 2


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
    mapped = _mapped()
    if mapped and not any(m.begin <= address < m.end and "x" in m.permissions for m in mapped):
        raise ValueError(f"0x{address:x}, which is not in executable memory")


def library_data(address: int) -> tuple[str, list[tuple[int, int]]]:
    """The library that contains an address, and the writable memory of its variables.

    Returns
    -------
    str
        The path of the library; empty if the address is in none.
    list of (int, int)
        Addresses and sizes in bytes; empty if it is in none, or there is no list of the mapped memory.
    """
    mapped = _mapped()
    path = next((m.path for m in mapped if m.begin <= address < m.end), "")
    base = next((m.begin for m in mapped if m.path == path and m.offset == 0), None)
    if not path.startswith("/") or base is None:
        return "", []
    try:
        with open(path, "rb") as file:
            header = file.read(_ELF_HEADERS)
    except OSError:
        return path, []
    if header[:6] != b"\x7fELF\x02\x01":  # 64 bits, little endian
        return path, []
    (table,), (size, count) = struct.unpack_from("<Q", header, 32), struct.unpack_from("<HH", header, 54)
    spans = []
    for k in range(count):
        kind, flags, _, start, _, _, n_bytes, _ = struct.unpack_from("<IIQQQQQQ", header, table + k * size)
        if kind == _PT_LOAD and flags & _PF_W:
            spans.append((base + start, n_bytes))
    return path, spans


class _Mapping(NamedTuple):
    begin: int
    end: int
    permissions: str
    offset: int
    path: str


def _mapped() -> list[_Mapping]:
    try:
        lines = _MAPS.read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        span, permissions, offset, _, _, *path = line.split(maxsplit=5)
        begin, end = (int(bound, 16) for bound in span.split("-"))
        found.append(_Mapping(begin, end, permissions, int(offset, 16), "".join(path)))
    return found
