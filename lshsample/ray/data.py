"""Rows and texts of Ray Data, in an order that does not depend on how they were computed."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample.data import Dataset
from lshsample.data.source import file_of
from lshsample.data.write import xc_lines
from lshsample.data.xc import Header
from lshsample.errors import ArgumentError
from lshsample.specs import checked_integer
from lshsample.streams import RowFile, RowFiles

__all__ = ["dataset_files", "dataset_rows", "dataset_texts"]

Int64 = npt.NDArray[np.int64]
#: What errors call a dataset.
_PLACE = Path("dataset")
#: Rows that are fetched at a time.
_ROWS = 8192


def dataset_rows(dataset: Any, n_features: int, n_labels: int) -> Dataset:
    """Rows of a Ray dataset, for a trainer in this process.

    Ray computes blocks of rows side by side, and may return them in any order. Here they are in the order of
    their numbers, so that training has the same bits as with the same rows from a file.

    Parameters
    ----------
    dataset : ray.data.Dataset
        With the columns ``row`` (integers from 0, one for each row), ``labels`` (a list of label ids for each
        row), and for features either ``ids`` and ``values`` (lists of the same length for each row; an id
        that occurs twice counts with the sum of its values) or ``x`` (all values of each row).
    n_features, n_labels : int
        Numbers of features and labels.

    Returns
    -------
    Dataset

    Raises
    ------
    ArgumentError
        A missing column, row numbers that are not 0 to n - 1, ids that are out of range, or values that are
        not finite.
    """
    n_features = checked_integer("n_features", n_features, 1, 2**31 - 1)
    n_labels = checked_integer("n_labels", n_labels, 1, 2**31 - 1)
    _columns(dataset, "row", "labels")
    dense, several = _is_dense(dataset), []
    for batch in _batches(dataset):
        several.append((np.asarray(batch["row"]), *_features_and_labels(batch, dense, n_features, n_labels)))
    order = _order([one[0] for one in several])
    rows = [np.concatenate(one) for one in zip(*several, strict=True)]
    data = _dataset(rows[1:], n_features, n_labels)
    return Dataset(data.x[order], data.y[order])


def dataset_files(dataset: Any, n_features: int | None = None, n_labels: int | None = None) -> RowFiles:
    """Rows or texts of a Ray dataset as a file to be streamed, which need not fit into memory.

    For :meth:`StreamedRows.scan <lshsample.streams.StreamedRows.scan>`. Each pass over the rows iterates over
    the dataset, whose option ``preserve_order`` is set, so that Ray returns its blocks in their order,
    however they were computed. Training has the same bits as with a file of the same rows: as
    :func:`~lshsample.data.write_xc` writes it, or of texts with the lines ``{"text": ..., "labels": [...]}``.

    Parameters
    ----------
    dataset : ray.data.Dataset
        Of features, with the columns of :func:`dataset_rows`, or of texts, with those of
        :func:`dataset_texts`. It has to have the same rows in the same order in each pass. The column ``row``
        may be left out; the order of the dataset has to be that of its numbers.
    n_features, n_labels : int, optional
        Numbers of features and labels; needed for features, and left out for texts.

    Returns
    -------
    RowFiles

    Raises
    ------
    ArgumentError
        A missing column, or numbers of features and labels of texts. While rows are read: row numbers that
        are not 0, 1, 2, ..., ids that are out of range, values that are not finite, a text that is missing,
        or labels that are no list.

    Notes
    -----
    In each pass rows are written as lines of text, which are parsed as those of a file are.
    """
    if "text" in _columns(dataset, "labels"):
        if (n_features, n_labels) != (None, None):
            given = f"{n_features} and {n_labels} with texts"
            raise ArgumentError("n_features and n_labels", given, "left out, as names and terms are counted")
        file = _DatasetFile(_PLACE, "jsonl", 0, None, dataset)
    else:
        _is_dense(dataset)
        header = Header(
            0,
            checked_integer("n_features", n_features, 1, 2**31 - 1),
            checked_integer("n_labels", n_labels, 1, 2**31 - 1),
        )
        file = _DatasetFile(_PLACE, "xc", 0, header, dataset)
    return RowFiles(paths=file, trust_rows=True)


@attrs.frozen
class _DatasetFile(RowFile):
    """The lines that a dataset's rows would have in a file."""

    dataset: Any = attrs.field(default=None, repr=False)

    def content(self) -> io.BufferedReader:
        """As :meth:`RowFile.content`."""
        self.dataset.context.execution_options.preserve_order = True
        return file_of(map(self._lines, self._in_order()))

    def _in_order(self) -> Iterator[Mapping[str, Any]]:
        """Batches of rows, whose numbers, if they have some, ascend from 0."""
        done = 0
        for batch in _batches(self.dataset):
            n = len(batch["labels"])
            numbers = np.asarray(batch.get("row", np.arange(done, done + n)))
            whole = numbers.dtype.kind in "iu"
            wrong = np.flatnonzero(numbers != np.arange(done, done + n)) if whole else range(n)
            if len(wrong):
                at = int(wrong[0])
                given = f"row {numbers.tolist()[at]!r} after {done + at} others"
                wanted = "rows in the order of column row, integers from 0, such as dataset.sort('row')"
                raise ArgumentError("dataset", given, wanted)
            done += n
            yield batch

    def _lines(self, batch: Mapping[str, Any]) -> bytes:
        if self.header is None:
            lines = [{"text": text, "labels": names} for text, names in _texts_and_labels(batch)]
            return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
        shape = self.header.n_features, self.header.n_labels
        data = _dataset(_features_and_labels(batch, "x" in batch, *shape), *shape)
        return xc_lines(data, 0, data.n_rows).encode("ascii")


def _is_dense(dataset: Any) -> bool:
    """Whether features are a column of all values; refused without features."""
    if "x" in _columns(dataset):
        return True
    _columns(dataset, "ids", "values")
    return False


def _features_and_labels(
    batch: Mapping[str, Any], dense: bool, n_features: int, n_labels: int
) -> tuple[npt.NDArray[Any], ...]:
    """Features, their values and number in each row; labels and their number in each row."""
    ids, counts = _flat(batch["labels"], np.int64, "labels")
    if dense:
        values, widths = _flat(batch["x"], np.float64, "x")
        if (widths != n_features).any():
            given = int(widths[widths != n_features][0])
            raise ArgumentError("dataset", f"{given} values in a row of column x", f"{n_features}")
        features = np.tile(np.arange(n_features), len(widths))
    else:
        features, widths = _flat(batch["ids"], np.int64, "ids")
        values, lengths = _flat(batch["values"], np.float64, "values")
        if (lengths != widths).any():
            raise ArgumentError("dataset", "other lengths of ids than of values", "as many in each row")
    _within("ids", features, n_features)
    _within("labels", ids, n_labels)
    return features, values, widths, ids, counts


def _dataset(rows: Sequence[npt.NDArray[Any]], n_features: int, n_labels: int) -> Dataset:
    """Rows of what :func:`_features_and_labels` returns."""
    features, values, widths, ids, counts = rows
    x = _csr(features, values, widths, n_features)
    return Dataset(x, _csr(ids, np.ones(len(ids), bool), counts, n_labels))  # True twice is True


def dataset_texts(dataset: Any) -> tuple[list[str], list[list[str]]]:
    """Texts and their labels, in the order of their numbers, as ``Classifier.fit_texts`` takes them.

    Parameters
    ----------
    dataset : ray.data.Dataset
        With the columns ``row`` (integers from 0, one for each text), ``text`` and ``labels`` (a list of
        names for each text).

    Raises
    ------
    ArgumentError
        A missing column, row numbers that are not 0 to n - 1, a text that is missing, or labels that are no
        list.
    """
    _columns(dataset, "row", "text", "labels")
    numbers, texts, labels = [], list[str](), list[list[str]]()
    for batch in _batches(dataset):
        numbers.append(np.asarray(batch["row"]))
        for text, names in _texts_and_labels(batch):
            texts.append(text)
            labels.append(names)
    order = _order(numbers)
    return [texts[i] for i in order], [labels[i] for i in order]


def _texts_and_labels(batch: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """The text of each row, and the names of its labels."""
    for text, names in zip(batch["text"], batch["labels"], strict=True):
        if text is None:
            raise ArgumentError("dataset", "None in column text", "a text in each row")
        is_list = isinstance(names, list | tuple | np.ndarray) and np.ndim(names) == 1
        if not is_list or any(name is None for name in names):
            given = f"{names!r:.80} in column labels"
            raise ArgumentError("dataset", given, "a list of names in each row, which may be empty")
        yield str(text), list(map(str, names))


def _columns(dataset: Any, *wanted: str) -> list[str]:
    """The names of a dataset's columns; refused without some of them."""
    if not callable(getattr(dataset, "iter_batches", None)):
        raise ArgumentError("dataset", type(dataset).__name__, "a ray.data.Dataset")
    names: list[str] = dataset.columns() or []
    missing = [name for name in wanted if name not in names]
    if missing:
        raise ArgumentError("dataset", f"columns {names}", f"one with a column {missing[0]}")
    return names


def _batches(dataset: Any) -> Iterator[Mapping[str, Any]]:
    found: Iterator[Mapping[str, Any]] = dataset.iter_batches(batch_size=_ROWS, batch_format="numpy")
    return iter(found)


def _flat(column: Any, dtype: type, name: str) -> tuple[npt.NDArray[Any], Int64]:
    """All numbers of a column of lists, and their number in each row."""
    rows = [np.asarray(row) for row in column]
    for row in rows:
        if row.ndim != 1 or (row.size and row.dtype.kind not in ("iu" if dtype is np.int64 else "iuf")):
            raise ArgumentError("dataset", f"{row!r} in column {name}", "a list of numbers in each row")
    counts = np.array([len(row) for row in rows], np.int64)
    return np.concatenate([np.zeros(0, dtype), *(row.astype(dtype) for row in rows)]), counts


def _within(name: str, ids: Int64, size: int) -> None:
    outside = ids[(ids < 0) | (ids >= size)]
    if len(outside):
        wanted = f"integers from 0 to {size - 1} in column {name}"
        raise ArgumentError("dataset", int(outside[0]), wanted)


def _order(numbers: list[npt.NDArray[Any]]) -> Int64:
    """What sorts rows by their numbers."""
    rows = np.concatenate([np.zeros(0, np.int64), *numbers])
    if not len(rows):
        raise ArgumentError("dataset", "no rows", "at least one row")
    order = np.argsort(rows, kind="stable")
    if rows.dtype.kind not in "iu" or (rows[order] != np.arange(len(rows))).any():
        wanted = f"each integer from 0 to {len(rows) - 1} once in column row"
        raise ArgumentError("dataset", "other numbers", wanted)
    return order


def _csr(ids: Int64, values: npt.NDArray[Any], counts: Int64, width: int) -> sp.csr_array:
    indptr = np.concatenate([[0], np.cumsum(counts)])
    return sp.csr_array((values, ids, indptr), shape=(len(counts), width))
