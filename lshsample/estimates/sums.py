"""Sums and means over all items, from weighted samples or one table at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lshsample import laws
from lshsample._native import core
from lshsample.errors import ArgumentError
from lshsample.estimates.estimate import Estimate
from lshsample.estimates.samples import Samples, Values
from lshsample.sampling import ActiveSet
from lshsample.sampling.membership import table_factors, table_probabilities
from lshsample.tables import TableReader

__all__ = ["horvitz_thompson", "self_normalised", "sum_by_tables"]

Floats = npt.NDArray[np.float64]


def _like(estimate: Estimate, values: Values) -> Estimate:
    """Without the column axis, where values are single numbers; a function's values keep theirs if wide."""
    if estimate.value.shape[1] != 1 or (not callable(values) and np.ndim(values) > 1):
        return estimate
    return estimate.column()


def horvitz_thompson(
    samples: ActiveSet | Sequence[ActiveSet], values: Values, *, allow_biased: bool = False
) -> Estimate:
    """The sum of ``values`` over all items, for each row: sum f / pi over the sample.

    Parameters
    ----------
    samples : ActiveSet or several
        One sample, or independent ones of the same queries.
    values : array or callable
        f: (n_items,) or (n_items, c); or a function of an active set that gives (n,) or (n, c) for its ids.
    allow_biased : bool
        Take sets without a law, every id with weight 1.

    Returns
    -------
    Estimate
        (rows,), or (rows, c). With several samples the mean of their estimates.

    Raises
    ------
    BiasedSampleError
        A set has no law; the message names the stage.

    Notes
    -----
    Unbiased (Horvitz & Thompson 1952). The standard error is the design's own where ids that are not certain
    are one simple random sample (``... | Uniform(n)``, ``... | Fill(k)``), else that of the mean of
    independent samples; one sample of another design has none. Costs what f costs for the sampled ids.

    Examples
    --------
    >>> from lshsample import Uniform
    >>> active = Uniform(50).bind(n_items=1000).sample(n_queries=1)
    >>> estimate = horvitz_thompson(active, np.linspace(0, 1, 1000))
    >>> low, high = estimate.interval(0.95)
    >>> bool(low[0] < 500 < high[0])
    True
    """
    chosen = Samples.of(samples, allow_biased)
    return _like(chosen.linear(chosen.values(values)), values)


def self_normalised(
    samples: ActiveSet | Sequence[ActiveSet], values: Values, *, allow_biased: bool = False
) -> Estimate:
    """The mean of ``values`` over all items, for each row: sum (f / pi) / sum (1 / pi) over the sample.

    Parameters
    ----------
    samples, values, allow_biased
        As for :func:`horvitz_thompson`.

    Notes
    -----
    A ratio of two unbiased sums: its bias is of the order of 1 / n, and its error is small where f varies
    little, whatever the weights are (Hajek 1971). The standard error is that of the residuals f - mean.

    Examples
    --------
    >>> from lshsample import Uniform
    >>> active = Uniform(50).bind(n_items=1000).sample(n_queries=1)
    >>> self_normalised(active, np.full(1000, 7.0)).value
    array([7.])
    """
    chosen = Samples.of(samples, allow_biased)
    each = chosen.values(values)
    return _like(chosen.ratio(each, [np.ones((len(a.ids), 1)) for a in chosen.sets]), values)


def sum_by_tables(
    tables: TableReader,
    queries: Any,
    values: Values,
    *,
    groups: int | None = None,
    probes: int | None = None,
    threads: int | None = None,
) -> Estimate:
    """The sum of ``values`` over all items, one table (or group of tables) at a time.

    Parameters
    ----------
    tables : TableReader
        Tables with the vectors that they were built from.
    queries : (m, dim) rows
        Queries.
    values : array or callable
        As for :func:`horvitz_thompson`; the active set of a function is what the tables hold.
    groups : int, optional
        Groups of as many tables each (nearly); one table each, if not given. At least 2.
    probes : int, optional
        Buckets per table; by default the family's own number.
    threads : int, optional
        At most so many threads.

    Returns
    -------
    Estimate
        (m,) or (m, c), with the standard error of the mean over groups where tables are independent.

    Notes
    -----
    Each group g of tables gives Z_g = sum of f / (1 - (1 - q)^|g|) over the ids that it holds; with single
    tables that is (1/L) sum_l sum_{x in S_l} f / q. The mean over groups is unbiased whatever the joint law
    of the groups; with single tables it needs the law of a code alone. Groups of more tables give less
    variance where near items decide, and fewer degrees of freedom. Bounded buckets that keep R of n ids have
    weights times n / R, averaged over a group's tables. Tables that share random numbers (a family whose
    ``independent_tables`` is False) have no standard error, and weights that are averaged too.
    Items that no table can hold (q = 0) are left out of the sum.

    Examples
    --------
    >>> from lshsample import HashTables, make_family
    >>> rows = np.random.default_rng(0).standard_normal((500, 8), dtype=np.float32)
    >>> family = make_family("simhash", dim=8, n_hashes=3, n_tables=40, projection="gaussian")
    >>> estimate = sum_by_tables(HashTables(family).build(rows), rows[:1], np.ones(500))
    >>> low, high = estimate.interval(0.99)
    >>> bool(low[0] < 500 < high[0])
    True
    """
    state = tables.snapshot()
    n_groups = state.family.n_tables if groups is None else groups
    if isinstance(n_groups, bool) or not 2 <= n_groups <= state.family.n_tables:
        raise ArgumentError("groups", repr(groups), f"2 to the {state.family.n_tables} tables that there are")
    if probes is None:
        probes = state.family.default_probes
    found = state.query(queries, n_probes=probes, threads=threads)
    held = ActiveSet(indptr=found.indptr, ids=found.ids, counts=found.counts, n_items=state.n_items)
    (each,) = Samples((held,), ()).values(values)
    rows = held.row_of_ids()
    checked = (
        core.csr_rows(queries, "queries")
        if hasattr(queries, "tocsr")
        else core.dense_rows(queries, "queries")
    )
    factors = table_factors(state, checked, rows, held.ids, probes, threads)
    chance = table_probabilities(state, checked, rows, held.ids, probes)
    totals = np.zeros((n_groups, held.n_rows, each.shape[1]))
    by_table = bool(state.bucket_size) or not state.family.independent_tables
    for g, members in enumerate(np.array_split(np.arange(factors.shape[1]), n_groups)):
        weight = _group_weight(factors, chance, members, by_table)
        for c in range(each.shape[1]):
            totals[g, :, c] = np.bincount(rows, weights=weight * each[:, c], minlength=held.n_rows)
    value, error = totals.mean(axis=0), totals.std(axis=0, ddof=1) / np.sqrt(n_groups)
    if not state.family.independent_tables:  # their spread is not that of the mean
        return _like(Estimate(value=value), values)
    degrees = np.array(n_groups - 1.0)
    return _like(Estimate(value=value, standard_error=error, degrees=degrees, method="tables"), values)


def _group_weight(factors: Floats, chance: Floats, members: npt.NDArray[np.intp], by_table: bool) -> Floats:
    """The weight (n,) of each id in a group: 1 / pi where its tables hold it; or its tables' mean."""
    each = chance if chance.shape[1] == 1 else chance[:, members]
    tiny = np.finfo(np.float32).tiny
    if by_table:
        return np.asarray((factors[:, members] / np.maximum(each, tiny)).mean(axis=1))
    pi = (
        laws.union_inclusion(each[:, 0], len(members))
        if chance.shape[1] == 1
        else laws.tables_inclusion(each)
    )
    found = factors[:, members].any(axis=1)
    return np.asarray(found / np.maximum(pi, tiny))
