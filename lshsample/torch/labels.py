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
from lshsample.torch.arrays import check_device

__all__ = ["canonical_labels", "label_tensors", "labels_of_target"]

Int64 = npt.NDArray[np.int64]


def labels_of_target(
    target: Any, argument: str, leading: torch.Size, n_items: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Targets as :func:`canonical_labels` takes them, with rows in one axis.

    Parameters
    ----------
    target : integer tensor, or sparse matrix
        Ids (...,) or (..., m), or an indicator matrix (rows, n_items).
    argument : str
        The name in errors.
    leading : torch.Size
        The shape (...,) of the rows.
    n_items : int
        Columns of an indicator matrix.
    device : torch.device
        Where ids must be, and where those of an indicator matrix go.

    Returns
    -------
    ids : (rows,), (rows, m) or (nnz,) int64 tensor
    starts : (rows + 1,) int64 tensor, or None unless ids are (nnz,)

    Raises
    ------
    ArgumentError
        Another type, shape, dtype or device, or a value of an indicator matrix other than 0 and 1.
    """
    rows = leading.numel()
    if sp.issparse(target) or (isinstance(target, torch.Tensor) and target.layout == torch.sparse_csr):
        ids, starts = _of_csr(target, argument, rows, n_items)
        return ids.to(device), starts.to(device)
    if not isinstance(target, torch.Tensor):
        raise ArgumentError(argument, type(target).__name__, "a tensor of ids, or a sparse matrix")
    check_device(target, argument, device)
    if target.dtype not in (torch.int64, torch.int32):
        raise ArgumentError(argument, str(target.dtype), "ids of dtype torch.int64")
    if target.shape == leading:
        return target.reshape(-1).to(torch.int64), None
    if target.dim() != len(leading) + 1 or target.shape[:-1] != leading:
        shape = ", ".join(map(str, leading))
        wanted = f"of shape ({shape}) for one id a row, or ({shape}, m) for several"
        raise ArgumentError(argument, f"shape {tuple(target.shape)}", wanted)
    return target.reshape(rows, target.shape[-1]).to(torch.int64), None


def _of_csr(target: Any, argument: str, rows: int, n_items: int) -> tuple[torch.Tensor, torch.Tensor]:
    if isinstance(target, torch.Tensor):
        parts = target.values(), target.col_indices(), target.crow_indices()
        target = sp.csr_array(
            tuple(part.cpu().numpy() for part in parts), shape=(len(target), target.shape[-1])
        )
    labels = label_rows(target, argument, n_items)
    if labels.shape[0] != rows:
        raise ArgumentError(argument, f"{labels.shape[0]} rows", f"a matrix of {rows} rows")
    return torch.from_numpy(labels.indices.astype(np.int64)), torch.from_numpy(core.offsets_of(labels))


def canonical_labels(
    ids: Int64, starts: Int64 | None, ignore_index: int, n_items: int, argument: str = "target"
) -> sp.csr_array:
    """The labels of each row, ascending and unique.

    Parameters
    ----------
    ids : (rows,) or (rows, m) int64 array, or (nnz,) with ``starts``
        Class ids, ``ignore_index`` for none; or what :func:`labels_of_target` returns, which is canonical.
    starts : (rows + 1,) int64 array or None
        Row pointers.
    ignore_index : int
        The id that is no label.
    n_items : int
        Ids are smaller.
    argument : str
        The name in errors.

    Raises
    ------
    ArgumentError
        An id out of range.
    """
    if starts is not None:
        return core.csr_from_parts(starts, ids, None, (len(starts) - 1, n_items))
    given = ids != ignore_index
    outside = given & ((ids < 0) | (ids >= n_items))
    if outside.any():
        place = tuple(int(i) for i in np.argwhere(outside)[0])
        wanted = f"ids from 0 to {n_items - 1}, or {ignore_index} for none"
        raise ArgumentError(argument, f"{ids[place]} at {place}", wanted)
    if ids.ndim == 2:
        # Places without a label get an id above all others, repeated ids of a row are labels once.
        ids = np.sort(np.where(given, ids, n_items), axis=1)
        given = ids < n_items
        given[:, 1:] &= ids[:, 1:] != ids[:, :-1]
    lengths = given.sum(axis=1) if ids.ndim == 2 else given
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    return core.csr_from_parts(indptr, ids[given], None, (len(ids), n_items))


def label_tensors(
    ids: torch.Tensor, starts: torch.Tensor | None, ignore_index: int, n_items: int, argument: str = "target"
) -> tuple[torch.Tensor, torch.Tensor]:
    """As :func:`canonical_labels`, in tensor operations: ids (nnz,) and row pointers (rows + 1,), int64.

    Raises
    ------
    ArgumentError
        An id out of range.
    """
    if starts is not None:
        return ids, starts
    given = ids != ignore_index
    if bool((given & ((ids < 0) | (ids >= n_items))).any()):
        canonical_labels(ids.cpu().numpy(), None, ignore_index, n_items, argument)  # its error has the place
    if ids.dim() == 2:
        ids = ids.masked_fill(~given, n_items).sort(1).values
        given = ids < n_items
        given[:, 1:] &= ids[:, 1:] != ids[:, :-1]
    lengths = given.sum(1) if ids.dim() == 2 else given.long()
    return ids[given], torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
