"""Layers that compute only their active units: pooled over the batch as dense blocks, or a set per sample."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lshsample._native import layers as kernels
from lshsample.nn.active import ActiveUnits
from lshsample.nn.layers import Backward, finish, initial_scale
from lshsample.nn.parameter import Parameter, Update
from lshsample.nn.signals import Block, Run, Signal, as_dense, csr_from_parts, from_dense, values_of
from lshsample.nn.specs import Sampled

__all__ = ["SampledLayer"]

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]


class SampledLayer:
    """``activation(x @ W[A].T + b[A])`` over an active set A of the units; W has shape (units, inputs).

    Forward and backward touch the rows of A only. The input is used dense: after a sampled hidden layer its
    zeros are written out, which costs as much as one row of weights per sample.

    Parameters
    ----------
    spec : Sampled
        Width, activation, sampler, tables.
    index : int
        Place in the network: names the random streams.
    inputs : int
        Columns of the input.
    seed : int
        The network's seed.
    needs_input_gradient : bool
        Whether a layer below has parameters.
    """

    def __init__(
        self, spec: Sampled, index: int, inputs: int, seed: int, *, needs_input_gradient: bool
    ) -> None:
        self.spec, self.index, self.units, self.inputs = spec, index, spec.units, inputs
        self._needs_input_gradient = needs_input_gradient
        scale = initial_scale(spec.init_scale, inputs, spec.activation)
        self.weights = Parameter(f"{index}.weights", spec.units, inputs, scale, (seed, 2 * index))
        self.bias = (
            Parameter(f"{index}.bias", spec.units, 1, 0.0, (seed, 2 * index + 1)) if spec.bias else None
        )
        self.parameters: tuple[Parameter, ...] = tuple(p for p in (self.weights, self.bias) if p)
        self.active = ActiveUnits(spec, index, inputs, seed)
        self._buffers: dict[str, Float32] = {}

    def forward(self, x: Signal, run: Run) -> tuple[Signal, Backward]:
        """The active units' outputs: a block over the pooled set, or CSR rows."""
        y, _, backward = self.logits(x, run)
        through = finish(y, self.spec.activation, self.spec.dropout, run, self.index)
        return y, lambda gradient, scale: backward(through(gradient), scale)

    def logits(self, x: Signal, run: Run) -> tuple[Signal, Float32 | None, Backward]:
        """The active units before the activation, their log inclusion probabilities, and the backward."""
        h = as_dense(x)
        if not run.sampled:
            y, backward = self._pooled(x, h, None, run)
            return y, None, backward
        active = self.active.draw(h, run)
        if active.pooled:
            whole = len(active.ids) == self.units
            y, backward = self._pooled(x, h, None if whole else active.ids, run)
        else:
            y, backward = self._ragged(x, h, active.indptr, active.ids, run)
        return y, self.active.correction(active), backward

    def _pooled(self, x: Signal, h: Float32, ids: Int32 | None, run: Run) -> tuple[Signal, Backward]:
        """One set for all rows: three matrix products over the rows of the set."""
        weights, threads = self.weights.weights, run.threads
        bias = self.bias.vector if self.bias else None
        active = self.units if ids is None else len(ids)
        out = self._buffer("logits", (len(h), active)) if run.training else None
        values = kernels.matmul_nt(h, weights, bias=bias, rows=ids, out=out, threads=threads)

        def backward(gradient: Signal, scale: float) -> tuple[Signal | None, list[Update]]:
            dz = values_of(gradient)
            scaled = h if scale == 1.0 else h * np.float32(scale)
            out = self._buffer("gradient", (active, self.inputs))
            updates = [Update(self.weights, ids, kernels.matmul_tn(dz, scaled, out=out, threads=threads))]
            if self.bias:
                sums = kernels.column_sums(dz, threads=threads) * np.float32(scale)
                updates.append(Update(self.bias, ids, sums.reshape(-1, 1)))
            if not self._needs_input_gradient:
                return None, updates
            dh = kernels.matmul_nn(dz, weights, rows=ids, threads=threads)
            return self._to_input(dh, x, scale), updates

        return Block(values, self.units, ids), backward

    def _ragged(
        self, x: Signal, h: Float32, indptr: npt.NDArray[np.int64], ids: Int32, run: Run
    ) -> tuple[Signal, Backward]:
        """A set per row: sampled products, and the gradient as one sparse matrix."""
        weights, threads, shape = self.weights.weights, run.threads, (len(h), self.units)
        bias = self.bias.vector if self.bias else None
        values = kernels.csr_sampled_matmul(h, weights, bias, indptr, ids, threads=threads)

        def backward(gradient: Signal, scale: float) -> tuple[Signal | None, list[Update]]:
            dz = csr_from_parts(indptr, ids, values_of(gradient), shape)
            factor = np.float32(scale)
            rows, dw = kernels.csr_transpose_matmul(dz, h * factor, threads=threads)
            updates = [Update(self.weights, rows, dw)]
            if self.bias:
                ones = np.full((len(h), 1), factor, np.float32)
                updates.append(Update(self.bias, *kernels.csr_transpose_matmul(dz, ones, threads=threads)))
            if not self._needs_input_gradient:
                return None, updates
            return self._to_input(kernels.csr_matmul(dz, weights, threads=threads), x, scale), updates

        return csr_from_parts(indptr, ids, values, shape), backward

    @staticmethod
    def _to_input(dh: Float32, x: Signal, scale: float) -> Signal:
        if scale != 1.0:
            dh *= np.float32(scale)
        return from_dense(dh, x)

    def _buffer(self, name: str, shape: tuple[int, int]) -> Float32:
        """Scratch of one training pass, kept for the next: new pages would cost as much as a product."""
        size = shape[0] * shape[1]
        buffer = self._buffers.get(name)
        if buffer is None or buffer.size < size:
            self._buffers[name] = buffer = np.empty(size + size // 4, np.float32)
        return buffer[:size].reshape(shape)

    def workspace_needed(self, batch_size: int) -> int:
        """Logits, the gradient of the active rows and the dense input, for the expected size of the active
        set.
        """
        active = self.active.expected_size
        rows = active if self.spec.active_set == "batch" else min(active * batch_size, self.units)
        return 5 * (batch_size * active + rows * self.inputs) + 12 * batch_size * self.inputs
