"""Layers that compute only their active units: one set per batch as dense blocks, or a set per sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample import memory, specs
from lshsample._native import layers as kernels
from lshsample._native import unchecked
from lshsample._native.arrays import row_ids
from lshsample._native.byterows import ByteRows, bytes_needed
from lshsample._native.coded import CodedRows
from lshsample._native.slots import Slots
from lshsample.errors import ArgumentError, DivergenceError, UnsupportedError
from lshsample.family import HashFamily
from lshsample.nn.activations import Activation
from lshsample.nn.active import ActiveUnits
from lshsample.nn.best import Chosen, merge_top
from lshsample.nn.layer import (
    LAYERS,
    Backward,
    BuildContext,
    CandidateLists,
    Layer,
    LossPass,
    OutputBackward,
    OutputLayer,
    activation_or_loss,
    begin_at,
    finish,
    initial_scale,
)
from lshsample.nn.losses import Logits, Loss, Softmax
from lshsample.nn.parameter import Parameter, Update
from lshsample.nn.signals import (
    Block,
    LossGradient,
    Run,
    Signal,
    as_dense,
    csr_from_parts,
    from_dense,
    times,
    values_of,
)
from lshsample.registry import resolve_family
from lshsample.sampling import ActiveSet, Rehash

__all__ = ["ACTIVE_SETS", "IMPORTANCE", "Sampled", "SampledLayer"]

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]

#: Bytes of an active unit of a row with a set of its own: id, number of collisions, probability and logit,
#: and grouped by unit, twice the unit's id, the row, the gradient and where a group begins.
_ENTRY_BYTES = 4 * 4 + 2 * 4 + 4 + 4 + 8

#: Whether an active set is drawn per batch or per sample.
ACTIVE_SETS = ("batch", "sample")
#: When a loss is corrected by inclusion probabilities.
IMPORTANCE = ("auto", "on", "off")


def _rehash(value: Rehash | Mapping[str, Any] | int) -> Rehash:
    return Rehash.of(value)


@LAYERS.add("sampled")
@attrs.frozen
class Sampled(Layer):
    """A layer that computes only the units drawn by a sampler, for each batch or each sample.

    Attributes
    ----------
    units : int
        Width.
    activation : str, Activation or Loss
        As in :class:`Dense`.
    family : str, HashFamily, FamilySpec or mapping
        The hash family of the units' weight vectors, as for :func:`lshsample.make_family` (used if the
        sampler retrieves from tables): text such as ``"simhash:projection=gaussian"``, or a family, whose
        functions the first build uses.
    n_hashes, n_tables : int, optional
        Hashes per table (K) and tables (L), for a family given as text; by default those of the text, or 16
        tables and a K that grows with the layer's width.
    sampler : str or pipeline
        A pipeline as text (``"Retrieve() | Cap(1000) | Include() | Uniform(1000)"``) or a named one
        (``"lsh"``, ``"uniform"``, ``"full"``, ...).
    n_active : int, optional
        The budget of a named pipeline.
    active_set : str
        ``"batch"``: one set for the whole batch, computed as dense blocks (fast); ``"sample"``: a set per
        sample.
    importance : str
        ``"off"``: the loss is over the active set without correction, which ranks better if few units are
        active (measured in docs/probabilities.md). ``"auto"``: corrected by inclusion probabilities if the
        pipeline has them, so that sums over the active set are unbiased estimates of those over all units.
        ``"on"``: the same, but a pipeline without inclusion probabilities raises BiasedSampleError.
    rehash : Rehash
        When its tables are rebuilt.
    bias, dropout, init_scale
        As in :class:`Dense`.
    """

    units: int = attrs.field(validator=specs.integer(1, 2**31 - 1))
    activation: Activation | Loss = attrs.field(factory=Softmax, converter=activation_or_loss)
    family: str | HashFamily = attrs.field(default="simhash", converter=resolve_family, kw_only=True)
    n_hashes: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(specs.integer(1, 32)), kw_only=True
    )
    n_tables: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(specs.integer(1, 65535)), kw_only=True
    )
    sampler: str = attrs.field(default="lsh", converter=str, kw_only=True)
    n_active: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(specs.integer(1)), kw_only=True
    )
    active_set: str = attrs.field(default="batch", validator=specs.one_of(*ACTIVE_SETS), kw_only=True)
    importance: str = attrs.field(default="off", validator=specs.one_of(*IMPORTANCE), kw_only=True)
    rehash: Rehash = attrs.field(factory=Rehash, converter=_rehash, kw_only=True)
    bias: bool = attrs.field(default=True, validator=specs.one_of(True, False), kw_only=True)
    dropout: float = attrs.field(default=0.0, validator=specs.number(0.0, 1.0, open_high=True), kw_only=True)
    init_scale: float | None = attrs.field(
        default=None, validator=attrs.validators.optional(specs.at_least(0.0)), kw_only=True
    )

    @property
    def loss(self) -> Loss | None:
        """The loss, in the last layer."""
        return self.activation if isinstance(self.activation, Loss) else None

    def build(self, context: BuildContext) -> OutputLayer:
        """The layer, with weights, bias and a sampler."""
        return SampledLayer(self, context)


class SampledLayer(OutputLayer):
    """``activation(x @ W[A].T + b[A])`` over an active set A of the units; W has shape (units, inputs).

    Forward and backward read only the rows of A. The input is used as a dense array: after a sampled hidden
    layer its zeros are filled in, at the cost of one row of weights per sample.

    Parameters
    ----------
    spec : Sampled
        Width, activation, sampler, tables.
    context : BuildContext
        Its place in the network.
    """

    samples = True

    def __init__(self, spec: Sampled, context: BuildContext) -> None:
        self.spec = spec
        self._activation = None if isinstance(spec.activation, Loss) else spec.activation
        index, seed, self.inputs = context.index, context.seed, context.inputs
        scale = initial_scale(spec.init_scale, self.inputs, self._activation)
        self.weights = context.rows_parameter(
            f"{index}.weights", spec.units, self.inputs, scale, (seed, 2 * index)
        )
        self.bias = (
            Parameter(f"{index}.bias", spec.units, 1, 0.0, (seed, 2 * index + 1), decays=False)
            if spec.bias
            else None
        )
        parameters = (self.weights,) if self.bias is None else (self.weights, self.bias)
        super().__init__(spec.units, context, parameters)
        self.active = ActiveUnits(spec, index, self.inputs, seed)
        self.retrieves = self.active.has_tables
        self.by_rows = spec.active_set == "sample" and context.codes is None
        self._buffers: dict[str, npt.NDArray[Any]] = {}

    # The tables and the sampler over them.

    def prepare(self, done: int, threads: int) -> None:
        """Update the tables as the rehash schedule says, from the weights with their decay."""
        rehash, vectors, factor = self.spec.rehash, self.weights.vectors, 1.0
        # Rows that are converted where they are read are multiplied by the factor there.
        if isinstance(vectors, np.ndarray) and self.weights.factor != 1.0 and self.retrieves:
            if rehash.strategy.keeps_serving:
                factor = self.weights.factor  # of the rows of this step's slice
            elif rehash.count(done) > rehash.count(done - 1):
                self.weights.settle()
        try:
            self.active.refresh(vectors, done, threads, factor=factor)
        except ArgumentError as error:
            self._diverged(None, error)
            raise

    def settle(self) -> None:
        """Wait for tables that are built in the background."""
        self.active.settle()

    def forget(self) -> None:
        """Discard the tables, so that the next run builds its first ones."""
        self.active.forget()

    def observe_labels(self, labels: sp.csr_array | None) -> None:
        """Count the labels' frequencies, for samplers that draw by them."""
        self.active.observe(labels)

    def tables_needed(self, threads: int | None) -> int:
        """Peak bytes of the tables while they are built."""
        return self.active.memory_needed(threads)

    def functions(self) -> HashFamily | None:
        """The hash functions of its first tables."""
        return self.active.first_functions()

    def state(self) -> dict[str, Any] | None:
        """State besides weights and seed: the tables were built from earlier weights."""
        return self.active.state()

    def save_state(self, file: BinaryIO) -> None:
        """Write the tables."""
        self.active.save_tables(file)

    def restore(self, state: dict[str, Any], file: BinaryIO) -> None:
        """Restore the saved tables."""
        self.active.restore(state, file, self.weights.vectors)

    def _diverged(self, h: Float32 | None, error: ArgumentError) -> None:
        """Raise DivergenceError if a sampler failed because numbers exceeded the range of float32.

        The sampler validates its queries and vectors, so that they are checked here only after it has failed.
        Finite queries and weights are too large as well if their inner products can overflow.
        """
        weights = self.weights.values
        largest = float(np.abs(weights).max(initial=0.0))
        what = "vectors"
        if h is not None:
            of_queries = float(np.abs(h).max(initial=0.0))
            if not np.isfinite(of_queries):
                what, largest = "queries", of_queries
            elif np.isfinite(largest):
                largest *= of_queries * self.inputs
        if not largest <= float(np.finfo(np.float32).max):
            raise DivergenceError(f"layer {self.index}: the layer's {what}: {error}") from error

    # Training.

    def forward(self, x: Signal, run: Run) -> tuple[Signal, Backward]:
        """The outputs of the active units: a block if one set is shared by all rows, else CSR rows."""
        y, _, backward = self.logits(x, run)
        assert self._activation is not None
        through = finish(y, self._activation, self.spec.dropout, run, self.index)
        return y, lambda gradient: backward(LossGradient(through(gradient), 1.0))

    def logits(self, x: Signal, run: Run) -> tuple[Signal, Float32 | None, OutputBackward]:
        """The logits of the active units, their log inclusion probabilities, and the backward function."""
        h = as_dense(x)
        if not run.sampled:
            y, backward = self._pooled(x, h, None, run)
            return y, None, backward
        active = self._drawn(h, run)
        if active.pooled:
            whole = len(active.ids) == self.units
            y, backward = self._pooled(x, h, None if whole else active.ids, run)
        else:
            y, backward = self._ragged(x, h, active.indptr, active.ids, run)
        return y, self.active.correction(active), backward

    def row_pass(self, x: Signal, y: sp.csr_array, weights: Float32, run: Run, loss: Loss) -> LossPass:
        """As :meth:`OutputLayer.row_pass`."""
        h = as_dense(x)
        active = self._drawn(h, run)
        indptr, ids, factor = active.indptr, active.ids, self.weights.factor
        signal = csr_from_parts(indptr, ids, np.empty(len(ids), np.float32), (len(h), self.units))
        logits = Logits.of(signal, y, weights, self.active.correction(active))
        dh = np.empty(h.shape, np.float32) if self.context.needs_input_gradient else None
        bias = None if self.bias is None else self.bias.slots
        layer_input = times(h, factor)
        layer = unchecked.sampled_layer(layer_input, self.weights.raw, bias, ids, dh)
        losses = loss.apply_layer(logits, layer, run.threads)

        def backward(scale: float) -> tuple[Signal | None, list[Update]]:
            updates = self._row_updates(h, signal, scale)
            return (None if dh is None else self._to_input(dh, x, scale * factor)), updates

        return LossPass(losses, len(ids), None, backward)

    def _drawn(self, h: Float32, run: Run) -> ActiveSet:
        try:
            return self.active.draw(h, run)
        except ArgumentError as error:
            self._diverged(h, error)
            raise

    def _row_updates(self, h: Float32, dz: sp.csr_array, scale: float) -> list[Update]:
        """The updates by the gradient of the logits of rows with active sets of their own, times a factor."""
        scaled, of_bias = h * np.float32(scale), None if self.bias is None else scale
        rows, dw, sums = unchecked.csr_transpose_matmul(dz, scaled, self.weights.raw, of_bias)
        updates = [Update(self.weights, rows, dw)]
        if self.bias is not None and sums is not None:
            updates.append(Update(self.bias, rows, sums))
        return updates

    def _pooled(self, x: Signal, h: Float32, ids: Int32 | None, run: Run) -> tuple[Signal, OutputBackward]:
        """One set for all rows: three matrix products over the weight rows of the set."""
        threads, factor = run.threads, self.weights.factor
        weights, rows = self.weights.operands(ids, threads)
        bias = None if self.bias is None else self.bias.slots
        active = self.units if ids is None else len(ids)
        if bias is not None and weights.rows != self.units:  # a copy of the active rows
            bias = Slots.of(bias.weights[ids][:, None])
        shape = len(h), active
        values = self._buffer("logits", shape) if run.training else np.empty(shape, np.float32)
        view, scaled_h = unchecked.dense(values), times(h, factor)
        unchecked.matmul_nt(unchecked.dense(scaled_h), weights, rows, bias, view, threads)

        def backward(gradient: LossGradient) -> tuple[Signal | None, list[Update]]:
            dz, scale = unchecked.dense(values_of(gradient.signal)), gradient.scale
            scaled = h if scale == 1.0 else h * np.float32(scale)
            dw = self._buffer("gradient", (active, self.inputs), weights.dtypes[0].numpy)
            unchecked.matmul_tn(dz, unchecked.dense(scaled), unchecked.dense(dw), weights, threads)
            updates = [Update(self.weights, ids, dw)]
            if self.bias is not None:
                sums = unchecked.column_sums(dz, active, threads) * np.float32(scale)
                updates.append(Update(self.bias, ids, sums.reshape(-1, 1)))
            if not self.context.needs_input_gradient:
                return None, updates
            dh = np.empty(h.shape, np.float32)
            unchecked.matmul_nn(dz, weights, rows, unchecked.dense(dh), threads)
            return self._to_input(dh, x, scale * factor), updates

        return Block(values, self.units, ids), backward

    def _ragged(
        self, x: Signal, h: Float32, indptr: npt.NDArray[np.int64], ids: Int32, run: Run
    ) -> tuple[Signal, OutputBackward]:
        """A set per row: one inner product per active unit, and the gradient as a sparse matrix."""
        threads, factor = run.threads, self.weights.factor
        shape = len(h), self.units
        bias = None if self.bias is None else self.bias.slots
        scaled_h = times(h, factor)  # a view of it does not keep it in memory
        values = self.weights.csr_sampled_matmul(scaled_h, bias, indptr, ids, threads)

        def backward(gradient: LossGradient) -> tuple[Signal | None, list[Update]]:
            dz, scale = csr_from_parts(indptr, ids, values_of(gradient.signal), shape), gradient.scale
            updates = self._row_updates(h, dz, scale)
            if not self.context.needs_input_gradient:
                return None, updates
            dh = self.weights.csr_matmul(dz, None, threads)
            return self._to_input(dh, x, scale * factor), updates

        return csr_from_parts(indptr, ids, values, shape), backward

    @staticmethod
    def _to_input(dh: Float32, x: Signal, scale: float) -> Signal:
        if scale != 1.0:
            dh *= np.float32(scale)
        return from_dense(dh, x)

    def _buffer(
        self, name: str, shape: tuple[int, int], dtype: npt.DTypeLike = np.float32
    ) -> npt.NDArray[Any]:
        """Scratch memory, reused: page faults on new memory would cost as much as a matrix product."""
        size = shape[0] * shape[1]
        buffer = self._buffers.get(name)
        if buffer is None or buffer.size < size:
            self._buffers[name] = buffer = np.empty(size + size // 4, dtype)
        return buffer[:size].reshape(shape)

    def workspace_needed(self, batch_size: int) -> int:
        """Logits, gradients and the dense input, for the expected size of the active set.

        A set for each row has no gradient of its rows in memory: an update sums each of them where it is used
        (rows in 8 or 4 bits, and optimizers that take no sums, need them all the same).
        """
        active, inputs, coded = self.active.expected_size, self.inputs, self.context.codes is not None
        entries, dense_input = batch_size * active, 12 * batch_size * inputs
        if self.spec.active_set == "batch":
            copied = 4 * active * inputs if coded else 0
            return 5 * (entries + active * inputs) + dense_input + copied
        gradient = 4 * min(entries, self.units) * inputs if coded else 0
        return _ENTRY_BYTES * entries + dense_input + gradient

    # Prediction.

    def begin_biases(self, values: Float32) -> None:
        """Set the biases of an untrained layer."""
        begin_at(self.bias, values)

    def unit_vectors(self) -> Float32:
        """The weights, (units, inputs), with contiguous rows: a view, or a copy in float32."""
        return self.weights.values

    def score(self, h: Float32, ids: Int32 | None = None, *, threads: int | None = None) -> Float32:
        """Logits of the given units, or of all."""
        bias, h = None if self.bias is None else self.bias.vector, times(h, self.weights.factor)
        if ids is None:
            parts = [
                kernels.matmul_nt(h, rows, bias=_part(bias, first, rows), threads=threads)
                for first, rows in self.weights.blocks()
            ]
            return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
        row_ids(ids, "ids", self.units)
        weights, places, units = self.weights.among(ids)
        return kernels.matmul_nt(h, weights, bias=_some(bias, units), rows=places, threads=threads)

    def top_k(
        self, h: Float32, k: int, candidates: CandidateLists | None = None, *, threads: int | None = None
    ) -> tuple[Int32, Float32]:
        """The best units of each row."""
        bias, h = None if self.bias is None else self.bias.vector, times(h, self.weights.factor)
        if candidates is not None:
            weights, places, units = self.weights.among(candidates.ids)
            bias = _some(bias, units)
            best, scores = kernels.csr_top_k(h, weights, bias, candidates.indptr, places, k, threads=threads)
            return best if units is None else np.append(units, np.int32(-1))[best], scores
        parts = []
        for first, rows in self.weights.blocks():
            of_block = _part(bias, first, rows)
            best, scores = kernels.top_k(h, rows, of_block, min(k, len(rows)), threads=threads)
            if len(rows) == self.units:
                return best, scores
            parts.append(Chosen(np.where(best < 0, -1, best + first).astype(np.int32), scores))
        merged = merge_top(parts, k)
        return merged.ids, merged.scores

    def byte_rows(self, threads: int, like: Float32 | None = None) -> ByteRows:
        """A copy of the stored vectors in 8 bits."""
        bias = None if self.bias is None else self.bias.vector
        rows = self.weights.raw
        copied = 4 * self.weights.size if isinstance(rows, CodedRows) else 0
        needed = bytes_needed(self.units, self.inputs, like is not None) + copied
        memory.require_bytes(needed, "the 8-bit copy of the weights")
        read = rows.read() if isinstance(rows, CodedRows) else rows.weights
        return ByteRows(read, bias, like=like, threads=threads)

    @property
    def stored_factor(self) -> float:
        """The factor of weight decay."""
        return self.weights.factor

    def candidates(self, h: Float32, threads: int) -> CandidateLists:
        """The units retrieved from tables of the current weights."""
        if not self.retrieves:
            raise UnsupportedError(f"layer {self.index} has no hash tables to retrieve from")
        self.weights.settle()
        return self.active.candidates(h, self.weights.vectors, threads)


def _part(bias: Float32 | None, first: int, rows: npt.NDArray[Any]) -> Float32 | None:
    """The biases of a block of rows."""
    return None if bias is None else bias[first : first + len(rows)]


def _some(bias: Float32 | None, units: Int32 | None) -> Float32 | None:
    """The biases of some units, or of all."""
    return bias if bias is None or units is None else np.ascontiguousarray(bias[units])
