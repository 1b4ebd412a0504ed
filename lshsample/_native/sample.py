"""The fused sampling call: a plan of compiled stages over a batch, in one call that releases the GIL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample import memory
from lshsample._native import core
from lshsample._native.core import ffi, lib
from lshsample._native.kernels import KernelStruct
from lshsample._native.reader import NativeReader
from lshsample.errors import CheckpointError

__all__ = ["AliasTable", "Drawn", "StageCall", "Workspaces", "alias_table", "check_read", "run_plan"]
__all__ += ["BLOCK_IDS", "PART_QUERIES", "PreparedSearch", "check_run", "run_part", "table_order"]

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]
Pattern = tuple[Int64, Int32]
"""Row pointers and column indices, in range."""

_OPS: dict[str, int] = {
    name.removeprefix("LSH_STAGE_"): getattr(lib, name) for name in dir(lib) if name.startswith("LSH_STAGE_")
}
_DRAWN_BYTES: int = ffi.sizeof("lsh_drawn")

#: Bytes of an id in a result: the id, its count and probability, in the rows and in the result made of them.
_ID_BYTES = 2 * 12

#: Ids of a result that are drawn without counting them first: 192 MiB. A larger result is counted, and must
#: fit into memory.
BLOCK_IDS = 2**23

#: The most queries that are hashed at a time, where a batch is run in parts.
PART_QUERIES = 16384


@attrs.frozen(eq=False)
class AliasTable:
    """Walker's alias table of a distribution, for constant-time draws."""

    frequency: npt.NDArray[np.float64]
    accept: npt.NDArray[np.float64]
    alias: Int32
    positive: bool


@attrs.define(eq=False, kw_only=True)
class StageCall:
    """One stage of a plan, with the arrays that it reads (see ``lsh_stage`` in sample.h).

    Attributes
    ----------
    op : str
        The name of ``LSH_STAGE_...`` without this prefix.
    place : int
        The stage's position in the pipeline, set when the plan is run.
    ordinal : int
        Number of earlier stages of the pipeline with the same op: their draws are independent. Set like
        ``place``.
    amount : int
        The integer parameter of the stage.
    reader : NativeReader
        RETRIEVE: the tables.
    kernel, rows, n_probes : KernelStruct, rows, int
        RETRIEVE: the kernel for queries, the queries, which the core checks to be finite, and
        buckets per table.
    refuse : callable, optional
        Raises the error for the status of a kernel that failed.
    codes : (n_queries, n_tables, n_probes) uint32 array
        RETRIEVE of a family without a kernel.
    pattern, counts, forced : arrays
        INCLUDE, JOIN and GIVEN: ids of each row; JOIN and GIVEN: their counts; GIVEN: the ids that no later
        stage drops.
    frequencies : AliasTable
        FREQUENCY.
    """

    op: str
    place: int = 0
    ordinal: int = 0
    amount: int = 0
    reader: NativeReader | None = None
    kernel: KernelStruct | None = None
    rows: Float32 | sp.csr_array | None = None
    n_probes: int = 1
    refuse: Callable[[int], None] | None = None
    codes: npt.NDArray[np.uint32] | None = None
    pattern: Pattern | None = None
    counts: Int32 | None = None
    forced: Pattern | None = None
    frequencies: AliasTable | None = None


@attrs.define(eq=False)
class Drawn:
    """The sets drawn by a plan: rows of ascending ids, with the probability of each given the tables.

    Attributes
    ----------
    indptr, ids, counts : arrays
        Rows in CSR form; collision counts.
    log_inclusion : float32 array
        Log probability of each id, given the tables.
    zero_probability_stage : (rows,) int32 array
        -1, or the index of the stage after which items had probability 0 in this row.
    kept : (rows,) float32 array
        The product of the fractions that caps kept.
    rest : (rows,) float64 array
        The probability of each item that is not in the set; NaN if it differs between them: after draws by
        frequency, or if ids were dropped.
    """

    indptr: Int64
    ids: Int32
    counts: Int32
    log_inclusion: Float32
    zero_probability_stage: Int32
    kept: Float32
    rest: npt.NDArray[np.float64]


class Workspaces:
    """Workspaces that calls take and give back, so that concurrent calls never share one.

    A list's ``pop`` and ``append`` are atomic. There is no lock, since a forked child would wait for ever for
    a lock that another thread held at the fork.

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
        """A workspace for at least ``threads`` threads, with its number of threads."""
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
        """Give a workspace back."""
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
    """As :func:`core.check`, for a call that may have read damaged arrays of an opened file.

    Raises
    ------
    CheckpointError
        An array is damaged.
    """
    if untrusted and status == lib.LSH_OUT_OF_RANGE:
        raise CheckpointError(
            f"{what}: the opened tables are corrupted: a bucket is outside of its table, or has an id "
            "out of range; verify() compares them with their checksums"
        )
    core.check(status, what)


def _fill_retrieval(stage: Any, call: StageCall, keep: list[Any]) -> None:
    if call.kernel is None or call.rows is None:
        assert call.codes is not None
        stage.codes, stage.n_probes = core.pointer("uint32_t *", call.codes), call.codes.shape[2]
        return
    stage.kernel, stage.n_probes = call.kernel.pointer, call.n_probes
    if isinstance(call.rows, np.ndarray):
        view = stage.dense = core.dense_struct(call.rows)
    else:
        view = stage.sparse = core.csr_struct(call.rows)
    keep.append(view)


def _fill_stage(stage: Any, call: StageCall, keep: list[Any]) -> None:
    stage.op = _OPS[call.op]
    stage.place, stage.ordinal, stage.amount = call.place, call.ordinal, call.amount
    if call.reader is not None:
        stage.reader = call.reader.struct
        _fill_retrieval(stage, call, keep)
    if call.pattern is not None:
        stage.indptr = core.pointer("int64_t *", call.pattern[0])
        stage.indices = core.pointer("int32_t *", call.pattern[1])
        stage.counts = core.pointer("int32_t *", call.counts)
    if call.forced is not None:
        stage.forced_indptr = core.pointer("int64_t *", call.forced[0])
        stage.forced_indices = core.pointer("int32_t *", call.forced[1])
    if call.frequencies is not None:
        table = call.frequencies
        stage.frequency = core.pointer("double *", table.frequency)
        stage.accept = core.pointer("double *", table.accept)
        stage.alias = core.pointer("int32_t *", table.alias)
        stage.positive = table.positive


def run_plan(
    calls: Sequence[StageCall],
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

    The caller has checked the arrays, except that query rows for a kernel are finite; ids are checked again
    in C where they index memory. Results depend on the arguments except ``threads`` and ``workspaces``.

    Raises
    ------
    MemoryBudgetError
        The result does not fit into memory: its ids were counted, and nothing was allocated for them.
    """
    common: dict[str, Any] = {"seed": seed, "step": step, "pooled": pooled, "threads": threads}
    common["workspaces"] = workspaces
    drawn = run_part(calls, n_queries, n_items, max_ids=BLOCK_IDS, **common)
    rows = 1 if pooled else n_queries
    if len(drawn.kept) == rows:
        return drawn
    del drawn
    total = int(run_part(calls, n_queries, n_items, count_only=True, **common).indptr[-1])
    what = f"the result, {total:,} ids of {rows:,} queries,"
    memory.require_budget({"ids": total * _ID_BYTES}, what, advice="Pass fewer queries at a time")
    return run_part(calls, n_queries, n_items, **common)


def run_part(
    calls: Sequence[StageCall],
    n_queries: int,
    n_items: int,
    *,
    seed: int,
    step: int,
    pooled: bool,
    threads: int,
    workspaces: Workspaces,
    first_row: int = 0,
    max_ids: int = 0,
    count_only: bool = False,
) -> Drawn:
    """As :func:`run_plan`, in one C call, for a part of a batch.

    Parameters
    ----------
    first_row : int
        The number of the first query in the batch, by which its draws are keyed.
    max_ids : int
        End after the row with which there are more ids than this: the result has the first rows, at least
        one. 0 for no limit.
    count_only : bool
        Count the ids: ``indptr`` is that of the result, which has no ids.
    """
    stages = ffi.new("lsh_stage[]", len(calls) or 1)
    keep: list[Any] = []
    for i, call in enumerate(calls):
        _fill_stage(stages[i], call, keep)
    sizes = len(calls), n_queries, n_items, seed, step
    plan = ffi.new("lsh_plan *", (stages, *sizes, pooled, count_only, first_row, max_ids))
    drawn, failed = ffi.new("lsh_drawn **"), ffi.new("int32_t *")
    workspace = workspaces.take(threads)
    try:
        status = lib.lsh_sample_run(plan, workspace[1], threads, drawn, failed)
    finally:
        workspaces.give(workspace)
    check_run(status, failed[0], calls, "sampling")
    return _wrapped(drawn[0], drawn[0].rows)


def check_run(status: int, failed: int, calls: Sequence[StageCall], what: str) -> None:
    """Raise the error of a run: that of the stage whose queries were refused, or of damaged tables."""
    if status == lib.LSH_OK:
        return
    refuse = calls[failed].refuse if failed >= 0 else None
    if refuse is not None:
        refuse(status)
    check_read(status, what, any(call.reader.untrusted for call in calls if call.reader))


class PreparedSearch:
    """The plan of a search, filled in once for all searches of the same tables and vectors.

    It does not keep the tables, the vectors or the queries of the calls that it is made of: the caller does.

    Parameters
    ----------
    calls : sequence of StageCall
        The stages.
    vectors : (m, d) float32 array
        With contiguous rows. Ids from m on are not ranked.
    """

    def __init__(self, calls: Sequence[StageCall], vectors: Float32) -> None:
        self._stages = ffi.new("lsh_stage[]", len(calls))
        for stage, call in zip(self._stages, calls, strict=True):
            _fill_stage(stage, call, [])
        self._hashing = [i for i, call in enumerate(calls) if call.kernel is not None]
        self._vectors = core.dense_view(vectors)
        self._kept = [(call.kernel, call.frequencies) for call in calls]

    @staticmethod
    def lasts(calls: Sequence[StageCall]) -> bool:
        """Whether calls are the same for other queries, which a kernel checks."""
        own = any(call.codes is not None or call.pattern is not None for call in calls)
        return not own and any(call.kernel is not None for call in calls)

    def run(
        self,
        queries: Float32,
        best: Int32,
        scores: Float32,
        *,
        seed: int,
        step: int,
        threads: int,
        workspaces: Workspaces,
        first_row: int = 0,
    ) -> tuple[int, int]:
        """Draw a set for each query, and rank its ids by inner product, in one C call.

        Parameters
        ----------
        queries : (n, d) float32 array
            With contiguous rows; finite, or checked by a kernel.
        best, scores : (n, k) int32 and float32 arrays
            Filled as by :func:`~lshsample._native.topk.csr_top_k`.

        Returns
        -------
        int, int
            The status of the C core, and the stage whose queries were refused, or -1.
        """
        rows, n = core.dense_struct(queries), len(self._stages)
        stages = ffi.new("lsh_stage[]", n)
        ffi.memmove(stages, self._stages, ffi.sizeof(stages))
        for i in self._hashing:
            stages[i].dense = rows
        sizes = len(queries), workspaces.n_items, seed, step, 0, 0, first_row, 0
        plan, failed = ffi.new("lsh_plan *", (stages, n, *sizes)), ffi.new("int32_t *")
        places = core.pointer("int32_t *", best), core.pointer("float *", scores)
        search = ffi.new("lsh_search *", (rows[0], self._vectors, best.shape[1], *places))
        workspace = workspaces.take(threads)
        try:
            return lib.lsh_sample_search(plan, workspace[1], search, threads, failed), failed[0]
        finally:
            workspaces.give(workspace)


def _wrapped(block: Any, rows: int) -> Drawn:
    """Arrays over the block of memory that a run returned, which is freed with the last of them."""
    total = block.total
    end = _DRAWN_BYTES + 8 * (2 * rows + 1) + 12 * total + 8 * rows
    memory = ffi.buffer(ffi.gc(block, lib.lsh_sample_free, end), end)
    at = _DRAWN_BYTES
    indptr = np.frombuffer(memory, np.int64, rows + 1, at)
    rest = np.frombuffer(memory, np.float64, rows, at := at + 8 * (rows + 1))
    ids = np.frombuffer(memory, np.int32, total, at := at + 8 * rows)
    counts = np.frombuffer(memory, np.int32, total, at := at + 4 * total)
    log_inclusion = np.frombuffer(memory, np.float32, total, at := at + 4 * total)
    zero_probability_stage = np.frombuffer(memory, np.int32, rows, at := at + 4 * total)
    kept = np.frombuffer(memory, np.float32, rows, at + 4 * rows)
    return Drawn(indptr, ids, counts, log_inclusion, zero_probability_stage, kept, rest)
