"""What tuning is to reach, and what it gives."""

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
    """What to reach, and within which bounds.

    Attributes
    ----------
    recall : float
        Mean share of the ``k`` nearest items (largest inner products) to be among the ids, below 1.
    k : int
        How many nearest items count.
    size : int, optional
        At most so many ids per query; more are capped.
    relative_error : float, optional
        Relative standard deviation wanted of the estimated number of the k nearest items, over the functions.
    memory_bytes : int, optional
        At most so much for the tables.
    seconds : float, optional
        At most so long per query, on one thread, when queries come in batches.
    """

    recall: float = attrs.field(default=0.9, validator=number(0, 1, open_low=True, open_high=True))
    k: int = attrs.field(default=10, validator=integer(1, 2**20))
    size: int | None = attrs.field(default=None, validator=optional(integer(1, 2**31 - 2)))
    relative_error: float | None = attrs.field(default=None, validator=_POSITIVE)
    memory_bytes: int | None = attrs.field(default=None, validator=optional(integer(1)))
    seconds: float | None = attrs.field(default=None, validator=_POSITIVE)


@attrs.frozen(kw_only=True)
class Measures:
    """What a choice gives: foretold by the laws, or observed.

    Attributes
    ----------
    recall : float
        Mean share of the nearest items among the ids.
    size : float
        Mean number of ids per query.
    relative_error : float
        Of the estimated number of the nearest items; NaN for a family whose law holds nearly, which gives no
        weights.
    memory_bytes : int
        Of the tables.
    seconds : float
        Per query of a batch, one thread.
    """

    recall: float
    size: float
    relative_error: float
    memory_bytes: int
    seconds: float

    def missed(self, goal: Goal) -> tuple[str, ...]:
        """The names of the goals that these measures do not reach."""
        missed = ["recall"] if self.recall < goal.recall else []
        for name in ("size", "relative_error", "memory_bytes", "seconds"):
            bound = getattr(goal, name)
            if bound is not None and not getattr(self, name) <= bound:
                missed.append(name)
        return tuple(missed)


@attrs.frozen(eq=False, kw_only=True)
class Tuned:
    """A choice, with what was foretold beside what was observed on queries held out.

    Attributes
    ----------
    goal : Goal
        What was to be reached. What is foretold reaches all of it; what is observed is one draw of the
        functions, a sample of queries, and this machine's clock: ``observed.missed(goal)`` names where it
        falls short.
    family : HashFamily
        The functions.
    pipeline : Pipeline
        The stages, to bind to tables of the family.
    tables : HashTables
        Tables over the data, built for the check.
    predicted, observed : Measures
        By the laws, and on the queries held out.
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
            wanted = getattr(self.goal, name)
            pair = (getattr(self.predicted, name), getattr(self.observed, name))
            first = f"{'-' if wanted is None else f'{wanted:.4g}':>12}"
            rows.append(f"{name:15}{first}" + "".join(f"{value:>12.4g}" for value in pair))
        return "\n".join(rows)
