"""The time of a step on many workers, from costs that were measured on few."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from lshsample import specs
from lshsample.errors import ArgumentError
from lshsample.nn import Dense, Input, Sharded, Sparse
from lshsample.ray.cost import StepCost, check_above_0, chosen_blocks, step_cost

__all__ = ["StepModel", "StepTime"]

_SECONDS = specs.at_least(0.0)


def _widths(value: Any) -> tuple[int, ...]:
    """Widths of layers, from one or several."""
    several = tuple(value) if isinstance(value, list | tuple | np.ndarray) else (value,)
    if not several:
        raise ArgumentError("hidden", "no layer", "at least one")
    return tuple(specs.checked_integer("hidden", one, 1, 2**31 - 1) for one in several)


@attrs.frozen(kw_only=True)
class StepTime:
    """The seconds of a step, by what they are spent on, one after another.

    Attributes
    ----------
    below : float
        The layers below, as far as they are in the trainer's process.
    work : float
        The blocks of the worker with the most of them, and the layers below for its parts of the batch.
    tables : float
        Building its tables, spread over the steps between two rebuilds.
    messages : float
        Writing and reading messages, in the trainer's process.
    traffic : float
        Bytes over the connection of the trainer's machine, and latencies.
    memory : int
        Bytes that a worker needs.
    """

    below: float
    work: float
    tables: float
    messages: float
    traffic: float
    memory: int

    @property
    def seconds(self) -> float:
        """All of them."""
        return self.below + self.work + self.tables + self.messages + self.traffic


@attrs.frozen(kw_only=True)
class StepModel:
    """The costs of a step of a :class:`ShardedNetwork`, as measured (``tools/measure_scaling.py``).

    Attributes
    ----------
    below : float
        Seconds of the layers below for a batch, with the trainer's own work.
    block : float
        Seconds of a block of labels for a batch, however few units are active.
    active : float
        Further seconds for each of its active units.
    label : float
        Seconds to build the tables of one label.
    message : float
        Seconds for the two messages of a step to a worker and their answers; with ``parts`` there are four.
    byte : float
        Further seconds for each of their bytes.
    shared : float
        Of ``below``, the seconds that workers share if they compute the layers below in ``parts``; 0 if it
        was not measured.
    given, taken : float
        With ``parts``, further seconds in the trainer's process, and in the worker's, for each weight of the
        layers below that a worker is sent.
    batch_size : int
        Rows that these are for.
    hidden : tuple of int
        Units of the hidden layers that these are for; a number is one layer.
    features : int
        Features that these are for; they count with ``parts``.
    values_per_row : float, optional
        Values of a row of sparse features, on average; by default features are dense.

    Examples
    --------
    >>> model = StepModel(below=2e-3, block=4e-4, active=5e-6, label=1e-6, message=2e-4, byte=2e-9)
    >>> times = [model.step(workers=w, labels=10**9, bandwidth=1e11).seconds for w in (8, 64, 512)]
    >>> times[0] > times[1] < times[2]
    True
    """

    below: float = attrs.field(validator=_SECONDS)
    block: float = attrs.field(validator=_SECONDS)
    active: float = attrs.field(validator=_SECONDS)
    label: float = attrs.field(validator=_SECONDS)
    message: float = attrs.field(validator=_SECONDS)
    byte: float = attrs.field(validator=_SECONDS)
    shared: float = attrs.field(default=0.0, validator=_SECONDS)
    given: float = attrs.field(default=0.0, validator=_SECONDS)
    taken: float = attrs.field(default=0.0, validator=_SECONDS)
    batch_size: int = attrs.field(default=256, validator=specs.integer(1, 2**31 - 1))
    hidden: tuple[int, ...] = attrs.field(default=(128,), converter=_widths)
    features: int = attrs.field(default=1, validator=specs.integer(1, 2**31 - 1))
    values_per_row: float | None = attrs.field(
        default=None, validator=attrs.validators.optional(specs.at_least(0.0))
    )

    def __attrs_post_init__(self) -> None:
        if self.shared > self.below:
            raise ArgumentError("shared", self.shared, f"at most {self.below}, as below, which it is part of")

    def cost(
        self, workers: int, labels: int, n_active: int = 4096, blocks: int | None = None, parts: int = 1
    ) -> StepCost:
        """The bytes and the memory of a step."""
        # Ids of labels are 32 bits: the memory of more labels is that of as many times a smaller number.
        most = min(specs.checked_integer("labels", labels, 1), 2**31 - 2)
        n_blocks = chosen_blocks(blocks, workers)
        last = Sharded(most, n_active=min(n_active, most), blocks=n_blocks, parts=parts)
        first = Input(self.features) if self.values_per_row is None else Sparse(self.features)
        found = step_cost(
            [first, *map(Dense, self.hidden), last],
            workers=workers,
            batch_size=self.batch_size,
            values_per_row=self.values_per_row or 0.0,
        )
        return attrs.evolve(found, memory=round(found.memory * labels / most))

    def step(
        self,
        *,
        workers: int,
        labels: int,
        n_active: int = 4096,
        blocks: int | None = None,
        rebuild_steps: float = 500.0,
        bandwidth: float = 1e10,
        latency: float = 1e-4,
        processors: int | None = None,
        parts: int = 1,
    ) -> StepTime:
        """The time of a step.

        Parameters
        ----------
        workers, labels : int
            Number of workers, a power of two, and of labels.
        n_active : int
            Active units of all blocks together.
        blocks : int, optional
            By default 8, or the workers.
        rebuild_steps : float
            Steps between two rebuilds of the tables, on average.
        bandwidth : float
            Bits a second of the connection of the trainer's machine, in each direction.
        latency : float
            Seconds from one process to another.
        processors : int, optional
            Processors that the workers share; by default one each.
        parts : int
            Parts of a batch that workers compute the layers below for, a power of two; 1 if the trainer's
            process computes them. Needs the costs of such a step, ``shared``, ``given`` and ``taken``.

        Raises
        ------
        ArgumentError
            A number that is out of range, or ``parts`` for a model without their costs.
        """
        check_above_0("rebuild_steps", rebuild_steps)
        if processors is not None:
            specs.checked_integer("processors", processors, 1)
        if parts != 1 and not self.shared:
            raise ArgumentError("parts", parts, "1 for a model without the cost 'shared'")
        cost = self.cost(workers, labels, n_active, blocks, parts)
        n_blocks = chosen_blocks(blocks, workers)
        # Workers that share processors do their work one after another.
        share = 1 / (workers if processors is None else min(workers, processors))
        below, in_parts = self.below, 0.0
        if n := cost.below_workers:
            sent = n * cost.below_weights
            below += sent * self.given - self.shared
            in_parts = (self.shared + sent * self.taken) / (n if processors is None else min(n, processors))
        return StepTime(
            below=below,
            work=share * (n_blocks * self.block + n_active * self.active) + in_parts,
            tables=share * labels * self.label / rebuild_steps,
            messages=workers * self.message * cost.exchanges / 2 + cost.traffic * self.byte,
            traffic=cost.seconds(bandwidth, latency),
            memory=cost.memory,
        )
