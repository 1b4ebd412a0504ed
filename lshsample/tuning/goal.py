"""The goal of tuning, and its result."""

from __future__ import annotations

import attrs
from attrs.validators import optional

from lshsample.family import HashFamily
from lshsample.sampling import Pipeline
from lshsample.specs import integer, number
from lshsample.tables import HashTables

__all__ = ["Goal", "Measures", "Tuned"]

_POSITIVE = optional(number(0, float("inf"), open_low=True))


@attrs.frozen(kw_only=True)
class Goal:
    """Targets of tuning, and bounds.

    Attributes
    ----------
    recall : float
        Target for the mean recall of the ``k`` nearest items (largest inner products), below 1.
    k : int
        Number of nearest items that recall is measured by.
    size : int, optional
        Largest number of ids per query; a ``Cap`` removes more.
    relative_error : float, optional
        Largest relative standard error of the count of the k nearest items, estimated from the sample, over
        draws of the hash functions.
    memory_bytes : int, optional
        Largest size of the tables.
    seconds : float, optional
        Longest time per query of a batch, on one thread.
    """

    recall: float = attrs.field(default=0.9, validator=number(0, 1, open_low=True, open_high=True))
    k: int = attrs.field(default=10, validator=integer(1, 2**20))
    size: int | None = attrs.field(default=None, validator=optional(integer(1, 2**31 - 2)))
    relative_error: float | None = attrs.field(default=None, validator=_POSITIVE)
    memory_bytes: int | None = attrs.field(default=None, validator=optional(integer(1)))
    seconds: float | None = attrs.field(default=None, validator=_POSITIVE)


@attrs.frozen(kw_only=True)
class Measures:
    """Recall, size, error, memory and time of a configuration: predicted, or observed.

    Attributes
    ----------
    recall : float
        Mean recall of the k nearest items.
    size : float
        Mean number of ids per query.
    relative_error : float
        Relative standard error of the estimated count of the k nearest items; NaN for a family whose
        collision probability is approximate, which gives no weights.
    memory_bytes : int
        Bytes of the tables.
    seconds : float
        Seconds per query of a batch, on one thread.
    """

    recall: float
    size: float
    relative_error: float
    memory_bytes: int
    seconds: float

    def missed(self, goal: Goal) -> tuple[str, ...]:
        """The names of the targets and bounds of a goal that these measures do not meet."""
        missed = ["recall"] if self.recall < goal.recall else []
        for name in ("size", "relative_error", "memory_bytes", "seconds"):
            bound = getattr(goal, name)
            if bound is not None and not getattr(self, name) <= bound:
                missed.append(name)
        return tuple(missed)


@attrs.frozen(eq=False, kw_only=True)
class Tuned:
    """The chosen configuration, with predicted and observed measures.

    Attributes
    ----------
    goal : Goal
        The goal. The predicted measures meet all of it. The observed ones come from one draw of the hash
        functions, a sample of queries and this machine's clock: ``observed.missed(goal)`` names what they
        miss.
    family : HashFamily
        The hash family.
    pipeline : Pipeline
        The pipeline, to be bound to tables of the family.
    tables : HashTables
        Tables over the data, built for the check.
    predicted : Measures
        Predicted from the collision probabilities.
    observed : Measures
        Observed on the held-out queries.
    """

    goal: Goal
    family: HashFamily
    pipeline: Pipeline
    tables: HashTables
    predicted: Measures
    observed: Measures

    def __str__(self) -> str:
        rows = [f"{self.family!r}", str(self.pipeline)]
        rows.append(f"{'':15}{'goal':>12}{'predicted':>12}{'observed':>12}")
        for name in ("recall", "size", "relative_error", "memory_bytes", "seconds"):
            target = getattr(self.goal, name)
            pair = (getattr(self.predicted, name), getattr(self.observed, name))
            first = f"{'-' if target is None else f'{target:.4g}':>12}"
            rows.append(f"{name:15}{first}" + "".join(f"{value:>12.4g}" for value in pair))
        return "\n".join(rows)
