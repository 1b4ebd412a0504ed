"""Rows for comparisons from files: arrays of NumPy and SciPy, HDF5 of ann-benchmarks, and data sets."""

from __future__ import annotations

import zipfile
from os import PathLike
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample._native import core
from lshsample.data import load
from lshsample.errors import ArgumentError, DataFormatError, UnsupportedError
from lshsample.family import Rows

__all__ = ["AnnBenchmark", "is_hdf5", "read_ann_benchmark", "read_array", "read_rows"]

_HDF5 = b"\x89HDF\r\n\x1a\n"
_NPY = b"\x93NUMPY"
#: Our names of the distances of ann-benchmarks. For rows of zeros and ones the L1 distance is Hamming's.
_DISTANCES = {
    "angular": "cosine",
    "euclidean": "l2",
    "hamming": "l1",
    "jaccard": "jaccard",
    "dot": "inner",
    "ip": "inner",
}


def _starts_with(path: str | PathLike[str], magic: bytes) -> bool:
    with Path(path).open("rb") as file:
        return file.read(len(magic)) == magic


def is_hdf5(path: str | PathLike[str]) -> bool:
    """Whether a file is HDF5, by its first bytes."""
    return _starts_with(path, _HDF5)


def read_rows(path: str | PathLike[str], **options: Any) -> Rows:
    """The rows of a file: dense ``.npy``, a sparse array of SciPy, or the features of a data set.

    Parameters
    ----------
    path : str or PathLike
        A file of ``numpy.save`` with a two-dimensional array of numbers, of ``scipy.sparse.save_npz``, or of
        a format of :func:`lshsample.data.load`. The format is recognised by the content.
    **options
        Options of :func:`lshsample.data.load`, for its formats.

    Returns
    -------
    (n, dim) rows
        Dense float32, or CSR.

    Raises
    ------
    ArgumentError
        Options for a file that has none.
    DataFormatError
        The file is damaged, or has no rows of finite numbers.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "rows.npy"
    >>> np.save(path, np.eye(3))
    >>> read_rows(path).dtype
    dtype('float32')
    """
    rows = read_array(path)
    if rows is None:
        return load(path, **options).x
    for name, value in options.items():
        raise ArgumentError(name, f"{value!r} for {path}", "left out for an array of NumPy or SciPy")
    return rows


def read_array(path: str | PathLike[str]) -> Rows | None:
    """The rows of an array of NumPy or SciPy, as :func:`read_rows`; None for a file of another format."""
    reader = _read_npy if _starts_with(path, _NPY) else _read_scipy if _is_scipy(path) else None
    if reader is None:
        return None
    try:
        return reader(path)
    except (ValueError, EOFError, OSError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise DataFormatError(path, 0, 0, f"not an array of rows: {error}") from error


def _is_scipy(path: str | PathLike[str]) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return {"format.npy", "shape.npy", "data.npy"} <= set(archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return False


def _read_npy(path: str | PathLike[str]) -> Rows:
    return core.dense_rows(np.load(path, allow_pickle=False), "rows")


def _read_scipy(path: str | PathLike[str]) -> Rows:
    matrix = sp.load_npz(path)
    return core.csr_rows(sp.csr_array(matrix), "rows")


@attrs.frozen(eq=False)
class AnnBenchmark:
    """A data set of ann-benchmarks.

    Attributes
    ----------
    train, test : (n, dim) rows
        Items and queries.
    metric : str or None
        The metric, by its name here; None if the file states none.
    neighbors : (m, k) int64 array or None
        Ids of the nearest items of each query, the nearest first.
    """

    train: Rows
    test: Rows
    metric: str | None
    neighbors: npt.NDArray[np.int64] | None


def read_ann_benchmark(path: str | PathLike[str]) -> AnnBenchmark:
    """Read an HDF5 file in the layout of ann-benchmarks.

    Parameters
    ----------
    path : str or PathLike
        Data sets ``train`` and ``test``, and if there is one ``neighbors``; the attributes ``distance`` and,
        for sets of integers, ``type`` ``"sparse"`` with ``size_train`` and ``size_test``.

    Returns
    -------
    AnnBenchmark

    Raises
    ------
    DataFormatError
        The file has another layout, or is damaged.
    UnsupportedError
        h5py is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise UnsupportedError(f"HDF5 needs h5py: pip install 'lshsample[hdf5]' ({error})") from error
    try:
        with h5py.File(path, "r") as file:
            return _ann_benchmark(file)
    except (KeyError, ValueError, OSError, TypeError, IndexError) as error:
        raise DataFormatError(path, 0, 0, f"not a data set of ann-benchmarks: {error}") from error


def _ann_benchmark(file: Any) -> AnnBenchmark:
    for name in ("train", "test"):
        if name not in file:
            raise ValueError(f"{name} is missing; it has {', '.join(file) or 'nothing'}")
    stated = file.attrs.get("distance")
    stated = stated.decode() if isinstance(stated, bytes) else stated
    if stated is not None and stated not in _DISTANCES:
        raise ValueError(f"distance is {stated!r}; expected one of {', '.join(_DISTANCES)}")
    if file.attrs.get("type", "dense") in ("sparse", b"sparse"):
        train, test = _sets(file)
    else:
        train, test = (core.dense_rows(np.asarray(file[name]), name) for name in ("train", "test"))
    if train.shape[1] != test.shape[1]:
        raise ValueError(f"test has {test.shape[1]} columns and train {train.shape[1]}; expected the same")
    neighbors = np.asarray(file["neighbors"]).astype(np.int64) if "neighbors" in file else None
    if neighbors is not None and (
        neighbors.ndim != 2
        or len(neighbors) != test.shape[0]
        or not 0 <= neighbors.min(initial=0) <= neighbors.max(initial=0) < train.shape[0]
    ):
        raise ValueError(
            f"neighbors has shape {neighbors.shape} with ids {neighbors.min(initial=0)} to "
            f"{neighbors.max(initial=0)}; expected a row of ids from 0 to {train.shape[0] - 1} for each of "
            f"the {test.shape[0]} rows of test"
        )
    return AnnBenchmark(train, test, None if stated is None else _DISTANCES[stated], neighbors)


def _sets(file: Any) -> tuple[Rows, Rows]:
    """Rows of ones for sets of integers, which the file has one after another, with their sizes."""
    parts = []
    for name in ("train", "test"):
        sizes, columns = np.asarray(file[f"size_{name}"], np.int64), np.asarray(file[name], np.int64)
        if sizes.sum() != columns.size:
            raise ValueError(f"size_{name} adds up to {sizes.sum()}; expected {columns.size}, as in {name}")
        parts.append((columns.ravel(), np.concatenate([[0], np.cumsum(sizes)])))
    dim = 1 + max(int(columns.max(initial=0)) for columns, _ in parts)
    train, test = (
        core.csr_rows(sp.csr_array((np.ones(c.size, np.float32), c, p), shape=(len(p) - 1, dim)), name)
        for name, (c, p) in zip(("train", "test"), parts, strict=True)
    )
    return train, test
