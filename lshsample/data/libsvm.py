"""Multi-label libsvm text: a line ``1,5 3:0.2 7:1`` for each sample, without a header."""

from __future__ import annotations

from os import PathLike

from lshsample._native.core import threads_or_default
from lshsample._native.text import Dialect
from lshsample.data.assemble import BLOCK_BYTES, checked_size, concatenate, parse_blocks, to_dataset
from lshsample.data.dataset import Dataset
from lshsample.data.source import LineSource
from lshsample.errors import ArgumentError

__all__ = ["read_libsvm"]


def read_libsvm(
    path: str | PathLike[str],
    n_features: int | None = None,
    n_labels: int | None = None,
    *,
    feature_base: int = 1,
    label_base: int = 0,
    threads: int | None = None,
) -> Dataset:
    r"""Read a multi-label libsvm file, plain or gzip.

    Parameters
    ----------
    path : str or PathLike
        The file.
    n_features, n_labels : int, optional
        The numbers of features and labels; by default one more than the largest id in the file, which is
        seldom right for a test file.
    feature_base, label_base : {0, 1}
        The smallest id of a feature (1 by convention) and of a label. Ids in the dataset start at 0.
    threads : int, optional
        Number of threads; the result does not depend on it.

    Returns
    -------
    Dataset
        ``x`` (n_rows, n_features) and ``y`` (n_rows, n_labels). Empty lines at the end of the file are not
        samples.

    Raises
    ------
    ArgumentError, DataFormatError, OSError
        As :func:`~lshsample.data.read_xc`.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "tiny.svm"
    >>> _ = path.write_text("0,2 1:0.5 3:1\n1 2:2\n")
    >>> read_libsvm(path)
    Dataset(2 rows, 3 features, 3 labels, 1.5 features and 1.5 labels a row)
    """
    for argument, base in (("feature_base", feature_base), ("label_base", label_base)):
        if isinstance(base, bool) or base not in (0, 1):
            raise ArgumentError(argument, repr(base), "0 or 1")
    dialect = Dialect(
        n_features=checked_size(n_features, "n_features"),
        n_labels=checked_size(n_labels, "n_labels"),
        feature_base=feature_base,
        label_base=label_base,
    )
    count = threads_or_default(threads)
    source = LineSource(path)
    rows = concatenate(parse_blocks(source, dialect, BLOCK_BYTES, count))
    if not rows.n_rows:
        raise source.fail("the file has no samples", 0)
    return to_dataset(rows, dialect.n_features, dialect.n_labels)
