"""Checkpoints: everything that the next step depends on, so that a continued run gives the same bits.

A checkpoint holds the weights with their optimizer state, the step and the position in the epoch, and the
hash tables, which were built from earlier weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from os import PathLike
from typing import Any, BinaryIO

import attrs
import numpy as np
import numpy.typing as npt

from lshsample import memory
from lshsample.errors import ArgumentError, CheckpointError
from lshsample.nn import tensorfile
from lshsample.nn.bundle import BLOCK_FILES, Bundle, Claim, Kind, is_of_head, read_bundle
from lshsample.nn.network import Network
from lshsample.nn.network_spec import NetworkSpec
from lshsample.nn.parameter import Parameter
from lshsample.training.run_state import RunState
from lshsample.training.settings import TrainingSettings

__all__ = ["CHECKPOINT", "Restored", "read_checkpoint", "write_checkpoint"]

#: The kind of a folder that holds a checkpoint.
CHECKPOINT = Kind("checkpoint", r"state\.safetensors|tables[0-9]+\.lsh|" + BLOCK_FILES)
_STATE = "state.safetensors"
_STEP_TIMES = "step_ms"
_RATES = "rate_factors"
#: Before the names of parameters: their weights in the best epoch.
_BEST = "best/"


@attrs.frozen(eq=False)
class Restored:
    """A run restored from a checkpoint."""

    network: Network
    settings: TrainingSettings
    state: RunState
    best: Mapping[str, npt.NDArray[Any]]


def write_checkpoint(
    folder: Claim,
    network: Network,
    settings: TrainingSettings,
    state: RunState,
    best: Mapping[str, npt.NDArray[Any]],
) -> None:
    """Replace the checkpoint of a claimed folder atomically; ``best`` has the weights of the best epoch.

    Raises
    ------
    CheckpointError
        If it cannot be written; the previous one is kept.
    """
    tensors = {name: array for p in network.parameters for name, array in p.tensors(state=True).items()}
    tensors |= {f"{_BEST}{name}": weights for name, weights in best.items()}
    tensors[_STEP_TIMES] = np.asarray(state.step_ms, np.float32)
    if state.rate_factors:
        tensors[_RATES] = np.asarray(state.rate_factors, np.float64)
    writers: dict[str, Callable[[BinaryIO], None]] = {
        _STATE: partial(tensorfile.write_tensors, tensors=tensors)
    }
    tables = {}
    for layer in network.layers:
        saved = layer.state()
        if saved is not None:
            tables[str(layer.index)] = saved
            writers[f"tables{layer.index}.lsh"] = layer.save_state
    payload = {
        **network.payload(),
        "settings": settings.to_dict(),
        "state": state.to_dict(),
        "tables": tables,
        "factors": {p.name: p.factor for p in network.parameters if p.factor != 1.0},
    }
    folder.write(payload, writers, network.other_writers(checkpoint=True))


def read_checkpoint(
    path: str | PathLike[str], made: Callable[[NetworkSpec], Network] = Network.from_spec
) -> Restored:
    """Read a checkpoint.

    Parameters
    ----------
    path : path
        Its folder.
    made : callable
        Makes the network from its spec, without its weights.

    Raises
    ------
    CheckpointError
        If it is missing, truncated, changed, of another kind or of a newer version, or its hash functions
        are not those of the installed version of their plugin.
    """
    with read_bundle(path, CHECKPOINT, is_of_head) as bundle:
        network = Network.from_bundle(bundle, made)
        try:
            settings = TrainingSettings.from_dict(bundle.payload["settings"])
            state = RunState.from_dict(bundle.payload["state"])
            best = _read_arrays(bundle, network, settings, state)
        except (ArgumentError, LookupError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{bundle.path}: its run cannot be continued by this version: {error}"
            ) from error
    return Restored(network, settings, state, best)


def _read_arrays(
    bundle: Bundle, network: Network, settings: TrainingSettings, state: RunState
) -> dict[str, npt.NDArray[Any]]:
    """Read weights, optimizer state and tables; returns the weights of the best epoch."""
    file = bundle.file(_STATE)
    needed = network.memory_needed(settings.optimizer.slots)["parameters"]
    if state.best_epoch:
        needed += network.memory_needed(1)["parameters"]
    memory.require_bytes(needed, f"{bundle.path}: its weights and optimizer state")
    read_into = partial(tensorfile.read_into, file)
    for parameter in network.parameters:
        slots = parameter.read(read_into, settings.optimizer.slots if parameter.trained else 1, state=True)
        parameter.adopt(slots, _factor(bundle.payload, parameter))
    times = tensorfile.read_tensor(file, _STEP_TIMES)
    if times.shape != (state.step,):
        raise ArgumentError(
            _STEP_TIMES, f"shape {times.shape}", f"the duration of each of {state.step} steps"
        )
    state.step_ms = times.tolist()
    if _RATES in tensorfile.read_header(file)[0]:
        rates = tensorfile.read_tensor(file, _RATES)
        if rates.ndim != 1 or len(rates) > state.step or not (rates >= 0).all():
            wanted = f"factors of at least 0, for at most {state.step} steps"
            raise ArgumentError(_RATES, f"shape {rates.shape}", wanted)
        state.rate_factors = rates.tolist()
    saved = bundle.payload["tables"]
    if not isinstance(saved, dict) or not all(isinstance(layer, dict) for layer in saved.values()):
        raise ArgumentError("tables", f"{saved!r:.100}", "the state of each layer with tables")
    for layer in network.layers:
        if str(layer.index) in saved:
            layer.restore(saved[str(layer.index)], bundle.file(f"tables{layer.index}.lsh"))
    best = {}
    for parameter in network.parameters if state.best_epoch else ():
        for name, array in parameter.tensors(state=False, slots=parameter.raw).items():
            best[name] = np.empty(array.shape, array.dtype)
            tensorfile.read_into(file, f"{_BEST}{name}", best[name])
    for layer in network.layers:
        layer.read_files(bundle.path, CHECKPOINT, bundle.generation, settings.optimizer.slots)
    return best


def _factor(payload: Mapping[str, Any], parameter: Parameter) -> float:
    """The factor of weight decay of a parameter; 1 without weight decay, and in files of 0.1.0."""
    factors = payload.get("factors", {})
    if not isinstance(factors, Mapping):
        raise ArgumentError("factors", f"{factors!r:.100}", "a mapping of numbers by parameter")
    factor = factors.get(parameter.name, 1.0)
    if not isinstance(factor, float) or not 0 < factor <= 1:
        raise ArgumentError("factors", f"{factor!r} for {parameter.name}", "numbers in (0, 1]")
    return factor
