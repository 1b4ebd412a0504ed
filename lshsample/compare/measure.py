"""Hash families side by side on one workload: times, memory, recall at equal candidates, estimator error.

Every contender gets the same number of tables, and codes of several lengths, so that none is judged by a
length that suits another; the ends are exact search and a uniform draw.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from lshsample import hashing
from lshsample._native import core
from lshsample._native import layers as kernels
from lshsample.compare.workloads import Workload
from lshsample.errors import LshsampleError
from lshsample.family import FamilySpec, HashFamily
from lshsample.metrics import sampler_recall
from lshsample.registry import families, family_of_bits, family_to_dict, named_family
from lshsample.sampling import ExactTop, Pipeline, Retrieve, Top, Uniform
from lshsample.tables import HashTables

__all__ = [
    "ComparisonSettings",
    "Contender",
    "Figures",
    "Point",
    "all_contenders",
    "compare",
    "estimator_error",
    "measure",
]

#: Draws that the estimator's error is measured over.
_STEPS = 20


@attrs.frozen(kw_only=True)
class ComparisonSettings:
    """How contenders are measured.

    Attributes
    ----------
    budgets : tuple of int
        Numbers of candidates at which recall is compared.
    bits : tuple of int
        Lengths of codes that each contender is tried with (K is as many hashes as fit).
    n_tables : int
        Tables, L.
    threads : int or None
        Threads.
    seed : int
        Of the functions and the draws.
    rounds : int
        Repetitions of what is timed; the fastest counts.
    """

    budgets: tuple[int, ...] = (100, 300, 1000, 3000)
    bits: tuple[int, ...] = (4, 6, 8, 10, 12)
    n_tables: int = 50
    threads: int | None = None
    seed: int = 0
    rounds: int = 3


@attrs.frozen
class Contender:
    """A family with options of its own.

    Attributes
    ----------
    label : str
        What tables and plots call it.
    family : str
        A registered name.
    options : tuple of (str, value)
        Options of the family's spec.
    """

    label: str
    family: str
    options: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Contender:
        """A contender from its label: a family's name, or ``name:option=value,option=value``.

        Examples
        --------
        >>> Contender.parse("simhash:projection=gaussian").options
        (('projection', 'gaussian'),)
        """
        name, options = named_family(text)
        return cls(text, name, tuple(options.items()))

    def make(self, dim: int, bits: int, n_tables: int, seed: int = 0) -> HashFamily:
        """The family with codes of at most so many bits (at least one hash)."""
        shape = {"dim": dim, "n_tables": n_tables, "seed": seed, **dict(self.options)}
        return family_of_bits(self.family, bits, **shape)


def all_contenders() -> list[Contender]:
    """Every installed family that needs no options."""
    common = {field.name for field in attrs.fields(FamilySpec)}
    return [
        Contender.parse(name)
        for name, cls in families().items()
        if not any(f.default is attrs.NOTHING for f in attrs.fields(cls.Spec) if f.name not in common)
    ]


@attrs.frozen(kw_only=True)
class Point:
    """What a contender finds within a budget of candidates.

    Attributes
    ----------
    budget : int
        Candidates allowed: those that collided most.
    candidates : float
        Candidates that there were, on average.
    recall : float
        Share of the true nearest among them.
    query_seconds : float
        Time of one query, hashing included.
    """

    budget: int
    candidates: float
    recall: float
    query_seconds: float


@attrs.frozen(kw_only=True)
class Figures:
    """What was measured of a contender with codes of one length.

    Attributes
    ----------
    label : str
        The contender.
    n_items : int
        Items.
    spec : mapping
        The family as plain data; empty for the ends.
    hash_seconds, build_seconds : float
        Hashing all items; building the tables, hashing included.
    memory_bytes : int
        Bytes of the tables.
    code_bits : int
        Length of a code.
    retrieved, retrieved_recall : float
        Ids that the tables give a query before the budget cuts them, on average: what ranking has to count;
        and the share of the true nearest among them.
    estimator_error : float
        Relative root mean square error of softmax normalisers estimated at the middle budget, a quarter of it
        drawn uniformly, given the tables.
    points : tuple of Point
        One for each budget.
    """

    label: str
    n_items: int
    spec: Mapping[str, Any]
    hash_seconds: float
    build_seconds: float
    memory_bytes: int
    code_bits: int
    retrieved: float
    retrieved_recall: float
    estimator_error: float
    points: tuple[Point, ...]

    @property
    def middle(self) -> Point:
        """The point of the middle budget."""
        return self.points[len(self.points) // 2]


def best_time(call: Callable[[], Any], rounds: int) -> tuple[float, Any]:
    """Seconds of the fastest of some calls, and the last result."""
    times, result = [], None
    for _ in range(rounds):
        begin = time.perf_counter()
        result = call()
        times.append(time.perf_counter() - begin)
    return min(times), result


def budgets_of(workload: Workload, settings: ComparisonSettings) -> tuple[int, ...]:
    """The budgets that are below the number of items; at least one."""
    fitting = tuple(b for b in settings.budgets if b < workload.n_items)
    return fitting or (max(2, workload.n_items // 10),)


def estimator_error(
    pipeline: Pipeline, workload: Workload, settings: ComparisonSettings, **bound: Any
) -> float:
    """Relative root mean square error of estimates of each query's softmax normaliser.

    Z = sum over all items of exp(q . x) is estimated by the sum over the active set of exp(q . x) / pi, the
    probabilities given the tables (Horvitz & Thompson 1952).
    """
    queries = workload.queries[:50]
    scores = queries @ workload.items.T
    dense = np.asarray(scores.toarray() if hasattr(scores, "toarray") else scores, dtype=np.float64)
    values = np.exp(dense - dense.max(axis=1, keepdims=True))
    sampler, errors = pipeline.bind(n_items=workload.n_items, vectors=workload.items, **bound), []
    for step in range(_STEPS):
        active = sampler.sample(queries, seed=settings.seed, step=step, threads=settings.threads)
        rows = active.row_of_ids()
        weighted = values[rows, active.ids] * np.exp(-active.log_inclusion.astype(np.float64))
        errors.append(np.bincount(rows, weighted, len(values)) / values.sum(axis=1) - 1)
    return float(np.sqrt(np.mean(np.square(errors))))


def _points(
    workload: Workload, settings: ComparisonSettings, pipelines: Iterator[tuple[int, Pipeline]], **bound: Any
) -> tuple[Point, ...]:
    points = []
    for budget, pipeline in pipelines:
        sampler = pipeline.bind(n_items=workload.n_items, vectors=workload.items, **bound)
        sample = functools.partial(sampler.sample, workload.queries, threads=settings.threads)
        seconds, active = best_time(sample, settings.rounds)
        n = workload.queries.shape[0]
        points.append(
            Point(
                budget=budget,
                candidates=len(active.ids) / n,
                recall=sampler_recall(active, workload.truth),
                query_seconds=seconds / n,
            )
        )
    return tuple(points)


def measure(contender: Contender, workload: Workload, settings: ComparisonSettings, bits: int) -> Figures:
    """Measure a contender with codes of at most so many bits.

    Raises
    ------
    LshsampleError
        The family refuses the workload (its width, its kind of rows).
    """
    family = contender.make(workload.dim, bits, settings.n_tables, settings.seed)
    tables = HashTables(family, threads=settings.threads)
    build = functools.partial(tables.build, workload.items)
    build_seconds, _ = best_time(build, settings.rounds)
    # Tables may have fitted the family to the items, so hashing is timed with theirs.
    hash_all = functools.partial(hashing.hash_rows, tables.family, workload.items, threads=settings.threads)
    hash_seconds, _ = best_time(hash_all, settings.rounds)
    found = tables.query(workload.queries, threads=settings.threads)
    budgets = budgets_of(workload, settings)
    middle = budgets[len(budgets) // 2]
    lawful = Retrieve() | Top(max(1, middle - middle // 4)) | Uniform(max(1, middle // 4))
    return Figures(
        label=contender.label,
        n_items=workload.n_items,
        spec=family_to_dict(family),
        hash_seconds=hash_seconds,
        build_seconds=build_seconds,
        memory_bytes=tables.memory_bytes,
        code_bits=family.code_bits,
        retrieved=len(found.ids) / workload.queries.shape[0],
        retrieved_recall=sampler_recall(found, workload.truth),
        estimator_error=estimator_error(lawful, workload, settings, tables=tables),
        points=_points(workload, settings, ((b, Retrieve() | Top(b)) for b in budgets), tables=tables),
    )


def ends(workload: Workload, settings: ComparisonSettings) -> list[Figures]:
    """The two ends: exact search over all items, and as many candidates drawn uniformly."""
    budgets = budgets_of(workload, settings)
    middle = budgets[len(budgets) // 2]
    nothing: dict[str, Any] = {"hash_seconds": 0.0, "build_seconds": 0.0, "memory_bytes": 0, "code_bits": 0}
    nothing |= {"retrieved": 0.0, "retrieved_recall": 0.0}
    blank = functools.partial(Figures, n_items=workload.n_items, spec={}, **nothing)
    found = max(1, middle - middle // 4)
    exact = ExactTop(found) | Uniform(max(1, middle // 4))
    points = _points(workload, settings, ((b, Pipeline((ExactTop(b),))) for b in budgets))
    if isinstance(workload.items, np.ndarray) and isinstance(workload.queries, np.ndarray):
        search = functools.partial(
            kernels.top_k, workload.queries, workload.items, None, workload.truth.shape[1],
            threads=core.threads_or_default(settings.threads),
        )  # fmt: skip
        seconds = best_time(search, settings.rounds)[0] / workload.queries.shape[0]
        points = tuple(attrs.evolve(point, query_seconds=seconds) for point in points)
    error = estimator_error(exact, workload, settings)
    uniform = Pipeline((Uniform(middle),))
    return [
        blank(label="exact", estimator_error=error, points=points),
        blank(
            label="uniform",
            estimator_error=estimator_error(uniform, workload, settings),
            points=_points(workload, settings, ((b, Pipeline((Uniform(b),))) for b in budgets)),
        ),
    ]


def compare(
    contenders: Sequence[Contender],
    workload: Workload,
    settings: ComparisonSettings | None = None,
    told: Callable[[str], None] = lambda _: None,
) -> tuple[list[Figures], dict[str, str]]:
    """Measure all contenders and both ends.

    Parameters
    ----------
    contenders : sequence of Contender
        The families.
    workload : Workload
        Items, queries, truth.
    settings : ComparisonSettings, optional
        How.
    told : callable
        Called with a line before each measurement.

    Returns
    -------
    (list of Figures, dict)
        Figures, one for each contender and length of codes; and who refused the workload, with the reason.

    Examples
    --------
    >>> workload = Workload.synthetic(400, 16, 5)
    >>> settings = ComparisonSettings(budgets=(40,), bits=(4,), n_tables=8, rounds=1)
    >>> figures, refused = compare([Contender.parse("simhash")], workload, settings)
    >>> [(one.label, one.points[0].recall > 0.5) for one in figures]
    [('exact', True), ('uniform', False), ('simhash', True)]
    """
    chosen = settings or ComparisonSettings()
    told("exact and uniform")
    figures, refused = ends(workload, chosen), dict[str, str]()
    for contender in contenders:
        seen = set()
        for bits in chosen.bits:
            told(f"{contender.label}, codes of {bits} bits")
            try:
                n_hashes = contender.make(workload.dim, bits, chosen.n_tables).n_hashes
                if n_hashes not in seen:
                    seen.add(n_hashes)
                    figures.append(measure(contender, workload, chosen, bits))
            except LshsampleError as error:
                refused[contender.label] = f"{type(error).__name__}: {error}"
    return figures, refused
