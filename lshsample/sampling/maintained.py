"""A sampler over vectors that move: it keeps its hash tables up to date by a schedule.

The vectors are the rows of any matrix that its owner changes in place: the output weights of a network, the
embeddings of a retrieval model, the values that an optimizer works on. The sampler knows nothing of them but
their number and their columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

import numpy as np
import numpy.typing as npt

from lshsample.errors import ArgumentError, CheckpointError, UnsupportedError
from lshsample.family import HashFamily, Rows
from lshsample.sampling.active_set import ActiveSet, Law
from lshsample.sampling.functions import FunctionSequence
from lshsample.sampling.named import make_pipeline
from lshsample.sampling.pipeline import Pipeline
from lshsample.sampling.rehash import Rehash
from lshsample.sampling.sampler import Sampler
from lshsample.sampling.stage import Stage
from lshsample.sampling.strategies import Maintenance
from lshsample.specs import checked_integer
from lshsample.tables import Candidates, HashTables

__all__ = ["MaintainedSampler"]

_DEFAULT_ACTIVE = 4096


class MaintainedSampler:
    """Samples from the rows of a matrix that changes, through tables that follow it.

    :meth:`refresh` is called at each step with the vectors as they are; it builds the tables at the first
    call, and brings them up to date when the schedule says so. In between the vectors move on and the tables
    stay.

    Parameters
    ----------
    dim, n_vectors : int
        Columns and rows of the vectors.
    family : str or HashFamily
        The hash family: a name, with options if wanted (``"simhash:projection=sparse"``), or an object, whose
        very functions the first build has.
    n_hashes, n_tables : int, optional
        K and L of a family that is named; by default 16 tables, and codes that leave about 8 vectors in a
        bucket.
    family_options : mapping, optional
        Further options of a family that is named.
    pipeline : str, Pipeline or Stage
        What is sampled: a pipeline, its text (``"Retrieve() | Cap(100) | Uniform(20)"``) or its name
        (``"lsh"``, ``"uniform"``, ...). Stages without tables of their own read those that this class keeps.
    n_active : int, optional
        The budget that a named pipeline is made with; by default 4096.
    rehash : Rehash, mapping or int
        When and how the tables are brought up to date; an integer is a fixed period in steps.
    frequencies : (n_vectors,) array, optional
        For stages that draw by them.
    seed : int or tuple of int
        Names the hash functions: those of build t are a function of (seed, t). Several integers name a stream
        of their own, such as (seed, layer).

    Raises
    ------
    ArgumentError
        A bad argument, options that the family does not take, or a stage that wants more ids than there are
        vectors.

    Attributes
    ----------
    dim, n_vectors : int
        As given.
    pipeline : Pipeline
        The stages.
    rehash : Rehash
        The schedule.
    has_tables : bool
        Whether the pipeline reads tables that are kept here.
    is_asynchronous : bool
        Whether samples depend on timing; otherwise they are a function of the arguments alone.

    Notes
    -----
    A pipeline without :class:`Retrieve` has no tables: then ``refresh`` takes note of the vectors only.
    Inclusion probabilities given the tables (the default) are exact however far the vectors have moved, since
    they are those of the draws; the marginal ones are computed from the vectors as they are when ``sample``
    is called, and are exact straight after a build only. Threads may sample at the same time while no other
    refreshes.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> vectors = rng.standard_normal((1000, 16), dtype=np.float32)
    >>> sampler = MaintainedSampler(16, 1000, pipeline="Retrieve() | Cap(20) | Uniform(5)", rehash=10, seed=1)
    >>> for step in range(30):
    ...     sampler.refresh(vectors, step)                  # rebuilds after steps 10 and 20
    ...     active = sampler.sample(vectors[:4], step=step, pool=True)
    ...     vectors[active.ids] *= 0.9                      # work on what was sampled
    >>> sampler.n_builds, active.log_inclusion.shape == active.ids.shape
    (3, True)
    """

    def __init__(
        self,
        dim: int,
        n_vectors: int,
        *,
        family: str | HashFamily = "simhash",
        n_hashes: int | None = None,
        n_tables: int | None = None,
        family_options: Mapping[str, Any] | None = None,
        pipeline: str | Pipeline | Stage = "lsh",
        n_active: int | None = None,
        rehash: Rehash | Mapping[str, Any] | int | None = None,
        frequencies: npt.ArrayLike | None = None,
        seed: int | tuple[int, ...] = 0,
    ) -> None:
        self.dim = checked_integer("dim", dim, 1, 2**31 - 1)
        self.n_vectors = checked_integer("n_vectors", n_vectors, 1, 2**31 - 2)
        self.rehash = Rehash() if rehash is None else Rehash.of(rehash)
        self.pipeline = _checked_pipeline(pipeline, self.n_vectors, n_active)
        self.has_tables = "tables" in self.pipeline.needs
        self.is_asynchronous = self.has_tables and self.rehash.is_asynchronous
        self._functions = FunctionSequence(
            family,
            dim=self.dim,
            n_items=self.n_vectors,
            n_hashes=n_hashes,
            n_tables=n_tables,
            options=family_options,
            key=_checked_key(seed),
            fixed=self.rehash.keeps_functions,
        )
        if self.has_tables:
            self._functions.family(0)  # refuses bad options before anything is built
        self._maintenance = self.rehash.strategy.start(self._functions, self.n_vectors)
        self._frequencies = frequencies
        self._vectors: Rows | None = None
        self._sampler: Sampler | None = None
        self._serving: HashTables | None = None

    def __getstate__(self) -> dict[str, Any]:
        # A copy is given its own vectors by its next refresh.
        return {**self.__dict__, "_vectors": None, "_sampler": None, "_serving": None}

    @property
    def maintenance(self) -> Maintenance:
        """The strategy at work."""
        return self._maintenance

    @property
    def tables(self) -> HashTables:
        """The tables as they are now.

        Raises
        ------
        UnsupportedError
            The pipeline reads no tables that are kept here.
        ArgumentError
            They are not built yet.
        """
        if not self.has_tables:
            raise UnsupportedError(f"{self.pipeline} retrieves from no tables that its sampler maintains")
        if self._maintenance.tables is None:
            raise ArgumentError("tables", "nothing", "built first: refresh(vectors, step) does")
        return self._maintenance.tables

    @property
    def n_builds(self) -> int:
        """How many builds the tables are up to date with; 0 before the first."""
        return self._maintenance.n_builds

    @property
    def expected_size(self) -> int:
        """About how many ids a row gets: the sum of what stages ask for by number; others are not counted."""
        return self.pipeline.size(self.n_vectors)

    def memory_needed(self, threads: int | None = None) -> int:
        """Bytes of the tables, and of what the strategy keeps beside them, at the peak of a build.

        Parameters
        ----------
        threads : int, optional
            Threads of the build; each has scratch of its own.
        """
        if not self.has_tables:
            return 0
        family = self._functions.family(0)
        peak = HashTables.memory_needed(family, self.n_vectors, threads).peak
        return peak + self.rehash.strategy.memory_needed(self.n_vectors, self.dim, family)

    def refresh(self, vectors: Rows, step: int, threads: int | None = None) -> None:
        """Bring the tables up to date as the schedule says, after ``step`` steps.

        Parameters
        ----------
        vectors : (n_vectors, dim) rows
            The vectors as they are, kept by reference. Dense float32 rows, views with strides included, are
            taken without a copy.
        step : int
            Steps done so far; 0 at the first call. Where several builds are due, the last is done.
        threads : int, optional
            Threads of a build; the tables do not depend on it.

        Raises
        ------
        ArgumentError
            Vectors of another shape, or NaN or infinite ones among those that are hashed.
        MemoryBudgetError
            A build needs more memory than there is.
        Exception
            What a build in the background raised.

        Notes
        -----
        Costs nothing when no build is due. See the strategies for what a build costs. A rebuild drops the old
        tables first, so that memory never holds both; if it fails, the next refresh tries again.
        """
        if not _same_memory(self._vectors, vectors):
            self._check_vectors(vectors)
            self._vectors, self._sampler = vectors, None
        if type(step) is not int or step < 0:
            step = checked_integer("step", step, 0)
        self._serving = None
        if not self.has_tables:
            return
        due = 1 + self.rehash.count(step)
        if not self.is_asynchronous:
            if due <= self._maintenance.n_builds:
                return
            self._sampler = None  # it would keep the old tables in memory while new ones are built
        self._maintenance.refresh(vectors, due, threads)

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
        """The active set of a batch; the arguments are those of :meth:`Sampler.sample`.

        For :class:`Drift`, :meth:`touched` must name the ids whose vectors then change.
        """
        return self.bound().sample(
            queries,
            include=include,
            seed=seed,
            step=step,
            pool=pool,
            law=law,
            threads=threads,
            n_queries=n_queries,
        )

    def search(
        self, queries: Any, top: int = 10, *, seed: int = 0, step: int = 0, threads: int | None = None
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """The vectors of largest inner product with each query, among those that the pipeline finds.

        They are found through the tables as they are, and ranked by the vectors as they are; see
        :meth:`Sampler.search`.
        """
        return self.bound().search(queries, top, seed=seed, step=step, threads=threads)

    def candidates(self, queries: Any, vectors: Rows, threads: int | None = None) -> Candidates:
        """What tables built from the vectors as they are now retrieve, for serving.

        They are not the tables that sampling goes on with, which a call in between must not change. They are
        built by the first call after a refresh, with the functions of the last build, and kept until the next
        refresh.

        Parameters
        ----------
        queries : (m, dim) rows
            Queries.
        vectors : (n_vectors, dim) rows
            The vectors.
        threads : int, optional
            Threads; the result does not depend on it.

        Raises
        ------
        UnsupportedError
            The pipeline reads no tables.
        """
        if not self.has_tables:
            raise UnsupportedError(f"{self.pipeline} retrieves from no tables that its sampler maintains")
        if self._serving is None:
            self._check_vectors(vectors)
            self._serving = self._maintenance.built(vectors, self.n_builds, threads)
        family = self._serving.family
        probes = self.pipeline.n_probes(family) or family.default_probes
        return self._serving.query(queries, n_probes=probes, threads=threads)

    def bound(self) -> Sampler:
        """The pipeline bound to the tables and the vectors as they are; it sees rows that change in place.

        Raises
        ------
        ArgumentError
            The tables are not built yet.
        """
        tables, bound = self._maintenance.tables, self._sampler
        if bound is None or bound.tables is not tables:
            if self.has_tables:
                tables = self.tables
            bound = self._sampler = self.pipeline.bind(
                n_items=self.n_vectors, tables=tables, vectors=self._vectors, frequencies=self._frequencies
            )
        return bound

    def touched(self, ids: npt.NDArray[np.integer[Any]] | None = None) -> None:
        """Take note that the vectors of these ids change; None for all.

        Strategies that look at all vectors need no such call, and it costs them nothing.

        Parameters
        ----------
        ids : (m,) integer array, optional
            Ids below ``n_vectors``, in any order, also twice.
        """
        self._maintenance.touched(ids)

    def use_frequencies(self, frequencies: npt.ArrayLike | None) -> None:
        """Take other frequencies, for pipelines that draw by them.

        Parameters
        ----------
        frequencies : (n_vectors,) array or None
            How often each item occurs, in any unit.
        """
        self._frequencies, self._sampler = frequencies, None

    def settle(self) -> None:
        """Wait for tables that are built in the background, and take them.

        Raises
        ------
        Exception
            What the build raised.
        """
        self._maintenance.settle()

    def forget(self) -> None:
        """Begin again: the next refresh builds the first tables."""
        self._maintenance.forget()
        self._sampler = self._serving = None

    def state(self) -> dict[str, Any] | None:
        """What :meth:`restore` needs beside the file of the tables, as plain data; None before a build."""
        if self._maintenance.tables is None:
            return None
        named = {"builds": self.n_builds, "asynchronous": self.is_asynchronous}
        return {**named, **self._maintenance.state()}

    def save_tables(self, path: str | PathLike[str]) -> None:
        """Write the tables to a file."""
        self.tables.save(path)

    def restore(
        self, state: Mapping[str, Any], path: str | PathLike[str], vectors: Rows | None = None
    ) -> None:
        """Take up saved tables as they were: they were built from older vectors, and nothing can build them
        again.

        Parameters
        ----------
        state : mapping
            What :meth:`state` gave when they were saved.
        path : path
            The file that :meth:`save_tables` wrote.
        vectors : (n_vectors, dim) rows, optional
            The vectors as they are, for a call of :meth:`sample` before the next refresh.

        Raises
        ------
        CheckpointError
            The file is damaged, or state and file are not those of such a sampler; nothing has changed.

        Notes
        -----
        Samples go on with the bits that they would have had. Only marginal inclusion probabilities are
        unknown until the next build: the file does not hold the vectors.
        """
        if vectors is not None:
            self._check_vectors(vectors)
        builds = state.get("builds")
        if type(builds) is not int or builds < 1:
            raise CheckpointError(f"{path}: the state beside it has {builds!r} builds")
        tables = HashTables.open(path, verify=True)
        found, wanted = (tables.n_items, tables.family.dim), (self.n_vectors, self.dim)
        if found != wanted:
            raise CheckpointError(f"{path}: tables of {found[0]} items of dim {found[1]}; wanted {wanted}")
        self._maintenance.restore(dict(state), tables, builds)
        self._vectors, self._sampler, self._serving = vectors, None, None

    def _check_vectors(self, vectors: Any) -> None:
        shape = getattr(vectors, "shape", None)
        if shape != (self.n_vectors, self.dim):
            given = type(vectors).__name__ if shape is None else f"shape {shape}"
            raise ArgumentError("vectors", given, f"rows of shape ({self.n_vectors}, {self.dim})")

    def __repr__(self) -> str:
        return f"MaintainedSampler({self.dim}, {self.n_vectors}, {self.pipeline}, {self.rehash})"


def _checked_pipeline(pipeline: Any, n_vectors: int, n_active: int | None) -> Pipeline:
    if isinstance(pipeline, Stage):
        pipeline = Pipeline((pipeline,))
    if isinstance(pipeline, str):
        budget = _DEFAULT_ACTIVE if n_active is None else n_active
        pipeline = make_pipeline(pipeline, n_active=budget, n_items=n_vectors)
    elif n_active is not None:
        raise ArgumentError("n_active", n_active, "left out beside a pipeline that is no name")
    if not isinstance(pipeline, Pipeline):
        raise ArgumentError("pipeline", repr(pipeline), "a Pipeline, a stage, or text")
    for stage in pipeline:
        stage.check(n_vectors)
    return pipeline


def _checked_key(seed: Any) -> tuple[int, ...]:
    parts = seed if isinstance(seed, tuple) else (seed,)
    if not parts:
        raise ArgumentError("seed", "()", "an integer, or several in a tuple")
    return tuple(checked_integer("seed", part, 0, 2**63 - 1) for part in parts)


def _same_memory(a: Any, b: Any) -> bool:
    """Whether two views show the same rows of the same memory: a parameter makes a new view at each look."""
    if a is b:
        return True
    if not isinstance(a, np.ndarray) or not isinstance(b, np.ndarray):
        return False
    if a.shape != b.shape or a.strides != b.strides or a.dtype != b.dtype:
        return False
    return bool(a.__array_interface__["data"] == b.__array_interface__["data"])
