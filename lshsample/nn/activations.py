"""Activations of hidden layers: applied in place, with a derivative computed from the output."""

from __future__ import annotations

from abc import ABC, abstractmethod

import attrs
import numpy as np
import numpy.typing as npt

from lshsample.nn.names import NameTable

__all__ = ["ACTIVATIONS", "Activation", "Linear", "Relu", "Tanh"]

Float32 = npt.NDArray[np.float32]


class Activation(ABC):
    """Base class of elementwise functions of a hidden layer's values.

    Units outside the active set are 0 and are not computed, so an activation should map 0 to 0.
    """

    #: Variance of the layer's initial weights, times the fan: ``gain / fan`` (He et al. 2015: 2 for relu).
    gain: float = 1.0

    @abstractmethod
    def apply(self, values: Float32) -> None:
        """Apply the function in place to an array of any shape."""

    @abstractmethod
    def slope(self, outputs: Float32) -> Float32 | None:
        """The derivative at each output; None if it is 1 everywhere."""


#: Activations by the names used in files and on the command line.
ACTIVATIONS: NameTable[Activation] = NameTable("activation", Activation)


@ACTIVATIONS.add("relu")
@attrs.frozen
class Relu(Activation):
    """``max(x, 0)``."""

    gain = 2.0

    def apply(self, values: Float32) -> None:
        """Replace negative values by 0."""
        np.maximum(values, np.float32(0.0), out=values)

    def slope(self, outputs: Float32) -> Float32:
        """1 where the output is positive, else 0."""
        return (outputs > 0.0).astype(np.float32)


@ACTIVATIONS.add("tanh")
@attrs.frozen
class Tanh(Activation):
    """The hyperbolic tangent."""

    def apply(self, values: Float32) -> None:
        """Replace values by their hyperbolic tangents."""
        np.tanh(values, out=values)

    def slope(self, outputs: Float32) -> Float32:
        """``1 - tanh(x)^2``."""
        return np.float32(1.0) - outputs * outputs


@ACTIVATIONS.add("linear")
@attrs.frozen
class Linear(Activation):
    """The identity."""

    def apply(self, values: Float32) -> None:
        """Change nothing."""

    def slope(self, outputs: Float32) -> None:
        """1 everywhere."""
        return
