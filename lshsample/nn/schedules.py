"""Learning-rate schedules: a factor of the learning rate at each step of a run."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from numbers import Real
from typing import Any

import attrs

from lshsample import specs
from lshsample.errors import ArgumentError
from lshsample.nn.names import NameTable

__all__ = ["SCHEDULES", "LearningRate", "Schedule"]


class Schedule(ABC):
    """Base class of learning-rate schedules.

    A schedule is a frozen attrs class of plain values. An instance can be given to a
    :class:`~lshsample.Trainer`. Register the class under a name, ``SCHEDULES.add("name")``, to write
    checkpoints of a run.
    """

    @abstractmethod
    def factor(self, step: int, total: float | None) -> float:
        """The factor at a step.

        Parameters
        ----------
        step : int
            Number of the step, from 1.
        total : float or None
            Steps of the run; None if it has no known end, as with :meth:`Trainer.step
            <lshsample.Trainer.step>`.
        """

    def factor_in_time(self, step: int, total: float, share: float) -> float:
        """The factor at a step of a run with ``max_seconds``; by default :meth:`factor`.

        Parameters
        ----------
        step : int
            Number of the step, from 1.
        total : float
            The number of steps for which there is time, at most those of all epochs: an estimate, which
            changes from step to step such that ``(step - 1) / total`` never falls, to 1 at the end of the
            time; at first it may be infinite.
        share : float
            Their share of the steps of all epochs, above 0, estimated in the first tenth of the run; 1 if the
            epochs end before the time, or if their steps are not known.
        """
        return self.factor(step, total)


#: Schedules by the names used in files and on the command line.
SCHEDULES: NameTable[Schedule] = NameTable("schedule", Schedule)


def warmup_of(value: Any) -> float:
    """A validated warm-up: a number of steps, or a share below 1 of all steps.

    Raises
    ------
    ArgumentError
        Any other value.
    """
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    number = float(value) if is_number else math.nan
    if not 0 <= number < math.inf or (number >= 1 and not number.is_integer()):
        wanted = "a number of steps, such as 100, or a share of the run below 1, such as 0.05"
        raise ArgumentError("warmup", repr(value), wanted)
    return int(number) if number.is_integer() else number


# In a short run, as measured on held-out training rows of bibtex and debian-tags (1,300 and 1,780 steps of
# Adam planned): with time for a tenth of the steps, P@1 was 58.7 and 75.8 with 4 times the rate and a fall in
# the last fifth; 29.5 and 39.5 with the planned rate falling from the start, 43.3 and 63.9 where a run was
# cut off. With time for 4 % of them, 8 times the rate was best; 16 times was worse.
_MOST_RAISED = 8.0
_FALLS = 0.2

_KINDS = ("constant", "linear", "cosine")


@attrs.frozen
class LearningRate(Schedule):
    """A linear warm-up to 1, then a constant, linear or cosine factor.

    In a run with ``max_seconds`` that has time for a share s < 1 of its steps, a rate for all of them would
    leave the weights half-way. There the linear or cosine factor is ``min(s ** -hurry, 8)`` times as large,
    and falls in the last share max(s, 0.2) of the run.

    Attributes
    ----------
    kind : str
        ``"constant"``, ``"linear"`` or ``"cosine"``; the last two fall to ``final`` at the end of the run.
    warmup : int or float
        Steps over which the factor first rises linearly from 0; a number below 1 is their share of the run
        (0 in a run without a known end).
    final : float
        The factor at the end of ``"linear"`` and ``"cosine"``; it stays 1 in a run without a known end.
    hurry : float
        The exponent above; 0 for a rate that is not raised.

    Examples
    --------
    >>> [round(LearningRate("linear", warmup=2).factor(step, 6), 2) for step in range(1, 7)]
    [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    >>> LearningRate("linear", warmup=1 / 3).factor(1, 6)
    0.5
    """

    kind: str = attrs.field(default="linear", validator=specs.one_of(*_KINDS))
    warmup: float = attrs.field(default=0, converter=warmup_of, kw_only=True)
    final: float = attrs.field(default=0.0, validator=specs.number(0.0, 1.0), kw_only=True)
    hurry: float = attrs.field(default=0.6, validator=specs.number(0.0, 1.0), kw_only=True)

    def factor(self, step: int, total: float | None) -> float:
        """The factor, 0 to 1, at ``step`` (from 1) of ``total`` steps."""
        return self._factor(step, total, 1.0, 1.0)

    def factor_in_time(self, step: int, total: float, share: float) -> float:
        """The factor in a run with ``max_seconds``, 0 to 8."""
        if self.kind == "constant":
            return self.factor(step, total)
        raised = min(math.pow(share, -self.hurry), _MOST_RAISED)
        return self._factor(step, total, raised, max(share, _FALLS))

    def _factor(self, step: int, total: float | None, raised: float, falls: float) -> float:
        """The factor that rises to ``raised``, and falls in the last share ``falls`` of the run."""
        warmup = self._warmup_steps(total)
        if step <= warmup:
            return raised * step / warmup
        if self.kind == "constant" or total is None:
            return raised
        done = max(step - warmup - 1, 0) / max(total - warmup, 1)
        fallen = max(done - (1.0 - falls), 0.0) / falls
        shape = 1.0 - fallen if self.kind == "linear" else 0.5 * (1.0 + math.cos(math.pi * min(fallen, 1.0)))
        return raised * (self.final + (1.0 - self.final) * max(shape, 0.0))

    def _warmup_steps(self, total: float | None) -> float:
        if not 0 < self.warmup < 1:
            return self.warmup
        return 0 if total is None else self.warmup * total


for _kind in _KINDS:
    SCHEDULES.add(_kind, kind=_kind)(LearningRate)
