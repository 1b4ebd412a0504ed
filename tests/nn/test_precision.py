"""Networks in bfloat16: training, prediction, files, and what they refuse."""

import json

import attrs
import numpy as np
import pytest
import scipy.sparse as sp

from lshsample._native import convert
from lshsample.errors import ArgumentError, CheckpointError, UnsupportedError
from lshsample.nn import SGD, Adagrad, Adam, Dense, Input, Network, Optimizer, Sampled, Sharded, Sparse
from lshsample.nn.bundle import MANIFEST
from lshsample.nn.network_spec import NetworkSpec
from lshsample.sampling import Rehash
from lshsample.training import Callback, Trainer

RNG = np.random.default_rng(0)
X = sp.random_array((300, 60), density=0.15, rng=RNG, format="csr", dtype=np.float32)
Y = sp.csr_array(((X @ RNG.standard_normal((60, 90))) > 1.2).astype(np.float32))


def make(precision="bfloat16", hidden=(17,), moments=None, **options):
    """Odd widths, and tables that are rebuilt several times in a run."""
    options = {"sampler": "lsh", "n_active": 40, "n_hashes": 4, "n_tables": 6, "rehash": 7, **options}
    layers = [Sparse(60), *[Dense(width) for width in hidden], Sampled(90, **options)]
    return Network(layers, seed=3, precision=precision, moments=moments)


def trained(network, epochs=4, **options):
    trainer = Trainer(network, **{"batch_size": 30, "epochs": epochs, "lr": 0.02, "threads": 1, **options})
    return trainer.fit(X, Y)


def bits(network):
    return [array.tobytes() for p in network.parameters for array in p.tensors(state=True).values()]


@pytest.mark.parametrize("optimizer", [Adam(), Adam(weight_decay=0.1), Adagrad(), SGD()])
@pytest.mark.parametrize(
    ("precision", "moments"), [("bfloat16", None), ("float32", "float8"), ("bfloat16", "float8")]
)
def test_the_loss_falls_as_in_float32(optimizer, precision, moments):
    lr = {"Adam": 0.02, "Adagrad": 0.1, "SGD": 2.0}[type(optimizer).__name__]
    losses = []
    for network in (make(precision, moments=moments), make("float32")):
        history = trained(network, 8, optimizer=optimizer, lr=lr)
        losses.append([epoch.loss for epoch in history.epochs])
    assert losses[0][-1] < losses[0][0] - 0.1
    np.testing.assert_allclose(losses[0], losses[1], rtol=0.05)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"active_set": "sample", "n_active": 10},
        {"sampler": "exact-top"},
        {"sampler": "full", "loss": "sigmoid"},
        {"rehash": Rehash(7, strategy="drift")},
        {"hidden": (17, 9)},
        {"hidden": (17, 9), "moments": "float8"},
        {"precision": "float32", "moments": "float8", "active_set": "sample", "n_active": 10},
    ],
)
def test_the_bits_are_the_same_for_any_number_of_threads(options):
    loss = {"activation": options.pop("loss")} if "loss" in options else {}
    one, three = (make(**options, **loss) for _ in range(2))
    trained(one, threads=1)
    trained(three, threads=3)
    assert bits(one) == bits(three)


@pytest.mark.parametrize(
    ("precision", "moments"), [("bfloat16", None), ("float32", "float8"), ("bfloat16", "float8")]
)
def test_a_continued_run_has_the_same_bits(tmp_path, precision, moments):
    class Stop(Callback):
        def on_step(self, step, report, milliseconds):
            return step == 13

    whole, part = (make(precision, moments=moments) for _ in range(2))
    options = {"optimizer": Adam(weight_decay=0.1)}
    trained(whole, **options)
    trained(part, checkpoint=tmp_path / "run", callbacks=[Stop()], **options)
    resumed = Trainer.resume(tmp_path / "run", threads=2)
    assert resumed.network.spec == whole.spec
    resumed.fit(X, Y)
    assert bits(resumed.network) == bits(whole)
    saved = json.loads((tmp_path / "run" / MANIFEST).read_text())
    assert f'"precision": "{precision}"' in json.dumps(saved)


def test_a_saved_network_predicts_the_same_in_each_way(tmp_path):
    network = make()
    trained(network)
    network.save(tmp_path / "model")
    loaded = Network.load(tmp_path / "model")
    assert loaded.precision == "bfloat16"
    wanted = network.predict(X, 3)
    for found in (loaded.predict(X, 3), loaded.predict(X, 3, precision="int8")):
        for a, b in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(a, b)
    assert (network.predict(X, 3, mode="sampled")[0] >= -1).all()
    size = sum(file.stat().st_size for file in (tmp_path / "model").iterdir())
    make("float32").save(tmp_path / "wide")
    assert size < 0.6 * sum(file.stat().st_size for file in (tmp_path / "wide").iterdir())


def test_the_copy_in_float32_predicts_the_same():
    network = make()
    trained(network)
    wide = network.in_float32()
    assert wide.precision == "float32"
    assert network.precision == "bfloat16"
    assert wide.in_float32() is wide
    np.testing.assert_array_equal(wide.output.unit_vectors(), network.output.unit_vectors())
    np.testing.assert_array_equal(wide.predict(X, 5)[0], network.predict(X, 5)[0])


def test_weights_and_state_take_six_bytes_with_adam():
    layers = [Sparse(1000), Dense(64), Sampled(5000, sampler="uniform", n_active=10)]
    network = Network(layers, precision="bfloat16")
    weights = 1000 * 64 + 5000 * 64
    biases = 64 + 5000
    assert network.memory_needed(Adam.slots)["parameters"] == 6 * weights + 12 * biases
    network.allocate(Adam.slots)
    assert sum(p.slots.nbytes for p in network.parameters) == 6 * weights + 12 * biases


@pytest.mark.parametrize(("precision", "size"), [("float32", 4), ("bfloat16", 2)])
def test_moments_in_8_bits_take_two_bytes_a_weight(precision, size):
    layers = [Sparse(1000), Dense(64), Sampled(5000, sampler="uniform", n_active=10)]
    network = Network(layers, precision=precision, moments="float8")
    weights, rows, biases = 6000 * 64, 6000, 64 + 5000
    told = (size + 2) * weights + 8 * rows + 12 * biases
    assert network.memory_needed(Adam.slots)["parameters"] == told
    network.allocate(Adam.slots)
    assert sum(p.slots.nbytes for p in network.parameters) == told


def test_a_network_with_moments_in_8_bits_is_saved_and_trained_on(tmp_path):
    network = make(moments="float8")
    trained(network)
    network.save(tmp_path / "model")
    loaded = Network.load(tmp_path / "model")
    assert loaded.spec == network.spec
    np.testing.assert_array_equal(loaded.predict(X, 3)[0], network.predict(X, 3)[0])
    trained(loaded, 1)
    weights = loaded.output.parameters[0]
    assert weights.tensors(state=True)[f"{weights.name}.state"].any()
    weights.reset_state()
    assert not weights.tensors(state=True)[f"{weights.name}.state"].any()


def test_weight_decay_is_not_lost_by_rounding():
    """A factor of 0.999 changes no weight when it is rounded to nearest."""
    network = make(hidden=(128,))
    network.allocate(1)
    weights = network.output.parameters[0]
    before = weights.values.copy()
    weights.decay(0.999)
    np.testing.assert_array_equal(weights.vectors[:], before * np.float32(0.999))
    weights.settle()
    assert weights.factor == 1.0
    assert abs((weights.values / before).mean() - 0.999) < 2e-4
    same = make(hidden=(128,))
    same.allocate(1)
    same.output.parameters[0].decay(0.999)
    np.testing.assert_array_equal(same.output.parameters[0].values, weights.values)


def test_dense_input_and_dense_output():
    x = X.toarray()
    network = Network([Input(60), Dense(12), Dense(90, "softmax")], precision="bfloat16")
    Trainer(network, batch_size=30, epochs=2, lr=0.02, threads=1).fit(x, Y)
    ids, h = np.array([3, 80, 3], np.int32), network.hidden(x)
    np.testing.assert_allclose(network.output.score(h, ids), network.output.score(h)[:, ids], atol=1e-5)
    labels, _ = network.predict(x, 2)
    np.testing.assert_array_equal(labels, network.predict(x, 2, precision="int8")[0])


def test_the_spec_says_the_precision():
    spec = make().spec
    assert NetworkSpec.from_json(spec.to_json()) == spec
    assert spec.to_dict()["precision"] == "bfloat16"
    older = {key: value for key, value in make("float32").spec.to_dict().items() if key != "precision"}
    assert NetworkSpec.from_dict(older).precision == "float32"
    assert "precision='bfloat16'" in repr(make())
    few = make(moments="float8")
    assert NetworkSpec.from_json(few.spec.to_json()) == few.spec
    assert "moments='float8'" in repr(few)


def test_what_is_not_supported_is_named(tmp_path):
    with pytest.raises(ArgumentError, match=r"^precision must be one of .*bfloat16.* \(got 'half'\)"):
        make("half")

    @attrs.frozen
    class Own(Optimizer):
        slots = 1

        def update(self, store, rows, gradient, lr, step, threads):
            store.weights[...] -= 1

    network = make()
    with pytest.raises(UnsupportedError, match="Own trains networks in float32; this one is in bfloat16"):
        Trainer(network, optimizer=Own())
    with pytest.raises(ArgumentError, match=r"^moments must be one of 'float8', 'float4' \(got 'int8'\)"):
        make(moments="int8")
    for precision, given, own in (("int4", "float8", "float4"), ("bfloat16", "float4", "float8")):
        message = rf"moments must be '{own}', or left out, with precision='{precision}' \(got '{given}'\)"
        with pytest.raises(ArgumentError, match=message):
            make(precision, moments=given)
    with pytest.raises(UnsupportedError, match="Own keeps no state in 8 bits"):
        Trainer(make("float32", moments="float8"), optimizer=Own())
    with pytest.raises(UnsupportedError, match="Sharded layer keeps no moments in float8"):
        Network([Input(20), Dense(8), Sharded(64)], moments="float8")
    with pytest.raises(UnsupportedError, match="Sharded layer trains in float32"):
        Network([Input(20), Dense(8), Sharded(64)], precision="bfloat16")
    trained(make("float32"), 1, checkpoint=tmp_path / "run", optimizer=Adam())
    network.save(tmp_path / "model")
    manifest = tmp_path / "model" / MANIFEST
    manifest.write_text(manifest.read_text().replace("bfloat16", "float32"))
    with pytest.raises(CheckpointError):
        Network.load(tmp_path / "model")


def test_rows_that_are_converted_where_they_are_read():
    values = RNG.standard_normal((9, 5), dtype=np.float32)
    rows = convert.ConvertedRows(convert.from_float32(values, "bfloat16"), 2.0)
    wide = convert.to_float32(rows.rows) * np.float32(2)
    np.testing.assert_array_equal(rows[2:7], wide[2:7])
    np.testing.assert_array_equal(rows[np.array([8, 0])], wide[[8, 0]])
    np.testing.assert_array_equal(np.asarray(rows), wide)
    copied = rows.copy()
    rows.rows[...] = convert.from_float32(np.zeros_like(values), "bfloat16")
    np.testing.assert_array_equal(copied[:], wide)
    with pytest.raises(ValueError, match="only be read as a copy"):
        np.array(rows, copy=False)
