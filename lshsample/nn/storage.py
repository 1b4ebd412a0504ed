"""A network in a folder, and back."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from lshsample.errors import ArgumentError, CheckpointError
from lshsample.nn import tensorfile
from lshsample.nn.bundle import Bundle, read_bundle, write_bundle
from lshsample.nn.specs import NetworkSpec

if TYPE_CHECKING:
    from lshsample.nn.network import Network

__all__ = ["MODEL", "load_network", "made_network", "save_network"]

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


def made_network(cls: type[N], bundle: Bundle) -> N:
    """A network as a manifest describes it; a family may be missing here whose plugin is not installed."""
    try:
        return cls.from_spec(NetworkSpec.from_dict(bundle.payload["network"]))
    except (ArgumentError, KeyError) as error:
        raise CheckpointError(f"{bundle.path}: its network cannot be made here: {error}") from error


def load_network(cls: type[N], path: str | PathLike[str]) -> N:
    """Read a network; see :meth:`Network.load`."""
    folder = Path(path)
    bundle = read_bundle(folder / "model" if (folder / "model").is_dir() else folder, MODEL)
    network = made_network(cls, bundle)
    for parameter in network.parameters:
        store = np.empty((parameter.rows, 1, parameter.columns), np.float32)
        tensorfile.read_into(bundle.file(_WEIGHTS), parameter.name, store[:, 0])
        parameter.adopt(store)
    return network
