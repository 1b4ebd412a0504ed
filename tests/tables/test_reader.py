"""Readers: samplers over tables that are kept elsewhere give the bits of those over HashTables."""

from __future__ import annotations

import pickle
import threading

import attrs
import numpy as np
import pytest
import scipy.sparse as sp

from lshsample import hashing, parse_pipeline
from lshsample.errors import ArgumentError, PluginError, UnsupportedError
from lshsample.estimates import sum_by_tables
from lshsample.registry import make_family
from lshsample.sampling import Retrieve, Uniform
from lshsample.tables import Buckets, Candidates, HashTables, TableReader

DIM, N_ITEMS, N_QUERIES = 16, 400, 9


class Scanned(TableReader):
    """Brute-force buckets in NumPy: compares the codes of all items with those of the queries."""

    def __init__(self, family, rows, *, keep_rows=True):
        self._family, self._rows = family, rows if keep_rows else None
        self._codes = hashing.hash_rows(family, rows)

    @property
    def family(self):
        return self._family

    @property
    def n_ids(self):
        return len(self._codes)

    @property
    def vectors(self):
        return self._rows

    def candidates(self, queries, n_probes, *, threads=None):
        probed = hashing.probe_rows(self._family, queries, n_probes, threads=threads)
        counts = (self._codes[None, :, :, None] == probed[:, None]).sum((2, 3))
        rows, ids = counts.nonzero()
        indptr = np.searchsorted(rows, np.arange(len(probed) + 1))
        return Candidates(indptr, ids.astype(np.int32), counts[rows, ids].astype(np.int32))


class ScannedByTable(Scanned):
    """The same, which also gives the buckets of each table."""

    def buckets_of_codes(self, codes, *, threads=None):
        same = self._codes.T[None] == codes[:, :, None]
        sizes = same.sum(2)
        indptr = np.concatenate([[0], np.cumsum(sizes.ravel())])
        return Buckets(indptr, same.nonzero()[2].astype(np.int32), sizes)


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).standard_normal((N_ITEMS, DIM), dtype=np.float32)


@pytest.fixture(scope="module")
def queries(rows):
    noise = np.random.default_rng(1).standard_normal((N_QUERIES, DIM), dtype=np.float32)
    return rows[:N_QUERIES] + np.float32(0.5) * noise


@pytest.fixture(scope="module")
def family():
    return make_family("simhash", dim=DIM, n_hashes=4, n_tables=7, seed=2, projection="gaussian")


@pytest.fixture(scope="module")
def include():
    rng = np.random.default_rng(3)
    return sp.csr_array(rng.random((N_QUERIES, N_ITEMS)) < 0.01)


def assert_same(one, other):
    for name in ("indptr", "ids", "counts"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert one.biased_by == other.biased_by
    if one.biased_by is None:
        np.testing.assert_array_equal(one.log_inclusion, other.log_inclusion)


PIPELINES = [
    "Retrieve()",
    "Retrieve(probes=4)",
    "Retrieve() | AtLeast(2) | Uniform(5)",
    "Retrieve() | Top(20) | Include() | Uniform(8)",
    "Retrieve() | Cap(15) | Fill(30)",
    "Uniform(30) | Retrieve() | Cap(25) | Uniform(3)",
    "Include() | Retrieve() | Top(9) | Frequency(6)",
    "Retrieve() | Cap(10) | Retrieve(probes=3) | Top(12) | Uniform(4)",
]


@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("text", PIPELINES)
def test_samples_are_those_of_hash_tables(text, pool, family, rows, queries, include):
    pipeline = parse_pipeline(text)
    given = {"include": include} if pipeline.takes_include else {}
    frequencies = np.arange(1, N_ITEMS + 1)
    both = [
        pipeline.bind(tables=tables, frequencies=frequencies).sample(
            queries, seed=7, step=3, pool=pool, threads=2, **given
        )
        for tables in (HashTables(family).build(rows), Scanned(family, rows))
    ]
    assert_same(*both)


def test_a_stage_may_hold_a_reader(family, rows, queries):
    reader = Scanned(family, rows)
    bound = (Retrieve() | Uniform(4)).bind(tables=HashTables(family).build(rows))
    assert_same((Retrieve(tables=reader) | Uniform(4)).sample(queries, seed=1), bound.sample(queries, seed=1))


def test_the_marginal_law_needs_the_rows_of_the_reader(family, rows, queries):
    law = {"law": "marginal", "seed": 1}
    built = Retrieve().bind(tables=HashTables(family).build(rows)).sample(queries, **law)
    assert_same(built, Retrieve().bind(tables=Scanned(family, rows)).sample(queries, **law))
    without = Retrieve().bind(tables=Scanned(family, rows, keep_rows=False)).sample(queries, **law)
    assert "without the vectors" in without.biased_by


def test_what_needs_one_table_at_a_time_names_the_reader(family, rows, queries):
    reader = Scanned(family, rows)
    with pytest.raises(UnsupportedError, match="Scanned does not give the buckets of each table"):
        reader.buckets(queries)
    with pytest.raises(UnsupportedError, match="Scanned does not give the buckets"):
        sum_by_tables(reader, queries, np.ones(N_ITEMS))
    with pytest.raises(UnsupportedError, match=r"budget.*Scanned"):
        Retrieve(budget=20).bind(tables=reader).sample(queries)


def test_a_reader_of_buckets_serves_weights_by_table(family, rows, queries):
    built, reader = HashTables(family).build(rows), ScannedByTable(family, rows)
    ours, theirs = built.buckets(queries), reader.buckets(queries)
    np.testing.assert_array_equal(ours.sizes, theirs.sizes)
    np.testing.assert_array_equal(ours.ids, theirs.ids)
    one, other = (sum_by_tables(tables, queries, rows[:, :2]) for tables in (built, reader))
    np.testing.assert_array_equal(one.value, other.value)


def test_samplers_read_one_snapshot(family, rows, queries):
    class Live(Scanned):
        taken = 0

        def snapshot(self):
            self.taken += 1
            return Scanned(self._family, self._rows)

        def candidates(self, queries, n_probes, *, threads=None):
            raise AssertionError("the live tables are read")

    live = Live(family, rows)
    two = parse_pipeline("Retrieve() | Cap(5) | Retrieve(probes=2)").bind(tables=live)
    expected = two.pipeline.bind(tables=Scanned(family, rows)).sample(queries)
    assert live.taken == 0
    assert_same(two.sample(queries), expected)
    assert live.taken == 1


BROKEN = {
    "another type": (lambda f: (f.indptr, f.ids, f.counts), "returned tuple, expected Candidates"),
    "a float array": (lambda f: attrs.evolve(f, counts=f.counts.astype(float)), "counts is not a 1-D array"),
    "too few rows": (lambda f: attrs.evolve(f, indptr=f.indptr[:-1]), "indptr does not divide"),
    "a row that ends early": (
        lambda f: attrs.evolve(f, indptr=f.indptr[::-1].copy()),
        "indptr does not divide",
    ),
    "a count of 0": (lambda f: attrs.evolve(f, counts=f.counts * 0), "the smallest 0"),
    "a count too few": (lambda f: attrs.evolve(f, counts=f.counts[:-1]), "counts for"),
    "an id beyond": (lambda f: attrs.evolve(f, ids=f.ids + N_ITEMS), "from 0 to 399"),
    "a negative id": (lambda f: attrs.evolve(f, ids=f.ids - N_ITEMS), "from 0 to 399"),
    "an id twice": (lambda f: attrs.evolve(f, ids=np.full_like(f.ids, 3)), "do not ascend"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_candidates_that_break_the_contract_name_the_reader(fault, family, rows, queries):
    change, said = BROKEN[fault]

    class Faulty(Scanned):
        def candidates(self, queries, n_probes, *, threads=None):
            return change(super().candidates(queries, n_probes))

    with pytest.raises(PluginError, match=rf"Faulty\.candidates: .*{said}"):
        Faulty(family, rows).query(queries)
    with pytest.raises(PluginError, match="Faulty"):
        Retrieve().bind(tables=Faulty(family, rows)).sample(queries)


def test_empty_rows_are_candidates(family, rows):
    class Empty(Scanned):
        def candidates(self, queries, n_probes, *, threads=None):
            return Candidates(np.zeros(len(queries) + 1, np.int64), *(np.zeros(0, np.int32),) * 2)

    active = parse_pipeline("Retrieve() | Uniform(3)").bind(tables=Empty(family, rows)).sample(rows[:4])
    assert len(active.ids) == 12


def test_other_things_are_no_readers(family, rows):
    for thing in (rows, family, "tables", object()):
        with pytest.raises(ArgumentError, match="TableReader"):
            Retrieve(tables=thing)
        with pytest.raises(ArgumentError, match="TableReader"):
            Retrieve().bind(tables=thing)
    with pytest.raises(TypeError):
        TableReader()


def test_a_state_reads_and_stays(family, rows, queries):
    tables = HashTables(family).build(rows)
    before = tables.snapshot()
    expected = before.query(queries)
    tables.update(np.arange(50), rows[50:100]).delete([60])
    np.testing.assert_array_equal(before.query(queries).ids, expected.ids)
    assert before.n_items == N_ITEMS
    assert tables.snapshot().n_items == N_ITEMS - 1
    again = pickle.loads(pickle.dumps(before))
    np.testing.assert_array_equal(again.query(queries).ids, expected.ids)
    assert_same(Retrieve().bind(tables=again).sample(queries), Retrieve().bind(tables=before).sample(queries))


def test_threads_may_read_a_fresh_state_at_the_same_time(family, rows, queries):
    tables = HashTables(family, threads=1).build(rows)
    expected, failed = tables.query(queries).ids, []

    def read(state, begin):
        begin.wait()
        if not np.array_equal(state.query(queries, threads=1).ids, expected):
            failed.append(state)

    for _ in range(50):
        begin = threading.Barrier(4)
        state = attrs.evolve(tables.state)
        readers = [threading.Thread(target=read, args=(state, begin)) for _ in range(4)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
    assert not failed
