"""A sampler over changing vectors: strategies, saving and restoring, copies, and invalid arguments."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import time
import weakref

import attrs
import numpy as np
import pytest
import scipy.sparse as sp

from lshsample import Rehash, make_family, specs
from lshsample.errors import ArgumentError, CheckpointError, UnsupportedError
from lshsample.sampling import (
    STRATEGIES,
    Background,
    Cap,
    Drift,
    MaintainedSampler,
    Maintenance,
    Rebuild,
    Retrieve,
    Strategy,
    Uniform,
    strategies,
)
from lshsample.sampling.functions import FunctionSequence, default_code_bits, stream_seed
from lshsample.sampling.strategies import BackgroundBuild
from lshsample.tables import HashTables

N, DIM = 200, 10
STEP = Rehash(first=1, growth=0.0)


def sampler_of(rehash=STEP, **options):
    shape = {"n_hashes": 4, "n_tables": 6, "pipeline": "Retrieve()", "seed": (0, 1), **options}
    return MaintainedSampler(DIM, N, rehash=rehash, **shape)


def each_step(strategy):
    return Rehash(first=1, growth=0.0, strategy=strategy)


def vectors_of(seed=0, n=N, dim=DIM):
    return np.random.default_rng(seed).standard_normal((n, dim), dtype=np.float32)


def touch(sampler, vectors):
    """Sample as a training step does; returns the touched ids."""
    ids = np.unique(sampler.sample(vectors[:5]).ids)
    sampler.touched(ids)
    return ids


def sets_of(tables, rows):
    found = tables.query(rows)
    return found.ids.tolist(), found.counts.tolist()


# --- strategies


def test_each_build_has_its_own_functions_named_by_seed_and_build():
    sampler, vectors = sampler_of(), vectors_of()
    for step in range(3):
        sampler.refresh(vectors, step)
        family = make_family("simhash", dim=DIM, n_hashes=4, n_tables=6, seed=stream_seed(0, 1, step))
        assert sampler.tables.family == family
        assert sampler.n_builds == step + 1
    same = sampler_of(Rehash(1, 0.0, new_functions=False))
    for step in range(3):
        same.refresh(vectors, step)
        assert same.tables.family.seed == stream_seed(0, 1, 0)


def test_a_step_that_is_not_due_changes_nothing():
    sampler, vectors = sampler_of(Rehash(first=5, growth=0.0)), vectors_of()
    sampler.refresh(vectors, 0)
    tables = sampler.tables
    for step in (1, 4, 4, 0):
        sampler.refresh(vectors, step)
        assert sampler.tables is tables
    sampler.refresh(vectors, 23)  # three builds were left out: the functions are those of the last
    assert sampler.n_builds == 5
    assert sampler.tables.family.seed == stream_seed(0, 1, 4)


def test_off_never_builds_again():
    sampler, vectors = sampler_of(Rehash(first=0)), vectors_of()
    sampler.refresh(vectors, 0)
    tables = sampler.tables
    sampler.refresh(vectors, 10**6)
    assert sampler.tables is tables


def test_a_rebuild_drops_the_old_tables_first(monkeypatch):
    """Memory must not hold both sets of tables: the bound sampler is released too."""
    sampler, vectors = sampler_of(), vectors_of()
    sampler.refresh(vectors, 0)
    sampler.sample(vectors[:3])
    old, built = weakref.ref(sampler.tables), Maintenance.built
    alive = []

    def spy(self, *arguments):
        alive.append(old() is not None)
        return built(self, *arguments)

    monkeypatch.setattr(Maintenance, "built", spy)
    sampler.refresh(vectors, 1)
    assert alive == [False]


def test_a_rebuild_that_failed_is_tried_again():
    sampler, vectors = sampler_of(), vectors_of()
    sampler.refresh(vectors, 0)
    vectors[3] = np.nan
    with pytest.raises(ArgumentError, match="vectors"):
        sampler.refresh(vectors, 1)
    assert sampler.state() is None
    vectors[3] = 1
    sampler.refresh(vectors, 1)
    assert sampler.n_builds == 2


def test_drift_moves_only_what_was_touched_and_changed():
    sampler, vectors = sampler_of(each_step(Drift(0.01))), vectors_of()
    sampler.refresh(vectors, 0)
    tables, family = sampler.tables, sampler.tables.family
    moved = touch(sampler, vectors)
    assert 0 < len(moved) < N
    vectors[moved] = vectors_of(1)[moved]
    sampler.refresh(vectors, 1)
    assert sampler.tables is tables
    assert tables.family == family
    assert sampler.maintenance.last_drift > 0.2
    assert sets_of(tables, vectors) == sets_of(HashTables(family).build(vectors), vectors)
    assert 0 < tables.state.n_changes <= 2 * 6 * len(moved)


def test_drift_sees_no_vector_that_moved_unnamed():
    sampler, vectors = sampler_of(each_step(Drift(0.0))), vectors_of()
    sampler.refresh(vectors, 0)
    vectors[[3, 5]] *= -1
    sampler.touched(np.array([5]))
    sampler.refresh(vectors, 1)
    assert sampler.tables.changed([3, 5], vectors[[3, 5]]).all(axis=1).tolist() == [True, False]
    sampler.touched()  # all of them
    sampler.refresh(vectors, 2)
    assert not sampler.tables.changed(np.arange(N), vectors).any()


def test_drift_below_the_threshold_changes_nothing_and_is_remembered():
    sampler, vectors = sampler_of(each_step(Drift(0.5))), vectors_of()
    sampler.refresh(vectors, 0)
    moved = touch(sampler, vectors)
    vectors[moved[0]] = -vectors[moved[0]]
    sampler.refresh(vectors, 1)
    assert 0 < sampler.maintenance.last_drift < 0.5
    assert sampler.tables.state.n_changes == 0
    vectors[moved] = -vectors[moved]
    sampler.refresh(vectors, 2)  # what was touched before is still known
    assert sampler.maintenance.last_drift > 0.5
    assert not sampler.tables.changed(moved, vectors[moved]).any()


def test_drift_looks_at_nothing_where_nothing_was_touched():
    sampler, vectors = sampler_of(each_step("drift")), vectors_of()
    for step in range(3):
        sampler.refresh(vectors, step)
    assert sampler.maintenance.last_drift == 0
    assert sampler.state()["builds"] == 3


def test_families_that_fit_their_rows_are_built_anew():
    sampler, vectors = sampler_of(each_step("drift"), family="simple-lsh"), vectors_of()
    sampler.refresh(vectors, 0)
    moved = touch(sampler, vectors)
    vectors[moved] *= 100
    sampler.refresh(vectors, 1)
    assert not sampler.tables.changed(np.arange(N), vectors).any()


def wait_for(sampler, vectors, step):
    before = sampler.tables
    for _ in range(60_000):
        sampler.refresh(vectors, step)
        if sampler.tables is not before:
            return
        time.sleep(0.005)
    raise AssertionError("the tables were never done")


def test_the_background_builds_from_the_vectors_as_they_were():
    sampler, vectors = sampler_of(each_step("background")), vectors_of()
    assert sampler.is_asynchronous
    sampler.refresh(vectors, 0)
    first, snapshot = sampler.tables, vectors.copy()
    sampler.refresh(vectors, 1)
    assert sampler.tables is first  # sampling goes on with the old ones
    vectors[:] = 0
    wait_for(sampler, vectors, 1)
    expected = HashTables(sampler.maintenance.family(2)).build(snapshot)
    assert sets_of(sampler.tables, snapshot) == sets_of(expected, snapshot)
    assert sampler.tables.family != first.family
    assert sampler.state() == {"builds": 2, "asynchronous": True}
    sampler.refresh(vectors, 2)
    copy.deepcopy(sampler).refresh(vectors, 2)  # a copy has no thread, and begins its own
    sampler.forget()
    assert sampler.state() is None


def test_settling_waits_for_the_background():
    sampler, vectors = sampler_of(each_step("background")), vectors_of()
    sampler.settle()
    sampler.refresh(vectors, 0)
    sampler.refresh(vectors, 1)
    sampler.settle()
    assert sampler.n_builds == 2
    assert sampler.bound().tables is sampler.tables


def test_an_error_in_the_background_is_raised_when_the_tables_are_needed():
    sampler, vectors = sampler_of(each_step("background")), vectors_of()
    sampler.refresh(vectors, 0)
    vectors[3] = np.nan
    sampler.refresh(vectors, 1)
    with pytest.raises(ValueError, match="vectors"):
        wait_for(sampler, vectors, 1)
    vectors[3] = 1
    wait_for(sampler, vectors, 1)


def test_a_process_may_end_while_tables_are_built():
    code = """
import numpy as np
from lshsample import make_family
from lshsample.sampling.strategies import BackgroundBuild
rows = np.random.default_rng(0).standard_normal((40_000, 64), dtype=np.float32)
BackgroundBuild(make_family("simhash", dim=64, n_hashes=10, n_tables=30), rows, 1)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


def test_a_forked_child_begins_its_own_build():
    """The thread of a build does not exist in the child process."""
    code = """
import os, threading
import numpy as np
from lshsample.sampling import MaintainedSampler, Rehash
from lshsample.sampling.strategies import BackgroundBuild
go, build = threading.Event(), BackgroundBuild._build
def slow(self, *arguments):
    go.wait()
    build(self, *arguments)
BackgroundBuild._build = slow
rows = np.random.default_rng(0).standard_normal((300, 8), dtype=np.float32)
rehash = Rehash(1, 0.0, strategy="background")
sampler = MaintainedSampler(8, 300, pipeline="Retrieve()", rehash=rehash)
sampler.refresh(rows, 0)
sampler.refresh(rows, 1)
child = os.fork()
go.set()
if child == 0:
    sampler.refresh(rows, 1)
sampler.settle()
ok = sampler.n_builds == 2
if child == 0:
    os._exit(0 if ok else 1)
assert ok and os.waitpid(child, 0)[1] == 0
"""
    subprocess.run([sys.executable, "-W", "ignore::DeprecationWarning", "-c", code], check=True, timeout=300)


def test_the_memory_of_a_strategy_is_counted():
    plain, sliced, drift, background = (
        sampler_of(Rehash(strategy=name)).memory_needed(1)
        for name in ("rebuild", "sliced", "drift", "background")
    )
    tables = HashTables.memory_needed(sampler_of().first_functions(), N).tables
    assert plain - sampler_of(Rehash(0)).memory_needed(1) == tables  # the old ones, while new ones are built
    assert sliced - plain == 4 * 4096 * 6
    assert drift - plain == N * (4 * 6 + 1)
    assert background - plain == 4 * N * DIM
    assert sampler_of(pipeline="Uniform(5)").memory_needed(1) == 0


# --- a matrix that drifts, 10^5 rows

ROWS, COLUMNS, STEPS = 100_000, 16, 9
SCHEDULES = {
    "rebuild": Rehash(2, 0.0),
    "same functions": Rehash(2, 0.0, new_functions=False),
    "drift": Rehash(2, 0.0, strategy=Drift(0.0)),
    "background": Rehash(2, 0.0, strategy=Background()),
}


def large(name, **options):
    return MaintainedSampler(
        COLUMNS, ROWS, n_hashes=12, n_tables=8, pipeline="Retrieve() | Cap(500) | Uniform(100)",
        rehash=SCHEDULES[name], seed=7, **options,
    )  # fmt: skip


def drift_on(sampler, vectors, steps, threads=1):
    """Steps that sample and then change the sampled vectors and their neighbours; returns the samples."""
    drawn = []
    for step in steps:
        sampler.refresh(vectors, step, threads)
        sampler.settle()
        rng = np.random.default_rng(step)
        queries = vectors[rng.integers(0, ROWS, 16)]
        active = sampler.sample(queries, seed=3, step=step, pool=True, threads=threads)
        moved = np.union1d(active.ids, rng.integers(0, ROWS, 3000))
        vectors[moved] += rng.standard_normal((len(moved), COLUMNS), dtype=np.float32)
        sampler.touched(moved)
        drawn.append((active.ids.tobytes(), active.counts.tobytes(), active.log_inclusion.tobytes()))
    return drawn


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_matrix_that_drifts(name, tmp_path):
    """The same draws with 1 and 2 threads and after a restore; the final tables equal new ones."""
    vectors = vectors_of(0, ROWS, COLUMNS)
    sampler = large(name)
    drawn = drift_on(sampler, vectors, range(STEPS))

    again = vectors_of(0, ROWS, COLUMNS)
    first = large(name)
    half = drift_on(first, again, range(5), threads=2)
    state = first.state()
    first.save_tables(tmp_path / "tables.lsh")
    second = large(name)
    second.restore(state, tmp_path / "tables.lsh", again)
    assert half + drift_on(second, again, range(5, STEPS), threads=2) == drawn

    # The last step was 8, at which a build was due; what moved since is named again.
    fresh = large(name)
    for other in (sampler, second, fresh):
        other.touched()
        other.refresh(vectors, STEPS + 1)
        other.settle()
    rows = vectors[:: ROWS // 300]
    expected = sets_of(fresh.tables, rows)
    assert fresh.tables.family == sampler.tables.family
    assert sets_of(sampler.tables, rows) == expected
    assert sets_of(second.tables, rows) == expected
    assert sampler.n_builds == fresh.n_builds == 6


def test_stale_tables_give_unbiased_sums():
    """Conditional on the tables, inclusion probabilities are exact whatever the current vectors are."""
    vectors = vectors_of()
    sampler = sampler_of(pipeline="Retrieve() | Cap(20) | Uniform(15)", rehash=0)
    sampler.refresh(vectors, 0)
    vectors[:] = vectors_of(1)
    values = np.abs(vectors[:, 0])
    estimates = []
    for step in range(2000):
        active = sampler.sample(vectors[:1], step=step)
        estimates.append((values[active.ids] / np.exp(active.log_inclusion)).sum(dtype=np.float64))
    error = np.std(estimates) / np.sqrt(len(estimates))
    assert abs(np.mean(estimates) - values.sum()) < 4 * error


# --- the vectors


def test_views_with_strides_are_taken_and_seen_as_they_change():
    store = np.zeros((N, 3, DIM), np.float32)
    store[:, 0] = vectors_of()
    strided, dense = sampler_of(pipeline="ExactTop(3)"), sampler_of(pipeline="ExactTop(3)")
    for step in range(2):
        strided.refresh(store[:, 0], step)
        dense.refresh(store[:, 0].copy(), step)
        bound = strided.bound()
        assert strided.sample(store[:4, 0]).ids.tolist() == dense.sample(store[:4, 0]).ids.tolist()
        store[:, 0] = vectors_of(step + 1)
        strided.refresh(store[:, 0], step)
        assert strided.bound() is bound  # a new view of the same memory binds nothing anew
    moved = store[:, 0].copy()
    strided.refresh(moved, 2)
    assert strided.bound().vectors is moved


def test_tables_over_strided_and_sparse_rows_are_the_same():
    store = np.zeros((N, 2, DIM), np.float32)
    store[:, 0] = np.where(vectors_of() > 0.5, vectors_of(), 0)
    rows = store[:, 0].copy()
    found = []
    for vectors in (rows, store[:, 0], sp.csr_array(rows)):
        sampler = sampler_of(each_step(Drift(0.0)))
        sampler.refresh(vectors, 0)
        sampler.touched(np.arange(0, N, 2))
        sampler.refresh(-vectors, 1)
        found.append(sets_of(sampler.tables, rows))
    assert found[0] == found[1] == found[2]


def test_pipelines_without_tables_sample_at_once():
    sampler = sampler_of(pipeline=Uniform(7))
    assert not sampler.has_tables
    assert len(sampler.sample(n_queries=1).ids) == 7
    assert sampler.expected_size == 7
    assert sampler.state() is None
    with pytest.raises(UnsupportedError, match="does not retrieve from tables"):
        sampler.tables  # noqa: B018
    with pytest.raises(UnsupportedError, match="does not retrieve from tables"):
        sampler.candidates(vectors_of()[:2], vectors_of())


def test_frequencies():
    often = np.zeros(N)
    often[[4, 9]] = 1
    sampler = sampler_of(pipeline="Frequency(50)", frequencies=often)
    assert sampler.sample(n_queries=1).ids.tolist() == [4, 9]
    sampler.use_frequencies(often[::-1])
    assert sampler.sample(n_queries=1).ids.tolist() == [N - 10, N - 5]


def test_search_and_candidates():
    sampler, vectors = sampler_of(Rehash(0)), vectors_of()
    sampler.refresh(vectors, 0)
    ids, scores = sampler.search(vectors[:5], top=1)
    assert scores.ravel().tolist() == pytest.approx((vectors[ids.ravel()] * vectors[:5]).sum(axis=1).tolist())
    old = vectors.copy()
    vectors[:] = vectors_of(1)
    now = sampler.candidates(vectors, vectors)
    assert now.ids.tolist() == HashTables(sampler.tables.family).build(vectors).query(vectors).ids.tolist()
    assert sets_of(sampler.tables, old) == sets_of(HashTables(sampler.tables.family).build(old), old)
    vectors[:] = old
    assert sampler.candidates(old, vectors).ids.tolist() != sampler.tables.query(old).ids.tolist()
    sampler.refresh(vectors, 1)  # the tables for serving are built again after it
    assert sampler.candidates(old, vectors).ids.tolist() == sampler.tables.query(old).ids.tolist()


# --- families and functions


def test_a_family_object_has_its_own_functions_first():
    family = make_family("cross-polytope", dim=DIM, n_hashes=1, dimension=8, n_tables=4, seed=11)
    sampler, vectors = sampler_of(family=family, n_hashes=None, n_tables=None), vectors_of()
    sampler.refresh(vectors, 0)
    assert sampler.tables.family == family
    sampler.refresh(vectors, 1)
    assert sampler.tables.family == family.with_seed(stream_seed(0, 1, 1))


@pytest.mark.parametrize("name", ["lsh", "uniform", "slide-topk"])
def test_a_budget_that_covers_all_items_is_told(name):
    match = rf"sampler '{name}' with n_active=\d+ for 300 items samples nothing.*as with 'full'.*below 300"
    for n_active in (None, 300):
        with pytest.warns(UserWarning, match=match):
            sampler = MaintainedSampler(DIM, 300, pipeline=name, n_active=n_active)
        assert str(sampler.pipeline) == "Full()"
    assert MaintainedSampler(DIM, 300, pipeline=name, n_active=299).pipeline != sampler.pipeline
    assert MaintainedSampler(DIM, 300, pipeline="full").pipeline == sampler.pipeline  # without a warning


def test_names_with_options():
    in_text = sampler_of(family="simhash:projection=gaussian,n_tables=3", n_tables=None)
    data = sampler_of(family={"family": "simhash", "projection": "gaussian", "n_tables": 3}, n_tables=None)
    for sampler in (in_text, data):
        sampler.refresh(vectors_of(), 0)
    assert in_text.tables.family == data.tables.family
    assert in_text.tables.family.spec.projection == "gaussian"
    default = MaintainedSampler(DIM, 4096, pipeline="Retrieve()").maintenance.family(1)
    assert (default.n_tables, default.code_bits) == (16, default_code_bits(4096)) == (16, 9)


def test_functions_that_no_seed_draws_need_a_schedule_that_keeps_them(monkeypatch):
    family = make_family("simhash", dim=DIM, n_hashes=4, n_tables=2)

    def refuse(self, seed):
        raise UnsupportedError("no seed draws these functions")

    monkeypatch.setattr(type(family), "with_seed", refuse)
    with pytest.raises(UnsupportedError, match="no seed"):
        sampler_of(family=family, n_hashes=None, n_tables=None)
    for rehash in (0, Rehash(new_functions=False), Rehash(strategy="drift")):
        sampler_of(rehash, family=family, n_hashes=None, n_tables=None)


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"family": "nothing"}, "family"),
        ({"family": 3}, "family"),
        ({"family": make_family("simhash", dim=DIM + 1)}, "family"),
        ({"family": make_family("simhash", dim=DIM)}, "n_hashes"),
        ({"family": "simhash:n_tables=3"}, "n_tables"),
        ({"family": "simhash:seed=3"}, "family"),
        ({"n_hashes": 0}, "n_hashes"),
        ({"pipeline": 3}, "pipeline"),
        ({"pipeline": Retrieve() | Uniform(N + 1)}, f"Uniform({N + 1})"),
        ({"pipeline": Retrieve() | Cap(5), "n_active": 7}, "n_active"),
        ({"seed": ()}, "seed"),
        ({"seed": -1}, "seed"),
        ({"rehash": "often"}, "rehash"),
    ],
)
def test_bad_options_are_refused_at_once(options, argument):
    with pytest.raises(ArgumentError) as error:
        sampler_of(**options)
    assert error.value.argument == argument


def test_bad_input_is_refused():
    vectors = vectors_of()
    sampler = sampler_of(each_step("drift"))
    with pytest.raises(ArgumentError, match="refresh"):
        sampler.sample(vectors[:2])
    for wrong in (vectors[1:], vectors.T, None, vectors.tolist()):
        with pytest.raises(ArgumentError, match="vectors"):
            sampler.refresh(wrong, 0)
    for step in (-1, 1.5, "1"):
        with pytest.raises(ArgumentError, match="step"):
            sampler.refresh(vectors, step)
    sampler.refresh(vectors, np.int64(0))
    for ids in ([N], [-1], [0.5], np.ones(N, bool)):
        with pytest.raises(ArgumentError, match="ids"):
            sampler.touched(np.array(ids))
    with pytest.raises(ArgumentError, match="vectors"):
        sampler.candidates(vectors[:2], vectors[1:])


# --- copies and files


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_pickled_copy_goes_on_as_the_original(name):
    sampler, vectors = sampler_of(each_step(name)), vectors_of()
    sampler.refresh(vectors, 0)
    moved = touch(sampler, vectors)
    copied = pickle.loads(pickle.dumps(sampler))
    vectors[moved] = vectors_of(1)[moved]
    for other in (sampler, copied):
        other.refresh(vectors, 1)
        other.settle()
    assert sets_of(copied.tables, vectors) == sets_of(sampler.tables, vectors)
    assert copied.sample(vectors).ids.tolist() == sampler.sample(vectors).ids.tolist()


def test_what_was_saved_for_another_sampler_is_refused(tmp_path):
    sampler, path = sampler_of(each_step("drift")), tmp_path / "tables.lsh"
    sampler.refresh(vectors_of(), 0)
    state = sampler.state()
    sampler.save_tables(path)
    other = MaintainedSampler(DIM, N + 1, n_hashes=4, n_tables=6, pipeline="Retrieve()")
    with pytest.raises(CheckpointError, match=rf"tables are \({N}, "):
        other.restore(state, path)
    for wrong in ({}, {**state, "builds": 0}, {**state, "builds": "1"}):
        with pytest.raises(CheckpointError, match="builds"):
            sampler.restore(wrong, path)
    for wrong in ({"builds": 1}, {**state, "touched": "?"}, {**state, "touched": "AAAA"}):
        with pytest.raises(CheckpointError, match=f"{N} vectors"):
            sampler_of(each_step("drift")).restore(wrong, path)
    assert state["asynchronous"] is False


# --- schedules and strategies as values


def test_schedules_round_trip_through_plain_data():
    for rehash in (Rehash(), Rehash(3, 0.5, False), Rehash(7, 0.0, strategy=Drift(0.2, 9)),
                   Rehash(strategy=Background())):  # fmt: skip
        assert specs.from_json(Rehash, specs.to_json(rehash)) == rehash
        assert specs.from_toml(Rehash, specs.to_toml(rehash)) == rehash
        assert Rehash.of(rehash.to_dict()) == rehash
    flat = {
        "first": 7,
        "growth": 0.0,
        "new_functions": True,
        "strategy": "drift",
        "threshold": 0.2,
        "sketch": 9,
    }
    assert Rehash(7, 0.0, strategy=Drift(0.2, 9)).to_dict() == flat


def test_the_first_format_is_read():
    """It has the options of drift with every strategy."""
    old = {
        "first": 50,
        "growth": 0.1,
        "new_functions": True,
        "strategy": "rebuild",
        "threshold": 0.01,
        "sketch": 256,
    }
    assert Rehash.of(old) == Rehash()
    assert Rehash.of({**old, "strategy": "drift"}) == Rehash(strategy=Drift())
    assert Rehash.of({"first": 50, "growth": 0.1, "new_functions": True}) == Rehash()


@pytest.mark.parametrize(
    ("data", "argument"),
    [
        ({"every": 3}, "Rehash.every"),
        ({"strategy": "sometimes"}, "strategy"),
        ({"strategy": "drift", "threshold": 2}, "threshold"),
        ({"strategy": ["drift"]}, "strategy"),
        ({"first": -1}, "first"),
    ],
)
def test_bad_plain_data_is_refused(data, argument):
    with pytest.raises(ArgumentError) as error:
        Rehash.of(data)
    assert error.value.argument == argument


class CountingMaintenance(Maintenance):
    """Rebuilds when enough ids were touched since the last build."""

    def __init__(self, functions, n_vectors, share):
        super().__init__(functions, n_vectors)
        self.share, self.seen = share, np.zeros(n_vectors, bool)

    def touched(self, ids):
        self.seen[ids] = True

    def advance(self, vectors, due, threads):
        if self.seen.mean() >= self.share:
            self.rebuild(vectors, due, threads)
            self.seen[:] = False


@attrs.frozen
class Counting(Strategy):
    share: float = 0.5

    def start(self, functions, n_vectors):
        return CountingMaintenance(functions, n_vectors, self.share)


def test_a_custom_strategy(monkeypatch):
    rehash = Rehash(1, 0.0, strategy=Counting(0.3))
    sampler, vectors = sampler_of(rehash), vectors_of()
    sampler.refresh(vectors, 0)
    first = sampler.tables
    sampler.touched(np.arange(50))
    sampler.refresh(vectors, 1)
    assert sampler.tables is first
    sampler.touched(np.arange(100))
    sampler.refresh(vectors, 2)
    assert sampler.tables.family.seed == stream_seed(0, 1, 2)
    with pytest.raises(ArgumentError, match="to be saved"):
        rehash.to_dict()
    monkeypatch.setitem(strategies.STRATEGIES, "counting", Counting)
    assert Rehash.of(rehash.to_dict()) == rehash


def test_strategies_say_what_they_are():
    assert [name for name, kind in STRATEGIES.items() if kind.is_asynchronous] == ["background"]
    assert [name for name, kind in STRATEGIES.items() if kind.keeps_functions] == ["drift"]
    assert Rebuild() == Rehash().strategy
    assert not sampler_of(each_step("background"), pipeline="Uniform(3)").is_asynchronous


def test_functions_are_those_of_key_and_build():
    one, other = (FunctionSequence("simhash", dim=4, n_items=100, key=key) for key in ((1, 2), (1, 3)))
    assert one.family(5) == FunctionSequence("simhash", dim=4, n_items=100, key=(1, 2)).family(5)
    assert len({sequence.family(build).seed for sequence in (one, other) for build in range(4)}) == 8


def test_a_build_copies_the_vectors_before_it_returns():
    vectors = vectors_of()
    family = make_family("simhash", dim=DIM, n_hashes=4, n_tables=6)
    expected = sets_of(HashTables(family).build(vectors), vectors_of())
    build = BackgroundBuild(family, vectors, 1)
    vectors[:] = 0
    assert build.is_done(None)
    assert sets_of(build.result(), vectors_of()) == expected


def test_networks_are_not_imported():
    code = "import sys, lshsample.sampling.maintained; assert 'lshsample.nn' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
