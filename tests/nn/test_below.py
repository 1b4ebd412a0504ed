"""The layers below shards compute a batch in parts, with the same bits wherever a part is computed."""

import hashlib

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample.errors import ArgumentError, UnsupportedError, WorkerError
from lshsample.nn import (
    Adam,
    ApproximateActivations,
    Dense,
    Input,
    Network,
    NetworkSpec,
    RoundedActivations,
    Sampled,
    Sharded,
    Sparse,
)
from lshsample.nn.below import BelowWork
from lshsample.nn.remote import LostError, RemoteShards, Worker, message_bytes
from lshsample.nn.shard import Shard
from lshsample.ray import step_cost
from lshsample.training import Trainer

N_FEATURES, N_LABELS = 60, 203
RNG = np.random.default_rng(0)
X = sp.random_array((90, N_FEATURES), density=0.1, rng=RNG, format="csr", dtype=np.float32)
Y = RNG.integers(0, N_LABELS, (90, 3)).tolist()
OPTIONS = {"n_active": 64, "n_hashes": 4, "n_tables": 4, "rehash": 3}
SPARSE = [Sparse(N_FEATURES, weighting="idf-l2", dropout=0.1), Dense(8, dropout=0.2), Dense(6, "tanh")]
DENSE = [Input(N_FEATURES), Dense(8)]


class InProcess(Worker):
    """A worker in this process; it is lost before the calls of one method that are drawn."""

    def __init__(self, make, lost):
        self.shard, self.lost = make(), lost

    def submit(self, method, arguments):
        def result():
            if self.lost.get(method) and self.lost[method].pop(0):
                raise LostError("as wanted")
            value = getattr(self.shard, method)(*arguments)
            return value, 0.0, message_bytes((method, arguments)) + message_bytes(value)

        return result

    def stop(self):
        pass


def on_workers(network, workers, folder, lost=()):
    """The network, with its shards behind the interface of other processes."""
    spec, context = network.output.spec, network.output.context
    deaths = {method: list(several) for method, several in dict(lost).items()}

    def start(first, last):
        return InProcess(lambda: Shard(spec, context, first, last), deaths)

    network.output.shards = RemoteShards(spec, workers, start, folder, 3)
    return network


def trained(below, folder=None, workers=0, parts=4, lost=(), **options):
    """A digest of the weights, the last loss, and the network."""
    network = Network([*below, Sharded(N_LABELS, **{**OPTIONS, **options}, parts=parts)], 3)
    if workers:
        on_workers(network, workers, folder, lost)
    x = X.toarray() if isinstance(below[0], Input) else X
    run = Trainer(network, batch_size=30, epochs=2, lr=0.01, threads=1, optimizer=Adam(weight_decay=1e-3))
    loss = run.fit(x, Y).epochs[-1].loss
    arrays = [*(p.weights for p in network.parameters), network.output.unit_vectors()]
    bits = hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()
    return bits, loss, network


@pytest.mark.parametrize("below", [SPARSE, DENSE], ids=["sparse", "dense"])
@pytest.mark.parametrize("parts", [2, 4])
def test_the_same_bits_for_any_number_of_workers(below, parts, tmp_path):
    wanted = trained(below, parts=parts)[:2]
    for workers in (1, 2, 4, 8):  # also where there are more of them than parts
        assert trained(below, tmp_path / str(workers), workers, parts)[:2] == wanted


def test_one_part_is_the_whole_batch(tmp_path):
    assert trained(SPARSE, parts=1)[:2] == trained(SPARSE, tmp_path, 2, parts=1)[:2]
    whole, halved = (trained(DENSE, parts=parts, sampler="full") for parts in (1, 2))
    assert whole[0] != halved[0]  # sums over rows are in another order
    assert whole[1] == pytest.approx(halved[1], rel=1e-5)


@pytest.mark.parametrize("method", ["forward_below", "backward_below"])
def test_a_worker_that_is_lost_computes_its_parts_again(method, tmp_path):
    bits, loss, network = trained(SPARSE, tmp_path, 2, lost={method: [False, True, False, False, True, True]})
    assert network.output.shards.n_restarts == 3
    assert (bits, loss) == trained(SPARSE)[:2]


def test_a_worker_that_is_always_lost_ends_the_run(tmp_path):
    # Its first call in a backward pass is lost each time, the repeated one is not.
    with pytest.raises(WorkerError, match="lost 5 times in one backward pass"):
        trained(SPARSE, tmp_path, 1, lost={"backward_below": [True, False] * 5})


def test_parts_of_few_rows_may_be_empty(tmp_path):
    def step(workers):
        network = Network([*SPARSE, Sharded(N_LABELS, parts=8, **OPTIONS)], 3)
        if workers:
            on_workers(network, workers, tmp_path)
        report = Trainer(network, threads=1).step(X[:3], Y[:3])
        return report.loss, network.parameters[1].weights.tobytes()

    assert step(0) == step(4)


def test_a_worker_is_sent_only_the_rows_of_weights_that_its_parts_need(tmp_path):
    def exchanged(n_features):
        layers = [Sparse(n_features), Dense(32), Sharded(N_LABELS, parts=2, **OPTIONS)]
        network = on_workers(Network(layers, 3), 2, tmp_path / str(n_features))
        x = sp.csr_array((X.data, X.indices * (n_features // N_FEATURES), X.indptr), (len(Y), n_features))
        return Trainer(network, threads=1).step(x, Y).exchanged

    assert exchanged(60 * N_FEATURES) - exchanged(N_FEATURES) < 100


def test_the_cost_of_a_step_is_known_before(tmp_path):
    for below, x in ((SPARSE, X), (DENSE, X.toarray())):
        layers = [*below[:1], Dense(200), Dense(64), Sharded(N_LABELS, parts=4, **OPTIONS)]
        network = on_workers(Network(layers, 3), 2, tmp_path / str(below is DENSE))
        found = Trainer(network, batch_size=90, threads=1).step(x, Y).exchanged
        cost = step_cost(layers, workers=2, batch_size=90, labels_per_row=3, values_per_row=6)
        assert cost.exchanged == pytest.approx(found, rel=0.02)
        assert cost.seconds(1e10, 1e-3) > 4e-3 * 2


@pytest.mark.parametrize("exchange", [None, RoundedActivations(1, 2), ApproximateActivations(0.1)], ids=str)
def test_the_cost_of_a_step_is_that_of_its_exchange(tmp_path, exchange):
    last = Sharded(N_LABELS, exchange=exchange, **OPTIONS)
    layers = [Sparse(N_FEATURES), Dense(256), last]
    network = on_workers(Network(layers, 3), 2, tmp_path)
    found = Trainer(network, batch_size=90, threads=1).step(X, Y).exchanged
    cost = step_cost(layers, workers=2, batch_size=90, labels_per_row=3)
    assert cost.exchanged == pytest.approx(found, rel=0.02)


def test_what_waits_nowhere_is_known():
    assert BelowWork().backward(0, 1, {0: np.zeros((1, 1), np.float32)}) is None
    assert BelowWork().backward(0, 0, {}) == {}


def test_layers_that_cannot_compute_parts_are_refused():
    hidden = Sampled(20, "relu", n_active=9)
    with pytest.raises(UnsupportedError, match="layer 1 prepares tables before a step"):
        Network([Sparse(9), hidden, Sharded(50, n_active=9, parts=2)])
    for parts in (3, 0, 2048, 2.0, True):
        with pytest.raises(
            ArgumentError, match=rf"parts must be a power of two from 1 to 1024 \(got {parts}\)"
        ):
            Sharded(50, n_active=9, parts=parts)
    spec = NetworkSpec([Sparse(9), Dense(4), Sharded(50, n_active=9, parts=2)])
    assert NetworkSpec.from_json(spec.to_json()) == spec
    of_numpy = Sharded(50, n_active=9, parts=np.int64(2), blocks=np.int32(4))
    assert [type(of_numpy.parts), type(of_numpy.blocks)] == [int, int]
    assert Network([Sparse(9), Sharded(50, n_active=9, parts=2)]).n_labels == 50
