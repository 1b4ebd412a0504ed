"""The fused sampling call: a plan of compiled stages over a batch, in one call without Python's lock."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from lshsample._native import core
from lshsample._native.core import ffi, lib
from lshsample._native.reader import NativeReader
from lshsample.errors import CheckpointError

__all__ = ["AliasTable", "Drawn", "StageCall", "Workspaces", "alias_table", "check_read", "run_plan"]
__all__ += ["table_order"]

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Pattern = tuple[Int64, Int32]
"""Row pointers and column indices, in range."""


@attrs.frozen(eq=False)
class AliasTable:
    """Walker's alias table of a distribution, for constant-time draws."""

    frequency: npt.NDArray[np.float64]
    accept: npt.NDArray[np.float64]
    alias: Int32
    positive: bool


@attrs.frozen(eq=False, kw_only=True)
class StageCall:
    """One stage of a plan, with the arrays that it reads (see ``lsh_stage`` in sample.h).

    ``op`` is the name in ``LSH_STAGE_...``.
    """

    op: str
    place: int
    ordinal: int = 0
    amount: int = 0
    reader: NativeReader | None = None
    codes: npt.NDArray[np.uint32] | None = None
    pattern: Pattern | None = None
    counts: Int32 | None = None
    forced: Pattern | None = None
    frequencies: AliasTable | None = None


@attrs.frozen(eq=False)
class Drawn:
    """What a plan drew: rows of ids, ascending, with the law of each given the tables.

    Attributes
    ----------
    indptr, ids, counts : arrays
        Rows in CSR form; collision counts.
    log_inclusion : float32 array
        Log probability of each id, given the tables.
    lawless : (rows,) int32 array
        -1, or the place of the stage that left items of this row with probability 0.
    kept : (rows,) float32 array
        The product of the fractions that caps kept.
    """

    indptr: Int64
    ids: Int32
    counts: Int32
    log_inclusion: npt.NDArray[np.float32]
    lawless: Int32
    kept: npt.NDArray[np.float32]


class Workspaces:
    """Workspaces that calls borrow and give back, so that concurrent calls never share one.

    A list's ``pop`` and ``append`` are whole steps in themselves. There is no lock that another thread could
    hold at the moment of a fork: the child would wait for it for ever.

    Parameters
    ----------
    n_items : int
        Items of the sampler.
    """

    def __init__(self, n_items: int) -> None:
        self.n_items = n_items
        self._free: list[tuple[int, Any]] = []

    def __reduce__(self) -> tuple[type[Workspaces], tuple[int]]:
        return (Workspaces, (self.n_items,))

    def take(self, threads: int) -> tuple[int, Any]:
        """A workspace for at least so many threads, with its number of threads."""
        while self._free:
            try:
                workspace = self._free.pop()
            except IndexError:  # another thread took the last one
                break
            if workspace[0] >= threads:
                return workspace
        out = ffi.new("lsh_workspace **")
        core.check(lib.lsh_workspace_new(self.n_items, threads, out), "sampler workspace")
        return threads, ffi.gc(out[0], lib.lsh_workspace_free)

    def give(self, workspace: tuple[int, Any]) -> None:
        """Hand a workspace back."""
        self._free.append(workspace)


def alias_table(frequencies: npt.NDArray[np.float64]) -> AliasTable:
    """The alias table of frequencies that sum to 1 (Walker 1977; built in O(n) after Vose 1991)."""
    accept = np.empty(len(frequencies))
    alias = np.empty(len(frequencies), np.int32)
    status = lib.lsh_alias_build(
        core.pointer("double *", frequencies),
        len(frequencies),
        core.pointer("double *", accept),
        core.pointer("int32_t *", alias),
    )
    core.check(status, "alias table")
    return AliasTable(frequencies, accept, alias, bool(frequencies.min() > 0))


def table_order(n_tables: int, *, seed: int, step: int, row: int, ordinal: int) -> npt.NDArray[np.uint32]:
    """The order (n_tables,) in which a retrieval with a budget visits tables in a row."""
    order = np.empty(n_tables, np.uint32)
    lib.lsh_sample_table_order(seed, step, row, ordinal, n_tables, core.pointer("uint32_t *", order))
    return order


def check_read(status: int, what: str, untrusted: bool) -> None:
    """As :func:`core.check`, for a call that may have met damaged arrays of an opened file.

    Raises
    ------
    CheckpointError
        It did.
    """
    if untrusted and status == lib.LSH_OUT_OF_RANGE:
        raise CheckpointError(
            f"{what}: the opened tables are corrupted: a bucket lies outside of its table, or holds an id "
            "that is none; verify() compares them with their checksums"
        )
    core.check(status, what)


def _fill_pattern(pattern: Pattern | None) -> tuple[Any, Any]:
    if pattern is None:
        return ffi.NULL, ffi.NULL
    return core.pointer("int64_t *", pattern[0]), core.pointer("int32_t *", pattern[1])


def _fill_stage(stage: Any, call: StageCall) -> None:
    stage.op = getattr(lib, f"LSH_STAGE_{call.op}")
    stage.place, stage.ordinal, stage.amount = call.place, call.ordinal, call.amount
    stage.indptr, stage.indices = _fill_pattern(call.pattern)
    stage.forced_indptr, stage.forced_indices = _fill_pattern(call.forced)
    stage.counts = core.pointer("int32_t *", call.counts)
    if call.reader is not None and call.codes is not None:
        stage.reader = call.reader.struct
        stage.codes = core.pointer("uint32_t *", call.codes)
        stage.n_probes = call.codes.shape[2]
    if call.frequencies is not None:
        table = call.frequencies
        stage.frequency = core.pointer("double *", table.frequency)
        stage.accept = core.pointer("double *", table.accept)
        stage.alias = core.pointer("int32_t *", table.alias)
        stage.positive = table.positive


def run_plan(
    calls: list[StageCall],
    n_queries: int,
    n_items: int,
    *,
    seed: int,
    step: int,
    pooled: bool,
    threads: int,
    workspaces: Workspaces,
) -> Drawn:
    """Run stages over a batch: one row per query, or one for the whole batch if pooled.

    The caller has checked the arrays; ids are checked again in C where they index memory. Results depend on
    the arguments but ``threads`` and ``workspaces``.
    """
    stages = ffi.new("lsh_stage[]", max(len(calls), 1))
    for i, call in enumerate(calls):
        _fill_stage(stages[i], call)
    plan = ffi.new("lsh_plan *")
    plan.stages, plan.n_stages = stages, len(calls)
    plan.n_queries, plan.n_items, plan.seed, plan.step, plan.pooled = n_queries, n_items, seed, step, pooled
    drawn, total = ffi.new("lsh_drawn **"), ffi.new("int64_t *")
    workspace = workspaces.take(threads)
    try:
        status = lib.lsh_sample_run(plan, workspace[1], threads, drawn, total)
        check_read(status, "sampling", any(call.reader.untrusted for call in calls if call.reader))
    finally:
        workspaces.give(workspace)
    return _collect(ffi.gc(drawn[0], lib.lsh_sample_free), 1 if pooled else n_queries, int(total[0]), threads)


def _collect(drawn: Any, rows: int, total: int, threads: int) -> Drawn:
    out = Drawn(
        indptr=np.empty(rows + 1, np.int64),
        ids=np.empty(total, np.int32),
        counts=np.empty(total, np.int32),
        log_inclusion=np.empty(total, np.float32),
        lawless=np.empty(rows, np.int32),
        kept=np.empty(rows, np.float32),
    )
    status = lib.lsh_sample_collect(
        drawn,
        threads,
        core.pointer("int64_t *", out.indptr),
        core.pointer("int32_t *", out.ids),
        core.pointer("int32_t *", out.counts),
        core.pointer("float *", out.log_inclusion),
        core.pointer("int32_t *", out.lawless),
        core.pointer("float *", out.kept),
    )
    core.check(status, "sampling")
    return out
