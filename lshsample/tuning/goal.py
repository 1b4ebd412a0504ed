"""The goal of tuning, and its result."""

from __future__ import annotations

import math
import shlex
from typing import Any

import attrs
from attrs.validators import optional

from lshsample.display import html_table
from lshsample.family import FamilySpec, HashFamily
from lshsample.memory import mebibytes
from lshsample.registry import family_to_dict
from lshsample.sampling import Pipeline
from lshsample.specs import integer, number
from lshsample.tables import HashTables

__all__ = ["Goal", "Measures", "Tuned", "python_of", "shown"]

_MEASURES = ("recall", "size", "relative_error", "memory_bytes", "seconds")
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
        for name in _MEASURES[1:]:
            bound = getattr(goal, name)
            if bound is not None and not getattr(self, name) <= bound:
                missed.append(name)
        return tuple(missed)


@attrs.frozen(eq=False, kw_only=True, repr=False)
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

    @property
    def python(self) -> str:
        """The choice as a line of Python, which makes a sampler over ``data``.

        It uses the names ``HashTables``, ``make_family`` and ``parse_pipeline`` of :mod:`lshsample`.
        """
        return python_of(self.family, self.pipeline, "data")

    @property
    def command_options(self) -> str:
        """The choice as options of ``lshsample train``, quoted for a shell."""
        name, options = _named_options(self.family)
        text = ",".join(f"{key}={value}" for key, value in options.items())
        words = ["--family", f"{name}:{text}" if text else name]
        words += ["--n-hashes", str(self.family.spec.n_hashes), "--n-tables", str(self.family.spec.n_tables)]
        return shlex.join([*words, "--sampler", str(self.pipeline)])

    def rows(self) -> list[tuple[str, ...]]:
        """Name, goal, predicted and observed value of each measure, as text with units."""
        parts = self.goal, self.predicted, self.observed
        return [(name, *(shown(name, getattr(part, name)) for part in parts)) for name in _MEASURES]

    def __str__(self) -> str:
        table = [("", "goal", "predicted", "observed"), *self.rows()]
        lines = ["".join([f"{row[0]:15}", *(f"{cell:>12}" for cell in row[1:])]) for row in table]
        return "\n".join([f"{self.family!r}", str(self.pipeline), *lines, self.python])

    def __repr__(self) -> str:
        return f"Tuned({self.family!r}, {self.pipeline}, recall {self.observed.recall:.3g} observed)"

    def _repr_html_(self) -> str:
        return html_table(repr(self), ["", "goal", "predicted", "observed"], self.rows())


def _named_options(family: HashFamily) -> tuple[str, dict[str, Any]]:
    """The name of a family, and the options that differ from their defaults."""
    data = family_to_dict(family)
    name, spec = data.pop("family"), type(family.spec)
    common = {field.name for field in attrs.fields(FamilySpec)}
    own = {field.name: field.default for field in attrs.fields(spec) if field.name not in common}
    return name, {key: data[key] for key, default in own.items() if key in data and data[key] != default}


def python_of(family: HashFamily, pipeline: Pipeline, data: str) -> str:
    """A line of Python that makes a sampler over what ``data`` names."""
    name, options = _named_options(family)
    spec = family.spec
    shape = {"dim": spec.dim, "n_hashes": spec.n_hashes, "n_tables": spec.n_tables, "seed": spec.seed}
    given = ", ".join(f"{key}={value!r}" for key, value in {**shape, **options}.items())
    tables = f"HashTables(make_family({name!r}, {given})).build({data})"
    return f"sampler = parse_pipeline({str(pipeline)!r}).bind(tables={tables})"


def shown(name: str, value: float | None) -> str:
    """A measure with its unit; "-" for none."""
    if value is None or math.isnan(value):
        return "-"
    if name == "memory_bytes":
        return mebibytes(value, 1)
    if name == "seconds":
        return f"{value * 1e6:,.3g} us" if value < 1e-3 else f"{value * 1e3:,.4g} ms"
    return f"{value:,.0f}" if name == "size" and value >= 100 else f"{value:.3g}"
