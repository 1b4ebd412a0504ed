"""Search: the items of largest inner product among those in a sampled set."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample._native import core, layers
from lshsample._native.sample import PART_QUERIES, Drawn, PreparedSearch, Workspaces, check_run
from lshsample.errors import ArgumentError
from lshsample.family import Rows
from lshsample.sampling.batch import Batch
from lshsample.sampling.run import core_calls, run_in_parts
from lshsample.sampling.stage import Stages
from lshsample.specs import checked_integer

__all__ = ["BLOCK_BYTES", "Prepared", "best_items"]

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]

#: Bytes of the sets that a search holds at a time, by default.
BLOCK_BYTES = 2**28

#: Bytes of an id of a set: the id, its count and probability, in a row and in the result; and its score.
_ID_BYTES = 2 * 12 + 4

#: Elements of sparse queries that are made dense at a time.
_DENSE = 2**22

#: The number of items by default, or all if there are fewer.
_TOP = 10


def best_items(
    prepared: Prepared, batch: Batch, workspaces: Workspaces, vectors: Any, top: int | None, block_bytes: int
) -> tuple[Int32, Float32]:
    """The ``top`` ids of each query's set by inner product; see :meth:`Sampler.search`."""
    n_items = batch.n_items
    if top is None:
        top = min(_TOP, n_items)
    top = checked_integer("top", top, 1, n_items, ", the number of items")
    block_bytes = checked_integer("block_bytes", block_bytes, 2**20, 2**62, ", bytes")
    for name, given in (("queries", batch.queries), ("vectors", vectors)):
        if given is None:
            how = ": bind(..., vectors=...)" if name == "vectors" else ""
            raise ArgumentError(name, "nothing", f"an array or a sparse matrix, for inner products{how}")
    rows = core.kept_rows(vectors, "vectors")
    queries: Any = batch.queries
    if queries.shape[1] != rows.shape[1]:
        wanted = f"an array with {rows.shape[1]} columns"
        raise ArgumentError("queries", f"{queries.shape[1]} columns", wanted)
    if batch.n_queries > 1:
        # The kernels check, too, but only what is in a part.
        if isinstance(queries, np.ndarray):
            core.check_finite(queries, "queries")
        else:
            core.csr_rows(queries, "queries", threads=batch.threads)
    if prepared.in_core and isinstance(rows, np.ndarray) and isinstance(queries, np.ndarray):
        return _best_in_core(prepared, batch, workspaces, rows, top)
    parts = [
        _best(drawn, n_items, part.queries, rows, top, batch.threads)
        for part, drawn in run_in_parts(prepared.pipeline, batch, workspaces, block_bytes // _ID_BYTES)
    ]
    if len(parts) == 1:
        return parts[0]
    ids, scores = zip(*parts, strict=True)
    return np.concatenate(ids), np.concatenate(scores)


class Prepared:
    """A sampler's pipeline, with the plan of its searches as long as tables and vectors are the same objects.

    To ask the stages for their calls takes longer than the core takes for a query. Tables and vectors are not
    kept: a rebuild frees the old ones. Threads may replace each other's plan.
    """

    def __init__(self, pipeline: Stages) -> None:
        self.pipeline, self.in_core = pipeline, pipeline.runs_in_core
        self._last: tuple[PreparedSearch, str, tuple[Any, ...]] | None = None

    def __reduce__(self) -> tuple[type[Prepared], tuple[Stages]]:
        return (Prepared, (self.pipeline,))

    def search(self, batch: Batch, vectors: Any) -> PreparedSearch:
        """The plan for a batch, made if there is none."""
        state = batch.state
        native = None if state is None or batch.own_states else state.native
        last = self._last
        if native is not None and last is not None and last[1] == core.isa():
            of_tables, of_vectors = last[2]
            if of_tables() is native and of_vectors() is vectors:
                return last[0]
        calls = core_calls(self.pipeline, batch)
        made = PreparedSearch(calls, vectors)
        if native is not None and PreparedSearch.lasts(calls):
            self._last = made, core.isa(), (weakref.ref(native), weakref.ref(vectors))
        return made


def _best_in_core(
    prepared: Prepared, batch: Batch, workspaces: Workspaces, rows: Any, top: int
) -> tuple[Int32, Float32]:
    """The best of dense vectors, which the core ranks as it draws: no set is kept."""
    n = batch.n_queries
    best, scores = np.empty((n, top), np.int32), np.empty((n, top), np.float32)
    for begin in range(0, max(n, 1), PART_QUERIES):
        part = batch if n <= PART_QUERIES else batch.part(begin, min(begin + PART_QUERIES, n))
        queries: Any = part.queries
        status, failed = prepared.search(part, rows).run(
            queries,
            best[begin : begin + PART_QUERIES],
            scores[begin : begin + PART_QUERIES],
            seed=batch.seed,
            step=batch.step,
            threads=batch.threads,
            workspaces=workspaces,
            first_row=part.first_row,
        )
        if status:
            check_run(status, failed, core_calls(prepared.pipeline, part), "searching")
    return best, scores


def _best(
    drawn: Drawn, n_items: int, queries: Any, rows: Rows, top: int, threads: int
) -> tuple[Int32, Float32]:
    """The best of each set, by products of the items' kind."""
    indptr, ids = drawn.indptr, drawn.ids
    if rows.shape[0] < n_items:
        # There is room for ids that are no items yet, and have no vectors.
        inside = ids < rows.shape[0]
        indptr, ids = np.concatenate([[0], np.cumsum(inside)])[indptr], ids[inside]
    if isinstance(rows, np.ndarray):
        if isinstance(queries, np.ndarray):
            return layers.csr_top_k(queries, rows, None, indptr, ids, top, threads=threads)
        return _best_of_dense(queries, rows, indptr, ids, top, threads)
    sparse = core.csr_rows(sp.csr_array(queries), "queries", finite=False, threads=threads)
    products = layers.csr_pair_products(sparse, rows, indptr, ids, threads=threads)
    return layers.top_k_ragged(products, indptr, ids, top, threads=threads)


def _best_of_dense(
    queries: Any, rows: Float32, indptr: Int64, ids: Int32, top: int, threads: int
) -> tuple[Int32, Float32]:
    """The best of dense vectors for sparse queries, some of which are made dense at a time."""
    step, n = max(1, _DENSE // max(1, rows.shape[1])), queries.shape[0]
    found = []
    for begin in range(0, max(n, 1), step):
        end = min(begin + step, n)
        dense = core.rows_between(queries, begin, end).toarray()
        own, first = indptr[begin : end + 1] - indptr[begin], ids[indptr[begin] : indptr[end]]
        found.append(layers.csr_top_k(dense, rows, None, own, first, top, threads=threads))
    best, scores = zip(*found, strict=True)
    return np.concatenate(best), np.concatenate(scores)
