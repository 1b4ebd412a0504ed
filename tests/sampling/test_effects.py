"""Warnings of stages without an effect agree with what leaving the stages out changes."""

import functools
import itertools
import re

import attrs
import numpy as np
import pytest
import scipy.sparse as sp

from lshsample import AtLeast, Full, HashTables, Retrieve, Top, make_family, parse_pipeline
from lshsample.errors import PipelineWarning
from lshsample.sampling import NAMED_PIPELINES, Pipeline, SamplerStage, named_pipeline
from lshsample.sampling.effects import effect_warnings, probed_tables, repetitions
from lshsample.sampling.similarities import Retrieval, measured_sample

N, DIM, QUERIES = 1500, 16, 48
rng = np.random.default_rng(0)
ITEMS = rng.standard_normal((N, DIM), dtype=np.float32)
ROWS = ITEMS[:QUERIES] + 0.5 * rng.standard_normal((QUERIES, DIM), dtype=np.float32)
FAMILY = make_family("simhash", dim=DIM, n_hashes=6, n_tables=8, projection="gaussian")
TABLES = HashTables(FAMILY, threads=1).build(ITEMS)
WEIGHTS = 1 / np.arange(1, N + 1)
NEAR = np.argsort(-(ROWS @ ITEMS.T), axis=1)[:, :50]
INCLUDED = sp.csr_array(np.eye(QUERIES, N, k=700))

STAGES = [
    "Retrieve()", "AtLeast(1)", "AtLeast(3)", "AtLeast(9)", "Top(7)", "Top(1490)", "Cap(7)", "Cap(1490)",
    "Fill(3)", "Fill(900)", "Uniform(40)", "Frequency(60)", "ExactTop(5)", "Full()", "Include()",
]  # fmt: skip
PIPELINES = [" | ".join(stages) for stages in itertools.product(STAGES, repeat=2)]
TRIPLES = [" | ".join(stages) for stages in itertools.product(STAGES, repeat=3)]
PIPELINES += [TRIPLES[i] for i in rng.permutation(len(TRIPLES))[:80]]


@pytest.fixture(scope="module")
def query_populations():
    """A few queries' items, with the law of a retrieval from the tables."""
    sample = measured_sample({0: Retrieval.of(TABLES, 1, ITEMS)}, ROWS, ITEMS, N, 0)
    return [population for query in sample.queries for _, population in query.nodes(WEIGHTS / WEIGHTS.sum())]


def warned(text, populations):
    """Positions of the stages that have no effect, and of those that remove every id."""
    pipeline = parse_pipeline(text)
    probed = probed_tables(pipeline, TABLES)
    repeated = repetitions(pipeline, probed)
    placed = []
    for population in populations[::16]:
        law = population.retrievals[0]
        laws = {place: attrs.evolve(law, repeats=place in repeated) for place in probed}
        placed.append(attrs.evolve(population, retrievals=laws))
    idle, removing = set(), set()
    for message in effect_warnings(pipeline, placed, probed):
        place = int(message.split("(stage ")[1].split(")")[0]) - 1
        (removing if "removes every id" in message else idle).add(place)
        if "probes the same" in message and "adds no ids" not in message:
            idle.discard(place)
    return idle, removing


@functools.cache
def measured(stages):
    """The mean number of ids, and of the 50 nearest, the first and the included ones, for each query."""
    if not stages:
        return np.zeros((QUERIES, 4))
    forces = any(stage.forces_ids or stage.joins_every_item for stage in stages)
    sampler = Pipeline(stages).bind(tables=TABLES, vectors=ITEMS, frequencies=WEIGHTS)
    runs = []
    for step in range(5):
        active = sampler.sample(ROWS, include=INCLUDED if forces else None, step=step, threads=1)
        matrix = active.to_csr().toarray() > 0
        near = np.take_along_axis(matrix, NEAR, axis=1).sum(axis=1)
        own = matrix[np.arange(QUERIES), np.arange(QUERIES) + 700]
        runs.append(np.stack([matrix.sum(axis=1), near, matrix[:, :20].sum(axis=1), own], axis=1))
    return np.mean(runs, axis=0)


@pytest.mark.filterwarnings("ignore::lshsample.errors.PipelineWarning")
def test_warnings_agree_with_what_leaving_a_stage_out_changes(query_populations):
    """No stage with an effect is warned of; and most without one are, of all pairs and of many triples."""
    missed = warned_of = 0
    for text in PIPELINES:
        stages = parse_pipeline(text).stages
        idle, removing = warned(text, query_populations)
        whole = measured(stages)
        for place in range(len(stages)):
            rest = stages[:place] + stages[place + 1 :]
            # Two stages that are idle only beside each other are warned of once: the others stay.
            change = whole - measured(rest)
            error = change.std(axis=0) / np.sqrt(QUERIES)
            changes = np.any(np.abs(change.mean(axis=0)) > 5 * error + 1e-9)
            assert not (place in idle and changes), (text, place, change.mean(axis=0), error)
            missed += not changes and place not in idle and not removing
            warned_of += place in idle
        for place in removing:
            only_included = measured(stages[: place + 1])[:, 0].max() <= 1
            assert only_included, text
    assert warned_of > 150
    assert missed < warned_of / 4, (missed, warned_of)


CERTAIN = {
    "Top(5) | Retrieve()": "Top(5) (stage 1) has no effect: no stage before it adds ids",
    "Retrieve() | Retrieve()": "Retrieve() (stage 2) adds no ids: it probes the same buckets",
    "Retrieve() | Retrieve() | AtLeast(3)": "(stage 2) probes the same buckets as a stage before it, and",
    "Retrieve() | AtLeast(1)": "AtLeast(1) (stage 2) has no effect: it leaves the set before it unchanged",
    "Uniform(9) | AtLeast(1)": "AtLeast(1) (stage 2) removes every id",
    "Uniform(9) | Cap(9)": "Cap(9) (stage 2) has no effect: it leaves the set before it unchanged, of",
    "Uniform(9) | Fill(9)": "Fill(9) (stage 2) has no effect",
    "Retrieve() | Cap(9) | Cap(9)": "Cap(9) (stage 3) has no effect",
    "Retrieve() | Top(9) | Cap(20)": "Cap(20) (stage 3) has no effect",
    "Retrieve() | Cap(1500)": "Cap(1500) (stage 2) has no effect",
    "Retrieve() | AtLeast(2) | AtLeast(3)": "AtLeast(2) (stage 2) has no effect on the result",
    "Full() | Uniform(5)": "Uniform(5) (stage 2) has no effect",
    "Retrieve() | Full()": "Retrieve() (stage 1) has no effect on the result, which is the same without it",
    "Include() | Uniform(5) | Include()": "Include() (stage 3) has no effect: an equal stage before it",
}


@pytest.mark.parametrize("text", CERTAIN)
def test_what_is_certain_is_warned_of_when_a_sampler_is_made(text):
    pipeline = parse_pipeline(text)
    with pytest.warns(PipelineWarning) as caught:
        sampler = pipeline.bind(tables=TABLES)
    (message,) = (str(one.message) for one in caught)
    assert message.startswith(f"{text}: ")
    assert CERTAIN[text] in message
    assert caught[0].filename == __file__
    description = sampler.describe()
    assert any(CERTAIN[text].split(", of")[0] in warning for warning in description.warnings)
    assert all(f"warning: {warning}" in str(description) for warning in description.warnings)


#: Stages whose effect depends on the data, the pool or the included ids; and pipelines in use.
USEFUL = [
    "Retrieve()", "Retrieve() | AtLeast(9)", "Retrieve() | Cap(1000)", "Retrieve() | Fill(5)", "Include()",
    "Uniform(9) | Include() | Cap(9)", "Retrieve(budget=9) | Retrieve()", "Retrieve(probes=2) | Retrieve()",
    "Uniform(900) | Retrieve() | Top(500)", "Retrieve() | AtLeast(2) | Cap(20) | Fill(50)",
    "Frequency(50) | Fill(900)", "Uniform(5) | Uniform(5)", "Retrieve() | Cap(9) | Retrieve(probes=1)",
    *(str(named_pipeline(name, n_active=n, n_items=N)) for name in NAMED_PIPELINES for n in (20, 400)
      if name != "midx"),
]  # fmt: skip


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("text", USEFUL)
def test_nothing_is_warned_of_that_may_have_an_effect(text):
    parse_pipeline(text).bind(tables=TABLES, vectors=ITEMS, frequencies=WEIGHTS)


def warnings_of(pipeline, tables=TABLES, **rows):
    return pipeline.bind(tables=tables, vectors=ITEMS, frequencies=WEIGHTS).describe(**rows).warnings


def test_descriptions_warn_of_what_follows_from_the_data():
    (one,) = warnings_of(parse_pipeline("Retrieve() | AtLeast(9)"))
    assert (
        one == "AtLeast(9) (stage 2) removes every id: those before it collide at most 8 times with a query"
    )
    (one,) = warnings_of(parse_pipeline("Retrieve() | Cap(1200)"))
    assert re.search(r"Cap\(1200\) \(stage 2\) has no effect: .*, of about \d+ to \d+ ids", one)
    (one,) = warnings_of(parse_pipeline("Retrieve() | Fill(2)"))
    assert one.startswith("Fill(2) (stage 2) has no effect")
    assert not warnings_of(parse_pipeline("Retrieve() | Top(40) | Include() | Uniform(9)"))


def test_buckets_with_nearly_all_items_are_warned_of_with_a_remedy():
    moved = ITEMS + 6
    tables = HashTables(FAMILY, threads=1).build(moved)
    sampler = parse_pipeline("Retrieve() | Uniform(9)").bind(tables=tables)
    (one,) = sampler.describe().warnings
    assert re.search(
        r"Retrieve\(\) \(stage 1\) finds (9\d|100)% of all items.*centre the vectors.*n_hashes", one
    )
    centred = HashTables(FAMILY, threads=1).build(moved - moved.mean(axis=0))
    assert not parse_pipeline("Retrieve() | Uniform(9)").bind(tables=centred).describe().warnings


@attrs.frozen
class Anything(SamplerStage):
    """A stage that does not say what to expect of it."""

    def apply(self, active, batch):
        return active.join(np.zeros((active.n_rows, 1), np.int64))


@pytest.mark.filterwarnings("error")
def test_stages_beside_one_that_may_do_anything_are_not_judged_by_it():
    (Anything() | Top(5)).bind(n_items=9)
    (Retrieve() | Anything() | AtLeast(1)).bind(tables=TABLES)
    (Retrieve() | Anything() | Full()).bind(tables=TABLES)
    with pytest.warns(PipelineWarning, match=r"Top\(5\) \(stage 1\) has no effect"):
        (Top(5) | Anything()).bind(n_items=9)


def test_the_same_tables_are_found_when_stages_hold_them():
    with pytest.warns(PipelineWarning, match="probes the same buckets"):
        (Retrieve(TABLES) | Retrieve(TABLES)).bind(n_items=N)
    other = HashTables(FAMILY.with_seed(1), threads=1).build(ITEMS)
    (Retrieve(TABLES) | Retrieve(other)).bind(n_items=N)
