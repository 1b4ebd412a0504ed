"""Building and querying hash tables at the size of a wide output layer, each compared with a lower bound.

``pytest benchmarks/bench_tables.py --benchmark-only`` runs them; ``--benchmark-save`` and ``pytest-benchmark
compare`` compare two runs. ``extra_info`` has ``floor_ms``, measured in the same run on as many threads: the
time to read and write the (code, id) pairs once for each pass of the sort.
"""

import threading
import time

import numpy as np
import pytest
from sizes import rounds, sized

from lshsample._native.packed import build_packed
from lshsample._native.reader import NativeReader
from lshsample._native.sample import StageCall, Workspaces, run_plan
from lshsample.errors import ArgumentError
from lshsample.registry import families, make_family
from lshsample.tables import HashTables

N_ITEMS, N_TABLES, BATCH, THREADS = sized(670_091, 8_000), 50, sized(256, 3), 2
N_HASHES = {"simhash": 15, "dwta": 5}


def best(call, repeats=5):
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return min(times)


def copy_floor(n_bytes, passes):
    """Seconds to read and write the bytes `passes` times, on THREADS threads."""
    parts = [(np.ones(n_bytes // THREADS // 4, np.int32), np.empty(n_bytes // THREADS // 4, np.int32))] * 1
    parts += [(np.ones_like(parts[0][0]), np.empty_like(parts[0][0])) for _ in range(THREADS - 1)]

    def copy():
        workers = [threading.Thread(target=np.copyto, args=(out, given)) for given, out in parts]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    copy()
    return passes * best(copy)


def codes_of(bits, seed=0):
    return np.random.default_rng(seed).integers(0, 2**bits, (N_ITEMS, N_TABLES), dtype=np.uint32)


@pytest.mark.benchmark(group="sort codes into tables, by bits")
@pytest.mark.parametrize("bits", [15, 18, 24, 32])
def test_build(benchmark, bits):
    """Sorting given codes: one counting pass up to 20 bits here, else a radix pass per 11 bits."""
    codes = codes_of(bits)
    packed = benchmark.pedantic(
        build_packed,
        (lambda a, b: codes[a:b], N_ITEMS, N_TABLES, bits, THREADS, "codes"),
        rounds=rounds(5),
        warmup_rounds=1,
    )
    passes = 1 if packed.codes is None else -(-bits // 11)
    benchmark.extra_info["floor_ms"] = 1e3 * copy_floor(8 * N_ITEMS * N_TABLES, passes)
    benchmark.extra_info["table_bytes"] = packed.nbytes


@pytest.mark.benchmark(group="hash and build")
@pytest.mark.parametrize("name", families())
def test_build_with_hashing(benchmark, name):
    """The whole build from rows, for every registered family."""
    rows = np.random.default_rng(0).standard_normal((N_ITEMS, 128), dtype=np.float32)
    try:
        family = make_family(name, dim=128, n_hashes=N_HASHES.get(name, 4), n_tables=N_TABLES)
    except ArgumentError as reason:
        pytest.skip(f"{name} has no defaults: {reason}")
    tables = HashTables(family, threads=THREADS)
    benchmark.pedantic(tables.build, (rows,), rounds=rounds(3), warmup_rounds=1)
    benchmark.extra_info["floor_ms"] = 1e3 * copy_floor(8 * N_ITEMS * N_TABLES, 1)
    benchmark.extra_info["table_bytes"] = tables.memory_bytes


@pytest.mark.benchmark(group="query, by bits")
@pytest.mark.parametrize("bits", [15, 18, 24])
def test_query(benchmark, bits):
    """A batch of queries; the lower bound is reading the ids of their buckets in NumPy, in one gather."""
    codes = codes_of(bits)
    packed = build_packed(lambda a, b: codes[a:b], N_ITEMS, N_TABLES, bits, THREADS, "codes")
    queries = [
        np.ascontiguousarray(codes_of(bits, 1)[i :: N_ITEMS // BATCH][:BATCH, :, None]) for i in range(8)
    ]
    places, turn = Workspaces(N_ITEMS), iter(range(10**9))

    def query():
        call = StageCall(op="RETRIEVE", place=0, reader=NativeReader(packed), codes=queries[next(turn) % 8])
        return run_plan(
            [call], BATCH, N_ITEMS, seed=0, step=0, pooled=False, threads=THREADS, workspaces=places
        )

    drawn = benchmark.pedantic(query, rounds=rounds(30), warmup_rounds=8)
    flat, at = packed.ids.reshape(-1), np.random.default_rng(2).integers(0, packed.ids.size, BATCH * N_TABLES)
    run = max(1, int(drawn.counts.sum()) // (BATCH * N_TABLES))
    places_read = (at[:, None] + np.arange(run)).ravel() % flat.size
    benchmark.extra_info["floor_ms"] = 1e3 * best(lambda: flat[places_read])
    benchmark.extra_info["candidates"] = int(drawn.counts.sum())


def open_and_query(path, query):
    """The start of a serving process."""
    return HashTables.open(path, threads=1).query(query)


@pytest.mark.benchmark(group="open saved tables")
def test_open(benchmark, tmp_path):
    """Opening saved tables and answering a query; ``verify_ms`` is with verification of all checksums."""
    rows = np.random.default_rng(0).standard_normal((N_ITEMS, 64), dtype=np.float32)
    family = make_family("simhash", dim=64, n_hashes=15, n_tables=N_TABLES)
    HashTables(family, threads=THREADS).build(rows).save(tmp_path / "tables")
    benchmark.pedantic(open_and_query, (tmp_path / "tables", rows[:1]), rounds=rounds(20))
    benchmark.extra_info["file_bytes"] = (tmp_path / "tables").stat().st_size
    opened = HashTables.open(tmp_path / "tables", threads=THREADS)
    benchmark.extra_info["verify_ms"] = round(best(opened.verify, 1) * 1e3, 1)


@pytest.mark.parametrize("batch", sized([1, 1000, 10_000], [1, 100]))
def test_update(benchmark, batch):
    """Moving ids by small steps, about a third of their codes; includes merges when they are due."""
    benchmark.group = f"update {batch:,} ids"
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((N_ITEMS, 64), dtype=np.float32)
    family = make_family("simhash", dim=64, n_hashes=15, n_tables=N_TABLES)
    tables = HashTables(family, threads=1).build(rows)
    tables.update([0], rows[:1])
    order, turn = rng.permutation(N_ITEMS), iter(range(10**9))

    def update():
        ids = order[(next(turn) * batch) % (N_ITEMS - batch) :][:batch]
        tables.update(ids, rows[ids] + np.float32(0.1))

    benchmark.pedantic(update, rounds=rounds(20), warmup_rounds=2)
    benchmark.extra_info["ids_per_second"] = round(batch / benchmark.stats.stats.median)


@pytest.mark.benchmark(group="query, by share of changed entries")
@pytest.mark.parametrize("share", [0.0, 0.02, 0.09])
def test_query_under_changes(benchmark, share):
    """A batch of queries while a given fraction of the entries is in unmerged deltas."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((N_ITEMS, 64), dtype=np.float32)
    family = make_family("simhash", dim=64, n_hashes=15, n_tables=N_TABLES)
    tables = HashTables(family, threads=1).build(rows)
    ids = np.flatnonzero(rng.random(N_ITEMS) < share / 2)
    for part in np.array_split(ids, 10):
        tables.update(part, rng.standard_normal((len(part), 64), dtype=np.float32))
    benchmark.pedantic(tables.query, (rows[:BATCH],), rounds=rounds(20), warmup_rounds=3)
    benchmark.extra_info["deltas"] = [delta.n_entries for delta in tables.state.deltas]


def readers_rate(tables, queries, seconds):
    """Batches per second queried by one thread."""
    done, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        tables.query(queries, threads=1)
        done += 1
    return done / (time.perf_counter() - begin)


@pytest.mark.benchmark(group="a reader, alone and with a writer")
def test_readers_with_a_writer(benchmark):
    """One reader alone, then while a writer moves 100,000 ids a second, each on its own core.

    ``share`` is the ratio of the reader's rates with and without the writer, in turns; ``ids_per_second`` is
    the rate of the writer.
    """
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((N_ITEMS, 64), dtype=np.float32)
    moved = rows + 0.1 * rng.standard_normal(rows.shape, dtype=np.float32)
    family = make_family("simhash", dim=64, n_hashes=15, n_tables=N_TABLES)
    tables, queries, order = (
        HashTables(family, threads=1).build(rows),
        rows[:BATCH].copy(),
        rng.permutation(N_ITEMS),
    )
    shares, rates = [], []

    def write(stop, count):
        begin = time.perf_counter()
        while not stop.is_set():
            at, turn = count[0] % (N_ITEMS - 2000), count[0] // N_ITEMS % 2
            ids = order[at : at + 2000]
            tables.update(ids, (moved, rows)[turn][ids])
            count[0] += 2000
            time.sleep(max(0.0, count[0] / 100_000 - (time.perf_counter() - begin)))

    def turn():
        alone, stop, count = readers_rate(tables, queries, sized(1.0, 0.05)), threading.Event(), [0]
        writer = threading.Thread(target=write, args=(stop, count))
        writer.start()
        begin = time.perf_counter()
        together = readers_rate(tables, queries, sized(2.0, 0.1))
        rates.append(count[0] / (time.perf_counter() - begin))
        stop.set()
        writer.join()
        tables.compact()
        shares.append(together / alone)

    tables.update(order[:1], rows[order[:1]])
    benchmark.pedantic(turn, rounds=rounds(5))
    benchmark.extra_info["share"] = round(float(np.median(shares)), 2)
    benchmark.extra_info["ids_per_second"] = round(float(np.median(rates)))
