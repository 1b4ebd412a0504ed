"""The base class of hash tables that samplers can read, and the results of lookups."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from lshsample import hashing
from lshsample._native import core
from lshsample._native.reader import NativeReader
from lshsample.display import span
from lshsample.errors import PluginError, UnsupportedError
from lshsample.family import Codes, HashFamily, Rows
from lshsample.specs import checked_index
from lshsample.tables.matches import BLOCK_BYTES, Matches, SimilarPairs, range_search, similar_pairs
from lshsample.tables.rows import QueryRows

__all__ = ["Buckets", "Candidates", "TableReader"]


@attrs.frozen(eq=False, repr=False)
class Candidates(QueryRows):
    """The candidates of each query: ids, ascending in a row, with their numbers of collisions.

    Attributes
    ----------
    indptr : (n_queries + 1,) int64 array
        Row r is ``ids[indptr[r]:indptr[r + 1]]``.
    ids : (n,) int32 array
        Item ids, ascending and unique in a row.
    counts : (n,) int32 array
        Number of probed buckets that contain the id.
    """

    indptr: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int32]
    counts: npt.NDArray[np.int32]
    _by_id: npt.NDArray[np.int64] | None = attrs.field(default=None, repr=False)

    def __repr__(self) -> str:
        return self._text(f"{span(self.counts, ',')} collisions")

    def _repr_html_(self) -> str:
        return self._table("collisions", self.counts, ",")


@attrs.frozen(eq=False, repr=False)
class Buckets:
    """The query's own bucket of each table, for estimators that use one table at a time.

    Attributes
    ----------
    indptr : (n_queries * n_tables + 1,) int64 array
        The bucket of query q in table t is ``ids[indptr[i]:indptr[i + 1]]`` with i = q * n_tables + t.
    ids : (n,) int32 array
        The ids in the bucket.
    sizes : (n_queries, n_tables) int64 array
        Number of ids that were offered to the bucket, n. It is larger than the number of ids in the bucket
        in bounded tables only, where each of the n is kept with probability R/n: weights are then multiplied
        by ``max(1, n / R)``.
    """

    indptr: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int32]
    sizes: npt.NDArray[np.int64]

    def bucket(self, query: int, table: int) -> npt.NDArray[np.int32]:
        """The ids of one bucket: (n,) int32, a view; negative numbers count from the end.

        Raises
        ------
        ArgumentError
            There is no such query or table.
        """
        n_queries, n_tables = self.sizes.shape
        at = checked_index("query", query, n_queries) * n_tables + checked_index("table", table, n_tables)
        return self.ids[self.indptr[at] : self.indptr[at + 1]]

    def __repr__(self) -> str:
        n_queries, n_tables = self.sizes.shape
        each = span(np.diff(self.indptr), ",")
        return (
            f"Buckets({n_queries:,} queries x {n_tables:,} tables, {len(self.ids):,} ids: {each} per bucket)"
        )

    @property
    def weights(self) -> npt.NDArray[np.float64]:
        """``max(1, n / R)`` of each bucket, (n_queries, n_tables): 1 where no id was dropped."""
        held = np.diff(self.indptr).reshape(self.sizes.shape)
        return np.where(held > 0, self.sizes / np.maximum(held, 1), 1.0)


class TableReader(ABC):
    """Hash tables that samplers can read: subclass it for tables that are stored elsewhere.

    A reader has hash functions, and returns the ids that collide with queries. It is enough to implement
    :attr:`family`, :attr:`n_ids` and :meth:`candidates`; the rest has defaults. What needs more than
    candidates raises an :class:`~lshsample.errors.UnsupportedError` that names the reader: a budget of
    tables, or weights one table at a time, need :meth:`buckets_of_codes`.

    Examples
    --------
    Tables that scan all codes, and a sampler over them:

    >>> import numpy as np
    >>> from lshsample import Retrieve, hashing, make_family
    >>> class Scanned(TableReader):
    ...     def __init__(self, family, rows):
    ...         self._family, self._codes = family, hashing.hash_rows(family, rows)
    ...     @property
    ...     def family(self):
    ...         return self._family
    ...     @property
    ...     def n_ids(self):
    ...         return len(self._codes)
    ...     def candidates(self, queries, n_probes, *, threads=None):
    ...         probed = hashing.probe_rows(self._family, queries, n_probes, threads=threads)
    ...         counts = (self._codes[None, :, :, None] == probed[:, None]).sum((2, 3))
    ...         rows, ids = counts.nonzero()
    ...         indptr = np.searchsorted(rows, np.arange(len(probed) + 1))
    ...         return Candidates(indptr, ids.astype(np.int32), counts[rows, ids].astype(np.int32))
    >>> items = np.random.default_rng(0).standard_normal((100, 8), dtype=np.float32)
    >>> reader = Scanned(make_family("simhash", dim=8, n_hashes=4, n_tables=5), items)
    >>> bool(7 in reader.query(items[7:8]).row(0))
    True
    >>> Retrieve().bind(tables=reader).sample(items[:3]).n_rows
    3
    """

    __slots__ = ()

    @property
    @abstractmethod
    def family(self) -> HashFamily:
        """The hash functions."""

    @property
    @abstractmethod
    def n_ids(self) -> int:
        """Ids are below it."""

    @abstractmethod
    def candidates(self, queries: Any, n_probes: int, *, threads: int | None = None) -> Candidates:
        """All ids that share a probed bucket with each query, with their counts.

        Parameters
        ----------
        queries : (m, dim) array or scipy.sparse matrix
            Queries, to be validated (:func:`lshsample.hashing.probe_rows` does, and returns their codes).
        n_probes : int
            Buckets to look into per table.
        threads : int, optional
            Maximum number of threads; candidates do not depend on it.
        """

    @property
    def n_items(self) -> int:
        """Number of ids that are in the tables; by default all below ``n_ids``."""
        return self.n_ids

    @property
    def n_tables(self) -> int:
        """Number of tables, L."""
        return int(self.family.n_tables)

    @property
    def bucket_size(self) -> int | None:
        """The most ids that a bucket keeps; None for all of them."""
        return None

    @property
    def is_built(self) -> bool:
        """Whether the tables are built."""
        return True

    @property
    def vectors(self) -> Rows | None:
        """The rows of the ids, which marginal inclusion probabilities need; None if they are not kept."""
        return None

    @property
    def keys(self) -> npt.NDArray[np.int64] | None:
        """The caller's key (n_ids,) of each id; None if items have no keys."""
        return None

    @property
    def default_threads(self) -> int | None:
        """Threads of :meth:`range_search` and :meth:`similar_pairs`, unless a call has its own."""
        return None

    @property
    def native(self) -> NativeReader | None:
        """The arrays for the fused call of the C core; None: :meth:`candidates` is called instead."""
        return None

    def snapshot(self) -> TableReader:
        """The tables as they are now, unaffected by later changes; by default the reader itself."""
        return self

    def buckets_of_codes(self, codes: Codes, *, threads: int | None = None) -> Buckets:
        """The bucket of each code, one by one.

        Parameters
        ----------
        codes : (m, n_tables) uint32 array
            A code for each query and table.
        threads : int, optional
            Maximum number of threads.

        Raises
        ------
        UnsupportedError
            The reader returns candidates of all tables together only.
        """
        raise UnsupportedError(f"{type(self).__name__} does not give the buckets of each table")

    def query(self, queries: Any, n_probes: int | None = None, *, threads: int | None = None) -> Candidates:
        """All ids that share a probed bucket with each query.

        Parameters
        ----------
        queries : (m, dim) array or scipy.sparse matrix
            Finite rows; m may be 0.
        n_probes : int, optional
            Buckets to look into per table, if the family can probe; by default the family's
            ``default_probes``, usually 1.
        threads : int, optional
            Maximum number of threads.

        Returns
        -------
        Candidates

        Raises
        ------
        ArgumentError
            Bad queries, or tables that were not built.
        UnsupportedError
            ``n_probes`` above 1 with a family that cannot probe.
        PluginError
            A reader of a plugin returned candidates that break its contract.
        """
        reader = self.snapshot()
        probes = reader.family.default_probes if n_probes is None else n_probes
        found = reader.candidates(queries, probes, threads=threads)
        if reader.native is None:
            check_candidates(found, np.shape(queries)[0], reader.n_ids, type(self).__name__)
        return found

    @property
    def item_ids(self) -> npt.NDArray[np.int32]:
        """The ids (n_items,) in the tables, ascending; by default all below ``n_ids``."""
        if self.n_items != self.n_ids:
            raise UnsupportedError(f"{type(self).__name__} does not give the ids that are in the tables")
        return np.arange(self.n_ids, dtype=np.int32)

    def candidate_parts(
        self, queries: Rows, n_probes: int, *, max_ids: int, threads: int | None = None
    ) -> Iterator[tuple[int, Candidates]]:
        """The candidates of parts of the queries, for results that do not fit into memory together.

        Parameters
        ----------
        queries : (m, dim) rows
            Validated queries.
        n_probes : int
            Buckets per table.
        max_ids : int
            About as many ids as a part may have. By default parts of 64 queries are looked up, whatever they
            find.
        threads : int, optional
            Maximum number of threads.

        Yields
        ------
        begin, candidates
            The first query of a part, and its candidates; the queries are in order.
        """
        n_queries = queries.shape[0]
        for begin in range(0, n_queries, 64):
            part = core.rows_between(queries, begin, min(begin + 64, n_queries))
            yield begin, self.query(part, n_probes, threads=threads)

    def range_search(
        self,
        queries: Any,
        threshold: float,
        *,
        n_probes: int | None = None,
        vectors: Any = None,
        block_bytes: int = BLOCK_BYTES,
        threads: int | None = None,
    ) -> Matches:
        """All items that have reached a similarity to each query, among those that share a bucket with it.

        Parameters
        ----------
        queries : (m, dim) array or scipy.sparse matrix
            Finite rows; m may be 0.
        threshold : float
            The least similarity, in the family's own measure: cosine, Jaccard, inner product, ...; for
            families of a distance the largest distance.
        n_probes : int, optional
            As for :meth:`query`.
        vectors : (n_ids, dim) rows, optional
            The rows of the ids; by default :attr:`vectors`.
        block_bytes : int
            Memory for the candidates that are compared at a time, 256 MiB by default; the results do not
            depend on it. The candidates of a single query may take more.
        threads : int, optional
            Maximum number of threads; the results do not depend on it.

        Returns
        -------
        Matches
            Ids with exact similarities (float64), the recall at the threshold, and the expected recall.

        Raises
        ------
        ArgumentError
            Bad queries or threshold, or the tables have no vectors and none are given.
        UnsupportedError
            The family has no similarity of rows, such as a learned one.
        MemoryBudgetError
            The result does not fit into memory.

        Examples
        --------
        >>> import numpy as np
        >>> from lshsample import HashTables, make_family
        >>> rows = np.random.default_rng(0).standard_normal((1000, 16), dtype=np.float32)
        >>> tables = HashTables(make_family("simhash", dim=16, n_hashes=6, n_tables=20)).build(rows)
        >>> found = tables.range_search(rows[:2], 0.7)
        >>> found.row(1), found.similarities.round(2), round(found.recall, 2)
        (array([ 1, 22], dtype=int32), array([1.  , 1.  , 0.72]), 0.98)
        """
        return range_search(self, queries, threshold, n_probes, vectors, block_bytes, threads)

    def similar_pairs(
        self,
        threshold: float,
        *,
        n_probes: int | None = None,
        vectors: Any = None,
        block_bytes: int = BLOCK_BYTES,
        threads: int | None = None,
    ) -> SimilarPairs:
        """All pairs of items that have reached a similarity, such as near-duplicates, if they share a bucket.

        Parameters
        ----------
        threshold, n_probes, vectors, block_bytes, threads
            As for :meth:`range_search`. With several probes, or a family that hashes queries differently, a
            pair is found if either item finds the other one.

        Returns
        -------
        SimilarPairs
            Each pair once, with its exact similarity, the recall at the threshold, and the expected recall.

        Raises
        ------
        ArgumentError, UnsupportedError, MemoryBudgetError
            As for :meth:`range_search`.

        Notes
        -----
        Costs a query for each item: the number of pairs that share a bucket, not of all pairs.

        Examples
        --------
        >>> import numpy as np
        >>> from lshsample import HashTables, make_family
        >>> rows = np.random.default_rng(0).standard_normal((1000, 16), dtype=np.float32)
        >>> rows[700] = rows[3] + 0.01
        >>> tables = HashTables(make_family("simhash", dim=16, n_hashes=12, n_tables=20)).build(rows)
        >>> tables.similar_pairs(0.95).ids
        array([[  3, 700]], dtype=int32)
        """
        return similar_pairs(self, threshold, n_probes, vectors, block_bytes, threads)

    def buckets(self, queries: Any, *, threads: int | None = None) -> Buckets:
        """The query's own bucket of each table, with the number of ids that were offered to it.

        Parameters
        ----------
        queries : (m, dim) array or scipy.sparse matrix
            Finite rows; m may be 0.
        threads : int, optional
            Maximum number of threads.

        Returns
        -------
        Buckets

        Raises
        ------
        ArgumentError
            Bad queries, or tables that were not built.
        UnsupportedError
            The reader returns candidates of all tables together only.

        Notes
        -----
        Averaged over tables, ``sum(f(ids) / q * weights)`` over a bucket, q the code's collision probability,
        is an unbiased estimate of the sum of f over all items; it needs no independence across tables
        (Spring & Shrivastava 2017, arXiv 1703.05160).
        """
        reader = self.snapshot()
        codes = hashing.hash_rows(reader.family, queries, query=True, threads=threads)
        return reader.buckets_of_codes(codes, threads=threads)


def check_candidates(found: Candidates, n_queries: int, n_ids: int, label: str) -> None:
    """Refuse candidates that break the contract of :class:`TableReader`, naming their reader.

    Raises
    ------
    PluginError
        Arrays of other types or lengths, ids out of range or not ascending in a row, counts below 1.
    """
    wrong = _why_wrong(found, n_queries, n_ids)
    if wrong is not None:
        raise PluginError(f"{label}.candidates: {wrong}")


def _why_wrong(found: Candidates, n_queries: int, n_ids: int) -> str | None:
    if not isinstance(found, Candidates):
        return f"returned {type(found).__name__}, expected Candidates"
    for name, dtype in (("indptr", np.int64), ("ids", np.int32), ("counts", np.int32)):
        array = getattr(found, name)
        if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != 1:
            return f"{name} is not a 1-D array of {np.dtype(dtype)}"
    indptr, ids, counts = found.indptr, found.ids, found.counts
    if (
        len(indptr) != n_queries + 1
        or indptr[0] != 0
        or np.any(np.diff(indptr) < 0)
        or indptr[-1] != len(ids)
    ):
        return f"indptr does not divide {len(ids)} ids into {n_queries} rows"
    if len(counts) != len(ids) or counts.min(initial=1) < 1:
        return f"{len(counts)} counts for {len(ids)} ids, the smallest {counts.min(initial=1)}"
    if ids.min(initial=0) < 0 or ids.max(initial=-1) >= n_ids:
        return f"ids are not all from 0 to {n_ids - 1}"
    rises = np.diff(ids) > 0
    rises[indptr[(indptr > 0) & (indptr < len(ids))] - 1] = True
    return None if rises.all() else "ids do not ascend in each row"
