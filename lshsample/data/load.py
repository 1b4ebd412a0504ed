"""One reader for all formats, which are recognised by their content."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from os import PathLike
from typing import Any

from lshsample import memory
from lshsample.data.dataset import Dataset
from lshsample.data.libsvm import libsvm_dataset
from lshsample.data.matrix import dense_rows, form_of, matrix_dataset
from lshsample.data.npz import read_npz
from lshsample.data.source import LineSource
from lshsample.data.xc import xc_dataset
from lshsample.errors import ArgumentError
from lshsample.family import Rows

__all__ = ["detect_format", "load", "load_source", "options_of", "read_rows", "rows_of_source"]


def _npz_dataset(source: LineSource) -> Dataset:
    return read_npz(source.path)


_READERS: dict[str, Callable[..., Dataset]] = {
    "npz": _npz_dataset,
    "xc": xc_dataset,
    "libsvm": libsvm_dataset,
    "matrix": matrix_dataset,
    "npy": matrix_dataset,
    "scipy": matrix_dataset,
}


def options_of(form: str) -> frozenset[str]:
    """The options of :func:`load` for a format."""
    return frozenset(inspect.signature(_READERS[form]).parameters) - {"source"}


def detect_format(path: str | PathLike[str]) -> str:
    """The format of a data file by its first bytes.

    Parameters
    ----------
    path : str or PathLike
        The file. A pipe or standard input cannot be read again afterwards.

    Returns
    -------
    str
        ``"npz"`` for a zip archive, ``"scipy"`` if it is that of a sparse matrix; ``"npy"`` for an array.
        Text, plain or compressed: ``"matrix"`` if the first line has two integers, ``"xc"`` if it has several
        words and no colon (a header has three integers), else ``"libsvm"``.
    """
    return form_of(LineSource(path))


@memory.named_shortage("reading a data file")
def load(path: str | PathLike[str], **options: Any) -> Dataset:
    r"""Read a data file of any known format.

    Parameters
    ----------
    path : str or PathLike
        The file: XC repository text or libsvm text (plain, or compressed by gzip, bzip2, xz or zstd), npz; or
        the features alone, as text with a header of two integers, npy, or npz by ``scipy.sparse.save_npz``. A
        pipe, or ``"-"`` for standard input, except for npz.
    **options
        Arguments of the format's reader: :func:`~lshsample.data.read_xc`,
        :func:`~lshsample.data.read_libsvm` or :func:`~lshsample.data.read_npz`. Features alone have the
        options of :func:`~lshsample.data.read_matrix`, and ``labels``, the file of the labels (a matrix in
        any of these forms); without it there are no labels. Others are refused.

    Returns
    -------
    Dataset

    Raises
    ------
    ArgumentError, DataFormatError, OSError
        As the readers.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "tiny"
    >>> _ = path.write_text("0,2 1:0.5 3:1\n1 2:2\n")
    >>> load(path, n_labels=10)
    Dataset(2 rows, 3 features, 10 labels, 1.5 features and 1.5 labels a row)
    """
    return load_source(LineSource(path), **options)


def load_source(source: LineSource, **options: Any) -> Dataset:
    """The dataset of a source of which nothing has been read; see :func:`load`."""
    form = form_of(source)
    _check_options(source, form, options, options_of(form))
    return _READERS[form](source, **options)


def read_rows(path: str | PathLike[str], **options: Any) -> Rows:
    """The feature rows of a file: those of :func:`load`, or dense if the file is an array.

    Parameters
    ----------
    path : str or PathLike
        A file of ``numpy.save`` with a two-dimensional array of numbers, or of any other format of
        :func:`load`.
    **options
        As for :func:`load`; an array has none.

    Returns
    -------
    (n, dim) rows
        Dense float32, or CSR.

    Raises
    ------
    ArgumentError, DataFormatError, OSError
        As :func:`load`.

    Examples
    --------
    >>> import numpy as np, pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "rows.npy"
    >>> np.save(path, np.eye(3))
    >>> read_rows(path).dtype
    dtype('float32')
    """
    return rows_of_source(LineSource(path), **options)


def rows_of_source(source: LineSource, **options: Any) -> Rows:
    """The rows of a source of which nothing has been read; see :func:`read_rows`."""
    form = form_of(source)
    if form != "npy":
        return load_source(source, **options).x
    _check_options(source, form, {n: v for n, v in options.items() if n != "threads"}, frozenset())
    return dense_rows(source)


def _check_options(source: LineSource, form: str, options: dict[str, Any], known: frozenset[str]) -> None:
    for option, value in options.items():
        if option not in known:
            raise ArgumentError(
                option,
                f"{value!r} for {source.path}, a file of format {form}",
                f"left out for this format (its options: {', '.join(sorted(known)) or 'none'})",
            )
