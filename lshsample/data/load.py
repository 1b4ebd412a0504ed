"""One reader for all formats, which are recognised by their content."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from lshsample.data.dataset import Dataset
from lshsample.data.libsvm import read_libsvm
from lshsample.data.npz import read_npz
from lshsample.data.source import LineSource
from lshsample.data.xc import is_xc_header, read_xc
from lshsample.errors import ArgumentError

__all__ = ["detect_format", "load"]

_READERS = {"npz": read_npz, "xc": read_xc, "libsvm": read_libsvm}
_OPTIONS = {
    "npz": set[str](),
    "xc": {"trust_rows", "threads"},
    "libsvm": {"n_features", "n_labels", "feature_base", "label_base", "threads"},
}


def detect_format(path: str | PathLike[str]) -> str:
    """The format of a data file by its first bytes: ``"npz"``, ``"xc"`` or ``"libsvm"``.

    A zip archive is npz. Text (plain or gzip) whose first line has several words and no colon is XC text,
    whose header consists of three integers. All other text is libsvm.
    """
    with Path(path).open("rb") as file:
        if file.read(4) in (b"PK\x03\x04", b"PK\x05\x06"):
            return "npz"
    return "xc" if is_xc_header(LineSource(path).peek_line()) else "libsvm"


def load(path: str | PathLike[str], **options: Any) -> Dataset:
    r"""Read a data file of any known format.

    Parameters
    ----------
    path : str or PathLike
        The file: XC repository text or libsvm text (plain or gzip), or npz.
    **options
        Arguments of the format's reader: :func:`~lshsample.data.read_xc`,
        :func:`~lshsample.data.read_libsvm` or :func:`~lshsample.data.read_npz`. Others are refused.

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
    name = detect_format(path)
    for option in options:
        if option not in _OPTIONS[name]:
            allowed = ", ".join(sorted(_OPTIONS[name])) or "none"
            raise ArgumentError(
                option,
                f"{options[option]!r} for {path}, a file of format {name}",
                f"left out for this format (its options: {allowed})",
            )
    return _READERS[name](path, **options)
