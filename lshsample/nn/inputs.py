"""Input layers: sparse rows with their weighting, dense rows, and dropout of values."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample import specs
from lshsample.nn.batches import FeatureRows, dense_features, sparse_features
from lshsample.nn.layer import LAYERS, Backward, BuildContext, InputLayer, Layer, dropout
from lshsample.nn.parameter import Parameter
from lshsample.nn.signals import Run, Signal, csr_from_parts, values_of, with_values

__all__ = ["WEIGHTINGS", "DenseInput", "Input", "Sparse", "SparseInput"]

Float32 = npt.NDArray[np.float32]

#: How a sparse input weights the values of its rows.
WEIGHTINGS = ("none", "l2", "idf-l2")
#: Norms between it and its reciprocal, and values that matter beside them, are far from the ends of float32.
_SMALLEST = 2.0**-60

_WIDTH = specs.integer(1, 2**31 - 1)
_RATE = specs.number(0.0, 1.0, open_high=True)


@LAYERS.add("sparse")
@attrs.frozen
class Sparse(Layer):
    """The input: sparse rows (CSR).

    Attributes
    ----------
    n_features : int
        Columns of the input.
    dropout : float
        Fraction of the values dropped while training; the others are scaled by 1/(1 - dropout).
    weighting : str
        ``"none"`` takes values as they are; ``"l2"`` scales each row to length 1; ``"idf-l2"`` first
        multiplies each value by ``1 + log((1 + n) / (1 + rows with that feature))`` over the n training rows.
        The weights are saved with the network, so prediction takes rows without weighting, as training does.
    """

    n_features: int = attrs.field(validator=_WIDTH)
    dropout: float = attrs.field(default=0.0, validator=_RATE, kw_only=True)
    weighting: str = attrs.field(default="none", validator=specs.one_of(*WEIGHTINGS), kw_only=True)

    is_input = True
    is_sparse = True

    @property
    def units(self) -> int:
        """Columns that the next layer sees."""
        return self.n_features

    def build(self, context: BuildContext) -> SparseInput:
        """The layer, with a weight for each feature with ``"idf-l2"``."""
        return SparseInput(self, context)


@LAYERS.add("input")
@attrs.frozen
class Input(Layer):
    """The input: dense rows.

    Attributes
    ----------
    n_features : int
        Columns of the input.
    dropout : float
        Fraction of the values dropped while training, in [0, 1).
    """

    n_features: int = attrs.field(validator=_WIDTH)
    dropout: float = attrs.field(default=0.0, validator=_RATE, kw_only=True)

    is_input = True

    @property
    def units(self) -> int:
        """Columns that the next layer sees."""
        return self.n_features

    def build(self, context: BuildContext) -> DenseInput:
        """The layer."""
        return DenseInput(self, context)


class DenseInput(InputLayer):
    """Passes dense rows on.

    Parameters
    ----------
    spec : Input
        Width, dropout.
    context : BuildContext
        Its place in the network.
    """

    def __init__(self, spec: Input, context: BuildContext) -> None:
        super().__init__(spec.units, context)
        self.spec = spec

    def checked(self, x: Any, argument: str = "X") -> FeatureRows:
        """Feature rows as a finite float32 array."""
        return dense_features(x, self.units, argument)

    def forward(self, x: Signal, run: Run) -> tuple[Signal, Backward]:
        """The rows themselves, or a copy with values dropped."""
        return _dropped(x, self.spec.dropout, run, self.index), _no_gradient

    def workspace_needed(self, batch_size: int) -> int:
        """A batch of rows."""
        return 4 * batch_size * self.units


class SparseInput(InputLayer):
    """Passes sparse rows on, weighted as its spec says.

    Parameters
    ----------
    spec : Sparse
        Width, weighting, dropout.
    context : BuildContext
        Its place in the network.
    """

    def __init__(self, spec: Sparse, context: BuildContext) -> None:
        self.spec = spec
        # Stored minus 1: a network without statistics has 0 here, so that every feature has weight 1.
        self._idf: Parameter | None = None
        if spec.weighting == "idf-l2":
            name, key = f"{context.index}.idf", (0, context.index)
            self._idf = Parameter(name, spec.units, 1, 0.0, key, trained=False)
        super().__init__(spec.units, context, () if self._idf is None else (self._idf,))

    def checked(self, x: Any, argument: str = "X") -> FeatureRows:
        """Feature rows as finite CSR rows."""
        return sparse_features(x, self.units, argument)

    @property
    def has_statistics(self) -> bool:
        """Whether the inverse document frequencies are known: from training, or loaded with the network."""
        return self._idf is not None and self._idf.allocated and bool(self._idf.weights.any())

    def observe(self, rows: FeatureRows) -> None:
        """Compute the inverse document frequency of each feature over the training rows."""
        if self._idf is not None:
            counts = np.bincount(rows.data.indices, minlength=self.units)  # type: ignore[union-attr]
            self.observe_counts(counts, len(rows))

    def observe_counts(self, counts: npt.NDArray[Any], n_rows: int) -> None:
        """As :meth:`observe`, of the number of training rows with each feature, and of all rows."""
        if self._idf is not None:
            self._idf.weights[:, 0] = np.log((1.0 + n_rows) / (1.0 + counts))

    def forward(self, x: Signal, run: Run) -> tuple[Signal, Backward]:
        """The rows themselves, or a copy with weighted values, some of them dropped."""
        if self.spec.weighting != "none":
            x = self._weighted(x)
        return _dropped(x, self.spec.dropout, run, self.index), _no_gradient

    def _weighted(self, x: Any) -> sp.csr_array:
        lengths = np.diff(x.indptr)
        of_row = np.repeat(np.arange(len(lengths)), lengths)
        values, norms = self._with_norms(x, x.data, of_row)
        if not np.all((norms == 0.0) | ((norms >= _SMALLEST) & (norms <= 1.0 / _SMALLEST))):
            # Powers of two change no bit of the result, except where it overflowed or underflowed on the way.
            values, norms = self._with_norms(x, x.data * _powers(x)[of_row], of_row)
        norms[norms == 0.0] = 1.0
        scaled = (values * (1.0 / norms).astype(np.float32)[of_row]).astype(np.float32, copy=False)
        return csr_from_parts(x.indptr, x.indices, scaled, x.shape)

    def _with_norms(self, x: Any, values: Float32, of_row: Any) -> tuple[Float32, Any]:
        """The values by the weighting, and the norms of their rows."""
        with np.errstate(over="ignore"):
            weighted = values if self._idf is None else values * (1.0 + self._idf.vector[x.indices])
        squares = np.square(weighted, dtype=np.float64)
        return weighted, np.sqrt(np.bincount(of_row, weights=squares, minlength=x.shape[0]))

    def workspace_needed(self, batch_size: int) -> int:
        """0: sparse rows are much smaller than the gradient that the next layer counts."""
        return 0


def _powers(x: Any) -> Float32:
    """For each row a power of two that brings its largest magnitude near 1, as near as float32 has one."""
    largest = np.zeros(x.shape[0], np.float32)
    filled = np.flatnonzero(np.diff(x.indptr))
    if len(filled):
        largest[filled] = np.maximum.reduceat(np.abs(x.data), x.indptr[filled])
    exponents = (largest.view(np.uint32) >> 23).astype(np.int64)
    powers: Float32 = (np.clip(254 - exponents, 1, 254) << 23).astype(np.uint32).view(np.float32)
    return powers


def _dropped(x: Signal, rate: float, run: Run, layer: int) -> Signal:
    """The input, or, while training, a copy with values dropped."""
    if run.training and rate:
        x = with_values(x, values_of(x).copy())
        dropout(values_of(x), rate, run, layer)
    return x


def _no_gradient(gradient: Signal) -> tuple[None, list[Any]]:
    """There is no layer below the input."""
    return None, []
