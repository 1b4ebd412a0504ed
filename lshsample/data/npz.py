"""Datasets as CSR arrays in NumPy's npz format: the layout that is written, and another that can be read.

Layout written: ``x_indptr`` int64 (n_rows + 1), ``x_indices`` int32, ``x_values`` float32, ``y_indptr``
int64 (n_rows + 1), ``y_indices`` int32, ``n_features`` and ``n_labels`` int64 scalars, and ``format``, the
text ``lshsample-dataset-1``. Ids start at 0 and ascend in a row. Also read: ``xptr, xidx, xval, yptr, yidx,
D, L``.
"""

from __future__ import annotations

import zipfile
import zlib
from os import PathLike
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample._native import core
from lshsample._native.text import MAX_ID
from lshsample.data.dataset import Dataset, check_dataset
from lshsample.errors import DataFormatError
from lshsample.files import atomic_file

__all__ = ["FORMAT", "read_npz", "write_npz"]

FORMAT = "lshsample-dataset-1"
_OWN = ("x_indptr", "x_indices", "x_values", "y_indptr", "y_indices", "n_features", "n_labels")
_SHORT = ("xptr", "xidx", "xval", "yptr", "yidx", "D", "L")
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    ValueError,
    KeyError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    OSError,
)


def read_npz(path: str | PathLike[str]) -> Dataset:
    """Read a dataset from an npz file; pickled objects are never loaded.

    Parameters
    ----------
    path : str or PathLike
        The file, in either of the layouts that the module describes.

    Returns
    -------
    Dataset
        ``x`` (n_rows, n_features) and ``y`` (n_rows, n_labels), canonical, whatever the order of ids in the
        file.

    Raises
    ------
    DataFormatError
        The file is not an npz archive, is damaged or lacks an array, or the arrays are not valid: wrong dtype
        or shape, decreasing row pointers, ids out of range or twice in a row, values that are not finite
        float32.
    OSError
        The file cannot be opened.
    """
    with Path(path).open("rb") as file:
        try:
            arrays = _load(file)
            names, parts = _layout(arrays)
            return _dataset(names, *parts)
        except _BROKEN as error:
            raise DataFormatError(path, 0, 0, f"not a dataset in npz: {error}") from error


def _load(file: Any) -> dict[str, npt.NDArray[Any]]:
    archive = np.load(file, allow_pickle=False)
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise ValueError("expected an archive of several arrays (np.savez), got one array")
    with archive:
        return {name: archive[name] for name in archive.files}


def _layout(arrays: dict[str, npt.NDArray[Any]]) -> tuple[tuple[str, ...], list[npt.NDArray[Any]]]:
    """The names of the layout that the file follows, and its arrays in that order."""
    names = _SHORT if "xptr" in arrays else _OWN
    missing = [name for name in names if name not in arrays]
    if missing:
        raise ValueError(f"{', '.join(missing)} missing; expected {', '.join(_OWN)} (or {', '.join(_SHORT)})")
    given = str(arrays.get("format", FORMAT))
    if given != FORMAT:
        raise ValueError(f"format is {given[:40]!r}; expected {FORMAT!r}")
    return names, [arrays[name] for name in names]


def _dataset(names: tuple[str, ...], *parts: npt.NDArray[Any]) -> Dataset:
    x_indptr, x_indices, x_values, y_indptr, y_indices, n_features, n_labels = parts
    if len(x_indptr.shape) == 1 and x_indptr.shape != y_indptr.shape:
        raise ValueError(
            f"{names[0]} has shape {x_indptr.shape} and {names[3]} {y_indptr.shape}; expected the same"
        )
    x_size, y_size = _size(n_features, names[5]), _size(n_labels, names[6])
    x = _rows(x_indptr, x_indices, x_size, names[:2])
    y = _rows(y_indptr, y_indices, y_size, names[3:5])
    x.data = _values(x_values, x.nnz, names[2])
    if not x.has_sorted_indices:
        x.sort_indices()
    y.sort_indices()
    for matrix, name in ((x, names[1]), (y, names[4])):
        if not matrix.has_canonical_format:
            raise ValueError(f"{name}: an id occurs twice in a row; expected each once")
    return Dataset(core.csr_rows(x, names[2]), core.csr_rows(y, names[4]))


def _size(value: npt.NDArray[Any], name: str) -> int:
    if value.dtype.kind not in "iu" or value.size != 1 or not 0 <= int(value.reshape(-1)[0]) <= MAX_ID:
        raise ValueError(
            f"{name}: expected one integer from 0 to {MAX_ID}, got {value.dtype} of shape {value.shape}"
        )
    return int(value.reshape(-1)[0])


def _rows(
    indptr: npt.NDArray[Any], indices: npt.NDArray[Any], size: int, names: tuple[str, ...]
) -> sp.csr_array:
    """A checked pattern with values of 1; canonical or not."""
    for name, array in zip(names, (indptr, indices), strict=True):
        if array.dtype.kind not in "iu" or array.ndim != 1:
            raise ValueError(
                f"{name}: expected integers in one dimension, got {array.dtype} of shape {array.shape}"
            )
    if not len(indptr) or indptr[0] != 0 or indptr[-1] != len(indices) or (indptr[1:] < indptr[:-1]).any():
        raise ValueError(
            f"{names[0]}: expected row pointers that start at 0, never decrease, and end at {len(indices)}"
        )
    if len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < size:
        raise ValueError(
            f"{names[1]}: expected ids from 0 to {size - 1}, got {indices.min()} to {indices.max()}"
        )
    parts = (np.ones(len(indices), np.float32), indices, indptr)
    return cast("sp.csr_array", sp.csr_array(parts, shape=(len(indptr) - 1, size)))


def _values(values: npt.NDArray[Any], n: int, name: str) -> npt.NDArray[np.float32]:
    if values.dtype.kind not in "fiu" or values.shape != (n,):
        raise ValueError(f"{name}: expected {n} real numbers, got {values.dtype} of shape {values.shape}")
    with np.errstate(over="ignore"):
        single: npt.NDArray[np.float32] = values.astype(np.float32)
    core.check_finite(single, name)
    return single


def write_npz(path: str | PathLike[str], data: Dataset) -> None:
    """Write a dataset as npz in the layout of this module, atomically.

    Parameters
    ----------
    path : str or PathLike
        The file; an existing one is replaced. The name is used unchanged, without adding ``.npz``.
    data : Dataset
        The dataset.

    Examples
    --------
    >>> import tempfile, pathlib, scipy.sparse as sp
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "tiny.npz"
    >>> write_npz(path, Dataset.of(sp.eye(3, format="csr"), sp.eye(3, format="csr")))
    >>> read_npz(path)
    Dataset(3 rows, 3 features, 3 labels, 1.0 features and 1.0 labels a row)
    """
    check_dataset(data)
    with atomic_file(path) as file:
        np.savez(
            file,
            allow_pickle=False,
            x_indptr=data.x.indptr,
            x_indices=data.x.indices,
            x_values=data.x.data,
            y_indptr=data.y.indptr,
            y_indices=data.y.indices,
            n_features=np.int64(data.n_features),
            n_labels=np.int64(data.n_labels),
            format=np.array(FORMAT),
        )
