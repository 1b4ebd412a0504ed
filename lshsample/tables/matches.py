"""Items and pairs of items above a similarity: candidates from buckets, verified by exact similarities."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample import hashing, laws, memory
from lshsample._native import core, layers
from lshsample.display import SHOWN_ROWS, html_table, span
from lshsample.errors import ArgumentError, PluginError, UnsupportedError
from lshsample.family import HashFamily, Rows
from lshsample.specs import checked_integer
from lshsample.tables.keys import keys_of
from lshsample.tables.rows import QueryRows

if TYPE_CHECKING:
    from lshsample.tables.reader import TableReader

__all__ = ["BLOCK_BYTES", "Matches", "SimilarPairs", "range_search", "similar_pairs"]

Floats = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

#: Bytes of candidates that are held at a time, by default.
BLOCK_BYTES = 2**28

#: Bytes of a candidate: the id, its count and probability in a row and in the result, and what its inner
#: product is compared with. Rows for exact similarities are taken in smaller blocks.
_CANDIDATE_BYTES = 2 * 12 + 72
#: Bytes of a pair that was found: two ids or a row and an id, and the similarity, in parts and in the result.
_FOUND_BYTES = 2 * 20

#: Elements of rows whose exact similarities are computed at once, 2 x 16 MiB in float64.
_ELEMENTS = 2**21

#: Rounding of similarities in float64: a pair this close to the threshold, relative to it, has reached it.
_ROUNDING = 1e-12


@attrs.frozen(eq=False, kw_only=True, repr=False)
class Matches(QueryRows):
    """The items of each query that have reached a similarity, among those that share a bucket with it.

    Attributes
    ----------
    indptr : (n_queries + 1,) int64 array
        Row r is ``ids[indptr[r]:indptr[r + 1]]``.
    ids : (n,) int32 array
        Ids, ascending in a row.
    similarities : (n,) float64 array
        Exact similarities, or distances, by the family's ``similarity_of``.
    threshold : float
        The similarity that they have reached; a maximum, for distances.
    recall : float or None
        The least probability, over the draw of the hash functions, that an item at the threshold or nearer is
        found: 1 - (1 - p^K)^L with the collision probability p at the threshold, for one bucket per table;
        further probes find more. None if the family has no such law, or buckets are bounded.
    expected_recall : float or None
        The expected fraction found of all items that have reached the threshold, estimated from those found:
        n / sum(1 / p), p the probability that each was to be found. None without a law, or if nothing was
        found. Both are approximate for families with an approximate law (``exact_law``) or dependent tables.
    """

    indptr: Int64
    ids: Int32
    similarities: Floats
    threshold: float
    recall: float | None
    expected_recall: float | None
    _by_id: Int64 | None = attrs.field(default=None, repr=False)

    def __repr__(self) -> str:
        return self._text(_found(self))

    def _repr_html_(self) -> str:
        return self._table("similarities", self.similarities, ",.4g")


@attrs.frozen(eq=False, kw_only=True, repr=False)
class SimilarPairs:
    """The pairs of items that have reached a similarity, among those that share a bucket; each pair once.

    Attributes
    ----------
    ids : (n, 2) int32 array
        The smaller id first, in ascending order.
    similarities : (n,) float64 array
        Exact similarities, or distances, by the family's ``similarity_of``.
    threshold, recall, expected_recall
        As those of :class:`Matches`, for a pair.
    """

    ids: Int32
    similarities: Floats
    threshold: float
    recall: float | None
    expected_recall: float | None
    _by_id: Int64 | None = attrs.field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def keys(self) -> Int64:
        """The keys (n, 2) of the ids, of tables that have keys; ArgumentError for others."""
        return keys_of(self._by_id, self.ids)

    def __repr__(self) -> str:
        return f"SimilarPairs({len(self):,} pairs, {_found(self)})"

    def _repr_html_(self) -> str:
        shown = zip(self.ids[:SHOWN_ROWS], self.similarities, strict=False)
        rows = [[*pair, format(similarity, ".4g")] for pair, similarity in shown]
        return html_table(repr(self), ["id", "id", "similarity"], rows, total=len(self))


def _found(found: Matches | SimilarPairs) -> str:
    """What both results say of their similarities and recalls."""
    texts = [f"similarities {span(found.similarities)}", f"threshold {found.threshold:.4g}"]
    for name, recall in (("recall", found.recall), ("expected_recall", found.expected_recall)):
        if recall is not None:
            texts.append(f"{name} {recall:.3g}")
    return ", ".join(texts)


@attrs.frozen(eq=False, kw_only=True)
class _Request:
    """A checked call: one state of the tables with what both searches need."""

    reader: TableReader
    vectors: Rows
    n_probes: int
    threshold: float
    block_bytes: int
    threads: int

    @property
    def family(self) -> HashFamily:
        """The hash functions."""
        return self.reader.family

    @property
    def max_ids(self) -> int:
        """Candidates that a part may have."""
        return self.block_bytes // _CANDIDATE_BYTES

    @cached_property
    def norms(self) -> Floats:
        """The Euclidean norms (n_ids,) of the vectors."""
        return _norms(self.vectors)

    def reached(self, similarities: Floats) -> npt.NDArray[np.bool_]:
        """Which similarities have reached the threshold, up to rounding."""
        slack = _ROUNDING * max(1.0, abs(self.threshold))
        if self.family.is_distance:
            return similarities <= self.threshold + slack
        return similarities >= self.threshold - slack


def _request(
    reader: TableReader, threshold: Any, n_probes: int | None, vectors: Any, block_bytes: int, threads: Any
) -> _Request:
    count = core.threads_or_default(reader.default_threads if threads is None else threads)
    reader = reader.snapshot()
    family = reader.family
    plain = isinstance(threshold, (int, float, np.number)) and not isinstance(threshold, bool)
    if not plain or not np.isfinite(threshold) or (family.is_distance and threshold < 0):
        wanted = "a finite number" + (" >= 0, as it is a distance" if family.is_distance else "")
        raise ArgumentError("threshold", repr(threshold), wanted)
    block_bytes = checked_integer("block_bytes", block_bytes, 2**20, 2**62, ", bytes")
    given = reader.vectors if vectors is None else vectors
    if given is None:
        wanted = "the rows of all ids, since the tables were opened, or changed, without them"
        raise ArgumentError("vectors", "nothing", wanted)
    if vectors is None:
        rows = core.kept_rows(given, "vectors")
    else:
        rows = hashing.checked_rows(family, given, "vectors")
    if rows.shape[0] < reader.n_ids:
        wanted = f"an array of {reader.n_ids} rows, one for each id"
        raise ArgumentError("vectors", f"{rows.shape[0]} rows", wanted)
    return _Request(
        reader=reader,
        vectors=rows,
        n_probes=family.default_probes if n_probes is None else n_probes,
        threshold=float(threshold),
        block_bytes=block_bytes,
        threads=count,
    )


@memory.named_shortage("searching")
def range_search(
    reader: TableReader,
    queries: Any,
    threshold: float,
    n_probes: int | None,
    vectors: Any,
    block_bytes: int,
    threads: int | None,
) -> Matches:
    """See :meth:`TableReader.range_search`."""
    request = _request(reader, threshold, n_probes, vectors, block_bytes, threads)
    family = request.family
    given = hashing.checked_rows(family, queries, "queries")
    found = _Found(f"the items of {given.shape[0]:,} queries")
    for begin, candidates in request.reader.candidate_parts(
        given, request.n_probes, max_ids=request.max_ids, threads=request.threads
    ):
        part = core.rows_between(given, begin, begin + len(candidates))
        at, similarities = _verified(request, part, candidates.indptr, candidates.ids)
        rows = np.searchsorted(candidates.indptr, at, side="right") - 1
        found.add(rows + begin, candidates.ids[at], similarities)
    rows, ids, similarities = found.all()
    recall, expected = _recalls(request, given, rows, ids)
    return Matches(
        indptr=np.searchsorted(rows, np.arange(given.shape[0] + 1)).astype(np.int64),
        ids=ids,
        similarities=similarities,
        threshold=request.threshold,
        recall=recall,
        expected_recall=expected,
        by_id=request.reader.keys,
    )


@memory.named_shortage("searching for pairs")
def similar_pairs(
    reader: TableReader,
    threshold: float,
    n_probes: int | None,
    vectors: Any,
    block_bytes: int,
    threads: int | None,
) -> SimilarPairs:
    """See :meth:`TableReader.similar_pairs`."""
    request = _request(reader, threshold, n_probes, vectors, block_bytes, threads)
    reader = request.reader
    items = reader.item_ids
    # Where one row of a pair finds the other, so does the other one find it; else both are tried.
    symmetric = request.n_probes == 1 and type(request.family).hash_query is HashFamily.hash_query
    found = _Found("the similar pairs")
    for begin in range(0, len(items), _ROWS):
        names = items[begin : begin + _ROWS]
        rows = hashing.checked_rows(request.family, request.vectors[names], "vectors", finite=False)
        for at, candidates in reader.candidate_parts(
            rows, request.n_probes, max_ids=request.max_ids, threads=request.threads
        ):
            own = names[at : at + len(candidates)]
            first = np.repeat(own, np.diff(candidates.indptr))
            other = first < candidates.ids if symmetric else first != candidates.ids
            indptr = np.concatenate([[0], np.cumsum(other)])[candidates.indptr]
            first, second = first[other], candidates.ids[other]
            chosen, near = _verified(request, core.rows_between(rows, at, at + len(own)), indptr, second)
            found.add(first[chosen], second[chosen], near)
    by, others, similarities = found.all()
    low, high = np.minimum(by, others), np.maximum(by, others)
    # An asymmetric similarity may differ in its last bits: the query with the smaller id counts.
    order = np.lexsort((by, high, low))
    low, high, similarities = low[order], high[order], similarities[order]
    new = np.ones(len(low), bool)
    new[1:] = (low[1:] != low[:-1]) | (high[1:] != high[:-1])
    pairs = np.stack([low[new], high[new]], axis=1).astype(np.int32)
    recall, expected = _recalls(request, request.vectors, pairs[:, 0].astype(np.int64), pairs[:, 1])
    return SimilarPairs(
        ids=pairs,
        similarities=similarities[new],
        threshold=request.threshold,
        recall=recall,
        expected_recall=expected,
        by_id=reader.keys,
    )


#: Items that are hashed at a time to find their pairs.
_ROWS = 16384


class _Found:
    """What was found in parts, whose size is checked against the memory as it grows."""

    def __init__(self, what: str) -> None:
        self.what = what
        self._parts: list[tuple[npt.NDArray[Any], Int32, Floats]] = []
        self._count = 0

    def add(self, rows: npt.NDArray[Any], ids: Int32, similarities: Floats) -> None:
        """Add pairs of a row and an id."""
        self._count += len(ids)
        more = {f"{self._count:,} pairs so far": _FOUND_BYTES * len(ids)}
        memory.require_budget(more, self.what, advice="A nearer threshold, or fewer queries, find less")
        self._parts.append((rows, ids, similarities))

    def all(self) -> tuple[Int64, Int32, Floats]:
        """Everything, in the order in which it was added."""
        if not self._parts:
            return np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0)
        rows, ids, similarities = (np.concatenate(columns) for columns in zip(*self._parts, strict=True))
        return rows.astype(np.int64, copy=False), ids, similarities


def _verified(request: _Request, queries: Rows, indptr: Int64, ids: Int32) -> tuple[Int64, Floats]:
    """The places of the candidates that have reached the threshold, with their exact similarities."""
    rows = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    places = np.flatnonzero(_possible(request, queries, indptr, ids))
    kept, similarities = [np.empty(0, np.int64)], [np.empty(0)]
    for part in _blocks(places, request.vectors):
        near = _similarities(request.family, queries[rows[part]], request.vectors[ids[part]])
        reached = request.reached(near)
        kept.append(part[reached])
        similarities.append(near[reached])
    return np.concatenate(kept), np.concatenate(similarities)


def _blocks(places: Int64, vectors: Rows) -> Iterator[Int64]:
    width = vectors.shape[1]
    if sp.issparse(vectors):
        width = max(1, vectors.nnz // max(1, vectors.shape[0]))
    step = max(1, _ELEMENTS // max(1, width))
    for begin in range(0, len(places), step):
        yield places[begin : begin + step]


def _similarities(family: HashFamily, q: Rows, x: Rows) -> Floats:
    where = f"{hashing.family_label(family)}.similarity_of"
    try:
        found = family.similarity_of(q, x)
    except (UnsupportedError, ArgumentError, MemoryError):
        raise
    except Exception as error:
        raise PluginError(f"{where} raised {type(error).__name__}: {error}") from error
    if not isinstance(found, np.ndarray) or found.shape != (x.shape[0],) or found.dtype.kind != "f":
        given = f"{found.dtype} {found.shape}" if isinstance(found, np.ndarray) else type(found).__name__
        raise PluginError(f"{where}: returned {given}, expected an array of floats of shape ({x.shape[0]},)")
    return found.astype(np.float64, copy=False)


def _possible(request: _Request, queries: Any, indptr: Int64, ids: Int32) -> npt.NDArray[np.bool_]:
    """Candidates that may have reached the threshold, by inner products in float32 and their error bound.

    They take a hundredth of the time of exact similarities, which most candidates do not need then. Only for
    the similarities of :class:`HashFamily` itself, and where candidates are as many as items.
    """
    family, vectors = request.family, cast("Any", request.vectors)
    own = type(family).similarity_of is not HashFamily.similarity_of
    mixed = sp.issparse(queries) != sp.issparse(vectors)
    if own or mixed or len(ids) < vectors.shape[0]:
        return np.ones(len(ids), bool)
    if isinstance(vectors, np.ndarray):
        products = layers.csr_sampled_matmul(queries, vectors, None, indptr, ids, threads=request.threads)
        terms = vectors.shape[1]
    else:
        products = layers.csr_pair_products(queries, vectors, indptr, ids, threads=request.threads)
        terms = 1
    q, x = np.repeat(_norms(queries), np.diff(indptr)), request.norms[ids]
    scale = q * x
    # A sum of n products of float32 is within (n + 2) roundings of the sum of their absolute values.
    error = (terms + 2) * float(np.finfo(np.float32).eps) * scale
    high: Floats = products + error
    if family.similarity == "inner_product":
        return request.reached(high)
    slack = 1e-6  # far above all roundings in float64, of norms, of squares and of the threshold
    if family.similarity == "euclidean":
        squares = q * q + x * x
        limit = request.threshold**2 + slack * (squares + request.threshold**2)
        return np.asarray(squares - 2 * high <= limit)
    return np.asarray(high >= (request.threshold - slack) * scale)


def _norms(rows: Rows) -> Floats:
    """Euclidean norms of rows."""
    if isinstance(rows, np.ndarray):
        return np.asarray(np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64)))
    squares = np.add.reduceat(np.append(rows.data.astype(np.float64) ** 2, 0), rows.indptr[:-1])
    return np.asarray(np.sqrt(np.where(np.diff(rows.indptr) > 0, squares, 0)))


def _recalls(request: _Request, queries: Rows, rows: Int64, ids: Int32) -> tuple[float | None, float | None]:
    """Recall at the threshold, and expected over what was found; None where the family has no law."""
    family, n_tables = request.family, request.family.n_tables
    if request.reader.bucket_size is not None:
        return None, None
    try:
        least = None
        if not family.law_of_norms:
            code = float(family.code_probability(np.array([request.threshold]))[0])
            least = float(laws.union_inclusion(code, n_tables))
        total = 0.0
        for part in _blocks(np.arange(len(ids)), request.vectors):
            if request.n_probes > 1:
                total += _reciprocals_of_probes(request, queries, rows[part], ids[part])
                continue
            near = hashing.pair_probabilities(family, queries[rows[part]], request.vectors[ids[part]])
            total += _reciprocals(laws.union_inclusion(near, n_tables))
    except UnsupportedError:
        return None, None
    return least, len(ids) / total if total > 0 else None


def _reciprocals(chances: Floats) -> float:
    # An item found although its computed probability is 0 (rounding of the similarity) keeps a finite weight.
    return float((1 / np.maximum(chances, np.finfo(np.float32).tiny)).sum())


def _reciprocals_of_probes(request: _Request, queries: Rows, rows: Int64, ids: Int32) -> float:
    """With several probes the probability depends on the query: query by query."""
    total = 0.0
    ends = [*(np.flatnonzero(np.diff(rows)) + 1).tolist(), len(rows)]
    begin = 0
    for end in ends:
        query = queries[rows[begin] : rows[begin] + 1]
        near = request.vectors[ids[begin:end]]
        chances = hashing.pair_probabilities(request.family, query, near, request.n_probes)
        total += _reciprocals(laws.tables_inclusion(chances))
        begin = end
    return total
