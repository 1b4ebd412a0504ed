"""Search with a sampler: the items of largest inner product in the sampled set."""

import functools
import gc
import itertools
import json
import pickle
import re
import subprocess
import sys
import weakref

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample._native import core
from lshsample._native.sample import PreparedSearch
from lshsample._native.topk import csr_top_k
from lshsample.errors import ArgumentError
from lshsample.registry import make_family
from lshsample.sampling import AtLeast, Cap, ExactTop, Full, Retrieve, Uniform, run, search
from lshsample.tables import HashTables

ITEMS = np.random.default_rng(0).standard_normal((300, 16), dtype=np.float32)
QUERIES = np.random.default_rng(1).standard_normal((9, 16), dtype=np.float32)


def tables(items=ITEMS):
    return HashTables(make_family("simhash", dim=16, n_hashes=4, n_tables=6)).build(items)


def thinned(rows):
    """Rows with about a third of the entries, as CSR."""
    return sp.csr_array(np.where(np.abs(rows) > 1, rows, 0))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_search_over_all_items_is_exact(threads):
    products = QUERIES.astype(np.float64) @ ITEMS.T
    ids, scores = Full().bind(n_items=300, vectors=ITEMS).search(QUERIES, top=7, threads=threads)
    assert (ids == np.argsort(-products, axis=1)[:, :7]).all()
    np.testing.assert_allclose(scores, np.take_along_axis(products, ids, 1), rtol=1e-5)
    assert ids.dtype == np.int32
    assert scores.dtype == np.float32


@pytest.mark.parametrize("pipeline", [Retrieve(), Retrieve(probes=5) | AtLeast(2), Retrieve() | Uniform(5)])
def test_search_ranks_the_sampled_set(pipeline):
    """Results are padded with -1 and -inf; by default the vectors of the tables are used."""
    sampler = pipeline.bind(tables=tables())
    active = sampler.sample(QUERIES, seed=3, step=4)
    ids, scores = sampler.search(QUERIES, top=300, seed=3, step=4)
    for row, (found, values) in enumerate(zip(ids, scores, strict=True)):
        own = active.ids[active.indptr[row] : active.indptr[row + 1]]
        order = np.argsort(-(ITEMS[own].astype(np.float64) @ QUERIES[row]), kind="stable")
        assert (found[: len(own)] == own[order]).all()
        assert (found[len(own) :] == -1).all()
        assert (values[len(own) :] == -np.inf).all()


FORMS = {
    "csr": sp.csr_array,
    "csc": sp.csc_matrix,
    "coo": sp.coo_array,
    "csr64": lambda x: _with_indices(x, np.int64),
    "csr32": lambda x: _with_indices(x, np.int32),
    "float64": lambda x: sp.csr_array(x).astype(np.float64),
    "unsorted": lambda x: _unsorted(x),
    "dense": lambda x: x.toarray(),
}


def _with_indices(rows, dtype):
    out = sp.csr_array(rows)
    out.indptr, out.indices = out.indptr.astype(dtype), out.indices.astype(dtype)
    return out


def _unsorted(rows):
    out = sp.csr_array(rows).copy()
    for begin, end in itertools.pairwise(out.indptr):
        out.indices[begin:end] = out.indices[begin:end][::-1].copy()
        out.data[begin:end] = out.data[begin:end][::-1].copy()
    out.has_sorted_indices = False
    return out


@pytest.mark.parametrize("of_queries", FORMS)
@pytest.mark.parametrize("of_items", FORMS)
def test_search_over_sparse_vectors(of_items, of_queries, monkeypatch):
    items, queries = thinned(ITEMS), thinned(QUERIES)
    products = queries.toarray().astype(np.float64) @ items.toarray().T
    monkeypatch.setattr(search, "_DENSE", 50)
    sampler = Full().bind(n_items=300, vectors=FORMS[of_items](items))
    ids, scores = sampler.search(FORMS[of_queries](queries), top=300)
    order = np.argsort(-np.float32(products), axis=1, kind="stable")
    if (
        of_items != "dense"
    ):  # each sum in float64, rounded once: equal products are equal, ties to the smaller id
        assert (ids == order).all()
        assert (scores == np.take_along_axis(np.float32(products), order, 1)).all()
    np.testing.assert_allclose(scores, np.take_along_axis(products, ids, 1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("minhash", {"n_hashes": 1}),
        ("simhash", {"n_hashes": 5}),
        ("e2lsh", {"n_hashes": 2}),
        ("icws", {"n_hashes": 1}),
    ],
)
def test_search_with_families_of_sparse_rows(name, options):
    items, queries = abs(thinned(ITEMS)), abs(thinned(QUERIES))
    index = HashTables(make_family(name, dim=16, n_tables=5, **options)).build(items)
    found = index.query(queries)
    products = queries.toarray().astype(np.float64) @ items.toarray().T
    for threads in (1, 3):
        ids, scores = Retrieve().bind(tables=index).search(queries, top=9, threads=threads)
        for row in range(9):
            own = found.row(row)
            best = own[np.argsort(-np.float32(products[row, own]), kind="stable")][:9]
            assert ids[row].tolist() == best.tolist() + [-1] * (9 - len(best))
            assert (scores[row, : len(best)] == np.float32(products[row, best])).all()


def test_empty_sparse_rows_have_products_of_zero():
    items = sp.csr_array(([3.0], ([2], [2**31 - 2])), shape=(4, 2**31 - 1), dtype=np.float32)
    queries = sp.csr_array(items[[0, 2]])
    ids, scores = Full().bind(n_items=4, vectors=items).search(queries)
    assert ids.tolist() == [[0, 1, 2, 3], [2, 0, 1, 3]]
    assert scores.tolist() == [[0, 0, 0, 0], [9, 0, 0, 0]]


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize(
    "pipeline",
    [
        Retrieve(),
        Retrieve(probes=3) | Cap(7) | Uniform(9),
        Retrieve(budget=20) | Uniform(3),
        Full(),
        Retrieve() | ExactTop(5),
    ],
)
def test_results_do_not_depend_on_blocks(pipeline, sparse, monkeypatch):
    """Every cut of the batch into parts gives the same bits, also of the random draws."""
    queries = np.random.default_rng(2).standard_normal((83, 16), dtype=np.float32)
    items, queries = (thinned(ITEMS), thinned(queries)) if sparse else (ITEMS, queries)
    sampler = pipeline.bind(tables=tables(items))
    whole = sampler.search(queries, 20, seed=5, step=6)
    calls, in_core = [], not sparse and "ExactTop" not in str(pipeline)
    if in_core:  # sets are not kept, but codes of a part are
        counted = PreparedSearch.run
        monkeypatch.setattr(
            PreparedSearch, "run", lambda *a, **o: calls.append(len(a[1])) or counted(*a, **o)
        )
        monkeypatch.setattr(search, "PART_QUERIES", 7)
    else:
        counted = run.run_part
        monkeypatch.setattr(run, "run_part", lambda *a, **o: calls.append(o["max_ids"]) or counted(*a, **o))
        monkeypatch.setattr(search, "_ID_BYTES", 2**13)  # 128 ids in the least block
    for threads in (1, 2, 3):
        again = sampler.search(queries, 20, seed=5, step=6, threads=threads, block_bytes=2**20)
        for one, other in zip(whole, again, strict=True):
            np.testing.assert_array_equal(one, other)
    assert len(calls) > 9 or "ExactTop" in str(pipeline)
    assert set(calls) <= ({7, 83 % 7} if in_core else {128})


def best_of(sampler, queries, top, **options):
    """What a search finds, by products of the sets that are drawn."""
    active = sampler.sample(queries, **options)
    return csr_top_k(queries, sampler.tables.vectors, None, active.indptr, active.ids, top)


def test_a_plan_is_used_again_for_the_same_tables_alone():
    """After a build, an update or on another instruction set the search is that of the new state."""
    index = tables()
    sampler = (Retrieve(probes=3) | Uniform(9)).bind(tables=index)
    plans = set()

    def check(seed):
        found, wanted = (
            call(QUERIES, 12, seed=seed) for call in (sampler.search, functools.partial(best_of, sampler))
        )
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(one, other)
        plans.add(sampler._prepared._last[0])

    for seed in range(3):
        check(seed)
    assert len(plans) == 1
    other = np.random.default_rng(8).standard_normal((300, 16), dtype=np.float32)
    changed = np.concatenate([QUERIES[:2], other[2:]])
    changes = [
        lambda: index.build(other),
        lambda: index.update([0, 1], QUERIES[:2], rows=changed),
        lambda: index.rebuild(other[::-1].copy()),
    ]
    for number, change in enumerate(changes, 2):
        change()
        check(number)
        assert len(plans) == number
    for isa in core.available_isas():
        with core.forced_isa(isa):
            check(9)
    assert len(plans) == 3 + len(core.available_isas()) + (core.isa() != core.available_isas()[0])


def test_a_plan_keeps_no_tables_and_no_queries():
    index, queries = tables(ITEMS.copy()), QUERIES[:1].copy()
    sampler = Retrieve().bind(tables=index)
    sampler.search(queries)
    left = [weakref.ref(index.state), weakref.ref(index.vectors), weakref.ref(queries)]
    del queries
    index.build(ITEMS[:200].copy())
    gc.collect()
    assert [ref() for ref in left] == [None, None, None]
    assert (sampler.search(QUERIES)[0] < 200).all()


def test_queries_are_refused_with_a_plan_as_without():
    sampler = Retrieve().bind(tables=tables())
    for _ in range(2):
        with pytest.raises(
            ArgumentError, match=r"queries must be finite float32 values \(got inf at \(0, 3\)\)"
        ):
            sampler.search(np.where(np.arange(16) == 3, np.inf, 1)[None].astype(np.float32))
        assert sampler.search(QUERIES[:1])[0].shape == (1, 10)
    again = pickle.loads(pickle.dumps(sampler))
    np.testing.assert_array_equal(again.search(QUERIES)[0], sampler.search(QUERIES)[0])


def test_search_of_no_queries():
    for items in (ITEMS, thinned(ITEMS)):
        ids, scores = Retrieve().bind(tables=tables(items)).search(QUERIES[:0], top=3)
        assert ids.shape == scores.shape == (0, 3)


def test_the_default_number_of_items_fits_few_items():
    for n in (1, 6, 10, 11):
        ids, _ = Retrieve().bind(tables=tables(ITEMS[:n])).search(QUERIES)
        assert ids.shape == (9, min(n, 10))


def test_search_of_tables_with_room_for_more_ids():
    index = tables()
    sampler = Retrieve().bind(tables=index, n_items=1000)
    assert (sampler.search(QUERIES, 5)[0] == Retrieve().bind(tables=index).search(QUERIES, 5)[0]).all()
    # Ids that have no vector yet may be drawn, and are not found.
    ids, scores = (Retrieve() | Uniform(900)).bind(tables=index, n_items=1000).search(QUERIES, 1000)
    assert 240 < (ids[0] >= 0).sum() <= 300
    assert ids.max() == 299
    assert (np.isfinite(scores) == (ids >= 0)).all()
    more = np.concatenate([ITEMS, QUERIES])
    index.insert(np.arange(300, 309), QUERIES, rows=more)
    found = sampler.search(QUERIES, 309)[0]
    assert (found == np.arange(300, 309)[:, None]).any(axis=1).all()


def test_search_refuses_invalid_queries_and_vectors():
    sampler = Retrieve().bind(tables=tables())
    bad = np.zeros((2000, 16), np.float32)
    bad[1234, 5] = np.nan
    for queries, top, words in (
        (None, 3, r"queries must be given, since Retrieve\(\) requires them \(got nothing\)"),
        (QUERIES[:, :5], 3, r"queries must be an array with 16 columns \(got 5 columns\)"),
        (sp.csr_array(QUERIES[:, :5]), 3, r"queries must be an array with 16 columns \(got 5 columns\)"),
        (bad, 3, r"queries must be finite float32 values \(got nan at \(1234, 5\)\)"),
        (sp.csr_array(bad), 3, r"queries must be finite float32 values \(got nan at \(1234, 5\)\)"),
        (QUERIES, 0, r"top must be an integer from 1 to 300, .* \(got 0\)"),
        (QUERIES, 301, r"top must be .* \(got 301\)"),
    ):
        with pytest.raises(ArgumentError, match=words):
            sampler.search(queries, top)
    for options, words in (
        ({"block_bytes": 0}, r"block_bytes must be an integer from 1048576 .* \(got 0\)"),
        ({"block_bytes": 1e9}, "block_bytes must be an integer"),
        ({"keys": 1}, r"keys must be True or False \(got 1\)"),
    ):
        with pytest.raises(ArgumentError, match=words):
            sampler.search(QUERIES, **options)
    with pytest.raises(
        ArgumentError, match=r"vectors must be an array or a sparse matrix, .* \(got nothing\)"
    ):
        Full().bind(n_items=300).search(QUERIES)


LARGE_BUCKETS = """
import json, resource, sys
import numpy as np
from lshsample import ExactTop, HashTables, Retrieve, make_family
from lshsample.errors import MemoryBudgetError

rng = np.random.default_rng(0)
rows = (rng.random((40_000, 16)) + 4).astype(np.float32)
tables = HashTables(make_family("simhash", dim=16, n_hashes=4, n_tables=4), threads=2).build(rows)
sampler = Retrieve().bind(tables=tables)
small = sampler.search(rows[:8], 5, threads=2)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**29, resource.RLIM_INFINITY))
before = peak()
found = sampler.search(rows[:1200], 5, threads=2, block_bytes=2**26)
out = {"search": peak() - before, "same": bool((found[0][:8] == small[0]).all())}
out["ids"] = len(tables.query(rows[:8]).ids)
for name, call in (
    ("query", lambda: tables.query(rows[:1200])),
    ("candidates", lambda: tables.candidates(rows[:1200], 1)),
    ("buckets", lambda: tables.buckets(rows[:1200])),
    ("sample", lambda: sampler.sample(rows[:1200])),
):
    try:
        call()
    except MemoryBudgetError as error:
        out[name] = str(error)
tables.range_search(rows[:200], 0.9995, threads=2, block_bytes=2**26)
ExactTop(3).bind(tables=tables).sample(rows[:1200])
out["all"] = peak() - before
print(json.dumps(out))
"""


def test_large_buckets_take_no_more_memory_than_stated():
    """Rows with a common mean fall into few buckets: 1,200 queries have 4 * 10**7 candidates of 24 bytes."""
    done = subprocess.run([sys.executable, "-c", LARGE_BUCKETS], capture_output=True, text=True, check=True)
    out = json.loads(done.stdout)
    assert out["ids"] > 8 * 30_000, "nearly every item is a candidate"
    assert out["same"]
    assert out["search"] < 100 * 1024, "KiB: a block of 64 MiB, and the scratch memory of two threads"
    assert out["all"] < 500 * 1024
    for name in ("query", "candidates", "sample"):
        words = r"the result, 4\d,\d{3},\d{3} ids of 1,200 queries, needs about .* Pass fewer queries"
        assert re.search(words, out[name]), out[name]
    assert "ids in the buckets of 1,200 queries, needs about" in out["buckets"]
