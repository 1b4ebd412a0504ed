"""The law over the draw of the hash functions: how likely an id was before any table stood.

It folds the stages from the left: pi starts at 0, and every stage with a law changes it by that law. A
stage without one, or one after which the law of an earlier stage no longer holds, makes the set biased, by
name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lshsample import laws
from lshsample._native.sample import Drawn
from lshsample.errors import UnsupportedError
from lshsample.sampling.budget import table_weights
from lshsample.sampling.membership import table_probabilities
from lshsample.sampling.stages import AtLeast, Cap, Frequency, Full, Include, Retrieve, Uniform

if TYPE_CHECKING:
    from lshsample.sampling.stage import Batch, Stage

__all__ = ["inclusion_over_functions"]

Floats = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]


def _retrieval(
    stage: Retrieve, batch: Batch, rows: npt.NDArray[np.int64], ids: npt.NDArray[np.int32], least: int
) -> Floats:
    """Probability of each pair of the set to be retrieved by at least so many tables.

    It comes from the vectors that the tables were built from: through the law of a code where one bucket a
    table is looked into, else through the law of the probes given the query.
    """
    state = stage.state(batch)
    queries, probes, n_tables = batch.queries, stage.probes_of(state), state.n_tables
    chances = table_probabilities(state, queries, rows, ids, probes)
    if probes > 1:
        return laws.tables_inclusion(chances, least)
    if least > 1:
        return laws.at_least_inclusion(chances[:, 0], n_tables, least)
    return laws.union_inclusion(chances[:, 0], n_tables)


def _forced(batch: Batch, rows: npt.NDArray[np.int64], ids: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    if batch.include is None:
        return np.zeros(len(ids), bool)
    indptr, indices = batch.include
    row = (
        np.zeros(len(indices), np.int64)
        if batch.pooled
        else np.repeat(np.arange(batch.n_queries), np.diff(indptr))
    )
    named = row * batch.n_items + indices
    return np.isin(rows * batch.n_items + ids, named)


def _by_tables(stage: Retrieve, batch: Batch) -> bool:
    """Whether a retrieval has weights one table at a time instead of a probability."""
    state = stage.state(batch)
    return stage.budget is not None or bool(state.bucket_size) or not state.family.independent_tables


def _why_biased(stages: Sequence[Stage], batch: Batch, drawn: Drawn) -> str | None:
    """The first reason why the pipeline has no law over the draw of the functions; None if it has one."""
    held: Stage | None = None  # after it, weights are no probabilities that one could mix with others
    met: list[Stage] = []
    for stage in stages:
        if isinstance(stage, Retrieve):
            if batch.pooled:
                return f"{stage}: pooled queries share the functions; their union has no simple law"
            if met and _by_tables(stage, batch):
                why = "the weights of a budget, or of bounded buckets or dependent tables, hold only"
                return f"{stage}: {why} for a first stage"
            if any(isinstance(other, Retrieve) for other in met):
                return f"{stage}: a second retrieval may share its functions with the first"
            if _by_tables(stage, batch):
                held = stage
        elif isinstance(stage, AtLeast):
            if len(met) != 1 or not isinstance(met[0], Retrieve) or held is not None:
                return (
                    f"{stage}: its law, the binomial tail, holds only straight after a first Retrieve() from "
                    "whole, independent tables"
                )
        elif isinstance(stage, Cap):
            held = stage
            if float(drawn.kept.min(initial=1.0)) == 0:
                return f"{stage}: forced ids take all of its room"
        elif not isinstance(stage, Include | Uniform | Frequency | Full):
            return f"{stage}: no law over the draw of the hash functions"
        mixes = isinstance(stage, Uniform | Frequency | Retrieve | Full)
        if mixes and held is not None and held is not stage:
            return f"{held}: what it keeps depends on the functions, so nothing can be mixed in after it"
        met.append(stage)
    if not any(isinstance(stage, Retrieve | Uniform | Frequency | Full) for stage in met):
        return f"{met[-1]}: only named ids can be in the set"
    return None


def _marginal(stages: Sequence[Stage], batch: Batch, ids: npt.NDArray[np.int32], rows: Int64) -> Floats:
    """Inclusion probabilities before caps and forced ids, by folding the stages."""
    pi = np.zeros(len(ids))
    for place, stage in enumerate(stages):
        if isinstance(stage, Retrieve):
            after = stages[place + 1] if place + 1 < len(stages) else None
            least = after.m if isinstance(after, AtLeast) else 1
            pi = laws.mixture_inclusion(pi, _retrieval(stage, batch, rows, ids, least))
        elif isinstance(stage, Uniform):
            pi = laws.mixture_inclusion(pi, laws.uniform_inclusion(stage.n, batch.n_items))
        elif isinstance(stage, Frequency) and batch.frequencies is not None:
            pi = laws.mixture_inclusion(pi, laws.frequency_inclusion(batch.frequencies[ids], stage.n))
        elif isinstance(stage, Full):
            pi = np.ones_like(pi)
    return pi


def _weighted(
    stage: Retrieve, batch: Batch, ids: npt.NDArray[np.int32], rows: Int64, first: Callable[[], Drawn]
) -> Floats:
    """The reciprocal of the unbiased weight of each id, where weights are by tables."""
    retrieved = first()
    weights = table_weights(stage, batch, retrieved)
    row = np.repeat(np.arange(len(retrieved.indptr) - 1), np.diff(retrieved.indptr))
    place = np.searchsorted(row * batch.n_items + retrieved.ids, rows * batch.n_items + ids)
    # Ids beyond those retrieved are forced ones, which get their probability later.
    found = weights[np.minimum(place, len(weights) - 1)] if len(weights) else np.ones(len(ids))
    with np.errstate(divide="ignore"):
        return np.asarray(1 / found)


def inclusion_over_functions(
    stages: Sequence[Stage], batch: Batch, drawn: Drawn, first: Callable[[], Drawn]
) -> tuple[npt.NDArray[np.float32] | None, str | None]:
    """Log inclusion probabilities over the draw of the hash functions, or None with the reason.

    Parameters
    ----------
    stages : sequence of Stage
        The pipeline.
    batch : Batch
        What it ran on.
    drawn : Drawn
        What it drew.
    first : callable
        Draws the first stage alone, again.

    Notes
    -----
    Retrieval adds an independent chance r = 1 - (1 - q)^L; AtLeast(m) straight after it makes it the
    binomial tail. Where it probes, the chance of each table is that of its probes given the query, and they
    make r as 1 - prod_l (1 - P_l), or a Poisson binomial tail. A budget, bounded buckets, and tables that
    are not independent have the weights of :func:`~lshsample.sampling.budget.table_weights`. A cap
    multiplies by what it kept in that row; draws mix in as 1 - (1 - pi)(1 - u); forced ids have 1. Items
    whose q is 0 are never retrieved: the estimate is of the sum over the others, unless a uniform draw is
    mixed in.

    A pipeline without such a law, in which every item is possible given the tables (Fill, a draw after a cap
    or a Top, pooled queries with a Uniform), has the weights of the law given the tables: the mean of the
    estimate is the sum for every tables, and so it is over their draw (the law of total expectation).
    """
    reason = _why_biased(stages, batch, drawn)
    rows = np.repeat(np.arange(len(drawn.indptr) - 1), np.diff(drawn.indptr))
    if reason is None:
        try:
            if isinstance(stages[0], Retrieve) and _by_tables(stages[0], batch):
                pi = _weighted(stages[0], batch, drawn.ids, rows, first)
            else:
                pi = _marginal(stages, batch, drawn.ids, rows)
        except UnsupportedError as error:
            reason = f"{next(stage for stage in stages if isinstance(stage, Retrieve))}: {error}"
    if reason is not None:
        if np.all(drawn.lawless < 0):
            return drawn.log_inclusion, None
        return None, f"{reason}; a Uniform(n) at the end makes every item possible given the tables"
    pi = pi * drawn.kept[rows]
    if any(isinstance(stage, Include) for stage in stages):
        pi[_forced(batch, rows, drawn.ids)] = 1.0
    # An id whose computed q is 0 and that came all the same (rounding of the similarity) stays finite.
    return np.log(np.maximum(pi, np.finfo(np.float32).tiny)).astype(np.float32), None
