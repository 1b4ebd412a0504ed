"""Sums from single tables and gradients of training examples: unbiased, with intervals that cover."""

from __future__ import annotations

import numpy as np
import pytest
from law_cases import (
    CASES,
    LONG,
    NAMES,
    SHORT,
    covered,
    data,
    drawn_tables,
    remember_laws,
    tables_of,
)

from lshsample.errors import UnsupportedError
from lshsample.estimates import GradientSampler, sum_by_tables
from lshsample.sampling import parse_pipeline
from lshsample.tables import HashTables

SEEDS = 2000 if LONG else 200
DRAWS = 4000 if LONG else 300
#: Allowed deviation of the coverage of 95 % intervals; larger for fewer draws.
ROOM = 0.02 if LONG else 0.05


@pytest.fixture(autouse=True)
def _laws_once(monkeypatch):
    remember_laws(monkeypatch)


def assert_mean(values, truth, slack=1e-4):
    error = np.std(values, axis=0, ddof=1) / np.sqrt(len(values))
    assert np.all(np.abs(np.mean(values, axis=0) - truth) <= 4 * error + slack * np.abs(truth))


@pytest.mark.parametrize("groups", [None, 3])
@pytest.mark.parametrize("name", NAMES)
def test_sums_by_tables_are_unbiased(name, groups):
    given = data(90)
    assert_mean(
        [
            sum_by_tables(tables, given.queries, given.values, groups=groups, threads=1).value
            for tables in drawn_tables(name, SEEDS)
        ],
        given.values.sum(),
    )


@pytest.mark.parametrize(
    "name", ["simhash", "simhash-hadamard", "e2lsh", "simple-lsh"] if LONG else SHORT[:1]
)
def test_sums_by_tables_with_probes_are_unbiased(name):
    given = data(90)
    assert_mean(
        [
            sum_by_tables(tables, given.queries, given.values, probes=3, threads=1).value
            for tables in drawn_tables(name, SEEDS)
        ],
        given.values.sum(),
    )


def test_sums_by_tables_of_bounded_buckets_are_unbiased():
    given = data(90)
    sums = [
        sum_by_tables(tables_of("simhash", s, bucket_size=5), given.queries, given.values, threads=1).value
        for s in range(SEEDS)
    ]
    assert_mean(sums, given.values.sum())


@pytest.mark.parametrize("name", NAMES if LONG else SHORT[:3])
def test_intervals_of_sums_by_tables_cover(name):
    """With many tables, as sums by one table are skewed; no intervals if tables share random numbers."""
    given, rates = data(90, mild=True), []
    family = CASES[name].make(n_tables=120 if LONG else 40)
    for seed in range(SEEDS):
        tables = HashTables(family.with_seed(seed), threads=1).build(given.items)
        estimate = sum_by_tables(tables, given.queries, given.values, groups=40 if LONG else 20, threads=1)
        if not family.independent_tables:
            with pytest.raises(UnsupportedError, match="independent tables"):
                estimate.interval()
            return
        rates.append(covered(estimate, np.full(2, given.values.sum())))
    assert abs(np.mean(rates) - 0.95) < ROOM, np.mean(rates)


#: Set families use only the large entries of a row.
OPTIONS = {"minhash": {"sets": "threshold", "threshold": 0.5}, "icws": {}}
OPTIONS["minhash-doph"] = OPTIONS["minhash"]
#: Numbers of hashes with which tables find few examples; those of the cases would find nearly all.
HASHES = {"e2lsh": 6, "e2lsh-hadamard": 6, "multiprobe-e2lsh": 6}


def gradients(name, loss, seed=3, pipeline="Retrieve() | Uniform(60)", law="conditional"):
    """A gradient sampler over 300 examples, and the parameters at which gradients are computed."""
    rng = np.random.default_rng(5)
    x = rng.standard_normal((300, 4))
    y = x @ [1.0, -1, 2, 0] + 0.3 * rng.standard_normal(300)
    y = np.sign(y) if loss == "logistic" else y
    dim = 4 + (loss == "squared")
    n_hashes = HASHES.get(name, CASES[name].many)
    family = CASES[name].make(n_hashes, dim=dim, **OPTIONS.get(name, {})).with_seed(seed)
    sampler = GradientSampler(x, y, family, loss=loss, pipeline=parse_pipeline(pipeline), law=law, threads=1)
    return sampler, np.array([0.5, 0.5, 0.5, 0.5])


@pytest.mark.parametrize("loss", ["squared", "logistic"])
@pytest.mark.parametrize("name", NAMES)
def test_sampled_gradients_are_unbiased_and_their_intervals_cover(name, loss):
    sampler, theta = gradients(name, loss)
    full, values, rates = sampler.full_gradient(theta), [], []
    for step in range(DRAWS):
        estimate = sampler.gradient(theta, step=step)
        values.append(estimate.value[0])
        low, high = estimate.interval(0.95)
        rates.append(np.mean((low <= full) & (full <= high)))
    assert_mean(values, full)
    assert abs(np.mean(rates) - 0.95) < ROOM, np.mean(rates)


@pytest.mark.parametrize("pipeline", ["Retrieve() | Uniform(60)", "Retrieve() | Cap(15) | Uniform(40)"])
@pytest.mark.parametrize("name", NAMES if LONG else SHORT[:2])
def test_sampled_gradients_are_unbiased_marginally(name, pipeline):
    values = []
    for seed in range(SEEDS):
        sampler, theta = gradients(name, "squared", seed, pipeline, "marginal")
        values.append(sampler.gradient(theta, seed=seed).value[0])
    assert_mean(values, sampler.full_gradient(theta))
