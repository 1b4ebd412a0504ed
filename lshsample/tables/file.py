"""The file format of tables: a header that describes the arrays, and the arrays as they are in memory.

::

    bytes 0-7     "LSHTABLE"
    bytes 8-11    version, little-endian
    bytes 12-15   length of the header
    bytes 16-47   SHA-256 of the header
    bytes 48-     header in JSON: family, provenance of its functions, sizes, length of the file, and of each
                  array its name, dtype, shape, offset and SHA-256
    ...           the arrays, each from a multiple of 4,096 on, little-endian

The arrays are ``ids``, ``directory``, for wide codes ``codes``, ``keys`` if the items have keys, ``vectors``
if they are saved, and ``next_codes`` if the next tables were being built in slices. The ``directory`` of
bounded tables is the sizes of their buckets.

Opening maps the arrays and reads none of them, so that it takes the same time at any size and all processes
that open a file share one copy. Lookups in mapped arrays check each read (``untrusted``), verified or not,
so that a file that is damaged, or written to by others later, cannot cause a read outside of the arrays.
Nothing in a file is executed.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from os import PathLike
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from lshsample import registry
from lshsample._native.bounded import BoundedTables, bounded_shapes
from lshsample._native.packed import PackedTables, packed_shapes
from lshsample._native.reader import Base
from lshsample.errors import ArgumentError, CheckpointError, LshsampleError
from lshsample.family import Codes, HashFamily, Rows
from lshsample.files import atomic_file, name_of, open_regular
from lshsample.provenance import Provenance
from lshsample.tables.ids import MAX_ITEMS
from lshsample.tables.keys import Keys
from lshsample.tables.mapped import MappedFile
from lshsample.tables.state import TableState, checksum

__all__ = ["StreamedTables", "pack_prefix", "read_next_codes", "read_state", "write_state"]

Array = npt.NDArray[Any]
#: A file by its path, or an open binary file.
Source = str | PathLike[str] | BinaryIO

_MAGIC = b"LSHTABLE"
_VERSION = 1
_PREFIX = struct.Struct("<8sII32s")
_PAGE = 4096
_MAX_HEADER = 1 << 24
_DTYPES = {"ids": "<i4", "codes": "<u4", "directory": "<i4", "vectors": "<f4", "keys": "<i8"}
_DTYPES["next_codes"] = "<u4"


def _bytes(array: Array) -> memoryview:
    """The array's bytes, without a copy."""
    return array.reshape(-1).view(np.uint8).data


def _page(at: int) -> int:
    return -(-at // _PAGE) * _PAGE


def _header_of(
    family: HashFamily, sizes: tuple[int, int, int], arrays: dict[str, tuple[tuple[int, ...], str]]
) -> tuple[bytes, dict[str, int], int]:
    """The header of tables, where each array begins after it, and the length of all arrays.

    ``sizes`` are the numbers of items and of ids and R (0 for none), ``arrays`` the shape and the SHA-256 of
    each array.
    """
    # Offsets depend on the header's length, which depends on their digits: they are counted from its end.
    entries, offsets, at = {}, {}, 0
    for name, (shape, sha256) in arrays.items():
        dtype = _DTYPES[name]
        entries[name] = {"dtype": dtype, "shape": list(shape), "sha256": sha256, "offset": at}
        offsets[name] = at
        at = _page(at + math.prod(shape) * np.dtype(dtype).itemsize)
    header: dict[str, Any] = {
        "family": registry.family_to_json(family),
        "provenance": Provenance.of(family).to_dict(),
        **dict(zip(("n_items", "n_ids", "bucket_size"), sizes, strict=True)),
        "arrays": entries,
        "bytes": at,
    }
    return json.dumps(header).encode(), offsets, at


def pack_prefix(header: bytes) -> bytes:
    """The 48 bytes before a header."""
    return _PREFIX.pack(_MAGIC, _VERSION, len(header), hashlib.sha256(header).digest())


def write_state(
    path: Source, state: TableState, vectors: Rows | None, next_codes: Codes | None = None
) -> None:
    """Write a state without deltas: to a path atomically, to an open file directly."""
    arrays: dict[str, Array] = state.base.arrays
    if state.keys is not None:
        arrays["keys"] = state.keys
    if isinstance(vectors, np.ndarray):
        arrays["vectors"] = np.ascontiguousarray(vectors)
    if next_codes is not None:
        arrays["next_codes"] = np.ascontiguousarray(next_codes)
    sizes = state.n_items, state.n_ids, state.bucket_size or 0
    described = {name: (array.shape, checksum(array)) for name, array in arrays.items()}
    header, _, _ = _header_of(state.family, sizes, described)
    begin = _page(_PREFIX.size + len(header))
    with atomic_file(path) if isinstance(path, str | PathLike) else nullcontext(path) as file:
        file.write(pack_prefix(header))
        file.write(header.ljust(begin - _PREFIX.size, b"\0"))
        for array in arrays.values():
            file.write(_bytes(array))
            file.write(b"\0" * (_page(array.nbytes) - array.nbytes))


class StreamedTables:
    """A file of packed tables whose arrays are written part by part.

    Parameters
    ----------
    file : file object
        Open for writing, with random access.
    family : HashFamily
        The hash functions.
    n_items : int
        Number of items, whose ids are 0 to n_items - 1.
    """

    def __init__(self, file: BinaryIO, family: HashFamily, n_items: int) -> None:
        self._file, self._family, self._sizes = file, family, (n_items, n_items, 0)
        self._shapes = packed_shapes(n_items, family.n_tables, family.code_bits)
        self._hashes = {name: hashlib.sha256() for name in self._shapes}
        # All checksums have the same length, so that the header has its length already.
        header, offsets, self._bytes = self._header()
        self._begin = _page(_PREFIX.size + len(header))
        self._at = {name: self._begin + offset for name, offset in offsets.items()}

    def _header(self) -> tuple[bytes, dict[str, int], int]:
        arrays = {name: (shape, self._hashes[name].hexdigest()) for name, shape in self._shapes.items()}
        return _header_of(self._family, self._sizes, arrays)

    def append(self, name: str, part: Array) -> None:
        """Write the next values of an array, whose type is the array's."""
        self._file.seek(self._at[name])
        self._file.write(_bytes(part))
        self._hashes[name].update(_bytes(part))
        self._at[name] += part.nbytes

    def finish(self) -> None:
        """Write the header, after all values."""
        header, _, _ = self._header()
        self._file.truncate(self._begin + self._bytes)
        self._file.seek(0)
        self._file.write(pack_prefix(header) + header)


def _read_header(file: MappedFile) -> tuple[dict[str, Any], int]:
    path, data = file.name, file.data
    if len(data) < _PREFIX.size or data[:8] != _MAGIC:
        raise CheckpointError(f"{path}: not a file of lshsample tables (it does not begin with {_MAGIC!r})")
    _, version, length, digest = _PREFIX.unpack_from(data)
    if version > _VERSION:
        raise CheckpointError(f"{path}: version {version} is newer; this lshsample reads up to {_VERSION}")
    if length > _MAX_HEADER or _PREFIX.size + length > len(data):
        raise CheckpointError(f"{path}: truncated in its header, or corrupted")
    text = bytes(data[_PREFIX.size : _PREFIX.size + length])
    if version != _VERSION or hashlib.sha256(text).digest() != digest:
        raise CheckpointError(f"{path}: corrupted: its header does not match its checksum")
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: corrupted: its header is not JSON ({error})") from error
    return header, _page(_PREFIX.size + length)


def _array(data: memoryview, begin: int, name: str, entry: dict[str, Any]) -> Array:
    dtype = np.dtype(_DTYPES[name])
    if entry["dtype"] != _DTYPES[name] or entry["offset"] % _PAGE or entry["offset"] < 0:
        raise ValueError(f"array {name!r} has dtype {entry['dtype']} and offset {entry['offset']}")
    count = int(np.prod(entry["shape"], dtype=np.int64))
    return np.frombuffer(data, dtype, count, begin + entry["offset"]).reshape(entry["shape"])


def _state_of(file: MappedFile, header: dict[str, Any], begin: int, verify: bool) -> TableState:
    data = file.data
    if len(data) != begin + header["bytes"]:
        raise ValueError(f"{len(data)} bytes; its header says {begin + header['bytes']} (truncated?)")
    family, provenance = _family_of(file.name, header, verify)
    arrays = {name: _array(data, begin, name, entry) for name, entry in header["arrays"].items()}
    n_items, n_ids, room = (int(header[name]) for name in ("n_items", "n_ids", "bucket_size"))
    if not 0 <= n_items <= n_ids <= MAX_ITEMS or room < 0:
        raise ValueError(f"{n_items} items, ids below {n_ids}, buckets of {room}")
    vectors = arrays.pop("vectors", None)
    if vectors is not None and vectors.shape != (n_ids, family.dim):
        raise ValueError(f"vectors of shape {vectors.shape}")
    keys = arrays.pop("keys", None)
    if keys is not None and keys.shape != (n_ids,):
        raise ValueError(f"keys of shape {keys.shape}")
    arrays.pop("next_codes", None)  # of other tables: see read_next_codes
    base = _base_of(arrays, n_items, n_ids, family, room)
    checksums = {
        name: str(entry["sha256"]) for name, entry in header["arrays"].items() if name != "next_codes"
    }
    # Which ids are in the tables is read from the first one, where an operation needs it.
    keyed = None if keys is None else Keys(keys, None if n_items == n_ids else base.ids[0])
    return TableState(
        family, base, vectors, checksums=checksums, keyed=keyed, provenance=provenance, file=file
    )


def _family_of(where: str, header: dict[str, Any], verify: bool) -> tuple[HashFamily, Provenance | None]:
    """The family, and what its functions are still to be compared with; files of old versions have neither.

    Functions of another version are compared at once. Those of the same version are compared before the first
    query, which draws them anyway, unless ``verify``; and so are functions that the file names, since opening
    a file runs no code that it names.
    """
    if "provenance" not in header:
        return registry.family_from_json(header["family"]), None
    provenance = Provenance.from_dict(header["provenance"], where)
    provenance.require_installed()
    try:
        family = registry.family_from_json(header["family"])
    except ArgumentError as error:
        raise CheckpointError(f"{where}: {error}{provenance.note()}") from error
    if family.calls_named_functions or (provenance.is_of_installed_versions() and not verify):
        return family, provenance
    provenance.check(family)
    return family, None


def _base_of(arrays: dict[str, Array], n_items: int, n_ids: int, family: HashFamily, room: int) -> Base:
    """Untrusted tables of either kind, whose arrays must have the shapes for this family; room is R, or 0."""
    n_tables, bits = family.n_tables, family.code_bits
    wanted = bounded_shapes(n_tables, bits, room) if room else packed_shapes(n_items, n_tables, bits)
    given = {name: array.shape for name, array in arrays.items()}
    if given != wanted:
        raise ValueError(f"arrays of shapes {given} are not tables of this family")
    ids, directory = arrays["ids"], arrays["directory"]
    if room:
        return BoundedTables(n_items, bits, room, ids, directory, n_ids, untrusted=True)
    return PackedTables(n_items, bits, ids, arrays.get("codes"), directory, n_ids, untrusted=True)


def read_state(path: Source, *, verify: bool) -> TableState:
    """Map a file; its header is verified, its arrays are not, and its hash functions if ``verify``.

    Raises
    ------
    CheckpointError
        The file is of another format, truncated or of a newer version, its header is corrupted, or its family
        is not installed or hashes in another way.
    MemoryBudgetError
        There is no address space to map it.
    """
    file = _mapped(path)
    header, begin = _read_header(file)
    with _describing_tables(file.name):
        return _state_of(file, header, begin, verify)


def read_next_codes(path: Source) -> Codes | None:
    """The codes (rows, n_tables) of tables that were being built when a file was saved: a copy, verified.

    Raises
    ------
    CheckpointError
        As for :func:`read_state`, or the codes are corrupted.
    """
    file = _mapped(path)
    header, begin = _read_header(file)
    with _describing_tables(file.name):
        entry = header["arrays"].get("next_codes")
        if entry is None:
            return None
        codes = file.read(_array(file.data, begin, "next_codes", entry))
        if codes.ndim != 2 or checksum(codes) != entry["sha256"]:
            raise CheckpointError(
                f"{file.name}: corrupted: next_codes does not match the checksum in the file"
            )
        return codes


def _mapped(path: Source) -> MappedFile:
    opening = open_regular(path) if isinstance(path, str | PathLike) else nullcontext(path)
    with opening as opened:
        return MappedFile(opened, name_of(path))


@contextmanager
def _describing_tables(where: str) -> Iterator[None]:
    """Errors of a header as CheckpointError."""
    try:
        yield
    except CheckpointError:
        raise
    except (ValueError, LshsampleError) as error:
        raise CheckpointError(f"{where}: {error}") from error
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        problem = f"corrupted: its header does not describe tables ({type(error).__name__}: {error})"
        raise CheckpointError(f"{where}: {problem}") from error
