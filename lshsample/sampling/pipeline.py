"""Pipelines: stages in a row, as values that compose, compare, print and parse back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy.typing as npt
import tomli_w

from lshsample._native.sample import Workspaces
from lshsample.errors import ArgumentError
from lshsample.family import Rows
from lshsample.sampling import binding
from lshsample.sampling.active_set import ActiveSet
from lshsample.sampling.sampler import Sampler
from lshsample.sampling.stage import Stage, Stages
from lshsample.sampling.text import parse_stages, stage_from_dict, stage_to_dict
from lshsample.specs import parsed_toml
from lshsample.tables import TableReader

__all__ = ["Pipeline", "SamplerStage", "parse_pipeline"]


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
class Pipeline(Stages):
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
            Number of items; only needed where nothing else gives it.
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
        size = binding.number_of_items(self, n_items, tables, vectors, frequencies)
        binding.check_stages(self, size, {"tables": tables, "frequencies": frequencies})
        return Sampler(
            pipeline=self,
            n_items=size,
            tables=tables,
            vectors=vectors,
            alias=None if frequencies is None else binding.frequency_table(frequencies, size),
            workspaces=Workspaces(size),
        )

    def sample(self, queries: Any = None, **options: Any) -> ActiveSet:
        """As :meth:`Sampler.sample`, where the stages hold their own tables."""
        held = self.held_tables
        if not held:
            raise ArgumentError(
                "sampler", str(self), "stages with tables, or .bind(n_items=..., tables=...) before .sample"
            )
        n_items = max(tables.n_ids for tables in held)
        if n_items not in self._bound:
            self._bound.clear()
            self._bound[n_items] = self.bind(n_items=n_items)
        return self._bound[n_items].sample(queries, **options)

    def to_dict(self) -> dict[str, Any]:
        """The pipeline as plain data; stages that hold tables are refused."""
        return {"stages": [stage_to_dict(stage) for stage in self.stages]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], stages: Mapping[str, type[Stage]] | None = None) -> Pipeline:
        """A pipeline from plain data; ``stages`` names custom classes."""
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


class SamplerStage(Stage):
    """Base of all stages, yours included: they stand anywhere in a pipeline.

    Subclass it as a frozen attrs class and implement :meth:`apply`. If it states no law by
    :meth:`inclusion`, inclusion probabilities are conditional on its outcome: with a later draw that makes
    every item possible (``Uniform``) they are exact; without one the set is biased, and the error names this
    stage.

    Examples
    --------
    >>> import attrs
    >>> from lshsample.sampling import Uniform
    >>> @attrs.frozen
    ... class Even(SamplerStage):
    ...     "Keeps even ids."
    ...     def apply(self, active, batch):
    ...         return active.keep(active.ids % 2 == 0)
    >>> sampler = (Uniform(6) | Even() | Uniform(2)).bind(n_items=10)
    >>> str(sampler.pipeline)
    'Uniform(6) | Even() | Uniform(2)'
    >>> active = sampler.sample(n_queries=1)
    >>> bool((active.log_inclusion <= 0).all())
    True
    """

    def __or__(self, other: Stage | Pipeline) -> Pipeline:
        return Pipeline((self,)) | other

    def bind(self, **places: Any) -> Sampler:
        """As :meth:`Pipeline.bind` of this stage alone."""
        return Pipeline((self,)).bind(**places)

    def sample(self, queries: Any, **options: Any) -> ActiveSet:
        """As :meth:`Pipeline.sample` of this stage alone."""
        return Pipeline((self,)).sample(queries, **options)


def parse_pipeline(text: str, stages: Mapping[str, type[Stage]] | None = None) -> Pipeline:
    """A pipeline from its one-line text, as one would write it in Python; nothing is evaluated.

    Parameters
    ----------
    text : str
        Stages with literal arguments, joined with ``|``.
    stages : mapping of str to Stage class, optional
        Custom stages, beside the built-in ones.

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
