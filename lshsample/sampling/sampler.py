"""Samplers: a pipeline bound to tables, vectors and frequencies, run over batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample._native import core
from lshsample._native.sample import AliasTable, Drawn, Pattern, StageCall, Workspaces, run_plan
from lshsample.errors import ArgumentError, LshsampleError, PluginError
from lshsample.family import Rows
from lshsample.sampling.active_set import LAWS, ActiveSet, Law
from lshsample.sampling.checks import agreed, check_result
from lshsample.sampling.describe import Description, describe_pipeline
from lshsample.sampling.explain import Explanation, explain_stages
from lshsample.sampling.over_functions import inclusion_over_functions
from lshsample.sampling.search import best_of
from lshsample.sampling.simple_draw import simple_draws
from lshsample.sampling.stage import Batch, BuiltinStage, SamplerStage, Stage
from lshsample.tables import TableReader

if TYPE_CHECKING:
    from lshsample.sampling.pipeline import Pipeline

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

    pipeline: Pipeline
    n_items: int
    tables: TableReader | None = None
    vectors: Rows | None = None
    _alias: AliasTable | None = attrs.field(default=None, repr=False)
    _workspaces: Workspaces = attrs.field(repr=False)

    def sample(
        self,
        queries: Any = None,
        *,
        include: Any = None,
        seed: int = 0,
        step: int = 0,
        pool: bool = False,
        law: Law = "tables",
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
            They name the draws: the same arguments give the same set, for any number of threads.
        pool : bool
            One set for the whole batch instead of one per query.
        law : "tables" or "functions"
            What the inclusion probabilities are over; see :class:`ActiveSet`. "functions" needs the
            similarities of all pairs of the set, dim multiplications each.
        threads : int, optional
            At most so many threads.
        n_queries : int, optional
            The number of rows, where neither queries nor include tell it.

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
        return best_of(self._run(batch), self.n_items, batch.queries, vectors, top, batch.threads)

    def _active(self, batch: Batch, law: Law) -> ActiveSet:
        drawn = self._run(batch)
        values: npt.NDArray[np.float32] | None = drawn.log_inclusion
        biased_by = self._why_lawless(drawn)
        if law == "functions":
            values, biased_by = inclusion_over_functions(
                self.pipeline.stages, batch, drawn, lambda: self._run(batch, 1)
            )
        return ActiveSet(
            indptr=drawn.indptr,
            ids=drawn.ids,
            counts=drawn.counts,
            n_items=self.n_items,
            pooled=batch.pooled,
            law=law,
            biased_by=biased_by,
            draws=simple_draws(self.pipeline.stages, drawn) if values is drawn.log_inclusion else None,
            log_inclusion=values,
        )

    def explain(self, query: Any = None, *, include: Any = None, seed: int = 0, step: int = 0) -> Explanation:
        """What each stage does to one query's set: ids that came and went, why, at which probability.

        Parameters
        ----------
        query : (1, dim) row, optional
            The query, where a stage looks at it.
        include : (1, n_items) sparse pattern, optional
            The ids that ``Include`` joins.
        seed, step : int
            They name the draws: those of :meth:`sample` with the same.

        Notes
        -----
        The first 1, 2, ... stages are run again for each report; probabilities are given the tables.

        Examples
        --------
        >>> from lshsample.sampling import Cap, Full, Uniform
        >>> told = (Full() | Cap(30) | Uniform(5)).bind(n_items=100).explain()
        >>> [(report.came, report.went) for report in told.stages[:2]]
        [(100, 0), (0, 70)]
        """
        n_queries = 1 if query is None and include is None else None
        batch = self._batch(query, include, n_queries, seed, step, False, 1)
        if batch.n_queries != 1:
            raise ArgumentError("query", f"{batch.n_queries} rows", "one row")
        stages = self.pipeline.stages
        parts = [self._run(batch, k + 1) for k in range(len(stages))]
        return Explanation(stages=explain_stages(stages, batch, parts), active=self._active(batch, "tables"))

    def describe(self, *, queries: Any = None, vectors: Any = None, seed: int = 0) -> Description:
        """What to expect, from the laws alone: sizes stage by stage, recall by similarity, memory.

        Parameters
        ----------
        queries, vectors : rows, optional
            A sample of the queries and of the items to measure similarities on; by default the items that
            the tables were built from, or the sampler was bound to. Without any, and with a law of the
            cosine, pairs of independent directions: what unrelated items do.
        seed : int
            Names the random pairs.

        Raises
        ------
        ArgumentError
            The family's law needs rows that are not there.

        Examples
        --------
        >>> from lshsample import HashTables, Retrieve, Uniform, make_family
        >>> tables = HashTables(make_family("simhash", dim=64, n_hashes=10, n_tables=20))  # not built
        >>> told = (Retrieve() | Uniform(50)).bind(tables=tables, n_items=100_000).describe()
        >>> 1500 < told.expected_size < 4000, told.memory_bytes // 2**20
        (True, 7)
        """
        rows = self.vectors if vectors is None else vectors
        often = None if self._alias is None else self._alias.frequency
        return describe_pipeline(self.pipeline, self.n_items, self.tables, often, queries, rows, seed)

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
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 0 <= value < 2**63:
                raise ArgumentError(argument, repr(value), "an integer from 0 to 2**63 - 1")
        rows = None
        if queries is not None:
            rows = (
                core.csr_rows(queries, "queries")
                if sp.issparse(queries)
                else core.dense_rows(queries, "queries")
            )
        elif "queries" in self.pipeline.needs:
            raise ArgumentError("queries", "nothing", f"rows for {self.pipeline}")
        pattern = None if include is None else self._pattern(include)
        sizes = {
            "queries": None if rows is None else rows.shape[0],
            "include": None if pattern is None else len(pattern[0]) - 1,
            "n_queries": n_queries,
        }
        # One state of each set of tables from beginning to end, whatever a writer does meanwhile.
        held = [tables for stage in self.pipeline.stages if (tables := stage.tables_of()) is not None]
        own = {id(tables): tables.snapshot() for tables in held if tables.is_built}
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

    def _run(self, batch: Batch, n_stages: int | None = None) -> Drawn:
        """Runs of built-in stages in C, with Python stages between them; of the first stages only, if told.

        The draws of a stage depend on those before it alone, so that a part's outcome is what the whole met.
        """
        calls: list[StageCall] = []
        seen: dict[str, int] = {}
        for place, stage in enumerate(self.pipeline.stages[:n_stages]):
            if isinstance(stage, BuiltinStage):
                ordinal = seen.get(stage.name, 0)
                seen[stage.name] = ordinal + 1
                call = stage.call(batch, place, ordinal)
                if call.op != "INCLUDE" or call.pattern is not None:
                    calls.append(call)
            else:
                active = self._run_python(stage, place, calls, batch)
                calls = [self._given(active, place, batch, seen)]
        return self._run_calls(calls, batch)

    def _run_calls(self, calls: list[StageCall], batch: Batch) -> Drawn:
        return run_plan(
            calls,
            batch.n_queries,
            self.n_items,
            seed=batch.seed,
            step=batch.step,
            pooled=batch.pooled,
            threads=batch.threads,
            workspaces=self._workspaces,
        )

    def _run_python(self, stage: Stage, place: int, calls: list[StageCall], batch: Batch) -> ActiveSet:
        drawn = self._run_calls(calls, batch)
        active = ActiveSet(
            indptr=drawn.indptr,
            ids=drawn.ids,
            counts=drawn.counts,
            n_items=self.n_items,
            pooled=batch.pooled,
            biased_by=self._why_lawless(drawn),
            log_inclusion=drawn.log_inclusion,
        )
        assert isinstance(stage, SamplerStage)
        label = f"stage {stage} ({type(stage).__module__}.{type(stage).__qualname__})"
        try:
            result = stage.apply(active, batch)
        except (LshsampleError, MemoryError):
            raise
        except Exception as error:
            raise PluginError(f"{label} raised {type(error).__name__}: {error}") from error
        check_result(result, batch.n_rows, self.n_items, label)
        return result

    @staticmethod
    def _given(active: ActiveSet, place: int, batch: Batch, seen: dict[str, int]) -> StageCall:
        forced = batch.include if "Include" in seen else None
        pattern = (np.ascontiguousarray(active.indptr), np.ascontiguousarray(active.ids))
        return StageCall(
            op="GIVEN",
            place=place,
            pattern=pattern,
            counts=np.ascontiguousarray(active.counts),
            forced=forced,
        )

    def _why_lawless(self, drawn: Drawn) -> str | None:
        if drawn.lawless.max(initial=-1) < 0:
            return None
        bad = drawn.lawless[drawn.lawless >= 0]
        place = int(bad[0])
        return (
            f"{self.pipeline.stages[place]} (stage {place + 1} of {self.pipeline}) leaves items with "
            f"inclusion probability 0 given the tables, in {len(bad)} of {len(drawn.lawless)} rows; "
            f"a Uniform(n) after it makes every item possible"
        )
