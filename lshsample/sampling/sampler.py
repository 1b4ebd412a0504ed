"""Samplers: pipelines bound to tables, vectors and frequencies, which draw active sets for batches."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample import memory
from lshsample._native import core
from lshsample._native.labels import label_rows
from lshsample._native.sample import Pattern, Workspaces
from lshsample.display import html_table
from lshsample.errors import ArgumentError, did_you_mean
from lshsample.family import Rows
from lshsample.sampling.active_set import LAWS, ActiveSet, Law
from lshsample.sampling.batch import Batch
from lshsample.sampling.checks import agreed
from lshsample.sampling.describe import Description, describe_stages
from lshsample.sampling.evaluate import conditional_inclusion, marginal_inclusion
from lshsample.sampling.explain import Explanation, explain_stages
from lshsample.sampling.frequencies import ItemFrequencies
from lshsample.sampling.run import Run
from lshsample.sampling.search import BLOCK_BYTES, Prepared, best_items
from lshsample.sampling.stage import Stages
from lshsample.tables import TableReader
from lshsample.tables.keys import keys_of

__all__ = ["Sampler"]


@attrs.frozen(eq=False, kw_only=True, repr=False)
class Sampler:
    """A pipeline bound to the tables and arrays that its stages use; made by :meth:`Pipeline.bind`.

    Attributes
    ----------
    pipeline : Pipeline
        The stages.
    n_items : int
        Number of items.
    tables : TableReader or None
        For stages that do not hold tables themselves; each call uses their current state.
    vectors : rows or None
        The items' vectors, not copied.

    Notes
    -----
    Thread-safe. Between calls it holds four bytes per item and thread; the cost of a call is proportional to
    the ids touched, not to the number of items.
    """

    pipeline: Stages
    n_items: int
    tables: TableReader | None = None
    vectors: Rows | None = None
    _item_frequencies: ItemFrequencies | None = attrs.field(default=None, repr=False)
    _workspaces: Workspaces = attrs.field(repr=False)
    _prepared: Prepared = attrs.field(
        default=attrs.Factory(lambda self: Prepared(self.pipeline), takes_self=True), init=False, repr=False
    )
    _needs_queries: bool = attrs.field(
        default=attrs.Factory(lambda self: "queries" in self.pipeline.needs, takes_self=True),
        init=False,
        repr=False,
    )
    _takes_include: bool = attrs.field(
        default=attrs.Factory(lambda self: self.pipeline.takes_include, takes_self=True),
        init=False,
        repr=False,
    )
    _held: tuple[TableReader, ...] = attrs.field(
        default=attrs.Factory(lambda self: self.pipeline.held_tables, takes_self=True), init=False, repr=False
    )

    @memory.named_shortage("sampling")
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
            Finite query rows, if a stage needs them.
        include : (n, n_items) sparse or dense array, or lists of ids, optional
            The ids that ``Include`` adds: 1 for an id to add, 0 for none, or the ids of each row. Any other
            value is refused.
        seed, step : int
            They determine the random draws; the result does not depend on the number of threads.
        pool : bool
            One set for the whole batch instead of one per query.
        law : "conditional" or "marginal"
            Whether inclusion probabilities are conditional on the tables, or marginal over the hash
            functions; see :class:`ActiveSet`. "marginal" computes the similarities of all pairs of the set,
            with dim multiplications each.
        threads : int, optional
            Maximum number of threads.
        n_queries : int, optional
            The number of rows, if neither queries nor include determine it.

        Raises
        ------
        ArgumentError
            Invalid arguments, tables that are not built, or something required by a stage is missing.
        PluginError
            A family or a stage of a plugin violated its contract; the message contains its name.
        """
        if law not in LAWS:
            raise ArgumentError("law", repr(law), f"one of {', '.join(LAWS)}{did_you_mean(law, LAWS)}")
        if not isinstance(pool, (bool, np.bool_)):
            raise ArgumentError("pool", repr(pool), "True or False")
        return self._active(self._batch(queries, include, n_queries, seed, step, bool(pool), threads), law)

    @memory.named_shortage("searching")
    def search(
        self,
        queries: Any,
        top: int | None = None,
        *,
        seed: int = 0,
        step: int = 0,
        threads: int | None = None,
        keys: bool = False,
        block_bytes: int = BLOCK_BYTES,
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.float32]]:
        """The items of largest inner product with each query, among those that the pipeline finds.

        Parameters
        ----------
        queries : (n, dim) array or scipy.sparse matrix
            Finite query rows.
        top : int, optional
            Number of items per query; by default 10, or all items if there are fewer.
        seed, step, threads
            As :meth:`sample`'s.
        keys : bool
            Return the keys of the bound tables instead of ids.
        block_bytes : int
            Memory for the sets of the queries that are searched at a time, 256 MiB by default: batches whose
            sets are larger are searched in parts, with the same results. The set of a single query may take
            more. A pipeline with a stage in Python is run over the whole batch. Without one, dense vectors
            and queries need none of it: ids are ranked as they are drawn.

        Returns
        -------
        ids : (n, top) int32 array, or int64 keys
            Best first, ties by the smaller id; padded with -1 if a query's set is smaller.
        scores : (n, top) float32 array
            Their inner products; -inf for an id of -1.

        Raises
        ------
        ArgumentError
            As :meth:`sample`, or the sampler has no vectors: neither bound, nor from the build of its tables;
            or keys are wanted of tables without keys.

        Notes
        -----
        Vectors and queries may be dense or sparse, each. Cost: that of :meth:`sample`, and for each id of the
        sets ``dim`` multiplications, or as many steps as both rows have entries if the vectors are sparse.

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
        by_id = self._keys(batch, keys)
        ids, scores = best_items(self._prepared, batch, self._workspaces, vectors, top, block_bytes)
        return ids if by_id is None else keys_of(by_id, ids), scores

    def _keys(self, batch: Batch, wanted: bool) -> npt.NDArray[np.int64] | None:
        """The keys of all ids, if they are wanted."""
        if not isinstance(wanted, (bool, np.bool_)):
            raise ArgumentError("keys", repr(wanted), "True or False")
        if not wanted:
            return None
        by_id = None if batch.state is None else batch.state.keys
        if by_id is None:
            given = "True, and no tables with keys are bound"
            raise ArgumentError("keys", given, "False, or the tables built with keys=...")
        return by_id

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

    @memory.named_shortage("explaining a sample")
    def explain(self, query: Any = None, *, include: Any = None, seed: int = 0, step: int = 0) -> Explanation:
        """The effect of each stage on one query's set: ids added and removed, why, and their probabilities.

        Parameters
        ----------
        query : (1, dim) row, optional
            The query, if a stage needs it.
        include : (1, n_items) sparse or dense array, or a list of one list of ids, optional
            The ids that ``Include`` adds.
        seed, step : int
            They determine the random draws, which are those of :meth:`sample`.

        Notes
        -----
        Runs the first 1, 2, ... stages, once for each report; probabilities are conditional on the tables.

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

    @memory.named_shortage("describing a sampler")
    def describe(self, *, queries: Any = None, vectors: Any = None, seed: int = 0) -> Description:
        """Predictions from the stages' laws: size after each stage, recall by similarity, memory.

        Parameters
        ----------
        queries, vectors : rows, optional
            Samples of the queries and of the items, from which similarities are measured; by default the
            items that the tables were built from, or that the sampler is bound to. Without any, for families
            of the cosine, pairs of independent random directions, as for unrelated items.
        seed : int
            Determines the sample of pairs.

        Raises
        ------
        ArgumentError
            The family's law requires rows, and none are given.

        Notes
        -----
        For each of up to 64 queries, the stages' expected sets are computed from the items, or a sample of
        them. Numbers of collisions are binomial (Poisson binomial with probes); the effect of a filter
        follows from the mean and the variance of the set's size. The additional variance of the size, from
        hash functions common to all items, is measured by hashing the sampled rows once. Takes up to about a
        second.

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
            frequencies=None if self._item_frequencies is None else self._item_frequencies.relative,
            queries=queries,
            vectors=self.vectors if vectors is None else vectors,
            seed=seed,
        )

    def __repr__(self) -> str:
        over = "" if self.tables is None else f", {self.tables!r}"
        return f"Sampler({self.pipeline}, {self.n_items:,} items{over})"

    def _repr_html_(self) -> str:
        rows: list[tuple[str, object]] = [("pipeline", self.pipeline), ("items", f"{self.n_items:,}")]
        held = [("tables", tables) for tables in (self.tables, *self._held) if tables is not None]
        return html_table("Sampler", ["", ""], [*rows, *held])

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
            # That they are finite is checked when they are hashed, or by the run.
            rows = (
                core.dense_rows(queries, "queries", finite=False)
                if isinstance(queries, np.ndarray) or not sp.issparse(queries)
                else core.csr_rows(queries, "queries", finite=False, threads=count)
            )
        elif self._needs_queries:
            raise ArgumentError("queries", "nothing", f"given, since {self.pipeline} requires them")
        pattern = None if include is None else self._pattern(include)
        sizes = {
            "queries": None if rows is None else rows.shape[0],
            "include": None if pattern is None else len(pattern[0]) - 1,
            "n_queries": n_queries,
        }
        # A snapshot of the tables for the whole call, since another thread may update them.
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
            item_frequencies=self._item_frequencies,
            seed=int(seed),
            step=int(step),
            pooled=pool,
            threads=count,
            own_states=own,
        )

    def _pattern(self, include: Any) -> Pattern:
        if not self._takes_include:
            raise ArgumentError(
                "include", "a matrix", f"omitted, since {self.pipeline} has no Include() stage"
            )
        rows = label_rows(include, "include", self.n_items)
        return core.offsets_of(rows), np.ascontiguousarray(rows.indices, np.int32)
