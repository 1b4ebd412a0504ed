"""Tables that are built in slices: which step does what, what they hold, saving in the middle."""

from __future__ import annotations

import copy
import itertools
import json

import numpy as np
import pytest

from lshsample import Rehash
from lshsample._native.packed import SlicedPacked, build_packed
from lshsample.errors import ArgumentError, BiasedSampleError, CheckpointError, PluginError
from lshsample.sampling import MaintainedSampler, Sliced, make_pipeline
from lshsample.tables import HashTables

N, DIM, FIRST = 300, 10, 20


def sampler_of(steps=8, first=FIRST, **options):
    shape = {"n_hashes": 4, "n_tables": 6, "pipeline": "Retrieve() | Uniform(9)", "seed": 1, **options}
    return MaintainedSampler(DIM, N, rehash=Rehash(first, 0.0, strategy=Sliced(steps)), **shape)


def vectors_at(step):
    return np.random.default_rng(step).standard_normal((N, DIM), dtype=np.float32)


def contents(tables):
    return {name: array.tobytes() for name, array in tables.state.packed.arrays.items()}


@pytest.mark.parametrize("code_bits", [3, 8, 9, 20, 32])
@pytest.mark.parametrize("n_items", [1, 2, 300, 9000])
def test_slices_sort_as_a_build_at_once(n_items, code_bits):
    codes = np.random.default_rng(n_items).integers(0, 2**code_bits, (n_items, 5), dtype=np.uint32)
    whole = build_packed(lambda begin, end: codes[begin:end], n_items, 5, code_bits, 1, "test")
    for slices in (1, 2, 7, 40):
        sliced = SlicedPacked(n_items, 5, code_bits, "test")
        ends = [n_items * i // slices for i in range(slices + 1)]
        for begin, end in itertools.pairwise(ends):
            sliced.add(np.ascontiguousarray(codes[begin:end]), 2)
        np.testing.assert_array_equal(sliced.codes, codes)
        for end in sorted({sliced.n_steps * i // slices for i in range(1, slices + 1)} - {0}):
            sliced.sort_until(end, 2)
        for name, array in whole.arrays.items():
            np.testing.assert_array_equal(sliced.tables.arrays[name], array)


def test_codes_out_of_range_are_refused():
    sliced = SlicedPacked(3, 1, 4, "a family")
    with pytest.raises(PluginError, match="a family: returned a code that is not below"):
        sliced.add(np.array([[16]], np.uint32), 1)


@pytest.mark.parametrize("options", [{}, {"n_hashes": 14}], ids=["buckets", "wide codes"])
@pytest.mark.parametrize("threads", [1, 3])
def test_each_row_is_hashed_as_it_was_at_the_step_of_its_slice(threads, options):
    sampler = sampler_of(**options)
    for step in range(FIRST):
        sampler.refresh(vectors_at(step), step, threads)
    first, codes, hashed = sampler.tables, [], 0
    family = sampler.maintenance.family(2)
    for step in range(FIRST, FIRST + 7):
        sampler.refresh(vectors_at(step), step, threads)
        assert sampler.tables is first
        assert sampler.n_builds == 1
        done = len(sampler.maintenance.next_codes())
        codes.append(family.hash(vectors_at(step)[hashed:done]))
        assert done - hashed <= N * 7 // (5 * 8) + 1  # no step has more than its share: 5 parts hash, 2 sort
        hashed = done
    sampler.refresh(vectors_at(FIRST + 7), FIRST + 7, threads)
    assert sampler.n_builds == 2
    assert sampler.tables.family == family
    codes = np.concatenate(codes)
    expected = build_packed(lambda begin, end: codes[begin:end], N, 6, family.code_bits, 1, "test")
    assert contents(sampler.tables) == {name: a.tobytes() for name, a in expected.arrays.items()}


def test_the_work_is_a_function_of_the_step():
    """A step twice does nothing more; steps that were left out are caught up with."""
    vectors, each, some = vectors_at(0), sampler_of(), sampler_of()
    for step in (0, 20, 20, 21, 22, 23, 24, 25, 25):
        each.refresh(vectors, step)
    for step in (0, 20, 25):
        some.refresh(vectors, step)
    np.testing.assert_array_equal(each.maintenance.next_codes(), some.maintenance.next_codes())
    assert each.state() == some.state()
    some.refresh(vectors, 95)
    assert some.n_builds == 2
    some.refresh(vectors, 95)  # builds 3 and 4 were left out
    some.refresh(vectors, 102)
    assert some.n_builds == 5


def test_a_build_ends_before_the_next_one_is_due():
    sampler = sampler_of(steps=64, first=5)
    for step in range(40):
        sampler.refresh(vectors_at(step), step)
        assert sampler.n_builds == max(1, (step + 1) // 5)
    every = sampler_of(first=1)
    for step in range(3):
        every.refresh(vectors_at(step), step)
        assert every.n_builds == step + 1


@pytest.mark.parametrize("options", [{}, {"n_hashes": 14}], ids=["buckets", "wide codes"])
def test_a_build_continues_after_a_restart(tmp_path, options):
    sampler = sampler_of(**options)
    for step in range(FIRST + 8):
        vectors = vectors_at(step)
        sampler.refresh(vectors, step)
        if step < FIRST - 1:
            continue
        sampler.save_tables(tmp_path / "tables.lsh")
        state = json.loads(json.dumps(sampler.state()))
        restored, copied = sampler_of(**options), copy.deepcopy(sampler)
        restored.restore(state, tmp_path / "tables.lsh", vectors)
        for other in (restored, copied):
            for later in range(step + 1, FIRST + 10):
                other.refresh(vectors_at(later), later, 2)
            assert other.n_builds == 2
        assert contents(restored.tables) == contents(copied.tables)
        whole = HashTables.open(tmp_path / "tables.lsh", verify=True)  # other readers see the present tables
        assert contents(whole) == contents(sampler.tables)
    sampler.refresh(vectors_at(FIRST + 8), FIRST + 8)
    assert contents(sampler.tables) == contents(restored.tables)


def test_states_that_do_not_fit_are_refused(tmp_path):
    sampler, vectors = sampler_of(), vectors_at(0)
    for step in (0, 20, 25):
        sampler.refresh(vectors, step)
    sampler.save_tables(tmp_path / "next.lsh")
    named = sampler.state()
    other = sampler_of()
    other.refresh(vectors, 0)
    other.save_tables(tmp_path / "whole.lsh")
    with pytest.raises(CheckpointError, match="codes of the next tables"):
        other.restore(named, tmp_path / "whole.lsh")
    for wrong in ({}, {**named["next"], "slices": 0}, {**named["next"], "begin": "3"}, [1]):
        with pytest.raises(CheckpointError, match="does not describe the next build"):
            other.restore({**named, "next": wrong}, tmp_path / "next.lsh")
    with pytest.raises(CheckpointError, match="are not of a build"):
        other.restore({**named, "next": {**named["next"], "sorted": 10**9}}, tmp_path / "next.lsh")
    data = bytearray((tmp_path / "next.lsh").read_bytes())
    data[-4096] ^= 1  # the codes are the last array
    (tmp_path / "next.lsh").write_bytes(data)
    with pytest.raises(CheckpointError, match="next_codes does not match"):
        other.restore(named, tmp_path / "next.lsh")
    assert other.n_builds == 1
    other.refresh(vectors, 1)
    other.forget()
    assert other.state() is None


def test_bad_vectors_are_an_error_and_the_slice_is_tried_again():
    sampler, vectors = sampler_of(), vectors_at(0)
    sampler.refresh(vectors, 0)
    first = sampler.tables
    bad = vectors.copy()
    bad[7] = np.nan
    with pytest.raises(ArgumentError, match=r"vectors must be finite.*\(7, 0\)"):
        sampler.refresh(bad, 20)
    assert sampler.tables is first
    for step in range(20, 28):
        sampler.refresh(vectors, step)
    assert contents(sampler.tables) == contents(HashTables(sampler.tables.family).build(vectors))


def test_vectors_are_multiplied_by_the_factor_where_they_are_hashed():
    options = {"family": "e2lsh:width=2.0"}
    sampler, vectors = sampler_of(**options), vectors_at(0)
    for step in range(FIRST + 8):
        sampler.refresh(vectors, step, factor=0.25 if step else 1.0)
    family = sampler.tables.family
    assert contents(sampler.tables) == contents(HashTables(family).build(vectors * np.float32(0.25)))
    assert contents(sampler.tables) != contents(HashTables(family).build(vectors))


def test_probabilities_are_those_of_the_tables_in_use():
    """They are those of tables over the rows as they were hashed; nobody has these for marginal ones."""
    sampler, hashed = sampler_of(), np.empty((N, DIM), np.float32)
    for step in range(FIRST + 8):
        codes = sampler.maintenance.next_codes()
        first = 0 if codes is None else len(codes)
        hashed[first:] = vectors_at(step)[first:]
        sampler.refresh(vectors_at(step), step)
    queries = vectors_at(99)[:5]
    expected = sampler.pipeline.bind(n_items=N, tables=HashTables(sampler.tables.family).build(hashed))
    drawn, wanted = sampler.sample(queries, seed=3), expected.sample(queries, seed=3)
    np.testing.assert_array_equal(drawn.ids, wanted.ids)
    np.testing.assert_array_equal(drawn.log_inclusion, wanted.log_inclusion)
    marginal = sampler.sample(queries, seed=3, law="marginal")  # unbiased weights are those given the tables
    np.testing.assert_array_equal(marginal.log_inclusion, wanted.log_inclusion)
    bound = make_pipeline("Retrieve()", n_active=9, n_items=N).bind(
        n_items=N, tables=sampler.tables, vectors=hashed
    )
    with pytest.raises(BiasedSampleError, match="vectors"):
        _ = bound.sample(queries, law="marginal").log_inclusion


def test_a_family_that_is_fitted_to_all_rows_is_rebuilt_at_once():
    sampler, vectors = sampler_of(family="simple-lsh"), vectors_at(0)
    sampler.refresh(vectors, 0)
    sampler.refresh(100 * vectors, 20)
    assert sampler.n_builds == 2
    assert sampler.state() == {"builds": 2, "asynchronous": False}
