"""A network as plain arrays, for other libraries: what an export needs to know of it."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from lshsample.display import array_text
from lshsample.errors import UnsupportedError
from lshsample.nn.activations import Linear, Relu, Tanh
from lshsample.nn.dense import DenseLayer
from lshsample.nn.inputs import DenseInput, SparseInput
from lshsample.nn.sampled import SampledLayer

__all__ = ["Affine", "PlainNetwork"]

Float32 = npt.NDArray[np.float32]
_NAMES = {Relu: "relu", Tanh: "tanh", Linear: "linear", type(None): "linear"}


@attrs.frozen(eq=False)
class Affine:
    """``activation(x @ weights.T + bias)``.

    Attributes
    ----------
    weights : (units, inputs) float32 array
        A view with any strides.
    bias : (units,) float32 array
    activation : str
        ``"relu"``, ``"tanh"`` or ``"linear"``.
    """

    weights: Float32 = attrs.field(repr=array_text)
    bias: Float32 = attrs.field(repr=array_text)
    activation: str


@attrs.frozen(eq=False)
class PlainNetwork:
    """What a network computes when it predicts.

    Attributes
    ----------
    n_features : int
    sparse : bool
        Whether its input is sparse rows.
    weighting : str
        Of sparse rows: ``"none"``, ``"l2"``, ``"idf-l2"``.
    weights : (n_features,) float32 array, optional
        By which values are multiplied with ``"idf-l2"``.
    steps : tuple of Affine
        The last one gives the logits.
    """

    n_features: int
    sparse: bool
    weighting: str
    weights: Float32 | None
    steps: tuple[Affine, ...]

    @classmethod
    def of(cls, network: Any) -> PlainNetwork:
        """The plain form of a :class:`~lshsample.nn.Network`, over its weights.

        Raises
        ------
        UnsupportedError
            A layer or an activation of another package.
        """
        network.allocate_for_prediction()
        first: Any = network.layers[0]
        weighting, weights = "none", None
        if isinstance(first, SparseInput):
            weighting = first.spec.weighting
            if weighting == "idf-l2":
                weights = np.float32(1.0) + first.parameters[0].weights[:, 0]
        elif not isinstance(first, DenseInput):
            raise UnsupportedError(f"{first.spec!r}: an input layer of another package cannot be exported")
        steps = tuple(_affine(layer) for layer in network.layers[1:])
        return cls(network.n_features, isinstance(first, SparseInput), weighting, weights, steps)


def _affine(layer: Any) -> Affine:
    if not isinstance(layer, DenseLayer | SampledLayer):
        kind = type(layer).__name__
        raise UnsupportedError(f"layer {layer.index}: a layer of the class {kind} cannot be exported")
    activation = None if layer.spec.loss is not None else layer.spec.activation
    if type(activation) not in _NAMES:
        raise UnsupportedError(f"layer {layer.index}: the activation {activation!r} cannot be exported")
    bias = np.zeros(layer.units, np.float32) if layer.bias is None else np.array(layer.bias.vector)
    return Affine(layer.unit_vectors(), bias, _NAMES[type(activation)])
