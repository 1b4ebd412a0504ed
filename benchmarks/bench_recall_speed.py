"""Queries a second at equal recall of the true top 10, on clustered vectors, beside other searchers.

``pytest benchmarks/bench_recall_speed.py --benchmark-only`` runs it; ``LSHSAMPLE_BENCH_ITEMS`` sets the
number of items (1,000,000 by default). Each searcher is set so that it just reaches a recall of 0.9 on half
of the queries, and is timed on the other half, in single queries and in batches of 256, on 2 threads. All
rank their candidates by exact inner products. faiss and hnswlib are skipped where they are not installed;
exact search by BLAS stands beside them, and HNSW, a graph and no LSH, is the honest other kind.
"""

import os
import time

import numpy as np
import pytest

from lshsample import HashTables, make_family
from lshsample._native import layers

N_ITEMS = int(os.environ.get("LSHSAMPLE_BENCH_ITEMS", "1000000"))
N_QUERIES, DIM, TOP, WANTED, THREADS = 512, 128, 10, 0.9, 2


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
    """The best of each query's candidates by exact inner product."""
    values = layers.csr_sampled_matmul(queries, items, None, indptr, ids, threads=THREADS)
    return layers.top_k_ragged(values, indptr, ids, TOP)[0]


def make_lshsample(items, queries, truth):
    """Tables of SimHash; of three lengths of codes, each with the fewest probes, the quickest in batches."""
    best = (np.inf, None, None)
    for bits in (b := max(8, round(np.log2(len(items) / 8))), b + 2, b + 4):
        family = make_family("simhash", dim=DIM, n_hashes=bits, n_tables=32, seed=0)
        tables = HashTables(family, threads=THREADS).build(items)
        for probes in range(1, 200):

            def search(q, tables=tables, probes=probes):
                found = tables.query(q, n_probes=probes, threads=THREADS)
                return ranked(items, q, found.indptr, found.ids)

            if recall(search(queries), truth) >= WANTED:
                began = time.perf_counter()
                search(queries)
                taken = time.perf_counter() - began
                how = {"probes": probes, "bits": bits, "MiB": tables.memory_bytes >> 20}
                best = min(best, (taken, search, how), key=lambda choice: choice[0])
                break
    return best[1:]


def make_faiss_lsh(items, queries, truth):
    """Hamming distances to all codes; the fewest candidates that reach the recall."""
    faiss = pytest.importorskip("faiss")
    faiss.omp_set_num_threads(THREADS)
    index = faiss.IndexLSH(DIM, 256)
    index.add(items)
    for n in (int(10 * 1.25**i) for i in range(30)):

        def search(q, n=n):
            ids = np.sort(index.search(q, n)[1], axis=1).astype(np.int32)
            return ranked(items, q, np.arange(len(q) + 1, dtype=np.int64) * n, ids.ravel())

        if recall(search(queries), truth) >= WANTED:
            return search, {"candidates": n, "bits": 256}
    raise AssertionError("no number of candidates reaches the recall")


def make_hnsw(items, queries, truth):
    """A graph; the shortest list that reaches the recall."""
    hnswlib = pytest.importorskip("hnswlib")
    index = hnswlib.Index(space="ip", dim=DIM)
    index.init_index(max_elements=len(items), ef_construction=100, M=16, random_seed=0)
    index.set_num_threads(THREADS)
    index.add_items(items)
    for ef in (10, 20, 40, 80, 160, 320, 640, 1280):
        index.set_ef(ef)
        if recall(index.knn_query(queries, k=TOP)[0], truth) >= WANTED:
            return lambda q: index.knn_query(q, k=TOP)[0], {"ef": ef}
    raise AssertionError("no list reaches the recall")


def make_blas(items, queries, truth):
    """All inner products."""
    return lambda q: exact(items, q), {}


MAKERS = {"lshsample": make_lshsample, "faiss-lsh": make_faiss_lsh, "hnsw": make_hnsw, "blas": make_blas}


@pytest.fixture(scope="module", params=MAKERS)
def searcher(request, data):
    items, queries, truth = data
    return *MAKERS[request.param](items, queries[: N_QUERIES // 2], truth[: N_QUERIES // 2]), request.param


@pytest.mark.parametrize("batch", [1, 256])
def test_queries(benchmark, searcher, data, batch):
    search, how, _ = searcher
    _, queries, truth = data
    asked = queries[N_QUERIES // 2 :]
    benchmark.extra_info.update(
        how, items=N_ITEMS, recall=float(recall(search(asked), truth[N_QUERIES // 2 :]))
    )
    few = asked[:64] if batch == 1 else asked

    def run():
        for begin in range(0, len(few), batch):
            search(few[begin : begin + batch])

    benchmark.pedantic(run, rounds=3, warmup_rounds=1)
    benchmark.extra_info["queries_per_second"] = len(few) / benchmark.stats.stats.median
