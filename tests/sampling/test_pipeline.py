"""Pipelines as values, as text and data, by name, bound; custom stages; invalid input."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import attrs
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from lshsample.errors import ArgumentError, PluginError
from lshsample.registry import make_family
from lshsample.sampling import (
    NAMED_PIPELINES,
    ActiveSet,
    AtLeast,
    Cap,
    ExactTop,
    Fill,
    Frequency,
    Full,
    Include,
    Pipeline,
    Retrieve,
    SamplerStage,
    Top,
    Uniform,
    make_pipeline,
    named_pipeline,
    parse_pipeline,
)
from lshsample.tables import HashTables


@attrs.frozen
class Near(SamplerStage):
    """Keeps ids below a bound, with options of several kinds."""

    bound: int
    strict: bool = True
    tag: str = ""

    def apply(self, active, batch):
        assert batch.n_rows == active.n_rows
        return active.keep(active.ids < self.bound)


CUSTOM = {"Near": Near}


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).standard_normal((500, 8), dtype=np.float32)


@pytest.fixture(scope="module")
def tables(rows):
    return HashTables(make_family("simhash", dim=8, n_hashes=5, n_tables=6, seed=1), threads=2).build(rows)


def test_composition_is_associative_and_compares_by_value(tables):
    left = (Retrieve() | AtLeast(2)) | (Cap(9) | Fill(4))
    assert left == Retrieve() | (AtLeast(2) | Cap(9)) | Fill(4)
    assert hash(left) == hash(Pipeline((Retrieve(), AtLeast(2), Cap(9), Fill(4))))
    assert left != Retrieve() | AtLeast(2) | Cap(9)
    assert [type(s) for s in left] == [Retrieve, AtLeast, Cap, Fill]
    assert len(left) == 4
    assert Retrieve(tables) != Retrieve()
    for bad in (3, Cap, "Cap(3)"):
        with pytest.raises(ArgumentError):
            _ = left | bad
    with pytest.raises(ArgumentError):
        Pipeline(())


STAGES = st.one_of(
    st.builds(Retrieve, probes=st.integers(1, 9), budget=st.none() | st.integers(1, 99)),
    *(
        st.builds(cls, st.integers(1, 10**6))
        for cls in (AtLeast, Cap, ExactTop, Fill, Frequency, Top, Uniform)
    ),
    st.builds(Include),
    st.builds(Full),
    st.builds(Near, st.integers(1, 9), st.booleans(), st.text(max_size=5)),
)


@settings(deadline=None, max_examples=80)
@given(st.lists(STAGES, min_size=1, max_size=6))
def test_text_and_data_round_trip(stages):
    pipeline = Pipeline(stages)
    assert parse_pipeline(str(pipeline), CUSTOM) == pipeline
    assert parse_pipeline(f"  ({pipeline})\n", CUSTOM) == pipeline
    assert Pipeline.from_dict(pipeline.to_dict(), CUSTOM) == pipeline
    assert Pipeline.from_toml(pipeline.to_toml(), CUSTOM) == pipeline


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Retrieve() | Capp(10)", r"one of the stages AtLeast.*'Capp\(10\)' at column 14"),
        ("Retrieve() | Cap", r"sampler must be Cap\(\) \(got 'Cap' at column 14\)"),
        ("Retrieve() | 3", r"'3' at column 14"),
        ("Retrieve() | Cap(0)", r"'Cap\(0\)' at column 14: k must be an integer .* \(got 0\)"),
        ("Retrieve() | Cap()", r"'Cap\(\)' at column 14 must be called as Cap\(k: int\) \(got missing"),
        ("Retrieve() | Cap(1, 2)", r"column 14.*too many"),
        ("Retrieve(probe=2)", r"column 1.*unexpected keyword argument 'probe'"),
        ("Cap(1 + x)", r"literal arguments \(got '1 \+ x' at column 5\)"),
        ("Cap(__import__('os').getpid())", r"literal arguments \(got .* at column 5\)"),
        ("Cap(**{'k': 3})", r"\*\*"),
        ("Retrieve() | | Cap(3)", r"column 14"),
        ("Retrieve() Cap(3)", "column"),
        ("Retrieve() & Cap(3)", "column 1"),
        ("os.system('x')", "column 1"),
        ("Retrieve(tables=5)", r"must be omitted: use \.bind"),
        ("Retrieve(7)", r"must be omitted: use \.bind"),
        ("", "a pipeline such as"),
        ("   ", "a pipeline such as"),
        ("(" * 5000, "stages joined"),
        ("x" * 20_000, "20000 characters"),
        ("Cap(3\0)", "null"),
        (None, "a pipeline such as"),
    ],
)
def test_errors_point_at_the_stage_and_the_column(text, message):
    with pytest.raises(ArgumentError, match=message):
        parse_pipeline(text)


@pytest.mark.parametrize(
    "data",
    [{}, {"stages": 3}, {"stages": []}, {"stages": [{}]}, {"stages": [{"stage": "Cap"}]}, {"stages": ["Cap"]},
     {"stages": [{"stage": "Cap", "k": 3, "x": 1}]}, {"stages": [{"stage": "None"}]}, {"stages": [], "x": 1}],
)  # fmt: skip
def test_bad_data_is_refused(data):
    with pytest.raises(ArgumentError):
        Pipeline.from_dict(data)


def test_tables_cannot_be_stored_in_data(tables):
    with pytest.raises(ArgumentError, match=r"a plain value \(use \.bind\(tables=\.\.\.\) for tables\)"):
        (Retrieve(tables) | Cap(3)).to_dict()
    with pytest.raises(ArgumentError):
        parse_pipeline(str(Retrieve(tables)))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Cap(0),
        lambda: Cap(True),
        lambda: Cap(2.0),
        lambda: Top(-1),
        lambda: AtLeast("2"),
        lambda: Uniform(2**31),
        lambda: Retrieve(probes=0),
        lambda: Retrieve(budget=0),
        lambda: Retrieve("tables"),
        lambda: Frequency(None),
        lambda: Frequency(3, power=1.5),
    ],
)
def test_bad_amounts_are_refused_when_stages_are_created(make):
    with pytest.raises(ArgumentError):
        make()


@pytest.mark.parametrize("name", NAMED_PIPELINES)
@pytest.mark.parametrize("n_active", [1, 2, 40, 600])
def test_named_pipelines_have_about_the_given_size(name, n_active, tables, rows):
    pipeline = named_pipeline(name, n_active=n_active, n_items=500)
    assert parse_pipeline(str(pipeline)) == pipeline
    include = sp.csr_array((np.ones(3), ([0, 1, 2], [1, 2, 3])), shape=(3, 500))
    for pool in (False, True):
        of_codebooks = HashTables(make_family("product-quantization", dim=rows.shape[1], bits=2))
        bound = of_codebooks.build(rows) if name == "midx" and n_active < 500 else tables
        sampler = pipeline.bind(tables=bound, frequencies=np.arange(1.0, 501))
        active = sampler.sample(rows[:3], include=include, pool=pool)
        size = len(active.ids) / active.n_rows
        assert size <= max(n_active, 2) + 3 or name == "full" or name.startswith("slide-") or n_active >= 500
        assert name.startswith("slide-") or np.all(np.isfinite(active.log_inclusion))
        assert {1, 2, 3} <= set(active.ids.tolist())


def test_make_pipeline_takes_names_and_texts():
    assert make_pipeline(" full ", n_active=3, n_items=9) == Pipeline((Full(),))
    assert make_pipeline("Cap(3)", n_active=3, n_items=9) == Pipeline((Cap(3),))
    with pytest.raises(ArgumentError, match="slide-vanilla"):
        make_pipeline("slide", n_active=3, n_items=9)
    for sizes in ({"n_active": 0, "n_items": 9}, {"n_active": 3, "n_items": True}):
        with pytest.raises(ArgumentError):
            named_pipeline("lsh", **sizes)


def test_samplers_of_stages_with_tables_need_no_binding(tables, rows):
    unbound = Retrieve(tables) | Cap(20)
    bound = (Retrieve() | Cap(20)).bind(tables=tables)
    np.testing.assert_array_equal(unbound.sample(rows[:5], seed=3).ids, bound.sample(rows[:5], seed=3).ids)
    assert len(Retrieve(tables).sample(rows[:5]).ids) == len(tables.query(rows[:5]).ids)
    with pytest.raises(ArgumentError, match="or bound by"):
        Cap(3).sample(rows)


def test_a_bound_sampler_sees_a_rebuild(rows):
    tables = HashTables(make_family("simhash", dim=8, n_hashes=5, n_tables=6)).build(rows)
    sampler = Retrieve().bind(tables=tables)
    before = sampler.sample(rows[:4]).ids.tolist()
    tables.rehash(rows, seed=8)
    assert sampler.sample(rows[:4]).ids.tolist() != before
    tables.rebuild(rows[:100])  # fewer ids than the sampler is bound to are allowed
    assert sampler.sample(rows[:4]).ids.max() < 100
    tables.rebuild(np.concatenate([rows, rows]))
    with pytest.raises(
        ArgumentError, match=r"tables must be of at most 500 items, as bound \(got ids up to 999\)"
    ):
        sampler.sample(rows[:4])


def test_tables_may_be_bound_before_they_are_built(rows):
    tables = HashTables(make_family("simhash", dim=8, n_hashes=5, n_tables=6))
    sampler = Retrieve().bind(n_items=500, tables=tables)
    with pytest.raises(ArgumentError, match="tables"):
        sampler.sample(rows[:3])
    tables.build(rows)
    assert len(sampler.sample(rows[:3])) == 3


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ("Retrieve()", {"n_items": 500}, "tables"),
        ("Retrieve()", {"tables": "x"}, "HashTables"),
        ("Uniform(9)", {}, "n_items"),
        ("Uniform(9)", {"n_items": 8}, r"a stage of at most 8 ids, the number of items \(got 9\)"),
        ("Fill(9)", {"n_items": 8}, r"a stage of at most 8 ids, the number of items \(got 9\)"),
        ("ExactTop(9)", {"n_items": 8}, r"a stage of at most 8 ids, the number of items \(got 9\)"),
        ("Uniform(9)", {"n_items": 0}, "n_items"),
        ("Uniform(9)", {"n_items": 2.5}, "n_items"),
        ("Frequency(9)", {"n_items": 8}, "frequencies"),
        ("Frequency(9)", {"frequencies": [1.0, -1]}, "frequencies"),
        ("Frequency(9)", {"frequencies": [1.0, np.nan]}, "frequencies"),
        ("Frequency(9)", {"frequencies": [0.0, 0]}, "frequencies"),
        ("Frequency(9)", {"frequencies": [[1.0]], "n_items": 1}, "frequencies"),
        ("Frequency(9)", {"frequencies": [1.0, 1], "n_items": 3}, "for 3 items, as given by n_items"),
        (" | ".join(["Uniform(1)"] * 17), {"n_items": 9}, "one of at most 16 stages"),
    ],
)
def test_binding_refuses_arguments_that_do_not_fit(text, arguments, message):
    with pytest.raises(ArgumentError, match=message):
        parse_pipeline(text).bind(**arguments)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"queries": np.full((2, 8), np.nan)}, "queries"),
        ({"queries": np.zeros((2, 7))}, "queries"),
        ({"queries": np.zeros(8)}, "queries"),
        ({}, "queries"),
        ({"include": np.zeros((2, 499))}, "include"),
        ({"include": sp.csr_array((2, 499))}, "include"),
        (
            {"include": sp.csr_array((3, 500))},
            r"include must be for 2 rows, as given by queries \(got 3 rows\)",
        ),
        ({"seed": -1}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"step": 1.5}, "step"),
        ({"pool": "yes"}, "pool"),
        ({"law": "p^K"}, "law"),
        ({"threads": 0}, "threads"),
        ({"n_queries": 4}, r"n_queries must be for 2 rows, as given by queries \(got 4 rows\)"),
    ],
)
def test_bad_arguments_of_sample_are_refused(given, message, tables, rows):
    sampler = (Retrieve() | Include()).bind(tables=tables)
    arguments = {"queries": rows[:2]} | given if given else {}
    with pytest.raises(ArgumentError, match=message):
        sampler.sample(**arguments)


def test_ids_to_include_out_of_range_are_refused(tables, rows):
    pattern = sp.csr_array((np.ones(1), ([0], [5])), shape=(2, 500))
    pattern.indices[0] = 500
    with pytest.raises(ArgumentError, match="include"):
        (Retrieve() | Include()).bind(tables=tables).sample(rows[:2], include=pattern)
    with pytest.raises(
        ArgumentError, match=r"include must be omitted, since Retrieve\(\) has no Include\(\) stage"
    ):
        Retrieve().bind(tables=tables).sample(rows[:2], include=sp.csr_array((2, 500)))


@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize(
    "text", ["Retrieve() | Cap(3) | Uniform(2)", "Uniform(2)", "ExactTop(3)", "Include() | Fill(2)"]
)
def test_no_queries_give_no_rows(text, pool, tables, rows):
    active = parse_pipeline(text).bind(tables=tables).sample(rows[:0], pool=pool)
    assert active.n_rows == int(pool)
    assert active.indptr[-1] == len(active.ids)


def test_forced_ids_are_labels():
    sampler = Include().bind(n_items=9)
    given = sp.csr_array((np.array([1.0, 0.0, 1.0]), ([0, 0, 0], [5, 4, 1])), shape=(1, 9))
    for include in (given, given.tocoo(), given.toarray(), given.toarray() > 0, [[5, 1]], [{1, 5}]):
        assert sampler.sample(include=include).row(0).tolist() == [1, 5]
    for include, message in (
        (given * 2, r"the value 2.0 at \(0, 1\)"),
        ([[9]], "the label 9 in row 0"),
        ([[-1]], "the label -1 in row 0"),
    ):
        with pytest.raises(ArgumentError, match=f"include must be .*{message}"):
            sampler.sample(include=include)


def test_forced_ids_outside_of_the_items_are_refused():
    """Whatever SciPy lets pass."""
    sampler = Include().bind(n_items=30)
    for indptr, indices in (
        ([0, 1, -100000000, 3, 4], [0, 1, 2, 3]),
        ([0, 1, 0, 3, 4], [0, 1, 2, 3]),
        ([0, 1, 2, 3, 4], [0, 1, 30, 3]),
    ):
        include = sp.csr_array((4, 30))
        include.indptr, include.indices, include.data = np.array(indptr), np.array(indices), np.ones(4)
        with pytest.raises(ArgumentError, match="include must be"):
            sampler.sample(include=include)


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_a_custom_stage_can_be_anywhere(threads, tables, rows):
    include = sp.csr_array((np.ones(2), ([0, 1], [3, 400])), shape=(6, 500))
    text = "Retrieve() | Include() | Near(200, tag='x') | Cap(10) | Uniform(20) | Near(450)"
    active = (
        parse_pipeline(text, CUSTOM)
        .bind(tables=tables)
        .sample(rows[:6], include=include, seed=1, threads=threads)
    )
    assert active.ids.max() < 450
    assert 3 in active.row(0)  # forced, and kept by the custom stage
    one = (
        parse_pipeline(text, CUSTOM).bind(tables=tables).sample(rows[:6], include=include, seed=1, threads=1)
    )
    np.testing.assert_array_equal(active.ids, one.ids)


def result(**changes):
    good = {
        "indptr": np.array([0, 2]),
        "ids": np.array([1, 2], np.int32),
        "counts": np.zeros(2, np.int32),
        "n_items": 9,
    }
    return ActiveSet(**(good | changes))


@pytest.mark.parametrize(
    "given",
    [
        None,
        result(ids=np.array([2, 1], np.int32)),
        result(ids=np.array([1, 1], np.int32)),
        result(ids=np.array([1, 9], np.int32)),
        result(ids=np.array([-1, 1], np.int32)),
        result(ids=np.array([1, 2])),
        result(indptr=np.array([0, 1])),
        result(indptr=np.array([0, 1, 2])),
        result(indptr=np.array([0, 2], np.int32)),
        result(counts=np.zeros(1, np.int32)),
        ValueError("of the stage"),
    ],
)
def test_errors_contain_the_stage_that_violates_the_contract(given):
    @attrs.frozen
    class Wrong(SamplerStage):
        def apply(self, active, batch):
            if isinstance(given, Exception):
                raise given
            return given

    with pytest.raises(PluginError, match="Wrong"):
        (Uniform(3) | Wrong()).bind(n_items=9).sample(n_queries=1)


def test_the_generator_of_a_batch_depends_on_seed_and_step(tables, rows):
    @attrs.frozen
    class Coin(SamplerStage):
        def apply(self, active, batch):
            return active.keep(batch.generator().random(len(active.ids)) < 0.5)

    sampler = (Retrieve() | Coin()).bind(tables=tables)
    one, again, other = (sampler.sample(rows[:9], seed=1, step=s).ids.tolist() for s in (0, 0, 1))
    assert one == again != other


def test_exact_top_agrees_with_brute_force(rows):
    integers = np.round(rows * 2)  # with ties
    for k in (1, 7, 500):
        active = ExactTop(k).bind(n_items=500, vectors=integers).sample(integers[:9])
        scores = integers[:9] @ integers.T
        for row in range(9):
            expected = np.lexsort((np.arange(500), -scores[row]))[:k]
            assert active.row(row).tolist() == sorted(expected)
    pooled = ExactTop(5).bind(n_items=500, vectors=integers).sample(integers[:9], pool=True)
    assert len(pooled.row(0)) == 5
    with pytest.raises(ArgumentError, match="vectors"):
        ExactTop(5).bind(n_items=500).sample(rows[:2])
    with pytest.raises(ArgumentError, match="vectors"):
        ExactTop(5).bind(n_items=500, vectors=rows).sample(np.zeros((2, 7)))


def test_active_sets_join_and_keep():
    active = result()
    with pytest.raises(ArgumentError, match="mask"):
        active.keep([1, 0])
    for bad in ([1, 2], [[0.5]], [[9]], [[1], [2]]):
        with pytest.raises(ArgumentError, match="ids"):
            active.join(bad)
    joined = active.join([[2, 8]])
    assert joined.ids.tolist() == [1, 2, 8]
    assert joined.is_biased
    assert len(joined) == 1


def test_concurrent_calls_do_not_disturb_each_other(tables, rows):
    sampler = (Retrieve() | Cap(20) | Uniform(10)).bind(tables=tables)
    expected = [sampler.sample(rows[:20], step=s).ids for s in range(20)]
    with ThreadPoolExecutor(4) as pool:
        found = list(
            pool.map(lambda s: sampler.sample(rows[:20], step=s, threads=1).ids, list(range(20)) * 5)
        )
    for step, ids in enumerate(found):
        np.testing.assert_array_equal(ids, expected[step % 20])


def test_samplers_pickle(tables, rows):
    sampler = pickle.loads(pickle.dumps((Retrieve() | Cap(20)).bind(tables=tables)))
    assert len(sampler.sample(rows[:4]).ids) == 80
    assert pickle.loads(pickle.dumps(Retrieve() | Cap(3))) == Retrieve() | Cap(3)


def test_rows_and_frequencies_of_the_wrong_type_are_refused(rows):
    bad = rows[:100].copy()
    bad[40, 3] = np.nan
    for k in (3, 200):
        with pytest.raises(ArgumentError, match=r"vectors must be finite .* items 0 to 99 that are NaN"):
            ExactTop(min(k, 100)).bind(vectors=bad).sample(rows[:2])
    for frequencies in ("abc", np.ones((3, 3)), [None, 1], 5):
        with pytest.raises(ArgumentError, match=r"frequencies must be .* \(got .* of shape"):
            Frequency(3).bind(frequencies=frequencies)
