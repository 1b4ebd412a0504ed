"""Measurements of hash families on one workload: time, memory, recall at equal candidates, estimator error.

Every contender is tried with several numbers of hashes K, of tables L and of probes, since the best ones
differ between families. Exact search and a uniform draw are the upper and lower baselines.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from lshsample import hashing, memory
from lshsample._native import core
from lshsample._native import layers as kernels
from lshsample.compare.contenders import ComparisonSettings, Contender
from lshsample.compare.nearest import nearest
from lshsample.compare.workloads import Workload
from lshsample.errors import LshsampleError
from lshsample.family import HashFamily
from lshsample.metrics import sampler_recall
from lshsample.registry import FamilyLike, family_to_dict
from lshsample.sampling import ExactTop, Pipeline, Retrieve, Top, Uniform
from lshsample.tables import HashTables

__all__ = ["Figures", "Plan", "Point", "Timing", "compare", "estimator_error", "plan"]

Ids = npt.NDArray[np.int64]

#: Draws over which the error of the estimates is measured, and the queries of each.
_STEPS, _ESTIMATED = 20, 50
#: Least time of a round, in seconds.
_ROUND = 0.01
#: Rows and queries of the trials that the time of a comparison is estimated from.
_TRIAL_ROWS, _TRIAL_QUERIES = 1000, 10


@attrs.frozen
class Timing:
    """The times of repeated calls, in seconds.

    Attributes
    ----------
    median, least, first_quartile, third_quartile : float
        Of the repetitions.
    rounds : int
        Number of repetitions.
    """

    median: float
    least: float
    first_quartile: float
    third_quartile: float
    rounds: int

    @classmethod
    def of(cls, times: Sequence[float]) -> Timing:
        """The summary of times."""
        least, low, median, high = map(float, np.percentile(times, [0, 25, 50, 75]))
        return cls(median, least, low, high, len(times))


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
        Recall of the k nearest items.
    query_seconds : Timing
        Time per query of one batch, hashing included.
    """

    budget: int
    candidates: float
    recall: float
    query_seconds: Timing

    @property
    def queries_per_second(self) -> float:
        """Queries per second, of the median."""
        return 1 / self.query_seconds.median


@attrs.frozen(kw_only=True)
class Figures:
    """The measurements of a contender with one K, L and number of probes, or of a baseline.

    Attributes
    ----------
    label : str
        The label of the contender.
    n_items : int
        Number of items.
    spec : mapping
        The family as plain data; empty for the baselines.
    n_hashes, n_tables, n_probes : int
        K, L and the buckets per table that a query looks into; 0 for the baselines.
    hash_seconds, build_seconds : Timing or None
        Time of hashing all items; time of building the tables, hashing included. None for the baselines.
    index_bytes : int
        Bytes of the tables.
    code_bits : int
        Length of a code.
    retrieved, retrieved_recall : float
        Mean number of ids per query before the budget is applied, which is the number that ranking has to
        count; and the recall of the k nearest items among them.
    estimator_error : float or None
        Relative root mean square error of softmax normalisers estimated at the middle budget, a quarter of it
        drawn uniformly, with probabilities conditional on the tables. None for other metrics than ``inner``.
    points : tuple of Point
        One for each budget.
    """

    label: str
    n_items: int
    spec: Mapping[str, Any]
    n_hashes: int = 0
    n_tables: int = 0
    n_probes: int = 0
    hash_seconds: Timing | None = None
    build_seconds: Timing | None = None
    index_bytes: int = 0
    code_bits: int = 0
    retrieved: float = 0.0
    retrieved_recall: float = 0.0
    estimator_error: float | None = None
    points: tuple[Point, ...]

    @property
    def middle(self) -> Point:
        """The point of the middle budget."""
        return self.points[len(self.points) // 2]

    @property
    def is_baseline(self) -> bool:
        """Whether this is exact search or the uniform draw."""
        return not self.spec


def timed(call: Callable[[], Any], rounds: int, parts: int = 1) -> tuple[Timing, Any]:
    """The times of one of ``parts`` parts of a call, and a result.

    A round of a short call has as many calls as take ``_ROUND`` seconds: a single one would be less than the
    scheduler's slices. The first call is then a warm-up.
    """
    begin = time.perf_counter()
    result = call()
    first = time.perf_counter() - begin
    calls = max(1, round(_ROUND / max(first, 1e-9)))
    times = [first / parts] if calls == 1 else []
    while len(times) < rounds:
        begin = time.perf_counter()
        for _ in range(calls):
            result = call()
        times.append((time.perf_counter() - begin) / (calls * parts))
    return Timing.of(times), result


def budgets_of(workload: Workload, settings: ComparisonSettings) -> tuple[int, ...]:
    """The budgets below the number of items; a tenth of the items if there are none."""
    fitting = tuple(b for b in settings.budgets if b < workload.n_items)
    return fitting or (max(2, workload.n_items // 10),)


def estimator_error(
    pipeline: Pipeline, workload: Workload, settings: ComparisonSettings, **bound: Any
) -> float | None:
    """Relative root mean square error of the estimated softmax normaliser of each query.

    Z, the sum over all items of exp(q . x), is estimated by the sum over the active set of exp(q . x) / pi,
    with inclusion probabilities conditional on the tables (Horvitz & Thompson 1952). None if the metric is
    not the inner product, on which Z depends.
    """
    if workload.metric != "inner":
        return None
    queries = workload.queries[:_ESTIMATED]
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
    workload: Workload,
    settings: ComparisonSettings,
    truth: Ids | None,
    pipelines: Iterator[tuple[int, Pipeline]],
    **bound: Any,
) -> tuple[Point, ...]:
    points = []
    for budget, pipeline in pipelines:
        sampler = pipeline.bind(n_items=workload.n_items, vectors=workload.items, **bound)
        sample = functools.partial(sampler.sample, workload.queries, threads=settings.threads)
        n = workload.n_queries
        timing, active = timed(sample, settings.rounds, n)
        # Without a truth of its own, a uniform draw has the expected recall.
        recall = budget / workload.n_items if truth is None else sampler_recall(active, truth)
        points.append(
            Point(
                budget=budget,
                candidates=len(active.ids) / n,
                recall=recall,
                query_seconds=timing,
            )
        )
    return tuple(points)


def measure(
    label: str, family: HashFamily, workload: Workload, settings: ComparisonSettings, truth: Ids | None = None
) -> list[Figures]:
    """Measure one shape of a family: a result for each number of probes.

    ``truth`` are the ids of :meth:`Workload.truth_of`, if they are known.

    Raises
    ------
    LshsampleError
        The family refuses the workload (the number of columns, dense or sparse rows).
    """
    tables = HashTables(family, threads=settings.threads)
    build_seconds, _ = timed(functools.partial(tables.build, workload.items), settings.rounds)
    # Building may have fitted the family to the items, so hashing is timed with the family of the tables.
    hash_all = functools.partial(hashing.hash_rows, tables.family, workload.items, threads=settings.threads)
    hash_seconds, _ = timed(hash_all, settings.rounds)
    if truth is None:
        truth = workload.truth_of(tables.family)
    budgets = budgets_of(workload, settings)
    middle = budgets[len(budgets) // 2]
    figures = []
    for n_probes in settings.probes_of(family):
        found = tables.query(workload.queries, threads=settings.threads, n_probes=n_probes)
        retrieve = Retrieve(probes=n_probes)
        weighted = retrieve | Top(max(1, middle - middle // 4)) | Uniform(max(1, middle // 4))
        one = Figures(
            label=label,
            n_items=workload.n_items,
            spec=family_to_dict(family),
            n_hashes=family.n_hashes,
            n_tables=family.n_tables,
            n_probes=n_probes,
            hash_seconds=hash_seconds,
            build_seconds=build_seconds,
            index_bytes=tables.memory_bytes,
            code_bits=family.code_bits,
            retrieved=len(found.ids) / workload.n_queries,
            retrieved_recall=sampler_recall(found, truth),
            estimator_error=estimator_error(weighted, workload, settings, tables=tables),
            points=_points(
                workload, settings, truth, ((b, retrieve | Top(b)) for b in budgets), tables=tables
            ),
        )
        figures.append(one)
    return figures


def _exact_search(workload: Workload, threads: int | None) -> Callable[[], Any] | None:
    """The fastest exact search for the metric; None if it differs between families."""
    k, metric, items, queries = workload.k, workload.metric, workload.items, workload.queries
    if metric == "own":
        return None
    if (
        not isinstance(items, np.ndarray)
        or not isinstance(queries, np.ndarray)
        or metric in ("l1", "jaccard")
    ):
        return functools.partial(nearest, queries, items, k, metric)
    squares = np.square(items).sum(axis=1, dtype=np.float64)
    bias = None
    if metric == "cosine":
        norms = np.where(squares > 0, np.sqrt(squares), 1.0).astype(np.float32)
        items = items / norms[:, None]
    elif metric == "l2":
        bias = (-squares / 2).astype(np.float32)
    return functools.partial(kernels.top_k, queries, items, bias, k, threads=core.threads_or_default(threads))


def baselines(workload: Workload, settings: ComparisonSettings) -> list[Figures]:
    """The upper and lower baselines: exact search over all items, and candidates drawn uniformly.

    Exact search is left out if each family has a truth of its own.
    """
    budgets = budgets_of(workload, settings)
    middle = budgets[len(budgets) // 2]
    blank = functools.partial(Figures, n_items=workload.n_items, spec={})
    uniform = blank(
        label="uniform",
        estimator_error=estimator_error(Pipeline((Uniform(middle),)), workload, settings),
        points=_points(workload, settings, workload.truth, ((b, Pipeline((Uniform(b),))) for b in budgets)),
    )
    search = _exact_search(workload, settings.threads)
    if search is None:
        return [uniform]
    timing = timed(search, settings.rounds, workload.n_queries)[0]
    found = ExactTop(max(1, middle - middle // 4)) | Uniform(max(1, middle // 4))
    exact = blank(
        label="exact",
        estimator_error=estimator_error(found, workload, settings),
        points=tuple(
            Point(budget=b, candidates=b, recall=min(1.0, b / workload.k), query_seconds=timing)
            for b in budgets
        ),
    )
    return [exact, uniform]


@attrs.frozen(eq=False)
class Plan:
    """What a comparison measures, and about how long that takes.

    Attributes
    ----------
    shapes : tuple of (Contender, HashFamily)
        Every shape that is measured.
    seconds : tuple of float
        The estimated time of each.
    refused : dict
        The contenders that refuse the workload, with the reasons.
    """

    shapes: tuple[tuple[Contender, HashFamily], ...]
    seconds: tuple[float, ...]
    refused: dict[str, LshsampleError]


def plan(contenders: Sequence[Contender], workload: Workload, settings: ComparisonSettings) -> Plan:
    """Try each contender on a few rows: the shapes to measure, an estimate of the time, and refusals.

    Raises
    ------
    ArgumentError
        An option of a contender has a value that the family refuses.
    """
    shapes, seconds = list[tuple[Contender, HashFamily]](), list[float]()
    refused: dict[str, LshsampleError] = {}
    for contender in contenders:
        try:
            families, too_long = contender.shapes(workload.dim, settings)
            costs = _costs(families, workload, settings)
        except LshsampleError as error:
            if contender.is_to_blame(error):
                raise
            refused[contender.label] = error
            continue
        refused |= too_long
        shapes += [(contender, family) for family in families]
        seconds += costs
    return Plan(tuple(shapes), tuple(seconds), refused)


def _costs(families: list[HashFamily], workload: Workload, settings: ComparisonSettings) -> list[float]:
    """The estimated seconds of each shape, from one trial with a few rows."""
    n, m = min(_TRIAL_ROWS, workload.n_items), min(_TRIAL_QUERIES, workload.n_queries)
    family = families[len(families) // 2]
    tables = HashTables(family, threads=settings.threads)
    # Two sizes tell the work of a row from work that does not grow with the rows, such as a fit's.
    few, some = (
        timed(functools.partial(tables.build, workload.items[:rows]), 1)[0].median for rows in (n // 4, n)
    )
    each_row = max(0.0, some - few) / (n - n // 4)
    query = functools.partial(tables.query, workload.queries[:m], threads=settings.threads)
    query()
    each = timed(query, 3)[0].median / m
    own = 0.0
    if workload.metric == "own":
        small = Workload("", workload.items[:n], workload.queries[:1], None, 1, "own")
        own = timed(functools.partial(small.truth_of, tables.family), 1)[0].median
        own *= workload.n_queries * workload.n_items / n
    scale, costs = workload.n_items / n, list[float]()
    for at, shape in enumerate(families):
        by_tables = scale * shape.n_tables / family.n_tables
        probes = len(settings.probes_of(shape))
        batches = settings.rounds * len(budgets_of(workload, settings)) * workload.n_queries
        batches += _STEPS * _ESTIMATED * (workload.metric == "inner")
        calls = 2 + probes * len(budgets_of(workload, settings))
        costs.append(
            settings.rounds * calls * _ROUND
            + settings.rounds * (some + 2 * each_row * (workload.n_items - n) * by_tables / scale)
            + probes * batches * each * by_tables
            + (own if at == 0 else 0.0)
        )
    return costs


@memory.named_shortage("comparing families")
def compare(
    contenders: Sequence[Contender | FamilyLike],
    workload: Workload,
    settings: ComparisonSettings | None = None,
    progress: Callable[[str, float], None] = lambda *_: None,
    *,
    planned: Plan | None = None,
) -> tuple[list[Figures], dict[str, str]]:
    """Measure all contenders and the baselines.

    Parameters
    ----------
    contenders : sequence of Contender, str, HashFamily, FamilySpec or mapping
        The families; what is not a Contender is read by :meth:`Contender.parse`.
    workload : Workload
        Items, queries and the true nearest items.
    settings : ComparisonSettings, optional
        Budgets, code lengths, numbers of tables and probes.
    progress : callable
        Called before each measurement with a line of text, and the estimated seconds of all before it.
    planned : Plan, optional
        The result of :func:`plan` for the same arguments, if it is known.

    Returns
    -------
    (list of Figures, dict)
        The measurements, one for each contender, K, L and number of probes, after those of the baselines;
        and the contenders that refused the workload, with the reasons.

    Raises
    ------
    ArgumentError
        An option of a contender has a value that the family refuses.

    Examples
    --------
    >>> workload = Workload.synthetic(400, 16, 5)
    >>> settings = ComparisonSettings(budgets=40, bits=4, n_tables=8, rounds=1)
    >>> figures, refused = compare(["simhash"], workload, settings)
    >>> [(one.label, one.points[0].recall > 0.5) for one in figures]
    [('exact', True), ('uniform', False), ('simhash', True)]
    """
    chosen = settings or ComparisonSettings()
    entries = [one if isinstance(one, Contender) else Contender.parse(one) for one in contenders]
    chosen_plan = planned or plan(entries, workload, chosen)
    progress("exact and uniform", 0.0)
    figures = baselines(workload, chosen)
    refused, truths = dict(chosen_plan.refused), dict[str, Ids]()
    done = 0.0
    for (contender, family), seconds in zip(chosen_plan.shapes, chosen_plan.seconds, strict=True):
        progress(f"{contender.label}, K = {family.n_hashes}, L = {family.n_tables}", done)
        done += seconds
        try:
            if workload.truth is None and contender.label not in truths:
                truths[contender.label] = workload.truth_of(hashing.prepared(family, workload.items))
            figures += measure(contender.label, family, workload, chosen, truths.get(contender.label))
        except LshsampleError as error:
            refused[contender.label] = error
    return figures, {label: f"{type(error).__name__}: {error}" for label, error in refused.items()}
