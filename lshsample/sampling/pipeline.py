"""Pipelines: stages in a row, as values that compose, compare, print and parse back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
import numpy.typing as npt
import tomli_w

from lshsample.errors import ArgumentError
from lshsample.family import Rows
from lshsample.sampling.active_set import ActiveSet
from lshsample.sampling.binding import bind_sampler
from lshsample.sampling.sampler import Sampler
from lshsample.sampling.stage import Stage
from lshsample.sampling.stages import Full, Include
from lshsample.sampling.text import parse_stages, stage_from_dict, stage_to_dict
from lshsample.specs import parsed_toml
from lshsample.tables import TableReader

__all__ = ["Pipeline", "parse_pipeline"]


def _stages(value: Sequence[Stage]) -> tuple[Stage, ...]:
    stages = tuple(value)
    for stage in stages:
        if not isinstance(stage, Stage):
            raise ArgumentError(
                "stages", repr(stage), "stages such as Retrieve() or Cap(100), not classes or names"
            )
    if not stages:
        raise ArgumentError("stages", "none", "at least one stage")
    return stages


@attrs.frozen(repr=False)
class Pipeline:
    """Stages that run one after the other; made with ``|``.

    Attributes
    ----------
    stages : tuple of Stage
        The stages, the first one first.

    Examples
    --------
    >>> from lshsample.sampling import Cap, Include, Retrieve, Uniform
    >>> pipeline = Retrieve(probes=2) | Cap(100) | Include() | Uniform(20)
    >>> pipeline
    Retrieve(probes=2) | Cap(100) | Include() | Uniform(20)
    >>> parse_pipeline(str(pipeline)) == pipeline
    True
    """

    stages: tuple[Stage, ...] = attrs.field(converter=_stages)
    _bound: dict[int, Sampler] = attrs.field(factory=dict, init=False, eq=False, repr=False)

    def __or__(self, other: Stage | Pipeline) -> Pipeline:
        if isinstance(other, Stage):
            return Pipeline((*self.stages, other))
        if isinstance(other, Pipeline):
            return Pipeline(self.stages + other.stages)
        raise ArgumentError("|", repr(other), "a stage or a pipeline")

    def __iter__(self) -> Iterator[Stage]:
        return iter(self.stages)

    def __len__(self) -> int:
        return len(self.stages)

    def __str__(self) -> str:
        return " | ".join(map(str, self.stages))

    __repr__ = __str__

    @property
    def needs(self) -> frozenset[str]:
        """What :meth:`bind` and :meth:`sample` must be given: "queries", "tables", "frequencies"."""
        return frozenset().union(*(stage.needs() for stage in self.stages))

    @property
    def takes_include(self) -> bool:
        """Whether ids that the caller names (true labels) end up in the set."""
        return any(isinstance(stage, Include | Full) for stage in self.stages)

    def bind(
        self,
        *,
        n_items: int | None = None,
        tables: TableReader | None = None,
        vectors: Rows | None = None,
        frequencies: npt.ArrayLike | None = None,
    ) -> Sampler:
        """A sampler: the pipeline with what its stages work on.

        Parameters
        ----------
        n_items : int, optional
            Number of items; only needed where nothing else tells it.
        tables : TableReader, optional
            For stages without tables of their own.
        vectors : (n_items, dim) rows, optional
            The items' vectors, for ExactTop; else those that the tables were built from.
        frequencies : (n_items,) array, optional
            For Frequency: how often each item occurs, in any unit.

        Raises
        ------
        ArgumentError
            Something is missing, sizes disagree, or a stage wants more ids than there are.
        """
        return bind_sampler(self, n_items=n_items, tables=tables, vectors=vectors, frequencies=frequencies)

    def sample(self, queries: Any = None, **options: Any) -> ActiveSet:
        """As :meth:`Sampler.sample`, where the stages hold their own tables."""
        own = [tables for stage in self.stages if (tables := stage.tables_of()) is not None]
        if not own:
            raise ArgumentError(
                "sampler", str(self), "stages with tables, or .bind(n_items=..., tables=...) before .sample"
            )
        n_items = max(tables.n_ids for tables in own)
        if n_items not in self._bound:
            self._bound.clear()
            self._bound[n_items] = self.bind(n_items=n_items)
        return self._bound[n_items].sample(queries, **options)

    def to_dict(self) -> dict[str, Any]:
        """The pipeline as plain data; stages that hold tables are refused."""
        return {"stages": [stage_to_dict(stage) for stage in self.stages]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], stages: Mapping[str, type[Stage]] | None = None) -> Pipeline:
        """A pipeline from plain data; ``stages`` names classes of your own."""
        rows = data.get("stages") if isinstance(data, Mapping) else None
        if not isinstance(rows, list) or set(data) != {"stages"}:
            given = f"the keys {list(data)}" if isinstance(data, Mapping) else type(data).__name__
            raise ArgumentError("pipeline", given, "a table with the one key 'stages', a list")
        return cls([stage_from_dict(row, f"stages[{i}]", stages) for i, row in enumerate(rows)])

    def to_toml(self) -> str:
        """The pipeline as TOML text."""
        return tomli_w.dumps(self.to_dict())

    @classmethod
    def from_toml(cls, text: str, stages: Mapping[str, type[Stage]] | None = None) -> Pipeline:
        """A pipeline from TOML text."""
        return cls.from_dict(parsed_toml(text), stages)


def parse_pipeline(text: str, stages: Mapping[str, type[Stage]] | None = None) -> Pipeline:
    """A pipeline from its one-line text, as one would write it in Python; nothing is evaluated.

    Parameters
    ----------
    text : str
        Stages with literal arguments, joined with ``|``.
    stages : mapping of str to Stage class, optional
        Stages of your own, beside the built-in ones.

    Raises
    ------
    ArgumentError
        It does not parse; the message names the stage and the column.

    Examples
    --------
    >>> parse_pipeline("Retrieve() | Top(50) | Include() | Uniform(10)")
    Retrieve() | Top(50) | Include() | Uniform(10)
    >>> parse_pipeline("Retrieve() | Topp(50)")
    Traceback (most recent call last):
        ...
    lshsample.errors.ArgumentError: sampler: given 'Topp(50)' at column 14; wanted one of the stages
    AtLeast, ...
    """
    return Pipeline(parse_stages(text, stages))
