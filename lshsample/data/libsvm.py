"""Multi-label libsvm (SVMlight) text: a line ``1,5 3:0.2 7:1`` for each sample, without a header.

A ``#`` begins a comment, up to the end of the line; a line with nothing but a comment is no sample. ``qid:7``
may stand before the features and is ignored.
"""

from __future__ import annotations

from os import PathLike

import attrs

from lshsample._native.core import threads_or_default
from lshsample._native.text import MAX_ID, Dialect, ParsedRows
from lshsample.data.assemble import BLOCK_BYTES, checked_size, concatenate, parse_blocks, to_dataset
from lshsample.data.dataset import Dataset
from lshsample.data.source import LineSource
from lshsample.errors import ArgumentError

__all__ = ["libsvm_dataset", "read_libsvm"]


def read_libsvm(
    path: str | PathLike[str],
    n_features: int | None = None,
    n_labels: int | None = None,
    *,
    feature_base: int | None = None,
    label_base: int = 0,
    threads: int | None = None,
) -> Dataset:
    r"""Read a multi-label libsvm (SVMlight) file.

    Parameters
    ----------
    path : str or PathLike
        The file, plain or compressed, a pipe, or ``"-"`` for standard input.
    n_features, n_labels : int, optional
        The numbers of features and labels; by default one more than the largest id in the file, which is
        seldom right for a test file.
    feature_base : {0, 1}, optional
        The smallest id of a feature. By default 0 if a feature 0 is in the file, else 1, which is the
        convention; state it for a file with ids from 0 in which no sample has feature 0. Ids in the dataset
        start at 0.
    label_base : {0, 1}
        The smallest id of a label.
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
    options = {"n_features": n_features, "n_labels": n_labels, "feature_base": feature_base}
    return libsvm_dataset(LineSource(path), **options, label_base=label_base, threads=threads)


def libsvm_dataset(
    source: LineSource,
    n_features: int | None = None,
    n_labels: int | None = None,
    *,
    feature_base: int | None = None,
    label_base: int = 0,
    threads: int | None = None,
) -> Dataset:
    """The dataset of an opened source; see :func:`read_libsvm`."""
    for argument, base in (("feature_base", feature_base), ("label_base", label_base)):
        is_open = argument == "feature_base" and base is None
        if not is_open and (isinstance(base, bool) or base not in (0, 1)):
            raise ArgumentError(argument, repr(base), "0 or 1" + ", or None" * (argument == "feature_base"))
    sizes = checked_size(n_features, "n_features"), checked_size(n_labels, "n_labels")
    dialect = Dialect(
        # Without a base, ids from 0 to n - 1 and from 1 to n are possible until all lines are read.
        n_features=sizes[0] if feature_base is not None else min(sizes[0] + 1, MAX_ID),
        n_labels=sizes[1],
        feature_base=feature_base or 0,
        label_base=label_base,
        svmlight=True,
    )
    count = threads_or_default(threads)
    rows = concatenate(parse_blocks(source, dialect, BLOCK_BYTES, count))
    if not rows.n_rows:
        raise source.fail("the file has no samples", 0)
    if feature_base is None:
        rows = _from_zero(rows)
        if rows.max_feature >= sizes[0]:
            problem = f"feature ids from 0 to {rows.max_feature}: expected at most {sizes[0] - 1}"
            raise source.fail(f"{problem}, as there is a feature 0 (feature_base=1 refuses it)", 0)
    return to_dataset(
        rows,
        rows.max_feature + 1 if n_features is None else sizes[0],
        rows.max_label + 1 if n_labels is None else sizes[1],
    )


def _from_zero(rows: ParsedRows) -> ParsedRows:
    """Rows whose features are counted from 0, given those as in the file: from 1, unless a feature is 0."""
    if rows.min_feature <= 0:
        return rows
    rows.x_indices[:] -= 1
    return attrs.evolve(rows, min_feature=rows.min_feature - 1, max_feature=rows.max_feature - 1)
