"""Explanations agree with the sets that they explain, and descriptions with the sets that tables give."""

import importlib.util
import re
from pathlib import Path

import attrs
import numpy as np
import pytest
import scipy.sparse as sp

from lshsample import HashTables, Retrieve, make_family, parse_pipeline
from lshsample.errors import ArgumentError
from lshsample.sampling import Pipeline

#: Pipelines of all kinds, also with stages that have no effect.
pytestmark = pytest.mark.filterwarnings("ignore::lshsample.errors.PipelineWarning")
N, DIM = 3000, 16
PIPELINES = [
    "Retrieve() | Top(60) | Include() | Uniform(30)",
    "Retrieve() | AtLeast(2) | Cap(20) | Fill(50)",
    "Retrieve(budget=40) | Frequency(20)",
    "ExactTop(9) | Uniform(7) | Full() | Cap(3)",
]


@pytest.fixture(scope="module")
def items():
    return np.random.default_rng(0).standard_normal((N, DIM), dtype=np.float32)


@pytest.fixture(scope="module")
def tables(items):
    return HashTables(make_family("simhash", dim=DIM, n_hashes=8, n_tables=12), threads=1).build(items)


@pytest.mark.parametrize("text", PIPELINES)
def test_an_explanation_is_of_the_set_that_is_drawn(text, items, tables):
    sampler = parse_pipeline(text).bind(tables=tables, frequencies=np.arange(N) + 1.0)
    include = sp.csr_array((np.ones(2), ([0, 0], [7, 9])), shape=(1, N)) if "Include" in text else None
    explanation = sampler.explain(items[:1], include=include, seed=3, step=4)
    active = sampler.sample(items[:1], include=include, seed=3, step=4, threads=1)
    assert np.array_equal(explanation.active.ids, active.ids)
    assert [report.stage for report in explanation.stages] == text.split(" | ")
    size = 0
    for report in explanation.stages:
        size += report.added - report.removed
        assert size == report.size
        assert report.reason
    assert size == len(active.ids)
    last = explanation.stages[-1]
    assert last.every_item_possible is (not active.is_biased)
    if not active.is_biased:
        ends = np.exp(active.log_inclusion[[active.log_inclusion.argmin(), active.log_inclusion.argmax()]])
        assert ends == pytest.approx([last.lowest, last.highest], rel=1e-6)
    assert explanation.stages[0].stage.split("(")[0] in str(explanation)
    assert explanation.to_dict()["stages"][0]["added"] == explanation.stages[0].added


def test_an_explanation_is_of_one_query(items, tables):
    with pytest.raises(ArgumentError, match=r"query must be one row \(got 2 rows\)"):
        parse_pipeline("Retrieve()").bind(tables=tables).explain(items[:2])


@pytest.mark.parametrize("measured", [False, True])
@pytest.mark.parametrize(
    "text",
    ["Retrieve()", "Retrieve() | AtLeast(2) | Uniform(30)", "Retrieve() | Cap(40)", "Retrieve() | Fill(500)"],
)
def test_expected_sizes_agree_with_observed_ones(text, measured, items):
    unrelated = np.random.default_rng(1).standard_normal((300, DIM), dtype=np.float32)
    family = make_family("simhash", dim=DIM, n_hashes=6, n_tables=8, projection="gaussian")
    pipeline = parse_pipeline(text)
    given = {"queries": unrelated, "vectors": items} if measured else {}
    description = pipeline.bind(tables=HashTables(family), n_items=N).describe(**given)
    sizes = []
    for seed in range(6):
        built = HashTables(family.with_seed(seed), threads=2).build(items)
        sizes.append(len(pipeline.bind(tables=built).sample(unrelated, threads=2).ids) / 300)
    assert description.expected_size == pytest.approx(np.mean(sizes), rel=0.15)
    assert description.memory_bytes == built.memory_bytes
    # How many ids a fill draws differs between queries, and bins differ in their queries: recall grows with
    # similarity query by query.
    alone = {"queries": unrelated[:1], "vectors": items} if measured else {}
    of_one = pipeline.bind(tables=HashTables(family), n_items=N).describe(**alone)
    assert np.all(np.diff(of_one.recall) >= -1e-9)
    assert np.all(np.diff(description.recall) >= -1e-9) or "Fill" in text
    assert pipeline.stages[0].name in str(description)


def test_descriptions_with_probes_and_without_rows(items):
    family = make_family("simhash", dim=DIM, n_hashes=8, n_tables=6, projection="gaussian")
    sampler = parse_pipeline("Retrieve(probes=4)").bind(tables=HashTables(family), n_items=N)
    with pytest.raises(ArgumentError, match="vectors must be given, to compute the probabilities of probes"):
        sampler.describe()
    description = sampler.describe(queries=items[:200], vectors=items)
    built = HashTables(family, threads=2).build(items)
    found = len(parse_pipeline("Retrieve(probes=4)").bind(tables=built).sample(items[:200]).ids) / 200
    assert description.expected_size == pytest.approx(found, rel=0.25)
    distances = HashTables(make_family("e2lsh", dim=DIM))
    with pytest.raises(ArgumentError, match="vectors must be given, to measure the 'euclidean'"):
        parse_pipeline("Retrieve()").bind(tables=distances, n_items=N).describe()


@pytest.mark.parametrize(
    "text",
    [
        "Uniform(400) | Retrieve() | AtLeast(2)",
        "Retrieve() | Retrieve() | AtLeast(3) | Uniform(9)",
        "Uniform(9) | AtLeast(1)",
    ],
)
def test_expected_sizes_with_counts_of_several_stages(text, items):
    family = make_family("simhash", dim=DIM, n_hashes=6, n_tables=8, projection="gaussian")
    parts = parse_pipeline(text).stages
    sizes = []
    for seed in range(8):
        # The first Retrieve() probes tables that it holds, the others those that are bound.
        held = HashTables(family.with_seed(100 + seed), threads=2).build(items)
        stages = [
            attrs.evolve(s, tables=held) if s == Retrieve() and i == 0 else s for i, s in enumerate(parts)
        ]
        bound = HashTables(family.with_seed(seed), threads=2).build(items)
        sampler = Pipeline(stages).bind(tables=bound)
        sizes.append(len(sampler.sample(items[:300], threads=2).ids) / 300)
    description = sampler.describe()
    assert description.expected_size == pytest.approx(np.mean(sizes), rel=0.15)
    assert description.memory_bytes == (bound.memory_bytes + held.memory_bytes * (parts[0] == Retrieve()))


def test_bounded_tables_are_described_as_bounded(items):
    family = make_family("simhash", dim=DIM, n_hashes=5, n_tables=8, projection="gaussian")
    tables = HashTables(family, bucket_size=16, threads=2).build(items)
    sampler = parse_pipeline("Retrieve()").bind(tables=tables)
    description = sampler.describe()
    assert description.memory_bytes == tables.memory_bytes
    assert description.expected_size == pytest.approx(len(sampler.sample(items[:300]).ids) / 300, rel=0.15)


def test_repeated_draws_by_frequency_are_described():
    sampler = parse_pipeline("Frequency(50)").bind(n_items=200, frequencies=1 / np.arange(1, 201) ** 1.5)
    sizes = np.diff(sampler.sample(n_queries=2000).indptr)
    assert sampler.describe().expected_size == pytest.approx(sizes.mean(), rel=0.02)
    assert sizes.mean() < 25


def test_rows_to_measure_on_are_checked(items, tables):
    sampler = parse_pipeline("Retrieve() | Uniform(5)").bind(tables=tables)
    for bad in (
        {"vectors": items[:, :8]},
        {"vectors": items[:0]},
        {"queries": items[:2] * np.nan},
        {"seed": -1},
    ):
        with pytest.raises(ArgumentError, match=next(iter(bad))):
            sampler.describe(**bad)
    unbuilt = parse_pipeline("Retrieve()").bind(tables=HashTables(tables.family), n_items=N)
    with pytest.raises(ArgumentError, match="vectors must be given, since there are queries"):
        unbuilt.describe(queries=items[:5])
    assert sampler.describe(vectors=items.tolist()).expected_size > 5


def test_the_plot_in_the_docs_is_the_output_of_its_script(tmp_path):
    pytest.importorskip("matplotlib")
    script = Path(__file__).parents[2] / "tools" / "plot_explanation.py"
    spec = importlib.util.spec_from_file_location("plot_explanation", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.plot(tmp_path / "explain.svg")

    def bars(path):
        """Relative widths of the bars, which do not depend on fonts."""
        text = path.read_text().split('<g id="axes_2">')[0]
        boxes = re.findall(r"M ([\d.]+) [\d.]+ \nL ([\d.]+) [\d.]+ \nL [^z]*z\n\" clip-path", text)
        widths = np.array([float(right) - float(left) for left, right in boxes])
        return np.abs(widths / np.abs(widths).max())

    here, there = bars(tmp_path / "explain.svg"), bars(script.parents[1] / "docs" / "explain.svg")
    assert len(here) == 8
    np.testing.assert_allclose(here, there, atol=0.01)
    assert [report.size for report in module.explained().stages] == [413, 47, 30, 70]


def test_a_cap_that_removes_nothing_says_so():
    explanation = parse_pipeline("Uniform(9) | Cap(30) | Cap(5)").bind(n_items=100).explain()
    assert [report.reason for report in explanation.stages[1:]] == [
        "nothing removed: at most 30 ids",
        "removed by a uniform draw that keeps 5 of 9",
    ]
