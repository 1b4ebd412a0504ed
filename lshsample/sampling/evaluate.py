"""Inclusion probabilities of a set: the stages' laws, applied from the first stage to the last."""

from __future__ import annotations

import attrs
import numpy as np
import numpy.typing as npt

from lshsample._native.sample import Drawn
from lshsample.errors import ArgumentError, PluginError
from lshsample.sampling.active_set import Law
from lshsample.sampling.contract import ask, stage_label
from lshsample.sampling.inclusion import Inclusion, Pairs
from lshsample.sampling.run import Part, Run, why_biased

__all__ = ["conditional_inclusion", "marginal_inclusion"]

Floats = npt.NDArray[np.float64]
Logs = npt.NDArray[np.float32]


def _rows(drawn: Drawn) -> npt.NDArray[np.int64]:
    return np.repeat(np.arange(len(drawn.indptr) - 1), np.diff(drawn.indptr))


def _fold(run: Run, start: Inclusion, first: int, pairs: Pairs) -> Inclusion:
    """The inclusion probabilities after the last stage, from those before the stage at index ``first``."""
    inclusion: Inclusion = start
    for place in range(first, run.parts[-1].end):
        stage = run.pipeline.stages[place]
        label = f"{stage_label(stage)}.inclusion"
        here = attrs.evolve(pairs, place=place, kept=run.kept_by(place))
        try:
            inclusion = ask(stage, "inclusion", inclusion, here, kind=Inclusion)
        except ArgumentError as error:  # of the methods of Inclusion: nothing that the caller gave
            raise PluginError(f"{label}: {str(error).removeprefix(f'{stage}: ')}") from error
        if inclusion.reason is not None:
            return inclusion
        _check(inclusion.probability, len(pairs.ids), label)
    return inclusion


def _check(probability: Floats, n: int, label: str) -> None:
    if not isinstance(probability, np.ndarray) or probability.shape != (n,):
        given = getattr(probability, "shape", type(probability).__name__)
        raise PluginError(f"{label} returned probabilities of shape {given}, expected ({n},)")
    if not (probability >= 0).all():
        raise PluginError(f"{label} returned a probability of {probability.min()}, expected numbers >= 0")


def _pairs(run: Run, rows: npt.NDArray[np.int64], ids: npt.NDArray[np.int32], law: Law) -> Pairs:
    def drawn_by(n_stages: int) -> Drawn:
        return Run(run.pipeline, run.batch, run.workspaces).go(n_stages).drawn

    kept = run.parts[0].drawn.kept
    return Pairs(rows=rows, ids=ids, batch=run.batch, law=law, place=0, kept=kept, drawn_by=drawn_by)


def _logs(inclusion: Inclusion) -> Logs:
    # An id found although its computed probability is 0 (rounding of the similarity) keeps a finite value.
    return np.log(np.maximum(inclusion.values, np.finfo(np.float32).tiny)).astype(np.float32)


def marginal_inclusion(run: Run) -> tuple[Logs | None, str | None]:
    """Log inclusion probabilities, marginal over the hash functions, or None with the reason.

    Notes
    -----
    Retrieval adds ids with the independent probability r = 1 - (1 - q)^L, which AtLeast(m) directly after it
    turns into the binomial tail. With several probes, P_l is the probability of table l's probes given the
    query, and r = 1 - prod_l (1 - P_l), or a Poisson binomial tail. A budget, bounded buckets and dependent
    tables have the weights of :func:`~lshsample.sampling.budget.table_weights`. A cap multiplies by the
    fraction that it kept in the row; a draw gives 1 - (1 - pi)(1 - u); forced ids have probability 1. Items
    whose q is 0 are never retrieved: the sum over the other items is estimated, unless a uniform draw is
    mixed in.

    A pipeline without such a law, in which every item is possible conditional on the tables (Fill, a draw
    after a cap or a Top, pooled queries with a Uniform), has the weights of the conditional law: the estimate
    is unbiased conditional on any tables, hence also marginally (law of total expectation).
    """
    drawn = run.drawn
    rows, impossible = _rows(drawn), np.zeros(len(drawn.indptr) - 1, bool)
    # First without pairs, so that no similarity is computed for a pipeline without a law.
    for some in (slice(0), slice(None)):
        pairs = _pairs(run, rows[some], drawn.ids[some], "marginal")
        start = Inclusion(probability=np.zeros(len(pairs.ids)), every_item_possible=impossible)
        inclusion = _fold(run, start, 0, pairs)
        reason = inclusion.reason
        if reason is None and not inclusion.every_item_possible.all():
            reason = f"{run.pipeline.stages[-1]}: items not included by the caller have probability 0"
        if reason is not None:
            logs, biased_by = conditional_inclusion(run)
            if biased_by is None:
                return logs, None
            return None, f"{reason}; a Uniform(n) at the end makes every item possible given the tables"
    return _logs(inclusion), None


def conditional_inclusion(run: Run) -> tuple[Logs, str | None]:
    """Log inclusion probabilities given the tables, and why some items have probability 0, or None.

    The C core computes them for the stages that it runs; after a Python stage they are conditional on that
    stage's outcome, which is exact. If all stages from the first Python stage on state their laws, these are
    applied to the probabilities before it instead: then a Python stage that draws needs no later draw.
    """
    drawn = run.drawn
    if len(run.parts) > 1:
        folded = _folded(run, run.parts[0])
        if folded is not None:
            return folded, None
    return drawn.log_inclusion, why_biased(run.pipeline, drawn)


def _folded(run: Run, first: Part) -> Logs | None:
    """By the laws of the stages after the first part; None without a law, or if an item has probability 0."""
    rows, ids = _rows(run.drawn), run.drawn.ids
    before, possible = _before(first.drawn, rows, ids, run.batch.n_items)
    forced = any(stage.forces_ids for stage in run.pipeline.stages[: first.end])
    for some in (slice(0), slice(None)):  # first without pairs, as in marginal_inclusion
        pairs = _pairs(run, rows[some], ids[some], "conditional")
        start = Inclusion(probability=before[some], every_item_possible=possible)
        last = _fold(run, start.force(pairs.forced) if forced else start, first.end, pairs)
        if last.reason is not None or not last.every_item_possible.all():
            return None
    return _logs(last)


def _before(
    drawn: Drawn, rows: npt.NDArray[np.int64], ids: npt.NDArray[np.int32], n_items: int
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Probability of each pair to be in a part's set, and the rows in which every item has one above 0.

    If the core does not know it for ids outside the set, or has reciprocals of weights (after a cap), it is
    conditional on the outcome: 1 inside the set, 0 outside.
    """
    keys, pairs = _rows(drawn) * n_items + drawn.ids, rows * n_items + ids
    place = np.searchsorted(keys, pairs)
    inside = place < len(keys)
    inside[inside] = keys[place[inside]] == pairs[inside]
    if np.isnan(drawn.rest).any() or not (drawn.kept == 1).all():
        return inside.astype(np.float64), np.zeros(len(drawn.rest), bool)
    out = drawn.rest[rows]
    out[inside] = np.exp(drawn.log_inclusion[place[inside]].astype(np.float64))
    return out, drawn.zero_probability_stage < 0
