"""The diagnosis of a network of this package."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample._native.core import threads_or_default
from lshsample.diagnosis.lookups import (
    FRACTIONS,
    best_of,
    checked_fractions,
    checked_settings,
    largest,
    looked_up,
)
from lshsample.diagnosis.result import Diagnosis
from lshsample.errors import ArgumentError
from lshsample.nn import Network
from lshsample.nn.layer import OutputLayer
from lshsample.nn.losses import Logits
from lshsample.nn.signals import Block, Run, Signal, as_dense
from lshsample.specs import checked_integer

__all__ = ["diagnose"]

Float32 = npt.NDArray[np.float32]


def diagnose(
    network: Network,
    X: Any,
    Y: Any,
    *,
    layer: int | None = None,
    fractions: Sequence[float] = FRACTIONS,
    settings: Sequence[tuple[int, int]] | None = None,
    seed: int = 0,
    threads: int | None = None,
) -> Diagnosis:
    """Whether it pays to sample a layer of a trained network.

    The network is run as it is, with all units of all layers, on one batch; then with only the largest
    outputs of the layer; then with those that hash tables over its units find.

    Parameters
    ----------
    network : Network
        A trained network.
    X, Y : (n, n_features) and (n, n_labels) matrices
        Rows with labels, computed as one batch: n outputs of each layer must fit into memory.
    layer : int, optional
        Index of the layer in ``network.layers``, not of the first two, whose input is the features; by
        default the slowest one.
    fractions : sequence of float
        Shares of the outputs that the oracle keeps.
    settings : sequence of pairs, optional
        Numbers of hashes and of tables to try; by default four that suit the number of units.
    seed : int
        Of the hash functions.
    threads : int, optional
        Maximum number of threads.

    Raises
    ------
    ArgumentError
        Bad rows or options, or no such layer.

    Examples
    --------
    >>> import numpy as np
    >>> from lshsample.nn import Dense, Network, Sampled, Sparse
    >>> network = Network([Sparse(30), Dense(16), Sampled(500, "softmax", sampler="full")])
    >>> x = np.random.default_rng(0).random((20, 30), np.float32)
    >>> found = diagnose(network, x, [[i] for i in range(20)])
    >>> found, list(found.layers), list(found.oracle)
    (Diagnosis('2 Sampled', 500 units, 20 rows), ['1 Dense', '2 Sampled'], [0.01, 0.02, 0.05, 0.1])
    """
    if not isinstance(network, Network):
        raise ArgumentError("network", type(network).__name__, "a Network")
    shares, count = checked_fractions(fractions), threads_or_default(threads)
    batch = network.batch(X, Y)
    network.allocate_for_prediction(count)
    run = Run(threads=count)
    names = {at: f"{at} {_kind(network, at)}" for at in range(1, len(network.layers))}
    if len(network.layers) < 3:
        raise ArgumentError("network", network, "a network with a hidden layer")
    inputs, seconds = _profile(network, batch.x, run)
    at = max(range(2, len(network.layers)), key=lambda i: seconds[i]) if layer is None else layer
    at = checked_integer("layer", at, 2, len(network.layers) - 1)
    built = network.layers[at]
    if not isinstance(built, OutputLayer):
        raise ArgumentError("layer", f"{at}, {names[at]}", "a layer with a weight vector for each unit")
    tried = checked_settings(settings, built.units)
    h = as_dense(inputs[at])
    outputs = _outputs(network, at, h, run)

    def loss(mask: npt.NDArray[np.bool_] | None) -> float:
        return _loss(network, at, outputs, mask, batch.y, run)

    masks = {f: largest(outputs, max(round(f * built.units), 1)) for f in shares}
    weights, bias = np.array(built.unit_vectors(), np.float32), _bias(built, h.shape[1])
    lookups = looked_up(
        weights, bias, h, masks, tried, lambda _, found: loss(found), seed=seed, threads=count
    )
    return Diagnosis(
        layers={names[i]: seconds[i] for i in names},
        layer=names[at],
        n_units=built.units,
        n_rows=len(h),
        loss=loss(None),
        oracle={f: loss(mask) for f, mask in masks.items()},
        exact_seconds=best_of(lambda: built.score(h, threads=count)),
        lookups=lookups,
    )


def _kind(network: Network, at: int) -> str:
    return type(network.spec.layers[at]).__name__


def _profile(network: Network, x: Signal, run: Run) -> tuple[list[Signal], list[float]]:
    """The input of each layer in a forward pass, and its seconds."""
    inputs, seconds, signal = [], [], x
    for at, layer in enumerate(network.layers):
        last, given = at == len(network.layers) - 1, signal
        inputs.append(given)
        call = cast(OutputLayer, layer).logits if last else layer.forward
        signal = call(given, run)[0]
        seconds.append(best_of(lambda call=call, given=given: call(given, run)))  # type: ignore[misc]
    return inputs, seconds


def _bias(layer: OutputLayer, inputs: int) -> Float32:
    """The outputs for an input of zeros, before the activation."""
    zeros = layer.score(np.zeros((1, inputs), np.float32))
    return zeros.reshape(-1)


def _outputs(network: Network, at: int, h: Float32, run: Run) -> Float32:
    """All outputs of a layer, after its activation; the logits of the last one."""
    layer, signal = network.layers[at], Block(h, h.shape[1])
    last = at == len(network.layers) - 1
    out: Signal = cast(OutputLayer, layer).logits(signal, run)[0] if last else layer.forward(signal, run)[0]
    return as_dense(out)


def _loss(
    network: Network,
    at: int,
    outputs: Float32,
    mask: npt.NDArray[np.bool_] | None,
    labels: sp.csr_array,
    run: Run,
) -> float:
    """The mean loss where the outputs of a layer are kept by a mask, with the labels in the last layer."""
    if at == len(network.layers) - 1:
        signal: Signal = Block(outputs.copy(), outputs.shape[1])
        if mask is not None:
            kept = mask.copy()
            kept[np.repeat(np.arange(len(outputs)), np.diff(labels.indptr)), labels.indices] = True
            indptr = np.concatenate([[0], np.cumsum(kept.sum(1))]).astype(np.int64)
            ids = np.nonzero(kept)[1].astype(np.int32)
            signal = sp.csr_array((outputs[kept], ids, indptr), shape=outputs.shape)
    else:
        hidden = outputs.copy() if mask is None else outputs * mask
        signal = Block(hidden.astype(np.float32, copy=False), outputs.shape[1])
        for layer in network.layers[at + 1 : -1]:
            signal = layer.forward(signal, run)[0]
        signal = network.output.logits(signal, run)[0]
    values = Logits.of(signal, labels, network.loss.label_weights(labels))
    return float(network.loss.apply(values, run.threads).mean(dtype=np.float64))
