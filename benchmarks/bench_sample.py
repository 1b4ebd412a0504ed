"""Fused sampling at the size of a wide output layer, for every named pipeline, pooled and per query.

``pytest benchmarks/bench_sample.py --benchmark-only`` runs it; ``--benchmark-save`` and ``pytest-benchmark
compare`` compare two runs. ``extra_info`` has ``ids_ms``, measured in the same run: the gather of as many ids
as the batch collides with, in runs as long as its buckets; ``floor_ms``, the same with the gather of one slot
per id, which every union requires; and ``active``, the ids in the result. For single queries, where the
overhead of Python counts most, it has the number of calls: ``core_calls``, ``python_calls``.
"""

import sys
import time

import numpy as np
import pytest
import scipy.sparse as sp
from sizes import rounds, sized

from lshsample._native import core
from lshsample._native.packed import build_packed
from lshsample._native.reader import NativeReader
from lshsample._native.sample import StageCall, Workspaces, run_plan
from lshsample.registry import make_family
from lshsample.sampling import NAMED_PIPELINES, named_pipeline, parse_pipeline
from lshsample.tables import HashTables

N_ITEMS, N_TABLES, DIM, BATCH, THREADS = sized(670_091, 6_000), 50, 128, sized(256, 16), 2
#: Pooled, as in training; per query, as in SLIDE.
SIZES = {True: 4096, False: 200}
TEXTS = {
    "retrieve": "Retrieve()",
    "cap": "Retrieve() | Cap(3072) | Include() | Uniform(1024)",
    "top": "Retrieve() | Top(3072) | Include() | Uniform(1024)",
}
#: The oracle scores every item, 44 GFLOP a batch; `full` has every item: neither is a step of a training run.
SLOW = {"exact-top", "full"}


@pytest.fixture(scope="module")
def tables():
    rows = np.random.default_rng(0).standard_normal((N_ITEMS, DIM), dtype=np.float32)
    family = make_family("simhash", dim=DIM, n_hashes=15, n_tables=N_TABLES)
    return HashTables(family, threads=THREADS).build(rows)


@pytest.fixture(scope="module")
def codebooks(tables):
    return HashTables(make_family("product-quantization", dim=DIM), threads=THREADS).build(tables.vectors)


@pytest.fixture(params=core.available_isas())
def isa(request):
    with core.forced_isa(request.param):
        yield request.param


def batches():
    rng = np.random.default_rng(1)
    labels = [rng.choice(N_ITEMS, (BATCH, 5)) for _ in range(8)]
    indptr = np.arange(0, 5 * BATCH + 1, 5)
    patterns = [
        sp.csr_array((np.ones(5 * BATCH), np.sort(y).ravel(), indptr), (BATCH, N_ITEMS)) for y in labels
    ]
    return [(rng.standard_normal((BATCH, DIM), dtype=np.float32), pattern) for pattern in patterns]


def gathers(tables, n_candidates):
    """Median seconds to gather ids, one run per query and table; and with a slot of each id."""
    flat, length = tables.state.base.ids.reshape(-1), max(1, n_candidates // (BATCH * N_TABLES))
    slots, times = np.zeros(N_ITEMS, np.uint32), []
    for seed in range(20):
        at = np.random.default_rng(seed).integers(0, flat.size - length, BATCH * N_TABLES)
        places = (at[:, None] + np.arange(length)).ravel()
        begin = time.perf_counter()
        ids = np.take(flat, places)
        between = time.perf_counter()
        np.take(slots, ids)
        times.append((between - begin, time.perf_counter() - begin))
    return np.median(times[4:], axis=0)


def measure(benchmark, tables, pipeline, pool, group):
    benchmark.group = group
    frequencies = np.arange(N_ITEMS, 0, -1)
    sampler = pipeline.bind(tables=tables, frequencies=frequencies)
    given, turn = batches(), iter(range(10**9))

    def sample():
        step = next(turn)
        queries, include = given[step % 8]
        named = include if pipeline.takes_include else None
        return sampler.sample(queries, include=named, step=step, pool=pool, threads=THREADS)

    active = benchmark.pedantic(sample, rounds=rounds(40), warmup_rounds=rounds(8))
    n_candidates = int(tables.query(given[0][0]).counts.sum())
    for name, seconds in zip(("ids_ms", "floor_ms"), gathers(tables, n_candidates), strict=True):
        benchmark.extra_info[name] = 1e3 * seconds
    benchmark.extra_info["candidates"] = n_candidates
    benchmark.extra_info["active"] = len(active.ids)


@pytest.mark.parametrize("pool", [True, False], ids=["pooled", "rows"])
@pytest.mark.parametrize("name", sorted(set(NAMED_PIPELINES) - SLOW))
def test_named(benchmark, tables, codebooks, name, pool):
    measure(
        benchmark,
        codebooks if name == "midx" else tables,
        named_pipeline(name, n_active=SIZES[pool], n_items=N_ITEMS),
        pool,
        f"{BATCH} queries, {'pooled' if pool else 'a set for each'}",
    )


def calls(function):
    """The numbers of calls of functions of the core, and of Python."""
    core_calls = python_calls = 0

    def note(frame, event, argument):
        nonlocal core_calls, python_calls
        python_calls += event == "call"
        core_calls += event == "c_call" and argument.__name__.startswith("lsh_")

    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(None)
    return core_calls, python_calls - 1


@pytest.mark.benchmark(group="one query")
@pytest.mark.parametrize("text", ["Retrieve()", "Retrieve() | Top(50) | Include() | Uniform(150)", None])
def test_single_query(benchmark, tables, text):
    """One query for each sample; ``None`` is :meth:`HashTables.query`."""
    queries, turn = batches()[0][0], iter(range(10**9))
    sampler = None if text is None else parse_pipeline(text).bind(tables=tables)

    def sample():
        step = next(turn)
        query = queries[step % BATCH : step % BATCH + 1]
        if sampler is None:
            return tables.query(query, threads=1)
        return sampler.sample(query, step=step, threads=1)

    benchmark.pedantic(sample, rounds=rounds(400), warmup_rounds=rounds(40))
    found = calls(sample)
    benchmark.extra_info["core_calls"], benchmark.extra_info["python_calls"] = found


@pytest.mark.parametrize("text", TEXTS)
def test_pooled_on_each_instruction_set(benchmark, tables, text, isa):
    measure(benchmark, tables, parse_pipeline(TEXTS[text]), True, f"{text}, pooled, by instruction set")


@pytest.mark.benchmark(group="the same candidates, by number of items")
@pytest.mark.parametrize("n_items", sized([67_000, 670_000, 2_000_000], [6_000]))
def test_cost_does_not_grow_with_the_number_of_items(benchmark, n_items):
    """Uniform codes with 20 ids per bucket at every size: the same work, in more memory."""
    buckets, n_tables = n_items // 20, 20
    bits = max(1, (buckets - 1).bit_length())
    rng = np.random.default_rng(0)
    codes = rng.integers(0, buckets, (n_items, n_tables), dtype=np.uint32)
    packed = build_packed(lambda a, b: codes[a:b], n_items, n_tables, bits, THREADS, "codes")
    queries = [rng.integers(0, buckets, (BATCH, n_tables, 1), dtype=np.uint32) for _ in range(8)]
    places, turn = Workspaces(n_items), iter(range(10**9))

    def sample():
        step = next(turn)
        calls = [
            StageCall(op="RETRIEVE", place=0, reader=NativeReader(packed), codes=queries[step % 8]),
            StageCall(op="TOP", place=1, amount=3072),
            StageCall(op="UNIFORM", place=2, amount=1024),
        ]
        return run_plan(
            calls, BATCH, n_items, seed=0, step=step, pooled=True, threads=THREADS, workspaces=places
        )

    drawn = benchmark.pedantic(sample, rounds=rounds(60), warmup_rounds=10)
    benchmark.extra_info["candidates"] = BATCH * n_tables * 20
    benchmark.extra_info["active"] = len(drawn.ids)
