"""Layers that compute all of their units, and what every layer shares: forward gives the output and its
backward.

``layer.forward(x, run)`` returns ``(y, backward)``; ``backward(gradient of y, scale)`` returns the gradient
of x (None for the network's input) and the layer's updates, both times ``scale``. No layer keeps anything
from one pass to the next.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from lshsample._native import layers as kernels
from lshsample.nn import activations
from lshsample.nn.parameter import Parameter, Update
from lshsample.nn.signals import Block, Run, Signal, indptr_of, values_of, with_values
from lshsample.nn.specs import Dense

__all__ = ["Backward", "DenseLayer", "Layer", "OutputLayer", "dropout", "finish", "initial_scale"]

Float32 = npt.NDArray[np.float32]
Backward = Callable[[Signal, float], tuple[Signal | None, list[Update]]]


class Layer(Protocol):
    """What the network asks of a layer."""

    units: int

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The layer's parameters, in the order of its updates."""
        ...

    def forward(self, x: Signal, run: Run) -> tuple[Signal, Backward]:
        """The output, and the function that takes its gradient back."""
        ...

    def workspace_needed(self, batch_size: int) -> int:
        """Bytes that one step over a batch takes beside the parameters, about."""
        ...


class OutputLayer(Layer, Protocol):
    """What the network asks of its last layer beside that."""

    weights: Parameter
    bias: Parameter | None

    def logits(self, x: Signal, run: Run) -> tuple[Signal, Float32 | None, Backward]:
        """The output before the activation, the log inclusion probabilities to correct it by, and the
        backward.
        """
        ...


def initial_scale(init_scale: float | None, fan: int, activation: str) -> float:
    """Deviation of the weights: as given, else sqrt(2/fan) before a relu (He et al. 2015), or sqrt(1/fan)."""
    default = math.sqrt((2.0 if activation == "relu" else 1.0) / fan)
    return default if init_scale is None else init_scale


def dropout(values: Float32, rate: float, run: Run, layer: int) -> Float32 | None:
    """Drop values in place while training; returns the mask (0 or 1/(1 - rate)), or None where nothing is
    dropped.
    """
    if not (run.training and rate):
        return None
    shape = values.shape if values.ndim == 2 else (values.shape[0], 1)
    mask = kernels.dropout_mask(run.seed, run.step, layer, shape, rate, threads=run.threads).reshape(
        values.shape
    )
    values *= mask
    return mask


def finish(y: Signal, activation: str, rate: float, run: Run, layer: int) -> Callable[[Signal], Signal]:
    """Apply activation and dropout to a layer's output in place; returns what takes a gradient back through
    both.
    """
    values = values_of(y)
    activations.activate(activation, values)
    factor = activations.slope(activation, values) if run.training else None
    mask = dropout(values, rate, run, layer)
    if mask is not None:
        factor = mask if factor is None else factor * mask

    def back(gradient: Signal) -> Signal:
        return gradient if factor is None else with_values(gradient, values_of(gradient) * factor)

    return back


class DenseLayer:
    """``activation(x @ W + b)`` with W of shape (inputs, units): a sparse input touches the rows of its
    columns only.

    Parameters
    ----------
    spec : Dense
        Width, activation, dropout.
    index : int
        Place in the network: names the random streams.
    inputs : int
        Columns of the input.
    seed : int
        The network's seed.
    sparse : bool
        Whether the input is sparse rows.
    needs_input_gradient : bool
        Whether a layer below has parameters.
    """

    def __init__(
        self, spec: Dense, index: int, inputs: int, seed: int, *, sparse: bool, needs_input_gradient: bool
    ) -> None:
        self.spec, self.index, self.units = spec, index, spec.units
        self._needs_input_gradient = needs_input_gradient
        # Sparse rows: half of the deviation that keeps their length; it ranked better where it was compared.
        fan = 4 * spec.units if sparse else inputs
        scale = initial_scale(spec.init_scale, fan, spec.activation)
        self.weights = Parameter(f"{index}.weights", inputs, spec.units, scale, (seed, 2 * index))
        self.bias = (
            Parameter(f"{index}.bias", 1, spec.units, 0.0, (seed, 2 * index + 1)) if spec.bias else None
        )
        self.parameters: tuple[Parameter, ...] = tuple(p for p in (self.weights, self.bias) if p)

    def forward(self, x: Signal, run: Run) -> tuple[Signal, Backward]:
        """All units: a block (rows, units)."""
        y = Block(self._affine(x, run), self.units)
        through = finish(y, self.spec.activation, self.spec.dropout, run, self.index)

        def backward(gradient: Signal, scale: float) -> tuple[Signal | None, list[Update]]:
            return self._backward(x, values_of(through(gradient)), scale, run)

        return y, backward

    def logits(self, x: Signal, run: Run) -> tuple[Signal, Float32 | None, Backward]:
        """As the last layer: all units before the activation, which need no correction."""
        y, backward = self.forward(x, run)
        return y, None, backward

    def _affine(self, x: Signal, run: Run) -> Float32:
        bias = self.bias.vector if self.bias else None
        if not isinstance(x, Block):
            return kernels.csr_matmul(x, self.weights.weights, bias, threads=run.threads)
        out = kernels.matmul_nn(x.values, self.weights.weights, rows=x.ids, threads=run.threads)
        if bias is not None:
            out += bias
        return out

    def _backward(self, x: Signal, dz: Float32, scale: float, run: Run) -> tuple[Signal | None, list[Update]]:
        if scale != 1.0:
            dz = dz * np.float32(scale)
        rows: npt.NDArray[np.int32] | None
        if isinstance(x, Block):
            rows, gradient = x.ids, kernels.matmul_tn(x.values, dz, threads=run.threads)
        else:
            rows, gradient = kernels.csr_transpose_matmul(x, dz, threads=run.threads)
        updates = [Update(self.weights, rows, gradient)]
        if self.bias:
            updates.append(
                Update(self.bias, None, kernels.column_sums(dz, threads=run.threads).reshape(1, -1))
            )
        return self._input_gradient(x, dz, run) if self._needs_input_gradient else None, updates

    def _input_gradient(self, x: Signal, dz: Float32, run: Run) -> Signal:
        weights = self.weights.weights
        if isinstance(x, Block):
            values = kernels.matmul_nt(dz, weights, rows=x.ids, threads=run.threads)
        else:
            values = kernels.csr_sampled_matmul(
                dz, weights, None, indptr_of(x), x.indices, threads=run.threads
            )
        return with_values(x, values)

    def workspace_needed(self, batch_size: int) -> int:
        """Outputs and their gradient, and at worst the gradient of every row."""
        return 4 * (4 * batch_size * self.units + self.weights.size)
