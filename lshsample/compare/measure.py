"""Measurements of hash families on one workload: time, memory, recall at equal candidates, estimator error.

Every contender has the same number of tables, and is tried with codes of several lengths, since the best
length differs between families. Exact search and a uniform draw are the upper and lower baselines.
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

#: Draws over which the error of the estimates is measured.
_STEPS = 20


@attrs.frozen(kw_only=True)
class ComparisonSettings:
    """How contenders are measured.

    Attributes
    ----------
    budgets : tuple of int
        Numbers of candidates at which recall is compared.
    bits : tuple of int
        Code lengths that each contender is tried with (K is the largest number of hashes that fits).
    n_tables : int
        Number of tables, L.
    threads : int or None
        Number of threads.
    seed : int
        Determines the hash functions and the draws.
    rounds : int
        Repetitions of each timing; the fastest is reported.
    """

    budgets: tuple[int, ...] = (100, 300, 1000, 3000)
    bits: tuple[int, ...] = (4, 6, 8, 10, 12)
    n_tables: int = 50
    threads: int | None = None
    seed: int = 0
    rounds: int = 3


@attrs.frozen
class Contender:
    """A family with its options.

    Attributes
    ----------
    label : str
        Its label in tables and plots.
    family : str
        The registered name of the family.
    options : tuple of (str, value)
        Options of the family.
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
        """The family with codes of at most ``bits`` bits (at least one hash)."""
        shape = {"dim": dim, "n_tables": n_tables, "seed": seed, **dict(self.options)}
        return family_of_bits(self.family, bits, **shape)


def all_contenders() -> list[Contender]:
    """Every installed family without required options."""
    common = {field.name for field in attrs.fields(FamilySpec)}
    return [
        Contender.parse(name)
        for name, cls in families().items()
        if not any(f.default is attrs.NOTHING for f in attrs.fields(cls.Spec) if f.name not in common)
    ]


@attrs.frozen(kw_only=True)
class Point:
    """The recall of a contender within a budget of candidates.

    Attributes
    ----------
    budget : int
        Largest number of candidates: those with the most collisions.
    candidates : float
        Mean number of candidates per query.
    recall : float
        Recall of the true nearest items.
    query_seconds : float
        Time per query, hashing included.
    """

    budget: int
    candidates: float
    recall: float
    query_seconds: float


@attrs.frozen(kw_only=True)
class Figures:
    """The measurements of a contender with codes of one length, or of a baseline.

    Attributes
    ----------
    label : str
        The label of the contender.
    n_items : int
        Number of items.
    spec : mapping
        The family as plain data; empty for the baselines.
    hash_seconds, build_seconds : float
        Time of hashing all items; time of building the tables, hashing included.
    memory_bytes : int
        Bytes of the tables.
    code_bits : int
        Length of a code.
    retrieved, retrieved_recall : float
        Mean number of ids per query before the budget is applied, which is the number that ranking has to
        count; and the recall of the true nearest items among them.
    estimator_error : float
        Relative root mean square error of softmax normalisers estimated at the middle budget, a quarter of it
        drawn uniformly, with probabilities conditional on the tables.
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
    """Seconds of the fastest of ``rounds`` calls, and the last result."""
    times, result = [], None
    for _ in range(rounds):
        begin = time.perf_counter()
        result = call()
        times.append(time.perf_counter() - begin)
    return min(times), result


def budgets_of(workload: Workload, settings: ComparisonSettings) -> tuple[int, ...]:
    """The budgets below the number of items; a tenth of the items if there are none."""
    fitting = tuple(b for b in settings.budgets if b < workload.n_items)
    return fitting or (max(2, workload.n_items // 10),)


def estimator_error(
    pipeline: Pipeline, workload: Workload, settings: ComparisonSettings, **bound: Any
) -> float:
    """Relative root mean square error of the estimated softmax normaliser of each query.

    Z, the sum over all items of exp(q . x), is estimated by the sum over the active set of exp(q . x) / pi,
    with inclusion probabilities conditional on the tables (Horvitz & Thompson 1952).
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
    """Measure a contender with codes of at most ``bits`` bits.

    Raises
    ------
    LshsampleError
        The family refuses the workload (the number of columns, dense or sparse rows).
    """
    family = contender.make(workload.dim, bits, settings.n_tables, settings.seed)
    tables = HashTables(family, threads=settings.threads)
    build = functools.partial(tables.build, workload.items)
    build_seconds, _ = best_time(build, settings.rounds)
    # Building may have fitted the family to the items, so hashing is timed with the family of the tables.
    hash_all = functools.partial(hashing.hash_rows, tables.family, workload.items, threads=settings.threads)
    hash_seconds, _ = best_time(hash_all, settings.rounds)
    found = tables.query(workload.queries, threads=settings.threads)
    budgets = budgets_of(workload, settings)
    middle = budgets[len(budgets) // 2]
    weighted = Retrieve() | Top(max(1, middle - middle // 4)) | Uniform(max(1, middle // 4))
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
        estimator_error=estimator_error(weighted, workload, settings, tables=tables),
        points=_points(workload, settings, ((b, Retrieve() | Top(b)) for b in budgets), tables=tables),
    )


def baselines(workload: Workload, settings: ComparisonSettings) -> list[Figures]:
    """The upper and lower baselines: exact search over all items, and candidates drawn uniformly."""
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
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[list[Figures], dict[str, str]]:
    """Measure all contenders and both baselines.

    Parameters
    ----------
    contenders : sequence of Contender
        The families.
    workload : Workload
        Items, queries and the true nearest items.
    settings : ComparisonSettings, optional
        Budgets, code lengths, number of tables.
    progress : callable
        Called with a line of text before each measurement.

    Returns
    -------
    (list of Figures, dict)
        The measurements, one for each contender and code length, after those of the baselines; and the
        contenders that refused the workload, with the reasons.

    Examples
    --------
    >>> workload = Workload.synthetic(400, 16, 5)
    >>> settings = ComparisonSettings(budgets=(40,), bits=(4,), n_tables=8, rounds=1)
    >>> figures, refused = compare([Contender.parse("simhash")], workload, settings)
    >>> [(one.label, one.points[0].recall > 0.5) for one in figures]
    [('exact', True), ('uniform', False), ('simhash', True)]
    """
    chosen = settings or ComparisonSettings()
    progress("exact and uniform")
    figures, refused = baselines(workload, chosen), dict[str, str]()
    for contender in contenders:
        seen = set()
        for bits in chosen.bits:
            progress(f"{contender.label}, codes of {bits} bits")
            try:
                n_hashes = contender.make(workload.dim, bits, chosen.n_tables).n_hashes
                if n_hashes not in seen:
                    seen.add(n_hashes)
                    figures.append(measure(contender, workload, chosen, bits))
            except LshsampleError as error:
                refused[contender.label] = f"{type(error).__name__}: {error}"
    return figures, refused
