"""Choosing: each code length and number of probes, the fewest tables for it, and a check on other queries."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from lshsample import hashing
from lshsample.errors import ArgumentError, UnsupportedError
from lshsample.family import HashFamily, Rows
from lshsample.registry import make_family
from lshsample.sampling import Cap, Pipeline, Retrieve
from lshsample.sampling.stages.exact_top import exact_top
from lshsample.tables import HashTables
from lshsample.tuning.goal import Goal, Measures, Tuned
from lshsample.tuning.predict import Costs, Foretold, Pairs, measured_costs, seconds_of

__all__ = ["tune"]

#: Queries that laws are averaged over, and random items of each.
_QUERIES, _FAR = 128, 128
_PROBES = (1, 2, 4, 8, 16)
#: Tables whose law of probes given the query stands for all.
_LAW_TABLES = 8
#: More tables than are needed without a cap, so that what is left after it reaches the goal.
_MORE = (1.0, 1.1, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0)

Make = Callable[[int, int], HashFamily]


@attrs.frozen(kw_only=True)
class _Choice:
    """A candidate: hashes, tables, probes, with what the laws foretell."""

    n_hashes: int
    n_tables: int
    probes: int
    measures: Measures


def _fewest_tables(law: Foretold, goal: Goal, most: int) -> int | None:
    """The smallest number of tables that reach recall and error before a cap; None if ``most`` do not."""

    def reached(n_tables: int) -> bool:
        if law.recall_and_size(n_tables)[0] < goal.recall:
            return False
        return goal.relative_error is None or law.relative_error(n_tables) <= goal.relative_error

    if not reached(most):
        return None
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle + 1, high)
    return low


def _measures(law: Foretold, family: HashFamily, probes: int, cap: int | None, costs: Costs) -> Measures:
    n_tables = family.n_tables
    recall, size = law.recall_and_size(n_tables, cap)
    candidates = float(law.far.mean()) * law.n_items * n_tables
    return Measures(
        recall=recall,
        size=size,
        relative_error=law.relative_error(n_tables, cap) if family.exact_law else math.nan,
        memory_bytes=HashTables.memory_needed(family, law.n_items).tables,
        seconds=costs.of(family.spec.n_hashes, n_tables, probes, candidates),
    )


def _choices(make: Make, pairs: Pairs, goal: Goal, most: int, costs: Costs) -> Iterator[_Choice]:
    longest = math.log2(pairs.vectors.shape[0]) + 4
    for n_hashes in range(1, 33):
        try:
            family = make(n_hashes, _LAW_TABLES)
        except ArgumentError:  # longer than a code can be
            return
        if n_hashes * family.bits_per_hash > longest:
            return
        for probes in _PROBES if family.can_probe else (1,):
            if 4 * probes > 2**family.code_bits and probes > 1:
                continue
            try:
                law = pairs.foretold(family, probes)
            except UnsupportedError:
                if probes == 1:
                    raise
                break
            fewest = _fewest_tables(law, goal, most)
            if fewest is None:
                continue
            for n_tables in sorted(
                {min(most, round(fewest * m)) for m in _MORE[: 1 if goal.size is None else None]}
            ):
                measures = _measures(law, make(n_hashes, n_tables), probes, goal.size, costs)
                yield _Choice(n_hashes=n_hashes, n_tables=n_tables, probes=probes, measures=measures)


def _best(choices: list[_Choice], goal: Goal) -> _Choice:
    within = [choice for choice in choices if not choice.measures.missed(goal)]
    if within:
        return min(within, key=lambda choice: choice.measures.seconds)
    if not choices:
        raise ArgumentError("goal", goal, "a recall and an error that max_tables tables can reach")
    told = [choice.measures for choice in choices]
    wanted = (
        f"bounds that can be kept together: recall and error alone take at least "
        f"{min(m.memory_bytes for m in told):,} bytes, {min(m.seconds for m in told):.3g} seconds"
    )
    if goal.size is not None:
        best = max(told, key=lambda m: m.recall)
        wanted += f"; a cap of {goal.size:,} ids leaves a recall of at most {best.recall:.3g}"
        if goal.relative_error is not None:
            wanted += f" and an error of at least {min(m.relative_error for m in told):.3g}"
    raise ArgumentError("goal", goal, wanted)


def _observe(
    tables: HashTables, pipeline: Pipeline, queries: Any, near: npt.NDArray[np.int64], seed: int
) -> Measures:
    sampler, n_items = pipeline.bind(tables=tables), tables.n_ids
    active = sampler.sample(queries, seed=seed, law="marginal", threads=1)
    wanted = np.arange(len(near))[:, None] * n_items + near
    keys = active.row_of_ids() * n_items + active.ids
    ours = np.isin(keys, wanted)
    error = math.nan  # of no estimate: a law that holds nearly gives no weights
    if not active.is_biased:
        weights = np.exp(-active.log_inclusion[ours].astype(np.float64))
        numbers = np.bincount(keys[ours] // n_items, weights, len(near))
        error = float(np.sqrt(np.mean((numbers / near.shape[1] - 1) ** 2)))
    return Measures(
        recall=float(ours.sum() / near.size),
        size=len(active.ids) / queries.shape[0],
        relative_error=error,
        memory_bytes=tables.memory_bytes,
        seconds=seconds_of(sampler, queries, seed),
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
        Of the choices that are foretold to reach every goal, the one that is foretold to be the quickest.

    Raises
    ------
    ArgumentError
        No choice reaches all goals; the message has the nearest one.
    UnsupportedError
        The family has no law of a code, functions learned for one K and L, or probes of its own.

    Notes
    -----
    The nearest items of up to 128 queries are found exactly; the law of a code (or of the probes given the
    query) on these pairs foretells recall, on pairs of them the error, on random pairs the size, and all the
    time, with the costs of a query, a hash, a bucket and a candidate measured on this machine. For each K and
    number of probes the fewest tables that reach recall and error are taken, and some more where a cap cuts.
    Items count by inner product: data of unequal norms want a family for inner products.

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
    goal = _checked(goal, seed, max_tables, options)
    if len(np.shape(data)) != 2:
        raise ArgumentError("data", f"shape {np.shape(data)}", "a 2-D array (n_rows, n_columns)")
    plain = _plain(family, {"dim": np.shape(data)[1], "n_tables": 1, "seed": seed, **options})
    rows, asked = hashing.checked_rows(plain, data, "data"), hashing.checked_rows(plain, queries, "queries")
    if goal.k > rows.shape[0]:
        raise ArgumentError("data", f"{rows.shape[0]} rows", f"at least k = {goal.k} items")
    if asked.shape[0] < 4:
        raise ArgumentError("queries", f"{asked.shape[0]} rows", "4 or more")
    fitted = _fitted(plain, rows)
    if goal.relative_error is not None and not fitted.exact_law:
        label = hashing.family_label(fitted)
        raise UnsupportedError(
            f"{label}: its law holds nearly, so there are no estimates whose error to tune"
        )

    def make(n_hashes: int, n_tables: int) -> HashFamily:
        return type(fitted)(attrs.evolve(fitted.spec, n_hashes=n_hashes, n_tables=n_tables))

    chosen, held, far = _parts(asked, rows.shape[0], seed)
    pairs = Pairs(chosen, exact_top(chosen, rows, goal.k), rows, far)
    costs = measured_costs(make, rows, chosen, max(2, round(math.log2(rows.shape[0]))))
    best = _best(list(_choices(make, pairs, goal, max_tables, costs)), goal)
    stages = (Retrieve(probes=None if best.probes == 1 else best.probes),)
    pipeline = Pipeline(stages if goal.size is None else (*stages, Cap(goal.size)))
    tables = HashTables(make(best.n_hashes, best.n_tables), threads=threads).build(rows)
    return Tuned(
        goal=goal,
        family=tables.family,
        pipeline=pipeline,
        tables=tables,
        predicted=best.measures,
        observed=_observe(tables, pipeline, held, exact_top(held, rows, goal.k), seed),
    )


def _checked(goal: Goal | None, seed: object, max_tables: object, options: dict[str, Any]) -> Goal:
    if goal is not None and not isinstance(goal, Goal):
        raise ArgumentError("goal", type(goal).__name__, "a Goal, or None for recall 0.9")
    for argument, value, low in (("seed", seed, 0), ("max_tables", max_tables, 1)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not low <= value < 2**63:
            raise ArgumentError(argument, repr(value), f"an integer from {low} on")
    for name in ("dim", "n_hashes", "n_tables"):
        if name in options:
            raise ArgumentError(name, options[name], "nothing: it is the data's, or chosen here")
    return Goal() if goal is None else goal


def _plain(name: str, options: dict[str, Any]) -> HashFamily:
    """The family with one hash; one that fixes its probes is refused, since they are chosen here."""
    try:
        family = make_family(name, n_hashes=1, **options)
    except ArgumentError as error:
        if error.argument != "probes":
            raise
        family = None
    if family is None or family.default_probes > 1:
        raise UnsupportedError(f"{name}: it has probes of its own, and tune chooses them: tune what it wraps")
    return family


def _fitted(plain: HashFamily, rows: Rows) -> HashFamily:
    """The family prepared for the rows, of which any number of hashes and tables can be made."""
    fitted = plain.prepare(rows)
    try:
        type(fitted)(attrs.evolve(fitted.spec, n_tables=2))
    except ArgumentError as error:
        label = hashing.family_label(fitted)
        raise UnsupportedError(
            f"{label}: its functions are learned for one number of hashes and tables"
        ) from error
    return fitted


def _parts(asked: Rows, n_items: int, seed: int) -> tuple[Rows, Rows, npt.NDArray[np.int64]]:
    """Queries that choose, queries that check, and random items for those that choose."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(asked.shape[0])
    half = asked.shape[0] // 2
    chosen, held = asked[order[:half][:_QUERIES]], asked[order[half:][:_QUERIES]]
    return chosen, held, rng.integers(0, n_items, (chosen.shape[0], _FAR))
