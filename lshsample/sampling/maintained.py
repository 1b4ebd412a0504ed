"""A sampler over changing vectors, which updates its hash tables by a schedule.

The vectors are the rows of any matrix that is changed in place: the output weights of a network, the
embeddings of a retrieval model, the iterates of an optimizer. The sampler needs only their number and
dimension.
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from lshsample._native.convert import ConvertedRows
from lshsample.errors import ArgumentError, CheckpointError, UnsupportedError
from lshsample.family import HashFamily, Rows
from lshsample.files import name_of
from lshsample.registry import FamilyLike
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
from lshsample.tables.file import read_next_codes
from lshsample.tables.sliced import save_with_next

__all__ = ["MaintainedSampler"]

_DEFAULT_ACTIVE = 4096


class MaintainedSampler:
    """Samples from the rows of a changing matrix, through hash tables that are updated by a schedule.

    Call :meth:`refresh` at each step with the current vectors: the first call builds the tables, later ones
    update them when the schedule says so. Between updates the vectors change and the tables do not.

    Parameters
    ----------
    dim, n_vectors : int
        Dimension and number of the vectors.
    family : str, HashFamily, FamilySpec or mapping
        The hash family, as for :func:`lshsample.make_family`: text (``"simhash:projection=sparse"``), or a
        family, whose functions the first build uses.
    n_hashes, n_tables : int, optional
        Hashes per table (K) and tables (L), for a family given as text; by default those of the text, or 16
        tables and codes with about 8 vectors per bucket.
    pipeline : str, Pipeline or Stage
        The pipeline: an instance, its text (``"Retrieve() | Cap(100) | Uniform(20)"``) or its name
        (``"lsh"``, ``"uniform"``, ...). Stages that are not bound to tables use those of this sampler.
    n_active : int, optional
        The budget of a pipeline given by name; by default 4096.
    rehash : Rehash, mapping or int
        When and how the tables are updated; an integer is a fixed period in steps.
    frequencies : (n_vectors,) array, optional
        Frequencies for stages that draw by them.
    seed : int or tuple of int
        Determines the hash functions: those of build t are a function of (seed, t). Several integers are the
        key of a random stream, such as (seed, layer).

    Raises
    ------
    ArgumentError
        A bad argument, options that the family does not have, or a stage that needs more ids than there are
        vectors.

    Attributes
    ----------
    dim, n_vectors : int
        Dimension and number of the vectors.
    pipeline : Pipeline
        The stages.
    rehash : Rehash
        The schedule.
    has_tables : bool
        Whether the pipeline uses the tables of this sampler.
    is_asynchronous : bool
        Whether samples depend on timing; otherwise they are a function of the arguments alone.

    Notes
    -----
    A pipeline without :class:`Retrieve` has no tables; ``refresh`` then only keeps a reference to the
    vectors. Inclusion probabilities conditional on the tables (the default) are exact however much the
    vectors have changed since the build. Marginal ones are computed from the vectors at the time of the call
    of ``sample``, and are exact only right after a build. Several threads may sample at the same time while
    none refreshes.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> vectors = rng.standard_normal((1000, 16), dtype=np.float32)
    >>> sampler = MaintainedSampler(16, 1000, pipeline="Retrieve() | Cap(20) | Uniform(5)", rehash=10, seed=1)
    >>> for step in range(30):
    ...     sampler.refresh(vectors, step)                  # rebuilds after steps 10 and 20
    ...     active = sampler.sample(vectors[:4], step=step, pool=True)
    ...     vectors[active.ids] *= 0.9                      # change the sampled vectors
    >>> sampler.n_builds, active.log_inclusion.shape == active.ids.shape
    (3, True)
    """

    def __init__(
        self,
        dim: int,
        n_vectors: int,
        *,
        family: FamilyLike = "simhash",
        n_hashes: int | None = None,
        n_tables: int | None = None,
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
            key=_checked_key(seed),
            fixed=self.rehash.keeps_functions,
        )
        if self.has_tables:
            family_of_tables = self._functions.family(0)  # refuses bad options before anything is built
            for stage in self.pipeline:
                if stage.tables_of() is None:
                    stage.check_family(family_of_tables)
        self._maintenance = self.rehash.strategy.start(self._functions, self.n_vectors)
        self._frequencies = frequencies
        self._vectors: Rows | None = None
        self._sampler: Sampler | None = None
        self._serving: HashTables | None = None

    def __getstate__(self) -> dict[str, Any]:
        # A copy gets its vectors by its next refresh.
        return {**self.__dict__, "_vectors": None, "_sampler": None, "_serving": None}

    @property
    def maintenance(self) -> Maintenance:
        """The tables of the sampler, and the state of its strategy."""
        return self._maintenance

    @property
    def tables(self) -> HashTables:
        """The current tables.

        Raises
        ------
        UnsupportedError
            The pipeline does not use tables of this sampler.
        ArgumentError
            The tables are not built yet.
        """
        if not self.has_tables:
            raise UnsupportedError(f"{self.pipeline} does not retrieve from tables of this sampler")
        if self._maintenance.tables is None:
            raise ArgumentError("tables", "nothing", "built first; call refresh(vectors, step)")
        return self._maintenance.tables

    @property
    def n_builds(self) -> int:
        """Number of the build that the tables are up to date with; 0 before the first."""
        return self._maintenance.n_builds

    @property
    def expected_size(self) -> int:
        """Estimate of the ids per row: the sum of the numbers given to stages, ignoring other stages."""
        return self.pipeline.size(self.n_vectors)

    def first_functions(self) -> HashFamily | None:
        """The hash functions of the first build; None if the pipeline uses no tables of this sampler."""
        return self._functions.family(0) if self.has_tables else None

    def memory_needed(self, threads: int | None = None) -> int:
        """Peak bytes of the tables and the strategy's state while tables are built.

        Parameters
        ----------
        threads : int, optional
            Number of threads of the build; each has its own scratch memory.
        """
        if not self.has_tables:
            return 0
        family = self._functions.family(0)
        peak = HashTables.memory_needed(family, self.n_vectors, threads).peak
        if self.rehash.first == 0:  # they are built once
            return peak
        return peak + self.rehash.strategy.memory_needed(self.n_vectors, self.dim, family)

    def refresh(self, vectors: Rows, step: int, threads: int | None = None, *, factor: float = 1.0) -> None:
        """Update the tables as the schedule says, after ``step`` steps.

        Parameters
        ----------
        vectors : (n_vectors, dim) rows
            The current vectors, kept by reference. Dense float32 rows, strided views included, are not
            copied.
        step : int
            Steps done so far; 0 at the first call. If several builds are due, only the last is done.
        threads : int, optional
            Number of threads of a build; the tables do not depend on it.
        factor : float
            What dense vectors are multiplied by where they are hashed, for vectors that all shrink at each
            step.

        Raises
        ------
        ArgumentError
            Vectors of another shape, or NaN or infinite values in vectors that are hashed.
        MemoryBudgetError
            A build needs more memory than available.
        Exception
            The error of a build in the background.

        Notes
        -----
        O(1) if no build is due or under way; see the strategies for the cost of a build. A rebuild at once
        frees the old tables first, so that memory never holds both; if it fails, the next refresh tries
        again.
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
            if not self.rehash.strategy.keeps_serving:
                self._sampler = None  # it would keep the old tables in memory while new ones are built
        if factor != 1.0:
            vectors = cast(Rows, ConvertedRows(cast(Any, vectors), factor))
        next_due = self.rehash.next_due(step)
        self._maintenance.refresh(vectors, due, threads, step=step, next_due=next_due)

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

        With :class:`Drift`, pass the ids whose vectors change afterwards to :meth:`touched`.
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
        self,
        queries: Any,
        top: int | None = None,
        *,
        seed: int = 0,
        step: int = 0,
        threads: int | None = None,
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """The vectors of largest inner product with each query, among those that the pipeline finds.

        They are found through the current tables and ranked by the current vectors; see
        :meth:`Sampler.search`.
        """
        return self.bound().search(queries, top, seed=seed, step=step, threads=threads)

    def candidates(self, queries: Any, vectors: Rows, threads: int | None = None) -> Candidates:
        """The ids retrieved from tables of the current vectors, for prediction.

        These tables are separate, so that the call does not change later samples. They are built by the first
        call after a refresh, with the functions of the last build, and kept until the next refresh.

        Parameters
        ----------
        queries : (m, dim) rows
            Queries.
        vectors : (n_vectors, dim) rows
            The vectors.
        threads : int, optional
            Number of threads; the result does not depend on it.

        Raises
        ------
        UnsupportedError
            The pipeline uses no tables.
        """
        if not self.has_tables:
            raise UnsupportedError(f"{self.pipeline} does not retrieve from tables of this sampler")
        if self._serving is None:
            self._check_vectors(vectors)
            self._serving = self._maintenance.built(vectors, self.n_builds, threads)
        family = self._serving.family
        probes = self.pipeline.n_probes(family) or family.default_probes
        return self._serving.query(queries, n_probes=probes, threads=threads)

    def bound(self) -> Sampler:
        """The pipeline bound to the current tables and vectors; it reads vectors that change in place.

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
        """Record that the vectors of these ids change; None for all.

        Of the strategies of this package, only :class:`Drift` needs this.

        Parameters
        ----------
        ids : (m,) integer array, optional
            Ids below ``n_vectors``, in any order, duplicates allowed.
        """
        self._maintenance.touched(ids)

    def use_frequencies(self, frequencies: npt.ArrayLike | None) -> None:
        """Replace the frequencies, for pipelines that draw by them.

        Parameters
        ----------
        frequencies : (n_vectors,) array or None
            Frequency of each item, in any unit.
        """
        self._frequencies, self._sampler = frequencies, None

    def settle(self) -> None:
        """Wait for tables that are built in the background, and use them.

        Raises
        ------
        Exception
            The error of the build.
        """
        self._maintenance.settle()

    def forget(self) -> None:
        """Discard the tables: the next refresh builds the first ones again."""
        self._maintenance.forget()
        self._sampler = self._serving = None

    def state(self) -> dict[str, Any] | None:
        """Plain data that :meth:`restore` needs besides the tables' file; None before the first build."""
        if self._maintenance.tables is None:
            return None
        named = {"builds": self.n_builds, "asynchronous": self.is_asynchronous}
        return {**named, **self._maintenance.state()}

    def save_tables(self, path: str | PathLike[str] | BinaryIO) -> None:
        """Write the tables to a file, as :meth:`HashTables.save`, and what is built of the next ones."""
        save_with_next(path, self.tables, self._maintenance.next_codes())

    def restore(
        self, state: Mapping[str, Any], path: str | PathLike[str] | BinaryIO, vectors: Rows | None = None
    ) -> None:
        """Restore saved tables, which were built from earlier vectors and cannot be rebuilt.

        Parameters
        ----------
        state : mapping
            What :meth:`state` returned when the tables were saved.
        path : str, PathLike or binary file
            The file written by :meth:`save_tables`; its tables are copied into memory.
        vectors : (n_vectors, dim) rows, optional
            The current vectors, needed if :meth:`sample` is called before the next refresh.

        Raises
        ------
        CheckpointError
            The file is damaged, or state and file do not fit this sampler; nothing is changed.

        Notes
        -----
        Later samples have the same bits as without saving. Only marginal inclusion probabilities are unknown
        until the next build, as the file does not contain the vectors.
        """
        if vectors is not None:
            self._check_vectors(vectors)
        builds = state.get("builds")
        if type(builds) is not int or not 1 <= builds < 2**31:
            raise CheckpointError(
                f"{name_of(path)}: its state has {builds!r} builds, expected an integer >= 1"
            )
        tables = HashTables.open(path, verify=True, copy=True)
        found, wanted = (tables.n_items, tables.family.dim), (self.n_vectors, self.dim)
        if found != wanted:
            raise CheckpointError(
                f"{name_of(path)}: (items, dim) of the tables are {found}, expected {wanted}"
            )
        next_codes = read_next_codes(path)
        saved = dict(state) if next_codes is None else {**state, "next_codes": next_codes}
        self._maintenance.restore(saved, tables, builds)
        self._vectors, self._sampler, self._serving = vectors, None, None

    def _check_vectors(self, vectors: Any) -> None:
        shape = getattr(vectors, "shape", None)
        if shape != (self.n_vectors, self.dim):
            given = type(vectors).__name__ if shape is None else f"shape {shape}"
            raise ArgumentError("vectors", given, f"an array of shape ({self.n_vectors}, {self.dim})")

    def __repr__(self) -> str:
        return f"MaintainedSampler({self.dim}, {self.n_vectors}, {self.pipeline}, {self.rehash})"


def _checked_pipeline(pipeline: Any, n_vectors: int, n_active: int | None) -> Pipeline:
    if isinstance(pipeline, Stage):
        pipeline = Pipeline((pipeline,))
    if isinstance(pipeline, str):
        budget = _DEFAULT_ACTIVE if n_active is None else n_active
        pipeline = make_pipeline(pipeline, n_active=budget, n_items=n_vectors)
    elif n_active is not None:
        raise ArgumentError("n_active", n_active, "left out, as the pipeline is not given by name")
    if not isinstance(pipeline, Pipeline):
        raise ArgumentError("pipeline", repr(pipeline), "a Pipeline, a Stage, or text")
    for stage in pipeline:
        stage.check(n_vectors)
    return pipeline


def _checked_key(seed: Any) -> tuple[int, ...]:
    parts = seed if isinstance(seed, tuple) else (seed,)
    if not parts:
        raise ArgumentError("seed", "()", "an integer, or a tuple of at least one")
    return tuple(checked_integer("seed", part, 0, 2**63 - 1) for part in parts)


def _same_memory(a: Any, b: Any) -> bool:
    """Whether two views are of the same memory: ``Parameter.weights`` is a new view at each access."""
    if a is b:
        return True
    if not isinstance(a, np.ndarray) or not isinstance(b, np.ndarray):
        return False
    if a.shape != b.shape or a.strides != b.strides or a.dtype != b.dtype:
        return False
    return bool(a.__array_interface__["data"] == b.__array_interface__["data"])
