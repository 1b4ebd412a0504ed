"""Atomic writers of text: datasets in the format of the XC repository, and predictions."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from lshsample.data.dataset import Dataset, check_dataset
from lshsample.errors import ArgumentError
from lshsample.files import atomic_file

__all__ = ["write_predictions", "write_xc", "xc_lines"]

_ROWS_AT_ONCE = 4096


def write_xc(path: str | PathLike[str], data: Dataset) -> None:
    """Write a dataset in the text format of the XC repository, compressed if the name ends with ``.gz``.

    Values are written with the fewest digits that identify the float32 number, so that
    :func:`~lshsample.data.read_xc` returns the same arrays.

    Parameters
    ----------
    path : str or PathLike
        The file; an existing one is replaced.
    data : Dataset
        The dataset.

    Examples
    --------
    >>> import tempfile, pathlib, scipy.sparse as sp
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "tiny.txt"
    >>> write_xc(path, Dataset.of(sp.csr_array([[0, 0.1], [0, 0]]), sp.csr_array([[1, 0, 1], [0, 0, 0]])))
    >>> path.read_text().splitlines()
    ['2 2 3', '0,2 1:0.1', ' ']
    """
    check_dataset(data)
    with _text_file(path) as file:
        file.write(f"{data.n_rows} {data.n_features} {data.n_labels}\n".encode("ascii"))
        for begin in range(0, data.n_rows, _ROWS_AT_ONCE):
            file.write(xc_lines(data, begin, min(begin + _ROWS_AT_ONCE, data.n_rows)).encode("ascii"))


def xc_lines(data: Dataset, begin: int, end: int) -> str:
    """A range of rows as text."""
    x, y = data.x, data.y
    first, last = int(x.indptr[begin]), int(x.indptr[end])
    values = _shortest(x.data[first:last])
    features = [f"{i}:{v}" for i, v in zip(x.indices[first:last].tolist(), values, strict=True)]
    labels = [str(label) for label in y.indices[y.indptr[begin] : y.indptr[end]].tolist()]
    x_at = (x.indptr[begin : end + 1] - first).tolist()
    y_at = (y.indptr[begin : end + 1] - y.indptr[begin]).tolist()
    rows = range(end - begin)
    return "".join(
        f"{','.join(labels[y_at[r] : y_at[r + 1]])} {' '.join(features[x_at[r] : x_at[r + 1]])}\n"
        for r in rows
    )


def _shortest(values: npt.NDArray[np.float32]) -> list[str]:
    """Each value with the fewest digits that identify it."""
    distinct, place = np.unique(values.view(np.int32), return_inverse=True)
    texts = np.array([str(v).removesuffix(".0") for v in distinct.view(np.float32)], dtype=object)
    return texts[place].tolist() if len(texts) else []


def write_predictions(
    path: str | PathLike[str] | BinaryIO, labels: npt.ArrayLike, scores: npt.ArrayLike
) -> None:
    """Write a line ``label:score label:score ...`` for each sample, best first; compressed for ``.gz``.

    Parameters
    ----------
    path : str, PathLike or binary file
        The file; an existing one is replaced. An open file is written to directly.
    labels : array_like of int, shape (n_rows, k)
        Predicted labels; negative ones mean no prediction and are left out.
    scores : array_like of float, shape (n_rows, k)
        Their scores.

    Raises
    ------
    ArgumentError
        The shapes differ, the labels are not integers, or a score is NaN.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "predicted.txt"
    >>> write_predictions(path, [[4, 2], [1, -1]], [[0.9, 0.05], [1.0, 0.0]])
    >>> path.read_text().splitlines()
    ['4:0.9 2:0.05', '1:1']
    """
    ids, values = np.asarray(labels), np.asarray(scores, dtype=np.float32)
    if ids.ndim != 2 or ids.dtype.kind not in "iu":
        raise ArgumentError("labels", f"{ids.dtype} of shape {ids.shape}", "integers of shape (n_rows, k)")
    if values.shape != ids.shape:
        raise ArgumentError("scores", f"shape {values.shape}", f"an array of shape {ids.shape}, as labels")
    if np.isnan(values).any():
        raise ArgumentError("scores", "NaN", "an array without NaN")
    with _text_file(path) as file:
        for begin in range(0, len(ids), _ROWS_AT_ONCE):
            block = slice(begin, begin + _ROWS_AT_ONCE)
            texts = iter(_shortest(values[block].reshape(-1)))
            lines = [
                [f"{i}:{v}" for i, v in zip(row, texts, strict=False) if i >= 0]
                for row in ids[block].tolist()
            ]
            file.write("".join(" ".join(line) + "\n" for line in lines).encode("ascii"))


@contextmanager
def _text_file(path: str | PathLike[str] | BinaryIO) -> Iterator[Any]:
    """An open file, or one that is written atomically; compressed files have no time stamp."""
    if not isinstance(path, (str, PathLike)):
        if not hasattr(path, "write"):
            raise ArgumentError("path", repr(path), "a path or a binary file")
        yield path
        return
    with atomic_file(path) as file:
        if Path(path).suffix != ".gz":
            yield file
            return
        with gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=6, mtime=0) as packed:
            yield packed
