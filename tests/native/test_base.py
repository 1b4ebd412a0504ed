"""The base of the C core: threads, random streams, instruction sets, and the checks of the Python door."""

import os
import subprocess
import sys

import numpy as np
import pytest
import reference
import scipy.sparse as sp

from lshsample._native import core
from lshsample._native.core import ffi, lib
from lshsample.errors import ArgumentError, NativeError, PluginError


def run_python(code, **environment):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stdout.strip(), done.stderr


def parallel_for(n, grain, threads, body):
    """Run a Python function as the chunks of a parallel loop; it may return a status."""

    @ffi.callback("lsh_status(void *, int64_t, int64_t, int32_t)")
    def chunk(_, begin, end, worker):
        return body(begin, end, worker) or 0

    return lib.lsh_parallel_for(n, grain, threads, chunk, ffi.NULL)


@pytest.mark.parametrize("threads", [1, 2, 4, 7])
@pytest.mark.parametrize(("n", "grain"), [(0, 1), (1, 1), (10, 3), (64, 64), (65, 64), (1000, 7)])
def test_parallel_for_covers_the_range_once(n, grain, threads):
    chunks, workers = [], set()

    def body(begin, end, worker):
        chunks.append((begin, end))
        workers.add(worker)

    assert parallel_for(n, grain, threads, body) == lib.LSH_OK
    assert sorted(chunks) == [(i, min(i + grain, n)) for i in range(0, n, grain)]
    assert workers <= set(range(threads))


def test_parallel_for_reports_the_first_failure():
    assert parallel_for(100, 1, 1, lambda b, e, w: lib.LSH_FULL if b == 30 else 0) == lib.LSH_FULL
    seen = []

    def body(begin, end, worker):
        seen.append(begin)
        return lib.LSH_NOT_FINITE if begin == 5 else lib.LSH_FULL if begin > 5 else 0

    assert parallel_for(10_000, 1, 4, body) == lib.LSH_NOT_FINITE
    assert len(seen) < 10_000


def test_parallel_for_refuses_bad_sizes():
    for n, grain, threads in [(-1, 1, 1), (1, 0, 1), (1, 1, 0)]:
        assert parallel_for(n, grain, threads, lambda b, e, w: 0) == lib.LSH_INVALID


def test_parallel_for_inside_of_itself_and_from_several_threads():
    from concurrent.futures import ThreadPoolExecutor

    def nested(_):
        cells = set()

        def outer(begin, end, worker):
            return parallel_for(10, 1, 3, lambda b, e, w: cells.add((begin, b)) or 0)

        assert parallel_for(10, 1, 3, outer) == lib.LSH_OK
        return cells

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(nested, range(8))) == [{(i, j) for i in range(10) for j in range(10)}] * 8


FORK = """
import os, numpy as np
from lshsample._native import layers
a, b = np.ones((64, 40), np.float32), np.ones((3000, 40), np.float32)
wanted = layers.matmul_nt(a, b, threads=4)
child = os.fork()
same = np.array_equal(wanted, layers.matmul_nt(a, b, threads=4))
if child == 0:
    os._exit(0 if same else 1)
print(same, os.waitpid(child, 0)[1])
"""


def test_fork_after_threads():
    assert run_python(FORK)[1] == "True 0"


# Philox4x32-10 over (counter, key): Random123's published known answers.
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


def philox(*arguments):
    out = ffi.new("uint32_t[4]")
    lib.lsh_philox(*arguments, out)
    return tuple(out)


@pytest.mark.parametrize(("counter", "key", "wanted"), KNOWN)
def test_philox_known_answers(counter, key, wanted):
    index, stream, step, purpose = counter
    arguments = (key[0] | key[1] << 32, purpose, stream, step, index)
    assert philox(*arguments) == wanted
    assert reference.philox(*arguments) == wanted


def test_philox_restated(rng):
    for _ in range(50):
        seed, step = (int(v) for v in rng.integers(0, 2**63, size=2))
        purpose, stream, index = (int(v) for v in rng.integers(0, [8, 2**32, 2**32]))
        arguments = (seed, purpose, stream, step, index)
        assert philox(*arguments) == reference.philox(*arguments)


@pytest.mark.parametrize("name", core.available_isas())
def test_isa_is_forced_by_the_environment(name):
    code = "from lshsample._native import core; print(core.isa())"
    assert run_python(code, LSHSAMPLE_ISA=name)[1] == name


def test_unknown_isa_is_refused():
    status, _, errors = run_python("import lshsample._native.core", LSHSAMPLE_ISA="sse9")
    assert status != 0
    assert "LSHSAMPLE_ISA must be one of baseline" in errors
    assert "(got 'sse9')" in errors
    with pytest.raises(ArgumentError, match="isa"), core.forced_isa("sse9"):
        pass


def test_forced_isa_restores_the_one_before():
    before = core.isa()
    with core.forced_isa("baseline"):
        assert core.isa() == "baseline"
    assert core.isa() == before


def test_every_set_gives_nearly_the_same(rng):
    from lshsample._native import layers

    a, b = rng.standard_normal((20, 50), dtype=np.float32), rng.standard_normal((70, 50), dtype=np.float32)
    found = []
    for name in core.available_isas():
        with core.forced_isa(name):
            found.append(layers.matmul_nt(a, b))
    for other in found[1:]:
        np.testing.assert_allclose(found[0], other, atol=2e-5)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (lib.LSH_NO_MEMORY, MemoryError),
        (lib.LSH_PLUGIN_FAILED, PluginError),
        (lib.LSH_BAD_ABI, PluginError),
        (lib.LSH_INVALID, NativeError),
        (lib.LSH_OUT_OF_RANGE, NativeError),
    ],
)
def test_statuses_become_exceptions(status, error):
    core.check(lib.LSH_OK, "nothing")
    with pytest.raises(error, match="the call: "):
        core.check(status, "the call")


def test_every_status_has_a_text():
    texts = {ffi.string(lib.lsh_status_text(i)).decode() for i in range(9)}
    assert len(texts) == 9
    assert "unknown status" not in texts


def test_threads(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert core.threads_or_default(None) == core.processors()
    assert core.threads_or_default(3) == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "2,1")
    assert core.threads_or_default(None) == 2
    for bad in (0, -1, 10**6, True, 1.5, "x"):
        with pytest.raises(ArgumentError, match="threads"):
            core.threads_or_default(bad)
    monkeypatch.setenv("OMP_NUM_THREADS", "none")
    with pytest.raises(ArgumentError, match="OMP_NUM_THREADS"):
        core.threads_or_default(None)


def test_dense_rows_copies_only_what_it_must():
    whole = np.zeros((4, 6), np.float32)
    assert core.dense_rows(whole, "x") is whole
    assert np.shares_memory(core.dense_rows(whole[:, 1:4], "x"), whole)
    assert core.dense_rows(whole[:, ::2], "x").flags.c_contiguous
    assert core.dense_rows([[1, 2], [3, 4]], "x").dtype == np.float32
    assert core.dense_rows(whole[:0], "x").shape == (0, 6)


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros(3),
        np.zeros((2, 2, 2)),
        np.zeros((2, 2), complex),
        np.array([["a"]]),
        np.array([[object()]]),
        np.array([[np.nan]]),
        np.array([[np.inf, -np.inf]]),
        np.array([[1e39]]),
    ],
)
def test_dense_rows_refuses(bad):
    with pytest.raises(ArgumentError, match="x must be "):
        core.dense_rows(bad, "x")


def test_the_first_bad_value_is_named():
    values = np.zeros((3, 4), np.float32)
    values[1, 2] = np.nan
    with pytest.raises(ArgumentError, match=r"x must be finite float32 values \(got nan at \(1, 2\)\)"):
        core.dense_rows(values, "x")
    with pytest.raises(ArgumentError, match=r"x must be .* 5 columns \(got 4 columns\)"):
        core.dense_rows(np.zeros((3, 4)), "x", cols=5)


def test_csr_rows_is_canonical():
    twice = sp.coo_array(([1.0, 2.0, 4.0], ([0, 0, 1], [3, 3, 0])), shape=(2, 5))
    found = core.csr_rows(twice, "x")
    assert (found.indptr.dtype, found.indices.dtype, found.data.dtype) == (np.int32, np.int32, np.float32)
    assert found.indices.tolist() == [3, 0]
    assert found.data.tolist() == [3, 4]
    unsorted = sp.csr_array((np.ones(2), np.array([3, 1]), np.array([0, 2])), shape=(1, 5))
    assert core.csr_rows(unsorted, "x").indices.tolist() == [1, 3]
    assert unsorted.indices.tolist() == [3, 1]


@pytest.mark.parametrize(
    "bad",
    [
        np.eye(2),
        sp.csr_array(np.array([[np.nan]])),
        sp.csr_array(np.eye(2, dtype=complex)),
        sp.csr_array((np.ones(1), np.array([7]), np.array([0, 1])), shape=(1, 8))[:, :8],
    ],
)
def test_csr_rows_refuses(bad):
    with pytest.raises(ArgumentError, match="x must be "):
        core.csr_rows(bad, "x", cols=2)


def test_csr_rows_refuses_indices_out_of_range():
    broken = sp.csr_array((np.ones(1), np.array([1]), np.array([0, 1])), shape=(1, 5))
    broken.indices[0] = 9
    with pytest.raises(ArgumentError, match=r"x must be .* column indices from 0 to .* \(got column index "):
        core.csr_rows(broken, "x")


def faults_of(indptr, indices, values, cols, threads):
    view = ffi.new("lsh_csr *")
    arrays = np.array(indptr, np.int64), np.array(indices, np.int32), values
    view.indptr, view.indices = (core.pointer(t, a) for t, a in zip(("int64_t *", "int32_t *"), arrays))  # noqa: B905
    view.values, view.rows, view.cols = core.pointer("float *", values), len(indptr) - 1, cols
    found = ffi.new("lsh_csr_faults *")
    core.check(lib.lsh_csr_check(view[0], len(indices), threads, found), "x")
    return found.row, found.index, found.order, found.value, found.zero


def random_rows(rng, n_rows, cols):
    """Offsets and ascending columns, with empty rows among them."""
    lengths = rng.integers(0, 9, n_rows) * (rng.random(n_rows) < 0.8)
    columns = [np.sort(rng.choice(cols, n, replace=False)) for n in lengths]
    return np.concatenate([[0], np.cumsum(lengths)]), np.concatenate([np.empty(0, np.int64), *columns])


@pytest.mark.parametrize("n_rows", [0, 1, 7, 129, 25_000])
def test_the_first_fault_of_each_kind_is_found(n_rows):
    rng = np.random.default_rng(n_rows)
    indptr, indices = random_rows(rng, n_rows, 40)
    n = len(indices)
    values = rng.standard_normal(n).astype(np.float32)
    for threads in (1, 2, 4):
        assert faults_of(indptr, indices, values, 40, threads) == (-1, -1, -1, -1, -1)
    for _ in range(20 if n else 0):
        broken, bad = indices.copy(), values.copy()
        for place in rng.integers(0, n, 3):
            broken[place] = rng.choice([-1, 40, 2**31 - 1, -(2**31), 5])
            bad[place] = rng.choice([np.nan, np.inf, -np.inf, 3e38, 0.0, -0.0])
        outside = np.flatnonzero((broken < 0) | (broken >= 40))
        later = np.setdiff1d(np.arange(n), indptr)
        order = later[broken[later] <= broken[later - 1]]
        value = np.flatnonzero(~np.isfinite(bad))
        zero = np.flatnonzero(bad == 0)
        expected = (-1, *(int(p[0]) if len(p) else -1 for p in (outside, order, value, zero)))
        for threads in (1, 2, 4):
            assert faults_of(indptr, broken, bad, 40, threads) == expected


@pytest.mark.parametrize("indptr", [[0, 2, 1, 3], [0, 9, 3], [0, -1, 3], [-1, 3]])
def test_offsets_that_do_not_ascend(indptr):
    row, *others = faults_of(indptr, [0, 1, 2], None, 5, 2)
    assert row >= 0
    assert others == [-1, -1, -1, -1]
    if indptr[0] == 0:
        broken = sp.csr_array((len(indptr) - 1, 5), dtype=np.float32)
        broken.indptr, broken.indices, broken.data = np.array(indptr), np.arange(3), np.ones(3)
        with pytest.raises(
            ArgumentError, match=r"x must be .*ascending row offsets \(got row offsets that descend at row"
        ):
            core.csr_rows(broken, "x")


def test_what_sparse_arrays_claim_of_themselves_is_not_believed():
    twice = sp.csr_array((np.ones(3), np.array([4, 1, 4]), np.array([0, 3])), shape=(1, 5))
    twice.has_canonical_format = True
    found = core.csr_rows(twice, "x")
    assert found.indices.tolist() == [1, 4]
    assert found.data.tolist() == [1, 2]
    assert twice.indices.tolist() == [4, 1, 4]


def test_duplicates_are_summed_before_they_are_judged():
    large = sp.csr_array((np.array([1e39, -1e39, 1.0]), np.array([2, 2, 0]), np.array([0, 3])), shape=(1, 5))
    assert core.csr_rows(large, "x").data.tolist() == [1]
    large.data[1] = 1e39
    with pytest.raises(ArgumentError, match=r"x must be finite float32 values \(got 2e\+39 at \(0, 2\)\)"):
        core.csr_rows(large, "x")


def test_long_indices_beyond_int32_are_refused():
    broken = sp.csr_array((np.ones(1), np.array([1]), np.array([0, 1])), shape=(1, 5))
    broken.indices = np.array([2**32 + 1])
    with pytest.raises(ArgumentError, match=r"x must be .* column indices from 0 to .* \(got column index "):
        core.csr_rows(broken, "x")
