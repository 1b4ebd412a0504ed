"""What parsers do with a block: count what is in it, or make rows of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Protocol

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample._native.core import csr_from_parts
from lshsample._native.text import Dialect, ParsedRows, parse_rows
from lshsample.nn.signals import take_rows
from lshsample.streams.files import Block, RowFiles
from lshsample.text import LabelNames, TextRow, TextVectorizer, VectorizerSpec
from lshsample.text.reading import rows_of_lines
from lshsample.text.vectorizer import IdCounts, TermCounter

__all__ = ["Candidate", "Counted", "Counting", "LeftOut", "Made", "Making", "counting_of", "making_of"]

Int64 = npt.NDArray[np.int64]
#: Which of the rows of a block that are trained on are wanted; None for all.
Wanted = npt.NDArray[np.bool_] | None
#: Of the key of a block's priorities: no epoch has such a number.
_PRIORITIES = 2**63


@attrs.frozen(order=True)
class Candidate:
    """A row that may be held out, those of the smallest priorities first.

    Attributes
    ----------
    priority : int
    block, row : int
        Where it is.
    content : TextRow, or (ids, values, labels)
        What it is.
    """

    priority: int
    block: int
    row: int
    content: Any = attrs.field(order=False)

    @property
    def size(self) -> int:
        """About its bytes in memory."""
        if isinstance(self.content, TextRow):
            return 4 * len(self.content.text) + sum(map(len, self.content.labels)) + 200
        return int(sum(array.nbytes for array in self.content)) + 400


@attrs.frozen(eq=False)
class Counted:
    """What a block has.

    Attributes
    ----------
    n_rows : int
    labelled : (n_rows,) bool array
        Whether rows have labels.
    features : mapping, or (ids, counts)
        The number of rows with each feature: by term, or by column.
    labels : mapping, or (ids, counts)
        The number of rows with each label: by name, or by id.
    unknown : set of str
        Labels that are not among the given names.
    is_whole : bool
        Whether all values are integers.
    candidates : list of Candidate
        The rows below a limit of priorities.
    """

    n_rows: int
    labelled: npt.NDArray[np.bool_]
    features: Mapping[str, int] | IdCounts
    labels: Mapping[str, int] | IdCounts
    unknown: set[str]
    is_whole: bool
    candidates: list[Candidate]


@attrs.frozen(eq=False)
class Made:
    """Rows of a block, without those that are left out."""

    x: sp.csr_array
    y: sp.csr_array


class Counting(Protocol):
    """Counts a block, given with its number and the largest priority of a candidate."""

    def __call__(self, task: tuple[int, Block, int], /) -> Counted: ...


class Making(Protocol):
    """Makes rows of a block, given with its number, and with those that are wanted: others have neither
    features nor labels.
    """

    def __call__(self, task: tuple[int, Block, Wanted], /) -> Made: ...


def _priorities(seed: int, block: int, n: int) -> Int64:
    """A number for each row of a block, by which rows are held out: a function of its arguments alone."""
    key = np.array([seed, _PRIORITIES + block], np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).integers(0, 2**63 - 1, n, np.int64)


@attrs.frozen
class _Texts:
    """Reads the texts of a block."""

    text: str
    labels: str
    separator: str

    @classmethod
    def of(cls, files: RowFiles) -> _Texts:
        return cls(files.text, files.labels, files.separator)

    def __call__(self, block: Block) -> list[TextRow]:
        return list(rows_of_lines(block, block.form, self.text, self.labels, self.separator))


@attrs.frozen
class _CountTexts:
    """Counts terms and labels: by name, or by id where names are given."""

    read: _Texts
    terms: TermCounter
    names: LabelNames | None
    seed: int

    def __call__(self, task: tuple[int, Block, int], /) -> Counted:
        number, block, limit = task
        rows, unknown = self.read(block), set[str]()
        labels: list[set[Any]] = [set(row.labels) for row in rows]
        if self.names is not None:
            ids = [{name: self.names.id_of(name) for name in row} for row in labels]
            unknown = {name for row in ids for name, known in row.items() if known is None}
            labels = [set(row.values()) - {None} for row in ids]
        ranks = _priorities(self.seed, number, len(rows))
        found = [one for row in labels for one in row]
        return Counted(
            n_rows=len(rows),
            labelled=np.array([bool(row) for row in labels], bool),
            features=self.terms([row.text for row in rows]),
            labels=Counter(found) if self.names is None else _counts(np.array(found, np.int64)),
            unknown=unknown,
            is_whole=False,
            candidates=[
                Candidate(int(ranks[i]), number, i, rows[i])
                for i in np.flatnonzero(ranks <= limit).tolist()
                if labels[i]
            ],
        )


@attrs.frozen
class _MakeTexts:
    """Makes rows of texts."""

    read: _Texts
    vectorizer: TextVectorizer
    names: LabelNames
    left_out: LeftOut

    def __call__(self, task: tuple[int, Block, Wanted], /) -> Made:
        number, block, wanted = task
        rows = self.read(block)
        y = self.names.matrix([row.labels for row in rows])
        kept = self.left_out.kept(number, np.diff(y.indptr) > 0)
        own = kept if wanted is None else kept[wanted]
        x = self.vectorizer.transform([rows[i].text for i in own.tolist()])
        return Made(*(_placed(one, wanted) for one in (_canonical(x), take_rows(_canonical(y), own))))


@attrs.frozen
class _CountXc:
    """Counts features and labels."""

    dialect: Dialect
    seed: int

    def __call__(self, task: tuple[int, Block, int], /) -> Counted:
        number, block, limit = task
        rows = _parsed(block, self.dialect)
        labelled = np.diff(rows.y_indptr) > 0
        ranks = _priorities(self.seed, number, rows.n_rows)
        return Counted(
            n_rows=rows.n_rows,
            labelled=labelled,
            features=_counts(rows.x_indices),
            labels=_counts(rows.y_indices),
            unknown=set(),
            is_whole=bool((rows.x_values == np.floor(rows.x_values)).all()),
            candidates=[
                Candidate(int(ranks[i]), number, i, _row(rows, i))
                for i in np.flatnonzero(labelled & (ranks <= limit)).tolist()
            ],
        )


@attrs.frozen
class _MakeXc:
    """Makes rows of features."""

    dialect: Dialect
    left_out: LeftOut

    def __call__(self, task: tuple[int, Block, Wanted], /) -> Made:
        number, block, wanted = task
        rows = _parsed(block, self.dialect)
        shapes = (rows.n_rows, self.dialect.n_features), (rows.n_rows, self.dialect.n_labels)
        x = csr_from_parts(rows.x_indptr, rows.x_indices, rows.x_values, shapes[0])
        y = csr_from_parts(rows.y_indptr, rows.y_indices, None, shapes[1])
        kept = self.left_out.kept(number, np.diff(rows.y_indptr) > 0)
        own = kept if wanted is None else kept[wanted]
        return Made(*(_placed(take_rows(one, own), wanted) for one in (x, y)))


@attrs.frozen
class LeftOut:
    """The rows that are not trained on.

    Attributes
    ----------
    seed, limit : int
        Rows with labels whose priority is not above the limit are held out.
    without_labels : bool
        Rows without labels are left out too.
    """

    seed: int
    limit: int
    without_labels: bool

    def kept(self, block: int, labelled: npt.NDArray[np.bool_]) -> Int64:
        """The rows of a block that are trained on."""
        held = labelled & (_priorities(self.seed, block, len(labelled)) <= self.limit)
        kept = labelled & ~held if self.without_labels else ~held
        return np.flatnonzero(kept)


def counting_of(files: RowFiles, spec: VectorizerSpec, names: LabelNames | None, seed: int) -> Counting:
    """What counts the blocks of files."""
    if files.header is not None:
        return _CountXc(_dialect(files), seed)
    return _CountTexts(_Texts.of(files), TermCounter(spec), names, seed)


def making_of(
    files: RowFiles, vectorizer: TextVectorizer | None, names: LabelNames | None, left_out: LeftOut
) -> Making:
    """What makes rows of the blocks of files."""
    if vectorizer is None or names is None:
        return _MakeXc(_dialect(files), left_out)
    return _MakeTexts(_Texts.of(files), vectorizer, names, left_out)


def _dialect(files: RowFiles) -> Dialect:
    assert files.header is not None
    return Dialect(n_features=files.header.n_features, n_labels=files.header.n_labels)


def _parsed(block: Block, dialect: Dialect) -> ParsedRows:
    return parse_rows(block.text, dialect, 1, path=block.path, first_line=block.first_line)


def _row(rows: ParsedRows, i: int) -> tuple[npt.NDArray[Any], ...]:
    """Ids, values and labels of a row."""
    of_x, of_y = (slice(indptr[i], indptr[i + 1]) for indptr in (rows.x_indptr, rows.y_indptr))
    return rows.x_indices[of_x].copy(), rows.x_values[of_x].copy(), rows.y_indices[of_y].copy()


def _counts(ids: npt.NDArray[Any]) -> IdCounts:
    found, counts = np.unique(ids, return_counts=True)
    return found, counts


def _placed(rows: Any, wanted: Wanted) -> sp.csr_array:
    """Wanted rows, at their places among all rows."""
    if wanted is None:
        return rows  # type: ignore[no-any-return]
    indptr = np.concatenate([[0], rows.indptr[np.cumsum(wanted)]]).astype(rows.indptr.dtype)
    return csr_from_parts(indptr, rows.indices, rows.data, (len(wanted), rows.shape[1]))


def _canonical(rows: Any) -> sp.csr_array:
    """Rows of a vectorizer or of names, whose columns ascend, as networks take them."""
    return csr_from_parts(rows.indptr, rows.indices, rows.data, rows.shape)
