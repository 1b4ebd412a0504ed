"""The contracts of layers: what a network is made of, and what each layer does in it.

A :class:`Layer` is a frozen description: the arguments of a layer, which a file can hold. ``build`` makes a
:class:`BuiltLayer` of it: parameters, and a ``forward`` that returns the output together with the function
that takes the output's gradient back. No layer keeps anything from one pass to the next.
"""

# ruff: noqa: B027 - what a layer without tables or statistics has no use for is empty in the base class.
from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample._native import layers as kernels
from lshsample.errors import ArgumentError, UnsupportedError
from lshsample.nn.activations import ACTIVATIONS, Activation
from lshsample.nn.losses import LOSSES, Loss
from lshsample.nn.names import NameTable
from lshsample.nn.parameter import Parameter, Update
from lshsample.nn.signals import LossGradient, Run, Signal, values_of, with_values

if TYPE_CHECKING:
    from lshsample.nn.batches import FeatureRows

__all__ = [
    "LAYERS",
    "Backward",
    "BuildContext",
    "BuiltLayer",
    "CandidateLists",
    "InputLayer",
    "Layer",
    "OutputBackward",
    "OutputLayer",
    "activation_or_loss",
    "dropout",
    "finish",
    "initial_scale",
]

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
#: Takes the gradient of a layer's output; returns that of its input (None where none is wanted) and updates.
Backward = Callable[[Signal], tuple[Signal | None, list[Update]]]
#: The same for the last layer, whose gradient comes from a loss with a factor that is still to be applied.
OutputBackward = Callable[[LossGradient], tuple[Signal | None, list[Update]]]


@attrs.frozen
class BuildContext:
    """Where a layer stands in its network.

    Attributes
    ----------
    index : int
        Its place, from 0: names its parameters and its random streams.
    inputs : int
        Columns of its input; 0 for the input layer.
    seed : int
        The network's seed.
    sparse_input : bool
        Whether its input is sparse rows of features.
    needs_input_gradient : bool
        Whether a layer below has parameters that are trained.
    """

    index: int
    inputs: int
    seed: int
    sparse_input: bool = False
    needs_input_gradient: bool = True


class Layer(ABC):
    """Base class of the layers that a network is made of.

    A layer is a frozen attrs class of plain values with a method :meth:`build`. An instance can stand in any
    network. Give the class a name, ``LAYERS.add("name")``, to save networks that it is part of.
    """

    #: Whether it takes feature rows, and so comes first.
    is_input: ClassVar[bool] = False
    #: Whether what it puts out is sparse rows of features.
    is_sparse: ClassVar[bool] = False

    @property
    @abstractmethod
    def units(self) -> int:
        """Columns that the next layer sees."""

    @property
    def loss(self) -> Loss | None:
        """The loss that it ends a network with; None for a layer that is not the last one."""
        return None

    @abstractmethod
    def build(self, context: BuildContext) -> BuiltLayer:
        """The layer at its place in a network, with parameters that are not allocated yet.

        The last layer of a network is an :class:`OutputLayer`, the first one an :class:`InputLayer`.
        """


#: Layers by the names that files use.
LAYERS: NameTable[Layer] = NameTable("layer", Layer)


class BuiltLayer(ABC):
    """A layer at its place in a network.

    Parameters
    ----------
    units : int
        Columns of its output.
    context : BuildContext
        Its place.
    parameters : tuple of Parameter
        Its parameters. Their order is that of its updates.
    """

    #: Whether it computes a sample of its units while training, through its attribute ``active``.
    samples: ClassVar[bool] = False

    def __init__(self, units: int, context: BuildContext, parameters: tuple[Parameter, ...] = ()) -> None:
        self.units, self.context, self.parameters = units, context, parameters
        self.index = context.index  #: its place in the network, from 0

    @abstractmethod
    def forward(self, x: Signal, run: Run) -> tuple[Signal, Backward]:
        """The output, and the function that takes its gradient back.

        Parameters
        ----------
        x : Block or csr_array
            The output of the layer below; not to be changed.
        run : Run
            Threads, random streams, whether it is training.

        Returns
        -------
        y : Block or csr_array
            The output, a new array.
        backward : callable
            Takes the gradient at y's stored places; returns the gradient at x's (None where
            ``context.needs_input_gradient`` is False) and an :class:`Update` for each parameter.
        """

    def workspace_needed(self, batch_size: int) -> int:
        """Bytes that a training step takes beside the parameters, about; by default three outputs."""
        return 12 * batch_size * self.units

    def tables_needed(self, threads: int | None) -> int:
        """Bytes that its tables take at the peak of their build; by default it has none."""
        return 0

    def prepare(self, done: int, threads: int) -> None:
        """Before the step after ``done`` steps; by default there is nothing to do."""

    def settle(self) -> None:
        """Wait for what goes on in the background; by default nothing does."""

    def forget(self) -> None:
        """Begin a run: forget what was kept of another one; by default nothing was."""

    def observe_labels(self, labels: sp.csr_array | None) -> None:
        """Take statistics of the labels that are trained on (None but for the last layer)."""

    def state(self) -> dict[str, Any] | None:
        """Plain data that a checkpoint holds beside the parameters; None for a layer without such a state."""
        return None

    def save_state(self, path: Path) -> None:
        """Write to a file what a checkpoint holds beside parameters and :meth:`state`."""

    def restore(self, state: dict[str, Any], path: Path) -> None:
        """Take back what :meth:`state` and :meth:`save_state` gave, for parameters that are there."""


class CandidateLists(Protocol):
    """Ids of some units for each row: candidates of tables, or an active set that is not pooled."""

    @property
    def indptr(self) -> npt.NDArray[np.int64]:
        """Row i has the ids from ``indptr[i]`` to ``indptr[i + 1]``."""

    @property
    def ids(self) -> Int32:
        """The ids, ascending in a row."""


class InputLayer(BuiltLayer):
    """The first layer: takes feature rows, and the statistics of those that are trained on."""

    @abstractmethod
    def checked(self, x: Any, argument: str = "X") -> FeatureRows:
        """Feature rows as the layer takes them.

        Raises
        ------
        ArgumentError
            Rows of another width or kind, NaN or infinite values; it names ``argument``.
        """

    def observe(self, rows: FeatureRows) -> None:
        """Take the statistics of the rows that are trained on; by default none are needed."""


class OutputLayer(BuiltLayer):
    """The last layer: logits for a loss, and scores of units for prediction.

    How its weights lie in memory is its own matter; :meth:`unit_vectors` shows them as one vector a unit.
    """

    #: Whether it has tables of its own that :meth:`candidates` retrieves from.
    retrieves: bool = False

    @abstractmethod
    def logits(self, x: Signal, run: Run) -> tuple[Signal, Float32 | None, OutputBackward]:
        """The output of a training step before the loss, what to correct it by, and the backward.

        Parameters
        ----------
        x, run
            As :meth:`forward`'s; ``run.targets`` are the labels of the batch, which the logits have to hold.

        Returns
        -------
        logits : Block or csr_array
            The loss changes its values to their gradient.
        log_inclusion : ndarray of float32, or None
            Log inclusion probability of each active unit; None for no correction.
        backward : callable
            As :meth:`forward`'s, of a :class:`LossGradient`.
        """

    @abstractmethod
    def unit_vectors(self) -> Float32:
        """The weights, shape (units, inputs), as a view of whatever strides; writing to it changes them."""

    @abstractmethod
    def score(self, h: Float32, ids: Int32 | None = None, *, threads: int | None = None) -> Float32:
        """Logits of some units.

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
            Units a row.
        candidates : Candidates, ActiveSet or the like, optional
            The units that are scored for each row (``indptr`` and ``ids``); None for all.
        threads : int, optional
            Threads; the result does not depend on it.

        Returns
        -------
        ids : ndarray of int32, shape (rows, k)
            Best first, ties by the smaller id; -1 where a row has fewer candidates.
        scores : ndarray of float32, shape (rows, k)
            Their logits; -inf where there is no unit.
        """

    def candidates(self, h: Float32, threads: int) -> CandidateLists:
        """The units that the layer's own tables retrieve for each row of inputs."""
        raise UnsupportedError(f"layer {self.index} retrieves from no tables of its own")


def activation_or_loss(value: Any) -> Activation | Loss:
    """A layer's activation or loss, from itself, its name, or plain data."""
    for table in _TABLES:
        if (
            isinstance(value, table.base)
            or value in table
            or (isinstance(value, Mapping) and table.kind in value)
        ):
            made: Activation | Loss = table.make(value, "activation")
            return made
    wanted = f"one of {ACTIVATIONS}, {LOSSES}, or an instance of Activation or Loss"
    raise ArgumentError("activation", repr(value), wanted)


_TABLES: tuple[NameTable[Any], ...] = (ACTIVATIONS, LOSSES)


def initial_scale(init_scale: float | None, fan: int, activation: Activation | None) -> float:
    """Deviation of the initial weights: as given, else sqrt(gain / fan); before a loss the gain is 1."""
    gain = 1.0 if activation is None else activation.gain
    return math.sqrt(gain / fan) if init_scale is None else init_scale


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


def finish(
    y: Signal, activation: Activation, rate: float, run: Run, layer: int
) -> Callable[[Signal], Signal]:
    """Apply activation and dropout to a layer's output in place; returns what takes a gradient back through
    both.
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
        # Float32 of the same shape, whatever the slope of an activation is.
        return with_values(gradient, np.multiply(before, factor, out=np.empty_like(before)))

    return back
