"""What a step on workers costs, before anything is started: bytes, memory, and seconds of traffic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import attrs
import numpy as np

from lshsample import specs
from lshsample.errors import ArgumentError
from lshsample.nn import Adam, Layer, Network, NetworkSpec, Optimizer, Sampled
from lshsample.nn.layer import BuildContext
from lshsample.nn.remote import message_bytes
from lshsample.nn.sampled import SampledLayer
from lshsample.nn.shard import Forward, LabelPart, Summaries
from lshsample.nn.sharded import Sharded
from lshsample.ray.cluster import Cluster

__all__ = ["StepCost", "step_cost"]

#: Columns of what a loss without smoothing knows of a row: the largest logit, and three sums.
_COLUMNS, _ALL_COLUMNS = 4, 7


def check_above_0(argument: str, value: float) -> None:
    """Refuse anything but a number above 0, which may be infinite."""
    if not isinstance(value, Real) or isinstance(value, bool) or not value > 0:
        raise ArgumentError(argument, repr(value), "a number above 0")


def chosen_blocks(blocks: int | None, workers: int) -> int:
    """Blocks of labels: 8, or one for each of more workers, unless they are given."""
    return max(8, workers) if blocks is None else blocks


@attrs.frozen(kw_only=True)
class StepCost:
    """The cost of a step.

    Attributes
    ----------
    workers : int
        Number of workers.
    sent, received : int
        Bytes that the trainer sends to a worker, and receives from it.
    dense : int
        Bytes of the gradient of all weights of the layer, which an engine without active sets would reduce.
    memory : int
        Bytes that a worker needs for weights, optimizer state and tables.
    exchanges : int
        Times that a step waits for messages to the workers and for their answers.
    below : int
        Bytes, among those sent and received, of the layers below, which a worker computes for its parts.
    below_weights : int
        Weights of these layers that a worker is sent, and whose gradients it returns.
    below_workers : int
        Workers that have parts.
    """

    workers: int
    sent: int
    received: int
    dense: int
    memory: int
    exchanges: int = 2
    below: int = 0
    below_weights: int = 0
    below_workers: int = 0

    @property
    def exchanged(self) -> int:
        """Bytes exchanged with a worker."""
        return self.sent + self.received

    @property
    def traffic(self) -> int:
        """Bytes exchanged with all workers, of which some may have no parts."""
        return self.workers * (self.exchanged - self.below) + self.below_workers * self.below

    def dense_seconds(self, bandwidth: float) -> float:
        """Seconds to reduce the dense gradient in a ring of all workers, each with so many bits a second."""
        check_above_0("bandwidth", bandwidth)
        return 8 * 2 * (self.workers - 1) / self.workers * self.dense / bandwidth

    def seconds(self, bandwidth: float, latency: float = 0.0) -> float:
        """Seconds of traffic, where the connection of the trainer's machine is the narrowest.

        Parameters
        ----------
        bandwidth : float
            Bits a second of this connection, in each direction.
        latency : float
            Seconds from one process to another.

        Raises
        ------
        ArgumentError
            ``bandwidth`` is not above 0, or ``latency`` below 0.
        """
        check_above_0("bandwidth", bandwidth)
        specs.checked_number("latency", latency, 0, math.inf)
        return 8 * self.traffic / bandwidth + 2 * self.exchanges * latency


def step_cost(
    layers: Sequence[Layer],
    *,
    workers: int,
    batch_size: int = 256,
    labels_per_row: float = 5.0,
    values_per_row: float = 75.0,
    optimizer: Optimizer | None = None,
    threads: int = 1,
) -> StepCost:
    """The cost of a step of a :class:`~lshsample.ray.ShardedNetwork`.

    The bytes are counted on messages of the same form as those of a step.

    Parameters
    ----------
    layers : sequence of Layer
        Its layers, of which the last two count; all, if workers compute ``parts`` of a batch. The last one is
        a :class:`~lshsample.nn.Sharded`, or a :class:`~lshsample.nn.Sampled` that is made one with 8 blocks.
    workers : int
        Number of workers.
    batch_size : int
        Rows of a step.
    labels_per_row : float
        Labels of a row, on average.
    values_per_row : float
        Values of a row of sparse features, on average; they count with ``parts``.
    optimizer : Optimizer, optional
        By default ``Adam()``.
    threads : int
        Threads of a worker, each with scratch memory to build tables.

    Raises
    ------
    ArgumentError
        Fewer than two layers, another last one, blocks that workers cannot share, or a negative number.

    Examples
    --------
    >>> from lshsample.nn import Dense, Sharded, Sparse
    >>> cost = step_cost([Sparse(1000), Dense(128), Sharded(670_091, n_active=4096)], workers=2)
    >>> cost.exchanged, cost.dense
    (285851, 343086592)
    >>> round(1000 * cost.seconds(bandwidth=1e10), 2)  # milliseconds at 10 Gbit/s
    0.46
    """
    specs.checked_integer("batch_size", batch_size, 1)
    specs.checked_number("labels_per_row", labels_per_row, 0, math.inf)
    specs.checked_number("values_per_row", values_per_row, 0, math.inf)
    optimizer = Adam() if optimizer is None else optimizer
    *below_it, final = NetworkSpec(layers).layers
    if not isinstance(final, Sampled):
        raise ArgumentError("layers[-1]", repr(final), "a Sharded or a Sampled layer")
    last, inputs = Sharded.of(final), below_it[-1].units
    Cluster(workers=workers).check(last)
    context = BuildContext(len(layers) - 1, inputs, 0)
    hidden, gradient = _rows_both_ways(last, batch_size, inputs, last.blocks // workers)
    n_labels = round(batch_size * labels_per_row / workers)
    labels = LabelPart(
        np.zeros(batch_size, np.int32), np.zeros(n_labels, np.int32), np.zeros(n_labels, np.float32)
    )
    sums = Summaries(np.zeros(_COLUMNS, np.int32), np.zeros((batch_size, _COLUMNS)), _ALL_COLUMNS)
    sent = [
        ("forward", (hidden, labels, 0, 1, threads, False)),
        ("backward", (sums, 0.5, threads)),
        ("update", (optimizer, 0.5, 1.0, 1, threads)),
    ]
    in_parts = last.parts > 1 and len(below_it) > 1
    below = _Below.of(layers, last, workers, batch_size, values_per_row) if in_parts else _Below()
    layer = SampledLayer(last.of_block(0, context), context)
    in_block = layer.parameters_needed(optimizer.slots) + layer.tables_needed(threads)
    return StepCost(
        workers=workers,
        sent=below.sent + sum(map(message_bytes, sent)),
        received=below.received + sum(map(message_bytes, (Forward(sums, n_labels, None), gradient))),
        dense=4 * last.units * inputs,
        memory=last.blocks // workers * in_block,
        exchanges=4 if in_parts else 2,
        below=below.sent + below.received,
        below_weights=below.weights,
        below_workers=below.workers,
    )


def _rows_both_ways(last: Sharded, rows: int, columns: int, blocks: int) -> tuple[Any, Any]:
    """Hidden rows as they are sent to a worker with some blocks, and the gradient that it returns."""
    hidden = np.zeros((rows, columns), np.float32)
    if last.exchange is None:
        return hidden, hidden
    sent = last.exchange.sent(hidden)
    return sent, sent.answer([hidden] * blocks)


@attrs.frozen
class _Below:
    """What a worker exchanges that computes the layers below for its parts of a batch."""

    workers: int = 0
    sent: int = 0
    received: int = 0
    weights: int = 0

    @classmethod
    def of(
        cls, layers: Sequence[Layer], last: Sharded, workers: int, batch_size: int, values_per_row: float
    ) -> _Below:
        """Of layers with one or more between the first and the last."""
        n = min(workers, last.parts)
        rows = -(-batch_size // n)
        built = Network([*layers[:-1], last]).layers[:-1]
        values = round(rows * values_per_row)
        weights = sum(p.size for layer in built[1:] for p in layer.parameters)
        features = 4 * rows * layers[0].units
        if layers[0].is_sparse:
            # Of the first matrix, the rows of the columns that there are, if all are as likely.
            first = built[1].parameters[0]
            weights -= round(first.size * math.exp(-values / first.rows))
            features = 8 * values
        hidden = 4 * rows * layers[-2].units
        return cls(n, features + 4 * weights + hidden, hidden + 4 * weights, weights)
