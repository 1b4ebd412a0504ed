"""An output layer in blocks has the same bits for any number of shards, wherever they are."""

import hashlib
import random

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample import memory
from lshsample.errors import (
    ArgumentError,
    CheckpointError,
    DivergenceError,
    MemoryBudgetError,
    UnsupportedError,
    WorkerError,
)
from lshsample.nn import (
    Adam,
    ApproximateActivations,
    Dense,
    Loss,
    Network,
    NetworkSpec,
    Rehash,
    RoundedActivations,
    Run,
    Sampled,
    Sharded,
    Softmax,
    Sparse,
)
from lshsample.nn.remote import LostError, RemoteShards, Worker, message_bytes
from lshsample.nn.shard import Chosen, Shard, merge_top
from lshsample.nn.shards import LocalShards
from lshsample.nn.sums import tree
from lshsample.training import Callback, Trainer

N_FEATURES, N_LABELS = 60, 203
OPTIONS = {"n_active": 64, "n_hashes": 4, "n_tables": 4, "rehash": 3}


def rows(n=120, n_labels=N_LABELS):
    rng = np.random.default_rng(0)
    x = sp.random_array((n, N_FEATURES), density=0.1, rng=rng, format="csr", dtype=np.float32)
    y = sp.random_array((n, n_labels), density=3 / n_labels, rng=rng, format="csr")
    return x, sp.csr_array(y != 0)


X, Y = rows()


def network(n_shards=1, **options):
    spec = NetworkSpec([Sparse(N_FEATURES), Dense(8), Sharded(N_LABELS, **{**OPTIONS, **options})], 3)
    return in_shards(spec, n_shards)


def in_shards(spec, n_shards):
    made = Network.from_spec(spec)
    made.output.shards = LocalShards(spec.layers[-1], made.output.context, n_shards)
    return made


def trainer(of, **options):
    given = {"batch_size": 30, "epochs": 2, "lr": 0.01, "threads": 1, "optimizer": Adam(weight_decay=1e-3)}
    return Trainer(of, **given | options)


def digest(of):
    """Of all weights, and of predictions."""
    parts = [p.weights for p in of.parameters] + [of.output.unit_vectors(), *of.predict(X, top=7)]
    return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()


class InThread(Worker):
    """A worker in this process, which dies at calls that are drawn at random."""

    def __init__(self, spec, context, first, last, deaths):
        self.shard, self.deaths = Shard(spec, context, first, last), deaths

    def submit(self, method, arguments):
        shard = None if next(self.deaths, False) else self.shard
        if shard is None:
            self.stop()
            return self._raising(LostError("as drawn"))
        try:
            value = getattr(shard, method)(*arguments)
        except Exception as error:
            return self._raising(error)
        if next(self.deaths, False):  # after it has changed its state, or written its snapshot
            self.stop()
            return self._raising(LostError("as drawn"))
        exchanged = message_bytes((method, arguments)) + message_bytes(value)
        return lambda: (value, 0.0, exchanged)

    def stop(self):
        self.shard = None

    @staticmethod
    def _raising(error):
        def result():
            raise error

        return result


class Dead(InThread):
    """A worker that dies at its first call."""

    def __init__(self, spec, context, first, last):
        super().__init__(spec, context, first, last, iter([True]))


class Timed(InThread):
    """A worker that says that each of its calls took some seconds."""

    def __init__(self, spec, context, first, last, seconds):
        super().__init__(spec, context, first, last, iter(()))
        self.seconds = seconds

    def submit(self, method, arguments):
        result = super().submit(method, arguments)
        return lambda: (result()[0], self.seconds, 0)


def remote(of, n_shards, folder, deaths=(), snapshot_steps=3):
    """The network with its shards behind the interface of other processes."""
    spec, context = of.output.spec, of.output.context
    left = iter(deaths)
    of.output.shards = RemoteShards(
        spec, n_shards, lambda a, b: InThread(spec, context, a, b, left), folder, snapshot_steps
    )
    return of


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"activation": "sigmoid", "sampler": "lsh-frequency"},
        {"active_set": "sample", "n_active": 32, "importance": "on"},
        {"sampler": "full", "activation": Softmax(smoothing=0.1)},
        {"sampler": "Retrieve() | Include()", "bias": False},
        {"rehash": Rehash(3, strategy="drift")},
        {"exchange": ApproximateActivations(0.3)},
        {"exchange": RoundedActivations(2, 1), "parts": 2},
    ],
    ids=str,
)
def test_the_same_bits_for_any_number_of_shards_and_threads(options):
    found = set()
    for n_shards, threads in ((1, 1), (2, 2), (4, 1), (8, 1)):
        of = network(n_shards, **options)
        history = trainer(of, threads=threads).fit(X, Y, validation=(X, Y))
        found.add((digest(of), history.epochs[-1].loss, history.active_mean))
    assert len(found) == 1


def test_a_block_begins_with_the_weights_of_its_units_and_retrieves_what_one_table_would():
    options = {"n_active": 64, "n_tables": 4}
    blocks = Network([Sparse(N_FEATURES), Dense(8), Sharded(N_LABELS, **options)], 3)
    whole = Network([Sparse(N_FEATURES), Dense(8), Sampled(N_LABELS, **options)], 3)
    for of in (blocks, whole):
        trainer(of, lr=0.0, optimizer="sgd").step(X[:30], Y[:30])
    np.testing.assert_array_equal(blocks.output.unit_vectors(), whole.output.unit_vectors())
    assert blocks.output.functions().n_hashes == whole.output.functions().n_hashes
    for mode in ("exact", "sampled"):
        found, wanted = blocks.rank(X, 5, mode), whole.rank(X, 5, mode)
        np.testing.assert_array_equal(found.labels, wanted.labels)
        np.testing.assert_array_equal(found.scores, wanted.scores)
        assert found.scored_mean == wanted.scored_mean
    np.testing.assert_array_equal(
        blocks.output.score(X[:9] @ np.ones((N_FEATURES, 8), np.float32), np.array([200, 3], np.int32)),
        whole.output.score(X[:9] @ np.ones((N_FEATURES, 8), np.float32), np.array([200, 3], np.int32)),
    )


def test_all_units_in_blocks_train_as_one_layer_of_all_units():
    kinds = Sharded(N_LABELS, sampler="full"), Sampled(N_LABELS, sampler="full")
    blocks, whole = (Network([Sparse(N_FEATURES), Dense(8), last], 3) for last in kinds)
    losses = [trainer(of).fit(X, Y).epochs[-1].loss for of in (blocks, whole)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    np.testing.assert_allclose(blocks.output.unit_vectors(), whole.output.unit_vectors(), atol=1e-4)


def test_hits_are_counted_over_all_blocks():
    of = network(4, sampler="full")
    batch = of.batch(X, Y)
    one = trainer(of).step(X, Y)
    assert (one.hits, one.active) == (None, N_LABELS)
    before = of.predict(X, top=1)[0][:, 0]
    report, _ = of.gradients(batch.x, batch.y, Run(1, 0, 2, True, True, batch.y), count_hits=True)
    labels = Y.toarray()
    used = np.flatnonzero(labels.sum(axis=1))
    assert report.hits == pytest.approx(labels[used, before[used]].mean())


@pytest.mark.parametrize("n_shards", [2, 4])
def test_workers_that_die_at_any_call_change_no_bit(n_shards, tmp_path):
    wanted = network()
    trainer(wanted, epochs=4).fit(X, Y, validation=(X, Y), patience=3)
    deaths = np.isin(np.arange(250), random.Random(n_shards).sample(range(250), 10)).tolist()
    of = remote(network(), n_shards, tmp_path, deaths)
    trainer(of, epochs=4).fit(X, Y, validation=(X, Y), patience=3)
    assert of.output.shards.n_restarts == 10
    assert digest(of) == digest(wanted)


def test_a_worker_that_always_dies_ends_the_run(tmp_path):
    of = network()
    spec, context = of.output.spec, of.output.context
    of.output.shards = RemoteShards(spec, 2, lambda a, b: Dead(spec, context, a, b), tmp_path, 3)
    with pytest.raises(WorkerError, match="a worker was lost 6 times at one call: as drawn"):
        of.predict(X)


@pytest.mark.parametrize("n_shards", [2, 4])
def test_a_slow_worker_is_reported(n_shards, tmp_path, caplog):
    of = network(sampler="uniform")
    spec, context = of.output.spec, of.output.context

    def start(first, last):
        return Timed(spec, context, first, last, 0.5 if last == 8 else 0.1)

    of.output.shards = RemoteShards(spec, n_shards, start, tmp_path, 1000)
    trainer(of, epochs=25).fit(X, Y)
    slow = [record.getMessage() for record in caplog.records if "is slow" in record.getMessage()]
    # Each step has three calls, and the calls before the first one have been short.
    assert len(slow) == 1
    assert slow[0].startswith(f"worker {n_shards - 1} is slow: ")
    assert "s of work in 100 steps, the median of the others is 3" in slow[0]


def test_workers_that_do_not_fit_are_refused_before_any_allocates(tmp_path, monkeypatch):
    of = remote(network(), 2, tmp_path)
    need = [worker.shard.room(3, 1).needed for worker in of.output.shards.workers]
    monkeypatch.setattr(memory, "available_bytes", lambda: sum(need) - 1)  # enough for each of them
    with pytest.raises(
        MemoryBudgetError, match=r"need .*: worker 0 \(labels 0 to 100\) .*, worker 1 \(labels 101 to 202\) "
    ):
        of.output.allocate(3, 1)
    assert not any(b.layer.is_allocated() for w in of.output.shards.workers for b in w.shard.blocks)
    monkeypatch.setattr(memory, "available_bytes", lambda: sum(need))
    of.output.allocate(3, 1)
    assert all(b.layer.is_allocated(3) for w in of.output.shards.workers for b in w.shard.blocks)


def test_a_snapshot_that_is_gone_is_an_error(tmp_path):
    of = remote(network(), 2, tmp_path, snapshot_steps=1)
    trainer(of).step(X, Y)
    for file in (tmp_path / "shard0").iterdir():
        file.unlink()
    of.output.shards.workers[0].stop()
    with pytest.raises(WorkerError, match="a folder that all machines share"):
        of.predict(X)


def test_traffic_does_not_depend_on_the_number_of_labels(tmp_path):
    exchanged = []
    for n_labels in (2_000, 40_000):
        x, _ = rows(256)
        y = np.random.default_rng(0).integers(0, n_labels, (256, 3)).tolist()
        spec = Sharded(n_labels, n_active=1000, n_tables=2)
        of = remote(Network([Sparse(N_FEATURES), Dense(128), spec]), 2, tmp_path / str(n_labels), (), 1000)
        one = trainer(of, batch_size=256)
        one.step(x, y)
        exchanged.append(one.step(x, y).exchanged)
    assert max(exchanged) < 300_000
    assert abs(exchanged[0] - exchanged[1]) < 2_000  # the batches have other labels
    assert min(exchanged) > 2 * 4 * 256 * 128  # hidden rows and their gradient


@pytest.mark.parametrize("stop_at", [1, 5])
def test_a_run_continues_with_another_number_of_shards(stop_at, tmp_path):
    wanted = network()
    trainer(wanted, epochs=3).fit(X, Y, validation=(X, Y), patience=3)

    class Stop(Callback):
        def on_step(self, step, report, milliseconds):
            return step == stop_at

    folder = tmp_path / "run"
    options = {"epochs": 3, "checkpoint": folder, "callbacks": [Stop()]}
    trainer(network(8), **options).fit(X, Y, validation=(X, Y), patience=3)
    files = sorted(path.name.split("-")[0] for path in folder.glob("block*"))
    assert files == sorted([f"block{i}" for i in range(8)] + [f"block{i}tables" for i in range(8)])
    continued = Trainer.resume(folder, made=lambda spec: in_shards(spec, 2), threads=1)
    continued.fit(X, Y, validation=(X, Y))
    assert digest(continued.network) == digest(wanted)


def test_a_model_of_shards_is_loaded_as_one(tmp_path):
    of = network(4)
    trainer(of).fit(X, Y)
    of.save(tmp_path)
    assert digest(Network.load(tmp_path)) == digest(of)
    (file,) = tmp_path.glob("block5-*.safetensors")
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"block5-1.safetensors: changed since it was written"):
        Network.load(tmp_path)


def test_weights_are_unchanged_by_a_step_that_diverges():
    of = network(2, sampler="full")
    one = trainer(of)
    one.step(X, Y)
    before = digest(of)
    of.output.shards.shards[1].blocks[0].layer.weights.weights[0, 0] = np.nan
    with pytest.raises(DivergenceError):
        one.step(X, Y)
    of.output.shards.shards[1].blocks[0].layer.weights.weights[0, 0] = 0
    assert digest(of) != before
    assert np.isfinite(of.output.unit_vectors()).all()


def test_bad_layers_are_refused():
    for blocks, given in ((3, "3"), (0, "0"), (256, "256")):
        with pytest.raises(ArgumentError, match=rf"blocks must be .* \(got {given}\)"):
            Sharded(N_LABELS, blocks=blocks)
    with pytest.raises(UnsupportedError, match="cannot rehash by Background"):
        Sharded(N_LABELS, rehash=Rehash(strategy="background"))

    class Hinge(Loss):
        def apply(self, logits, threads):
            return np.zeros(len(logits.values), np.float32)

    of = Network([Sparse(N_FEATURES), Dense(8), Sharded(N_LABELS, Hinge(), n_active=64)])
    with pytest.raises(UnsupportedError, match="cannot be taken over parts of a row"):
        trainer(of).step(X, Y)
    with pytest.raises(UnsupportedError, match="no hash tables"):
        network(sampler="uniform").output.top_retrieved(np.zeros((1, 8), np.float32), 1, 1)
    with pytest.raises(UnsupportedError, match="needs a last layer that samples"):
        network(sampler="uniform").predict(X, mode="sampled")


def test_parts_are_added_in_a_tree():
    assert tree("abcdefgh", lambda a, b: f"({a}{b})") == "(((ab)(cd))((ef)(gh)))"
    assert tree(["a"], lambda a, b: a + b) == "a"


def test_the_best_units_are_merged_with_ties_by_the_smaller_unit():
    inf = np.inf
    left = Chosen(np.array([[3, 1], [2, -1]], np.int32), np.array([[5, 4], [1, -inf]], np.float32))
    right = Chosen(np.array([[8, 7], [9, 8]], np.int32), np.array([[5, 4], [-inf, -inf]], np.float32))
    best = merge_top([left, right], 3)
    np.testing.assert_array_equal(best.ids, [[3, 8, 1], [2, 9, 8]])
    np.testing.assert_array_equal(best.scores, [[5, 5, 4], [1, -inf, -inf]])


def test_blocks_of_few_units_do_not_warn_of_their_own_numbers():
    few = Network([Sparse(30), Dense(4), Sharded(10, n_active=8, blocks=8)])  # warnings are errors
    assert few.output.units == 10
