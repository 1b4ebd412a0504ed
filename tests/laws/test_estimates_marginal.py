"""Every estimator with every pipeline that has marginal inclusion probabilities, for every family.

The mean over the seeds is within 4 standard errors of the true value; intervals have their nominal coverage.
"""

from __future__ import annotations

import numpy as np
import pytest
from law_cases import (
    CASES,
    LONG,
    NAMES,
    SHORT,
    WITHOUT,
    chances,
    covered,
    data,
    drawn_tables,
    estimates,
    prepared,
    remember_laws,
    sample,
    stacked,
    tables_of,
    truths,
)
from lshsample_families import lshsample_hash_families as builtin_families

#: Pipelines of all kinds, also with stages that have no effect.
pytestmark = pytest.mark.filterwarnings("ignore::lshsample.errors.PipelineWarning")
SEEDS = 2000 if LONG else 300

#: Pipelines with marginal inclusion probabilities, or in which a draw makes every item possible.
PIPELINES = [
    "Retrieve()",
    "Retrieve() | AtLeast(2)",
    "Retrieve() | Cap(12)",
    "Retrieve() | AtLeast(2) | Cap(5)",
    "Retrieve() | Include() | Uniform(10)",
    "Uniform(10) | Retrieve() | Cap(20)",
    "Retrieve() | Frequency(20)",
    "Retrieve(budget=12)",
    "Retrieve(budget=25) | Include() | Cap(15)",
    "Retrieve(budget=12) | Uniform(12)",
    "Retrieve() | Cap(8) | Uniform(20)",
    "Retrieve() | Top(9) | Uniform(12)",
    "Retrieve() | AtLeast(3) | Fill(80)",
    "Retrieve() | Retrieve() | Frequency(30)",
    "ExactTop(4) | Include() | Uniform(12)",
]
#: Pipelines of the default suite; the long one runs all of them with all families.
FEW = ["Retrieve()", "Retrieve() | AtLeast(2)", "Retrieve(budget=12)", "Retrieve() | Include() | Uniform(10)"]
#: Pipelines with probes, for families with a law of their probes.
PROBING = ["Retrieve(probes=3)", "Retrieve(probes=2) | AtLeast(2) | Cap(30)", "Retrieve(probes=2, budget=30)"]
#: Pipelines over tables with bounded buckets.
BOUNDED = ["Retrieve()", "Retrieve() | Cap(9)", "Retrieve(budget=9)"]


@pytest.fixture(autouse=True)
def _laws_once(monkeypatch):
    remember_laws(monkeypatch)


def lacks_inclusion(name, text):
    """Whether a pipeline needs independent tables, which the family does not have."""
    return "AtLeast(2)" in text and not prepared(name).independent_tables


def assert_estimates(sets):
    """The estimates from the sets are within 4 of their standard errors of the true values."""
    expected = truths(data(90))
    for estimator, estimate in estimates(sets, data(90)).items():
        error = estimate.standard_error
        off = np.abs(estimate.value - expected[estimator])
        assert np.all(off <= 4 * error + 1e-4 * np.abs(expected[estimator])), (estimator, (off / error).max())


def test_every_family_with_a_law_has_a_case():
    assert {case.family for case in CASES.values()} == set(builtin_families()) - WITHOUT
    assert set(SHORT) <= set(CASES)


@pytest.mark.parametrize("name", NAMES)
def test_probabilities_of_the_cases_are_large_enough_to_be_measured(name):
    """With less than one hit in 100 seeds, a mean over 2,000 seeds is not nearly normal."""
    assert chances(name).min() > 0.03


@pytest.mark.parametrize("text", PIPELINES if LONG else FEW)
@pytest.mark.parametrize("name", NAMES)
def test_estimates_are_unbiased(name, text):
    sets = []
    for seed, tables in enumerate(drawn_tables(name, SEEDS)):
        active = sample(text, tables, seed=seed)
        if active.is_biased:  # nothing left to fill: not a sample of all items
            assert "Fill" in text or lacks_inclusion(name, text), active.biased_by
            continue
        sets.append(active)
    if lacks_inclusion(name, text):
        assert not sets
        return
    assert len(sets) > SEEDS / 4
    assert_estimates(sets)


@pytest.mark.parametrize("text", PROBING if LONG else PROBING[:1])
@pytest.mark.parametrize(
    "name", ["e2lsh", "simhash", "simhash-hadamard", "simple-lsh"] if LONG else ["e2lsh"]
)
def test_estimates_with_probes_are_unbiased(name, text):
    if lacks_inclusion(name, text):
        assert sample(text, drawn_tables(name, SEEDS)[0]).is_biased
        return
    assert_estimates([sample(text, tables, seed=s) for s, tables in enumerate(drawn_tables(name, SEEDS))])


@pytest.mark.parametrize("text", BOUNDED if LONG else BOUNDED[:1])
@pytest.mark.parametrize("name", NAMES if LONG else ["simhash"])
def test_estimates_from_bounded_buckets_are_unbiased(name, text):
    sets = [sample(text, tables_of(name, s, bucket_size=5), seed=s) for s in range(SEEDS)]
    assert_estimates(sets)


#: Independent tables per interval, tables to choose them from, and number of choices.
REPLICATES, POOL, ROUNDS = (150, 15_000, 10) if LONG else (40, 1000, 4)


@pytest.mark.parametrize("text", ["Retrieve()", "Retrieve() | AtLeast(2)", "Retrieve() | Cap(30)",
                                  "Retrieve(budget=60)"])  # fmt: skip
@pytest.mark.parametrize("name", NAMES if LONG else ["simhash"])
def test_intervals_of_replicates_cover(name, text):
    """Several samplers over independent tables, chosen repeatedly from a pool of tables.

    The pool is so large that its mean is near the true value, relative to the error of the chosen ones.

    Many tables are needed, since sums are skewed if nearly all tables find an item, or hardly any: with
    thirty, intervals covered 88 to 96 %.
    """
    if lacks_inclusion(name, text):
        return
    given, expected = data(90, mild=True), truths(data(90, mild=True))
    sets = [sample(text, tables_of(name, 10**6 + seed), given=given, seed=seed) for seed in range(POOL)]
    rng, rates = np.random.default_rng(0), {}
    for _ in range(ROUNDS):
        groups = rng.permutation(POOL)[: POOL // REPLICATES * REPLICATES].reshape(REPLICATES, -1)
        replicates = [stacked([sets[i] for i in members]) for members in groups]
        for estimator, estimate in estimates(replicates, given).items():
            rates.setdefault(estimator, []).append(covered(estimate, expected[estimator]))
    # Sums with the weights of a budget have a skewness of 3 to 4; docs/estimates.md has their coverage.
    least = 0.91 if "budget" in text else 0.93
    for estimator, each in rates.items():
        rate = np.mean(each)
        assert least <= rate <= 0.97 if LONG else abs(rate - 0.95) < 0.06, (estimator, rate)
