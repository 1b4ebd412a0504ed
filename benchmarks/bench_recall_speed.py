"""Queries per second at equal recall of the true top 10, on clustered vectors, for several indexes.

``pytest benchmarks/bench_recall_speed.py --benchmark-only`` runs it; ``LSHSAMPLE_BENCH_ITEMS`` sets the
number of items (1,000,000 by default). Each index has settings that reach a recall of 0.9 on half of the
queries, and is timed on the other half, with single queries and with batches of 256, each with the fastest
setting, on 2 threads, in turns with lshsample. All rank their candidates by exact inner products. faiss and
hnswlib are skipped if they are not installed. Exact search by BLAS and HNSW, a graph and not LSH, are
compared too.
"""

import os
import timeit
from bisect import bisect_left
from functools import partial

import numpy as np
import pytest
from turns import in_turns

from lshsample import HashTables, Retrieve, make_family
from lshsample._native import layers

N_ITEMS = int(os.environ.get("LSHSAMPLE_BENCH_ITEMS", "1000000"))
N_QUERIES, DIM, TOP, TARGET, THREADS = 512, 128, 10, 0.9, 2


def clustered(n_items, n_queries, dim=128, per_cluster=100, spread=0.7, seed=0):
    """Items (n_items, dim) and queries (n_queries, dim), float32 of norm 1, around common centres.

    A vector is its centre plus normal noise of ``spread`` times the centre's norm, so that a query's nearest
    items are those of its cluster, at cosines around 1 / (1 + spread**2), and all others are near 0.
    """
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((max(1, n_items // per_cluster), dim), dtype=np.float32)
    rows = centres[rng.integers(0, len(centres), n_items + n_queries)]
    rows += np.float32(spread) * rng.standard_normal(rows.shape, dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows[:n_items], rows[n_items:]


@pytest.fixture(scope="module")
def data():
    items, queries = clustered(N_ITEMS, N_QUERIES, DIM)
    truth = np.concatenate([exact(items, queries[i : i + 64]) for i in range(0, N_QUERIES, 64)])
    return items, queries, truth


def exact(items, queries):
    return layers.top_k(queries, items, None, TOP, threads=THREADS)[0]


def recall(found, truth):
    return np.mean([len(np.intersect1d(f, t)) for f, t in zip(found, truth, strict=True)]) / TOP


def ranked(items, queries, indptr, ids):
    """The best candidates of each query, by exact inner product."""
    return layers.csr_top_k(queries, items, None, indptr, ids, TOP, threads=THREADS)[0]


def settings(n_items):
    """Families whose codes have about ``n_items`` values."""
    bits = max(10, round(np.log2(n_items)))
    yield "simhash", {"n_hashes": bits - 1, "n_tables": 32}
    for n_hashes in (3, 4):
        yield (
            "cross-polytope",
            {"n_hashes": n_hashes, "dimension": 2 ** (bits // n_hashes - 1), "n_tables": 50},
        )


def fewest(search, tried, queries, truth):
    """The smallest n of ``tried`` for which ``search(n)(queries)`` reaches the recall, and its search."""
    place = bisect_left(tried, True, key=lambda n: recall(search(n)(queries), truth) >= TARGET)
    return search(tried[place]), tried[place]


def quickest(choices, queries, batch):
    """The (search, settings) pair that takes the least time for all queries."""

    def seconds(choice):
        return min(timeit.repeat(lambda: in_batches(choice[0], queries, batch), number=1, repeat=5))

    return min(choices, key=seconds)


def make_lshsample(items, queries, truth):
    """Tables of three families, each with the fewest probes that reach the recall."""
    choices = []
    for name, options in settings(len(items)):
        tables = HashTables(make_family(name, dim=DIM, seed=0, **options), threads=THREADS).build(items)

        def searcher(probes, tables=tables):
            sampler = Retrieve(probes=probes).bind(tables=tables, vectors=items)
            return lambda q: sampler.search(q, TOP, threads=THREADS)[0]

        search, probes = fewest(searcher, range(1, 257), queries, truth)
        how = {"family": name, **options, "probes": probes, "MiB": tables.memory_bytes >> 20}
        choices.append((search, how))
    return choices


def make_faiss_lsh(items, queries, truth):
    """Hamming distances to all codes of three lengths, each with the fewest candidates."""
    faiss = pytest.importorskip("faiss")
    faiss.omp_set_num_threads(THREADS)
    choices = []
    for bits in (128, 256, 512):
        index = faiss.IndexLSH(DIM, bits)
        index.add(items)

        def search(q, n, index=index):
            ids = np.sort(index.search(q, n)[1], axis=1).astype(np.int32)
            return ranked(items, q, np.arange(len(q) + 1, dtype=np.int64) * n, ids.ravel())

        found, n = fewest(lambda n, search=search: partial(search, n=n), range(TOP, 8001), queries, truth)
        choices.append((found, {"candidates": n, "bits": bits}))
    return choices


def make_hnsw(items, queries, truth):
    """A graph; the shortest list that reaches the recall."""
    hnswlib = pytest.importorskip("hnswlib")
    index = hnswlib.Index(space="ip", dim=DIM)
    index.init_index(max_elements=len(items), ef_construction=100, M=16, random_seed=0)
    index.set_num_threads(THREADS)
    index.add_items(items)

    def searcher(ef):
        def search(q):
            index.set_ef(ef)
            return index.knn_query(q, k=TOP)[0]

        return search

    search, ef = fewest(searcher, range(TOP, 1281), queries, truth)
    return [(search, {"ef": ef})]


def make_blas(items, queries, truth):
    """All inner products."""
    return [(lambda q: exact(items, q), {})]


PEERS = {"faiss-lsh": make_faiss_lsh, "hnsw": make_hnsw, "blas": make_blas}


@pytest.fixture(scope="module")
def ours(data):
    return make_lshsample(*halves(data)[0])


@pytest.fixture(scope="module", params=PEERS)
def peer(request, data):
    return PEERS[request.param](*halves(data)[0])


def halves(data):
    """(items, queries, truth) for choosing settings, and for timing."""
    items, queries, truth = data
    half = N_QUERIES // 2
    return (items, queries[:half], truth[:half]), (items, queries[half:], truth[half:])


@pytest.mark.parametrize("batch", [1, 256])
def test_queries(benchmark, ours, peer, data, batch):
    (_, tried, _), (_, queries, truth) = halves(data)
    part = slice(0, 128 if batch == 1 else None)
    runs = {}
    for name, choices in {"lshsample": ours, "peer": peer}.items():
        search, how = quickest(choices, tried[part], batch)
        how = how | {"recall": float(recall(search(queries), truth))}
        benchmark.extra_info |= {"items": N_ITEMS, name: how}
        runs[name] = partial(in_batches, search, queries[part], batch)
    in_turns(benchmark, runs["lshsample"], runs["peer"], 7)
    benchmark.extra_info["queries_per_second"] = len(queries[part]) / benchmark.stats.stats.median


def in_batches(search, queries, batch):
    for begin in range(0, len(queries), batch):
        search(queries[begin : begin + batch])
