"""Data parallelism: each of several processes computes the gradient of its rows of every batch.

All processes do the same run, on the same data, with the same seeds; they exchange gradients alone, and so
have the same weights after each step. A batch is cut into a fixed number of parts. The gradients of parts are
added in pairs, then pairs of pairs; a process has a power of two of neighbouring parts, so that sums have the
same bits however many processes there are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Self

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample import specs
from lshsample.errors import ArgumentError, DivergenceError, UnsupportedError
from lshsample.nn.exchange import ApproximateGradients, Entries, ErrorFeedback
from lshsample.nn.layer import Layer
from lshsample.nn.network import Network, StepReport
from lshsample.nn.network_spec import NetworkSpec
from lshsample.nn.parameter import Parameter, Update
from lshsample.nn.signals import Run, Signal, row_slice
from lshsample.nn.sums import MAX_PARTS, RowGradient, added, ranges, tree
from lshsample.sampling.functions import stream_seed

__all__ = ["Alone", "DataParallel", "Group"]

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]


class Group(ABC):
    """The processes that do a run together.

    Attributes
    ----------
    rank, size : int
        The number of this process, from 0, and of all.
    exchanged : int
        Bytes that this process has sent and received so far.
    """

    rank: int = 0
    size: int = 1
    exchanged: int = 0

    @abstractmethod
    def gather(self, value: Any) -> list[Any]:
        """What all processes give at the same call, in the order of their ranks."""


class Alone(Group):
    """This process alone."""

    def gather(self, value: Any) -> list[Any]:
        """The value."""
        return [value]


@attrs.frozen(eq=False)
class _Gradient:
    """What a part of a batch adds to the step: its share of the report, and gradients by parameter."""

    loss: float = 0.0
    active: float = 0.0
    hits: float = 0.0
    of: Mapping[int, Any] = attrs.field(factory=dict, repr=False)

    def plus(self, other: _Gradient) -> _Gradient:
        """The sum, of gradients as rows."""
        return self.reported(other, added(self.of, other.of))

    def reported(self, other: _Gradient, of: Mapping[int, Any]) -> _Gradient:
        """The sum of the reports."""
        return _Gradient(self.loss + other.loss, self.active + other.active, self.hits + other.hits, of)


class DataParallel(Network):
    """A network that several processes train together, each on its rows of every batch.

    Each process makes it, and trains it by a :class:`~lshsample.Trainer` on the same data with the same
    settings (:func:`lshsample.ray.data_parallel`). The processes exchange the gradients of the rows of
    weights that a step touches. One of them should write checkpoints.

    The weights have the same bits for any number of processes, which depend on ``parts``: samplers and
    dropout draw for each part of a batch.

    Parameters
    ----------
    layers : sequence of Layer
        As for :class:`~lshsample.Network`; their weights are in float32.
    seed : int
        Determines the initial weights and the hash functions.
    parts : int
        Parts of a batch, a power of two: the largest number of processes.
    group : Group, optional
        The processes; by default this one alone, which computes all parts.
    exchange : ApproximateGradients, optional
        Send only the largest numbers of gradients. By default all are sent.

    Raises
    ------
    ArgumentError
        ``parts`` or the size of the group is no power of two, or the group is larger.
    UnsupportedError
        A :class:`Sharded` layer, whose weights are not in one place.

    Examples
    --------
    >>> from lshsample import Trainer
    >>> from lshsample.nn import Dense, Sparse
    >>> network = DataParallel([Sparse(100), Dense(8), Dense(20, "softmax")], seed=1, parts=4)
    >>> x = sp.random_array((40, 100), density=0.1, rng=np.random.default_rng(0), format="csr")
    >>> Trainer(network, batch_size=10, epochs=2).fit(x, [[i % 20] for i in range(40)]).steps
    8
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        seed: int = 0,
        *,
        parts: int = 2,
        group: Group | None = None,
        exchange: ApproximateGradients | None = None,
    ) -> None:
        super().__init__(layers, seed)
        self.group = Alone() if group is None else group
        parts = specs.checked_power_of_two("parts", parts, MAX_PARTS)
        if self.group.size & (self.group.size - 1) or self.group.size > parts:
            wanted = f"of a power of two of processes, at most the {parts} parts"
            raise ArgumentError("group", f"{self.group.size} processes", wanted)
        if self.output.in_parts:
            raise UnsupportedError("data parallelism needs a last layer with its weights in each process")
        if not (exchange is None or isinstance(exchange, ApproximateGradients)):
            raise ArgumentError("exchange", repr(exchange), "None or an ApproximateGradients")
        self.parts, self.exchange = parts, exchange
        self._own = range(*ranges(parts, self.group.size)[self.group.rank])
        self._index = {id(parameter): i for i, parameter in enumerate(self.parameters)}
        self._feedback: dict[tuple[int, int], ErrorFeedback] = {}

    @classmethod
    def from_spec(cls, spec: NetworkSpec, **options: Any) -> Self:
        """A network from its spec, with ``parts``, ``group`` and ``exchange``."""
        if spec.precision != "float32":
            raise UnsupportedError(f"data parallelism is in float32; this network is in {spec.precision}")
        return cls(spec.layers, spec.seed, **options)

    def memory_needed(
        self, slots: int = 1, batch_size: int = 0, threads: int | None = None
    ) -> dict[str, int]:
        """As :meth:`Network.memory_needed <lshsample.Network.memory_needed>`, with what an approximate
        exchange keeps.
        """
        needed = super().memory_needed(slots, batch_size, threads)
        if batch_size and self.exchange is not None:
            needed["exchange"] = 4 * len(self._own) * self.n_parameters
        return needed

    def own_rows(self, n: int) -> range:
        """The rows of a batch of n rows that are in the parts of this process; a training step reads no
        others, so that a batch may have empty rows in their place.
        """
        return range(self._own.start * n // self.parts, self._own.stop * n // self.parts)

    def gradients(
        self, x: Signal, y: sp.csr_array, run: Run, count_hits: bool = False
    ) -> tuple[StepReport, list[Update]]:
        """As :meth:`Network.gradients <lshsample.Network.gradients>`, from the parts of all processes."""
        before = self.group.exchanged
        try:
            own: Any = [self._gradient(part, x, y, run, count_hits) for part in self._own]
            if self.exchange is None:
                own = [tree(own, _Gradient.plus)]
        except DivergenceError as error:  # raised in all processes, which wait for each other
            own = error
        gathered = self.group.gather(own)
        for one in gathered:
            if isinstance(one, DivergenceError):
                raise one
        several: list[_Gradient] = [one for of_rank in gathered for one in of_rank]
        if self.exchange is None:
            whole = tree(several, _Gradient.plus)
            updates = [Update(self.parameters[i], one.rows, one.gradient) for i, one in whole.of.items()]
        else:
            whole = tree(several, lambda a, b: a.reported(b, {}))
            updates = [self._merged(i, [one.of[i] for one in several if i in one.of]) for i in self._kept()]
        hits = whole.hits if count_hits else None
        return StepReport(whole.loss, whole.active, hits, self.group.exchanged - before), updates

    def _gradient(self, part: int, x: Signal, y: sp.csr_array, run: Run, count_hits: bool) -> _Gradient:
        """Of one part of a batch, times its share of the rows."""
        rows = len(y.indptr) - 1
        first, last = part * rows // self.parts, (part + 1) * rows // self.parts
        if first == last:
            return _Gradient()
        targets: Any = row_slice(y, first, last)
        of_part = attrs.evolve(run, seed=stream_seed(run.seed, 1 + part), targets=targets)
        report, updates = super().gradients(row_slice(x, first, last), targets, of_part, count_hits)
        share = (last - first) / rows
        of: dict[int, Any] = {}
        for update in updates:
            index = self._index[id(update.parameter)]
            if self.exchange is None:
                of[index] = RowGradient.of(update, share)
            else:
                gradient = update.gradient * np.float32(share)
                of[index] = self._feedback_of(part, index).sent(update.rows, gradient)
        return _Gradient(report.loss * share, report.active * share, (report.hits or 0.0) * share, of)

    def _feedback_of(self, part: int, index: int) -> ErrorFeedback:
        assert self.exchange is not None
        if (part, index) not in self._feedback:
            parameter = self.parameters[index]
            shape = parameter.rows, parameter.columns
            self._feedback[part, index] = ErrorFeedback(self.exchange, shape)
        return self._feedback[part, index]

    def _kept(self) -> list[int]:
        return [i for i, parameter in enumerate(self.parameters) if parameter.trained]

    def _merged(self, index: int, several: Sequence[Entries]) -> Update:
        """The sum of what the parts send, for the rows that it changes."""
        parameter: Parameter = self.parameters[index]
        places = np.concatenate([np.zeros(0, np.int64), *(one.places.astype(np.int64) for one in several)])
        values = np.concatenate([np.zeros(0, np.float32), *(one.values for one in several)])
        rows, at = np.unique(places // parameter.columns, return_inverse=True)
        at = at * parameter.columns + places % parameter.columns
        size = len(rows) * parameter.columns
        gradient = np.bincount(at, values, size).astype(np.float32)  # added in the order of the parts
        return Update(parameter, rows.astype(np.int32), gradient.reshape(len(rows), parameter.columns))
