"""Layers that compute all of their units."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from lshsample import memory, specs
from lshsample._native import layers as kernels
from lshsample._native import unchecked
from lshsample._native.arrays import row_ids
from lshsample._native.byterows import ByteRows, bytes_needed
from lshsample._native.slots import Slots
from lshsample.nn.activations import Activation, Relu
from lshsample.nn.layer import (
    LAYERS,
    Backward,
    BuildContext,
    CandidateLists,
    Layer,
    OutputBackward,
    OutputLayer,
    activation_or_loss,
    begin_at,
    finish,
    initial_scale,
)
from lshsample.nn.losses import Loss
from lshsample.nn.parameter import Parameter, Update
from lshsample.nn.signals import (
    Block,
    Run,
    Signal,
    csr_from_parts,
    indptr_of,
    scaled,
    times,
    values_of,
    with_values,
)

__all__ = ["Dense", "DenseLayer"]

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]


@LAYERS.add("dense")
@attrs.frozen
class Dense(Layer):
    """A layer that computes all of its units: ``activation(x @ W + b)``.

    Attributes
    ----------
    units : int
        Width.
    activation : str, Activation or Loss
        A name of :data:`~lshsample.nn.ACTIVATIONS`, such as ``"relu"``, or an
        :class:`~lshsample.nn.Activation`; in the last layer a name of :data:`~lshsample.nn.LOSSES`, such as
        ``"softmax"``, or a :class:`~lshsample.nn.Loss`.
    bias : bool
        Whether it has a bias.
    dropout : float
        Fraction of its outputs dropped while training, in [0, 1).
    init_scale : float, optional
        Standard deviation of the initial weights; by default ``sqrt(2 / fan)`` with relu and
        ``sqrt(1 / fan)`` otherwise. The fan is the width of the input, or four times the layer's width where
        the input is sparse: the width itself would keep the length of rows of unit length, but half of that
        deviation gave a higher precision in comparisons.
    """

    units: int = attrs.field(validator=specs.integer(1, 2**31 - 1))
    activation: Activation | Loss = attrs.field(factory=Relu, converter=activation_or_loss)
    bias: bool = attrs.field(default=True, validator=specs.one_of(True, False), kw_only=True)
    dropout: float = attrs.field(default=0.0, validator=specs.number(0.0, 1.0, open_high=True), kw_only=True)
    init_scale: float | None = attrs.field(
        default=None, validator=attrs.validators.optional(specs.at_least(0.0)), kw_only=True
    )

    @property
    def loss(self) -> Loss | None:
        """The loss, in the last layer."""
        return self.activation if isinstance(self.activation, Loss) else None

    def build(self, context: BuildContext) -> DenseLayer:
        """The layer, with weights and bias."""
        return DenseLayer(self, context)


class DenseLayer(OutputLayer):
    """``activation(x @ W + b)`` with W of shape (inputs, units): a sparse input touches the rows of its
    columns only, in the product and in the update.

    Parameters
    ----------
    spec : Dense
        Width, activation, dropout.
    context : BuildContext
        Its place in the network.
    """

    def __init__(self, spec: Dense, context: BuildContext) -> None:
        self.spec = spec
        self._activation = None if isinstance(spec.activation, Loss) else spec.activation
        # Sparse rows: half of the deviation that keeps their length, which gave a higher precision.
        fan = 4 * spec.units if context.sparse_input else context.inputs
        scale, index, seed = (
            initial_scale(spec.init_scale, fan, self._activation),
            context.index,
            context.seed,
        )
        given = f"{index}.weights", context.inputs, spec.units, scale, (seed, 2 * index)
        self.weights = (
            context.rows_parameter(*given)
            if context.sparse_input and not context.needs_input_gradient and spec.loss is None
            else Parameter(*given, dtype=context.precision, moments=context.moments)
        )
        self.bias = (
            Parameter(f"{index}.bias", 1, spec.units, 0.0, (seed, 2 * index + 1), decays=False)
            if spec.bias
            else None
        )
        parameters = (self.weights,) if self.bias is None else (self.weights, self.bias)
        super().__init__(spec.units, context, parameters)

    def forward(self, x: Signal, run: Run) -> tuple[Signal, Backward]:
        """All units: a block (rows, units)."""
        y = Block(self._affine(x, run), self.units)
        assert self._activation is not None
        through = finish(y, self._activation, self.spec.dropout, run, self.index)
        return y, lambda gradient: self._backward(x, values_of(through(gradient)), run)

    def logits(self, x: Signal, run: Run) -> tuple[Signal, None, OutputBackward]:
        """The logits of all units; they need no correction."""
        y = Block(self._affine(x, run), self.units)
        return y, None, lambda gradient: self._backward(x, values_of(gradient.scaled()), run)

    def _affine(self, x: Signal, run: Run) -> Float32:
        bias = None if self.bias is None else self.bias.slots
        stored = self.weights.stored
        if stored is not None and not isinstance(x, Block):
            touched, places = np.unique(x.indices, return_inverse=True)
            weights = Slots.of(stored.rows(touched)[:, None, :])
            x = csr_from_parts(x.indptr, places, x.data, (x.shape[0], len(touched)))
            return unchecked.csr_matmul(x, weights, bias, run.threads)
        x = scaled(x, self.weights.factor)
        if not isinstance(x, Block):
            return self.weights.csr_matmul(x, bias, run.threads)
        out = np.empty((len(x.values), self.units), np.float32)
        weights, rows = self.weights.raw, unchecked.ids_pointer(x.ids)
        unchecked.matmul_nn(unchecked.dense(x.values), weights, rows, unchecked.dense(out), run.threads)
        if bias is not None:
            out += bias.weights[0]
        return out

    def _backward(self, x: Signal, dz: Float32, run: Run) -> tuple[Signal | None, list[Update]]:
        rows: Int32 | None
        gradient: npt.NDArray[Any] | unchecked.RowSums
        threads, view, weights = run.threads, unchecked.dense(dz), self.weights.raw
        if isinstance(x, Block):
            rows = x.ids
            gradient = np.empty((x.values.shape[1], self.units), weights.dtypes[0].numpy)
            out = unchecked.dense(gradient)
            unchecked.matmul_tn(unchecked.dense(x.values), view, out, weights, threads)
        else:
            rows, gradient, _ = unchecked.csr_transpose_matmul(x, dz, weights)
        updates = [Update(self.weights, rows, gradient)]
        if self.bias is not None:
            sums = unchecked.column_sums(view, self.units, threads)
            updates.append(Update(self.bias, None, sums.reshape(1, -1)))
        return self._input_gradient(x, view, run) if self.context.needs_input_gradient else None, updates

    def _input_gradient(self, x: Signal, dz: Any, run: Run) -> Signal:
        weights, factor = self.weights.raw, self.weights.factor
        if not isinstance(x, Block):
            values = unchecked.csr_sampled_matmul(dz, weights, None, indptr_of(x), x.indices, run.threads)
            return scaled(with_values(x, values), factor)
        values = np.empty(x.values.shape, np.float32)
        rows = unchecked.ids_pointer(x.ids)
        unchecked.matmul_nt(dz, weights, rows, None, unchecked.dense(values), run.threads)
        return scaled(Block(values, x.width, x.ids), factor)

    def begin_biases(self, values: Float32) -> None:
        """Set the biases of an untrained layer."""
        begin_at(self.bias, values)

    def unit_vectors(self) -> Float32:
        """The weights, (units, inputs): the transposed view of W, or of its copy in float32."""
        return self.weights.values.T

    def score(self, h: Float32, ids: Int32 | None = None, *, threads: int | None = None) -> Float32:
        """Logits of the given units, whose weights are copied, or of all."""
        bias = None if self.bias is None else self.bias.vector
        h = times(h, self.weights.factor)
        if ids is None:
            out = kernels.matmul_nn(h, self.weights.raw.weights, threads=threads)
        else:
            row_ids(ids, "ids", self.units)
            bias = None if bias is None else bias[ids]
            out = kernels.matmul_nt(h, self._rows_of(ids), threads=threads)
        if bias is not None:
            out += bias
        return out

    def _rows_of(self, ids: Int32) -> npt.NDArray[Any]:
        """Stored weights of units, to be multiplied by the factor."""
        return np.ascontiguousarray(self.weights.raw.weights.T[ids])

    def top_k(
        self, h: Float32, k: int, candidates: CandidateLists | None = None, *, threads: int | None = None
    ) -> tuple[Int32, Float32]:
        """The best units of each row; the weights of candidates are copied, without candidates none are."""
        bias = None if self.bias is None else self.bias.vector
        h = times(h, self.weights.factor)
        if candidates is None:
            return kernels.top_k(h, self.weights.raw.weights, bias, k, by_columns=True, threads=threads)
        units, places = np.unique(candidates.ids, return_inverse=True)
        rows = self._rows_of(units)
        bias = None if bias is None else np.ascontiguousarray(bias[units])
        best, scores = kernels.csr_top_k(
            h, rows, bias, candidates.indptr, places.astype(np.int32), k, threads=threads
        )
        return np.append(units, np.int32(-1))[best], scores  # -1 (no candidate) stays -1

    def byte_rows(self, threads: int, like: Float32 | None = None) -> ByteRows:
        """A copy of the stored vectors in 8 bits, over a transposed copy in float32."""
        bias = None if self.bias is None else self.bias.vector
        needed = 4 * self.weights.size + bytes_needed(self.units, self.context.inputs, like is not None)
        memory.require_bytes(needed, "the 8-bit and the transposed copy of the weights")
        rows = np.ascontiguousarray(self.weights.raw.weights.T)
        return ByteRows(rows, bias, like=like, threads=threads)

    @property
    def stored_factor(self) -> float:
        """The factor of weight decay."""
        return self.weights.factor

    def workspace_needed(self, batch_size: int) -> int:
        """Outputs and their gradient, and at worst the gradient of every weight."""
        return 4 * (4 * batch_size * self.units + self.weights.size)
