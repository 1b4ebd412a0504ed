"""Custom layers, losses, activations, optimizers and schedules, as instances and by name."""

from __future__ import annotations

import itertools

import attrs
import numpy as np
import pytest
import scipy.sparse as sp

from lshsample import specs
from lshsample.config import TrainConfig
from lshsample.errors import ArgumentError, CheckpointError, UnsupportedError
from lshsample.nn import (
    ACTIVATIONS,
    LAYERS,
    LOSSES,
    OPTIMIZERS,
    SCHEDULES,
    Activation,
    Block,
    BuildContext,
    BuiltLayer,
    Dense,
    Input,
    Layer,
    LearningRate,
    Loss,
    NameTable,
    Network,
    NetworkSpec,
    Optimizer,
    Parameter,
    Relu,
    Run,
    Sampled,
    Schedule,
    Softmax,
    Sparse,
    Update,
)
from lshsample.nn.signals import values_of
from lshsample.training import Callback, Trainer, TrainingSettings

TABLES = {"layer": LAYERS, "loss": LOSSES, "activation": ACTIVATIONS, "optimizer": OPTIMIZERS,
          "schedule": SCHEDULES}  # fmt: skip


@attrs.frozen
class Scale(Layer):
    """Multiplies each column by a learned factor."""

    width: int
    start: float = attrs.field(default=1.0, validator=specs.number(-10, 10), kw_only=True)

    @property
    def units(self) -> int:
        return self.width

    def build(self, context: BuildContext) -> BuiltScale:
        return BuiltScale(self, context)


class BuiltScale(BuiltLayer):
    """The factors are stored minus ``start``."""

    def __init__(self, spec: Scale, context: BuildContext) -> None:
        key = context.seed, 2 * context.index
        self.start = np.float32(spec.start)
        self.factors = Parameter(f"{context.index}.factors", 1, spec.units, 0.0, key)
        super().__init__(spec.units, context, (self.factors,))

    def forward(self, x, run):
        values, factors = x.values, self.start + self.factors.vector

        def backward(gradient):
            dz = values_of(gradient)
            update = Update(self.factors, None, (dz * values).sum(0, keepdims=True))
            return Block(dz * factors, self.units), [update]

        return Block(values * factors, self.units), backward


@attrs.frozen
class Squares(Loss):
    """``sum_j (o_j - t_j)^2 / 2 * weight`` with t = 1 at labels."""

    weight: float = 1.0

    def apply(self, logits, threads):
        values, indptr = logits.values, logits.indptr
        starts = np.arange(len(values)) * values.shape[1] if indptr is None else indptr[:-1]
        flat = values.reshape(-1)
        of_label = np.repeat(starts, np.diff(logits.label_indptr))
        flat[of_label + logits.label_places] -= logits.label_weights
        losses = np.add.reduceat(np.square(flat), starts) / 2 * self.weight
        flat *= self.weight
        return losses.astype(np.float32)


@attrs.frozen
class Cube(Activation):
    """``x^3``."""

    gain = 0.5

    def apply(self, values):
        values **= 3

    def slope(self, outputs):
        return 3 * np.cbrt(outputs) ** 2


@attrs.frozen
class Momentum(Optimizer):
    """Gradient descent with momentum: ``m = beta m + g; w -= lr m``."""

    beta: float = 0.9
    slots = 2

    def update(self, store, rows, gradient, lr, step, threads):
        at = slice(None) if rows is None else rows
        momentum = self.beta * store.slot(1)[at] + gradient
        store.slot(1)[at] = momentum
        store.weights[at] -= np.float32(lr) * momentum


@attrs.frozen
class Halving(Schedule):
    """Halves the rate after every ``period`` steps."""

    period: int = 10

    def factor(self, step, total):
        return 0.5 ** ((step - 1) // self.period)


#: Names and classes that a test registers.
OWN = {"layer": ("scale", Scale), "loss": ("squares", Squares), "activation": ("cube", Cube),
       "optimizer": ("momentum", Momentum), "schedule": ("halving", Halving)}  # fmt: skip


@pytest.fixture(autouse=True)
def names_of_now(monkeypatch):
    """Removes what a test adds to a table."""
    for table in TABLES.values():
        monkeypatch.setattr(table, "_entries", dict(table._entries))


@pytest.fixture
def registered(names_of_now):
    """Every class of this file has a name."""
    for kind, (name, cls) in OWN.items():
        TABLES[kind].add(name)(cls)


def data(rows: int = 60, seed: int = 0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, 12)).astype(np.float32)
    return x, sp.csr_array((x @ rng.standard_normal((12, 20)) > 3).astype(np.float32))


def network(last="dense", loss=None) -> Network:
    cls = {"dense": Dense, "sampled": Sampled}[last]
    options = {"sampler": "Full()"} if last == "sampled" else {}
    loss = Squares(0.5) if loss is None else loss
    layers = [Input(12), Dense(10, Cube()), Scale(10, start=0.5), cls(20, loss, **options)]
    return Network(layers, seed=4)


@pytest.mark.parametrize("last", ["dense", "sampled"])
def test_gradients_pass_through_custom_layers(last):
    """Layer, activation and loss, compared with central differences in float32."""
    net, (x, y) = network(last), data(5)
    net.allocate()
    net.parameters[2].weights[...] = np.random.default_rng(1).normal(0, 0.2, (1, 10))
    run = Run(threads=1, seed=1, step=1, training=True, sampled=True, targets=y)
    net.prepare(0, 1)
    batch = net.batch(x, y)
    _, updates = net.gradients(batch.x, batch.y, run)
    assert [update.parameter.name for update in updates] == [
        "3.weights", "3.bias", "2.factors", "1.weights", "1.bias"
    ]  # fmt: skip
    found = [update.gradient.astype(np.float64) for update in updates]
    for update, gradient in zip(updates, found, strict=True):
        weights = update.parameter.weights
        for place in [(0, 0), tuple(np.subtract(weights.shape, 1)), np.unravel_index(
            abs(gradient).argmax(), gradient.shape
        )]:  # fmt: skip
            losses = []
            for sign in (1, -2):
                weights[place] += sign * np.float32(2e-2)
                losses.append(net.gradients(batch.x, batch.y, run)[0].loss)
            weights[place] += np.float32(2e-2)
            assert (losses[0] - losses[1]) / 4e-2 == pytest.approx(gradient[place], rel=2e-2, abs=2e-3)


def test_a_custom_loss_is_computed_over_active_sets():
    """Per sample, with sets of different sizes; they always include the labels."""
    layers = [Input(12), Sampled(20, Squares(), sampler="Uniform(5)", active_set="sample")]
    history = Trainer(Network(layers), epochs=3, batch_size=10, threads=1).fit(*data())
    assert history.epochs[-1].loss < history.epochs[0].loss
    assert history.active_mean > 5


class StopAfterOne(Callback):
    def on_step(self, step, report, milliseconds):
        return True


def test_training_with_custom_classes_is_saved_and_resumed(tmp_path, registered):
    """By their names: model, checkpoint, and a run that continues with the same bits."""
    x, y = data()
    options = {"optimizer": Momentum(beta=0.8), "schedule": Halving(7), "lr": 0.01, "epochs": 3}
    whole, cut = network(), network()
    Trainer(whole, batch_size=10, threads=1, **options).fit(x, y)
    stop = StopAfterOne()
    trainer = Trainer(cut, batch_size=10, threads=1, callbacks=[stop], checkpoint=tmp_path / "c", **options)
    assert trainer.fit(x, y).steps == 1
    resumed = Trainer.resume(tmp_path / "c", threads=1)
    assert resumed.settings == trainer.settings
    assert resumed.fit(x, y).steps == 18
    for one, same in zip(whole.parameters, resumed.network.parameters, strict=True):
        np.testing.assert_array_equal(one.store, same.store)
    whole.save(tmp_path / "m")
    loaded = Network.load(tmp_path / "m")
    assert loaded.spec == whole.spec
    assert loaded.loss == Squares(0.5)
    assert (loaded.predict(x)[1] == whole.predict(x)[1]).all()


def test_classes_without_a_name_cannot_be_saved_and_the_error_says_how_to_register_them(tmp_path):
    """Also refused before the first step of a run with checkpoints."""
    x, y = data()
    net = network()
    with pytest.raises(UnsupportedError, match=r"Cube .* lshsample.nn.ACTIVATIONS.add\(\"name\"\)\(Cube\)"):
        net.save(tmp_path / "m")
    assert not (tmp_path / "m").exists()
    plain = Network([Input(12), Dense(20, "softmax")])
    for options, words in (
        ({"optimizer": Momentum()}, r"OPTIMIZERS.add\(\"name\"\)\(Momentum\)"),
        ({"schedule": Halving()}, r"SCHEDULES.add\(\"name\"\)\(Halving\)"),
    ):
        with pytest.raises(UnsupportedError, match=words):
            Trainer(plain, threads=1, checkpoint=tmp_path / "c", **options).fit(x, y)
        assert not any(p.allocated for p in plain.parameters)
    with pytest.raises(UnsupportedError, match=r"LOSSES.add\(\"name\"\)\(Squares\)"):
        Network([Input(12), Dense(20, Squares())]).save(tmp_path / "m")
    Trainer(plain, threads=1, optimizer=Momentum(), epochs=1).fit(x, y)  # no name is needed to train


def test_a_model_with_an_unregistered_name_is_refused_by_name(tmp_path, monkeypatch, registered):
    """The module that registers it was not imported."""
    network().save(tmp_path / "m")
    for kind, words in (
        ("layer", r"layers\[2\].layer must be .* \(got 'scale'\)"), ("loss", "activation must be .*squares")
    ):  # fmt: skip
        with monkeypatch.context() as patch:
            entries = {name: entry for name, entry in TABLES[kind]._entries.items() if name != OWN[kind][0]}
            patch.setattr(TABLES[kind], "_entries", entries)
            with pytest.raises(CheckpointError, match=f"cannot be made: {words}"):
                Network.load(tmp_path / "m")


def test_names_and_instances_are_the_same(registered):
    """A spec holds instances; a file holds the name, and the options that are not defaults."""
    assert Dense(5, Relu()) == Dense(5, "relu") == Dense(5)
    assert Dense(5, "softmax").activation == Softmax()
    assert Dense(5, "squares").activation == Squares()
    assert LAYERS.to_data(Dense(5, Squares()))["activation"] == "squares"
    assert Dense(5, {"loss": "squares", "weight": 2.0}) == Dense(5, Squares(2.0))
    net = network()
    for spec in (NetworkSpec.from_json(net.spec.to_json()), NetworkSpec.from_toml(net.spec.to_toml())):
        assert spec == net.spec
    assert net.spec.to_dict()["layers"][3]["activation"] == {"loss": "squares", "weight": 0.5}
    settings = TrainingSettings(optimizer="momentum", schedule={"schedule": "halving", "period": 3})
    assert settings == TrainingSettings(optimizer=Momentum(), schedule=Halving(3))
    assert TrainingSettings.from_dict(settings.to_dict()) == settings
    assert SCHEDULES.to_data(LearningRate("cosine", warmup=2)) == {
        "schedule": "cosine", "warmup": 2, "final": 0.0, "hurry": 0.6
    }  # fmt: skip
    assert TrainConfig(optimizer="momentum", loss="squares").optimizer == "momentum"


def test_an_unknown_name_is_refused_and_the_error_lists_the_known_ones():
    for make, words in (
        (lambda: Trainer(network(), optimizer="momentum"), "optimizer .*sgd, adagrad, adam, or an instance"),
        (lambda: Trainer(network(), optimizer={"optimizer": "adam", "beta3": 1}), "Adam.beta3"),
        (lambda: Trainer(network(), optimizer=Momentum), "optimizer"),
        (lambda: Trainer(network(), schedule="halving"), "schedule must be .*constant, linear, cosine"),
        (lambda: Dense(4, "cube"), "activation must be .*relu, tanh, linear, softmax, sigmoid"),
        (lambda: Dense(4, Cube), "activation"),
        (lambda: TrainConfig(optimizer="momentum"), "optimizer must be one of sgd, adagrad, adam"),
        (lambda: TrainConfig(loss="squares"), "loss must be one of softmax, sigmoid"),
    ):
        with pytest.raises(ArgumentError, match=words):
            make()


def test_names_are_unique_and_of_classes_of_the_kind(registered):
    table: NameTable[Loss] = LOSSES
    with pytest.raises(ArgumentError, match=r"name must be .* \(got 'softmax'\)"):
        table.add("softmax")(Squares)
    for cls in (Cube, Squares(), type("Bare", (Loss,), {})):
        with pytest.raises(ArgumentError, match="attrs class derived from Loss"):
            table.add("another")(cls)
    assert list(table) == ["softmax", "sigmoid", "squares"]
    table.remove("squares")
    assert "squares" not in table
    with pytest.raises(ArgumentError, match=r"name must be .* \(got 'squares'\)"):
        table.remove("squares")
    table.add("squares")(Squares)


def test_layers_must_build_the_class_that_their_place_requires():
    """The error names the layer and the class."""

    @attrs.frozen
    class Odd(Scale):
        is_input = True

    @attrs.frozen
    class Ending(Scale):
        @property
        def loss(self):
            return Softmax()

    with pytest.raises(ArgumentError, match=r"layers\[0\] must be .*InputLayer"):
        Network([Odd(3), Dense(3, "softmax")])
    with pytest.raises(ArgumentError, match=r"layers\[1\] must be .*OutputLayer"):
        Network([Sparse(3), Ending(3)])
    with pytest.raises(ArgumentError, match=r"layers\[1\].loss"):
        Network([Sparse(3), Ending(3), Dense(3, "softmax")])
    with pytest.raises(ArgumentError, match=r"layers\[1\].loss"):
        Network([Sparse(3), Scale(3)])


def test_no_gradient_is_computed_for_layers_without_parameters():
    """None is computed below the first trained layer."""

    class Counting(BuiltScale):
        def __init__(self, spec, context):
            BuiltLayer.__init__(self, spec.units, context)
            self.calls = 0

        def forward(self, x, run):
            def backward(gradient):
                self.calls += 1
                return gradient, []

            return x, backward

    @attrs.frozen
    class Passing(Scale):
        def build(self, context):
            return Counting(self, context)

    net = Network([Input(12), Passing(12), Dense(12), Passing(12), Dense(20, "softmax")])
    Trainer(net, epochs=1, batch_size=60, threads=1).fit(*data())
    assert [layer.context.needs_input_gradient for layer in net.layers] == [False, False, False, True, True]
    assert (net.layers[1].calls, net.layers[3].calls) == (0, 1)


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_losses_of_the_package_work_in_parts(loss):
    """The logits of a layer split into shards give the same loss as the whole."""
    from lshsample.nn import Logits, loss_in_parts

    rng = np.random.default_rng(0)
    labels = sp.csr_array((rng.random((7, 40)) < 0.15).astype(np.float32))
    labels.indices, labels.indptr = labels.indices.astype(np.int32), labels.indptr.astype(np.int64)
    values = rng.standard_normal((7, 40), dtype=np.float32)
    made = LOSSES.make(loss)
    weights, whole = made.label_weights(labels), Block(values.copy(), 40)
    wanted = made.apply(Logits.of(whole, labels, weights), 1)
    for bounds in ([0, 40], [0, 13, 13, 40], [0, 5, 25, 40]):
        ids = [np.arange(a, b, dtype=np.int32) for a, b in itertools.pairwise(bounds)]
        shards = [Block(np.ascontiguousarray(values[:, some]).copy(), 40, some) for some in ids]
        parts = [Logits.of(shard, labels, weights, part=True) for shard in shards]
        assert sum(len(part.label_places) for part in parts) == labels.nnz
        losses = loss_in_parts(made, parts, threads=2)
        gradient = np.hstack([shard.values for shard in shards])
        if len(shards) == 1:
            np.testing.assert_array_equal(losses, wanted)
            np.testing.assert_array_equal(gradient, whole.values)
        np.testing.assert_allclose(losses, wanted, rtol=1e-5)
        np.testing.assert_allclose(gradient, whole.values, rtol=1e-5, atol=1e-6)
    with pytest.raises(UnsupportedError, match=r"Squares\(weight=1.0\) cannot be taken over parts"):
        loss_in_parts(Squares(), parts, 1)
