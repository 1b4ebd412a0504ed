"""Weight decay: lazy and dense runs agree, at the cost of the touched rows, with the same bits everywhere."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample.errors import ArgumentError
from lshsample.nn import SGD, Adagrad, Adam, Dense, Network, Optimizer, Sampled, Sparse
from lshsample.nn.parameter import Parameter
from lshsample.training import Callback, Trainer

RNG = np.random.default_rng(3)
X = sp.random_array((200, 60), density=0.06, rng=RNG, format="csr", dtype=np.float32)
Y = sp.csr_array((X @ sp.random_array((60, 40), density=0.3, rng=RNG)).toarray() > 0.2)
ROWS = np.flatnonzero(np.diff(Y.indptr))
DECAY, RATE = 0.7, 0.03


def make(**options):
    last = {
        "sampler": "Retrieve() | Cap(6) | Include() | Uniform(4)",
        "n_hashes": 4,
        "n_tables": 3,
        **options,
    }
    return Network([Sparse(60, weighting="l2"), Dense(12), Dense(8, "tanh"), Sampled(40, **last)], seed=1)


def trainer(network, **options):
    settings = {
        "batch_size": 25,
        "epochs": 3,
        "lr": RATE,
        "threads": 1,
        "optimizer": Adam(weight_decay=DECAY),
    }
    return Trainer(network, **{**settings, **options})


def bits(network):
    return [p.weights.tobytes() for p in network.parameters]


@pytest.mark.parametrize("kind", [SGD, Adagrad, Adam])
@pytest.mark.parametrize("active_set", ["batch", "sample"])
def test_lazy_decay_is_that_of_all_rows(kind: type[Optimizer], active_set: str) -> None:
    """Against a run whose weights, untouched rows included, are multiplied after each step."""
    lazy, dense = (make(active_set=active_set, sampler="Uniform(5) | Include()") for _ in range(2))
    one, two = trainer(lazy, optimizer=kind(weight_decay=DECAY)), trainer(dense, optimizer=kind())
    dense.allocate(kind.slots)
    for step in range(30):
        rows = np.random.default_rng(step).choice(ROWS, 4)
        rate = RATE / (1 + step % 3)  # a schedule: each step decays by its own rate
        before = [p.weights.copy() for p in dense.parameters]
        one.step(X[rows], Y[rows], lr=rate)
        two.step(X[rows], Y[rows], lr=rate)
        for parameter, old in zip(dense.parameters, before, strict=True):
            if parameter.columns > 1 and parameter.rows > 1:
                parameter.weights[...] -= np.float32(rate * DECAY) * old
    assert lazy.parameters[0].factor < 0.9
    np.testing.assert_allclose(lazy.hidden(X), dense.hidden(X), rtol=1e-4, atol=1e-5)
    for mine, other in zip(lazy.predict(X, 40), dense.predict(X, 40), strict=True):
        assert np.allclose(mine, other, rtol=1e-3, atol=1e-4) or mine.dtype == np.int32
    for mine, other in zip(lazy.parameters, dense.parameters, strict=True):
        np.testing.assert_allclose(mine.weights, other.weights, rtol=1e-4, atol=2e-6)


class Interrupt(Callback):
    def on_step(self, step, report, milliseconds):
        return step == 11


class Reads(Callback):
    def on_step(self, step, report, milliseconds):
        self.network.predict(X[:5])
        return False


def test_same_bits_however_the_run_is_made(tmp_path) -> None:
    """With other threads, predictions in between, a validation, and an interruption within an epoch."""
    whole = make()
    trainer(whole, schedule="cosine").fit(X, Y)
    assert whole.parameters[0].factor == 1.0
    reads, validated = Reads(), make()
    reads.network = validated
    options = {"schedule": "cosine", "threads": 3, "callbacks": [reads]}
    trainer(validated, **options).fit(X, Y, (X[:50], Y[:50]))
    assert bits(validated) == bits(whole)
    again = make()
    options = {"schedule": "cosine", "checkpoint": tmp_path / "c"}
    trainer(again, callbacks=[Interrupt()], **options).fit(X, Y)
    assert again.parameters[0].factor < 1.0
    resumed = Trainer.resume(tmp_path / "c", threads=2)
    assert [p.factor for p in resumed.network.parameters] == [p.factor for p in again.parameters]
    resumed.fit(X, Y)
    assert bits(resumed.network) == bits(whole)
    again.save(tmp_path / "m")
    np.testing.assert_array_equal(Network.load(tmp_path / "m").hidden(X), again.hidden(X))


def test_tables_are_built_from_settled_weights() -> None:
    network = make(rehash=4)
    run = trainer(network)
    for step in range(5):
        run.step(X[ROWS[:10]], Y[ROWS[:10]])
        assert (network.parameters[-2].factor == 1.0) == (step == -1)
    assert network.parameters[-2].factor == pytest.approx(1 - RATE * DECAY)
    assert network.parameters[0].factor == pytest.approx((1 - RATE * DECAY) ** 5)


def test_tables_in_slices_are_built_from_weights_with_their_factor() -> None:
    """The first slice multiplies the rows that it hashes; it does not settle all weights."""
    rehash = {"first": 4, "growth": 0.0, "strategy": "sliced", "steps": 4}
    network = make(rehash=rehash, family="e2lsh:width=0.5")
    run, layer = trainer(network), network.sampled_layers[0]
    for _ in range(4):
        run.step(X[ROWS[:10]], Y[ROWS[:10]])
    layer.prepare(4, 1)
    assert layer.weights.factor == pytest.approx((1 - RATE * DECAY) ** 4)
    codes, rows = layer.active.maintenance.next_codes(), layer.weights.raw.weights
    family = layer.active.maintenance.family(2)
    assert 5 < len(codes) < layer.units
    factor = np.float32(layer.weights.factor)
    np.testing.assert_array_equal(codes, family.hash(rows * factor)[: len(codes)])


def test_a_small_factor_is_applied_to_the_weights() -> None:
    for dtype in ("float32", "bfloat16"):
        parameter = Parameter("w", 50, 7, 1.0, (0, 0), dtype=dtype)
        parameter.allocate(3)
        before = parameter.raw.weights.copy()
        for _ in range(19):
            parameter.decay(0.5)
        assert parameter.factor == 2.0**-19
        np.testing.assert_array_equal(parameter.raw.weights, before)
        parameter.decay(0.25)
        assert parameter.factor == 1.0
        if dtype == "float32":
            np.testing.assert_array_equal(parameter.weights, before * np.float32(2.0**-21))


def test_a_rate_that_leaves_nothing_is_refused_before_anything_is_changed() -> None:
    network = make()
    run = trainer(network, optimizer=SGD(weight_decay=10.0))
    run.step(X[ROWS[:10]], Y[ROWS[:10]], lr=0.01)
    before = bits(network)
    with pytest.raises(ArgumentError, match=r"^lr must be below 1 / the weight_decay of 10 \(got 0.1\)"):
        run.step(X[ROWS[:10]], Y[ROWS[:10]], lr=0.1)
    assert bits(network) == before
    with pytest.raises(ArgumentError, match="weight_decay"):
        Adam(weight_decay=-1.0)
