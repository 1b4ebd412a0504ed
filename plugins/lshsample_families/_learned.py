"""What learned families share: hyperplanes that are fitted to data and stored, as text, in the spec.

A spec is plain data, so fitted float32 numbers are stored in it as base64 of their little-endian bytes. JSON,
TOML, pickle and the headers of saved tables contain them like any option, at 4/3 of their size.
"""

from __future__ import annotations

import base64
import binascii
from functools import cached_property
from typing import Any, TypeVar

import attrs
import numpy as np
import numpy.typing as npt

from lshsample.plugin import (
    ArgumentError,
    Codes,
    FamilySpec,
    Floats,
    HashFamily,
    NativeKernel,
    Rows,
    UnsupportedError,
)
from lshsample_families._projections import DenseMatrix
from lshsample_families.simhash import simhash_kernel

__all__ = [
    "Float32",
    "Hyperplanes",
    "LearnedFamily",
    "LearnedSpec",
    "as_numbers",
    "as_text",
    "short_text",
    "to_unit",
]

Float32 = npt.NDArray[np.float32]
_BLOCK = 1024


def as_text(numbers: npt.NDArray[Any]) -> str:
    """Numbers, as float32, in base64."""
    return base64.b64encode(np.ascontiguousarray(numbers, dtype="<f4").tobytes()).decode("ascii")


def as_numbers(text: str, shape: tuple[int, int], argument: str, why: str) -> Float32:
    """The numbers that :func:`as_text` wrote; an error names the argument and says why the shape is this."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ArgumentError(
            argument, f"text that is not base64 ({error})", f"the {argument} of a fitted family"
        ) from error
    if len(raw) != 4 * shape[0] * shape[1]:
        raise ArgumentError(
            argument,
            f"{len(raw)} bytes",
            f"{4 * shape[0] * shape[1]} bytes for {shape[0]} x {shape[1]} numbers: {why}",
        )
    numbers: Float32 = np.frombuffer(raw, "<f4").astype(np.float32).reshape(shape)
    if not np.isfinite(numbers).all():
        raise ArgumentError(argument, "NaN or infinite numbers", "finite numbers")
    return numbers


def short_text(text: str) -> str:
    """What a repr shows of numbers in base64: their length."""
    return f"<{len(text)} characters>" if text else "''"


@attrs.frozen(kw_only=True)
class LearnedSpec(FamilySpec):
    """Options of every learned family.

    Attributes
    ----------
    planes : str
        The fitted hyperplanes, in base64; empty before a fit.
    """

    planes: str = attrs.field(default="", validator=attrs.validators.instance_of(str), repr=short_text)


class Hyperplanes(DenseMatrix):
    """A projection to given directions, (columns, K L)."""

    def __init__(self, matrix: Float32, n_hashes: int, n_tables: int) -> None:
        self.matrix, self.n_hashes, self.n_tables = np.ascontiguousarray(matrix), n_hashes, n_tables


LearnedT = TypeVar("LearnedT", bound=LearnedSpec)


class LearnedFamily(HashFamily[LearnedT]):
    """Signs of margins to learned hyperplanes; there is no collision probability."""

    similarity = "learned"
    independent_hashes = False
    #: Whether each hyperplane has an offset: the last row of the matrix, for a column of ones.
    offsets: bool = False

    def __init__(self, spec: LearnedT) -> None:
        super().__init__(spec)
        if spec.planes:
            self._matrix = as_numbers(
                spec.planes,
                self._shape,
                "planes",
                "learned hyperplanes are for one dim, n_hashes and n_tables",
            )

    @property
    def _shape(self) -> tuple[int, int]:
        return self.dim + self.offsets, self.n_hashes * self.n_tables

    @property
    def is_fitted(self) -> bool:
        """Whether hyperplanes were learned."""
        return bool(self.spec.planes)

    def _initial(self) -> Float32:
        """The hyperplanes before a fit."""
        raise ArgumentError(
            "planes",
            "nothing",
            f"learned hyperplanes; {type(self).__name__}.fit(...) returns a family with them",
        )

    @cached_property
    def _projection(self) -> Hyperplanes:
        matrix = self._matrix if self.is_fitted else self._initial()
        return Hyperplanes(matrix, self.n_hashes, self.n_tables)

    def _rows(self, x: Rows) -> Rows:
        return x

    def hash(self, x: Rows) -> Codes:
        """Codes (n, n_tables) of rows."""
        codes = np.zeros((x.shape[0], self.n_tables), np.uint32)
        for start in range(0, x.shape[0], _BLOCK):
            bits = self._projection.margins(self._rows(x[start : start + _BLOCK])) >= 0
            for k in range(self.n_hashes):
                codes[start : start + _BLOCK] |= bits[:, k].astype(np.uint32) << np.uint32(k)
        return codes

    def native(self) -> NativeKernel | None:
        """SimHash's kernel over the learned directions."""
        return simhash_kernel(self._projection, self._shape[0])

    def collision_probability(self, similarity: npt.ArrayLike) -> Floats:
        """There is none: functions that are learned from data are not random."""
        raise UnsupportedError(
            f"family {type(self).__name__}: learned functions have no collision probability; inclusion "
            "probabilities conditional on the tables are available"
        )

    def similarity_of(self, q: Rows, x: Rows) -> Floats:
        """There is none, as there is no collision probability."""
        return self.collision_probability(0.0)


def to_unit(x: Rows) -> Any:
    """Rows scaled to norm 1 in float64; rows of zeros stay."""
    if isinstance(x, np.ndarray):
        rows = x.astype(np.float64)
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        return np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)
    sparse: Any = x.astype(np.float64)
    norms = np.sqrt(np.asarray(sparse.multiply(sparse).sum(axis=1)).reshape(-1))
    inverse = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
    sparse.data *= np.repeat(inverse, np.diff(sparse.indptr))
    return sparse
