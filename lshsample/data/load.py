"""One reader for all formats, which are recognised by their content."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from os import PathLike
from typing import Any

from lshsample import memory
from lshsample.data.dataset import Dataset
from lshsample.data.libsvm import libsvm_dataset
from lshsample.data.matrix import form_of, matrix_dataset
from lshsample.data.npz import read_npz
from lshsample.data.source import LineSource
from lshsample.data.xc import xc_dataset
from lshsample.errors import ArgumentError

__all__ = ["detect_format", "load", "load_source", "options_of"]


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
    for option in options:
        if option not in options_of(form):
            allowed = ", ".join(sorted(options_of(form))) or "none"
            raise ArgumentError(
                option,
                f"{options[option]!r} for {source.path}, a file of format {form}",
                f"left out for this format (its options: {allowed})",
            )
    return _READERS[form](source, **options)
