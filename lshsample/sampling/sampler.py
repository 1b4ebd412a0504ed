"""Samplers: a pipeline bound to tables, vectors and frequencies, run over batches."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample._native import core
from lshsample._native.sample import AliasTable, Pattern, Workspaces
from lshsample.errors import ArgumentError
from lshsample.family import Rows
from lshsample.sampling.active_set import LAWS, ActiveSet, Law
from lshsample.sampling.batch import Batch
from lshsample.sampling.checks import agreed
from lshsample.sampling.describe import Description, describe_stages
from lshsample.sampling.evaluate import conditional_inclusion, marginal_inclusion
from lshsample.sampling.explain import Explanation, explain_stages
from lshsample.sampling.run import Run
from lshsample.sampling.search import best_of
from lshsample.sampling.stage import Stages
from lshsample.tables import TableReader

__all__ = ["Sampler"]


@attrs.frozen(eq=False, kw_only=True)
class Sampler:
    """A pipeline bound to what its stages work on; made by :meth:`Pipeline.bind`.

    Attributes
    ----------
    pipeline : Pipeline
        The stages.
    n_items : int
        Number of items.
    tables : TableReader or None
        For stages without tables of their own; read anew at each call, so that a rebuild is seen.
    vectors : rows or None
        The items' vectors, by reference.

    Notes
    -----
    Threads may sample from one sampler at the same time. Between calls it holds four bytes per item and
    thread; a call costs what it touches, never the number of items.
    """

    pipeline: Stages
    n_items: int
    tables: TableReader | None = None
    vectors: Rows | None = None
    _alias: AliasTable | None = attrs.field(default=None, repr=False)
    _workspaces: Workspaces = attrs.field(repr=False)
    _wants_queries: bool = attrs.field(
        default=attrs.Factory(lambda self: "queries" in self.pipeline.needs, takes_self=True), repr=False
    )
    _held: tuple[TableReader, ...] = attrs.field(
        default=attrs.Factory(lambda self: self.pipeline.held_tables, takes_self=True), repr=False
    )

    def sample(
        self,
        queries: Any = None,
        *,
        include: Any = None,
        seed: int = 0,
        step: int = 0,
        pool: bool = False,
        law: Law = "conditional",
        threads: int | None = None,
        n_queries: int | None = None,
    ) -> ActiveSet:
        """The active set of a batch.

        Parameters
        ----------
        queries : (n, dim) rows, optional
            Finite query rows, where a stage looks at them.
        include : (n, n_items) sparse pattern, optional
            The ids that ``Include`` joins: every stored entry counts, whatever its value.
        seed, step : int
            They determine the draws: the same arguments give the same set, for any number of threads.
        pool : bool
            One set for the whole batch instead of one per query.
        law : "conditional" or "marginal"
            What the inclusion probabilities are over: the draws, conditional on the tables, or the hash
            functions as well; see :class:`ActiveSet`. "marginal" needs the similarities of all pairs of the
            set, dim multiplications each.
        threads : int, optional
            At most so many threads.
        n_queries : int, optional
            The number of rows, where neither queries nor include give it.

        Raises
        ------
        ArgumentError
            Bad arguments, tables that are not built, or something that a stage needs and the sampler lacks.
        PluginError
            A family or a stage of a plugin broke its contract; the message names it.
        """
        if law not in LAWS:
            raise ArgumentError("law", repr(law), f"one of {', '.join(LAWS)}")
        if not isinstance(pool, (bool, np.bool_)):
            raise ArgumentError("pool", repr(pool), "True or False")
        return self._active(self._batch(queries, include, n_queries, seed, step, bool(pool), threads), law)

    def search(
        self, queries: Any, top: int = 10, *, seed: int = 0, step: int = 0, threads: int | None = None
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """The items of largest inner product with each query, among those that the pipeline finds.

        Parameters
        ----------
        queries : (n, dim) array
            Finite query rows.
        top : int
            Items a query.
        seed, step, threads
            As :meth:`sample`'s.

        Returns
        -------
        ids : (n, top) int32 array
            Best first, ties by the smaller id; -1 where a query's set is smaller.
        scores : (n, top) float32 array
            Their inner products; -inf beside an id of -1.

        Raises
        ------
        ArgumentError
            As :meth:`sample`, and no dense vectors: those that the sampler is bound to, or else those that
            its tables were built from.

        Notes
        -----
        Costs what :meth:`sample` does, and ``dim`` multiplications for each id of the sets.

        Examples
        --------
        >>> import numpy as np
        >>> from lshsample import HashTables, Retrieve, make_family
        >>> items = np.random.default_rng(0).standard_normal((1000, 32), dtype=np.float32)
        >>> family = make_family("cross-polytope", dim=32, n_hashes=2, dimension=8, n_tables=20)
        >>> sampler = Retrieve(probes=8).bind(tables=HashTables(family).build(items))
        >>> sampler.search(items[:3], top=1)[0].ravel()
        array([0, 1, 2], dtype=int32)
        """
        batch = self._batch(queries, None, None, seed, step, False, threads)
        vectors = self.vectors if self.vectors is not None or batch.state is None else batch.state.vectors
        drawn = self._run(batch).drawn
        return best_of(drawn, self.n_items, batch.queries, vectors, top, batch.threads)

    def _run(self, batch: Batch, n_stages: int | None = None) -> Run:
        return Run(self.pipeline, batch, self._workspaces).go(n_stages)

    def _active(self, batch: Batch, law: Law) -> ActiveSet:
        run = self._run(batch)
        drawn = run.drawn
        inclusion = marginal_inclusion if law == "marginal" else conditional_inclusion
        values, biased_by = inclusion(run)
        return ActiveSet(
            indptr=drawn.indptr,
            ids=drawn.ids,
            counts=drawn.counts,
            n_items=self.n_items,
            pooled=batch.pooled,
            law=law,
            biased_by=biased_by,
            draws=self.pipeline.simple_sample(drawn) if values is drawn.log_inclusion else None,
            log_inclusion=values,
        )

    def explain(self, query: Any = None, *, include: Any = None, seed: int = 0, step: int = 0) -> Explanation:
        """What each stage does to one query's set: ids added and removed, why, at which probability.

        Parameters
        ----------
        query : (1, dim) row, optional
            The query, where a stage looks at it.
        include : (1, n_items) sparse pattern, optional
            The ids that ``Include`` joins.
        seed, step : int
            They determine the draws: those of :meth:`sample` with the same.

        Notes
        -----
        The first 1, 2, ... stages are run again for each report; probabilities are conditional on the tables.

        Examples
        --------
        >>> from lshsample.sampling import Cap, Full, Uniform
        >>> explanation = (Full() | Cap(30) | Uniform(5)).bind(n_items=100).explain()
        >>> [(report.added, report.removed) for report in explanation.stages[:2]]
        [(100, 0), (0, 70)]
        """
        n_queries = 1 if query is None and include is None else None
        batch = self._batch(query, include, n_queries, seed, step, False, 1)
        if batch.n_queries != 1:
            raise ArgumentError("query", f"{batch.n_queries} rows", "one row")
        runs = [self._run(batch, k + 1) for k in range(len(self.pipeline))]
        return Explanation(stages=explain_stages(runs), active=self._active(batch, "conditional"))

    def describe(self, *, queries: Any = None, vectors: Any = None, seed: int = 0) -> Description:
        """What to expect, from the laws alone: sizes stage by stage, recall by similarity, memory.

        Parameters
        ----------
        queries, vectors : rows, optional
            A sample of the queries and of the items to measure similarities on; by default the items that
            the tables were built from, or the sampler was bound to. Without any, and with a law of the
            cosine, pairs of independent directions: what unrelated items do.
        seed : int
            Determines the sample of pairs.

        Raises
        ------
        ArgumentError
            The family's law needs rows that are not there.

        Notes
        -----
        For each of up to 64 queries, the stages' expectations are folded over the items, or a sample of
        them. Numbers of collisions have binomial laws (Poisson binomial with probes); what a filter keeps
        follows from the mean and the variance of the set's size. How much more the size varies than that of
        independent items is measured by hashing the sampled rows once. Costs up to about a second.

        Examples
        --------
        >>> from lshsample import HashTables, Retrieve, Uniform, make_family
        >>> tables = HashTables(make_family("simhash", dim=64, n_hashes=10, n_tables=20))  # not built
        >>> description = (Retrieve() | Uniform(50)).bind(tables=tables, n_items=100_000).describe()
        >>> 1500 < description.expected_size < 4000, description.memory_bytes // 2**20
        (True, 7)
        """
        return describe_stages(
            self.pipeline,
            self.n_items,
            bound=self.tables,
            frequencies=None if self._alias is None else self._alias.frequency,
            queries=queries,
            vectors=self.vectors if vectors is None else vectors,
            seed=seed,
        )

    def _batch(
        self,
        queries: Any,
        include: Any,
        n_queries: int | None,
        seed: int,
        step: int,
        pool: bool,
        threads: int | None,
    ) -> Batch:
        count = core.threads_or_default(threads)
        for argument, value in (("seed", seed), ("step", step)):
            plain = type(value) is int or (isinstance(value, np.integer) and not isinstance(value, np.bool_))
            if not plain or not 0 <= value < 2**63:
                raise ArgumentError(argument, repr(value), "an integer from 0 to 2**63 - 1")
        rows: Rows | None = None
        if queries is not None:
            # Whoever hashes them, or the run itself, checks that they are finite.
            rows = (
                core.csr_rows(queries, "queries", finite=False, threads=count)
                if sp.issparse(queries)
                else core.dense_rows(queries, "queries", finite=False)
            )
        elif self._wants_queries:
            raise ArgumentError("queries", "nothing", f"rows for {self.pipeline}")
        pattern = None if include is None else self._pattern(include)
        sizes = {
            "queries": None if rows is None else rows.shape[0],
            "include": None if pattern is None else len(pattern[0]) - 1,
            "n_queries": n_queries,
        }
        # One state of each set of tables from beginning to end, whatever a writer does meanwhile.
        own = {id(tables): tables.snapshot() for tables in self._held if tables.is_built}
        bound = self.tables
        state = None if bound is None or not bound.is_built else own.get(id(bound)) or bound.snapshot()
        return Batch(
            queries=rows,
            n_queries=agreed(sizes, 1 if pool else None),
            n_items=self.n_items,
            include=pattern,
            state=state,
            vectors=self.vectors,
            alias=self._alias,
            seed=int(seed),
            step=int(step),
            pooled=pool,
            threads=count,
            own_states=own,
        )

    def _pattern(self, include: Any) -> Pattern:
        if not self.pipeline.takes_include:
            raise ArgumentError("include", "a pattern", f"none: {self.pipeline} has no Include() stage")
        pattern: Any = include
        shape: tuple[int, ...] = getattr(include, "shape", ())
        if not sp.issparse(include) or len(shape) != 2 or shape[1] != self.n_items:
            given = f"{type(include).__name__} of shape {shape}"
            raise ArgumentError("include", given, f"a sparse matrix with {self.n_items} columns")
        csr = pattern.tocsr()
        if csr.nnz and (csr.indices.min() < 0 or csr.indices.max() >= self.n_items):
            raise ArgumentError("include", "column indices out of range", f"ids from 0 to {self.n_items - 1}")
        return np.ascontiguousarray(csr.indptr, np.int64), np.ascontiguousarray(csr.indices, np.int32)
