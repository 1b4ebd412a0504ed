"""Running a pipeline over a batch: built-in stages in one call of the C core, Python stages between them."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import attrs
import numpy as np
import numpy.typing as npt

from lshsample._native import core
from lshsample._native.sample import PART_QUERIES, Drawn, StageCall, Workspaces, run_part, run_plan
from lshsample.sampling.active_set import ActiveSet
from lshsample.sampling.batch import Batch
from lshsample.sampling.checks import check_result
from lshsample.sampling.contract import ask, stage_label
from lshsample.sampling.stage import Stage, Stages

__all__ = ["Part", "Run", "core_calls", "run_in_parts", "why_biased"]

_CALL = (StageCall, type(None))


@attrs.define(eq=False)
class Part:
    """Stages that ran in one call of the C core.

    Attributes
    ----------
    end : int
        Index after its last stage.
    drawn : Drawn
        The drawn set. A part after a Python stage is conditional on the output of that stage.
    """

    end: int
    drawn: Drawn


@attrs.define(eq=False)
class Run:
    """A run of a pipeline, or of its first stages, over one batch.

    The draws of a stage depend only on the stages before it, so that the first stages alone give the same set
    as they do in the whole pipeline.

    Attributes
    ----------
    pipeline : Stages
        All stages.
    batch : Batch
        The batch. Its queries are checked to be finite during the run.
    workspaces : Workspaces
        The sampler's scratch memory.
    max_ids : int
        End after the query with which there are more ids than this: the sets are those of the first queries,
        at least one. 0 for no limit.
    parts : list of Part
        The calls of the C core, in order.
    """

    pipeline: Stages
    batch: Batch
    workspaces: Workspaces
    max_ids: int = 0
    parts: list[Part] = attrs.field(factory=list)

    @property
    def drawn(self) -> Drawn:
        """The set drawn by the pipeline."""
        return self.parts[-1].drawn

    @property
    def kept(self) -> npt.NDArray[np.float32]:
        """The fraction (rows,) kept by the caps of all parts together."""
        return self.kept_by(len(self.pipeline))

    def kept_by(self, place: int) -> npt.NDArray[np.float32]:
        """The fraction (rows,) kept by the caps of all parts, up to that of the stage at index ``place``."""
        kept = self.parts[0].drawn.kept
        for before, part in zip(self.parts, self.parts[1:], strict=False):
            if before.end > place:
                break
            kept = kept * part.drawn.kept
        return kept

    def go(self, n_stages: int | None = None) -> Run:
        """Run the stages, or the first ``n_stages``; returns the run."""
        calls: list[StageCall] = []
        seen: dict[str, int] = {}
        stages, n_python, forced, checked = self.pipeline.stages[:n_stages], 0, False, False
        for place, stage in enumerate(stages):
            call = _asked(stage, place, self.batch, seen)
            if call is not None:
                calls.append(call)
                forced |= stage.forces_ids
                continue
            checked = checked or _check_queries(self.batch, calls)
            active = self._apply(stage, place, n_python, self._call(calls, place))
            calls = [_given(active, place, self.batch if forced else None)]
            n_python += 1
        if not checked:
            _check_queries(self.batch, calls)
        self._call(calls, len(stages))
        return self

    def _call(self, calls: list[StageCall], end: int) -> Drawn:
        batch = self.batch
        run = functools.partial(run_part, first_row=batch.first_row, max_ids=self.max_ids)
        drawn = (run if self.max_ids else run_plan)(
            calls,
            batch.n_queries,
            batch.n_items,
            seed=batch.seed,
            step=batch.step,
            pooled=batch.pooled,
            threads=batch.threads,
            workspaces=self.workspaces,
        )
        self.parts.append(Part(end, drawn))
        return drawn

    def _apply(self, stage: Stage, place: int, n_python: int, drawn: Drawn) -> ActiveSet:
        batch = self.batch
        active = ActiveSet(
            indptr=drawn.indptr,
            ids=drawn.ids,
            counts=drawn.counts,
            n_items=batch.n_items,
            pooled=batch.pooled,
            biased_by=why_biased(self.pipeline, drawn),
            log_inclusion=drawn.log_inclusion,
        )
        here = attrs.evolve(batch, place=n_python) if n_python else batch
        result: ActiveSet = ask(stage, "apply", active, here, kind=ActiveSet)
        check_result(result, batch.n_rows, batch.n_items, f"{stage_label(stage)}.apply")
        return result


def _asked(stage: Stage, place: int, batch: Batch, seen: dict[str, int]) -> StageCall | None:
    """The call of a stage, or None of one in Python; ``seen`` counts the calls before it, by their op."""
    call: StageCall | None = ask(stage, "call", batch, kind=_CALL)
    if call is not None:
        call.place, call.ordinal = place, seen.get(call.op, 0)
        seen[call.op] = call.ordinal + 1
    return call


def _check_queries(batch: Batch, calls: Sequence[StageCall]) -> bool:
    """Raise ArgumentError for queries that are not finite, unless a kernel of these calls checks them."""
    queries = batch.queries
    if queries is not None and all(call.kernel is None for call in calls):
        if isinstance(queries, np.ndarray):
            core.check_finite(queries, "queries")
        else:
            core.csr_rows(queries, "queries", threads=batch.threads)
    return True


def core_calls(pipeline: Stages, batch: Batch) -> list[StageCall]:
    """The calls of a pipeline all of whose stages run in the C core."""
    seen: dict[str, int] = {}
    asked = [_asked(stage, place, batch, seen) for place, stage in enumerate(pipeline)]
    calls = [call for call in asked if call is not None]
    _check_queries(batch, calls)
    return calls


def run_in_parts(
    pipeline: Stages, batch: Batch, workspaces: Workspaces, max_ids: int
) -> Iterator[tuple[Batch, Drawn]]:
    """Run a pipeline over parts of a batch, so that the sets of each have about ``max_ids`` ids at most.

    Yields each part with its sets, which are those that the whole batch has in one run, to the bit. Stages in
    Python see the whole batch: with one of them there is a single part, whose sets must fit into memory.
    """
    if not pipeline.runs_in_core:
        yield batch, Run(pipeline, batch, workspaces).go().drawn
        return
    begin, size = 0, min(batch.n_queries, PART_QUERIES)
    while begin < batch.n_queries or batch.n_queries == 0:
        end = min(begin + size, batch.n_queries)
        part = batch if end - begin == batch.n_queries else batch.part(begin, end)
        drawn = Run(pipeline, part, workspaces, max_ids).go().drawn
        done = len(drawn.kept)
        yield (part if done == part.n_queries else part.part(0, done)), drawn
        begin += done
        if batch.n_queries == 0:
            return
        # All queries of a part are hashed: where few of them were done, the next part has not many more.
        size = min(2 * done, PART_QUERIES)


def _given(active: ActiveSet, place: int, forcing: Batch | None) -> StageCall:
    """The output of a Python stage, as the initial set of the next call."""
    return StageCall(
        op="GIVEN",
        place=place,
        pattern=(np.ascontiguousarray(active.indptr), np.ascontiguousarray(active.ids)),
        counts=np.ascontiguousarray(active.counts),
        forced=None if forcing is None else forcing.include,
    )


def why_biased(pipeline: Stages, drawn: Drawn) -> str | None:
    """Why items have probability 0 given the tables, with the stage; None if all are possible."""
    if drawn.zero_probability_stage.max(initial=-1) < 0:
        return None
    stages = drawn.zero_probability_stage
    bad = stages[stages >= 0]
    place = int(bad[0])
    return (
        f"{pipeline.stages[place]} (stage {place + 1} of {pipeline}) leaves items with "
        f"inclusion probability 0 given the tables, in {len(bad)} of {len(stages)} rows; "
        f"a Uniform(n) after it makes every item possible"
    )
