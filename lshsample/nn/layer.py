"""The interfaces of layers: their descriptions, and the layers built from them.

A :class:`Layer` is a frozen description: the arguments of a layer, which can be saved in a file.
``build`` makes a :class:`BuiltLayer` of it: parameters, and a ``forward`` that returns the output and a
function that backpropagates the output's gradient. A layer keeps no state between passes.
"""

# ruff: noqa: B027 - methods that only layers with tables or statistics need are empty in the base class.
from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Protocol

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample._native import layers as kernels
from lshsample._native.byterows import ByteRows
from lshsample.errors import ArgumentError, UnsupportedError, did_you_mean
from lshsample.nn.activations import ACTIVATIONS, Activation
from lshsample.nn.bundle import Kind, WrittenFiles
from lshsample.nn.coded import CodedParameter, RowCodes
from lshsample.nn.losses import LOSSES, Loss
from lshsample.nn.names import NameTable
from lshsample.nn.parameter import Parameter, Update
from lshsample.nn.signals import LossGradient, Run, Signal, values_of, with_values

if TYPE_CHECKING:
    from lshsample.family import HashFamily
    from lshsample.nn.batches import FeatureRows
    from lshsample.nn.optimizers import Optimizer

__all__ = [
    "LAYERS",
    "Backward",
    "BuildContext",
    "BuiltLayer",
    "CandidateLists",
    "InputLayer",
    "Layer",
    "LossPass",
    "OutputBackward",
    "OutputLayer",
    "activation_or_loss",
    "begin_at",
    "dropout",
    "finish",
    "initial_scale",
]

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
#: Maps the gradient of a layer's output to that of its input (None if not needed) and parameter updates.
Backward = Callable[[Signal], tuple[Signal | None, list[Update]]]
#: The same for the last layer, whose gradient comes from a loss, with a factor that is not yet applied.
OutputBackward = Callable[[LossGradient], tuple[Signal | None, list[Update]]]


@attrs.frozen
class BuildContext:
    """A layer's place in its network.

    Attributes
    ----------
    index : int
        Its place, from 0; part of its parameters' names and of the keys of its random streams.
    inputs : int
        Columns of its input; 0 for the input layer.
    seed : int
        The network's seed.
    sparse_input : bool
        Whether its input is sparse feature rows.
    needs_input_gradient : bool
        Whether a layer below has trained parameters.
    first_unit : int
        Number of its first unit, where it is a block of the units of a wider layer: a block has the initial
        weights of these units.
    precision : str
        The network's: the type of its weights, ``"float32"`` or ``"bfloat16"``, to give to
        :class:`~lshsample.nn.parameter.Parameter`. A layer may keep its weights in float32 in any network;
        biases always are.
    codes : RowCodes, optional
        How the rows of wide layers are stored in a network in ``"int8"`` or ``"int4"``, whose other weights
        are in float32.
    moments : str, optional
        ``"float8"`` or None, to give to a parameter of weights as the precision is.
    """

    index: int
    inputs: int
    seed: int
    sparse_input: bool = False
    needs_input_gradient: bool = True
    first_unit: int = 0
    precision: str = "float32"
    codes: RowCodes | None = None
    moments: str | None = None

    def rows_parameter(
        self, name: str, rows: int, columns: int, scale: float, key: tuple[int, int]
    ) -> Parameter:
        """A parameter of which a step touches few rows: of the network's precision, or in codes."""
        if self.codes is not None:
            return CodedParameter(name, rows, columns, scale, key, self.codes)
        how: dict[str, Any] = {"dtype": self.precision, "moments": self.moments}
        return Parameter(name, rows, columns, scale, key, first_row=self.first_unit, **how)


class Layer(ABC):
    """Base class of the descriptions of layers.

    A layer is a frozen attrs class of plain values with a method :meth:`build`. An instance can be used in
    any network. Register the class under a name, ``LAYERS.add("name")``, to save networks that contain it.
    """

    #: Whether it takes feature rows, and so is the first layer.
    is_input: ClassVar[bool] = False
    #: Whether its output is sparse feature rows.
    is_sparse: ClassVar[bool] = False

    @property
    @abstractmethod
    def units(self) -> int:
        """Columns of its output."""

    @property
    def loss(self) -> Loss | None:
        """The loss, if it is a last layer; None for other layers."""
        return None

    @abstractmethod
    def build(self, context: BuildContext) -> BuiltLayer:
        """Build the layer for its place in a network; its parameters are not allocated yet.

        The first layer of a network builds an :class:`InputLayer`, the last one an :class:`OutputLayer`.
        """


#: Layers by the names used in files.
LAYERS: NameTable[Layer] = NameTable("layer", Layer)


class BuiltLayer(ABC):
    """A layer in a network, with its parameters.

    Parameters
    ----------
    units : int
        Columns of its output.
    context : BuildContext
        Its place in the network.
    parameters : tuple of Parameter
        Its parameters, in the order of its updates.
    """

    #: Whether it computes a sample of its units while training, drawn by its attribute ``active``.
    samples: ClassVar[bool] = False

    def __init__(self, units: int, context: BuildContext, parameters: tuple[Parameter, ...] = ()) -> None:
        self.units, self.context, self.parameters = units, context, parameters
        self.index = context.index  #: its place in the network, from 0

    @abstractmethod
    def forward(self, x: Signal, run: Run) -> tuple[Signal, Backward]:
        """The output, and a function that backpropagates its gradient.

        Parameters
        ----------
        x : Block or csr_array
            The output of the layer below; must not be changed.
        run : Run
            Threads, random streams, and whether this is a training step.

        Returns
        -------
        y : Block or csr_array
            The output, a new array.
        backward : callable
            Takes the gradient of y's stored values; returns the gradient of x's stored values (None if
            ``context.needs_input_gradient`` is False) and an :class:`Update` for each parameter.
        """

    # Parameters. A layer that keeps its parameters elsewhere, in other processes for instance, has none in
    # ``parameters``, and overrides these.

    @property
    def n_parameters(self) -> int:
        """Number of its trained weights."""
        return sum(p.size for p in self.parameters if p.trained)

    def parameters_needed(self, slots: int) -> int:
        """Bytes of the parameters in this process, with ``slots`` values for each trained weight."""
        return sum(p.memory_needed(slots if p.trained else 1) for p in self.parameters)

    def allocate(self, slots: int, threads: int) -> None:
        """Allocate the parameters and their optimizer state; existing weights are kept."""
        for parameter in self.parameters:
            parameter.allocate(slots if parameter.trained else 1, threads)

    def is_allocated(self, slots: int | None = None) -> bool:
        """Whether the parameters are allocated, with ``slots`` values for each trained weight if given."""
        return all(
            p.allocated and (slots is None or not p.trained or len(p.raw.dtypes) == slots)
            for p in self.parameters
        )

    def settle_weights(self) -> None:
        """Apply weight decay that is kept in a factor to the stored weights."""
        for parameter in self.parameters:
            parameter.settle()

    def reset_state(self) -> None:
        """Set the optimizer's state to 0."""
        for parameter in self.parameters:
            parameter.reset_state()

    def update(self, optimizer: Optimizer, lr: float, kept: float, step: int, threads: int) -> None:
        """Update parameters that are kept elsewhere by the gradient of the last backward pass.

        Parameters
        ----------
        optimizer : Optimizer
            The optimizer.
        lr : float
            Learning rate of the step.
        kept : float
            The factor by which weight decay multiplies all weights first.
        step : int
            Number of the step, from 1.
        threads : int
            Number of threads.
        """

    def keep_best(self) -> None:
        """Keep a copy of the current weights that are kept elsewhere."""

    def restore_best(self) -> None:
        """Return to the weights of :meth:`keep_best`."""

    def write_files(self, folder: Path, generation: int, checkpoint: bool) -> WrittenFiles | None:
        """Write files of parameters that are kept elsewhere, for a checkpoint or for a model."""
        return None

    def read_files(self, folder: Path, kind: Kind, generation: int, slots: int | None) -> None:
        """Read the files of :meth:`write_files`: of a checkpoint, with ``slots`` values for each weight, or
        of a model, if ``slots`` is None.
        """

    def workspace_needed(self, batch_size: int) -> int:
        """Estimate of the bytes that a training step needs besides parameters; by default three outputs."""
        return 12 * batch_size * self.units

    def tables_needed(self, threads: int | None) -> int:
        """Peak bytes of its hash tables while they are built; 0 by default."""
        return 0

    def prepare(self, done: int, threads: int) -> None:
        """Called before each training step, with the number of steps done; does nothing by default."""

    def settle(self) -> None:
        """Wait for work in the background; there is none by default."""

    def forget(self) -> None:
        """Called at the start of a run: discard the state of an earlier one; does nothing by default."""

    def observe_labels(self, labels: sp.csr_array | None) -> None:
        """Compute statistics of the training labels (None except in the last layer)."""

    def functions(self) -> HashFamily | None:
        """The hash functions of its first tables, which saved networks record; None without tables."""
        return None

    def state(self) -> dict[str, Any] | None:
        """Plain data for a checkpoint, besides the parameters; None for a layer without other state."""
        return None

    def save_state(self, file: BinaryIO) -> None:
        """Write to an open file the state that is not in the parameters or in :meth:`state`."""

    def restore(self, state: dict[str, Any], file: BinaryIO) -> None:
        """Restore what :meth:`state` and :meth:`save_state` saved; the parameters are restored before."""


class CandidateLists(Protocol):
    """Ids of some units for each row: candidates from tables, or an active set per row."""

    @property
    def indptr(self) -> npt.NDArray[np.int64]:
        """Row i has ``ids[indptr[i] : indptr[i + 1]]``; shape (rows + 1,)."""

    @property
    def ids(self) -> Int32:
        """The ids, ascending within a row."""


class InputLayer(BuiltLayer):
    """The first layer: takes feature rows, and statistics of the training rows."""

    @abstractmethod
    def checked(self, x: Any, argument: str = "X") -> FeatureRows:
        """Validate feature rows and convert them to the layer's input type.

        Raises
        ------
        ArgumentError
            Rows of another width or kind, NaN or infinite values; the error names ``argument``.
        """

    @property
    def has_statistics(self) -> bool:
        """Whether it has statistics of training rows, which another training run should keep."""
        return False

    def observe(self, rows: FeatureRows) -> None:
        """Compute statistics of the training rows; does nothing by default."""


@attrs.frozen(eq=False)
class LossPass:
    """The loss of a batch, from a layer that computes it itself.

    Attributes
    ----------
    losses : ndarray of float32, shape (rows,)
        The loss of each row.
    active : int
        Number of logits that were computed.
    hits : float or None
        As that of :class:`~lshsample.nn.StepReport`.
    backward : callable
        Takes a factor; returns the gradient of the layer's input, of the losses' sum times the factor, and
        updates.
    """

    losses: Float32 = attrs.field(repr=False)
    active: int
    hits: float | None
    backward: Callable[[float], tuple[Signal | None, list[Update]]]


class OutputLayer(BuiltLayer):
    """The last layer: logits for a loss, and scores of units for prediction.

    The memory layout of its weights is up to the layer; :meth:`unit_vectors` returns one vector per unit.
    """

    #: Whether it computes the loss itself (:meth:`loss_pass`), as its logits are in several parts.
    in_parts: ClassVar[bool] = False
    #: Whether it computes logits, loss and gradient row by row (:meth:`row_pass`), as each row has its own
    #: set.
    by_rows: bool = False

    @property
    def exchanged(self) -> int:
        """Bytes exchanged so far with another process that holds a part of it; 0 by default."""
        return 0

    def parted(self, specs: Sequence[Layer], layers: Sequence[BuiltLayer]) -> Any:
        """What computes all layers below in a training step, with their method ``forward``; None, by default,
        for the layers themselves.

        Parameters
        ----------
        specs, layers : sequence
            The descriptions of the layers below, and the layers.
        """
        return None

    #: Whether it has hash tables that :meth:`candidates` retrieves from.
    retrieves: bool = False

    @abstractmethod
    def logits(self, x: Signal, run: Run) -> tuple[Signal, Float32 | None, OutputBackward]:
        """The logits of a training step, their log inclusion probabilities, and the backward function.

        Parameters
        ----------
        x, run
            As for :meth:`forward`; the logits must include ``run.targets``, the labels of the batch.

        Returns
        -------
        logits : Block or csr_array
            The loss replaces its values by their gradient, in place.
        log_inclusion : ndarray of float32, or None
            Log inclusion probability of each active unit; None for no correction.
        backward : callable
            As for :meth:`forward`, but it takes a :class:`LossGradient`.
        """

    def loss_pass(self, x: Signal, y: sp.csr_array, weights: Float32, run: Run, count_hits: bool) -> LossPass:
        """The loss of a batch, for a layer whose logits are ``in_parts``.

        Parameters
        ----------
        x, run
            As for :meth:`logits`.
        y : csr_array
            The rows' labels.
        weights : ndarray of float32
            Target of each label.
        count_hits : bool
            Whether to count the rows whose best active unit is one of their labels.
        """
        raise UnsupportedError(f"layer {self.index} does not compute its loss in parts")

    def row_pass(self, x: Signal, y: sp.csr_array, weights: Float32, run: Run, loss: Loss) -> LossPass:
        """The loss of a batch, for a layer with ``by_rows`` and a loss with the same.

        The bits are those of :meth:`logits` and :meth:`Loss.apply`, but the weights that a row needs are read
        from memory once.

        Parameters
        ----------
        x, y, weights, run
            As for :meth:`loss_pass`; ``run.sampled`` is True.
        loss : Loss
            The loss.
        """
        raise UnsupportedError(f"layer {self.index} does not compute its loss row by row")

    def begin_biases(self, values: Float32) -> None:
        """Set the biases of a layer that has not been trained, shape (units,); does nothing by default."""

    @abstractmethod
    def unit_vectors(self) -> Float32:
        """The weights in float32, shape (units, inputs): a view with any strides, writing to which changes
        them, or a copy of weights of another type.
        """

    @abstractmethod
    def score(self, h: Float32, ids: Int32 | None = None, *, threads: int | None = None) -> Float32:
        """Logits of the given units.

        Parameters
        ----------
        h : ndarray of float32, shape (rows, inputs)
            The layer's inputs.
        ids : ndarray of int32, shape (n,), optional
            The units; None for all.
        threads : int, optional
            Threads; the result does not depend on it.

        Returns
        -------
        ndarray of float32, shape (rows, n)
        """

    @abstractmethod
    def top_k(
        self, h: Float32, k: int, candidates: CandidateLists | None = None, *, threads: int | None = None
    ) -> tuple[Int32, Float32]:
        """The best units of each row.

        Parameters
        ----------
        h : ndarray of float32, shape (rows, inputs)
            The layer's inputs.
        k : int
            Units per row.
        candidates : Candidates, ActiveSet or similar, optional
            The units to score for each row (``indptr`` and ``ids``); None for all.
        threads : int, optional
            Threads; the result does not depend on it.

        Returns
        -------
        ids : ndarray of int32, shape (rows, k)
            Best first, ties by the smaller id; -1 where a row has fewer candidates.
        scores : ndarray of float32, shape (rows, k)
            Their logits; -inf where there is no unit.
        """

    def byte_rows(self, threads: int, like: Float32 | None = None) -> ByteRows:
        """A copy of the units' stored vectors in 8 bits, for exact prediction of many rows.

        With ``like``, inputs of the layer, it is in an order that is good for inputs like these.

        Raises
        ------
        UnsupportedError
            By default: a layer of another package keeps its weights as it likes.
        """
        raise UnsupportedError(
            f"layer {self.index} keeps no 8-bit copy of its weights; use precision='float32'"
        )

    @property
    def stored_factor(self) -> float:
        """What the products with the vectors of :meth:`byte_rows` are to be multiplied by."""
        return 1.0

    def top_retrieved(self, h: Float32, k: int, threads: int) -> tuple[Int32, Float32, int]:
        """The best of the units that the layer's hash tables retrieve for each row, as :meth:`top_k`; and the
        number of these units.
        """
        found = self.candidates(h, threads)
        return *self.top_k(h, k, found, threads=threads), len(found.ids)

    def candidates(self, h: Float32, threads: int) -> CandidateLists:
        """The units that the layer's hash tables retrieve for each row of inputs."""
        raise UnsupportedError(f"layer {self.index} has no hash tables to retrieve from")


def activation_or_loss(value: Any) -> Activation | Loss:
    """A layer's activation or loss, from an instance, its name, or plain data."""
    for table in _TABLES:
        if (
            isinstance(value, table.base)
            or value in table
            or (isinstance(value, Mapping) and table.kind in value)
        ):
            made: Activation | Loss = table.make(value, "activation")
            return made
    wanted = f"one of {ACTIVATIONS}, {LOSSES}, or an instance of Activation or Loss"
    raise ArgumentError("activation", repr(value), wanted + did_you_mean(value, [*ACTIVATIONS, *LOSSES]))


_TABLES: tuple[NameTable[Any], ...] = (ACTIVATIONS, LOSSES)


def begin_at(biases: Parameter | None, values: Float32) -> None:
    """Set biases that are all 0, as those of a layer that has not been trained."""
    if biases is not None and not biases.weights.any():
        biases.weights[...] = values.reshape(biases.weights.shape)


def initial_scale(init_scale: float | None, fan: int, activation: Activation | None) -> float:
    """Standard deviation of the initial weights: as given, or sqrt(gain / fan), with gain 1 before a loss."""
    gain = 1.0 if activation is None else activation.gain
    return math.sqrt(gain / fan) if init_scale is None else init_scale


def dropout(values: Float32, rate: float, run: Run, layer: int) -> Float32 | None:
    """Drop values in place while training; returns the mask (0 or 1/(1 - rate)), or None if nothing is
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


def finish(
    y: Signal, activation: Activation, rate: float, run: Run, layer: int
) -> Callable[[Signal], Signal]:
    """Apply activation and dropout to a layer's output in place; returns a function that backpropagates a
    gradient through both.
    """
    values = values_of(y)
    activation.apply(values)
    factor = activation.slope(values) if run.training else None
    mask = dropout(values, rate, run, layer)
    if mask is not None:
        factor = mask if factor is None else factor * mask

    def back(gradient: Signal) -> Signal:
        if factor is None:
            return gradient
        before = values_of(gradient)
        # Float32 and the same shape, whatever type the activation's slope has.
        return with_values(gradient, np.multiply(before, factor, out=np.empty_like(before)))

    return back
