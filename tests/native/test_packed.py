"""Packed tables against a NumPy oracle: every size, code width and number of threads."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lshsample._native import core
from lshsample._native.packed import PackedTables, build_packed, memory_need
from lshsample._native.reader import NativeReader
from lshsample._native.sample import StageCall, Workspaces, run_plan
from lshsample.errors import NativeError, PluginError

SIZES = (1, 2, 3, 7, 17, 33, 129, 1000)


def packed_of(codes, bits, threads=1):
    return build_packed(lambda a, b: codes[a:b], len(codes), codes.shape[1], bits, threads, "family")


def random_codes(rng, n, n_tables, bits):
    return rng.integers(0, 2**bits, (n, n_tables), dtype=np.uint64).astype(np.uint32)


def retrieve(packed, codes, threads=1):
    call = StageCall(op="RETRIEVE", place=0, reader=NativeReader(packed), codes=np.ascontiguousarray(codes))
    places = Workspaces(packed.n_items)
    return run_plan(
        [call], len(codes), packed.n_items, seed=0, step=0, pooled=False, threads=threads, workspaces=places
    )


@pytest.mark.parametrize("bits", [1, 3, 8, 11, 12, 20, 22, 31, 32])
@pytest.mark.parametrize("n", SIZES)
def test_each_table_is_sorted_by_code_then_id(n, bits):
    codes = random_codes(np.random.default_rng(n * bits), n, 3, bits)
    packed = packed_of(codes, bits)
    for table in range(3):
        order = np.argsort(codes[:, table], kind="stable")
        np.testing.assert_array_equal(packed.ids[table], order)
        if packed.codes is not None:
            np.testing.assert_array_equal(packed.codes[table], codes[order, table])
    assert packed.is_sound(1)


@pytest.mark.parametrize("threads", [2, 3, 8, 32])
@pytest.mark.parametrize("bits", [5, 26])
def test_threads_give_the_same_tables(bits, threads):
    codes = random_codes(np.random.default_rng(0), 5000, 7, bits)
    one, many = packed_of(codes, bits), packed_of(codes, bits, threads)
    np.testing.assert_array_equal(one.ids, many.ids)
    np.testing.assert_array_equal(one.directory, many.directory)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 200), st.integers(1, 32), st.integers(0, 2**32 - 1), st.booleans())
def test_lookup_finds_exactly_the_equal_codes(n, bits, seed, skewed):
    rng = np.random.default_rng(seed)
    codes = random_codes(rng, n, 4, bits)
    if skewed:
        codes[rng.random(codes.shape) < 0.7] = codes.flat[0]
    probes = random_codes(rng, 5, 4, bits)
    probes[:3] = codes[rng.integers(0, n, 3)]
    found = retrieve(packed_of(codes, bits), probes[:, :, None])
    for row in range(5):
        counts = (codes == probes[row]).sum(axis=1)
        part = slice(found.indptr[row], found.indptr[row + 1])
        np.testing.assert_array_equal(found.ids[part], np.flatnonzero(counts))
        np.testing.assert_array_equal(found.counts[part], counts[counts > 0])


def test_a_directory_shorter_than_the_code_adds_no_collision():
    # 4 items have a directory of 2 bits; codes that agree there and differ below must not meet.
    codes = np.array([[0x80000000], [0x80000001], [0xFFFFFFFF], [0]], np.uint32)
    packed = packed_of(codes, 32)
    assert packed.codes is not None
    probes = np.array([0x80000000, 0x80000002, 0xFFFFFFFF, 0xFFFFFFFE, 1], np.uint32).reshape(5, 1, 1)
    found = retrieve(packed, probes)
    assert [found.ids[a:b].tolist() for a, b in zip(found.indptr, found.indptr[1:], strict=False)] == [
        [0], [], [2], [], [],
    ]  # fmt: skip


def test_a_code_beyond_the_width_is_refused_by_name():
    codes = np.array([[0], [8]], np.uint32)
    with pytest.raises(PluginError, match=r"family.*2\*\*3"):
        packed_of(codes, 3)


def test_a_query_code_out_of_range_has_an_empty_bucket():
    packed = packed_of(np.zeros((4, 1), np.uint32), 2)
    assert len(retrieve(packed, np.full((1, 1, 1), 2**32 - 1, np.uint32)).ids) == 0


@pytest.mark.parametrize("spoil", ["ids", "negative id", "directory", "end", "codes"])
def test_unsound_arrays_are_found(spoil):
    packed = packed_of(random_codes(np.random.default_rng(1), 50, 2, 30), 30)
    assert packed.codes is not None
    if spoil == "ids":
        packed.ids[1, 3] = 50
    elif spoil == "negative id":
        packed.ids[0, 0] = -1
    elif spoil == "directory":
        packed.directory[1, 2] = 60
    elif spoil == "end":
        packed.directory[0, -1] = 49
    else:
        packed.codes[0, [0, -1]] = packed.codes[0, [-1, 0]]
    assert not packed.is_sound(1)


def test_arrays_of_another_shape_are_unsound():
    packed = packed_of(random_codes(np.random.default_rng(1), 50, 2, 4), 4)
    other = PackedTables(50, 5, packed.ids, packed.codes, packed.directory)
    assert not other.is_sound(1)


def test_the_memory_told_is_the_memory_of_the_tables():
    for bits in (6, 25):
        packed = packed_of(random_codes(np.random.default_rng(1), 3000, 5, bits), bits)
        need = memory_need(3000, 5, bits, 2)
        assert need.tables == packed.nbytes
        assert need.peak >= need.tables


def test_the_peak_of_a_large_build_stays_near_the_tables():
    for bits in (12, 18, 24, 32):
        need = memory_need(670_091, 50, bits, 2)
        assert need.peak < 1.1 * need.tables


PEAK = """
import sys

import numpy as np

from lshsample import memory
from lshsample._native.packed import build_packed, memory_need

n, tables, bits = 400_000, 40, int(sys.argv[1])
codes = np.random.default_rng(0).integers(0, 2**bits, (4096, tables), dtype=np.uint32)
build_packed(lambda a, b: codes[: b - a], 4096, tables, bits, 2, "family")
before = memory.peak_bytes()
kept = build_packed(lambda a, b: codes[: b - a], n, tables, bits, 2, "family")
print((memory.peak_bytes() - before) / memory_need(n, tables, bits, 2).peak)
"""


@pytest.mark.parametrize("bits", [12, 26])
def test_the_peak_of_a_process_is_the_one_that_is_told(bits):
    run = subprocess.run([sys.executable, "-c", PEAK, str(bits)], capture_output=True, text=True, check=True)
    assert 0.85 < float(run.stdout) < 1.05


def test_an_unknown_stage_is_refused_and_the_workspace_stays_clean():
    places = Workspaces(10)
    call = StageCall(op="INCLUDE", place=0)
    for _ in range(2):
        with pytest.raises(NativeError):
            run_plan([call], 1, 10, seed=0, step=0, pooled=False, threads=1, workspaces=places)
    bad = StageCall(op="INCLUDE", place=0, pattern=(np.array([0, 2]), np.array([3, 10], np.int32)))
    with pytest.raises(NativeError, match="range"):
        run_plan([bad], 1, 10, seed=0, step=0, pooled=False, threads=1, workspaces=places)
    good = StageCall(op="INCLUDE", place=0, pattern=(np.array([0, 1]), np.array([3], np.int32)))
    drawn = run_plan([good], 1, 10, seed=0, step=0, pooled=False, threads=1, workspaces=places)
    assert drawn.ids.tolist() == [3]
    assert core.processors() >= 1
