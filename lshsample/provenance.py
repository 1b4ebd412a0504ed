"""What saved tables, checkpoints and models record of their hash functions, and its comparison when opened.

A spec determines the functions only together with the code of its family. So files hold the distribution and
version of each family's plugin, and a digest of the codes of a few fixed rows. Other codes of these rows are
other functions: the items are then in buckets that no query looks into, and recall is that of chance.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, Self

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample import hashing
from lshsample.errors import CheckpointError, LshsampleError
from lshsample.family import Codes, HashFamily, Rows
from lshsample.registry import default_registry

__all__ = ["Provenance"]

_ROWS, _ENTRIES = 4, 64
#: Above it the rows are CSR; families need not be able to make so wide a row dense.
_MOST_DENSE = 4096
#: Tables whose codes are stored as such, to say how many differ; the digest is that of all tables.
_STORED_TABLES = 16
#: Scales of the rows, and whether they have both signs: the first that a family accepts are hashed. Large
#: ones first, so that the buckets of a family of distances differ; small ones are below bounds of norms.
_KINDS = [(scale, signed) for scale in (2**10, 1, 2**-10, 2**-20) for signed in (True, False)]


@attrs.frozen
class Provenance:
    """Where hash functions come from, and how fixed rows are hashed by them.

    Attributes
    ----------
    families : dict of str to (str, str) or None
        Distribution and version of the plugin of each family by the family's name: the family itself, and
        the wrapped ones. None for a plugin that is not of an installed distribution.
    codes : tuple of tuple of int
        Codes of the fixed rows in the first 16 tables, a row each; empty if the family hashes none of the
        rows, such as one that is not fitted yet.
    digest : str
        SHA-256 of the codes of all tables, of data rows and of queries; empty without codes.
    where : str
        The file, for errors.
    """

    families: dict[str, tuple[str, str] | None]
    codes: tuple[tuple[int, ...], ...]
    digest: str
    where: str = attrs.field(default="", eq=False)

    @classmethod
    def of(cls, family: HashFamily) -> Self:
        """That of a family; ArgumentError if it or one that it wraps is not registered."""
        registry = default_registry()
        names = [registry.name_of(part) for part in _parts(family)]
        codes = _codes(family)
        if codes is None:
            return cls({name: registry.distribution(name) for name in names}, (), "")
        data, queries = codes
        digest = hashlib.sha256(np.stack([data, queries]).astype("<u4").tobytes()).hexdigest()
        stored = tuple(tuple(row) for row in data[:, :_STORED_TABLES].tolist())
        return cls({name: registry.distribution(name) for name in names}, stored, digest)

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {"families": self.families, "codes": self.codes, "sha256": self.digest}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str) -> Self:
        """From plain data; KeyError, TypeError, AttributeError or ValueError for any other.

        Parameters
        ----------
        data : mapping
            What :meth:`to_dict` returned.
        where : str
            The file, for errors.
        """
        families = {}
        for name, owner in data["families"].items():
            if owner is not None:
                distribution, version = map(str, owner)
                owner = distribution, version
            families[str(name)] = owner
        codes = tuple(tuple(map(int, row)) for row in data["codes"])
        return cls(families, codes, str(data["sha256"]), where)

    def is_of_installed_versions(self) -> bool:
        """Whether the distributions and versions are those that are installed."""
        registry = default_registry()
        return all(registry.distribution(name) == owner for name, owner in self.families.items())

    def require_installed(self) -> None:
        """Raise CheckpointError for a family that is not installed, with the distribution that has it."""
        registry = default_registry()
        for name, owner in self.families.items():
            if name not in registry.families():
                source = f"; it is in the package {owner[0]} ({owner[1]})" if owner else ""
                raise CheckpointError(
                    f"{self._begin}the family {name!r} is not installed{source}{registry.hint(name)}"
                )

    def note(self) -> str:
        """For errors of specs that the installed version refuses: what has changed; empty if nothing has."""
        return "" if self.is_of_installed_versions() else f"; {self._versions()}"

    def check(self, family: HashFamily | None) -> None:
        """Compare with a family; None for functions that are not there any more.

        Raises
        ------
        CheckpointError
            The family hashes the fixed rows in another way; the message says which version of which
            distribution was used and which one is installed.
        """
        if not self.digest:
            return
        now = Provenance({}, (), "") if family is None else Provenance.of(family)
        if now.digest == self.digest:
            return
        found, wanted = np.ravel(now.codes), np.ravel(self.codes)
        differ = int((found != wanted).sum()) if found.shape == wanted.shape else wanted.size
        raise CheckpointError(
            f"{self._begin}the hash functions of family {next(iter(self.families))!r} have changed since it "
            f"was saved: {self._versions()}, and {max(differ, 1)} of {wanted.size} codes of fixed rows "
            "differ; install the version that saved it, or build it again"
        )

    @property
    def _begin(self) -> str:
        return f"{self.where}: " if self.where else ""

    def _versions(self) -> str:
        """Who saved it, and what is installed; only what differs, if something does."""
        registry, changes, same = default_registry(), [], []
        for name, owner in self.families.items():
            then, now = _version(owner), _version(registry.distribution(name))
            if then == now:
                same.append(f"{name!r} is of {then}, as installed")
            else:
                changes.append(f"it was saved with {name!r} of {then}, but {now} is installed")
        return "; ".join(dict.fromkeys(changes or same))


def _version(owner: tuple[str, str] | None) -> str:
    return " ".join(owner) if owner else "no installed package"


def _parts(family: HashFamily) -> Iterator[HashFamily]:
    """The family, and those in its spec."""
    yield family
    for field in attrs.fields(type(family.spec)):
        value = getattr(family.spec, field.name)
        if isinstance(value, HashFamily):
            yield from _parts(value)


def _codes(family: HashFamily) -> tuple[Codes, Codes] | None:
    """Codes of the fixed rows as data and as queries; of the wrapped family, if this one hashes none."""
    for part in _parts(family):
        for scale, signed in _KINDS:
            rows = _rows(part.dim, scale, signed)
            try:
                return hashing.hash_rows(part, rows), hashing.hash_rows(part, rows, query=True)
            except LshsampleError:
                continue
    return None


@functools.lru_cache(maxsize=16)
def _rows(dim: int, scale: float, signed: bool) -> Rows:
    """Four rows of norm at most ``scale``, with up to 64 entries: the same on every machine, and exact."""
    words = _words(np.arange(2 * _ROWS * _ENTRIES, dtype=np.uint64)).reshape(2, _ROWS, _ENTRIES)
    values = ((words[0] >> np.uint64(40)).astype(np.float32) + np.float32(0.5)) * np.float32(2**-27 * scale)
    if signed:
        values *= np.where(words[0] & np.uint64(1), np.float32(1), np.float32(-1))
    indptr, columns, entries = [0], [], []
    for row in range(_ROWS):
        chosen, first = np.unique(words[1, row] % np.uint64(dim), return_index=True)
        columns.append(chosen.astype(np.int32))
        entries.append(values[row, first])
        indptr.append(indptr[-1] + len(chosen))
    parts = np.concatenate(entries), np.concatenate(columns), np.array(indptr, np.int32)
    rows = sp.csr_array(parts, shape=(_ROWS, dim))
    return np.asarray(rows.toarray()) if dim <= _MOST_DENSE else rows


def _words(places: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Random words of places, by the finalizer of splitmix64 (Steele, Lea & Flood, OOPSLA 2014)."""
    x = (places + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)))
