"""Hashing of sets: MinHash and consistent weighted sampling, compared with rensa and datasketch.

``RAYON_NUM_THREADS=2 pytest benchmarks/bench_sets.py --benchmark-only`` compares 100,000 sets of 100 elements
at 128, 256 and 512 hashes; the peers, timed in turns with lshsample, are skipped if they are not installed.
``extra_info`` has sets per second. datasketch, which has one thread, is measured on fewer sets; for all peers
the elements are hashed before.
"""

import numpy as np
import pytest
import scipy.sparse as sp
from sizes import rounds, sized
from turns import in_turns

from lshsample._native import core
from lshsample.hashing import hash_rows
from lshsample.registry import make_family

SETS, EACH, DIM, THREADS = sized(100_000, 300), 100, 1_000_000, 2
FEW, HASHES = sized(2000, 50), [128, 256, 512]


@pytest.fixture(scope="module")
def columns():
    step = DIM // EACH
    return np.sort(np.random.default_rng(0).integers(0, step, (SETS, EACH)) + np.arange(EACH) * step, axis=1)


@pytest.fixture(scope="module")
def rows(columns):
    indptr, values = np.arange(SETS + 1) * EACH, np.ones(columns.size, np.float32)
    return core.csr_rows(sp.csr_array((values, columns.ravel(), indptr), shape=(SETS, DIM)), "x")


def note(benchmark, n, hashes):
    benchmark.extra_info["sets"] = n
    benchmark.extra_info["bytes"] = n * 4 * (EACH + hashes)
    benchmark.extra_info["sets_per_second"] = round(n / benchmark.stats["median"])


@pytest.mark.parametrize("hashes", HASHES)
@pytest.mark.parametrize("method", ["permutation-free", "doph"])
@pytest.mark.parametrize("n_hashes", [1, 4])
def test_minhash(benchmark, rows, method, hashes, n_hashes):
    benchmark.group = f"{hashes} hashes of {SETS:,} sets"
    family = make_family("minhash", dim=DIM, n_hashes=n_hashes, n_tables=hashes // n_hashes, method=method)
    benchmark.pedantic(hash_rows, (family, rows), {"threads": THREADS}, rounds=rounds(7), warmup_rounds=1)
    note(benchmark, SETS, hashes)


@pytest.mark.benchmark(group=f"128 hashes of {FEW:,} weighted sets")
def test_icws(benchmark, rows):
    family = make_family("icws", dim=DIM, n_hashes=4, n_tables=32)
    benchmark.pedantic(
        hash_rows, (family, rows[:FEW]), {"threads": THREADS}, rounds=rounds(5), warmup_rounds=1
    )
    note(benchmark, FEW, 128)


def minhash(rows, hashes):
    family = make_family("minhash", dim=DIM, n_hashes=4, n_tables=hashes // 4)
    return lambda: hash_rows(family, rows, threads=THREADS)


@pytest.mark.parametrize("hashes", HASHES)
@pytest.mark.parametrize("sketch", ["", "_rho"])
def test_minhash_in_turns_with_rensa(benchmark, columns, rows, hashes, sketch):
    """The row is the time of lshsample; that of rensa is ``peer_ms``."""
    benchmark.group = f"lshsample in turns with a peer, {hashes} hashes of {SETS:,} sets"
    rensa = pytest.importorskip("rensa")
    digest = getattr(rensa.RMinHash, f"digest_matrix_from_flat_token_hashes{sketch}")
    tokens = columns.ravel().astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    offsets = np.arange(SETS + 1, dtype=np.uint64) * EACH
    in_turns(
        benchmark,
        minhash(rows, hashes),
        lambda: digest(tokens, offsets, hashes, 42),
        rounds=15,
        against=f"rensa: RMinHash, {hashes} permutations{', rho sketch' if sketch else ''}, hashed tokens",
    )
    note(benchmark, SETS, hashes)


@pytest.mark.parametrize("hashes", HASHES)
def test_minhash_in_turns_with_datasketch(benchmark, columns, rows, hashes):
    """The row is the time of lshsample; ``peer_ms`` is that of datasketch for fewer sets."""
    benchmark.group = f"lshsample in turns with a peer, {hashes} hashes of {SETS:,} sets"
    datasketch = pytest.importorskip("datasketch")
    sets, first = columns[: sized(500, 20)].tolist(), datasketch.MinHash(num_perm=hashes)

    def peer():
        for elements in sets:
            own = datasketch.MinHash(num_perm=hashes, permutations=first.permutations, scheme=first.scheme,
                                     hashfunc=int)  # fmt: skip
            own.update_batch(elements)

    against = f"datasketch: MinHash(num_perm={hashes}), update_batch, hashed elements; one thread"
    in_turns(benchmark, minhash(rows, hashes), peer, rounds=9, scale=SETS / len(sets), against=against)
    note(benchmark, SETS, hashes)
