"""Several processes that train one network on their rows have the same bits as one."""

import hashlib
import threading
from functools import partial

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample.errors import ArgumentError, DivergenceError, UnsupportedError
from lshsample.nn import (
    ApproximateGradients,
    DataParallel,
    Dense,
    Group,
    Input,
    Network,
    Sampled,
    Sharded,
    Sparse,
)
from lshsample.training import Callback, Trainer

RNG = np.random.default_rng(0)
X = sp.random_array((120, 60), density=0.1, rng=RNG, format="csr", dtype=np.float32)
Y = RNG.integers(0, 203, (120, 3)).tolist()
DENSE = [Sparse(60), Dense(16, dropout=0.2), Dense(8, "tanh"), Dense(203, "softmax")]
SAMPLED = [Input(60), Dense(16), Sampled(203, n_active=64, n_hashes=4, n_tables=4, rehash=3)]


class Threads(Group):
    """Ranks in threads of this process."""

    def __init__(self, rank, size, values, barrier):
        self.rank, self.size, self.values, self.barrier = rank, size, values, barrier

    def gather(self, value):
        self.values[self.rank] = value
        self.barrier.wait(30)
        found = list(self.values)
        self.barrier.wait(30)
        return found


def each(size, function):
    """The results of a function in all ranks."""
    values, barrier, results = [None] * size, threading.Barrier(size), [None] * size

    def call(rank):
        try:
            results[rank] = function(Threads(rank, size, values, barrier))
        except Exception as error:
            results[rank] = error

    threads = [threading.Thread(target=call, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def trained(layers, group=None, exchange=None):
    network = DataParallel(layers, 3, parts=4, group=group, exchange=exchange)
    x = X.toarray() if isinstance(layers[0], Input) else X
    history = Trainer(network, batch_size=30, epochs=2, lr=0.01, threads=1).fit(x, Y, validation=(x, Y))
    parts = [p.weights for p in network.parameters] + list(network.predict(x, 5))
    bits = hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()
    return bits, history.epochs[-1].loss, history.active_mean


@pytest.mark.parametrize("layers", [DENSE, SAMPLED], ids=["dense", "sampled"])
@pytest.mark.parametrize("exchange", [None, ApproximateGradients(0.05, 4)], ids=["exact", "approximate"])
def test_the_same_bits_for_any_number_of_processes(layers, exchange):
    wanted = trained(layers, exchange=exchange)
    for size in (2, 4):
        assert each(size, lambda group: trained(layers, group, exchange)) == [wanted] * size


def test_the_gradient_is_that_of_the_whole_batch():
    layers = [Sparse(60), Dense(16), Dense(203, "sigmoid")]
    networks = Network(layers, 3), DataParallel(layers, 3, parts=8)
    losses = [Trainer(of, batch_size=50, threads=1, optimizer="sgd", lr=0.1).fit(X, Y) for of in networks]
    assert losses[0].epochs[-1].loss == pytest.approx(losses[1].epochs[-1].loss, rel=1e-6)
    for one, other in zip(*(of.parameters for of in networks), strict=True):
        np.testing.assert_allclose(one.weights, other.weights, atol=1e-6)


def test_all_numbers_of_gradients_are_the_exact_ones():
    of = [DataParallel(DENSE, 3, exchange=exchange) for exchange in (None, ApproximateGradients(1.0, 1))]
    for network in of:
        Trainer(network, batch_size=50, threads=1, optimizer="sgd", lr=0.1).fit(X, Y)
    for one, other in zip(*(network.parameters for network in of), strict=True):
        np.testing.assert_allclose(one.weights, other.weights, atol=1e-6)


def test_a_batch_may_have_fewer_rows_than_parts():
    network = DataParallel(DENSE, 3, parts=8)
    report = Trainer(network, threads=1).step(X[:3], Y[:3])
    assert report.active == pytest.approx(203)
    assert report.exchanged == 0


def test_what_an_approximate_exchange_keeps_is_counted_before():
    needed = DataParallel(DENSE, parts=4, exchange=ApproximateGradients(0.1)).memory_needed(3, 30)
    network = DataParallel(DENSE, parts=4)
    assert needed.pop("exchange") == 4 * 4 * network.n_parameters
    assert needed == network.memory_needed(3, 30)


def test_a_run_continues_in_several_processes(tmp_path):
    def trainer(network, **options):
        return Trainer(network, batch_size=30, epochs=2, lr=0.01, threads=1, **options)

    class Stop(Callback):
        def on_step(self, step, report, milliseconds):
            return step == 5

    wanted = DataParallel(SAMPLED, 3, parts=4)
    trainer(wanted).fit(X.toarray(), Y)
    first = DataParallel(SAMPLED, 3, parts=4)
    trainer(first, checkpoint=tmp_path, callbacks=[Stop()]).fit(X.toarray(), Y)

    def continued(group):
        made = partial(DataParallel.from_spec, parts=4, group=group)
        resumed = Trainer.resume(tmp_path, made=made, threads=1, checkpoint=None)
        resumed.fit(X.toarray(), Y)
        return [p.weights.copy() for p in resumed.network.parameters]

    for found in each(2, continued):
        for one, other in zip(found, wanted.parameters, strict=True):
            np.testing.assert_array_equal(one, other.weights)
    with pytest.raises(UnsupportedError, match="in float32; this network is in bfloat16"):
        DataParallel.from_spec(Network(DENSE, precision="bfloat16").spec)


def test_all_processes_hear_of_a_part_that_diverges():
    def step(group):
        network = DataParallel(DENSE, 3, group=group)
        network.allocate(3)
        if group.rank == 1:
            network.parameters[-1].weights[:] = np.nan
        Trainer(network, threads=1).step(X, Y)

    found = each(2, step)
    assert [type(one) for one in found] == [DivergenceError] * 2


def test_what_cannot_be_trained_together_is_refused():
    for options, message in (
        ({"parts": 3}, "parts must be a power of two"),
        ({"parts": 1, "group": Threads(0, 2, [], None)}, "group must be of a power of two of processes"),
        ({"exchange": 0.1}, "exchange must be None or an ApproximateGradients"),
    ):
        with pytest.raises(ArgumentError, match=message):
            DataParallel(DENSE, **options)
    with pytest.raises(UnsupportedError, match="weights in each process"):
        DataParallel([Sparse(9), Sharded(50, n_active=9)])
