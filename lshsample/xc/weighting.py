"""Weighting of feature rows: inverse document frequencies and L2 norms, of the training rows."""

from __future__ import annotations

from typing import Any, Self

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample._native import core
from lshsample.xc.unit_rows import row_lengths

__all__ = ["RowWeighting"]


@attrs.frozen(eq=False)
class RowWeighting:
    """Makes rows of length 1, after weighting by inverse document frequency if the values are counts.

    Attributes
    ----------
    idf : (n_features,) float32 array or None
        1 + log((1 + n) / (1 + rows with the feature)), for n training rows; None to keep the values.
    """

    idf: npt.NDArray[np.float32] | None

    @classmethod
    def of(cls, rows: sp.csr_array) -> Self:
        """The weighting for training rows: with ``idf`` if all values are integers (flags or counts).

        Other values have already been weighted.
        """
        if not bool((rows.data == np.floor(rows.data)).all()):
            return cls(None)
        counts = np.bincount(rows.indices, minlength=rows.shape[1])
        return cls((1.0 + np.log((1.0 + rows.shape[0]) / (1.0 + counts))).astype(np.float32))

    def widened(self, rows: sp.csr_array, n_rows: int) -> Self:
        """The weighting for more features: that of the first, and new frequencies in ``rows`` of n."""
        if self.idf is None:
            return self
        counts = np.bincount(rows.indices, minlength=rows.shape[1])[len(self.idf) :]
        more = 1.0 + np.log((1.0 + n_rows) / (1.0 + counts))
        return type(self)(np.append(self.idf, more.astype(np.float32)))

    def __call__(self, rows: Any) -> sp.csr_array:
        """Weighted rows of length 1; a row without values stays without."""
        checked: Any = core.csr_rows(rows, "X")
        values = checked.data.astype(np.float64)
        if self.idf is not None:
            values *= self.idf[checked.indices]
        norms = row_lengths(values, checked.indptr)
        norms[norms == 0.0] = 1.0
        scaled = (values / np.repeat(norms, np.diff(checked.indptr))).astype(np.float32)
        return sp.csr_array((scaled, checked.indices, checked.indptr), shape=checked.shape)
