"""Estimators: unbiased over seeds for every lawful pipeline and family with a law; intervals that cover."""

from __future__ import annotations

import os
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample.errors import ArgumentError, UnsupportedError
from lshsample.estimators import (
    GradientSampler,
    attention,
    horvitz_thompson,
    kernel_density,
    partition_function,
    self_normalised,
    sigmoid_gradient,
    softmax_gradient,
    sum_by_tables,
)
from lshsample.registry import families, make_family
from lshsample.sampling import parse_pipeline
from lshsample.tables import HashTables

LONG = os.environ.get("LSHSAMPLE_LONG") == "1"
SEEDS = 2000 if LONG else 120
DRAWS = 4000 if LONG else 200
N, DIM = 90, 12


def data():
    rng = np.random.default_rng(0)
    items = np.maximum(rng.standard_normal((N, DIM)) + 0.4, 0).astype(np.float32)
    items[np.arange(N), rng.integers(0, DIM, N)] += 0.5
    queries = (np.maximum(rng.standard_normal((2, DIM)) + 0.6, 0) + 0.1).astype(np.float32)
    return items, queries, np.exp(rng.standard_normal(N))


ITEMS, QUERIES, VALUES = data()
INCLUDE = sp.csr_array((np.ones(2), ([0, 1], [3, 50])), shape=(2, N))

#: Options that leave several collisions on these rows, where the defaults do not.
_GAUSSIAN = {"inner": {"family": "simhash", "projection": "gaussian"}}
OPTIONS = {
    "cross-polytope": {"projection": "gaussian"},
    "e2lsh": {"width": 4.0, "projection": "gaussian"},
    "l2-alsh": {"inner": {"family": "e2lsh", "width": 2.5, "projection": "gaussian"}},
    "simhash": {"projection": "gaussian"},
    "multiprobe": {**_GAUSSIAN, "probes": 2},
    **dict.fromkeys(("norm-ranging", "sign-alsh", "simple-lsh"), _GAUSSIAN),
}


def lawful(name, few=3):
    """A family of few hashes, or None where it has no law of a code on these rows."""
    options = OPTIONS.get(name, {})
    try:
        family = make_family(name, dim=DIM, n_hashes=few, n_tables=6, seed=0, **options)
        if family.bits_per_hash > 1:
            family = make_family(name, dim=DIM, n_hashes=few // 3, n_tables=6, seed=0, **options)
        family = HashTables(family, threads=1).build(ITEMS).family
        family.pair_code_probability(QUERIES[:1], ITEMS[:1])
    except (UnsupportedError, ArgumentError):  # no law, or options that only its user can give
        return None
    return family


#: The default suite takes one family of each kind.
FEW = {"simhash", "minhash", "multiprobe", "simple-lsh"}
NAMES = [name for name in sorted(families() if LONG else FEW) if lawful(name) is not None]


@cache
def drawn_tables(name):
    family = lawful(name)
    return [HashTables(family.with_seed(seed), threads=1).build(ITEMS) for seed in range(SEEDS)]


def possible(name):
    """Items that a family can find, for each query: the others are not in its sums."""
    family = drawn_tables(name)[0].family
    rows = [np.repeat(QUERIES[[i]], N, axis=0) for i in range(2)]
    return np.array([family.pair_code_probability(q, ITEMS) > 1e-9 for q in rows])


def assert_mean(sums, truth, slack=1e-4):
    error = sums.std(axis=0, ddof=1) / np.sqrt(len(sums))
    assert np.all(np.abs(sums.mean(axis=0) - truth) <= 4 * error + slack * np.abs(truth))


OVER_FUNCTIONS = [
    "Retrieve()",
    "Retrieve() | AtLeast(2)",
    "Retrieve() | Cap(15)",
    "Retrieve(budget=12)",
    "Retrieve() | Include() | Uniform(15)",
    "Retrieve() | Cap(8) | Uniform(20)",
    "Retrieve() | Fill(80)",
]


def test_most_families_have_a_law():
    assert set(NAMES) >= FEW


@pytest.mark.parametrize("text", OVER_FUNCTIONS)
@pytest.mark.parametrize("name", NAMES)
def test_sums_are_unbiased_over_the_functions(name, text):
    reached = possible(name)
    sums = np.empty((SEEDS, 2))
    given = {"include": INCLUDE} if "Include" in text else {}
    for seed, tables in enumerate(drawn_tables(name)):
        sampler = parse_pipeline(text).bind(tables=tables)
        active = sampler.sample(QUERIES, seed=seed, law="functions", threads=1, **given)
        if active.is_biased:  # given the tables, all that Fill may add is there already: sums of a part only
            assert "Fill" in text
            sums[seed] = np.nan
            continue
        sums[seed] = horvitz_thompson(active, lambda a: VALUES[a.ids] * reached[a.row_of_ids(), a.ids]).value
    sums = sums[~np.isnan(sums[:, 0])]
    if len(sums) > 30:
        assert_mean(sums, (VALUES * reached).sum(axis=1))


@pytest.mark.parametrize("groups", [None, 3])
@pytest.mark.parametrize("name", NAMES)
def test_sums_by_tables_are_unbiased(name, groups):
    reached = possible(name)
    values = [
        sum_by_tables(
            tables,
            QUERIES,
            lambda a: VALUES[a.ids] * reached[a.row_of_ids(), a.ids],
            groups=groups,
            threads=1,
        ).value
        for tables in drawn_tables(name)
    ]
    assert_mean(np.array(values), (VALUES * reached).sum(axis=1))


def test_sums_by_tables_with_probes_are_unbiased():
    values = []
    for seed in range(SEEDS):
        family = make_family("simhash", dim=DIM, n_hashes=4, n_tables=4, seed=seed, projection="gaussian")
        tables = HashTables(family, threads=1).build(ITEMS)
        values.append(sum_by_tables(tables, QUERIES, VALUES, probes=3, threads=1).value)
    assert_mean(np.array(values), VALUES.sum())


GIVEN_TABLES = ["Uniform(25)", "Retrieve() | Uniform(20)", "Retrieve() | Top(9) | Include() | Uniform(15)",
                "Retrieve() | Cap(12) | Fill(40)"]  # fmt: skip


@cache
def few_tables():
    family = make_family("simhash", dim=DIM, n_hashes=8, n_tables=6, seed=1)
    return HashTables(family, threads=1).build(ITEMS)


def truths(values=VALUES):
    """What each estimator estimates, computed from all items: name -> (run, truth)."""
    logits = QUERIES.astype(float) @ ITEMS.T.astype(float) / 3
    p = np.exp(logits)
    z = p.sum(axis=1)
    p /= z[:, None]
    y = sp.csr_array((np.ones(2), ([0, 1], [5, 60])), shape=(2, N))
    weights = ITEMS / np.float32(3)
    distance = ((QUERIES[:, None].astype(float) - ITEMS) ** 2).sum(axis=2)
    rate = 1 / (1 + np.exp(-logits))
    loss = np.log1p(np.exp(logits)).sum(axis=1) - logits[[0, 1], [5, 60]]
    table = np.stack([values, 1 / (1 + values)], axis=1)
    return {
        "sum": (lambda a: horvitz_thompson(a, table), np.tile(table.sum(axis=0), (2, 1))),
        "partition": (lambda a: partition_function(a, QUERIES, ITEMS, scale=1 / 3), z),
        "density": (
            lambda a: kernel_density(a, QUERIES, ITEMS, bandwidth=2.0),
            np.exp(-distance / 8).mean(axis=1),
        ),
        "sigmoid loss": (lambda a: sigmoid_gradient(a, QUERIES, weights, y).loss, loss),
        "sigmoid gradient": (
            lambda a: sigmoid_gradient(a, QUERIES, weights, y).gradient,
            rate @ weights - weights[[5, 60]],
        ),
        # Ratios and logs, whose bias is of the order of 1 / n:
        "mean": (lambda a: self_normalised(a, values), np.full(2, values.mean())),
        "attention": (lambda a: attention(a, QUERIES, ITEMS, table, scale=1 / 3), p @ table),
        "softmax loss": (
            lambda a: softmax_gradient(a, QUERIES, weights, y).loss,
            np.log(z) - logits[[0, 1], [5, 60]],
        ),
        "softmax gradient": (
            lambda a: softmax_gradient(a, QUERIES, weights, y).gradient,
            p @ weights - weights[[5, 60]],
        ),
    }


UNBIASED = ["sum", "partition", "density", "sigmoid loss", "sigmoid gradient"]
RATIOS = ["mean", "attention", "softmax loss", "softmax gradient"]


@pytest.mark.parametrize("text", GIVEN_TABLES)
def test_estimates_given_the_tables(text):
    """Every estimator on the same draws: unbiased; ratios within their order of bias."""
    sampler = parse_pipeline(text).bind(tables=few_tables())
    given = {"include": INCLUDE} if "Include" in text else {}
    chosen = truths()
    values = {name: [] for name in chosen}
    for step in range(DRAWS):
        active = sampler.sample(QUERIES, step=step, threads=1, **given)
        for name, (run, _) in chosen.items():
            values[name].append(run(active).value)
    for name in UNBIASED:
        assert_mean(np.array(values[name]), chosen[name][1])
    for name in RATIOS:
        each, truth = np.array(values[name]), chosen[name][1]
        error = each.std(axis=0, ddof=1)
        assert np.all(np.abs(each.mean(axis=0) - truth) <= 4 * error / np.sqrt(DRAWS) + error / 4), name


@pytest.mark.parametrize("name", [*UNBIASED, *RATIOS])
def test_intervals_of_a_simple_draw_cover(name):
    """95 % intervals: 93 to 97 % of many, and what that allows of fewer."""
    run, truth = truths(np.sqrt(VALUES))[name]  # a normal interval needs more draws for heavy tails
    sampler = parse_pipeline("Retrieve() | Uniform(60)").bind(tables=few_tables())
    covered = []
    for step in range(DRAWS):
        low, high = run(sampler.sample(QUERIES, step=step, threads=1)).interval(0.95)
        covered.append(np.mean((low <= truth) & (truth <= high)))
    # A ratio of few uneven terms is skewed: its intervals cover 92 to 93 % of the gradients here.
    room = 0.035 if name == "softmax gradient" else 0.02
    assert abs(np.mean(covered) - 0.95) < (room if LONG else 0.05), np.mean(covered)


#: Pipelines in which every estimator is run over the functions of every family.
EVERY = ["Retrieve()", "Retrieve() | AtLeast(2)", "Retrieve(budget=12)", "Retrieve() | Cap(8) | Uniform(20)"]


def reached_truths(name, text):
    """What each linear estimator estimates where some items can never be found: they are not in its sums."""
    reached = np.ones((2, N), bool) if "Uniform" in text else possible(name)
    logits = np.where(reached, QUERIES.astype(float) @ ITEMS.T.astype(float) / 3, -np.inf)
    distance = ((QUERIES[:, None].astype(float) - ITEMS) ** 2).sum(axis=2)
    hit = (QUERIES @ ITEMS[[5, 60]].T / 3)[[0, 1], [0, 1]]
    rate = 1 / (1 + np.exp(-logits))
    return {
        "sum": reached @ np.stack([VALUES, 1 / (1 + VALUES)], axis=1),
        "partition": np.exp(logits).sum(axis=1),
        "density": np.where(reached, np.exp(-distance / 8), 0).sum(axis=1) / N,
        "sigmoid loss": np.logaddexp(0, logits).sum(axis=1) - hit,
        "sigmoid gradient": rate @ (ITEMS / 3) - ITEMS[[5, 60]] / 3,
    }


@pytest.mark.parametrize("text", EVERY)
@pytest.mark.parametrize("name", NAMES if LONG else ["simhash"])
def test_every_linear_estimator_over_the_functions(name, text):
    """Every estimator of a sum, in every pipeline, over the functions of every family."""
    runs, wanted = truths(), reached_truths(name, text)
    values = {estimator: [] for estimator in wanted}
    for seed, tables in enumerate(drawn_tables(name)):
        active = (
            parse_pipeline(text).bind(tables=tables).sample(QUERIES, seed=seed, law="functions", threads=1)
        )
        for estimator in wanted:
            values[estimator].append(runs[estimator][0](active).value)
    for estimator, truth in wanted.items():
        assert_mean(np.array(values[estimator]), truth)


@pytest.mark.parametrize("name", NAMES if LONG else ["simple-lsh"])
def test_every_interval_covers_with_every_family(name):
    """Every estimator's 95 % intervals, given one set of tables of the family."""
    chosen = truths(np.sqrt(VALUES))
    covered = {estimator: [] for estimator in chosen}
    built = HashTables(lawful(name, 8), threads=1).build(ITEMS)
    sampler = parse_pipeline("Retrieve() | Uniform(60)").bind(tables=built)
    found = parse_pipeline("Retrieve()").bind(tables=built).sample(QUERIES, threads=1)
    certain = np.diff(found.indptr)
    if certain.max() > N // 3:
        pytest.skip("the tables find most items: fewer draws matter than a normal interval needs")
    for step in range(SEEDS):
        active = sampler.sample(QUERIES, step=step, threads=1)
        for estimator, (run, truth) in chosen.items():
            low, high = run(active).interval(0.95)
            covered[estimator].append(np.mean((low <= truth) & (truth <= high)))
    for estimator, each in covered.items():
        room = 0.035 if estimator == "softmax gradient" else 0.02
        assert abs(np.mean(each) - 0.95) < (room if LONG else 0.06), (estimator, np.mean(each))


@pytest.mark.parametrize("text", ["Retrieve() | Cap(12) | Uniform(20)", "Frequency(30)"])
def test_intervals_of_replicates_cover(text):
    sampler = parse_pipeline(text).bind(tables=few_tables(), frequencies=VALUES + 1)
    covered = []
    for step in range(DRAWS // 2):
        sets = [sampler.sample(QUERIES, step=12 * step + k, threads=1) for k in range(12)]
        low, high = horvitz_thompson(sets, np.sqrt(VALUES)).interval(0.95)
        truth = np.sqrt(VALUES).sum()
        covered.append(np.mean((low <= truth) & (truth <= high)))
    assert abs(np.mean(covered) - 0.95) < (0.02 if LONG else 0.05), np.mean(covered)


def test_intervals_over_independent_tables_cover():
    """Per table, and over replicate tables: 93 to 97 % of many."""
    tables, covered, by_tables = [], [], []
    size, truth = (2000, 0.02) if LONG else (150, 0.05)
    for seed in range(size):
        family = make_family("simhash", dim=DIM, n_hashes=2, n_tables=30, seed=seed, projection="gaussian")
        tables.append(HashTables(family, threads=1).build(ITEMS))
        low, high = sum_by_tables(tables[-1], QUERIES, VALUES, groups=15, threads=1).interval(0.95)
        by_tables.append(np.mean((low <= VALUES.sum()) & (VALUES.sum() <= high)))
    few = [
        parse_pipeline("Retrieve() | Uniform(9)").bind(
            tables=HashTables(
                make_family("simhash", dim=DIM, n_hashes=4, n_tables=3, seed=seed), threads=1
            ).build(ITEMS)
        )
        for seed in range(size * 2)
    ]
    for begin in range(0, len(few), 12):
        z = partition_function(few[begin : begin + 12], QUERIES, ITEMS, scale=0.3, seed=begin)
        low, high = z.interval(0.95)
        exact = np.exp(0.3 * QUERIES.astype(float) @ ITEMS.T).sum(axis=1)
        covered.append(np.mean((low <= exact) & (exact <= high)))
    assert abs(np.mean(by_tables) - 0.95) < truth, np.mean(by_tables)
    assert abs(np.mean(covered) - 0.95) < 2.5 * truth, np.mean(covered)


@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_sampled_gradients_are_unbiased_and_their_intervals_cover(loss):
    rng = np.random.default_rng(5)
    x = rng.standard_normal((300, 4))
    y = x @ [1.0, -1, 2, 0] + 0.3 * rng.standard_normal(300)
    y = np.sign(y) if loss == "logistic" else y
    family = make_family("simhash", dim=4 + (loss == "squared"), n_hashes=7, n_tables=6, seed=3)
    pipeline = parse_pipeline("Retrieve() | Uniform(40)")
    sampler = GradientSampler(x, y, family, loss=loss, pipeline=pipeline, threads=1)
    theta = np.array([0.5, 0.5, 0.5, 0.5])
    full, values, covered = sampler.full_gradient(theta), [], []
    for step in range(DRAWS):
        estimate = sampler.gradient(theta, step=step)
        values.append(estimate.value[0])
        low, high = estimate.interval(0.95)
        covered.append(np.mean((low <= full) & (full <= high)))
    assert_mean(np.array(values), full)
    assert abs(np.mean(covered) - 0.95) < (0.02 if LONG else 0.05), np.mean(covered)


def test_observed_rates_are_calibrated_in_every_decile():
    """Ids come as often as exp(log_inclusion) says: by decile of the probability, over the functions."""
    pipeline, expected, hits = parse_pipeline("Retrieve() | Uniform(6)"), [], []
    family = drawn_tables("simhash")[0].family
    rows = [np.repeat(QUERIES[[i]], N, axis=0) for i in range(2)]
    from lshsample import laws

    q = np.array([family.pair_code_probability(each, ITEMS) for each in rows])
    told = laws.mixture_inclusion(laws.union_inclusion(q, family.n_tables), 6 / N)
    for seed, tables in enumerate(drawn_tables("simhash")):
        active = pipeline.bind(tables=tables).sample(QUERIES, seed=seed, law="functions", threads=1)
        seen = np.zeros((2, N))
        seen[active.row_of_ids(), active.ids] = 1
        np.testing.assert_allclose(
            np.exp(active.log_inclusion), told[active.row_of_ids(), active.ids], rtol=1e-4
        )
        expected.append(told)
        hits.append(seen)
    hits, told = np.array(hits).reshape(SEEDS, -1), told.ravel()
    edges = np.quantile(told, np.linspace(0, 1, 11))
    for low, high in pairwise(edges):
        chosen = (told >= low) & (told <= high)
        rates = hits[:, chosen].mean(axis=1)  # items of a decile share the functions of a seed
        error = max(rates.std(ddof=1), np.sqrt((told[chosen] * (1 - told[chosen])).sum()) / chosen.sum())
        assert abs(rates.mean() - told[chosen].mean()) < 4 * error / np.sqrt(SEEDS) + 1e-3
