"""Bounded tables in the C core: their checks, their lookups, and what their struct refuses."""

from __future__ import annotations

import numpy as np
import pytest

from lshsample._native import core
from lshsample._native.bounded import bounded_bytes, bounded_shapes, empty_bounded, offer
from lshsample._native.buckets import read_buckets
from lshsample._native.core import ffi, lib
from lshsample._native.delta import moves
from lshsample._native.packed import build_packed
from lshsample._native.reader import NativeReader

BITS, N_TABLES = 3, 4


def bounded_of(n, room, seed=0):
    codes = np.random.default_rng(seed).integers(0, 2**BITS, (n, N_TABLES)).astype(np.uint32)
    tables = empty_bounded(N_TABLES, BITS, room, n, n)
    offer(tables, np.arange(n, dtype=np.int32), codes, 5, 1, "test")
    return tables, codes


@pytest.mark.parametrize("n", [1, 3, 17, 129])
@pytest.mark.parametrize("room", [1, 3, 64])
def test_buckets_hold_the_first_ids_or_a_subset(n, room):
    tables, codes = bounded_of(n, room)
    assert tables.is_sound(1)
    assert tables.nbytes == bounded_bytes(N_TABLES, BITS, room)
    asked = np.tile(np.arange(2**BITS, dtype=np.uint32)[:, None], N_TABLES)
    indptr, ids, sizes = read_buckets(NativeReader(tables), asked, 1)
    for place in range(asked.size):
        code, table = divmod(place, N_TABLES)
        offered, held = np.flatnonzero(codes[:, table] == code), ids[indptr[place] : indptr[place + 1]]
        assert sizes[code, table] == len(offered)
        assert len(held) == min(len(offered), room)
        assert set(held) <= set(offered)
        if len(offered) <= room:
            np.testing.assert_array_equal(held, offered)


def test_a_code_out_of_range_has_an_empty_bucket():
    tables, _ = bounded_of(50, 4)
    asked = np.full((1, N_TABLES), 2**BITS, np.uint32)
    indptr, ids, sizes = read_buckets(NativeReader(tables), asked, 1)
    assert len(ids) == 0
    assert not sizes.any()
    assert not indptr.any()


@pytest.mark.parametrize("fault", ["a size", "a negative size", "an id", "a negative id", "a shape"])
def test_unsound_arrays_are_found(fault):
    tables, _ = bounded_of(50, 4)
    code = int(np.argmax(tables.sizes[1] > 0))
    if fault == "a size":
        tables.sizes[1, code] += 1
    elif fault == "a negative size":
        tables.sizes[1, code] = -1
    elif fault == "a shape":
        assert bounded_shapes(N_TABLES, BITS, 4)["ids"] == tables.ids.shape
        tables = type(tables)(50, BITS, 4, tables.ids[:, :-4].copy(), tables.sizes, 50)
    else:
        tables.ids[1, 4 * code] = 50 if fault == "an id" else -1
    assert not tables.is_sound(2)


def test_a_reader_is_of_one_kind_and_only_packed_tables_have_deltas():
    bounded, codes = bounded_of(20, 4)
    packed = build_packed(lambda a, b: codes[a:b], 20, N_TABLES, BITS, 1, "test")
    delta = moves(np.arange(2, dtype=np.int32), codes[:2], codes[2:4], BITS, 1)
    both, neither = ffi.new("lsh_reader *"), ffi.new("lsh_reader *")
    structs = packed.struct(), bounded.struct()
    both.packed, both.bounded = structs
    reader = NativeReader(bounded, (delta,))
    held, sizes = np.empty((1, N_TABLES), np.int64), np.empty((1, N_TABLES), np.int64)
    out = core.pointer("int64_t *", held), core.pointer("int64_t *", sizes)
    for struct in (both, neither, reader.struct):
        asked = core.pointer("uint32_t *", codes[:1])
        assert lib.lsh_buckets_count(struct, asked, 1, 1, *out) == lib.LSH_INVALID
