"""One matrix a file, features or labels: text with a header of two integers, SciPy's npz, NumPy's npy."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample._native import core
from lshsample._native.core import threads_or_default
from lshsample._native.labels import label_rows
from lshsample.data.assemble import BLOCK_BYTES, concatenate
from lshsample.data.dataset import Dataset
from lshsample.data.npy import Archive, read_array
from lshsample.data.npz import open_archive
from lshsample.data.source import LineSource
from lshsample.data.xc import is_matrix_header, is_xc_header, read_header, xc_rows
from lshsample.errors import ArgumentError, DataFormatError, LshsampleError

__all__ = ["dense_rows", "form_of", "matrix_dataset", "read_matrix"]

R = TypeVar("R")
_SCIPY = {"csr": ("indices", "indptr"), "csc": ("indices", "indptr"), "coo": ("row", "col")}
_FORMATS = {"csr": sp.csr_array, "csc": sp.csc_array, "coo": sp.coo_array}


def read_matrix(
    path: str | PathLike[str], *, trust_rows: bool = False, threads: int | None = None
) -> sp.csr_array:
    r"""Read one matrix, of features or of labels, as data sets in two files have them.

    Parameters
    ----------
    path : str or PathLike
        Text with a header ``N D`` (rows, columns) and a line ``column:value column:value ...`` for each row
        (the repository's ``trn_X_Xf.txt`` and ``trn_X_Y.txt``), plain or compressed; an array of two
        dimensions in NumPy's npy format; or a sparse matrix of ``scipy.sparse.save_npz`` (CSR, CSC or COO).
        Text and npy may come from a pipe, or from standard input (``"-"``).
    trust_rows : bool
        Read all rows of a text, whatever number its header states.
    threads : int, optional
        Number of threads; the result does not depend on it.

    Returns
    -------
    scipy.sparse.csr_array
        Shape (N, D), float32, canonical, without stored zeros.

    Raises
    ------
    DataFormatError
        The file is none of these, or is damaged; a value is not finite float32.
    MemoryBudgetError
        An array of an archive is larger than the available memory.
    OSError
        The file cannot be read.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "trn_X_Xf.txt"
    >>> _ = path.write_text("2 4\n1:0.5 3:1\n0:2\n")
    >>> read_matrix(path).toarray().tolist()
    [[0.0, 0.5, 0.0, 1.0], [2.0, 0.0, 0.0, 0.0]]
    """
    return _matrix(LineSource(path), trust_rows, threads)


def _matrix(source: LineSource, trust_rows: bool, threads: int | None) -> sp.csr_array:
    count, form = threads_or_default(threads), form_of(source)
    if form == "matrix":
        header = read_header(source, of_matrix=True)
        rows = concatenate(xc_rows(source, header, trust_rows, BLOCK_BYTES, count))
        parts = rows.x_indptr, rows.x_indices, rows.x_values, (rows.n_rows, header.n_features)
        return core.csr_rows(core.csr_from_parts(*parts), "the matrix", threads=count)
    if form == "npy":
        return _of_npy(source, core.feature_rows)
    if form == "scipy":
        with open_archive(source.path) as archive:
            return _of_scipy(archive)
    problem = f"a file of format {form}, not one matrix: expected text with a header of two integers"
    raise source.fail(f"{problem}, npy, or npz of scipy.sparse.save_npz", 0)


def dense_rows(source: LineSource) -> npt.NDArray[np.float32]:
    """The rows of an npy file as they are, dense."""
    return _of_npy(source, core.dense_rows)


def _of_npy(source: LineSource, rows_of: Callable[[Any, str], R]) -> R:
    try:
        return rows_of(read_array(source.as_file(), "the array"), "the array")
    except (LshsampleError, MemoryError) as error:
        if isinstance(error, ArgumentError):
            raise source.fail(str(error), 0) from error
        raise
    except Exception as error:  # the parser of headers raises errors of many kinds
        raise source.fail(f"not an array in npy: {error}", 0) from error


def _of_scipy(archive: Archive) -> sp.csr_array:
    form = archive.read("format").item()
    form = form.decode("ascii") if isinstance(form, bytes) else str(form)
    if form not in _SCIPY:
        raise ValueError(f"a sparse matrix of format {form[:40]!r}; expected csr, csc or coo")
    if missing := archive.missing(_SCIPY[form]):
        raise ValueError(f"{', '.join(missing)} missing, for a sparse matrix of format {form}")
    shape = archive.read("shape")
    if shape.shape != (2,) or shape.dtype.kind not in "iu":
        raise ValueError(f"shape: expected two integers, got {shape.dtype} of shape {shape.shape}")
    places, data = [archive.read(name) for name in _SCIPY[form]], archive.read("data")
    parts: Any = (data, tuple(places)) if form == "coo" else (data, *places)
    return core.csr_rows(_FORMATS[form](parts, shape=tuple(map(int, shape))), "the matrix")


def form_of(source: LineSource) -> str:
    """The format of a file by its content; see :func:`~lshsample.data.detect_format`."""
    head = source.peek(6)
    if head == b"\x93NUMPY":
        return "npy"
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        with open_archive(source.path) as archive:
            return "scipy" if {"data", "format", "shape"} <= archive.names else "npz"
    line = source.peek_line()
    return "matrix" if is_matrix_header(line) else "xc" if is_xc_header(line) else "libsvm"


def matrix_dataset(
    source: LineSource,
    *,
    labels: str | PathLike[str] | None = None,
    trust_rows: bool = False,
    threads: int | None = None,
) -> Dataset:
    """A dataset of two files, features and labels; without ``labels`` there are none."""
    x = _matrix(source, trust_rows, threads)
    if labels is None:
        return Dataset(x, cast("sp.csr_array", sp.csr_array((x.shape[0], 0), dtype=np.float32)))
    y = read_matrix(labels, trust_rows=trust_rows, threads=threads)
    try:
        return Dataset(x, label_rows(y, "labels", n_rows=x.shape[0]))
    except ArgumentError as error:
        raise DataFormatError(labels, 0, 0, str(error)) from error
