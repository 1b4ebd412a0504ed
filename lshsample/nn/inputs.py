"""The input layer: weighting of sparse rows, and dropout of values."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample.nn.batches import Rows
from lshsample.nn.layers import Backward, dropout
from lshsample.nn.parameter import Parameter
from lshsample.nn.signals import Block, Run, Signal, csr_from_parts, indptr_of, values_of, with_values
from lshsample.nn.specs import Input, Sparse

__all__ = ["InputLayer"]

Float32 = npt.NDArray[np.float32]


class InputLayer:
    """Passes the input on, weighted as its spec says.

    Parameters
    ----------
    spec : Sparse or Input
        Width, weighting, dropout.
    index : int
        Place in the network.
    """

    def __init__(self, spec: Sparse | Input, index: int) -> None:
        self.spec, self.index, self.units = spec, index, spec.units
        self.weighting = spec.weighting if isinstance(spec, Sparse) else "none"
        self._idf = Parameter(f"{index}.idf", spec.units, 1, 0.0, (0, index), trained=False)
        self.parameters: tuple[Parameter, ...] = (self._idf,) if self.weighting == "idf-l2" else ()

    def observe(self, rows: Rows) -> None:
        """Take the statistics of the rows that are trained on."""
        if self.weighting == "idf-l2":
            assert sp.issparse(rows.data)
            counts = np.bincount(rows.data.indices, minlength=self.units)
            # Kept as the distance from 1, so that without statistics every feature counts alike.
            self._idf.weights[:, 0] = np.log((1.0 + len(rows)) / (1.0 + counts))

    def forward(self, x: Signal, run: Run) -> tuple[Signal, Backward]:
        """The input itself, or a weighted copy of its values."""
        if self.weighting != "none" and not isinstance(x, Block):
            x = self._weighted(x)
        if run.training and self.spec.dropout:
            x = with_values(x, values_of(x).copy())
            dropout(values_of(x), self.spec.dropout, run, self.index)
        return x, lambda gradient, scale: (None, [])

    def _weighted(self, x: sp.csr_array) -> sp.csr_array:
        values = x.data if self.weighting == "l2" else x.data * (1.0 + self._idf.vector[x.indices])
        lengths = np.diff(x.indptr)
        of_row = np.repeat(np.arange(len(lengths)), lengths)
        norms = np.sqrt(
            np.bincount(of_row, weights=np.square(values, dtype=np.float64), minlength=len(lengths))
        )
        norms[norms == 0.0] = 1.0
        scaled = (values * (1.0 / norms).astype(np.float32)[of_row]).astype(np.float32, copy=False)
        return csr_from_parts(indptr_of(x), x.indices, scaled, x.shape)

    def workspace_needed(self, batch_size: int) -> int:
        """A batch of dense rows; sparse rows are a few times smaller than the gradient that the next layer
        counts.
        """
        return 4 * batch_size * self.units if isinstance(self.spec, Input) else 0
