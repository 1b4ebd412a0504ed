"""The fused sampler against a plain Python oracle that draws the same Philox words."""

from __future__ import annotations

import attrs
import numpy as np
import pytest

from lshsample._native import core
from lshsample._native.core import ffi, lib
from lshsample._native.packed import build_packed
from lshsample._native.reader import NativeReader
from lshsample._native.sample import Drawn, StageCall, Workspaces, alias_table, run_plan
from lshsample.errors import NativeError

CAP, TOP, FILL, UNIFORM, FREQUENCY, TABLES = 1, 2, 3, 4, 5, 6


def word(seed, purpose, stream, step, index):
    out = ffi.new("uint32_t[4]")
    lib.lsh_philox(seed, purpose, stream, step, index, out)
    return out[0] << 32 | out[1]


def smallest(ids, room, seed, purpose, row, step):
    ranked = sorted(ids, key=lambda i: (word(seed, purpose, row, step, i) >> 32, i))
    return sorted(ranked[:room])


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(5)
    codes = rng.integers(0, 8, (400, 6)).astype(np.uint32)
    packed = build_packed(lambda a, b: codes[a:b], 400, 6, 3, 1, "family")
    queries = rng.integers(0, 8, (37, 6, 1)).astype(np.uint32)
    counts = (codes[None] == queries[:, None, :, 0]).sum(axis=2)
    return packed, queries, counts


def run(problem, *calls, seed=11, step=3, pooled=False, threads=1, n_items=400):
    _packed, queries, _ = problem
    return run_plan(
        list(calls), len(queries), n_items, seed=seed, step=step, pooled=pooled, threads=threads,
        workspaces=Workspaces(n_items),
    )  # fmt: skip


def retrieve(problem, amount=0):
    return StageCall(op="RETRIEVE", place=0, reader=NativeReader(problem[0]), codes=problem[1], amount=amount)


def rows(drawn):
    return [drawn.ids[a:b].tolist() for a, b in zip(drawn.indptr, drawn.indptr[1:], strict=False)]


@pytest.mark.parametrize("isa", core.available_isas())
@pytest.mark.parametrize("k", [1, 3, 17, 100, 399])
def test_cap_keeps_the_smallest_priorities(problem, isa, k):
    with core.forced_isa(isa):
        drawn = run(problem, retrieve(problem), StageCall(op="CAP", place=1, amount=k))
    for row, ids in enumerate(rows(drawn)):
        retrieved = np.flatnonzero(problem[2][row]).tolist()
        assert ids == smallest(retrieved, k, 11, CAP, row, 3)


@pytest.mark.parametrize("isa", core.available_isas())
@pytest.mark.parametrize("k", [1, 5, 33, 200])
def test_top_keeps_the_largest_counts_and_draws_ties(problem, isa, k):
    with core.forced_isa(isa):
        drawn = run(problem, retrieve(problem), StageCall(op="TOP", place=1, amount=k))
    for row, ids in enumerate(rows(drawn)):
        counts = problem[2][row]
        retrieved = np.flatnonzero(counts)
        if len(retrieved) <= k:
            assert ids == retrieved.tolist()
            continue
        level = np.sort(counts)[-k]
        above = np.flatnonzero(counts > level).tolist()
        tied = np.flatnonzero(counts == level).tolist()
        assert ids == sorted(above + smallest(tied, k - len(above), 11, TOP, row, 3))


def test_at_least_keeps_the_counts(problem):
    drawn = run(problem, retrieve(problem), StageCall(op="AT_LEAST", place=1, amount=2))
    assert rows(drawn) == [np.flatnonzero(c >= 2).tolist() for c in problem[2]]
    assert drawn.counts.min() >= 2


def floyd(n, n_items, seed, row, step):
    chosen: set[int] = set()
    for i, last in enumerate(range(n_items - n, n_items)):
        at = word(seed, UNIFORM, row, step, i) * (last + 1) >> 64
        chosen.add(last if at in chosen else at)
    return sorted(chosen)


@pytest.mark.parametrize("isa", core.available_isas())
@pytest.mark.parametrize("n", [1, 7, 129, 399, 400])
def test_uniform_draws_distinct_ids(problem, isa, n):
    with core.forced_isa(isa):
        drawn = run(problem, StageCall(op="UNIFORM", place=0, amount=n))
    assert rows(drawn) == [floyd(n, 400, 11, row, 3) for row in range(37)]


@pytest.mark.parametrize("isa", core.available_isas())
def test_frequency_draws_from_the_alias_table(problem, isa):
    frequency = np.arange(400.0)
    table = alias_table(frequency / frequency.sum())
    with core.forced_isa(isa):
        drawn = run(problem, StageCall(op="FREQUENCY", place=0, amount=300, frequencies=table))
    for row, ids in enumerate(rows(drawn)):
        chosen = set()
        for i in range(300):
            point = word(11, FREQUENCY, row, 3, i) * 400
            column, fraction = point >> 64, (point & (2**64 - 1)) * 2.0**-64
            chosen.add(column if fraction < table.accept[column] else int(table.alias[column]))
        assert ids == sorted(chosen)
    assert 0 not in drawn.ids


@pytest.mark.parametrize("frequencies", [[1.0], [0.5, 0.5], [0.0, 1.0], [0.7, 0.1, 0.2], list(range(1, 40))])
def test_the_alias_table_holds_the_distribution(frequencies):
    f = np.array(frequencies) / np.sum(frequencies)
    table = alias_table(f)
    mass = table.accept / len(f)
    np.add.at(mass, table.alias, (1 - table.accept) / len(f))
    np.testing.assert_allclose(mass, f, atol=1e-14)


@pytest.mark.parametrize("k", [5, 150, 250, 400])
def test_fill_reaches_k_from_outside(problem, k):
    drawn = run(
        problem,
        retrieve(problem),
        StageCall(op="CAP", place=1, amount=20),
        StageCall(op="FILL", place=2, amount=k),
    )
    assert set(np.diff(drawn.indptr)) == {max(k, 20)}
    before = run(problem, retrieve(problem), StageCall(op="CAP", place=1, amount=20))
    for kept, filled in zip(rows(before), rows(drawn), strict=True):
        assert set(kept) <= set(filled)
        assert len(set(filled)) == len(filled)


def test_a_budget_visits_tables_in_random_order_until_it_is_met(problem):
    packed, queries, _ = problem
    drawn = run(problem, retrieve(problem, amount=60))
    for row, ids in enumerate(rows(drawn)):
        order = list(range(6))
        for t in range(5, 0, -1):
            other = word(11, TABLES, row, 3, t) * (t + 1) >> 64
            order[t], order[other] = order[other], order[t]
        found: set[int] = set()
        for table in order:
            start, end = packed.directory[table, queries[row, table, 0] :][:2]
            found |= set(packed.ids[table, start:end].tolist())
            if len(found) >= 60:
                break
        assert ids == sorted(found)
        assert len(ids) >= 60


def test_forced_ids_pass_every_filter(problem):
    pattern = (np.arange(38, dtype=np.int64) * 2, np.tile(np.array([7, 399], np.int32), 37))
    drawn = run(
        problem,
        StageCall(op="INCLUDE", place=0, pattern=pattern),
        retrieve(problem),
        StageCall(op="AT_LEAST", place=2, amount=6),
        StageCall(op="TOP", place=3, amount=1),
        StageCall(op="CAP", place=4, amount=1),
    )
    for ids in rows(drawn):
        assert ids == [7, 399]


def test_pooled_counts_add_up_over_the_batch(problem):
    drawn = run(problem, retrieve(problem), pooled=True)
    total = problem[2].sum(axis=0)
    assert drawn.ids.tolist() == np.flatnonzero(total).tolist()
    np.testing.assert_array_equal(drawn.counts, total[total > 0])


PLANS = {
    "cap": ("CAP", 40),
    "top": ("TOP", 40),
    "fill": ("FILL", 320),
    "uniform": ("UNIFORM", 90),
    "at least": ("AT_LEAST", 2),
}


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("plan", PLANS)
def test_bits_do_not_depend_on_threads_or_isa(problem, plan, pooled):
    op, amount = PLANS[plan]
    calls = (
        retrieve(problem),
        StageCall(op=op, place=1, amount=amount),
        StageCall(op="UNIFORM", place=2, amount=9),
    )
    first = run(problem, *calls, pooled=pooled)
    for threads in (2, 3, 8):
        for isa in core.available_isas():
            with core.forced_isa(isa):
                other = run(problem, *calls, pooled=pooled, threads=threads)
            for name in (field.name for field in attrs.fields(Drawn)):
                np.testing.assert_array_equal(getattr(first, name), getattr(other, name))


def test_ids_do_not_depend_on_what_a_workspace_was_used_for(problem):
    _packed, _queries, _ = problem
    places = Workspaces(400)
    calls = [retrieve(problem), StageCall(op="CAP", place=1, amount=30)]
    first = run_plan(calls, 37, 400, seed=1, step=1, pooled=False, threads=1, workspaces=places)
    run_plan(
        [StageCall(op="FULL", place=0)], 37, 400, seed=1, step=1, pooled=True, threads=1, workspaces=places
    )
    again = run_plan(calls, 37, 400, seed=1, step=1, pooled=False, threads=1, workspaces=places)
    np.testing.assert_array_equal(first.ids, again.ids)


def test_second_stages_of_a_kind_draw_anew(problem):
    one = StageCall(op="UNIFORM", place=0, amount=20)
    two = StageCall(op="UNIFORM", place=1, ordinal=1, amount=20)
    assert np.diff(run(problem, one, two).indptr).mean() > 35


def joined(counts):
    """A stage that joins the non-zero counts (queries, items)."""
    row, ids = counts.nonzero()
    indptr = np.searchsorted(row, np.arange(len(counts) + 1)).astype(np.int64)
    given = np.ascontiguousarray(counts[row, ids], np.int32)
    return StageCall(op="JOIN", place=0, pattern=(indptr, ids.astype(np.int32)), counts=given)


@pytest.mark.parametrize("pooled", [False, True])
def test_joined_candidates_are_as_retrieved_ones(problem, pooled):
    after = StageCall(op="TOP", place=1, amount=20), StageCall(op="UNIFORM", place=2, amount=4)
    one = run(problem, retrieve(problem), *after, retrieve(problem), pooled=pooled, threads=2)
    other = run(problem, joined(problem[2]), *after, joined(problem[2]), pooled=pooled)
    for name in (field.name for field in attrs.fields(Drawn)):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_joined_candidates_that_are_none_are_refused(problem):
    fine = joined(problem[2])
    for fault, place in (("ids", 400), ("ids", -1), ("counts", 0), ("counts", -5)):
        ids, counts = fine.pattern[1].copy(), fine.counts.copy()
        (ids if fault == "ids" else counts)[7] = place
        call = StageCall(op="JOIN", place=0, pattern=(fine.pattern[0], ids), counts=counts)
        with pytest.raises(NativeError, match="range"):
            run(problem, call)
    with pytest.raises(NativeError, match="argument"):
        run(problem, StageCall(op="JOIN", place=0))
    assert len(run(problem, fine).ids) == np.count_nonzero(problem[2])
