"""A network as a module of PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from lshsample.nn.plain import PlainNetwork

__all__ = ["TorchNetwork"]

_ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "linear": lambda x: x,
}


class TorchNetwork(torch.nn.Module):
    """The logits of a network for dense rows, or for rows in the layout ``torch.sparse_csr``.

    Parameters
    ----------
    plain : PlainNetwork
        Its weights are copied.
    """

    def __init__(self, plain: PlainNetwork) -> None:
        super().__init__()
        self.weighting, self.activations = plain.weighting, [step.activation for step in plain.steps]
        self.factors: torch.Tensor | None
        factors = None if plain.weights is None else torch.from_numpy(plain.weights.copy())
        self.register_buffer("factors", factors)
        self.layers = torch.nn.ModuleList(_linear(step.weights, step.bias) for step in plain.steps)

    def forward(self, x: Any) -> Any:
        """Logits (rows, n_labels) of rows (rows, n_features)."""
        x = self._weighted(x)
        layer: Any
        for layer, activation in zip(self.layers, self.activations, strict=True):
            x = layer(x) if x.layout == torch.strided else torch.mm(x, layer.weight.T) + layer.bias
            x = _ACTIVATIONS[activation](x)
        return x

    def _weighted(self, x: Any) -> Any:
        if self.weighting == "none":
            return x
        if x.layout == torch.strided:
            x = x if self.factors is None else x * self.factors
            norms = x.norm(dim=1, keepdim=True)
            return x / torch.where(norms == 0, 1, norms)
        begins, columns, values = x.crow_indices(), x.col_indices(), x.values()
        values = values if self.factors is None else values * self.factors[columns]
        rows = torch.repeat_interleave(torch.arange(x.shape[0], device=x.device), begins.diff())
        norms = torch.zeros(x.shape[0], device=x.device).index_add(0, rows, values**2).sqrt()
        values = values / torch.where(norms == 0, 1, norms)[rows]
        return torch.sparse_csr_tensor(begins, columns, values, x.shape, check_invariants=False)


def _linear(weights: Any, bias: Any) -> Any:
    units, inputs = weights.shape
    layer = torch.nn.Linear(inputs, units, device="meta").to_empty(device="cpu")
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(np.ascontiguousarray(weights)))
        layer.bias.copy_(torch.from_numpy(bias))
    return layer
