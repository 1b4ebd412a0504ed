"""Targets of a batch as the labels of each row."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch

from lshsample._native import core
from lshsample._native.labels import label_rows
from lshsample.errors import ArgumentError

__all__ = ["canonical_labels", "labels_of_csr"]

Int64 = npt.NDArray[np.int64]


def labels_of_csr(target: Any, rows: int, num_classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The ids and row pointers of a sparse indicator matrix, from SciPy or as a ``torch.sparse_csr`` tensor.

    Raises
    ------
    ArgumentError
        Another shape, or a value other than 0 and 1.
    """
    if isinstance(target, torch.Tensor):
        parts = target.values(), target.col_indices(), target.crow_indices()
        target = sp.csr_array(tuple(part.numpy() for part in parts), shape=(len(target), target.shape[-1]))
    labels = label_rows(target, "target", num_classes)
    if labels.shape[0] != rows:
        raise ArgumentError("target", f"{labels.shape[0]} rows", f"a matrix of {rows} rows, as hidden has")
    return torch.from_numpy(labels.indices.astype(np.int64)), torch.from_numpy(core.offsets_of(labels))


def canonical_labels(ids: Int64, starts: Int64 | None, ignore_index: int, num_classes: int) -> sp.csr_array:
    """The labels of each row, ascending and unique.

    Parameters
    ----------
    ids : (rows,) or (rows, m) int64 array, or (nnz,) with ``starts``
        Class ids, ``ignore_index`` for none; or what :func:`labels_of_csr` returns, which is canonical.
    starts : (rows + 1,) int64 array or None
        Row pointers.
    ignore_index : int
        The id that is no label.
    num_classes : int
        Ids are smaller.

    Raises
    ------
    ArgumentError
        An id out of range.
    """
    if starts is not None:
        return core.csr_from_parts(starts, ids, None, (len(starts) - 1, num_classes))
    given = ids != ignore_index
    outside = given & ((ids < 0) | (ids >= num_classes))
    if outside.any():
        place = tuple(int(i) for i in np.argwhere(outside)[0])
        wanted = f"class ids from 0 to {num_classes - 1}, or ignore_index ({ignore_index})"
        raise ArgumentError("target", f"{ids[place]} at {place}", wanted)
    if ids.ndim == 2:
        # Places without a label get an id above all others, repeated ids of a row are labels once.
        ids = np.sort(np.where(given, ids, num_classes), axis=1)
        given = ids < num_classes
        given[:, 1:] &= ids[:, 1:] != ids[:, :-1]
    lengths = given.sum(axis=1) if ids.ndim == 2 else given
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    return core.csr_from_parts(indptr, ids[given], None, (len(ids), num_classes))
