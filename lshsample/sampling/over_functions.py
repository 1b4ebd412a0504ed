"""The law over the draw of the hash functions: how likely an id was before any table stood.

It folds the stages from the left: pi starts at 0, and every stage with a law changes it by that law. A
stage without one, or one after which the law of an earlier stage no longer holds, makes the set biased, by
name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lshsample import laws
from lshsample._native.sample import Drawn
from lshsample.errors import UnsupportedError
from lshsample.sampling.filters import AtLeast, Cap
from lshsample.sampling.retrieve import Retrieve
from lshsample.sampling.sources import Frequency, Full, Include, Uniform

if TYPE_CHECKING:
    from lshsample.sampling.stage import Batch, Stage

__all__ = ["inclusion_over_functions"]

#: Pairs whose similarities are computed at a time.
_BLOCK = 65536

Floats = npt.NDArray[np.float64]


def _retrieval(
    stage: Retrieve, batch: Batch, rows: npt.NDArray[np.int64], ids: npt.NDArray[np.int32], least: int
) -> Floats:
    """Probability of each pair of the set to be retrieved by at least so many tables.

    It comes from the vectors that the tables were built from: through the law of a code where one bucket a
    table is looked into, else through the law of the probes given the query.
    """
    state = stage.state(batch)
    if state.vectors is None:
        raise UnsupportedError("the tables were opened without the vectors that they were built from")
    queries, probes, n_tables = batch.queries, stage.probes_of(state), state.packed.n_tables
    assert queries is not None
    out = np.empty(len(ids))
    block = _BLOCK if probes == 1 else max(1, _BLOCK // n_tables)
    for part in _parts(rows, block, probes > 1):
        vectors = state.vectors[ids[part]]
        if probes == 1:
            q = state.family.pair_code_probability(queries[rows[part]], vectors)
            out[part] = laws.at_least_inclusion(q, n_tables, least) if least > 1 else (
                laws.union_inclusion(q, n_tables)
            )  # fmt: skip
        else:
            query = queries[rows[part.start] : rows[part.start] + 1]
            tables = state.family.probe_probability(query, vectors, probes)
            out[part] = laws.tables_inclusion(tables, least)
    return out


def _parts(rows: npt.NDArray[np.int64], block: int, by_query: bool) -> Iterator[slice]:
    """Spans of at most ``block`` pairs, each of one query where they are wanted so (rows ascend)."""
    ends = np.append(np.flatnonzero(np.diff(rows)) + 1, len(rows)) if by_query else [len(rows)]
    begin = 0
    for end in ends:
        for start in range(begin, end, block):
            yield slice(start, min(start + block, end))
        begin = end


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


def _why_biased(stages: Sequence[Stage], pooled: bool, drawn: Drawn) -> str | None:
    """The first reason why the pipeline has no law over the draw of the functions; None if it has one."""
    capped: Stage | None = None
    met: list[Stage] = []
    for stage in stages:
        if isinstance(stage, Retrieve):
            if pooled:
                return f"{stage}: pooled queries share the functions; their union has no simple law"
            if stage.budget is not None:
                return f"{stage}: a budget stops where earlier tables say, which has no simple law"
            if any(isinstance(other, Retrieve) for other in met):
                return f"{stage}: a second retrieval may share its functions with the first"
        elif isinstance(stage, AtLeast):
            if len(met) != 1 or not isinstance(met[0], Retrieve):
                return f"{stage}: its law, the binomial tail, holds only straight after a first Retrieve()"
        elif isinstance(stage, Cap):
            capped = stage
            if float(drawn.kept.min(initial=1.0)) == 0:
                return f"{stage}: forced ids take all of its room"
        elif not isinstance(stage, Include | Uniform | Frequency | Full):
            return f"{stage}: no law over the draw of the hash functions"
        if capped is not None and isinstance(stage, Uniform | Frequency | Retrieve | Full):
            return f"{capped}: what it keeps depends on the functions, so nothing can be mixed in after it"
        met.append(stage)
    if not any(isinstance(stage, Retrieve | Uniform | Frequency | Full) for stage in met):
        return f"{met[-1]}: only named ids can be in the set"
    return None


def inclusion_over_functions(
    stages: Sequence[Stage], batch: Batch, drawn: Drawn
) -> tuple[npt.NDArray[np.float32] | None, str | None]:
    """Log inclusion probabilities over the draw of the hash functions, or None with the reason.

    Notes
    -----
    Retrieval adds an independent chance r = 1 - (1 - q)^L; AtLeast(m) straight after it makes it the
    binomial tail. Where it probes, the chance of each table is that of its probes given the query, and they
    make r as 1 - prod_l (1 - P_l), or a Poisson binomial tail. A cap multiplies by what it kept in that
    row; draws mix in as 1 - (1 - pi)(1 - u); forced ids have 1. Items whose q is 0 are never retrieved:
    the estimate is of the sum over the others, unless a uniform draw is mixed in.
    """
    reason = _why_biased(stages, batch.pooled, drawn)
    if reason is not None:
        return None, f"{reason}; law='tables' has the law given the tables"
    rows = np.repeat(np.arange(len(drawn.indptr) - 1), np.diff(drawn.indptr))
    pi = np.zeros(len(drawn.ids))
    for place, stage in enumerate(stages):
        if isinstance(stage, Retrieve):
            after = stages[place + 1] if place + 1 < len(stages) else None
            least = after.m if isinstance(after, AtLeast) else 1
            try:
                found = _retrieval(stage, batch, rows, drawn.ids, least)
            except UnsupportedError as error:
                return None, f"{stage}: {error}"
            pi = laws.mixture_inclusion(pi, found)
        elif isinstance(stage, Uniform):
            pi = laws.mixture_inclusion(pi, laws.uniform_inclusion(stage.n, batch.n_items))
        elif isinstance(stage, Frequency) and batch.frequencies is not None:
            pi = laws.mixture_inclusion(pi, laws.frequency_inclusion(batch.frequencies[drawn.ids], stage.n))
        elif isinstance(stage, Full):
            pi = np.ones_like(pi)
    pi = pi * drawn.kept[rows]
    if any(isinstance(stage, Include) for stage in stages):
        pi[_forced(batch, rows, drawn.ids)] = 1.0
    # An id whose computed q is 0 and that came all the same (rounding of the similarity) stays finite.
    return np.log(np.maximum(pi, np.finfo(np.float32).tiny)).astype(np.float32), None
