"""Data sets of ann-benchmarks, in HDF5."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample._native import core
from lshsample.errors import DataFormatError, needs_extra
from lshsample.family import Rows

__all__ = ["AnnBenchmark", "is_hdf5", "read_ann_benchmark"]

_HDF5 = b"\x89HDF\r\n\x1a\n"
#: Our names of the distances of ann-benchmarks. For rows of zeros and ones the L1 distance is Hamming's.
_DISTANCES = {
    "angular": "cosine",
    "euclidean": "l2",
    "hamming": "l1",
    "jaccard": "jaccard",
    "dot": "inner",
    "ip": "inner",
}


def is_hdf5(path: str | PathLike[str]) -> bool:
    """Whether a file is HDF5, by its first bytes."""
    with Path(path).open("rb") as file:
        return file.read(len(_HDF5)) == _HDF5


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
        raise needs_extra("an HDF5 file", "hdf5", error) from error
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
