"""Descriptions are held to observation: sizes stage by stage, and recall by similarity, over many functions."""

import attrs
import numpy as np
import pytest

from lshsample import HashTables, make_family, parse_pipeline
from lshsample.sampling import NAMED_PIPELINES, named_pipeline
from lshsample.sampling.expected import collision_counts, expected_minimum

N, DIM, QUERIES, SEEDS = 4000, 32, 64, 60
OTHERS = [
    "Retrieve()",
    "Retrieve() | Top(15)",
    "Retrieve() | Top(1200) | Uniform(100)",
    "Retrieve() | AtLeast(3) | Top(20)",
    "Retrieve() | AtLeast(2) | Cap(90)",
    "Retrieve() | Cap(300)",
    "Retrieve() | Uniform(50) | Cap(700)",
    "Retrieve() | Fill(1200)",
    "Retrieve(budget=100)",
    "Retrieve(budget=700) | Top(300)",
    "Retrieve(budget=100000) | AtLeast(2)",
    "Uniform(900) | Retrieve() | Top(500)",
    "Uniform(500) | Cap(200) | Uniform(100)",
    "Frequency(400) | Top(100)",
    "ExactTop(50) | Retrieve() | Cap(400)",
    "Full() | Cap(350)",
    "Retrieve() | Retrieve() | AtLeast(3) | Uniform(9)",
]


@attrs.frozen(eq=False)
class World:
    """Items, queries near some of them, and tables over many draws of the functions."""

    items: np.ndarray
    queries: np.ndarray
    tables: list


def near(rows, cosine, rng):
    """Rows at a cosine from others, in random directions."""
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    other = rng.standard_normal(rows.shape)
    other -= (other * unit).sum(axis=1, keepdims=True) * unit
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    return (cosine * unit + (1 - cosine**2) ** 0.5 * other).astype(np.float32)


def world(family, scale, **options):
    """Items around a few centres of several densities, some of them alone."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((40, DIM))
    items = rng.standard_normal((N, DIM))
    clustered = N // 2
    items[:clustered] = centres[rng.integers(0, 40, clustered)] + 0.9 * items[:clustered]
    items = (scale * items / np.linalg.norm(items, axis=1, keepdims=True)).astype(np.float32)
    chosen = rng.permutation(N)[:QUERIES]
    queries = (scale * near(items[chosen], np.linspace(0.3, 0.95, QUERIES)[:, None], rng)).astype(np.float32)
    tables = [HashTables(family.with_seed(s), threads=1, **options).build(items) for s in range(SEEDS)]
    return World(items, queries, tables)


@pytest.fixture(scope="module")
def cosines():
    family = make_family("simhash", dim=DIM, n_hashes=6, n_tables=16, projection="gaussian")
    return world(family, 1.0)


def similarities(told_by, world):
    """The pairs that a description measures, all of them: as many queries, and every item."""
    return told_by.similarity_of(
        np.repeat(world.queries, N, axis=0), np.tile(world.items, (QUERIES, 1))
    ).reshape(QUERIES, N)


def observed(text, world, levels):
    """Sizes after each stage, (seeds, stages), and recall in bins of similarity, (seeds, bins)."""
    stages = parse_pipeline(text).stages
    similarity = similarities(world.tables[0].family, world)
    edges = np.linspace(similarity.min(), similarity.max(), levels + 1)
    place = np.clip(np.searchsorted(edges, similarity, side="right") - 1, 0, levels - 1)
    number = np.bincount(place.ravel(), minlength=levels)
    sizes, recall = np.empty((SEEDS, len(stages))), np.empty((SEEDS, levels))
    for seed, tables in enumerate(world.tables):
        for k in range(1, len(stages) + 1):
            part = parse_pipeline(" | ".join(map(str, stages[:k])))
            given = world.items if "ExactTop" in text else None
            sampler = part.bind(tables=tables, vectors=given, frequencies=np.arange(N) + 1.0)
            active = sampler.sample(world.queries, seed=seed, threads=1)
            sizes[seed, k - 1] = len(active.ids) / QUERIES
        found = np.bincount(place[active.row_of_ids(), active.ids], minlength=levels)
        recall[seed] = found / np.maximum(number, 1)
    return sizes, recall, number


def assert_described(text, world, room=0.03):
    sizes, recall, number = observed(text, world, 20)
    pipeline = parse_pipeline(text)
    unbuilt = HashTables(world.tables[0].family, bucket_size=world.tables[0].bucket_size)
    given = {"queries": world.queries, "vectors": world.items}
    sampler = pipeline.bind(tables=unbuilt, n_items=N, frequencies=np.arange(N) + 1.0)
    description = sampler.describe(**given)
    error = sizes.std(axis=0, ddof=1) / SEEDS**0.5
    wrong = np.abs(np.array(description.expected_sizes) - sizes.mean(axis=0))
    assert np.all(wrong <= np.maximum(3 * error, room * sizes.mean(axis=0))), (description.expected_sizes, sizes.mean(axis=0))
    error = recall.std(axis=0, ddof=1) / SEEDS**0.5
    wrong = np.abs(description.recall - recall.mean(axis=0))[number > 0]
    allowed = np.maximum(3 * error, room)[number > 0]
    assert np.all(wrong <= allowed), np.stack([description.recall, recall.mean(axis=0), error]).round(4)[:, number > 0]
    return wrong, recall


@pytest.mark.parametrize("n_active", [60, 400])
@pytest.mark.parametrize("name", NAMED_PIPELINES)
def test_named_pipelines_do_what_their_descriptions_say(name, n_active, cosines):
    assert_described(str(named_pipeline(name, n_active=n_active, n_items=N)), cosines)


@pytest.mark.parametrize("text", OTHERS)
def test_other_pipelines_do_what_their_descriptions_say(text, cosines):
    assert_described(text, cosines)


@pytest.mark.parametrize("text", ["Retrieve()", "Retrieve() | Top(80)", "Retrieve(budget=120)", "Retrieve() | Cap(90)"])
def test_bounded_buckets_are_described(text):
    family = make_family("simhash", dim=DIM, n_hashes=5, n_tables=16, projection="gaussian")
    assert_described(text, world(family, 1.0, bucket_size=20))


@pytest.mark.parametrize("text", ["Retrieve(probes=3)", "Retrieve(probes=3) | Top(120)", "Retrieve(probes=2, budget=300)"])
def test_probes_are_described(text):
    family = make_family("simhash", dim=DIM, n_hashes=8, n_tables=12, projection="gaussian")
    assert_described(text, world(family, 1.0))


@pytest.mark.parametrize("text", ["Retrieve() | Top(150) | Uniform(40)", "Retrieve(budget=250)"])
def test_other_families_are_described(text):
    family = make_family("e2lsh", dim=DIM, n_hashes=4, n_tables=16, width=3.0, projection="gaussian")
    assert_described(text, world(family, 1.0))
