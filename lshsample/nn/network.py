"""The network: layers put together, one training step, prediction and its measures."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any, Literal, Self

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample._native import core
from lshsample.errors import ArgumentError
from lshsample.nn import batches, inference, storage
from lshsample.nn.inputs import InputLayer
from lshsample.nn.layers import DenseLayer, Layer
from lshsample.nn.losses import apply_loss
from lshsample.nn.optimizers import Optimizer
from lshsample.nn.parameter import Parameter, Update
from lshsample.nn.sampled import SampledLayer
from lshsample.nn.signals import Run, Signal, values_of
from lshsample.nn.specs import Dense, Input, LayerSpec, NetworkSpec, Sampled, Sparse
from lshsample.sampling import Sampler
from lshsample.specs import checked_integer

__all__ = ["Network", "StepReport"]

Mode = Literal["exact", "sampled"]
Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]


@attrs.frozen
class StepReport:
    """What one training step did.

    Attributes
    ----------
    loss : float
        Mean loss of the batch's rows.
    active : float
        Units of the last layer computed for a row.
    hits : float or None
        Share of rows whose best active unit is one of its labels, if asked for: an estimate of P@1 from
        above.
    """

    loss: float
    active: float
    hits: float | None = None


class Network:
    """A network of dense and sampled layers over dense or sparse input.

    Parameters
    ----------
    layers : sequence of layer specs
        :class:`Sparse` or :class:`Input` first, then :class:`Dense` and :class:`Sampled` in any order and
        number; the last one's activation, ``"softmax"`` or ``"sigmoid"``, names the loss.
    seed : int
        Names the initial weights and the hash functions.

    Notes
    -----
    Nothing large is allocated before the first training or prediction. One thread may train a network at a
    time; predicting from several threads is safe while none trains.

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> network = Network([Sparse(100), Dense(8), Sampled(50, "softmax", sampler="full")], seed=1)
    >>> network.n_parameters
    1258
    >>> labels, scores = network.predict(sp.csr_array((2, 100)), top=3)
    >>> labels.shape, scores.shape
    ((2, 3), (2, 3))
    """

    def __init__(self, layers: Sequence[LayerSpec], seed: int = 0) -> None:
        self.spec = NetworkSpec(layers, seed)
        self.layers: list[Layer] = _build(self.spec)
        self.parameters: tuple[Parameter, ...] = tuple(p for layer in self.layers for p in layer.parameters)

    @classmethod
    def from_spec(cls, spec: NetworkSpec) -> Self:
        """A network as its spec says, with its initial weights."""
        return cls(spec.layers, spec.seed)

    @property
    def n_features(self) -> int:
        """Columns of the input."""
        return self.layers[0].units

    @property
    def n_labels(self) -> int:
        """Units of the last layer."""
        return self.layers[-1].units

    @property
    def loss(self) -> str:
        """The loss: the last layer's activation."""
        last = self.spec.layers[-1]
        assert isinstance(last, Dense | Sampled)
        return last.activation

    @property
    def n_parameters(self) -> int:
        """Number of trained weights."""
        return sum(p.size for p in self.parameters if p.trained)

    @property
    def input(self) -> InputLayer:
        """The input layer."""
        first = self.layers[0]
        assert isinstance(first, InputLayer)
        return first

    @property
    def output(self) -> DenseLayer | SampledLayer:
        """The last layer."""
        last = self.layers[-1]
        assert isinstance(last, DenseLayer | SampledLayer)
        return last

    @property
    def sampled_layers(self) -> list[SampledLayer]:
        """The layers that sample."""
        return [layer for layer in self.layers if isinstance(layer, SampledLayer)]

    def memory_needed(
        self, slots: int = 1, batch_size: int = 0, threads: int | None = None
    ) -> dict[str, int]:
        """Bytes by purpose: parameters with their optimizer state, tables, and the work space of a step.

        Parameters
        ----------
        slots : int
            Values kept for each weight: 1 to predict or to train by SGD, 2 for Adagrad, 3 for Adam.
        batch_size : int
            Rows of a training step; 0 for none.
        threads : int, optional
            Threads that build the tables; each has scratch of its own.
        """
        return {
            "parameters": sum(p.memory_needed(slots if p.trained else 1) for p in self.parameters),
            "tables": sum(layer.active.memory_needed(threads) for layer in self.sampled_layers),
            "step": sum(layer.workspace_needed(batch_size) for layer in self.layers) if batch_size else 0,
        }

    def allocate(self, slots: int = 1, threads: int = 1) -> None:
        """Make room for the parameters and their optimizer state; weights that are there are kept."""
        for parameter in self.parameters:
            parameter.allocate(slots if parameter.trained else 1, threads)

    def allocate_for_prediction(self, threads: int = 1) -> None:
        """Draw the initial weights, if nothing has trained or loaded any."""
        if not all(parameter.allocated for parameter in self.parameters):
            self.allocate(threads=threads)

    def prepare(self, done: int, threads: int) -> None:
        """Before the step after ``done`` steps: build the tables that are due."""
        for layer in self.sampled_layers:
            layer.active.refresh(layer.weights.weights, done, threads)

    def gradients(
        self, x: Signal, y: sp.csr_array, run: Run, count_hits: bool = False
    ) -> tuple[StepReport, list[Update]]:
        """The loss of a checked batch and its gradient, for the rows of each parameter that it touches.

        The gradient is of the mean loss over the batch's rows. The arrays of the updates are valid until the
        next call.
        """
        backwards = []
        for layer in self.layers[:-1]:
            x, backward = layer.forward(x, run)
            backwards.append(backward)
        logits, log_inclusion, last = self.output.logits(x, run)
        hits = inference.batch_hits(logits, y) if count_hits else None
        losses = apply_loss(self.loss, logits, y, log_inclusion, run.threads)
        gradient, updates = last(logits, 1.0 / max(y.shape[0], 1))
        for backward in reversed(backwards):
            if gradient is None:
                break
            gradient, more = backward(gradient, 1.0)
            updates += more
        active = values_of(logits).size / max(y.shape[0], 1)
        return StepReport(float(losses.sum(dtype=np.float64)) / max(y.shape[0], 1), active, hits), updates

    def train_step(
        self, x: Signal, y: sp.csr_array, optimizer: Optimizer, lr: float, run: Run, count_hits: bool = False
    ) -> StepReport:
        """One step over a checked batch; ``run.step`` counts from 1."""
        self.prepare(run.step - 1, run.threads)
        report, updates = self.gradients(x, y, run, count_hits)
        for update in updates:
            optimizer.update(update.parameter.store, update.rows, update.gradient, lr, run.step, run.threads)
        return report

    def predict(
        self,
        X: Any,
        top: int | None = None,
        mode: Mode = "exact",
        *,
        sampler: Sampler | None = None,
        batch_size: int = 1024,
        threads: int | None = None,
    ) -> tuple[Int32, Float32]:
        """The best labels of each row.

        Parameters
        ----------
        X : csr_array or array, shape (rows, n_features)
            Feature rows.
        top : int, optional
            Labels a row; by default 5, or all where there are fewer.
        mode : {"exact", "sampled"}
            ``"exact"`` scores every label; ``"sampled"`` scores those that the last layer's tables retrieve,
            at a cost that does not grow with the number of labels once the tables are built (at the first
            such call after training).
        sampler : Sampler, optional
            Of ``mode="sampled"``: scores what this finds for each row, instead of the last layer's own
            tables. It is bound to as many items as there are labels, such as ``Retrieve(probes=8)`` over
            tables of ``network.output.weights.weights``.
        batch_size : int
            Rows that are computed together; the result does not depend on it, unless a stage of ``sampler``
            draws at random.
        threads : int, optional
            Threads; the result does not depend on it.

        Returns
        -------
        labels : ndarray of int32, shape (rows, top)
            Best first, ties by the smaller label; -1 where a row has fewer candidates.
        scores : ndarray of float32, shape (rows, top)
            Their logits; -inf where there is no label.

        Raises
        ------
        ArgumentError
            Rows of another width, NaN or infinite values, ``top`` above the number of labels, a sampler of
            another number of items or with ``mode="exact"``.
        UnsupportedError
            ``mode="sampled"`` where the last layer does not sample, or retrieves from no tables.
        """
        rows = batches.checked_features(X, self.input.spec)
        count = core.threads_or_default(threads)
        return inference.predict(self, rows, top, mode, batch_size, count, sampler)

    def hidden(self, X: Any, *, batch_size: int = 1024, threads: int | None = None) -> Float32:
        """What the last layer sees of each row: the queries that its tables are asked.

        Parameters
        ----------
        X, batch_size, threads
            As :meth:`predict`'s.

        Returns
        -------
        ndarray of float32, shape (rows, inputs of the last layer)
        """
        rows = batches.checked_features(X, self.input.spec)
        return inference.hidden(self, rows, batch_size, core.threads_or_default(threads))

    def layer_input(self, X: Any, index: int, *, threads: int | None = None) -> Float32:
        """What a layer gets for feature rows: the queries of a sampled layer.

        Parameters
        ----------
        X : csr_array or array, shape (rows, n_features)
            Feature rows, computed together.
        index : int
            The layer's place among those with parameters, from 0.
        threads : int, optional
            Threads; the result does not depend on it.

        Returns
        -------
        ndarray of float32, shape (rows, inputs of the layer)

        Raises
        ------
        ArgumentError
            Rows of another width, or no such layer.
        """
        rows = batches.checked_features(X, self.input.spec)
        index = checked_integer("index", index, 0, len(self.layers) - 1)
        return inference.layer_input(self, rows, index, core.threads_or_default(threads))

    def evaluate(
        self,
        X: Any,
        Y: Any,
        top: Sequence[int] | None = None,
        mode: Mode = "exact",
        *,
        sampler: Sampler | None = None,
        batch_size: int = 1024,
        threads: int | None = None,
    ) -> dict[str, float]:
        """Precision at each k, in percent.

        Parameters
        ----------
        X, Y : csr_array or array, shapes (rows, n_features) and (rows, n_labels)
            Feature rows, and their labels: 1 for a label, 0 for none. At least one row.
        top : sequence of int, optional
            The k; by default those of 1, 3 and 5 that the network has labels for.
        mode, sampler, batch_size, threads
            As :meth:`predict`'s.

        Returns
        -------
        dict
            ``{"p@1": ..., "p@3": ..., "p@5": ...}``; a row without labels counts as 0.
        """
        rows = batches.checked_features(X, self.input.spec)
        labels = batches.checked_labels(Y, len(rows), self.n_labels)
        if not len(rows):
            raise ArgumentError("X", "no rows", "at least one row")
        count = core.threads_or_default(threads)
        return inference.evaluate(self, rows, labels, top, mode, batch_size, count, sampler)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the network to a folder: a manifest in JSON and its weights as safetensors.

        An older network in the folder is replaced at one instant, and stays if anything fails before.

        Raises
        ------
        CheckpointError
            If the folder holds something else, or cannot be written (no space left, ...).
        """
        storage.save_network(self, path)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Read a network that :meth:`save` wrote, or the model in a run's folder (``train --save``).

        Raises
        ------
        CheckpointError
            If it is not there, truncated, changed, of another kind or of a newer version.
        """
        return storage.load_network(cls, path)

    def __repr__(self) -> str:
        return f"Network({list(self.spec.layers)}, seed={self.spec.seed})"


def _build(spec: NetworkSpec) -> list[Layer]:
    """A layer for each spec, each told what comes in and whether a gradient must go out."""
    first, *others = spec.layers
    assert isinstance(first, Sparse | Input)
    layers: list[Layer] = [InputLayer(first, 0)]
    sparse = isinstance(first, Sparse)
    for index, layer in enumerate(others, 1):
        inputs, wanted = layers[-1].units, index > 1
        if isinstance(layer, Dense):
            layers.append(
                DenseLayer(layer, index, inputs, spec.seed, sparse=sparse, needs_input_gradient=wanted)
            )
        elif isinstance(layer, Sampled):
            layers.append(SampledLayer(layer, index, inputs, spec.seed, needs_input_gradient=wanted))
        sparse = False
    return layers
