"""The fused call: one call of the C core per sample, with the same bits and errors as separate hashing."""

import gc
import sys

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample import HashTables, hashing, make_family, parse_pipeline
from lshsample.errors import ArgumentError, PluginError

ROWS = np.random.default_rng(0).standard_normal((900, 24), dtype=np.float32)
QUERIES = ROWS[:21] + np.float32(0.1)
SPARSE = sp.csr_array(np.where(np.random.default_rng(1).random((900, 24)) < 0.3, np.abs(ROWS), 0))
FAMILIES = {
    "simhash": {"n_hashes": 6, "n_tables": 9},
    "cross-polytope": {"n_hashes": 1, "n_tables": 9, "dimension": 16},
    "multiprobe": {"n_hashes": 6, "n_tables": 9, "probes": 3},
    "minhash": {"n_hashes": 2, "n_tables": 9},
    "dwta": {"n_hashes": 3, "n_tables": 9},
}


def calls_of_the_core(call):
    """Names of the C functions that a call makes Python call."""
    names = []

    def note(frame, event, argument):
        if event == "c_call" and argument.__name__.startswith("lsh_"):
            names.append(argument.__name__)

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return names


@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize(
    "text", ["Retrieve()", "Retrieve(budget=40)", "Retrieve() | Top(20) | Include() | Uniform(9)"]
)
def test_a_sample_is_one_call_of_the_core(text, pool):
    tables = HashTables(make_family("simhash", dim=24, n_hashes=6, n_tables=9), threads=1).build(ROWS)
    sampler = parse_pipeline(text).bind(tables=tables)
    sampler.sample(QUERIES, threads=1)
    gc.disable()
    try:
        assert calls_of_the_core(lambda: sampler.sample(QUERIES, pool=pool, threads=1)) == ["lsh_sample_run"]
        tables.query(QUERIES, threads=1)
        assert calls_of_the_core(lambda: tables.query(QUERIES, threads=1)) == ["lsh_sample_run"]
    finally:
        gc.enable()


@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
def test_hashing_in_the_call_gives_the_same_bits_as_given_codes(name, pool, monkeypatch):
    tables = HashTables(make_family(name, dim=24, **FAMILIES[name]), threads=1).build(SPARSE)
    tables.update([4, 5], SPARSE[[7, 8]])
    sampler = parse_pipeline("Retrieve() | Cap(60) | Uniform(9)").bind(tables=tables)
    given = [np.ascontiguousarray(QUERIES[:, ::1]), QUERIES[::2], SPARSE[:21], SPARSE[:0], QUERIES[:0]]
    fused = [sampler.sample(q, pool=pool, threads=t, seed=3) for q in given for t in (1, 2)]
    monkeypatch.setattr("lshsample.hashing.query_kernel", lambda family, n_probes: None)
    separate = [sampler.sample(q, pool=pool, threads=1, seed=3) for q in given for _ in (1, 2)]
    for one, other in zip(fused, separate, strict=True):
        np.testing.assert_array_equal(one.indptr, other.indptr)
        np.testing.assert_array_equal(one.ids, other.ids)
        np.testing.assert_array_equal(one.counts, other.counts)
        np.testing.assert_array_equal(one.log_inclusion, other.log_inclusion)


@pytest.mark.parametrize(
    "text", ["Retrieve()", "Uniform(3)", "ExactTop(2) | Retrieve()", "Retrieve() | ExactTop(2)"]
)
def test_queries_that_are_not_finite_are_refused_with_their_position(text):
    tables = HashTables(make_family("simhash", dim=24, n_hashes=6, n_tables=9), threads=1).build(ROWS)
    sampler = parse_pipeline(text).bind(tables=tables)
    bad = QUERIES.copy()
    bad[5, 3] = np.inf
    with pytest.raises(ArgumentError, match=r"queries must be finite float32 values \(got inf at \(5, 3\)\)"):
        sampler.sample(bad)
    if "Exact" not in text:
        with pytest.raises(
            ArgumentError, match=r"queries must be finite float32 values \(got inf at \(5, 3\)\)"
        ):
            sampler.sample(sp.csr_array(bad))
    assert len(sampler.sample(QUERIES)) == 21  # the sampler's memory is in order


def test_queries_of_another_width_are_refused():
    tables = HashTables(make_family("simhash", dim=24, n_hashes=6, n_tables=9), threads=1).build(ROWS)
    message = r"queries must be (an array|a matrix) with 24 columns \(got 7 columns\)"
    for queries in (QUERIES[:, :7], sp.csr_array(QUERIES[:, :7])):
        with pytest.raises(ArgumentError, match=message):
            parse_pipeline("Retrieve()").bind(tables=tables).sample(queries)
        with pytest.raises(ArgumentError, match=message):
            tables.query(queries)


def test_a_kernel_that_fails_is_named(monkeypatch):
    family = make_family("simhash", dim=24, n_hashes=6, n_tables=9)
    tables = HashTables(family, threads=1).build(ROWS)
    sampler = parse_pipeline("Retrieve() | Cap(5)").bind(tables=tables)
    kernel = hashing.kernel_struct(tables.family, query=True)
    for field, value, says in (("code_bits", 5, "beyond 6 bits"), ("abi_version", 99, "native kernel")):
        before = getattr(kernel.pointer, field)
        setattr(kernel.pointer, field, value)
        try:
            with pytest.raises(PluginError, match=f"SimHash.*{says}"):
                sampler.sample(QUERIES)
        finally:
            setattr(kernel.pointer, field, before)
    assert len(sampler.sample(QUERIES).ids) == 5 * 21


def test_arrays_of_a_sample_outlive_it_and_can_be_written():
    tables = HashTables(make_family("simhash", dim=24, n_hashes=6, n_tables=9), threads=1).build(ROWS)
    ids = parse_pipeline("Retrieve()").bind(tables=tables).sample(QUERIES, threads=1).ids
    copy = ids.copy()
    for _ in range(4):
        gc.collect()
        parse_pipeline("Retrieve()").bind(tables=tables).sample(ROWS, threads=1)
    np.testing.assert_array_equal(ids, copy)
    ids[:] = 0
    assert ids.flags.writeable
