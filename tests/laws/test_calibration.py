"""Ids are included at the rate ``exp(log_inclusion)``: each item, and each decile of the probability."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from law_cases import (
    DIM,
    LONG,
    NAMES,
    SHORT,
    built,
    chances,
    data,
    drawn_tables,
    prepared,
    remember_laws,
    sample,
    tables_of,
)
from scipy import stats

from lshsample import laws
from lshsample.registry import make_family

SEEDS = 4000 if LONG else 200
DRAWS = 20_000 if LONG else 2000
N, L = 90, 6


@pytest.fixture(autouse=True)
def _laws_once(monkeypatch):
    remember_laws(monkeypatch)


def predicted_of(text, retrieved, least):
    """Inclusion probabilities (2, N), from those of being in at least one and in at least two tables."""
    frequencies = (data(N).values + 1) / (data(N).values + 1).sum()
    forced = data(N).include.toarray() > 0
    return {
        "Retrieve()": retrieved,
        "Retrieve() | AtLeast(2)": least,
        "Retrieve() | Uniform(6)": laws.mixture_inclusion(retrieved, 6 / N),
        "Retrieve() | Frequency(9)": laws.mixture_inclusion(
            retrieved, laws.frequency_inclusion(frequencies, 9)
        ),
        "Retrieve() | Include() | Uniform(5)": np.where(forced, 1, laws.mixture_inclusion(retrieved, 5 / N)),
        "Uniform(7) | Retrieve()": laws.mixture_inclusion(retrieved, 7 / N),
    }[text]


#: Pipelines with marginal inclusion probabilities; and pipelines with weights that depend on the draws.
PROBABILITIES = ["Retrieve()", "Retrieve() | AtLeast(2)", "Retrieve() | Uniform(6)",
                 "Retrieve() | Frequency(9)", "Retrieve() | Include() | Uniform(5)",
                 "Uniform(7) | Retrieve()"]  # fmt: skip
WEIGHTS = ["Retrieve() | Cap(12)", "Retrieve() | AtLeast(2) | Cap(9)", "Retrieve(budget=12)",
           "Uniform(10) | Retrieve() | Cap(20)", "Retrieve() | Cap(8) | Uniform(20)",
           "Retrieve() | Top(9) | Uniform(12)", "Retrieve(budget=12) | Cap(9)"]  # fmt: skip

INDEPENDENT = [name for name in NAMES if prepared(name).independent_tables]


def hits_of(active):
    seen = np.zeros((active.n_rows, N), bool)
    seen[active.row_of_ids(), active.ids] = True
    return seen


def assert_calibrated(hits, predicted):
    """Hits (draws, items) against probabilities (items) or (draws, items)."""
    hits, predicted = (
        hits.reshape(len(hits), -1),
        np.broadcast_to(predicted.reshape(*predicted.shape[:-2], -1), (len(hits), hits[0].size)),
    )
    expected, variance = predicted.sum(axis=0), (predicted * (1 - predicted)).sum(axis=0)
    if np.ptp(predicted, axis=0).max() < 1e-6:  # equal in every draw: binomial limits for each item
        n, p = len(hits), np.clip(predicted[0], 0, 1)
        count = hits.sum(axis=0)
        least = np.minimum(stats.binom.cdf(count, n, p), stats.binom.sf(count - 1, n, p))
        assert least.min() > 1e-7, (least.argmin(), count[least.argmin()], expected[least.argmin()])
    else:
        assert np.all(np.abs(hits.sum(axis=0) - expected) <= 5 * np.sqrt(variance) + 1)
    edges = np.unique(np.quantile(predicted, np.linspace(0, 1, 11)))
    for low, high in pairwise(edges) if len(edges) > 1 else [(edges[0], edges[0])]:
        chosen = (predicted >= low) & (predicted <= high)
        # Items share the functions of a draw, so that hits in a decile are not independent.
        off = np.where(chosen, hits - predicted, 0.0).sum(axis=1)
        error = max(
            off.std(ddof=1), np.sqrt(np.where(chosen, predicted * (1 - predicted), 0).sum() / len(off))
        )
        assert abs(off.mean()) <= 4 * error / np.sqrt(len(off)) + 1e-4, (low, high, off.mean(), error)


def weights_of(sets):
    """The weight of each item in each set, 0 if it is not in it: (sets, items)."""
    weights = np.zeros((len(sets), sets[0].n_rows, N))
    for weight, active in zip(weights, sets, strict=True):
        weight[active.row_of_ids(), active.ids] = np.exp(-active.log_inclusion.astype(np.float64))
    return weights.reshape(len(sets), -1)


def assert_weighted(weights):
    """The mean weight of each item is 1, and that of each decile of items by inclusion rate.

    Deciles are computed from one half of the draws, means from the other half: in the same draws, items with
    a high observed rate would have mean weights above 1.
    """
    error = weights.std(axis=0, ddof=1) / np.sqrt(len(weights))
    # The mean weight of a rarely included item is not normally distributed; that of its decile is.
    often = (weights > 0).sum(axis=0) > 40
    assert np.all(np.abs(weights.mean(axis=0) - 1)[often] <= 5 * error[often] + 1e-3)
    ordered = np.argsort((weights[::2] > 0).mean(axis=0))
    for chosen in np.array_split(ordered, 10):
        each = weights[1::2, chosen].mean(axis=1)
        assert abs(each.mean() - 1) <= 4 * each.std(ddof=1) / np.sqrt(len(each)) + 1e-3, each.mean()


@pytest.mark.parametrize("text", PROBABILITIES if LONG else PROBABILITIES[:3])
@pytest.mark.parametrize("name", INDEPENDENT)
def test_marginal_probabilities(name, text):
    probes, given = prepared(name).default_probes, data(N)
    hits, predicted = [], []
    for seed, tables in enumerate(drawn_tables(name, SEEDS)):
        if probes == 1:
            q = chances(name) if not predicted else None
            if q is not None:
                predicted = [predicted_of(text, laws.union_inclusion(q, L), laws.at_least_inclusion(q, L, 2))]
            now = predicted[0]
        else:  # conditional on the query's margins
            each = np.array(
                [tables.family.probe_probability(q[None], given.items, probes) for q in given.queries]
            )
            now = predicted_of(text, laws.tables_inclusion(each), laws.tables_inclusion(each, 2))
            predicted.append(now)
        active = sample(text, tables, seed=seed)
        np.testing.assert_allclose(
            np.exp(active.log_inclusion), now[active.row_of_ids(), active.ids], rtol=1e-4
        )
        hits.append(hits_of(active))
    assert_calibrated(np.array(hits), np.array(predicted) if probes > 1 else predicted[0])


@pytest.mark.parametrize("text", ["Retrieve()", *WEIGHTS] if LONG else WEIGHTS[:1])
@pytest.mark.parametrize("name", NAMES if LONG else SHORT[:2])
def test_marginal_weights(name, text):
    if "AtLeast" in text and not prepared(name).independent_tables:
        return
    tables = drawn_tables(name, SEEDS)
    assert_weighted(weights_of([sample(text, each, seed=seed) for seed, each in enumerate(tables)]))


def test_weights_of_bounded_buckets():
    sets = [sample("Retrieve()", tables_of("simhash", s, bucket_size=5), seed=s) for s in range(SEEDS)]
    assert_weighted(weights_of(sets))


RARE = {"dwta": ("dwta", {"window": 8}), "wta": ("wta", {"window": 8}), "minhash": ("minhash", {"bits": 16}),
        "simhash": ("simhash", {"projection": "gaussian"}), "icws": ("icws", {})}  # fmt: skip


@pytest.mark.parametrize("name", RARE if LONG else ["dwta"])
def test_rarely_included_items(name):
    """Probabilities down to 10^-6: hits are counted, as sums over seeds would be too noisy."""
    family, options = RARE[name]
    n_hashes, tables, seeds = (1 if "wta" in name else 2 if name in ("icws", "minhash") else 10), 2000, 20
    given = data(N)
    hits, trials = np.zeros((2, N)), (tables // 2) * seeds * (4 if LONG else 1)
    for seed in range(seeds * (4 if LONG else 1)):
        functions = make_family(family, dim=DIM, n_hashes=n_hashes, n_tables=tables, seed=seed, **options)
        agreed = functions.hash_query(given.queries)[:, None] == functions.hash(given.items)
        hits += (agreed[:, :, ::2] & agreed[:, :, 1::2]).sum(axis=2)  # both of two tables
    q = [functions.pair_code_probability(np.repeat(r[None], N, axis=0), given.items) for r in given.queries]
    predicted = np.clip(np.array(q), 0, 1) ** 2
    least = np.minimum(stats.binom.cdf(hits, trials, predicted), stats.binom.sf(hits - 1, trials, predicted))
    assert least.min() > 1e-6, (predicted.ravel()[least.argmin()], hits.ravel()[least.argmin()], trials)
    for chosen in np.array_split(np.argsort(predicted.ravel()), 10):
        mean = trials * predicted.ravel()[chosen].sum()
        count = hits.ravel()[chosen].sum()
        # Items share functions: the spread of the count is up to twice that of independent items here.
        assert abs(count - mean) <= 8 * np.sqrt(mean) + 8, (predicted.ravel()[chosen].max(), count, mean)


CONDITIONAL_PROBABILITIES = [
    "Uniform(7)", "Uniform(7) | Include()", "Retrieve() | Uniform(7)", "Retrieve() | Cap(5) | Uniform(7)",
    "Retrieve() | Top(5) | Include() | Uniform(7)", "Retrieve() | AtLeast(2) | Uniform(20)",
    "Retrieve() | Cap(6) | Fill(30)", "Frequency(12)", "Frequency(6) | Uniform(3) | Frequency(6)",
    "Retrieve() | Cap(5) | Frequency(9)", "Uniform(20) | Cap(9)", "Full() | Cap(20)",
    "Uniform(9) | Retrieve()", "ExactTop(5) | Include() | Uniform(9)",
]  # fmt: skip
CONDITIONAL_WEIGHTS = [
    "Retrieve() | Uniform(20) | Cap(12)", "Frequency(25) | Cap(9)", "Retrieve(budget=5) | Uniform(9)",
    "Retrieve() | Uniform(20) | Top(7) | Uniform(9)", "Uniform(15) | Retrieve() | Include() | Cap(14)",
    "Frequency(9) | Fill(40)",
]  # fmt: skip


def drawn(name, text):
    """Active sets of many copies of both queries, from the same tables."""
    return sample(text, built(name, N), seed=3, law="conditional", copies=DRAWS)


@pytest.mark.parametrize("text", CONDITIONAL_PROBABILITIES if LONG else CONDITIONAL_PROBABILITIES[3:4])
@pytest.mark.parametrize("name", NAMES)
def test_conditional_probabilities(name, text):
    active = drawn(name, text)
    row, pi = active.row_of_ids() % 2, np.exp(active.log_inclusion.astype(np.float64))
    predicted = np.zeros((2, N))
    predicted[row, active.ids] = pi
    np.testing.assert_allclose(pi, predicted[row, active.ids], rtol=1e-5)
    assert predicted.min() > 0  # every possible id was drawn
    assert_calibrated(hits_of(active).reshape(DRAWS, 2, N), predicted)


@pytest.mark.parametrize("text", CONDITIONAL_WEIGHTS if LONG else CONDITIONAL_WEIGHTS[:1])
@pytest.mark.parametrize("name", NAMES if LONG else SHORT[:1])
def test_conditional_weights(name, text):
    assert_weighted(weights_of([drawn(name, text)]).reshape(DRAWS, -1))
