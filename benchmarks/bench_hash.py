"""Hashing by every registered family and instruction set, compared with BLAS projection and a lower bound.

``pytest benchmarks/bench_hash.py --benchmark-only`` runs it; ``--benchmark-save`` and ``pytest-benchmark
compare`` compare two runs. ``extra_info`` has the least amount of work: ``bytes`` read and written, and
``flop`` additions, multiplications and comparisons of floats; and ``rows_per_second`` of the median. The peer
is plain NumPy: ``packbits(x @ P >= 0)`` with a matrix product by BLAS.
"""

import math

import numpy as np
import pytest
import scipy.sparse as sp
from sizes import rounds, sized
from threadpoolctl import threadpool_limits
from turns import in_turns

from lshsample._native import core
from lshsample.errors import ArgumentError
from lshsample.hashing import hash_rows, probe_rows
from lshsample.registry import families, make_family

ROWS, DIM, N_TABLES, THREADS = sized(670_091, 3_000), 128, 50, 2
#: Rows for families that take many times as long as the others, and rows of wide sparse data and of probes.
FEWER, WIDE, PROBED = sized(100_000, 2_000), sized(5000, 100), sized(20_000, 200)
#: Hashes per code, such that K L = 300 one-bit hashes, or the closest number of comparisons.
N_HASHES = {"simhash": 6, "dwta": 4}


def cases():
    """(label, name, options) of every registered family, with each projection of SimHash."""
    for name in families():
        if name == "simhash":
            for projection in ("hadamard", "gaussian", "sparse"):
                yield f"simhash-{projection}", name, {"projection": projection}
        else:
            yield name, name, {}


def operations(family):
    """Float operations for one dense row, counted from the family's definition."""
    spec, width = family.spec, family.n_hashes * family.n_tables
    if hasattr(spec, "window"):
        return width * spec.window
    if getattr(spec, "projection", None) != "hadamard":
        return 2 * width * family.dim * (spec.density if getattr(spec, "projection", None) == "sparse" else 1)
    size, outputs = max(64, 1 << (family.dim - 1).bit_length()), 1 << (family.n_tables - 1).bit_length()
    fold = 2 * size + outputs * math.log2(outputs)
    return 2 * size * math.log2(size) + family.n_hashes * -(-family.n_tables // min(size, outputs)) * fold


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).standard_normal((ROWS, DIM), dtype=np.float32)


@pytest.fixture(params=core.available_isas())
def isa(request):
    with core.forced_isa(request.param):
        yield request.param


def note(benchmark, n, family):
    benchmark.extra_info["rows"] = n
    benchmark.extra_info["bytes"] = n * 4 * (DIM + family.n_tables)
    benchmark.extra_info["flop"] = int(n * operations(family))
    benchmark.extra_info["rows_per_second"] = round(n / benchmark.stats["median"])


@pytest.mark.parametrize(("name", "options"), [pytest.param(n, o, id=i) for i, n, o in cases()])
def test_hash_dense(benchmark, rows, isa, name, options):
    try:
        family = make_family(name, dim=DIM, n_hashes=N_HASHES.get(name, 4), n_tables=N_TABLES, **options)
    except ArgumentError as reason:
        pytest.skip(f"{name} has no defaults: {reason}")
    family = family.prepare(rows[:20_000])
    few = rows[:FEWER] if options.get("projection") in ("gaussian", "sparse") else rows
    few = few * np.float32(0.5)  # inside the norm that wrappers for inner products were prepared for
    hash_rows(family, few[:64], threads=THREADS)
    # Times of a group are of the same number of rows.
    benchmark.group = f"hash {len(few):,} dense rows"
    benchmark.pedantic(hash_rows, (family, few), {"threads": THREADS}, rounds=rounds(5))
    note(benchmark, len(few), family)


@pytest.mark.benchmark(group="lshsample, in turns with a peer")
def test_simhash_in_turns_with_blas(benchmark, rows):
    """Hadamard SimHash, whose time is the row's, and as many hashes by BLAS."""
    directions = np.random.default_rng(1).standard_normal((DIM, 6 * N_TABLES), dtype=np.float32)
    family = make_family("simhash", dim=DIM, n_hashes=6, n_tables=N_TABLES)

    def ours():
        return hash_rows(family, rows, threads=THREADS)

    def peer():
        return np.packbits(rows @ directions >= 0, axis=1)

    with threadpool_limits(THREADS):
        in_turns(benchmark, ours, peer, rounds=9, against="NumPy: packbits(x @ P >= 0), OpenBLAS, 2 threads")
    benchmark.extra_info["peer_flop"] = 2 * ROWS * DIM * 6 * N_TABLES


@pytest.mark.benchmark(group="hash rectified rows")
def test_hash_rectified(benchmark, rows, isa):
    family = make_family("dwta", dim=DIM, n_hashes=N_HASHES["dwta"], n_tables=N_TABLES)
    rectified = np.maximum(rows, 0)
    hash_rows(family, rectified[:64], threads=THREADS)
    benchmark.pedantic(hash_rows, (family, rectified), {"threads": THREADS}, rounds=rounds(5))
    note(benchmark, ROWS, family)


@pytest.mark.benchmark(group="hash wide sparse rows")
@pytest.mark.parametrize(
    ("name", "options"),
    [
        pytest.param("dwta", {}, id="dwta"),
        pytest.param("simhash", {"projection": "sparse"}, id="simhash-sparse"),
    ],
)
def test_hash_csr(benchmark, isa, name, options):
    dim, each = 135_909, 75
    rng = np.random.default_rng(0)
    columns = np.sort(rng.integers(0, dim // each, (WIDE, each)) + np.arange(each) * (dim // each), axis=1)
    x = sp.csr_array(
        (rng.random(columns.size), columns.ravel(), np.arange(WIDE + 1) * each), shape=(WIDE, dim)
    )
    rows, family = core.csr_rows(x, "x"), make_family(name, dim=dim, n_hashes=4, n_tables=N_TABLES, **options)
    hash_rows(family, rows[:2], threads=THREADS)
    benchmark.pedantic(hash_rows, (family, rows), {"threads": THREADS}, rounds=rounds(3))
    benchmark.extra_info["bytes"] = WIDE * (each * 8 + N_TABLES * 4)
    benchmark.extra_info["rows_per_second"] = round(WIDE / benchmark.stats["median"])


@pytest.mark.benchmark(group="probe")
def test_probe(benchmark, rows, isa):
    family = make_family("simhash", dim=DIM, n_hashes=8, n_tables=N_TABLES)
    benchmark.pedantic(
        probe_rows, (family, rows[:PROBED], 4), {"threads": THREADS}, rounds=rounds(5), warmup_rounds=1
    )
    benchmark.extra_info["rows_per_second"] = round(PROBED / benchmark.stats["median"])
