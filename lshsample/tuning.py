"""Tuning: hashes, tables, probes and cap for a wanted recall, size or variance, from the laws."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from lshsample import laws
from lshsample._native import core
from lshsample._native import family as door
from lshsample.errors import ArgumentError, UnsupportedError
from lshsample.plugin import HashFamily, Rows
from lshsample.registry import make_family
from lshsample.sampling import Cap, Pipeline, Retrieve
from lshsample.sampling.exact_top import exact_top
from lshsample.specs import integer, number
from lshsample.tables import HashTables

__all__ = ["Goal", "Measures", "Tuned", "tune"]

Floats = npt.NDArray[np.float64]

#: Queries and far pairs that laws are averaged over.
_QUERIES, _PAIRS = 128, 4096
_PROBES = (1, 2, 4, 8, 16)
#: Queries that a law of probes, which is slower, is averaged over.
_PROBED_QUERIES = 24
#: Tables that a law of probes given the query is averaged over.
_LAW_TABLES = 8
#: Seconds that a probed bucket and a candidate take at first guess; both are measured before use.
_GUESSES = (2e-7, 5e-9)


@attrs.frozen(kw_only=True)
class Goal:
    """What to reach, and within which bounds.

    Attributes
    ----------
    recall : float
        Mean share of the ``k`` nearest items (largest inner products) to be among the ids, below 1.
    k : int
        How many nearest items count.
    size : int, optional
        At most so many ids per query; more are capped.
    relative_error : float, optional
        Relative standard deviation wanted of the estimated number of the k nearest items, over the functions.
    memory_bytes : int, optional
        At most so much for the tables.
    seconds : float, optional
        At most so long per query, on one thread.
    """

    recall: float = attrs.field(default=0.9, validator=number(0, 1, open_low=True))
    k: int = attrs.field(default=10, validator=integer(1, 2**20))
    size: int | None = attrs.field(default=None, validator=attrs.validators.optional(integer(1, 2**31 - 2)))
    relative_error: float | None = None
    memory_bytes: int | None = None
    seconds: float | None = None


@attrs.frozen(kw_only=True)
class Measures:
    """What a choice gives: foretold by the laws, or observed.

    Attributes
    ----------
    recall : float
        Mean share of the nearest items among the ids.
    size : float
        Mean number of ids per query.
    relative_error : float
        Of the estimated number of the nearest items.
    memory_bytes : int
        Of the tables.
    seconds : float
        Per query, one thread.
    """

    recall: float
    size: float
    relative_error: float
    memory_bytes: int
    seconds: float


@attrs.frozen(eq=False, kw_only=True)
class Tuned:
    """A choice, with what was foretold beside what was observed on queries held out.

    Attributes
    ----------
    family : HashFamily
        The functions.
    pipeline : Pipeline
        The stages, to bind to tables of the family.
    tables : HashTables
        Tables over the data, built for the check.
    predicted, observed : Measures
        By the laws, and on the queries held out.
    """

    family: HashFamily
    pipeline: Pipeline
    tables: HashTables
    predicted: Measures
    observed: Measures

    def __str__(self) -> str:
        rows = [f"{self.family!r}", str(self.pipeline), f"{'':15}{'predicted':>12}{'observed':>12}"]
        for name in ("recall", "size", "relative_error", "memory_bytes", "seconds"):
            pair = (getattr(self.predicted, name), getattr(self.observed, name))
            rows.append(f"{name:15}" + "".join(f"{value:>12.4g}" for value in pair))
        return "\n".join(rows)


@attrs.frozen(eq=False)
class _Sample:
    """Rows that laws are averaged over: queries with their nearest items, and with random ones."""

    queries: Any
    near: npt.NDArray[np.int64]
    vectors: Any
    far: npt.NDArray[np.int64]

    def chances(self, family: HashFamily, probes: int) -> tuple[Floats, Floats]:
        """Probability that a table holds near pairs (queries, k) and random pairs (queries, f)."""
        return self._of(family, self.near, probes), self._of(family, self.far, probes)

    def _of(self, family: HashFamily, ids: npt.NDArray[np.int64], probes: int) -> Floats:
        if probes == 1:
            rows = np.repeat(np.arange(len(ids)), ids.shape[1])
            chance = door.pair_chances(family, self.queries[rows], self.vectors[ids.ravel()])
            return chance.reshape(ids.shape)
        # The mean over tables stands for each: exact for one table, and near for several.
        each = [
            door.pair_chances(family, self.queries[i : i + 1], self.vectors[row], probes).mean(axis=1)
            for i, row in enumerate(ids[:_PROBED_QUERIES])
        ]
        return np.array(each)


@attrs.frozen(kw_only=True)
class _Choice:
    """A candidate: hashes, tables, probes, with what the laws foretell."""

    n_hashes: int
    n_tables: int
    probes: int
    measures: Measures


def _predict(near: Floats, far: Floats, n_items: int, n_tables: int) -> tuple[float, float, float]:
    """Mean recall, ids per query, and relative error of the number of near items."""
    pi = laws.union_inclusion(near, n_tables)
    size = float(laws.union_inclusion(far, n_tables).mean()) * n_items
    spread = (1 / np.maximum(pi, 1e-12) - 1).sum(axis=1)
    return (
        float(pi.mean()),
        max(size, float(pi.sum(axis=1).mean())),
        float(np.sqrt(spread.mean()) / near.shape[1]),
    )


def _fewest_tables(near: Floats, goal: Goal, most: int) -> int | None:
    """The smallest number of tables that reach recall and error; None if ``most`` do not."""

    def reached(n_tables: int) -> bool:
        recall, _, error = _predict(near, near[:, :1], 1, n_tables)
        return recall >= goal.recall and (goal.relative_error is None or error <= goal.relative_error)

    if not reached(most):
        return None
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle + 1, high)
    return low


def _choices(
    make: Any, sample: _Sample, n_items: int, goal: Goal, most: int, unit: tuple[float, float]
) -> Iterator[_Choice]:
    for n_hashes in range(1, 33):
        try:
            family = make(n_hashes, _LAW_TABLES)
        except ArgumentError:  # longer than a code can be
            return
        if n_hashes * family.bits_per_hash > math.log2(n_items) + 4:
            return
        for probes in _PROBES if family.can_probe else (1,):
            if 4 * probes > 2**family.code_bits and probes > 1:
                continue
            try:
                near, far = sample.chances(family, probes)
            except UnsupportedError:
                if probes == 1:
                    raise
                break
            n_tables = _fewest_tables(near, goal, most)
            if n_tables is None:
                continue
            recall, size, error = _predict(near, far, n_items, n_tables)
            need = HashTables.memory_needed(make(n_hashes, n_tables), n_items)
            seconds = n_tables * probes * unit[0] + far.mean() * n_items * n_tables * unit[1]
            measures = Measures(
                recall=recall, size=size, relative_error=error, memory_bytes=need.tables, seconds=seconds
            )
            yield _Choice(n_hashes=n_hashes, n_tables=n_tables, probes=probes, measures=measures)


def _within(measures: Measures, goal: Goal) -> bool:
    bounds = [(measures.memory_bytes, goal.memory_bytes), (measures.seconds, goal.seconds)]
    # A cap keeps the size; one that cuts more than half away wastes what was looked at.
    bounds.append((int(measures.size), None if goal.size is None else 2 * goal.size))
    return all(bound is None or value <= bound for value, bound in bounds)


def _calibrated(make: Any, vectors: Any, queries: Any) -> tuple[float, float]:
    """Seconds per looked-up bucket and per candidate, measured on tables of two lengths of codes."""
    rows = vectors[: min(vectors.shape[0], 100_000)]
    measured = []
    for bits in (4, max(5, round(math.log2(rows.shape[0])))):
        family = make(1, 8)
        family = make(max(1, bits // family.bits_per_hash), 8)
        tables = HashTables(family, threads=1).build(rows)
        found = tables.query(queries, n_probes=1, threads=1)
        began = time.perf_counter()
        tables.query(queries, n_probes=1, threads=1)
        measured.append((time.perf_counter() - began, float(found.counts.sum())))
    (slow, many), (quick, few) = measured
    each = max((slow - quick) / max(many - few, 1.0), 1e-10) if slow > quick else _GUESSES[1]
    lookup = max((quick - few * each) / (8 * queries.shape[0]), 1e-9)
    return lookup, each


def _observe(
    tables: HashTables, pipeline: Pipeline, queries: Any, near: npt.NDArray[np.int64], seed: int
) -> Measures:
    sampler = pipeline.bind(tables=tables)
    began = time.perf_counter()
    active = sampler.sample(queries, seed=seed, threads=1)
    seconds = (time.perf_counter() - began) / queries.shape[0]
    n_items = tables.n_ids
    wanted = np.arange(len(near))[:, None] * n_items + near
    found = np.isin(wanted, active.row_of_ids() * n_items + active.ids)
    numbers: Any = np.zeros(len(near))
    lawful = sampler.sample(queries, seed=seed, law="functions", threads=1)
    if not lawful.is_biased:
        keys, weights = lawful.row_of_ids() * n_items + lawful.ids, np.exp(-lawful.log_inclusion)
        numbers += np.bincount(
            keys[np.isin(keys, wanted)] // n_items, weights[np.isin(keys, wanted)], len(near)
        )
    return Measures(
        recall=float(found.mean()),
        size=len(active.ids) / queries.shape[0],
        relative_error=float(np.sqrt(np.mean((numbers / near.shape[1] - 1) ** 2))),
        memory_bytes=tables.memory_bytes,
        seconds=seconds,
    )


def tune(
    data: Any,
    queries: Any,
    goal: Goal | None = None,
    *,
    family: str = "simhash",
    seed: int = 0,
    max_tables: int = 512,
    threads: int | None = None,
    **options: Any,
) -> Tuned:
    """Hashes, tables, probes and cap for a goal, and how they do on queries held out.

    Parameters
    ----------
    data : (n, dim) rows
        Items.
    queries : (m, dim) rows
        At least 4; half of them choose, the others check.
    goal : Goal, optional
        Recall 0.9 of the 10 nearest, if not given.
    family : str
        Name of the family; its own options by name.
    seed : int
        Names the functions, and the rows that are looked at.
    max_tables : int
        At most so many tables.
    threads : int, optional
        At most so many, for the check's build.

    Returns
    -------
    Tuned
        Of the choices that keep the bounds, the one that is foretold to be the quickest.

    Raises
    ------
    ArgumentError
        No choice keeps all bounds; the message has the nearest one.
    UnsupportedError
        The family has no law of a code.

    Notes
    -----
    The nearest items of up to 128 queries are found exactly; the law of a code (or of the probes given the
    query) on these pairs foretells recall, on random pairs the size, and both the time, with the cost of a
    bucket and of a candidate measured on this machine. For each K and number of probes the fewest tables that
    reach recall and error are taken. Items count by inner product: data of unequal norms want a family for
    inner products.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> centres = rng.standard_normal((40, 16))
    >>> rows = centres[rng.integers(0, 40, 4100)] + 0.3 * rng.standard_normal((4100, 16))
    >>> rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    >>> tuned = tune(rows[:4000], rows[4000:], Goal(recall=0.9), projection="gaussian", threads=1)
    >>> bool(tuned.predicted.recall >= 0.9), bool(abs(tuned.observed.recall - tuned.predicted.recall) < 0.1)
    (True, True)
    """
    goal = Goal() if goal is None else goal
    rows, asked = _rows(data, "data"), _rows(queries, "queries")
    n_items, n_queries = rows.shape[0], asked.shape[0]
    if n_queries < 4 or goal.k > n_items:
        raise ArgumentError("queries", f"{n_queries} rows", f"4 or more, over at least k = {goal.k} items")
    rng = np.random.default_rng(seed)
    order = rng.permutation(n_queries)
    chosen, held = asked[order[: n_queries // 2][:_QUERIES]], asked[order[n_queries // 2 :][:_QUERIES]]
    fitted = make_family(family, dim=rows.shape[1], n_hashes=1, n_tables=1, seed=seed, **options).prepare(
        rows
    )

    def make(n_hashes: int, n_tables: int) -> HashFamily:
        return type(fitted)(attrs.evolve(fitted.spec, n_hashes=n_hashes, n_tables=n_tables))

    far = rng.integers(0, n_items, (chosen.shape[0], max(_PAIRS // chosen.shape[0], 16)))
    sample = _Sample(chosen, exact_top(chosen, rows, goal.k), rows, far)
    unit = _calibrated(make, rows, chosen)
    choices = list(_choices(make, sample, n_items, goal, max_tables, unit))
    best = _best(choices, goal)
    probes = None if best.probes == 1 else best.probes
    pipeline: Pipeline = Pipeline((Retrieve(probes=probes),))
    if goal.size is not None:
        pipeline = pipeline | Cap(goal.size)
    tables = HashTables(make(best.n_hashes, best.n_tables), threads=threads).build(rows)
    predicted = best.measures
    if goal.size is not None and predicted.size > goal.size:
        share = goal.size / predicted.size
        predicted = attrs.evolve(predicted, recall=predicted.recall * share, size=float(goal.size))
    observed = _observe(tables, pipeline, held, exact_top(held, rows, goal.k), seed)
    return Tuned(
        family=tables.family, pipeline=pipeline, tables=tables, predicted=predicted, observed=observed
    )


def _rows(rows: Any, argument: str) -> Rows:
    if hasattr(rows, "tocsr"):
        return core.csr_rows(rows, argument)
    return core.dense_rows(rows, argument)


def _best(choices: list[_Choice], goal: Goal) -> _Choice:
    within = [choice for choice in choices if _within(choice.measures, goal)]
    if within:
        return min(within, key=lambda choice: choice.measures.seconds)
    if not choices:
        raise ArgumentError("goal", goal, "a recall and an error that max_tables tables can reach")
    least = min(choices, key=lambda choice: choice.measures.memory_bytes)
    quickest = min(choices, key=lambda choice: choice.measures.seconds)
    smallest = min(choices, key=lambda choice: choice.measures.size)
    raise ArgumentError(
        "goal",
        goal,
        f"bounds that can be kept: at least {least.measures.memory_bytes:,} bytes, "
        f"{quickest.measures.seconds:.3g} seconds, {smallest.measures.size:.0f} ids (before a cap of half)",
    )
