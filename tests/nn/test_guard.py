"""What a layer of another package returns is validated before it is passed to a kernel."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
import scipy.sparse as sp

from lshsample.errors import PluginError
from lshsample.nn import (
    Activation,
    Block,
    BuildContext,
    BuiltLayer,
    Dense,
    Input,
    Layer,
    LossGradient,
    Network,
    OutputLayer,
    Parameter,
    Sampled,
    Softmax,
    Update,
)
from lshsample.nn.guard import Guard, is_own
from lshsample.training import Trainer

ROWS, UNITS = 6, 5


@attrs.frozen
class Odd(Layer):
    """Passes its input on; ``change`` modifies what it returns."""

    change: dict = attrs.field(factory=dict)
    units = UNITS

    def build(self, context: BuildContext) -> BuiltLayer:
        return BuiltOdd(self, context)


class BuiltOdd(BuiltLayer):
    def __init__(self, spec, context):
        self.change = spec.change
        self.weights = Parameter(f"{context.index}.w", 4, UNITS, 0.0, (0, context.index))
        super().__init__(UNITS, context, (self.weights,))

    def changed(self, name, value):
        return self.change[name](value) if name in self.change else value

    def forward(self, x, run):
        def backward(gradient):
            rows, values = np.array([2, 0], np.int32), np.ones((2, UNITS), np.float32)
            update = self.changed("update", Update(self.weights, rows, values))
            return self.changed("returned", (self.changed("below", gradient), [update]))

        y = self.changed("y", Block(x.values.copy(), UNITS))
        return self.changed("forward", (y, backward))


def train(**change):
    network = Network([Input(3), Dense(UNITS), Odd(change), Dense(7, "softmax")], seed=1)
    x = np.random.default_rng(0).standard_normal((ROWS, 3))
    Trainer(network, batch_size=ROWS, epochs=1, threads=1).fit(x, np.eye(ROWS, 7))
    return network


def test_valid_results_are_accepted():
    """Other float types, copies and CSR rows included."""
    plain = train()
    for change in (
        {"y": lambda y: Block(y.values.astype(np.float64), UNITS)},
        {"y": lambda y: Block(np.asfortranarray(y.values), UNITS)},
        {"y": lambda y: Block(y.values, UNITS, np.arange(UNITS))},
        {"below": lambda g: Block(np.asfortranarray(g.values.astype(np.float64)), UNITS)},
        {"update": lambda u: Update(u.parameter, u.rows.astype(np.int64), u.gradient.astype(np.float64))},
    ):
        for one, same in zip(plain.parameters, train(**change).parameters, strict=True):
            np.testing.assert_array_equal(one.weights, same.weights)
    sparse = train(y=lambda y: sp.csr_array(y.values), below=lambda g: Block(g.toarray(), UNITS))
    assert np.isfinite(sparse.parameters[0].weights).all()
    assert (plain.parameters[2].weights[[0, 2]] < 0).all()
    assert (plain.parameters[2].weights[[1, 3]] == 0).all()


def test_stored_zeros_of_a_signal_are_active_units():
    """Their gradient is passed to the layer, whatever their value is."""

    def output(y):
        rows = sp.csr_array(np.ones((ROWS, UNITS), np.float32))
        rows.data[:] = np.where(np.arange(ROWS * UNITS) % 2, y.values.ravel(), 0)
        return rows

    sizes = []

    def below(gradient):
        sizes.append(len(gradient.data))
        return Block(gradient.toarray(), UNITS)

    train(y=output, below=below)
    assert sizes == [ROWS * UNITS]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"forward": lambda r: r[0]}, "what forward returns must be a tuple of 2"),
        ({"forward": lambda r: (r[0], None)}, "the last of what forward returns must be the function"),
        ({"y": lambda y: y.values}, "the output must be a Block or a csr_array"),
        ({"y": lambda y: Block(y.values, 9)}, "the output's width must be 5, its units"),
        ({"y": lambda y: Block(y.values[:, :2], UNITS)}, r"the output must be floats of shape \(6, 5\)"),
        ({"y": lambda y: Block(y.values[1:], UNITS)}, r"the output must be floats of shape \(6, 5\)"),
        ({"y": lambda y: Block(y.values.astype(int), UNITS)}, r"the output must be floats"),
        ({"y": lambda y: Block(y.values[:, :2], UNITS, np.array([3, 1]))}, "ids must be ascending integers"),
        ({"y": lambda y: Block(y.values[:, :2], UNITS, np.array([3, 5]))}, "ids must be ascending integers"),
        ({"y": lambda y: Block(y.values[:, :2], UNITS, np.array([0.0, 1]))}, "ids must be ascending"),
        ({"y": lambda y: sp.csr_array((ROWS, 4))}, "the output must be a Block or a csr_array of 6 rows"),
        ({"returned": lambda r: r[0]}, "what backward returns must be a tuple of 2"),
        ({"below": lambda g: None}, "the gradient of the input must be an array"),
        ({"below": lambda g: g.values}, "the gradient of the input must be a Block"),
        ({"below": lambda g: Block(g.values[:, 1:], UNITS)}, r"the gradient must be floats of shape \(6"),
        ({"update": lambda u: u.gradient}, "an update must be an Update"),
        ({"update": lambda u: Update(Parameter("w", 4, 5, 0, (0, 0)), u.rows, u.gradient)}, "an update must"),
        ({"update": lambda u: Update(u.parameter, None, u.gradient)}, r"must be floats of shape \(4, 5\)"),
        ({"update": lambda u: Update(u.parameter, u.rows + np.int32(2), u.gradient)}, "the update's rows"),
        ({"update": lambda u: Update(u.parameter, u.rows * 0, u.gradient)}, "the update's rows .*unique"),
        ({"update": lambda u: Update(u.parameter, u.rows, u.gradient[:, 1:])}, r"floats of shape \(2, 5"),
    ],
)  # fmt: skip
def test_errors_name_the_layer(change, words):
    with pytest.raises(PluginError, match=rf"layer 2 \(BuiltOdd\): .*{words}"):
        train(**change)


def test_layers_of_the_package_are_not_checked_and_classes_derived_from_them_are():
    network = Network([Input(3), Dense(4), Sampled(5, sampler="full")])
    assert all(is_own(layer) for layer in network.layers)

    class Derived(type(network.layers[1])):
        pass

    assert not is_own(Derived(Dense(3), BuildContext(1, 3, 0)))


def test_a_last_layer_is_checked_too():
    @attrs.frozen
    class Last(Odd):
        @property
        def loss(self):
            return Softmax()

        def build(self, context):
            return BuiltLast(self, context)

    class BuiltLast(OutputLayer):
        def __init__(self, spec, context):
            self.change = spec.change
            super().__init__(UNITS, context)

        def logits(self, x, run):
            def backward(gradient):
                assert isinstance(gradient, LossGradient)
                return gradient.scaled(), []

            return Block(x.values.copy(), UNITS), self.change.get("inclusion"), backward

        forward = unit_vectors = score = top_k = None

    def fit(**change):
        network = Network([Input(3), Dense(UNITS), Last(change)])
        Trainer(network, epochs=1, threads=1).fit(
            np.ones((ROWS, 3)), np.eye(ROWS, UNITS, -1) + np.eye(ROWS, UNITS)
        )
        return network

    fit(inclusion=np.zeros(UNITS))
    with pytest.raises(PluginError, match=r"layer 2 .*log_inclusion must be floats of shape \(5,\)"):
        fit(inclusion=np.zeros(3))
    assert isinstance(fit()._guards[2], Guard)


def test_a_derivative_of_another_type_is_converted():
    """Gradients stay float32 and keep their shape."""

    @attrs.frozen
    class Wide(Activation):
        def apply(self, values):
            np.maximum(values, 0, out=values)

        def slope(self, outputs):
            return (outputs > 0).astype(np.float64)

    results = []
    for activation in ("relu", Wide()):
        network = Network([Input(3), Dense(UNITS, activation, init_scale=0.5), Dense(7, "softmax")], seed=1)
        x = np.random.default_rng(0).standard_normal((ROWS, 3))
        Trainer(network, epochs=2, threads=1).fit(x, np.eye(ROWS, 7))
        results.append([p.weights.tobytes() for p in network.parameters])
    assert results[0] == results[1]
