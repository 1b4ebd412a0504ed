"""The tables of sampled layers in training: any number of threads, errors, interrupted runs."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample.errors import ArgumentError
from lshsample.nn import Dense, Network, Rehash, Sampled, Sparse
from lshsample.nn.active import ActiveUnits
from lshsample.nn.signals import Run
from lshsample.sampling import Drift, Sliced, strategies
from lshsample.sampling.strategies import BackgroundBuild
from lshsample.training import Trainer
from lshsample.training.callbacks import Callback


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
        Rehash(first=5, growth=0.0, strategy=Sliced(4)),
    ],
    ids=["off", "fixed", "decaying", "same functions", "drift", "sliced"],
)
def test_synchronous_strategies_give_the_same_bits_for_any_number_of_threads(rehash):
    networks = [small_run(rehash, threads) for threads in (1, 2, 3, 8)]
    assert not networks[0].sampled_layers[0].spec.rehash.is_asynchronous
    for other in networks[1:]:
        for one, same in zip(networks[0].parameters, other.parameters, strict=True):
            np.testing.assert_array_equal(one.weights, same.weights)


def test_training_touches_what_it_samples_and_nothing_else_does():
    spec = Sampled(
        200, "relu", n_hashes=4, n_tables=6, sampler="Retrieve()",
        rehash=Rehash(first=1, growth=0.0, strategy=Drift(0.0)),
    )  # fmt: skip
    weights = np.random.default_rng(0).standard_normal((200, 10), dtype=np.float32)
    for training in (False, True):
        active, moved = ActiveUnits(spec, 1, 10, 0), weights.copy()
        active.refresh(moved, 0)
        ids = np.unique(active.draw(moved[:5], Run(threads=1, training=training, sampled=True)).ids)
        moved[:] = -moved
        active.refresh(moved, 1)
        changed = active.tables.changed(np.arange(200), moved).any(axis=1)
        assert (~changed).sum() == (len(ids) if training else 0)


class Breaking(BackgroundBuild):
    """A build that fails some time after its start."""

    def _build(self, family, vectors):
        time.sleep(0.05)
        super()._build(family, vectors * np.nan)


def test_a_run_ends_with_the_error_of_a_build_that_was_still_running(monkeypatch, tmp_path):
    monkeypatch.setattr(strategies, "BackgroundBuild", Breaking)
    last = Rehash(first=29, growth=0.0, strategy="background")  # starts at the last of 30 steps
    with pytest.raises(ArgumentError, match="vectors"):
        small_run(last, 1, checkpoint=tmp_path / "run")
    assert Trainer.resume(tmp_path / "run").state.step == 30  # training is not lost


def test_a_run_waits_for_its_last_tables():
    network = small_run(Rehash(first=29, growth=0.0, strategy="background"), 1)
    assert network.sampled_layers[0].active.state() == {"builds": 2, "asynchronous": True}


def test_an_interrupted_run_ends_with_its_background_settled(tmp_path, monkeypatch):
    begun = []

    class Watched(BackgroundBuild):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            begun.append(self)

    class Interrupting(Callback):
        def on_step(self, step, report, ms):
            if step == 12:
                os.kill(os.getpid(), signal.SIGINT)
            return False

    monkeypatch.setattr(strategies, "BackgroundBuild", Watched)
    rehash = Rehash(first=3, growth=0.0, strategy="background")
    network = small_run(rehash, 1, checkpoint=tmp_path / "run", callbacks=[Interrupting()])
    assert begun
    assert all(build.is_done() for build in begun)
    assert network.sampled_layers[0].active.tables is begun[-1].result()
    assert Trainer.resume(tmp_path / "run").state.step == 12
