"""HashTables: state, bad input, memory."""

from __future__ import annotations

import copy
import pickle
import threading

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample import memory
from lshsample._native import core
from lshsample.errors import ArgumentError, MemoryBudgetError, PluginError, UnsupportedError
from lshsample.plugin import FamilySpec, HashFamily
from lshsample.registry import make_family
from lshsample.tables import HashTables


class Broken(HashFamily):
    """A family whose codes are wrong once `broken` is set."""

    similarity = "cosine"
    broken = False

    def hash(self, x):
        codes = (np.asarray(x)[:, :1] > 0).astype(np.uint32) * np.ones((1, self.n_tables), np.uint32)
        return codes + np.uint32(self.broken * 2**self.code_bits)

    def collision_probability(self, similarity):
        return np.asarray(similarity, float)


@pytest.fixture
def rows():
    return np.random.default_rng(0).standard_normal((300, 12), dtype=np.float32)


@pytest.fixture
def family():
    return make_family("simhash", dim=12, n_hashes=5, n_tables=6, seed=1)


def test_queries_find_the_equal_codes(rows, family):
    tables = HashTables(family).build(rows)
    assert (tables.n_items, tables.n_tables, len(tables.query(rows[:0]))) == (300, 6, 0)
    codes, found = family.hash(rows), tables.query(rows[:20])
    for row in range(20):
        np.testing.assert_array_equal(found.row(row), np.flatnonzero((codes == codes[row]).any(axis=1)))


def test_sparse_rows_are_tables_too(rows, family):
    sparse = sp.csr_array(np.where(np.abs(rows) > 1, rows, 0))
    dense = HashTables(family).build(sparse.toarray())
    np.testing.assert_array_equal(HashTables(family).build(sparse).state.base.ids, dense.state.base.ids)


@pytest.mark.parametrize("change", ["strided", "fortran", "float64", "unaligned", "reversed"])
def test_any_layout_gives_the_same_tables(change, rows, family):
    store = np.zeros((300, 3, 12), np.float32)
    store[:, 0] = rows
    raw = np.zeros(rows.nbytes + 1, np.uint8)
    unaligned = raw[1:].view(np.float32).reshape(rows.shape)
    unaligned[:] = rows
    given = {
        "strided": store[:, 0],
        "fortran": np.asfortranarray(rows),
        "float64": rows.astype(np.float64),
        "unaligned": unaligned,
        "reversed": rows[::-1][::-1],
    }[change]
    expected = HashTables(family).build(rows).state.base.ids
    np.testing.assert_array_equal(HashTables(family).build(given).state.base.ids, expected)


def test_more_probes_find_more_where_the_family_can(rows, family):
    tables = HashTables(family).build(rows)
    one, four = tables.query(rows[:5]), tables.query(rows[:5], n_probes=4)
    for row in range(5):
        assert set(one.row(row)) <= set(four.row(row))
    assert len(four.ids) > len(one.ids)
    with pytest.raises(UnsupportedError, match="probe"):
        HashTables(Broken(FamilySpec(dim=12, n_hashes=2, n_tables=2))).build(rows).query(rows, n_probes=2)


def test_rebuild_keeps_the_functions_and_rehash_draws_new_ones(rows, family):
    tables = HashTables(family).build(rows)
    before = tables.state
    tables.rebuild(rows[:100])
    assert tables.n_items == 100
    assert tables.family == family
    tables.rehash(rows, seed=99)
    assert tables.family == family.with_seed(99)
    assert before.base.n_items == 300  # a reader that holds the old state keeps it


def test_a_failed_build_keeps_the_old_state(rows, monkeypatch):
    tables = HashTables(Broken(FamilySpec(dim=12, n_hashes=2, n_tables=2))).build(rows)
    before = tables.state
    monkeypatch.setattr(Broken, "broken", True)
    with pytest.raises(PluginError, match="Broken"):
        tables.rebuild(rows)
    monkeypatch.setattr(Broken, "broken", False)
    for bad in (rows[:, :5], np.full((3, 12), np.nan), np.zeros((0, 12)), "rows", rows[0]):
        with pytest.raises(ArgumentError, match="vectors"):
            tables.rebuild(bad)
    with pytest.raises(ArgumentError, match="seed"):
        tables.rehash(rows, seed=-1)
    assert tables.state is before


def test_tables_that_were_not_built_say_so(rows, family):
    tables = HashTables(family)
    assert not tables.is_built
    assert "not built" in repr(tables)
    for call in (lambda: tables.query(rows), lambda: tables.rebuild(rows), lambda: tables.n_items):
        with pytest.raises(ArgumentError, match="build"):
            call()
    with pytest.raises(ArgumentError, match="family must be text"):
        HashTables(3)


@pytest.mark.parametrize(
    "bad", [np.full((1, 12), np.inf), np.zeros((1, 11)), np.zeros(12), np.array([["a"] * 12])]
)
def test_bad_queries_are_refused(bad, rows, family):
    with pytest.raises(ArgumentError, match="queries"):
        HashTables(family).build(rows).query(bad)


@pytest.mark.parametrize("threads", [0, -1, 10_000, True, "two"])
def test_bad_thread_numbers_are_refused(threads, rows, family):
    with pytest.raises(ArgumentError, match="threads"):
        HashTables(family, threads=threads)


@pytest.mark.parametrize("threads", [2, 3, 8, 32])
@pytest.mark.parametrize("name", ["cross-polytope", "dwta", "e2lsh", "minhash", "multiprobe", "simhash"])
def test_any_number_of_threads_gives_the_same_tables(name, threads, rows):
    """More than there are cores, too; whole and bounded buckets, on every instruction set."""
    family = make_family(name, dim=rows.shape[1], n_hashes=2, n_tables=6, seed=1)
    for options in ({}, {"bucket_size": 8}):
        one = HashTables(family, threads=1, **options).build(rows)
        probes = 2 if family.can_probe else 1
        expected = one.query(rows, n_probes=probes)
        for isa in core.available_isas():
            with core.forced_isa(isa):
                many = HashTables(family, threads=threads, **options).build(rows)
                found = many.query(rows, n_probes=probes, threads=threads)
            np.testing.assert_array_equal(one.state.base.ids, many.state.base.ids)
            for part in ("indptr", "ids", "counts"):
                np.testing.assert_array_equal(getattr(found, part), getattr(expected, part))


def test_memory_is_told_and_refused_with_the_figure(rows, family, monkeypatch):
    tables = HashTables(family).build(rows)
    before = tables.state
    assert HashTables.memory_needed(family, 300).tables == tables.memory_bytes
    monkeypatch.setattr(memory, "available_bytes", lambda: 1000)
    with pytest.raises(MemoryBudgetError, match=r"6 tables of 300 ids needs \d+ MiB; 0 MiB are available"):
        tables.rebuild(rows)
    assert tables.state is before
    with pytest.raises(ArgumentError):
        HashTables.memory_needed(family, 0)


def test_queries_during_rebuilds_see_one_state_or_the_other(rows, family):
    tables = HashTables(family, threads=1).build(rows)
    expected = {
        size: HashTables(family).build(rows[:size]).query(rows[:3]).ids.tolist() for size in (300, 200)
    }
    failures = []

    def read():
        for _ in range(200):
            if tables.query(rows[:3], threads=1).ids.tolist() not in expected.values():
                failures.append(1)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for i in range(100):
        tables.rebuild(rows[: (200, 300)[i % 2]])
    for reader in readers:
        reader.join()
    assert not failures


def test_tables_pickle_and_copy(rows, family):
    tables = HashTables(family).build(rows)
    tables.query(rows[:2])
    for again in (pickle.loads(pickle.dumps(tables)), copy.deepcopy(tables)):
        np.testing.assert_array_equal(again.query(rows[:5]).ids, tables.query(rows[:5]).ids)
