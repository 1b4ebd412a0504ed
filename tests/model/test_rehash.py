"""How a layer's tables follow its weights: drift, in the background, off."""

from __future__ import annotations

import copy
import time

import numpy as np
import pytest

from lshsample.nn.active import ActiveUnits
from lshsample.nn.rehash import Rehash
from lshsample.nn.signals import Run
from lshsample.nn.specs import Sampled
from lshsample.tables import HashTables

UNITS, DIM = 200, 10


def units_of(**rehash):
    spec = Sampled(UNITS, "relu", n_hashes=4, n_tables=6, sampler="Retrieve()", rehash=Rehash(**rehash))
    return ActiveUnits(spec, 1, DIM, 0)


def weights_of(seed=0):
    return np.random.default_rng(seed).standard_normal((UNITS, DIM), dtype=np.float32)


def touch(active, weights):
    """A training step's look at the tables; returns the ids that it touched."""
    return active.sample(weights[:5], weights, Run(threads=1, training=True, sampled=True)).ids


def sets_of(tables, rows):
    found = tables.query(rows)
    return found.ids.tolist(), found.counts.tolist()


def test_drift_moves_only_what_was_touched_and_changed():
    active, weights = units_of(first=1, growth=0.0, strategy="drift", threshold=0.01), weights_of()
    active.refresh(weights, 0, 1)
    tables, family = active.tables, active.tables.family
    moved = np.unique(touch(active, weights))
    assert 0 < len(moved) < UNITS
    weights[moved] = weights_of(1)[moved]
    active.refresh(weights, 1, 1)
    assert active.tables is tables
    assert tables.family == family
    assert active.last_drift > 0.2
    assert sets_of(tables, weights) == sets_of(HashTables(family).build(weights), weights)
    assert 0 < tables.state.n_changes <= 2 * 6 * len(moved)


def test_drift_below_the_threshold_changes_nothing_and_is_remembered():
    active, weights = units_of(first=1, growth=0.0, strategy="drift", threshold=0.5), weights_of()
    active.refresh(weights, 0, 1)
    moved = np.unique(touch(active, weights))
    weights[moved[0]] = -weights[moved[0]]
    active.refresh(weights, 1, 1)
    assert 0 < active.last_drift < 0.5
    assert active.tables.state.n_changes == 0
    weights[moved] = -weights[moved]
    active.refresh(weights, 2, 1)  # what was touched before is still known
    assert active.last_drift > 0.5
    assert not active.tables.changed(moved, weights[moved]).any()


def test_drift_looks_at_nothing_where_nothing_was_touched():
    active, weights = units_of(first=1, growth=0.0, strategy="drift"), weights_of()
    for done in range(3):
        active.refresh(weights, done, 1)
    assert active.last_drift == 0
    assert active.state()["builds"] == 3


def test_families_that_fit_their_rows_are_built_anew():
    spec = Sampled(
        UNITS, "relu", family="simple-lsh", n_hashes=4, n_tables=6, sampler="Retrieve()",
        rehash=Rehash(first=1, growth=0.0, strategy="drift"),
    )  # fmt: skip
    active, weights = ActiveUnits(spec, 1, DIM, 0), weights_of()
    active.refresh(weights, 0, 1)
    moved = np.unique(touch(active, weights))
    weights[moved] *= 100
    active.refresh(weights, 1, 1)
    assert not active.tables.changed(np.arange(UNITS), weights).any()


def wait_for(active, weights, done):
    before = active.tables
    for _ in range(2000):
        active.refresh(weights, done, 1)
        if active.tables is not before:
            return
        time.sleep(0.005)
    raise AssertionError("the tables were never done")


def test_the_background_builds_from_the_weights_as_they_were():
    active, weights = units_of(first=1, growth=0.0, strategy="background"), weights_of()
    assert active.spec.rehash.is_asynchronous
    active.refresh(weights, 0, 1)
    first, snapshot = active.tables, weights.copy()
    active.refresh(weights, 1, 1)
    assert active.tables is first  # training goes on with the old ones
    weights[:] = 0
    wait_for(active, weights, 1)
    expected = HashTables(active._functions(2)).build(snapshot)
    assert sets_of(active.tables, snapshot) == sets_of(expected, snapshot)
    assert active.tables.family != first.family
    assert active.state() == {"builds": 2, "asynchronous": True}
    active.refresh(weights, 2, 1)
    copy.deepcopy(active).refresh(weights, 2, 1)  # a copy has no thread, and begins its own
    active.forget()
    assert active.state() is None


def test_an_error_in_the_background_is_raised_where_the_tables_are_wanted():
    active, weights = units_of(first=1, growth=0.0, strategy="background"), weights_of()
    active.refresh(weights, 0, 1)
    weights[3] = np.nan
    active.refresh(weights, 1, 1)
    with pytest.raises(ValueError, match="vectors"):
        wait_for(active, weights, 1)
    weights[3] = 1
    wait_for(active, weights, 1)


def test_off_never_builds_again():
    active, weights = units_of(first=0), weights_of()
    active.refresh(weights, 0, 1)
    tables = active.tables
    active.refresh(weights, 10**6, 1)
    assert active.tables is tables


def test_the_memory_of_a_strategy_is_counted():
    plain, drift, background = (
        units_of(strategy=strategy).memory_needed(1) for strategy in ("rebuild", "drift", "background")
    )
    assert drift - plain == UNITS * (4 * 6 + 1)
    assert background - plain > 4 * UNITS * DIM
