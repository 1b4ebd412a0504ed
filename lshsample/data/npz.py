"""Datasets as CSR arrays in NumPy's npz format: the layout that is written, and another that can be read.

Layout written: ``x_indptr`` int64 (n_rows + 1), ``x_indices`` int32, ``x_values`` float32, ``y_indptr``
int64 (n_rows + 1), ``y_indices`` int32, ``n_features`` and ``n_labels`` int64 scalars, and ``format``, the
text ``lshsample-dataset-1``. Ids start at 0 and ascend in a row. Also read: ``xptr, xidx, xval, yptr, yidx,
D, L``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike, fspath
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample._native import core
from lshsample._native.text import MAX_ID
from lshsample.data.dataset import Dataset, check_dataset
from lshsample.data.npy import Archive
from lshsample.data.source import STDIN
from lshsample.errors import ArgumentError, DataFormatError, LshsampleError
from lshsample.files import atomic_file

__all__ = ["FORMAT", "open_archive", "read_npz", "write_npz"]

FORMAT = "lshsample-dataset-1"
_OWN = ("x_indptr", "x_indices", "x_values", "y_indptr", "y_indices", "n_features", "n_labels")
_SHORT = ("xptr", "xidx", "xval", "yptr", "yidx", "D", "L")


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
        float32, an array twice in the archive, a header that states another size than the archive.
    MemoryBudgetError
        An array that is larger than the available memory; nothing is allocated.
    OSError
        The file cannot be opened.
    """
    with open_archive(path) as archive:
        names, parts = _layout(archive)
        return _dataset(names, *parts)


@contextmanager
def open_archive(path: str | PathLike[str]) -> Iterator[Archive]:
    """An npz archive; whatever is wrong with it becomes a DataFormatError with the name of the file."""
    if fspath(path) == STDIN or (Path(path).exists() and not Path(path).is_file()):
        raise DataFormatError(path, 0, 0, "npz cannot be read from a pipe: expected a file")
    with Path(path).open("rb") as file:
        try:
            yield Archive(file)
        except (LshsampleError, MemoryError) as error:
            if isinstance(error, ArgumentError):
                raise DataFormatError(path, 0, 0, f"not a dataset in npz: {error}") from error
            raise
        except Exception as error:  # zipfile, zlib and the parser of headers raise errors of many kinds
            raise DataFormatError(path, 0, 0, f"not a dataset in npz: {error}") from error


def _layout(archive: Archive) -> tuple[tuple[str, ...], list[npt.NDArray[Any]]]:
    """The names of the layout that the file follows, and its arrays in that order."""
    names = _SHORT if "xptr" in archive.names else _OWN
    if missing := archive.missing(names):
        raise ValueError(f"{', '.join(missing)} missing; expected {', '.join(_OWN)} (or {', '.join(_SHORT)})")
    given = str(archive.read("format")) if "format" in archive.names else FORMAT
    if given != FORMAT:
        raise ValueError(f"format is {given[:40]!r}; expected {FORMAT!r}")
    return names, [archive.read(name) for name in names]


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
    return Dataset(x, y)


def _size(value: npt.NDArray[Any], name: str) -> int:
    if value.dtype.kind not in "iu" or value.size != 1 or not 0 <= int(value.reshape(-1)[0]) <= MAX_ID:
        raise ValueError(
            f"{name}: expected one integer from 0 to {MAX_ID}, got {value.dtype} of shape {value.shape}"
        )
    return int(value.reshape(-1)[0])


def _rows(
    indptr: npt.NDArray[Any], indices: npt.NDArray[Any], size: int, names: tuple[str, ...]
) -> sp.csr_array:
    """A checked pattern with values of 1, without an id twice in a row."""
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
    ones = np.ones(len(indices), np.float32)
    pattern: Any = sp.csr_array((ones, indices, indptr), shape=(len(indptr) - 1, size))
    if not pattern.has_canonical_format:
        ordered = pattern.copy()
        ordered.sort_indices()
        # SciPy has cached that the order is not canonical.
        if not sp.csr_array(
            (ones, ordered.indices, ordered.indptr), shape=pattern.shape
        ).has_canonical_format:
            raise ValueError(f"{names[1]}: an id occurs twice in a row; expected each once")
    return cast("sp.csr_array", pattern)


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
            x_indptr=core.offsets_of(data.x),
            x_indices=data.x.indices.astype(np.int32, copy=False),
            x_values=data.x.data,
            y_indptr=core.offsets_of(data.y),
            y_indices=data.y.indices.astype(np.int32, copy=False),
            n_features=np.int64(data.n_features),
            n_labels=np.int64(data.n_labels),
            format=np.array(FORMAT),
        )
