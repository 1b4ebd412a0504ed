"""Tables as the C core reads them: a base of either kind, with its deltas."""

from __future__ import annotations

from typing import Any

import attrs

from lshsample._native.bounded import BoundedTables
from lshsample._native.core import ffi
from lshsample._native.delta import Delta
from lshsample._native.packed import PackedTables

__all__ = ["Base", "NativeReader"]

Base = PackedTables | BoundedTables
"""Tables of either kind; they share sizes, ``arrays``, ``struct`` and ``is_sound``."""


@attrs.frozen(eq=False)
class NativeReader:
    """Tables as compiled stages read them.

    Attributes
    ----------
    base : PackedTables or BoundedTables
        The tables as they were last built or merged.
    deltas : tuple of Delta
        What changed since, of packed tables only.
    """

    base: Base
    deltas: tuple[Delta, ...] = ()
    #: Made once, with the object: if two threads made it, one could free what the other's struct points to.
    _structs: tuple[Any, ...] = attrs.field(
        init=False, repr=False, default=attrs.Factory(lambda self: _structs_of(self), takes_self=True)
    )

    @property
    def untrusted(self) -> bool:
        """Whether arrays of an opened file are read that were not verified."""
        return self.base.untrusted

    @property
    def struct(self) -> Any:
        """A ``lsh_reader *``, which this object must outlive."""
        return self._structs[0]


def _structs_of(native: NativeReader) -> tuple[Any, ...]:
    """The struct, and those that it points to: cffi frees what nothing in Python refers to."""
    reader, base = ffi.new("lsh_reader *"), native.base.struct()
    if isinstance(native.base, PackedTables):
        reader.packed = base
    else:
        reader.bounded = base
    deltas = ffi.new("lsh_delta[]", max(len(native.deltas), 1))
    for i, delta in enumerate(native.deltas):
        delta.fill(deltas[i])
    reader.deltas, reader.n_deltas = deltas, len(native.deltas)
    return reader, base, deltas
