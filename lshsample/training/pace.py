"""How fast a run goes through its schedule: by steps, by time, or as an earlier run did."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

from lshsample.nn.schedules import Schedule
from lshsample.training.run_state import RunState

__all__ = ["ByRecord", "BySteps", "ByTime", "Pace"]

#: Until this share of a run is over, the share of its planned steps for which there is time is estimated.
_ESTIMATED = 0.1


class Pace(ABC):
    """The factor of the learning rate at each step of a run, and the end of the run."""

    #: Whether the factors are recorded: they are not a function of the settings alone.
    recorded = True
    #: What ``History.stopped`` says of a run that is over before its epochs.
    ends_as = "finished"

    @abstractmethod
    def factor(self, state: RunState, schedule: Schedule) -> float:
        """The factor of the next step."""

    @abstractmethod
    def expected_steps(self, state: RunState) -> int | None:
        """Steps of the whole run, as far as they are known."""

    def is_over(self, state: RunState) -> bool:
        """Whether the run has had its last step; never before its epochs end, by default."""
        return False


class BySteps(Pace):
    """The factors of the schedule for the steps of all epochs.

    Parameters
    ----------
    total : int or None
        Their number; None if the batch source does not know it.
    """

    recorded = False

    def __init__(self, total: int | None) -> None:
        self.total = total

    def factor(self, state: RunState, schedule: Schedule) -> float:
        """The schedule's factor."""
        return schedule.factor(state.step + 1, self.total)

    def expected_steps(self, state: RunState) -> int | None:
        """The number of steps."""
        return self.total


class ByTime(Pace):
    """The factors of the schedule for the steps of all epochs, or for those that fit into a time, if fewer.

    The progress p (0 to 1) never falls: a step moves it by (1 - p) / n, where n steps are left. With equally
    long steps that is a straight line. If steps become slower or faster, n changes, and the line bends
    towards 1 at the end of the time; it neither jumps nor turns back. n is the rest of the time divided by
    the mean duration of the steps since this object was made, without the first one, which builds tables.

    Parameters
    ----------
    total : int or None
        Steps of all epochs; None if the batch source does not know it.
    seconds : float
        Training time of the run, in seconds.
    done : int
        Steps done before.
    """

    ends_as = "max_seconds"

    def __init__(self, total: int | None, seconds: float, done: int = 0) -> None:
        self.total, self.seconds = total, seconds
        # The first step, the training time after it, and the mean duration of the later ones.
        self._first, self._since, self._duration = done + 1, math.nan, 0.0

    def factor(self, state: RunState, schedule: Schedule) -> float:
        """The schedule's factor in a run of limited time; advances the progress of the state."""
        if state.step:
            # A run that had no limit before has gone by its steps.
            before = state.progress or (0.0 if self.total is None else (state.step - 1) / self.total)
            state.progress = before + (1.0 - before) / (self._left(state) + 1.0)
        expected = self._expected(state)
        if state.progress < _ESTIMATED and self.total is not None:
            state.time_share = min(expected / self.total, 1.0)
        return schedule.factor_in_time(state.step + 1, expected, state.time_share)

    def expected_steps(self, state: RunState) -> int | None:
        """The number of steps, by the progress so far."""
        expected = self._expected(state)
        return None if math.isinf(expected) else round(expected)

    def is_over(self, state: RunState) -> bool:
        """Whether the time is used up, to half a step, after at least one step."""
        if state.step == self._first:
            self._since = state.seconds
        elif state.step > self._first:
            self._duration = (state.seconds - self._since) / (state.step - self._first)
        return state.step > 0 and self.seconds - state.seconds <= 0.5 * self._duration

    def _left(self, state: RunState) -> float:
        """How many steps are left."""
        known = math.inf if self.total is None else self.total - state.step
        return (
            min(known, max(self.seconds - state.seconds, 0.0) / self._duration) if self._duration else known
        )

    def _expected(self, state: RunState) -> float:
        """The number of steps with which the steps done are the progress; infinite if nothing is known."""
        if state.progress:
            return state.step / state.progress
        return math.inf if self.total is None else self.total


class ByRecord(Pace):
    """The factors that an earlier run has recorded.

    Parameters
    ----------
    factors : sequence of float
        ``History.rate_factors`` of that run, one for each of its steps.
    """

    def __init__(self, factors: Sequence[float]) -> None:
        self.factors = factors

    def factor(self, state: RunState, schedule: Schedule) -> float:
        """That of the same step of the earlier run."""
        return self.factors[state.step]

    def expected_steps(self, state: RunState) -> int:
        """The steps of the earlier run."""
        return len(self.factors)

    def is_over(self, state: RunState) -> bool:
        """Whether there are no more steps in the record."""
        return state.step >= len(self.factors)
