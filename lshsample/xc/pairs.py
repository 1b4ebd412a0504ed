"""Features for pairs of features that occur together, as input of linear functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Self

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample.xc.unit_rows import row_lengths

__all__ = ["FeaturePairs"]

Int64 = npt.NDArray[np.int64]
#: Features of a row that are paired: those with the largest values.
_PAIRED = 12
#: Training rows in which a pair occurs, at least.
_LEAST = 3
#: Rows whose pairs are made at once.
_ROWS = 1 << 16


@attrs.frozen(eq=False)
class FeaturePairs:
    """Puts columns for pairs of features before rows, for pairs that three training rows or more have.

    A linear function of features cannot say that two of them together mean something else than each alone,
    such as "new" and "york". With features for pairs it can. The twelve features of a row with the largest
    values are paired; the value of a pair is the root of the product of both.

    Attributes
    ----------
    keys : (n_pairs,) int64 array
        ``i << 32 | j`` for each pair of features i < j, ascending.
    share : float
        Length of the vector of a row's pairs, for a row of length 1, before the whole is scaled to length 1.

    Examples
    --------
    >>> rows = sp.csr_array(np.array([[1, 1, 0], [1, 1, 0], [1, 1, 0], [0, 1, 1]], np.float32))
    >>> pairs = FeaturePairs.of(rows, 0.5)
    >>> pairs.members([0])
    array([[0, 1]])
    >>> pairs(rows[[0, 3]]).toarray().round(2)
    array([[0.63, 0.89, 0.89, 0.  ],
           [0.  , 0.  , 1.  , 1.  ]], dtype=float32)
    """

    keys: Int64
    share: float

    @classmethod
    def of(cls, rows: sp.csr_array, share: float) -> Self:
        """The pairs of training rows.

        Parameters
        ----------
        rows : csr_array, shape (rows, n_features)
            Weighted rows, with sorted indices.
        share : float
            See the class.

        Returns
        -------
        FeaturePairs

        Notes
        -----
        Cost: the pairs of all rows, 66 a row at most, are sorted: 8 bytes each.
        """
        all_keys = np.concatenate([np.empty(0, np.int64), *(keys for _, keys, _ in _pairs(rows))])
        keys, counts = np.unique(all_keys, return_counts=True)
        return cls(keys[counts >= _LEAST], share)

    def __call__(self, rows: sp.csr_array) -> sp.csr_array:
        """Pairs and features, shape (rows, n_pairs + n_features); the lengths of the rows do not change."""
        if not len(self.keys):
            return rows
        found = []
        for of_row, keys, values in _pairs(rows):
            place = np.searchsorted(self.keys, keys)
            place[place == len(self.keys)] = 0
            known = self.keys[place] == keys
            found.append((of_row[known], place[known], values[known]))
        of_row, place, values = (np.concatenate(one) for one in zip(*found, strict=True))
        n_rows, lengths = rows.shape[0], row_lengths(rows.data, rows.indptr)
        squares = np.bincount(of_row, np.square(values), n_rows)
        has = squares > 0
        whole = np.where(has, 1.0 / np.sqrt(1.0 + self.share**2), 1.0)
        part = np.divide(self.share * whole * lengths, np.sqrt(squares), out=np.zeros(n_rows), where=has)
        scaled = (rows.data * np.repeat(whole, np.diff(rows.indptr))).astype(np.float32)
        order = np.lexsort((place, of_row))
        paired = sp.csr_array(
            (
                (values * part[of_row])[order].astype(np.float32),
                place[order],
                np.concatenate([[0], np.cumsum(np.bincount(of_row, minlength=n_rows))]),
            ),
            shape=(n_rows, len(self.keys)),
        )
        alone = sp.csr_array((scaled, rows.indices, rows.indptr), shape=rows.shape)
        return sp.csr_array(sp.hstack([paired, alone], format="csr"))

    def members(self, columns: npt.ArrayLike) -> Int64:
        """The two features of pairs, shape (n, 2), given by the pairs' columns."""
        keys = self.keys[np.asarray(columns, np.int64)]
        return np.stack([keys >> 32, keys & 0xFFFFFFFF], axis=1)

    def to_arrays(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """The pairs as plain data and arrays."""
        return {"share": self.share}, {"keys": self.keys}

    @classmethod
    def from_arrays(cls, spec: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """The pairs that :meth:`to_arrays` returned."""
        return cls(arrays["keys"], spec["share"])


def _pairs(rows: sp.csr_array) -> Iterator[tuple[Int64, Int64, npt.NDArray[np.float64]]]:
    """For blocks of rows: the row, the key and the value of each pair."""
    for start in range(0, max(rows.shape[0], 1), _ROWS):
        block = rows[start : start + _ROWS]
        sizes = np.diff(block.indptr)
        of_row = np.repeat(np.arange(len(sizes)), sizes)
        order = np.lexsort((-np.abs(block.data), of_row))
        rank = np.arange(block.nnz) - np.repeat(block.indptr[:-1], sizes)
        kept = np.sort(order[rank < _PAIRED])
        of_row, features = of_row[kept], block.indices[kept].astype(np.int64)
        values = np.sqrt(np.abs(block.data[kept].astype(np.float64)))
        for apart in range(1, _PAIRED):
            first = np.flatnonzero(of_row[:-apart] == of_row[apart:])
            keys = (features[first] << 32) | features[first + apart]
            yield start + of_row[first], keys, values[first] * values[first + apart]
