"""Queries per second at equal recall of the true top 10, on clustered vectors, for several indexes.

``pytest benchmarks/bench_recall_speed.py --benchmark-only`` runs it; ``LSHSAMPLE_BENCH_ITEMS`` sets the
number of items (1,000,000 by default). Each index has settings that reach a recall of 0.9 on half of the
queries, and is timed on the other half, with single queries and with batches of 256, each with its fastest
setting and number of threads (1 or 2), in turns with lshsample: a row is the time of lshsample, ``peer_ms``
that of the peer. All rank their candidates by exact inner products. faiss, hnswlib and usearch are skipped
if they are not installed. Exact search by lshsample's own kernel is compared too; hnswlib and usearch are
HNSW, a graph and not LSH.
"""

import os
import timeit
from bisect import bisect_left
from functools import partial

import numpy as np
import pytest
from sizes import sized
from turns import in_turns

from lshsample import AtLeast, HashTables, Retrieve, make_family
from lshsample._native import layers

N_ITEMS = sized(int(os.environ.get("LSHSAMPLE_BENCH_ITEMS", "1000000")), 2_000)
N_QUERIES, DIM, TOP, TARGET, THREADS = sized(512, 32), 128, 10, 0.9, 2
#: Numbers of threads of which each index has its best: several are slower than one for a single query,
#: by far where threads of OpenMP wait for each other beside other work.
TRIED_THREADS = (1, THREADS)


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


def exact(items, queries, threads=THREADS):
    return layers.top_k(queries, items, None, TOP, threads=threads)[0]


def recall(found, truth):
    return np.mean([len(np.intersect1d(f, t)) for f, t in zip(found, truth, strict=True)]) / TOP


def ranked(items, queries, indptr, ids, threads):
    """The best candidates of each query, by exact inner product."""
    return layers.csr_top_k(queries, items, None, indptr, ids, TOP, threads=threads)[0]


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
    """The (search, settings) pair that takes the least time for all queries, over numbers of threads."""
    choices = [
        (partial(search, threads=threads), how | {"threads": threads})
        for search, how in choices
        for threads in TRIED_THREADS
    ]

    def seconds(choice):
        # The median, not the least: threads that wait for each other are slow now and then.
        return np.median(timeit.repeat(lambda: in_batches(choice[0], queries, batch), number=1, repeat=5))

    return min(choices, key=seconds)


def make_lshsample(items, queries, truth):
    """Tables of three families, each with the fewest probes for the recall, of ids in one bucket or two."""
    choices = []
    for name, options in settings(len(items)):
        tables = HashTables(make_family(name, dim=DIM, seed=0, **options), threads=THREADS).build(items)

        for least in (1, 2):

            def searcher(probes, tables=tables, least=least):
                retrieve = Retrieve(probes=probes)
                pipeline = retrieve if least == 1 else retrieve | AtLeast(least)
                sampler = pipeline.bind(tables=tables, vectors=items)
                return lambda q, threads=THREADS: sampler.search(q, TOP, threads=threads)[0]

            search, probes = fewest(searcher, range(1, sized(257, 17)), queries, truth)
            how = {"family": name, **options, "probes": probes, "collisions": least}
            choices.append((search, how | {"MiB": tables.memory_bytes >> 20}))
    return choices


def make_faiss_lsh(items, queries, truth):
    """Hamming distances to all codes of three lengths, each with the fewest candidates."""
    faiss = pytest.importorskip("faiss")
    choices = []
    for bits in (128, 256, 512):
        index = faiss.IndexLSH(DIM, bits)
        index.add(items)

        def search(q, n, threads=THREADS, index=index):
            faiss.omp_set_num_threads(threads)
            ids = np.sort(index.search(q, n)[1], axis=1).astype(np.int32)
            return ranked(items, q, np.arange(len(q) + 1, dtype=np.int64) * n, ids.ravel(), threads)

        found, n = fewest(
            lambda n, search=search: partial(search, n=n), range(TOP, min(8001, N_ITEMS)), queries, truth
        )
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
        def search(q, threads=THREADS):
            index.set_ef(ef)
            return index.knn_query(q, k=TOP, num_threads=threads)[0]

        return search

    search, ef = fewest(searcher, range(TOP, 1281), queries, truth)
    return [(search, {"M": 16, "ef_construction": 100, "ef": ef})]


def make_usearch(items, queries, truth):
    """Another graph of the same kind, with the same number of neighbours."""
    usearch = pytest.importorskip("usearch.index")
    index = usearch.Index(ndim=DIM, metric="ip", dtype="f32", connectivity=16, expansion_add=100)
    index.add(np.arange(len(items)), items, threads=THREADS)

    def searcher(expansion):
        def search(q, threads=THREADS):
            index.expansion_search = expansion
            return index.search(q, TOP, threads=threads).keys.reshape(len(q), TOP)

        return search

    search, expansion = fewest(searcher, range(TOP, 1281), queries, truth)
    return [(search, {"connectivity": 16, "expansion_add": 100, "expansion_search": expansion})]


def make_exact(items, queries, truth):
    """All inner products, by the kernel of lshsample."""
    return [(lambda q, threads=THREADS: exact(items, q, threads), {})]


PEERS = {"faiss-lsh": make_faiss_lsh, "hnswlib": make_hnsw, "usearch": make_usearch}
PEERS["exact search"] = make_exact


@pytest.fixture(scope="module")
def ours(data):
    return make_lshsample(*halves(data)[0])


@pytest.fixture(scope="module", params=PEERS)
def peer(request, data):
    return request.param, PEERS[request.param](*halves(data)[0])


def halves(data):
    """(items, queries, truth) for choosing settings, and for timing."""
    items, queries, truth = data
    half = N_QUERIES // 2
    return (items, queries[:half], truth[:half]), (items, queries[half:], truth[half:])


@pytest.mark.parametrize("batch", [1, 256])
def test_lshsample_in_turns_with(benchmark, ours, peer, data, batch):
    """The row is the time of lshsample; that of the peer is ``peer_ms``."""
    benchmark.group = f"lshsample in turns with a peer, {batch} queries a call"
    (_, tried, _), (_, queries, truth) = halves(data)
    part = slice(0, 128 if batch == 1 else None)
    name, choices = peer
    runs, settings = [], []
    for tried_choices in (ours, choices):
        search, how = quickest(tried_choices, tried[part], batch)
        how = how | {"recall": round(float(recall(search(queries), truth)), 3)}
        settings.append(", ".join(f"{key} {value}" for key, value in how.items()))
        runs.append(partial(in_batches, search, queries[part], batch))
    benchmark.extra_info |= {"items": N_ITEMS, "settings": settings[0]}
    in_turns(benchmark, *runs, 7, against=f"{name}: {settings[1]}")
    benchmark.extra_info["queries_per_second"] = len(queries[part]) / benchmark.stats.stats.median


def in_batches(search, queries, batch):
    for begin in range(0, len(queries), batch):
        search(queries[begin : begin + batch])
