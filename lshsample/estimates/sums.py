"""Sums and means over all items, from weighted samples or from one table at a time."""

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
from lshsample.specs import checked_integer
from lshsample.tables import TableReader

__all__ = ["horvitz_thompson", "self_normalised", "sum_by_tables"]

Floats = npt.NDArray[np.float64]


def _like(estimate: Estimate, values: Values) -> Estimate:
    """Without the axis of components, where ``values`` has one number for each item."""
    if estimate.value.shape[1] != 1 or (not callable(values) and np.ndim(values) > 1):
        return estimate
    return estimate.column()


def horvitz_thompson(
    samples: ActiveSet | Sequence[ActiveSet], values: Values, *, allow_biased: bool = False
) -> Estimate:
    """The sum of ``values`` over all items, for each row: sum f / pi over the sample.

    Parameters
    ----------
    samples : ActiveSet or a sequence of them
        One sample, or independent samples of the same queries.
    values : array or callable
        f: (n_items,) or (n_items, c); or a function of an active set that returns (n,) or (n, c) for its ids.
    allow_biased : bool
        Whether to accept sets without inclusion probabilities, every id with weight 1.

    Returns
    -------
    Estimate
        (rows,), or (rows, c). With several samples the mean of their estimates.

    Raises
    ------
    BiasedSampleError
        A set has no inclusion probabilities; the message names the stage.

    Notes
    -----
    Unbiased (Horvitz & Thompson 1952). The standard error is that of the design where the ids that are not
    certain are one simple random sample (``... | Uniform(n)``, ``... | Fill(k)``), else that of the mean of
    independent samples; for one sample of another design it is None. f is evaluated for the sampled ids
    alone.

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
    A ratio of two unbiased sums: its bias is of order 1 / n, and its error is small where f varies little,
    whatever the weights (Hajek 1971). The standard error is that of the residuals f - mean.

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
    """The sum of ``values`` over all items, estimated from each table (or group of tables) by itself.

    Parameters
    ----------
    tables : TableReader
        Tables with the vectors that they were built from.
    queries : (m, dim) rows
        Queries.
    values : array or callable
        As for :func:`horvitz_thompson`; a function gets the active set of all ids in the queries' buckets.
    groups : int, optional
        Number of groups of (nearly) as many tables each, at least 2; by default one table is one group.
    probes : int, optional
        Buckets per table; by default the number of probes of the family.
    threads : int, optional
        Number of threads; the result does not depend on it.

    Returns
    -------
    Estimate
        (m,) or (m, c), with the standard error of the mean over groups where tables are independent.

    Notes
    -----
    For a group g of tables, Z_g is the sum of f / (1 - (1 - q)^|g|) over the ids in the queries' buckets of
    these tables, q being the collision probability of a code; with single tables the mean of all Z_g is
    (1/L) sum_l sum_{x in S_l} f / q. It is unbiased whatever the joint distribution of the groups; with
    single tables only the collision probability of one code is needed. Larger groups have less variance where
    near items dominate, and fewer degrees of freedom. In bounded buckets that keep R of n ids, weights are
    multiplied by n / R and averaged over the tables of a group. Tables that share random numbers (families
    with ``independent_tables`` False) have averaged weights as well, and no standard error. Items with q = 0
    are not part of the sum.

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
    if not isinstance(tables, TableReader):
        wanted = "HashTables or another TableReader: sum_by_tables(tables, queries, values)"
        raise ArgumentError("tables", f"a {type(tables).__name__}", wanted)
    state = tables.snapshot()
    n_tables = state.family.n_tables
    if n_tables < 2:
        raise ArgumentError("tables", "1 table", "at least 2 tables, between which the estimate is compared")
    n_groups = (
        n_tables
        if groups is None
        else checked_integer("groups", groups, 2, n_tables, ", the number of tables")
    )
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
    if not state.family.independent_tables:  # the spread between them is not that of their mean
        return _like(Estimate(value=value), values)
    degrees = np.array(n_groups - 1.0)
    return _like(Estimate(value=value, standard_error=error, degrees=degrees, method="tables"), values)


def _group_weight(factors: Floats, chance: Floats, members: npt.NDArray[np.intp], by_table: bool) -> Floats:
    """The weight (n,) of each id in a group of tables: 1 / pi, or the mean of the weights by table."""
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
