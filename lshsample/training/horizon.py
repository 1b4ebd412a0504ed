"""How many steps a run will have: known, estimated from a limit of time, or recorded by an earlier run."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

from lshsample.training.run_state import RunState

__all__ = ["Horizon", "KnownEnd", "Recorded", "TimeLimit"]


class Horizon(ABC):
    """The number of steps that a run is expected to have, by which schedules know how far it is."""

    #: Whether the expected numbers are recorded: they are not a function of the settings and the data alone.
    recorded = True
    #: What ``History.stopped`` says of a run that is over before its epochs.
    ends_as = "finished"

    @abstractmethod
    def steps(self, state: RunState) -> float | None:
        """The steps of the whole run, as expected before its next step; None if there is no known end."""

    def is_over(self, state: RunState) -> bool:
        """Whether the run has had its last step; never before its epochs end, by default."""
        return False


class KnownEnd(Horizon):
    """The steps of all epochs.

    Parameters
    ----------
    total : int or None
        Their number; None if the batch source does not know it.
    """

    recorded = False

    def __init__(self, total: int | None) -> None:
        self.total = total

    def steps(self, state: RunState) -> int | None:
        """The same number at each step."""
        return self.total


class TimeLimit(Horizon):
    """The steps of all epochs, or those for which there is time, if that is less.

    Progress p (0 to 1) never falls: a step moves it by (1 - p) / n, where n steps are left. With equally long
    steps that is a straight line. If steps become slower or faster, n changes, and the line bends towards 1
    at the limit; it neither jumps nor turns back. n is the rest of the time divided by the mean duration of
    the steps since this object was made, without the first one, which builds tables.

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
        self._first, self._since, self._pace = done + 1, math.nan, 0.0

    def steps(self, state: RunState) -> float:
        """Such that (steps done) / (this number) is the progress; infinite while nothing is known."""
        done = state.step
        if not done:
            return math.inf if self.total is None else self.total
        before = (done - 1) / state.expected[-1]
        progress = before + (1.0 - before) / (self._left(state) + 1.0)
        return done / progress if progress else math.inf

    def is_over(self, state: RunState) -> bool:
        """Whether the time is used up, to half a step, after at least one step."""
        self._observe(state)
        return state.step > 0 and self.seconds - state.seconds <= 0.5 * self._pace

    def _left(self, state: RunState) -> float:
        """How many steps are left."""
        known = math.inf if self.total is None else self.total - state.step
        return min(known, max(self.seconds - state.seconds, 0.0) / self._pace) if self._pace else known

    def _observe(self, state: RunState) -> None:
        """Measure the mean duration of a step."""
        if state.step == self._first:
            self._since = state.seconds
        elif state.step > self._first:
            self._pace = (state.seconds - self._since) / (state.step - self._first)


class Recorded(Horizon):
    """The numbers that an earlier run has recorded, which are used again.

    Parameters
    ----------
    expected : sequence of float
        ``History.expected_steps`` of that run, one for each of its steps.
    """

    def __init__(self, expected: Sequence[float]) -> None:
        self.expected = expected

    def steps(self, state: RunState) -> float:
        """That of the same step of the earlier run."""
        return self.expected[state.step]

    def is_over(self, state: RunState) -> bool:
        """Whether there are no more steps in the record."""
        return state.step >= len(self.expected)
