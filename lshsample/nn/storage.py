"""A network in a folder, and back."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from lshsample.errors import ArgumentError, CheckpointError
from lshsample.nn import tensorfile
from lshsample.nn.bundle import read_bundle, write_bundle
from lshsample.nn.specs import NetworkSpec

if TYPE_CHECKING:
    from lshsample.nn.network import Network

__all__ = ["MODEL", "load_network", "network_spec", "save_network"]

#: The kind of a folder that holds a network.
MODEL = "model"
_WEIGHTS = "weights.safetensors"

N = TypeVar("N", bound="Network")


def save_network(network: Network, path: str | PathLike[str]) -> None:
    """Write a network's spec and weights; see :meth:`Network.save`."""
    network.allocate_for_prediction()
    weights = {p.name: p.weights for p in network.parameters}
    writers = {_WEIGHTS: lambda file: tensorfile.write_tensors(file, weights)}
    write_bundle(path, MODEL, {"network": network.spec.to_dict()}, writers)


def network_spec(payload: Mapping[str, Any], path: Path) -> NetworkSpec:
    """The spec in a manifest."""
    try:
        return NetworkSpec.from_dict(payload["network"])
    except (ArgumentError, KeyError) as error:
        raise CheckpointError(f"{path}: its network cannot be made by this version: {error}") from error


def load_network(cls: type[N], path: str | PathLike[str]) -> N:
    """Read a network; see :meth:`Network.load`."""
    folder = Path(path)
    bundle = read_bundle(folder / "model" if (folder / "model").is_dir() else folder, MODEL)
    network = cls.from_spec(network_spec(bundle.payload, bundle.path))
    for parameter in network.parameters:
        store = np.empty((parameter.rows, 1, parameter.columns), np.float32)
        tensorfile.read_into(bundle.files[_WEIGHTS], parameter.name, store[:, 0])
        parameter.adopt(store)
    return network
