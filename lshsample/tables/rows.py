"""Rows of ids, one for each query: what results of lookups and of searches share."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from lshsample.display import SHOWN_ROWS, few_ids, html_table, span
from lshsample.specs import checked_index
from lshsample.tables.keys import keys_of

__all__ = ["QueryRows"]


class QueryRows:
    """Ids of each query, with the keys of the caller: the base of results, which have the fields."""

    __slots__ = ()

    indptr: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int32]
    _by_id: npt.NDArray[np.int64] | None

    @property
    def keys(self) -> npt.NDArray[np.int64]:
        """The keys (n,) of the ids, of tables that have keys; ArgumentError for others."""
        return keys_of(self._by_id, self.ids)

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def __iter__(self) -> Iterator[npt.NDArray[np.int32]]:
        """The ids of each row, as :meth:`row`."""
        return (self.row(query) for query in range(len(self)))

    def row(self, query: int) -> npt.NDArray[np.int32]:
        """The ids of the query's row: (n,) int32, ascending, a view; negative numbers count from the end.

        Raises
        ------
        ArgumentError
            There is no such row.
        """
        at = checked_index("query", query, len(self))
        return self.ids[self.indptr[at] : self.indptr[at + 1]]

    def _text(self, more: str) -> str:
        """The repr, with what else there is to say."""
        each = f"{span(np.diff(self.indptr), ',')} per query, {more}"
        return f"{type(self).__name__}({len(self):,} queries, {len(self.ids):,} ids: {each})"

    def _table(self, column: str, values: npt.NDArray[np.generic], form: str) -> str:
        """The table of the first rows, with the span of a value of each id."""
        rows = []
        for query in range(min(len(self), SHOWN_ROWS)):
            ids, own = self.row(query), slice(self.indptr[query], self.indptr[query + 1])
            rows.append([query, f"{len(ids):,}", few_ids(ids), span(values[own], form)])
        return html_table(repr(self), ["query", "number of ids", "ids", column], rows, total=len(self))
