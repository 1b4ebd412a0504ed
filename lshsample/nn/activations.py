"""Activations on a signal's stored values, in place; their slope is a function of the output."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

__all__ = ["activate", "slope"]

Float32 = npt.NDArray[np.float32]


def _relu(values: Float32) -> None:
    np.maximum(values, np.float32(0.0), out=values)


def _tanh(values: Float32) -> None:
    np.tanh(values, out=values)


_FORWARD: dict[str, Callable[[Float32], None]] = {"relu": _relu, "tanh": _tanh}


def activate(name: str, values: Float32) -> None:
    """Apply an activation in place. Losses apply their own, so to them the values are logits and stay as they
    are.
    """
    if name in _FORWARD:
        _FORWARD[name](values)


def slope(name: str, outputs: Float32) -> Float32 | None:
    """The derivative at each output; None where it is 1."""
    if name == "relu":
        return (outputs > 0.0).astype(np.float32)
    if name == "tanh":
        return np.float32(1.0) - outputs * outputs
    return None
