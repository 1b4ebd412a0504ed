"""Names of labels, and the identifiers (URIs) that go with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample.errors import ArgumentError

__all__ = ["LabelNames", "packed_texts", "unpacked_texts"]


def packed_texts(texts: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    """Texts as arrays: their bytes in UTF-8 one after the other, and where each ends."""
    pieces = [text.encode() for text in texts]
    ends = np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
    return {"bytes": np.frombuffer(b"".join(pieces), np.uint8), "ends": ends}


def unpacked_texts(arrays: Mapping[str, npt.NDArray[Any]]) -> list[str]:
    """The texts of :func:`packed_texts`."""
    whole, ends = arrays["bytes"].tobytes(), arrays["ends"].tolist()
    return [whole[begin:end].decode() for begin, end in zip([0, *ends], ends, strict=False)]


def _texts(value: Iterable[str]) -> tuple[str, ...]:
    return tuple(value)


@attrs.frozen(eq=False)
class LabelNames:
    """The names of labels, in the order of their ids.

    Attributes
    ----------
    names : tuple of str
        All different.
    uris : tuple of str, optional
        An identifier of each label, all different.

    Raises
    ------
    ArgumentError
        A name or an identifier occurs twice, or there are not as many identifiers as names.

    Examples
    --------
    >>> names = LabelNames.of([["cats", "dogs"], ["birds"], ["dogs"]])
    >>> names.names, names.id_of("dogs"), names.id_of("fish")
    (('birds', 'cats', 'dogs'), 2, None)
    >>> names.matrix([["dogs", "fish"], []]).toarray().tolist()
    [[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
    """

    names: tuple[str, ...] = attrs.field(converter=_texts)
    uris: tuple[str, ...] | None = attrs.field(default=None, converter=attrs.converters.optional(_texts))
    _ids: dict[str, int] = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        for argument, given in (("names", self.names), ("uris", self.uris or ())):
            seen: set[str] = set()
            for one in given:
                if not isinstance(one, str) or one in seen:
                    raise ArgumentError(argument, f"{one!r:.80}", "texts that are all different")
                seen.add(one)
        if self.uris is not None and len(self.uris) != len(self.names):
            raise ArgumentError("uris", len(self.uris), f"{len(self.names)}, as many as names")
        ids = {one: i for i, one in enumerate(self.uris or ())}
        ids.update((one, i) for i, one in enumerate(self.names))
        object.__setattr__(self, "_ids", ids)

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def of(cls, labels: Iterable[Iterable[str]]) -> Self:
        """The names in lists of labels, sorted."""
        return cls(sorted({name for row in labels for name in row}))

    def extended(self, labels: Iterable[Iterable[str]]) -> Self:
        """With those names in lists of labels that are new, sorted, behind the others.

        Where labels have identifiers, a new name is its own identifier.
        """
        new = sorted({one for row in labels for one in row if self.id_of(one) is None})
        return type(self)((*self.names, *new), None if self.uris is None else (*self.uris, *new))

    def id_of(self, name: str) -> int | None:
        """The id of a name or an identifier; None if it is not known."""
        return self._ids.get(name)

    def matrix(self, labels: Sequence[Iterable[str]]) -> sp.csr_array:
        """Lists of names or identifiers as a matrix of ones; names that are not known are left out.

        Returns
        -------
        csr_array, shape (len(labels), len(names))
            float32.
        """
        rows = [sorted({self._ids[one] for one in row if one in self._ids}) for row in labels]
        indptr = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
        ids = np.array([i for row in rows for i in row], np.int32)
        return sp.csr_array((np.ones(len(ids), np.float32), ids, indptr), shape=(len(rows), len(self)))

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays that :meth:`from_arrays` takes."""
        arrays = {f"names/{key}": array for key, array in packed_texts(self.names).items()}
        if self.uris is not None:
            arrays |= {f"uris/{key}": array for key, array in packed_texts(self.uris).items()}
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """The names that :meth:`to_arrays` returned."""

        def texts(prefix: str) -> list[str]:
            return unpacked_texts({key: arrays[f"{prefix}/{key}"] for key in ("bytes", "ends")})

        return cls(texts("names"), texts("uris") if "uris/ends" in arrays else None)
