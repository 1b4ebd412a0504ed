"""Every estimator, conditional on the tables of every family: unbiased, with intervals that cover."""

from __future__ import annotations

import numpy as np
import pytest
from law_cases import (
    LINEAR,
    LONG,
    NAMES,
    RATIOS,
    SHORT,
    built,
    covered,
    data,
    estimates,
    sample,
    truths,
)

#: Active sets of each query per call, and number of calls.
COPIES, CALLS = (1000, 4) if LONG else (500, 1)

#: Pipelines whose uncertain ids are one simple random sample: intervals from a single set.
DESIGNS = [
    "Uniform(150)",
    "Retrieve() | Uniform(150)",
    "Retrieve() | AtLeast(2) | Include() | Uniform(150)",
    "ExactTop(20) | Include() | Uniform(150)",
    "Retrieve() | AtLeast(2) | Fill(250)",
]
#: Other pipelines with inclusion probabilities: intervals from several sets.
OTHERS = [
    "Retrieve() | Cap(30) | Uniform(60)",
    "Retrieve() | Top(15) | Include() | Uniform(60)",
    "Retrieve() | Cap(40) | Frequency(80)",
    "Retrieve() | Cap(40) | Fill(90)",
    "Retrieve(budget=40) | Uniform(60)",
    "Uniform(60) | Cap(50)",
    "Frequency(80) | Fill(90)",
    "Uniform(60) | Retrieve() | Include() | Cap(55)",
    "Retrieve() | Uniform(60) | Top(20) | Uniform(60)",
    "Full() | Cap(60)",
]
REPLICATES = 12


def calls(text, name, given):
    """Active sets of copies of both queries, one per call."""
    for step in range(CALLS):
        yield sample(text, built(name), given=given, step=step, law="conditional", copies=COPIES)


def assert_mean(values, truth, slack=1e-5):
    """The mean over copies of both queries is within 4 standard errors of the true value."""
    each = values.reshape(-1, *truth.shape)
    error = each.std(axis=0, ddof=1) / np.sqrt(len(each))
    assert np.all(np.abs(each.mean(axis=0) - truth) <= 4 * error + slack * np.abs(truth))


@pytest.mark.parametrize("name", NAMES)
def test_tables_leave_most_to_draws(name):
    """If tables found nearly all items, the few others would dominate the error, and be missed by samples."""
    found = np.diff(built(name).query(data(400).queries, n_probes=1).indptr)
    assert found.min() >= 3
    assert found.max() <= 250


@pytest.mark.parametrize("text", DESIGNS + OTHERS if LONG else ["Retrieve() | Uniform(150)", OTHERS[0]])
@pytest.mark.parametrize("name", NAMES if LONG else SHORT[:1])
def test_estimates_are_unbiased(name, text):
    """Ratios have a bias of order 1 / n, a small part of their error."""
    given, values = data(400), {}
    for active in calls(text, name, given):
        for estimator, estimate in estimates(active, given).items():
            values.setdefault(estimator, []).append(estimate.value)
    expected = truths(given)
    for estimator in LINEAR:
        assert_mean(np.concatenate(values[estimator]), expected[estimator])
    for estimator in RATIOS:
        each = np.concatenate(values[estimator]).reshape(-1, *expected[estimator].shape)
        error = each.std(axis=0, ddof=1)
        room = 4 * error / np.sqrt(len(each)) + error / 4
        assert np.all(np.abs(each.mean(axis=0) - expected[estimator]) <= room), estimator


@pytest.mark.parametrize("text", DESIGNS if LONG else DESIGNS[1:2])
@pytest.mark.parametrize("name", NAMES)
def test_intervals_of_one_set_cover(name, text):
    """95 % intervals of every estimator cover 93 to 97 %, with wider limits for fewer draws."""
    given = data(400, mild=True)
    expected, rates = truths(given), {}
    for active in calls(text, name, given):
        for estimator, estimate in estimates(active, given).items():
            rates.setdefault(estimator, []).append(covered(estimate, expected[estimator]))
    for estimator, each in rates.items():
        assert abs(np.mean(each) - 0.95) < (0.02 if LONG else 0.03), (estimator, np.mean(each))


@pytest.mark.parametrize("text", OTHERS if LONG else OTHERS[:1])
@pytest.mark.parametrize("name", NAMES if LONG else SHORT[:1])
def test_intervals_of_replicates_cover(name, text):
    given = data(400, mild=True)
    sets = [
        sample(text, built(name), given=given, step=10**6 + step, law="conditional", copies=COPIES)
        for step in range(REPLICATES)
    ]
    for estimator, estimate in estimates(sets, given).items():
        rate = covered(estimate, truths(given)[estimator])
        assert abs(rate - 0.95) < (0.02 if LONG else 0.03), (estimator, rate)
