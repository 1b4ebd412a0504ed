"""Learning-rate schedules: a factor of the learning rate at each step of a run."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import attrs

from lshsample import specs
from lshsample.nn.names import NameTable

__all__ = ["SCHEDULES", "LearningRate", "Schedule"]


class Schedule(ABC):
    """Base class of learning-rate schedules.

    A schedule is a frozen attrs class of plain values. An instance can be given to a
    :class:`~lshsample.Trainer`. Register the class under a name, ``SCHEDULES.add("name")``, to write
    checkpoints of a run.
    """

    @abstractmethod
    def factor(self, step: int, total: int | None) -> float:
        """The factor at a step.

        Parameters
        ----------
        step : int
            Number of the step, from 1.
        total : int or None
            Steps of the run; None if it has no known end, as with :meth:`Trainer.step
            <lshsample.Trainer.step>`.
        """


#: Schedules by the names used in files and on the command line.
SCHEDULES: NameTable[Schedule] = NameTable("schedule", Schedule)

_KINDS = ("constant", "linear", "cosine")


@attrs.frozen
class LearningRate(Schedule):
    """A linear warm-up to 1, then a constant, linear or cosine factor.

    Attributes
    ----------
    kind : str
        ``"constant"``, ``"linear"`` or ``"cosine"``; the last two fall to ``final`` at the end of the run.
    warmup : int
        Steps over which the factor first rises linearly from 0.
    final : float
        The factor at the end of ``"linear"`` and ``"cosine"``; it stays 1 in a run without a known end.

    Examples
    --------
    >>> [round(LearningRate("linear", warmup=2).factor(step, 6), 2) for step in range(1, 7)]
    [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """

    kind: str = attrs.field(default="linear", validator=specs.one_of(*_KINDS))
    warmup: int = attrs.field(default=0, validator=specs.integer(0), kw_only=True)
    final: float = attrs.field(default=0.0, validator=specs.number(0.0, 1.0), kw_only=True)

    def factor(self, step: int, total: int | None) -> float:
        """The factor, 0 to 1, at ``step`` (from 1) of ``total`` steps."""
        if step <= self.warmup:
            return step / self.warmup
        if self.kind == "constant" or total is None:
            return 1.0
        done = (step - self.warmup - 1) / max(total - self.warmup, 1)
        shape = 1.0 - done if self.kind == "linear" else 0.5 * (1.0 + math.cos(math.pi * min(done, 1.0)))
        return self.final + (1.0 - self.final) * max(shape, 0.0)


for _kind in _KINDS:
    SCHEDULES.add(_kind, kind=_kind)(LearningRate)
