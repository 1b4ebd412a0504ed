"""How a layer's tables follow its weights: drift, in the background, off."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample.errors import ArgumentError
from lshsample.nn import Dense, Network, Sparse
from lshsample.nn import active as active_module
from lshsample.nn.active import ActiveUnits
from lshsample.nn.background import BackgroundBuild
from lshsample.nn.rehash import Rehash
from lshsample.nn.sampled import Sampled
from lshsample.nn.signals import Run
from lshsample.tables import HashTables
from lshsample.training import Trainer
from lshsample.training.callbacks import Callback

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
    for _ in range(60_000):
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


def small_run(rehash, threads, **options):
    """A short training run; returns its network."""
    rng = np.random.default_rng(0)
    x = sp.random_array((300, 40), density=0.2, rng=rng, format="csr")
    y = sp.csr_array((x @ sp.eye_array(40, 90)).toarray() > 0.6)
    sampler = {"sampler": "Retrieve() | Uniform(9)", "n_hashes": 4, "n_tables": 6}
    network = Network([Sparse(40), Dense(16), Sampled(90, rehash=rehash, **sampler)])
    trainer = Trainer(network, batch_size=20, epochs=2, lr=0.02, threads=threads, **options)
    trainer.fit(x, y)
    return network


@pytest.mark.parametrize(
    "rehash",
    [
        0,
        7,
        Rehash(first=5, growth=0.2),
        Rehash(first=5, growth=0.0, new_functions=False),
        Rehash(first=5, growth=0.0, strategy="drift"),
    ],
    ids=["off", "fixed", "decaying", "same functions", "drift"],
)
def test_synchronous_strategies_give_the_same_bits_for_any_threads(rehash):
    networks = [small_run(rehash, threads) for threads in (1, 2, 3, 8)]
    assert not networks[0].sampled_layers[0].spec.rehash.is_asynchronous
    for other in networks[1:]:
        for one, same in zip(networks[0].parameters, other.parameters, strict=True):
            np.testing.assert_array_equal(one.weights, same.weights)


class Breaking(BackgroundBuild):
    """A build that fails, some time after it was begun."""

    def _build(self, family, weights):
        time.sleep(0.05)
        super()._build(family, weights * np.nan)


def test_a_run_ends_with_the_error_of_a_build_that_was_still_going_on(monkeypatch, tmp_path):
    monkeypatch.setattr(active_module, "BackgroundBuild", Breaking)
    last = Rehash(first=29, growth=0.0, strategy="background")  # begun at the start of the last step of 30
    with pytest.raises(ArgumentError, match="vectors"):
        small_run(last, 1, checkpoint=tmp_path / "run")
    assert Trainer.resume(tmp_path / "run").state.step == 30  # what was trained is kept


def test_a_run_waits_for_its_last_tables(monkeypatch):
    network = small_run(Rehash(first=29, growth=0.0, strategy="background"), 1)
    active = network.sampled_layers[0].active
    assert active.state() == {"builds": 2, "asynchronous": True}
    assert active._pending is None


def test_an_interrupted_run_ends_with_its_background_settled(tmp_path):
    class Interrupting(Callback):
        def on_step(self, step, report, ms):
            if step == 12:
                os.kill(os.getpid(), signal.SIGINT)
            return False

    rehash = Rehash(first=3, growth=0.0, strategy="background")
    network = small_run(rehash, 1, checkpoint=tmp_path / "run", callbacks=[Interrupting()])
    assert network.sampled_layers[0].active._pending is None
    assert Trainer.resume(tmp_path / "run").state.step == 12


def test_a_process_may_end_while_tables_are_built():
    code = """
import numpy as np
from lshsample import make_family
from lshsample.nn.background import BackgroundBuild
rows = np.random.default_rng(0).standard_normal((40_000, 64), dtype=np.float32)
BackgroundBuild(make_family("simhash", dim=64, n_hashes=10, n_tables=30), rows, 1)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
