"""Validation of rows and labels on entry, once, so that nothing below validates again."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample._native import core
from lshsample.display import array_text
from lshsample.errors import ArgumentError
from lshsample.nn.signals import Block, Signal, row_slice, take_rows

__all__ = ["Batch", "FeatureRows", "dense_features", "sparse_features"]


@attrs.frozen(eq=False)
class FeatureRows:
    """Validated feature rows, dense or CSR, that batches are taken from.

    Attributes
    ----------
    data : ndarray or csr_array
        The rows.
    """

    data: npt.NDArray[np.float32] | sp.csr_array = attrs.field(repr=array_text)

    def __len__(self) -> int:
        return int(self.data.shape[0])

    def of_width(self, n_features: int, argument: str) -> FeatureRows:
        """The rows themselves; refused unless they have ``n_features`` columns."""
        if self.data.shape[1] != n_features:
            raise ArgumentError(argument, f"{self.data.shape[1]} columns", f"rows with {n_features} columns")
        return self

    def take(self, rows: npt.NDArray[np.int64]) -> Signal:
        """The given rows as a layer's input."""
        if sp.issparse(self.data):
            return take_rows(self.data, rows)
        return Block(self.data[rows], self.data.shape[1])

    def slice(self, start: int, stop: int) -> Signal:
        """Rows ``start:stop`` as a layer's input, without copying the values."""
        stop = min(stop, len(self))
        if not sp.issparse(self.data):
            return Block(self.data[start:stop], self.data.shape[1])
        return row_slice(self.data, start, stop)


@attrs.frozen(eq=False)
class Batch:
    """Validated rows and labels of one training step.

    Attributes
    ----------
    x : Block or csr_array
        Input of the input layer.
    y : csr_array
        Labels; every stored value is 1.
    """

    x: Signal = attrs.field(repr=array_text)
    y: sp.csr_array = attrs.field(repr=array_text)


def sparse_features(x: Any, n_features: int, argument: str = "X") -> FeatureRows:
    """Feature rows as CSR; dense rows are converted, rows validated before are returned as they are."""
    if isinstance(x, FeatureRows):
        return x.of_width(n_features, argument)
    return FeatureRows(core.feature_rows(x, argument, n_features))


def dense_features(x: Any, n_features: int, argument: str = "X") -> FeatureRows:
    """Feature rows as a dense array; sparse rows are converted, validated rows returned as they are."""
    if isinstance(x, FeatureRows):
        return x.of_width(n_features, argument)
    if sp.issparse(x):
        x = core.csr_rows(x, argument, n_features).toarray()
    return FeatureRows(core.dense_rows(x, argument, n_features))
