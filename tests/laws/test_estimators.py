"""Estimators with tables of their own: sums one table at a time, gradients of training examples, corners."""

from __future__ import annotations

import numpy as np
import pytest
from lawful import (
    CASES,
    DIM,
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
from lshsample.estimates import (
    GradientSampler,
    horvitz_thompson,
    partition_function,
    softmax_gradient,
    sum_by_tables,
)
from lshsample.registry import make_family
from lshsample.sampling import parse_pipeline
from lshsample.tables import HashTables

SEEDS = 2000 if LONG else 200
DRAWS = 4000 if LONG else 300
#: Of 95 % intervals: 93 to 97 % of many, and what that allows of fewer.
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
    """With many tables, as sums by one are skewed; none where tables share random numbers."""
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


#: Families whose sets are of columns see a row's large entries only.
OPTIONS = {"minhash": {"sets": "threshold", "threshold": 0.5}, "icws": {}}
OPTIONS["minhash-doph"] = OPTIONS["minhash"]
#: Hashes that leave most examples to draws, where those of the cases find nearly all.
HASHES = {"e2lsh": 6, "e2lsh-hadamard": 6, "multiprobe-e2lsh": 6}


def gradients(name, loss, seed=3, pipeline="Retrieve() | Uniform(60)", law="conditional"):
    """A sampler of gradients over 300 examples, and where to take them."""
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
def test_sampled_gradients_are_unbiased_over_the_functions(name, pipeline):
    values = []
    for seed in range(SEEDS):
        sampler, theta = gradients(name, "squared", seed, pipeline, "marginal")
        values.append(sampler.gradient(theta, seed=seed).value[0])
    assert_mean(values, sampler.full_gradient(theta))


def test_draws_that_told_nothing_give_no_interval():
    """All but a few items are certain: a sample that hit none of the few says nothing of them.

    It had a standard error of 0, and intervals that held the truth in two of three draws.
    """
    given = data(90)
    family = make_family("simhash", dim=DIM, n_hashes=1, n_tables=6, seed=0)
    tables = HashTables(family, threads=1).build(given.items)
    certain = np.diff(tables.query(given.queries, n_probes=1).indptr)
    assert certain.min() < 90
    queries = np.tile(given.queries[[certain.argmin()]], (1000, 1))
    active = parse_pipeline("Retrieve() | Uniform(20)").bind(tables=tables).sample(queries, threads=1)
    estimate = horvitz_thompson(active, given.values)
    told_nothing = np.bincount(active.row_of_ids(), weights=active.log_inclusion < 0, minlength=1000) == 0
    assert 0 < told_nothing.mean() < 1
    assert (estimate.standard_error == np.inf).tolist() == told_nothing.tolist()
    assert covered(estimate, np.full(2, given.values.sum())) >= 0.93
    softmax = softmax_gradient(active, queries, given.items, given.targets[[0] * 1000])
    assert np.isfinite(softmax.loss.value).all()
    # Where nothing is left to chance, the sum is exact.
    whole = parse_pipeline("Full() | Uniform(20)").bind(n_items=90).sample(n_queries=1)
    if whole.draws is not None:
        assert horvitz_thompson(whole, given.values).standard_error.tolist() == [0]


@pytest.mark.parametrize("name", SHORT)
@pytest.mark.parametrize("law", ["conditional", "marginal"])
def test_estimates_are_the_same_bits_for_any_number_of_threads(name, law):
    """Values and standard errors, by samples and by tables."""
    given = data(90)
    q = np.tile(given.queries, (20, 1))
    texts = [
        "Retrieve() | Uniform(20)",
        "Retrieve(budget=12) | Uniform(9)",
        "Retrieve() | Cap(8) | Uniform(20)",
    ]
    texts += ["Retrieve()", "Retrieve(budget=12)", "Retrieve() | Cap(12)"] if law == "marginal" else []
    first = {}
    for threads in (1, 2, 3, 8):
        tables = HashTables(CASES[name].make(), threads=threads).build(given.items)
        runs = {"tables": sum_by_tables(tables, q, given.values, threads=threads)}
        for text in texts:
            sampler = parse_pipeline(text).bind(tables=tables)
            runs[text] = partition_function(sampler, q, given.items, scale=0.3, law=law, threads=threads)
        for key, run in runs.items():
            value, error = first.setdefault(key, (run.value, run.standard_error))
            np.testing.assert_array_equal(run.value, value)
            np.testing.assert_array_equal(run.standard_error, error)


def test_a_sample_without_ids_is_a_sum_of_nothing():
    """It stopped with an error of NumPy's where values have columns."""
    given = data(90)
    tables = HashTables(
        make_family("simhash", dim=DIM, n_hashes=20, n_tables=2, projection="gaussian"), threads=1
    )
    far = -given.queries
    active = parse_pipeline("Retrieve()").bind(tables=tables.build(given.items)).sample(far, law="marginal")
    assert not len(active.ids)
    assert horvitz_thompson(active, np.ones((90, 3))).value.tolist() == [[0, 0, 0], [0, 0, 0]]
    assert horvitz_thompson(active, lambda found: np.ones((len(found.ids), 2))).value.shape == (2, 2)
    assert partition_function(active, far, given.items).value.tolist() == [0, 0]
    by_tables = sum_by_tables(tables, far, np.ones((90, 3)))
    assert by_tables.value.tolist() == [[0, 0, 0], [0, 0, 0]]
