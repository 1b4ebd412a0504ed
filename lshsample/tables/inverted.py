"""An inverted index: exact search of sparse rows by inner product, through the columns that they share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample import memory
from lshsample._native import core
from lshsample._native.inverted import PART_ROWS, Postings, postings_top_k
from lshsample.errors import ArgumentError
from lshsample.specs import checked_integer

__all__ = ["InvertedIndex"]

Int32 = npt.NDArray[np.int32]
Float32 = npt.NDArray[np.float32]

_TYPES = {"sizes": np.int64, "starts": np.int64, "rows": np.uint16, "values": np.float32}


class InvertedIndex:
    """Sparse rows by column, for exact search by inner product.

    For each column it has the postings: the rows with an entry in that column, and their values. A query adds
    up the products over the postings of its own columns. Where rows are short and few of them share a
    column, as in text, that is less work than any hash tables, and exact; where a column is in a large part
    of the rows, or rows are dense, hash tables (:class:`~lshsample.HashTables`) find the nearest with
    less.

    Parameters
    ----------
    dim : int
        Columns of the rows.

    Notes
    -----
    Rows are in parts of 65,536, so that the sums of a part stay in the cache. Each part takes 6 bytes for
    each entry and 8 bytes for each column. Adding rows makes the last part again, if there is room in it,
    and new parts; the others are not touched.

    Examples
    --------
    >>> import numpy as np
    >>> import scipy.sparse as sp
    >>> rows = sp.csr_array(np.array([[1, 0, 2], [0, 3, 0], [1, 1, 0]], np.float32))
    >>> index = InvertedIndex(3).add(rows)
    >>> index.search(rows[[0]], 3)
    (array([[ 0,  2, -1]], dtype=int32), array([[  5.,   1., -inf]], dtype=float32))
    """

    def __init__(self, dim: int) -> None:
        self._dim = checked_integer("dim", dim, 1, 2**31 - 1)
        self._parts: tuple[Postings, ...] = ()

    def __repr__(self) -> str:
        return f"InvertedIndex({self.n_items:,} rows, {self.dim:,} columns)"

    @property
    def dim(self) -> int:
        """Columns of the rows."""
        return self._dim

    @property
    def n_items(self) -> int:
        """Number of rows, whose ids are 0 to ``n_items - 1``."""
        return sum(part.n_rows for part in self._parts)

    @property
    def memory_bytes(self) -> int:
        """Bytes of the postings."""
        return sum(part.starts.nbytes + part.rows.nbytes + part.values.nbytes for part in self._parts)

    @memory.named_shortage("building an inverted index")
    def add(self, rows: Any) -> Self:
        """Add rows; they get the next ids.

        Parameters
        ----------
        rows : (n, dim) array or scipy.sparse matrix
            Finite rows.

        Returns
        -------
        InvertedIndex
            Itself.

        Raises
        ------
        ArgumentError
            Rows that are not finite, of another number of columns, or more than 2**31 - 1 in all.
        """
        new = core.feature_rows(rows, "rows", self.dim)
        n = new.shape[0]
        if self.n_items + n > 2**31 - 1:
            raise ArgumentError("rows", f"{n} rows after {self.n_items}", "at most 2**31 - 1 rows in all")
        parts, begin = list(self._parts), 0
        if parts and parts[-1].n_rows < PART_ROWS and n:
            begin = min(n, PART_ROWS - parts[-1].n_rows)
            parts[-1] = _joined(parts[-1], core.rows_between(new, 0, begin))
        for start in range(begin, n, PART_ROWS):
            parts.append(_postings(core.rows_between(new, start, min(n, start + PART_ROWS))))
        self._parts = tuple(parts)
        return self

    def widen(self, dim: int) -> Self:
        """Make room for rows of more columns; the postings stay as they are.

        Parameters
        ----------
        dim : int
            At least the columns that it has.

        Returns
        -------
        InvertedIndex
            Itself.

        Raises
        ------
        ArgumentError
            Fewer columns.
        """
        more = checked_integer("dim", dim, self.dim, 2**31 - 1) - self.dim
        if more:
            self._parts = tuple(
                Postings(np.pad(part.starts, (0, more), "edge"), part.rows, part.values, part.n_rows)
                for part in self._parts
            )
            self._dim += more
        return self

    @memory.named_shortage("searching an inverted index")
    def search(
        self, queries: Any, k: int, *, exclude: Any = None, threads: int | None = None
    ) -> tuple[Int32, Float32]:
        """The k rows of largest inner product with each query, among those where it is above 0.

        Parameters
        ----------
        queries : (m, dim) array or scipy.sparse matrix
            Finite rows; m may be 0.
        k : int
            At least 1.
        exclude : (m,) integers, optional
            An id for each query that is not returned, such as that of the query itself; -1 for none.
        threads : int, optional
            Maximum number of threads; the results do not depend on it.

        Returns
        -------
        ids : (m, k) int32 array
            By product descending, ties by smaller id; -1 where fewer rows have a product above 0.
        products : (m, k) float32 array
            -inf where the id is -1.

        Raises
        ------
        ArgumentError
            Bad queries, ``k`` or ``exclude``.

        Notes
        -----
        Costs two steps for each posting of the query's columns.
        """
        k = checked_integer("k", k, 1, 2**31 - 1)
        count = core.threads_or_default(threads)
        batch = core.feature_rows(queries, "queries", self.dim)
        excluded = checked_exclude(exclude, batch.shape[0], self.n_items)
        return postings_top_k(self._parts, batch, excluded, k, threads=count)

    def to_csr(self) -> sp.csr_array:
        """The rows that were added, float32."""
        blocks = [
            sp.csc_array(
                (part.values, part.rows.astype(np.int32), part.starts), shape=(part.n_rows, self.dim)
            )
            for part in self._parts
        ]
        return sp.csr_array(sp.vstack([sp.csr_array((0, self.dim), dtype=np.float32), *blocks], format="csr"))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The index as arrays, for :meth:`from_arrays`.

        Returns
        -------
        dict
            ``sizes`` (n_parts,), the rows of each part; ``starts`` (n_parts, dim + 1); ``rows`` and
            ``values``, the postings of all parts.
        """
        parts = self._parts
        joined = {
            name: np.concatenate([getattr(part, name) for part in parts] or [np.empty(0, _TYPES[name])])
            for name in ("starts", "rows", "values")
        }
        joined["starts"] = joined["starts"].reshape(len(parts), self.dim + 1)
        return {"sizes": np.array([part.n_rows for part in parts], np.int64), **joined}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]], *, check: bool = True) -> Self:
        """The index of :meth:`arrays`, over the arrays themselves, which may be mapped files.

        Parameters
        ----------
        arrays : mapping of arrays
        check : bool
            Check all postings. Without it none are read: those of a damaged file give wrong rows.

        Raises
        ------
        ArgumentError
            Arrays that are missing, of another type or shape, or that contradict each other.
        """
        for name, dtype in _TYPES.items():
            array = arrays.get(name)
            n_dim = 2 if name == "starts" else 1
            if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != n_dim:
                given = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else repr(array)
                raise ArgumentError(name, given, f"a {n_dim}-D array of {np.dtype(dtype)}")
        sizes, starts = arrays["sizes"], np.ascontiguousarray(arrays["starts"])
        rows, values = (np.ascontiguousarray(arrays[name]) for name in ("rows", "values"))
        if len(starts) != len(sizes) or starts.shape[1] < 2 or starts[:, -1].sum() != len(rows):
            given = f"{starts.shape} for {len(sizes)} parts and {len(rows)} postings"
            raise ArgumentError("starts", given, "a row for each part, ending with its number of postings")
        if len(values) != len(rows) or not (not check or np.isfinite(values).all()):
            raise ArgumentError("values", f"{len(values)} values", f"{len(rows)} finite values")
        index = cls(starts.shape[1] - 1)
        ends = np.cumsum(starts[:, -1]).tolist()
        index._parts = tuple(
            _checked(Postings(begins, rows[first:last], values[first:last], int(size)), check)
            for begins, first, last, size in zip(starts, [0, *ends], ends, sizes, strict=False)
        )
        return index


def checked_exclude(exclude: Any, n_queries: int, n_items: int) -> Int32 | None:
    """An id for each query that a search leaves out, -1 for none, as int32; None for None."""
    if exclude is None:
        return None
    ids = np.asarray(exclude)
    if ids.dtype.kind not in "iu" or ids.shape != (n_queries,):
        raise ArgumentError("exclude", f"{ids.dtype} {ids.shape}", f"{n_queries} integers, one a query")
    if len(ids) and not (ids.min() >= -1 and ids.max() < n_items):
        raise ArgumentError("exclude", f"ids from {ids.min()} to {ids.max()}", f"-1 to {n_items - 1}")
    return np.ascontiguousarray(ids, np.int32)


def _postings(rows: Any) -> Postings:
    """The postings of at most ``PART_ROWS`` canonical rows."""
    by_column = rows.tocsc()
    return Postings(
        np.ascontiguousarray(by_column.indptr, np.int64),
        by_column.indices.astype(np.uint16),
        by_column.data,
        rows.shape[0],
    )


def _joined(part: Postings, rows: Any) -> Postings:
    """A part with more rows behind its own: each column's postings are the old ones, then the new ones."""
    new = _postings(rows)
    columns = [np.repeat(np.arange(len(p.starts) - 1), np.diff(p.starts)) for p in (part, new)]
    order = np.argsort(np.concatenate(columns), kind="stable")
    own = np.concatenate([part.rows, new.rows + np.uint16(part.n_rows)])
    values = np.concatenate([part.values, new.values])
    return Postings(part.starts + new.starts, own[order], values[order], part.n_rows + new.n_rows)


def _checked(part: Postings, check_all: bool) -> Postings:
    """A part of saved arrays, whose places are inside of it."""
    if not 1 <= part.n_rows <= PART_ROWS:
        raise ArgumentError("sizes", part.n_rows, f"from 1 to {PART_ROWS}")
    if not check_all:
        return part
    if part.starts[0] != 0 or (np.diff(part.starts) < 0).any():
        raise ArgumentError("starts", "offsets that descend", "ascending offsets from 0")
    if part.rows.max(initial=0) >= part.n_rows:
        raise ArgumentError("rows", int(part.rows.max()), f"rows below {part.n_rows}")
    return part
