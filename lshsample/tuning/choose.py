"""The search: for each code length and number of probes, the fewest tables that suffice."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from lshsample import hashing, memory
from lshsample.errors import ArgumentError, UnsupportedError
from lshsample.family import FamilySpec, HashFamily, Rows
from lshsample.registry import FamilyLike, make_family, named_family
from lshsample.sampling import Cap, Pipeline, Retrieve
from lshsample.sampling.stages.exact_top import exact_top
from lshsample.tables import HashTables
from lshsample.tuning.goal import Goal, Measures, Tuned
from lshsample.tuning.predict import Costs, PairSample, Prediction, measured_costs, seconds_of

__all__ = ["fitted_family", "plain_family", "tune"]

#: Queries that predictions are averaged over, and random items of each.
_QUERIES, _FAR = 128, 128
_PROBES = (1, 2, 4, 8, 16)
#: Memory without which nothing is begun: OpenBLAS ends the process where it finds none for a product.
_LEAST_BYTES = 2**22
#: Tables for which probabilities of probed buckets are computed; more tables repeat them.
_PREDICTED_TABLES = 8
#: Factors of the number of tables that is needed without a cap, so that recall after the cap may suffice.
_TABLE_FACTORS = (1.0, 1.1, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0)

Make = Callable[[int, int], HashFamily]


@attrs.frozen(kw_only=True)
class _Configuration:
    """Hashes, tables and probes, with their predicted measures."""

    n_hashes: int
    n_tables: int
    probes: int
    measures: Measures


def _fewest_tables(prediction: Prediction, goal: Goal, most: int) -> int | None:
    """The smallest number of tables that meets recall and error before a cap; None if ``most`` do not."""

    def suffice(n_tables: int) -> bool:
        if prediction.recall_and_size(n_tables)[0] < goal.recall:
            return False
        return goal.relative_error is None or prediction.relative_error(n_tables) <= goal.relative_error

    if not suffice(most):
        return None
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if suffice(middle) else (middle + 1, high)
    return low


def _measures(
    prediction: Prediction, family: HashFamily, probes: int, cap: int | None, costs: Costs
) -> Measures:
    n_tables = family.n_tables
    recall, size = prediction.recall_and_size(n_tables, cap)
    candidates = float(prediction.far.mean()) * prediction.n_items * n_tables
    return Measures(
        recall=recall,
        size=size,
        relative_error=prediction.relative_error(n_tables, cap) if family.exact_law else math.nan,
        memory_bytes=HashTables.memory_needed(family, prediction.n_items).tables,
        seconds=costs.of(family.spec.n_hashes, n_tables, probes, candidates),
    )


def _configurations(
    make: Make, pairs: PairSample, goal: Goal, most: int, costs: Costs
) -> Iterator[_Configuration]:
    """Every configuration that is predicted to meet recall and error before a cap."""
    longest = math.log2(pairs.vectors.shape[0]) + 4
    for n_hashes in range(1, 33):
        try:
            family = make(n_hashes, _PREDICTED_TABLES)
        except ArgumentError:  # longer than a code can be
            return
        if n_hashes * family.bits_per_hash > longest:
            return
        for probes in _PROBES if family.can_probe else (1,):
            if 4 * probes > 2**family.code_bits and probes > 1:
                continue
            try:
                prediction = pairs.predict(family, probes)
            except UnsupportedError:
                if probes == 1:
                    raise
                break
            fewest = _fewest_tables(prediction, goal, most)
            if fewest is None:
                continue
            for n_tables in sorted(
                {min(most, round(fewest * m)) for m in _TABLE_FACTORS[: 1 if goal.size is None else None]}
            ):
                measures = _measures(prediction, make(n_hashes, n_tables), probes, goal.size, costs)
                yield _Configuration(n_hashes=n_hashes, n_tables=n_tables, probes=probes, measures=measures)


def _best(configurations: list[_Configuration], goal: Goal) -> _Configuration:
    """The configuration with the lowest predicted query time among those that meet the goal."""
    within = [one for one in configurations if not one.measures.missed(goal)]
    if within:
        return min(within, key=lambda one: one.measures.seconds)
    if not configurations:
        raise ArgumentError("goal", goal, "one whose recall and error max_tables tables can reach")
    predicted = [one.measures for one in configurations]
    wanted = (
        f"one whose bounds can be met together: recall and error alone take at least "
        f"{min(m.memory_bytes for m in predicted):,} bytes, {min(m.seconds for m in predicted):.3g} seconds"
    )
    if goal.size is not None:
        best = max(predicted, key=lambda m: m.recall)
        wanted += f"; with a cap of {goal.size:,} ids recall is at most {best.recall:.3g}"
        if goal.relative_error is not None:
            wanted += f" and the error at least {min(m.relative_error for m in predicted):.3g}"
    raise ArgumentError("goal", goal, wanted)


def _observed(
    tables: HashTables, pipeline: Pipeline, queries: Any, near: npt.NDArray[np.int64], seed: int
) -> Measures:
    """The measures on queries that had no part in the choice."""
    sampler, n_items = pipeline.bind(tables=tables), tables.n_ids
    active = sampler.sample(queries, seed=seed, law="marginal", threads=1)
    nearest = np.arange(len(near))[:, None] * n_items + near
    keys = active.row_of_ids() * n_items + active.ids
    hits = np.isin(keys, nearest)
    error = math.nan  # an approximate collision probability gives no weights, hence no estimate
    if not active.is_biased:
        weights = np.exp(-active.log_inclusion[hits].astype(np.float64))
        numbers = np.bincount(keys[hits] // n_items, weights, len(near))
        error = float(np.sqrt(np.mean((numbers / near.shape[1] - 1) ** 2)))
    return Measures(
        recall=float(hits.sum() / near.size),
        size=len(active.ids) / queries.shape[0],
        relative_error=error,
        memory_bytes=tables.memory_bytes,
        seconds=seconds_of(sampler, queries, seed),
    )


@memory.named_shortage("tuning")
def tune(
    data: Any,
    queries: Any,
    goal: Goal | None = None,
    *,
    family: FamilyLike = "simhash",
    seed: int = 0,
    max_tables: int = 512,
    threads: int | None = None,
) -> Tuned:
    """Choose hashes, tables, probes and a cap for a goal, and check the choice on held-out queries.

    Parameters
    ----------
    data : (n, dim) rows
        Items.
    queries : (m, dim) rows
        At least 4. One half is used for predictions, the other half for the check.
    goal : Goal, optional
        By default a recall of 0.9 of the 10 nearest items.
    family : str, HashFamily, FamilySpec or mapping
        As for :func:`lshsample.make_family`: text (``"simhash:projection=gaussian"``), or a family, of
        which K and L are replaced.
    seed : int
        Determines the hash functions (a family that is not given as text has its own seed), and the queries
        and items that are sampled.
    max_tables : int
        Largest number of tables.
    threads : int, optional
        Number of threads, for building the tables of the check.

    Returns
    -------
    Tuned
        The configuration with the lowest predicted query time among those predicted to meet the goal.

    Raises
    ------
    ArgumentError
        No configuration meets the goal; the message says what can be met.
    UnsupportedError
        The family has no collision probability of a code, has functions that are learned for one K and L, or
        has a fixed number of probes.

    Notes
    -----
    The nearest items of up to 128 queries are found exactly. The collision probability of a code (or of the
    probed buckets given the query) predicts recall from these pairs, the error from pairs of near items, the
    size from random pairs, and the time from all of them, with the costs of a query, a hash, a bucket and a
    candidate measured on this machine. For each K and number of probes, the fewest tables that meet recall
    and error are taken; more tables are tried where a cap reduces recall. Items are ranked by inner product:
    for data with unequal norms use a family for inner products.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> centres = rng.standard_normal((40, 16))
    >>> rows = centres[rng.integers(0, 40, 4100)] + 0.3 * rng.standard_normal((4100, 16))
    >>> rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    >>> family = "simhash:projection=gaussian"
    >>> tuned = tune(rows[:4000], rows[4000:], Goal(recall=0.9), family=family, threads=1)
    >>> bool(tuned.predicted.recall >= 0.9), bool(abs(tuned.observed.recall - tuned.predicted.recall) < 0.1)
    (True, True)
    """
    goal = _checked(goal, seed, max_tables)
    if len(np.shape(data)) != 2:
        raise ArgumentError("data", f"shape {np.shape(data)}", "a 2-D array (n_rows, n_columns)")
    plain = plain_family(family, np.shape(data)[1], seed)
    rows, batch = hashing.checked_rows(plain, data, "data"), hashing.checked_rows(plain, queries, "queries")
    if goal.k > rows.shape[0]:
        raise ArgumentError("data", f"{rows.shape[0]} rows", f"an array of at least k = {goal.k} rows")
    if batch.shape[0] < 4:
        raise ArgumentError("queries", f"{batch.shape[0]} rows", "an array of 4 rows or more")
    fitted = fitted_family(plain, rows)
    if goal.relative_error is not None and not fitted.exact_law:
        label = hashing.family_label(fitted)
        raise UnsupportedError(
            f"{label}: its collision probability is approximate and gives no weights, "
            "so relative_error cannot be a target"
        )

    def make(n_hashes: int, n_tables: int) -> HashFamily:
        return type(fitted)(attrs.evolve(fitted.spec, n_hashes=n_hashes, n_tables=n_tables))

    memory.require_bytes(_LEAST_BYTES, "tuning")
    chosen, held_out, far = _split(batch, rows.shape[0], seed)
    pairs = PairSample(chosen, exact_top(chosen, rows, goal.k), rows, far)
    costs = measured_costs(make, rows, chosen, max(2, round(math.log2(rows.shape[0]))))
    best = _best(list(_configurations(make, pairs, goal, max_tables, costs)), goal)
    stages = (Retrieve(probes=None if best.probes == 1 else best.probes),)
    pipeline = Pipeline(stages if goal.size is None else (*stages, Cap(goal.size)))
    tables = HashTables(make(best.n_hashes, best.n_tables), threads=threads).build(rows)
    return Tuned(
        goal=goal,
        family=tables.family,
        pipeline=pipeline,
        tables=tables,
        predicted=best.measures,
        observed=_observed(tables, pipeline, held_out, exact_top(held_out, rows, goal.k), seed),
    )


def _checked(goal: Goal | None, seed: object, max_tables: object) -> Goal:
    if goal is not None and not isinstance(goal, Goal):
        raise ArgumentError("goal", type(goal).__name__, "a Goal, or None for a recall of 0.9")
    for argument, value, low in (("seed", seed, 0), ("max_tables", max_tables, 1)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not low <= value < 2**63:
            raise ArgumentError(argument, repr(value), f"an integer from {low} to {2**63 - 1}")
    return Goal() if goal is None else goal


def plain_family(given: FamilyLike, dim: int, seed: int) -> HashFamily:
    """The family with one hash; one with a fixed number of probes is refused, since tune chooses it."""
    if isinstance(given, (HashFamily, FamilySpec)):
        given, options = make_family(given), {}
        if given.dim != dim:
            raise ArgumentError("family", f"dim {given.dim}", f"a family of dim {dim}, as the data")
    else:
        options = {"dim": dim, "seed": seed}
        for name, value in named_family(given)[1].items():
            if name in (*options, "n_hashes", "n_tables"):
                raise ArgumentError(name, value, "left out: it is an argument, or chosen by tune")
    try:
        family = make_family(given, n_hashes=1, n_tables=1, **options)
    except ArgumentError as error:
        if error.argument != "probes":
            raise
        family = None
    if family is None or family.default_probes > 1:
        raise UnsupportedError(
            f"{given}: it fixes the number of probes, which tune chooses; tune the wrapped family"
        )
    return family


def fitted_family(plain: HashFamily, rows: Rows) -> HashFamily:
    """The family prepared for the rows; it must allow any number of hashes and tables."""
    fitted = plain.prepare(rows)
    try:
        type(fitted)(attrs.evolve(fitted.spec, n_tables=2))
    except ArgumentError as error:
        label = hashing.family_label(fitted)
        raise UnsupportedError(
            f"{label}: its hash functions are learned for one number of hashes and tables"
        ) from error
    return fitted


def _split(batch: Rows, n_items: int, seed: int) -> tuple[Rows, Rows, npt.NDArray[np.int64]]:
    """Queries for the predictions, held-out queries, and random items for the former."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(batch.shape[0])
    half = batch.shape[0] // 2
    chosen, held_out = batch[order[:half][:_QUERIES]], batch[order[half:][:_QUERIES]]
    return chosen, held_out, rng.integers(0, n_items, (chosen.shape[0], _FAR))
