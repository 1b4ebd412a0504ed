"""Activations of hidden layers: applied in place, with a slope that is a function of the output."""

from __future__ import annotations

from abc import ABC, abstractmethod

import attrs
import numpy as np
import numpy.typing as npt

from lshsample.nn.names import NameTable

__all__ = ["ACTIVATIONS", "Activation", "Linear", "Relu", "Tanh"]

Float32 = npt.NDArray[np.float32]


class Activation(ABC):
    """A function of each value of a hidden layer.

    An active set's missing units are 0 and stay 0, so an activation should keep 0.
    """

    #: The initial weights before it have the variance ``gain / fan`` (He et al. 2015: 2 before a relu).
    gain: float = 1.0

    @abstractmethod
    def apply(self, values: Float32) -> None:
        """Replace the values, an array of any shape, by the function's."""

    @abstractmethod
    def slope(self, outputs: Float32) -> Float32 | None:
        """The derivative at each output; None where it is 1."""


#: Activations by the names that files and the command line use.
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
    """The value itself."""

    def apply(self, values: Float32) -> None:
        """Change nothing."""

    def slope(self, outputs: Float32) -> None:
        """1 everywhere."""
        return
