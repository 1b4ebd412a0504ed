"""Prediction: the last layer's best labels, over all of them or over what its tables retrieve."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample._native import layers as kernels
from lshsample.errors import ArgumentError, UnsupportedError
from lshsample.metrics import precision_at_k
from lshsample.nn.batches import Rows
from lshsample.nn.layers import DenseLayer
from lshsample.nn.sampled import SampledLayer
from lshsample.nn.signals import Block, Run, Signal, as_dense, indptr_of
from lshsample.specs import checked_integer

if TYPE_CHECKING:
    from lshsample.nn.network import Network
    from lshsample.sampling import Sampler

__all__ = ["batch_hits", "evaluate", "hidden", "layer_input", "predict"]

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]


def predict(
    network: Network,
    rows: Rows,
    top: int | None,
    mode: str,
    batch_size: int,
    threads: int,
    sampler: Sampler | None = None,
) -> tuple[Int32, Float32]:
    """The best labels of checked rows; see :meth:`Network.predict`."""
    last = network.output
    top = min(5, last.units) if top is None else top
    top = checked_integer("top", top, 1, last.units, ", the number of labels")
    batch_size = checked_integer("batch_size", batch_size, 1)
    _check_mode(network, mode, sampler)
    network.allocate_for_prediction(threads)
    labels = np.full((len(rows), top), -1, np.int32)
    scores = np.full((len(rows), top), -np.inf, np.float32)
    weights = (
        np.ascontiguousarray(last.weights.weights.T) if isinstance(last, DenseLayer) else last.weights.weights
    )
    bias = last.bias.vector if last.bias else None
    for start, h in _hidden(network, rows, batch_size, threads):
        stop = start + len(h)
        if mode == "sampled":
            assert isinstance(last, SampledLayer)
            found = (
                last.active.candidates(h, last.weights.weights, threads)
                if sampler is None
                else sampler.sample(h, threads=threads)
            )
            labels[start:stop], scores[start:stop] = kernels.csr_top_k(
                h, weights, bias, found.indptr, found.ids, top, threads=threads
            )
        else:
            labels[start:stop], scores[start:stop] = kernels.top_k(h, weights, bias, top, threads=threads)
    return labels, scores


def _check_mode(network: Network, mode: str, sampler: Sampler | None) -> None:
    last = network.output
    if mode not in ("exact", "sampled"):
        raise ArgumentError("mode", repr(mode), "'exact' or 'sampled'")
    if sampler is not None and mode == "exact":
        raise ArgumentError("sampler", sampler, "none with mode='exact', which scores every label")
    if mode == "sampled" and not isinstance(last, SampledLayer):
        raise UnsupportedError("mode='sampled' needs a last layer that samples; use mode='exact'")
    own = isinstance(last, SampledLayer) and last.active.has_tables
    if mode == "sampled" and sampler is None and not own:
        raise UnsupportedError(
            "mode='sampled' needs a last layer that retrieves from hash tables; use mode='exact' or a sampler"
        )
    if sampler is not None and sampler.n_items != last.units:
        raise ArgumentError("sampler", f"one of {sampler.n_items} items", f"one of the {last.units} labels")


def _hidden(network: Network, rows: Rows, batch_size: int, threads: int) -> Iterator[tuple[int, Float32]]:
    """The last layer's input, batch by batch; every layer below computes all of its units."""
    run = Run(threads=threads)
    for start in range(0, len(rows), batch_size):
        signal: Signal = rows.slice(start, start + batch_size)
        for layer in network.layers[:-1]:
            signal, _ = layer.forward(signal, run)
        yield start, as_dense(signal)


def hidden(network: Network, rows: Rows, batch_size: int, threads: int) -> Float32:
    """The last layer's input for checked rows; see :meth:`Network.hidden`."""
    batch_size = checked_integer("batch_size", batch_size, 1)
    network.allocate_for_prediction(threads)
    out = np.empty((len(rows), network.layers[-2].units), np.float32)
    for start, h in _hidden(network, rows, batch_size, threads):
        out[start : start + len(h)] = h
    return out


def layer_input(network: Network, rows: Rows, index: int, threads: int) -> Float32:
    """What layer ``index`` gets for checked rows; every layer below computes all of its units."""
    network.allocate_for_prediction(threads)
    signal: Signal = rows.slice(0, len(rows))
    for layer in network.layers[:index]:
        signal, _ = layer.forward(signal, Run(threads=threads))
    return as_dense(signal)


def evaluate(
    network: Network,
    rows: Rows,
    labels: sp.csr_array,
    top: Sequence[int] | None,
    mode: str,
    batch_size: int,
    threads: int,
    sampler: Sampler | None = None,
) -> dict[str, float]:
    """Precision at each k in percent; see :meth:`Network.evaluate`."""
    wanted = [k for k in (1, 3, 5) if k <= network.n_labels] if top is None else _several(network, top)
    found, _ = predict(network, rows, max(wanted), mode, batch_size, threads, sampler)
    return {f"p@{k}": 100.0 * float(precision_at_k(found, labels, k)) for k in wanted}


def _several(network: Network, top: Sequence[int]) -> list[int]:
    if isinstance(top, str) or not isinstance(top, Iterable):
        raise ArgumentError("top", repr(top), "several integers, such as (1, 3, 5)")
    several = [checked_integer("top", k, 1, network.n_labels, ", the number of labels") for k in top]
    if not several:
        raise ArgumentError("top", "nothing", "one integer or more, such as (1, 3, 5)")
    return several


def batch_hits(logits: Signal, targets: sp.csr_array) -> float:
    """Share of a batch's rows whose best active unit is a label."""
    best = _best(logits)
    indptr, hits = targets.indptr, 0
    for row, unit in enumerate(best.tolist()):
        hits += unit in targets.indices[indptr[row] : indptr[row + 1]]
    return hits / max(len(best), 1)


def _best(logits: Signal) -> npt.NDArray[np.integer]:
    if isinstance(logits, Block):
        columns = logits.values.argmax(axis=1)
        return cast(npt.NDArray[np.integer], columns if logits.ids is None else logits.ids[columns])
    return kernels.top_k_ragged(logits.data, indptr_of(logits), logits.indices, 1)[0][:, 0]
