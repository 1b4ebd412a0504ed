"""Nearest rows: the inverted index in turns with SciPy's product, hash tables in turns with a scan.

``pytest benchmarks/bench_neighbours.py --benchmark-only`` searches the 20 nearest of 586,605 rows: sparse
rows of 8 columns on average, whose columns have the frequencies of words (Zipf), and dense rows like those of
relu units, around centres with a large common mean. One thread. ``extra_info`` has the recall of the tables
and the candidates of a query. It takes 3 GB.
"""

import numpy as np
import pytest
import scipy.sparse as sp
from sizes import rounds, sized
from turns import in_turns

from lshsample.xc import RowNeighbours

ROWS, QUERIES, WORDS, DIM, THREADS = sized(586_605, 2000), sized(1000, 20), 67_569, 256, 1
NEAR = 20


def words(n, seed):
    """Rows of words, drawn with probability 1 / (rank + 30), weighted by their rarity."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(7, n) + 1
    frequency = 1 / (np.arange(WORDS) + 30)
    columns = rng.choice(WORDS, counts.sum(), p=frequency / frequency.sum())
    values = np.log(WORDS * frequency[0] / frequency[columns] / 30).astype(np.float32)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    return sp.csr_array((values, columns, indptr), shape=(n, WORDS))


def hidden(n, seed):
    """Relu units around 5,000 centres that share a mean."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(7).standard_normal((sized(5000, 50), DIM), dtype=np.float32)
    rows = centres[rng.integers(0, len(centres), n)] + np.float32(1)
    for begin in range(0, n, 50_000):
        part = rows[begin : begin + 50_000]
        part += 0.5 * rng.standard_normal(part.shape, dtype=np.float32)
    return np.maximum(rows, 0, out=rows)


@pytest.mark.benchmark(group=f"{QUERIES} queries among {ROWS:,} sparse rows")
def test_inverted_index_in_turns_with_scipy(benchmark):
    rows, queries = words(ROWS, 0), words(QUERIES, 1)
    index, transposed = RowNeighbours.build(rows, threads=THREADS), sp.csr_array(rows.T)
    few = queries[: max(1, QUERIES // 10)]
    in_turns(
        benchmark,
        lambda: index.search(queries, NEAR, threads=THREADS),
        lambda: few @ transposed,
        rounds=7,
        scale=QUERIES / few.shape[0],
        against="SciPy: queries @ rows.T as sparse matrices, without choosing the best; one thread",
    )
    benchmark.extra_info["rows"] = QUERIES
    benchmark.extra_info["index_bytes"] = index.memory_bytes


@pytest.mark.benchmark(group=f"{QUERIES} queries among {ROWS:,} dense rows")
def test_hash_tables_in_turns_with_a_scan(benchmark):
    rows, queries = hidden(ROWS, 0), hidden(QUERIES, 1)
    tables, scan = (RowNeighbours.build(rows, index, threads=THREADS) for index in ("lsh", "exact"))
    found, true = (one.search(queries, NEAR, threads=THREADS)[0] for one in (tables, scan))
    few = queries[: max(1, QUERIES // 10)]
    in_turns(
        benchmark,
        lambda: tables.search(queries, NEAR, threads=THREADS),
        lambda: scan.search(few, NEAR, threads=THREADS),
        rounds=5,
        scale=QUERIES / len(few),
        against="exact search, every product",
    )
    hits = sum(len(np.intersect1d(a, b)) for a, b in zip(found, true, strict=True))
    benchmark.extra_info |= {"rows": QUERIES, "index_bytes": tables.memory_bytes, "recall": hits / true.size}
    benchmark.extra_info["candidates"] = round(tables.choice.candidates)


@pytest.mark.benchmark(group=f"choosing and building tables over {sized(50_000, 1000):,} dense rows")
def test_choosing_and_building_tables(benchmark):
    rows = hidden(sized(50_000, 1000), 0)
    benchmark.pedantic(RowNeighbours.build, (rows, "lsh"), {"threads": THREADS}, rounds=rounds(3))
