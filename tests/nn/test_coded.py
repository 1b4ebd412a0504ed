"""Networks with wide layers in 8 or 4 bits: training, sampling, prediction, files, what they refuse."""

import json

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample._native.coded import CodedRows
from lshsample.errors import ArgumentError, CheckpointError, UnsupportedError
from lshsample.nn import (
    SGD,
    Adagrad,
    Adam,
    Dense,
    Input,
    Network,
    Optimizer,
    RowCache,
    Sampled,
    Sharded,
    Sparse,
)
from lshsample.nn.bundle import MANIFEST
from lshsample.nn.coded import CodedParameter
from lshsample.nn.network_spec import NetworkSpec
from lshsample.sampling import MaintainedSampler, Rehash
from lshsample.training import Callback, Trainer

RNG = np.random.default_rng(0)
X = sp.random_array((300, 60), density=0.15, rng=RNG, format="csr", dtype=np.float32)
Y = sp.csr_array(((X @ RNG.standard_normal((60, 90))) > 1.2).astype(np.float32))
PRECISIONS = ("int8", "int4")


def make(precision="int8", hidden=(17,), row_cache=None, moments=None, **options):
    """Odd widths, and tables that are rebuilt several times in a run."""
    options = {"sampler": "lsh", "n_active": 40, "n_hashes": 4, "n_tables": 6, "rehash": 7, **options}
    layers = [Sparse(60), *[Dense(width) for width in hidden], Sampled(90, **options)]
    return Network(layers, seed=3, precision=precision, row_cache=row_cache, moments=moments)


def trained(network, epochs=4, **options):
    trainer = Trainer(network, **{"batch_size": 30, "epochs": epochs, "lr": 0.02, "threads": 1, **options})
    return trainer.fit(X, Y)


def bits(network):
    return [array.tobytes() for p in network.parameters for array in p.tensors(state=True).values()]


@pytest.mark.parametrize(("precision", "moments"), [("int8", None), ("int4", None), ("int8", "float4")])
@pytest.mark.parametrize("optimizer", [Adam(), Adam(weight_decay=0.1), Adagrad(), SGD()])
def test_the_loss_falls_nearly_as_in_float32(precision, moments, optimizer):
    lr = {"Adam": 0.02, "Adagrad": 0.1, "SGD": 2.0}[type(optimizer).__name__]
    losses = {}
    for one, how in (("float32", None), (precision, moments)):
        network = make(one, moments=how)
        losses[one] = [e.loss for e in trained(network, 8, optimizer=optimizer, lr=lr).epochs]
    assert losses[precision][-1] < losses[precision][0] - 0.1
    np.testing.assert_allclose(losses[precision], losses["float32"], rtol=0.05)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"precision": "int4", "row_cache": RowCache(0.2, policy="lru", ways=3)},
        {"active_set": "sample", "n_active": 10},
        {"sampler": "exact-top"},
        {"sampler": "full", "loss": "sigmoid"},
        {"rehash": Rehash(7, strategy="drift"), "row_cache": 0},
        {"hidden": (17, 9), "row_cache": 1.0},
        {"moments": "float4"},
    ],
)
def test_the_bits_are_the_same_for_any_number_of_threads(options):
    loss = {"activation": options.pop("loss")} if "loss" in options else {}
    one, three = (make(**options, **loss) for _ in range(2))
    trained(one, threads=1)
    trained(three, threads=3)
    assert bits(one) == bits(three)


@pytest.mark.parametrize(("policy", "moments"), [("lfu", None), ("lru", None), ("lfu", "float4")])
def test_a_continued_run_has_the_same_bits(tmp_path, policy, moments):
    class Stop(Callback):
        def on_step(self, step, report, milliseconds):
            return step == 13

    cache = RowCache(0.1, policy=policy)
    precision = "int4" if moments is None else "int8"
    whole, part = (make(precision, row_cache=cache, moments=moments) for _ in range(2))
    options = {"optimizer": Adam(weight_decay=0.1)}
    trained(whole, **options)
    trained(part, checkpoint=tmp_path / "run", callbacks=[Stop()], **options)
    resumed = Trainer.resume(tmp_path / "run", threads=2)
    assert resumed.network.spec == whole.spec
    resumed.fit(X, Y)
    assert bits(resumed.network) == bits(whole)


def test_the_weights_of_the_best_epoch_return(tmp_path):
    network = make(row_cache=0.2)
    trainer = Trainer(network, batch_size=30, epochs=9, lr=0.5, threads=1, checkpoint=tmp_path / "run")
    history = trainer.fit(X[:200], Y[:200], validation=(X[200:], Y[200:]), patience=1)
    best = max(epoch.validation["p@1"] for epoch in history.epochs)
    assert network.evaluate(X[200:], Y[200:])["p@1"] == best
    # A row of the cache may have moved since, and its moment with it.
    assert not any(p.coded.read(slot=1).any() for p in network.parameters if isinstance(p, CodedParameter))


@pytest.mark.parametrize(("precision", "moments"), [("int8", None), ("int4", None), ("int8", "float4")])
def test_a_saved_network_predicts_the_same_in_each_way(tmp_path, precision, moments):
    network = make(precision, moments=moments)
    trained(network, optimizer=Adam(weight_decay=0.1))
    network.save(tmp_path / "model")
    loaded = Network.load(tmp_path / "model")
    assert (loaded.precision, loaded.spec) == (precision, network.spec)
    wanted = network.predict(X, 3)
    wide = network.in_float32()
    for found in (loaded.predict(X, 3), loaded.predict(X, 3, precision="int8"), wide.predict(X, 3)):
        np.testing.assert_array_equal(found[0], wanted[0])
        np.testing.assert_allclose(found[1], wanted[1], rtol=1e-5)
    np.testing.assert_array_equal(wide.output.unit_vectors(), network.output.unit_vectors())
    h, ids = network.hidden(X), np.array([3, 80, 3], np.int32)
    np.testing.assert_array_equal(network.output.score(h, ids), network.output.score(h)[:, ids])
    labels, scores = network.predict(X, 3, mode="sampled")
    every = network.output.score(h)
    found = labels >= 0
    np.testing.assert_allclose(scores[found], np.take_along_axis(every, labels, 1)[found], rtol=1e-5)
    # A loaded network can be trained on.
    trained(loaded, 1)


def test_blocks_of_rows_have_the_top_of_all(monkeypatch):
    network = make()
    trained(network)
    wanted = network.predict(X, 70)
    monkeypatch.setattr("lshsample.nn.coded._BLOCK", 17 * 31)
    for a, b in zip(network.predict(X, 70), wanted, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(
        network.output.score(network.hidden(X[:5])).argmax(axis=1), wanted[0][:5, 0]
    )


@pytest.mark.parametrize("precision", PRECISIONS)
def test_samples_and_probabilities_are_those_of_the_decoded_rows(precision):
    """The sampler hashes what products read: codes, and the rows of the cache as they are."""
    network = make(precision, row_cache=0.2, importance="on", sampler="lsh", n_active=20)
    trained(network)
    active = network.output.active
    vectors = network.output.unit_vectors()
    options = {"family": "simhash", "n_hashes": 4, "n_tables": 6, "pipeline": active.pipeline, "seed": 9}
    mine, other = (MaintainedSampler(17, 90, rehash=0, **options) for _ in range(2))
    other.refresh(vectors, 0)
    mine.refresh(network.output.weights.vectors, 0)
    queries = network.hidden(X[:20])
    a, b = (one.sample(queries, include=Y[:20], seed=4, step=2) for one in (mine, other))
    for name in ("indptr", "ids", "log_inclusion"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert np.isfinite(a.log_inclusion).all()


def test_memory_is_told_before_and_kept():
    layers = [Sparse(20_000), Dense(128), Sampled(30_000, sampler="uniform", n_active=10)]
    sizes = {}
    ways = {precision: {"precision": precision} for precision in ("float32", *PRECISIONS)}
    ways["float4"] = {"precision": "int8", "row_cache": 0.01, "moments": "float4"}
    for name, options in ways.items():
        network = Network(layers, **options)
        sizes[name] = network.memory_needed(Adam.slots)["parameters"]
        network.allocate(Adam.slots)
        assert sum(p.raw.nbytes for p in network.parameters) == sizes[name]
    biases = 12 * (30_000 + 128)
    assert sizes["float32"] - biases >= 3 * (sizes["int8"] - biases)
    for few in ("int4", "float4"):
        assert sizes["float32"] - biases >= 6.5 * (sizes[few] - biases)


def test_which_layers_are_in_codes():
    last = Sampled(90, sampler="full")
    layers = [Sparse(60), Dense(9), Sampled(40, "relu", n_active=20), Dense(8), last]
    network = Network(layers, precision="int4")
    coded = [p.name for p in network.parameters if isinstance(p, CodedParameter)]
    assert coded == ["1.weights", "2.weights", "4.weights"]
    trained(network, 1)
    x = X.toarray()
    dense = Network([Input(60), Dense(12), Dense(90, "softmax")], precision="int8")
    Trainer(dense, batch_size=30, epochs=1, lr=0.02, threads=1).fit(x, Y)
    direct = Network([Sparse(60), Dense(90, "softmax")], precision="int8")
    trained(direct, 1)
    for network in (dense, direct):
        assert not any(isinstance(p, CodedParameter) for p in network.parameters)
    with pytest.raises(UnsupportedError, match=r"Sharded layer trains in float32.*int8"):
        Network([Sparse(60), Dense(12), Sharded(90, blocks=2)], precision="int8")


def test_what_cannot_be_done_is_refused():
    class Own(Optimizer):
        slots = 1

        def update(self, store, rows, gradient, lr, step, threads):
            raise AssertionError

    network = make()
    with pytest.raises(UnsupportedError, match="Own trains networks in float32; this one is in int8"):
        Trainer(network, optimizer=Own())
    network.allocate(1)
    with pytest.raises(UnsupportedError, match="in 8 bits; read its values"):
        _ = network.output.weights.weights
    with pytest.raises(ArgumentError, match="row_cache"):
        make("float32", row_cache=0.1)
    for wrong in (2.0, -0.1, "half", {"share": 0.1, "kind": "lru"}):
        with pytest.raises(ArgumentError):
            make(row_cache=wrong)


def test_the_spec_round_trips():
    cache = RowCache(0.2, policy="lru", ways=4)
    spec = NetworkSpec([Sparse(60), Sampled(90)], precision="int4", row_cache=cache)
    assert NetworkSpec.from_toml(spec.to_toml()) == spec
    assert NetworkSpec.from_json(spec.to_json()) == spec
    spec = NetworkSpec([Sparse(60), Sampled(90)], precision="int8", moments="float4")
    assert NetworkSpec.from_toml(spec.to_toml()) == spec
    assert "row_cache" not in NetworkSpec([Sparse(60), Sampled(90)], precision="int8").to_dict()
    assert "RowCache(share=0.2" in repr(make(row_cache=cache))


def test_a_file_with_rows_in_wrong_places_is_refused(tmp_path, monkeypatch):
    network = make(row_cache=0.3)
    trained(network, 1)
    tags = network.output.weights.coded.tags
    tags[0] = tags[0, ::-1] + len(tags) * 100
    network.save(tmp_path / "model")
    assert json.loads((tmp_path / "model" / MANIFEST).read_text())
    with pytest.raises(CheckpointError, match=r"2\.weights cannot be read: .*tags"):
        Network.load(tmp_path / "model")


def test_decoded_rows_are_read_as_arrays_are():
    network = make(row_cache=0.2)
    trained(network, 1)
    weights = network.output.weights
    weights.decay(0.3)
    vectors, before = weights.vectors, weights.vectors.copy()
    assert isinstance(weights.raw, CodedRows)
    every = vectors[:]
    np.testing.assert_array_equal(vectors[[5, 80]], every[[5, 80]])
    np.testing.assert_array_equal(vectors[3:60:7], every[3:60:7])
    np.testing.assert_allclose(weights.values, every, rtol=1e-5, atol=1e-7)
    assert weights.factor == 1.0
    trained(network, 1)
    np.testing.assert_array_equal(before[:], every)
