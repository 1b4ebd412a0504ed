"""The time of a step on many workers, from costs that were measured on few."""

from __future__ import annotations

import attrs

from lshsample import specs
from lshsample.nn import Dense, Sharded, Sparse
from lshsample.ray.cost import StepCost, step_cost

__all__ = ["StepModel", "StepTime"]

_SECONDS = specs.at_least(0.0)


@attrs.frozen(kw_only=True)
class StepTime:
    """The seconds of a step, by what they are spent on, one after another.

    Attributes
    ----------
    below : float
        The layers below, in the trainer's process.
    work : float
        The blocks of the worker with the most of them.
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
        Seconds for a message to a worker and its answer.
    byte : float
        Further seconds for each of their bytes.
    batch_size, hidden : int
        Rows and hidden units that these are for.

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
    batch_size: int = attrs.field(default=256, validator=specs.integer(1, 2**31 - 1))
    hidden: int = attrs.field(default=128, validator=specs.integer(1, 2**31 - 1))

    def cost(self, workers: int, labels: int, n_active: int = 4096, blocks: int | None = None) -> StepCost:
        """The bytes and the memory of a step."""
        # Ids of labels are 32 bits: the memory of more labels is that of as many times a smaller number.
        most = min(labels, 2**31 - 2)
        last = Sharded(most, n_active=min(n_active, most), blocks=blocks or max(8, workers))
        found = step_cost([Sparse(1), Dense(self.hidden), last], workers=workers, batch_size=self.batch_size)
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
        """
        cost = self.cost(workers, labels, n_active, blocks)
        n_blocks = blocks or max(8, workers)
        # Workers that share processors do their work one after another.
        share = 1 / (workers if processors is None else min(workers, processors))
        return StepTime(
            below=self.below,
            work=share * (n_blocks * self.block + n_active * self.active),
            tables=share * labels * self.label / rebuild_steps,
            messages=workers * (self.message + cost.exchanged * self.byte),
            traffic=cost.seconds(bandwidth, latency),
            memory=cost.memory,
        )
