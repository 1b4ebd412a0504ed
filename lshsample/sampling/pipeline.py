"""Pipelines: immutable sequences of stages, with composition, comparison, text and plain data."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import attrs
import numpy.typing as npt
import scipy.sparse as sp
import tomli_w

from lshsample._native import core
from lshsample._native.sample import Workspaces
from lshsample.display import html_table
from lshsample.errors import ArgumentError, PipelineWarning
from lshsample.family import Rows
from lshsample.sampling import binding
from lshsample.sampling.active_set import ActiveSet
from lshsample.sampling.contract import check_contract
from lshsample.sampling.effects import certain_warnings, certainty_key
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
                "stages", repr(stage), "instances such as Retrieve() or Cap(100), not classes or names"
            )
        check_contract(stage)
    if not stages:
        raise ArgumentError("stages", "none", "a sequence of at least one stage")
    return stages


@attrs.frozen(repr=False)
class Pipeline(Stages):
    """Stages that run one after the other; composed with ``|``.

    Attributes
    ----------
    stages : tuple of Stage
        The stages, in order.

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
    #: To judge the stages takes longer than to sample a few rows; tables of other functions change nothing.
    _warnings: dict[Hashable, list[str]] = attrs.field(factory=dict, init=False, eq=False, repr=False)

    def __or__(self, other: Stage | Pipeline) -> Pipeline:
        if isinstance(other, Stage):
            return Pipeline((*self.stages, other))
        if isinstance(other, Pipeline):
            return Pipeline(self.stages + other.stages)
        raise ArgumentError("|", repr(other), "followed by a stage or a pipeline")

    def bind(
        self,
        *,
        n_items: int | None = None,
        tables: TableReader | None = None,
        vectors: Rows | None = None,
        frequencies: npt.ArrayLike | None = None,
    ) -> Sampler:
        """A sampler: the pipeline with the tables and arrays that its stages use.

        Parameters
        ----------
        n_items : int, optional
            Number of items; required only if nothing else determines it.
        tables : TableReader, optional
            For stages that do not hold tables themselves.
        vectors : (n_items, dim) rows, optional
            The items' vectors, for ExactTop and :meth:`Sampler.search`; by default those that the tables
            were built from. Dense arrays and canonical CSR of float32 are not copied.
        frequencies : (n_items,) array, optional
            For Frequency and LogUniform: frequency of each item, in any unit.

        Raises
        ------
        ArgumentError
            A required argument is missing, sizes disagree, or a stage requires more ids than items.

        Warns
        -----
        PipelineWarning
            A stage has no effect or removes every id, whatever the data and the queries are.
        """
        size = binding.number_of_items(self, n_items, tables, vectors, frequencies)
        if sp.issparse(vectors):
            vectors = core.csr_rows(vectors, "vectors", finite=False)
        binding.check_stages(self, size, {"tables": tables, "frequencies": frequencies})
        known = None if frequencies is None else binding.item_frequencies(frequencies, size)
        drawn_by = None if known is None or "frequencies" not in self.needs else known.relative
        key = certainty_key(self, size, tables, drawn_by)
        if key not in self._warnings:
            self._warnings[key] = certain_warnings(self, size, tables, drawn_by)
        for text in self._warnings[key]:
            warnings.warn(f"{self}: {text}", PipelineWarning, stacklevel=2)
        return Sampler(
            pipeline=self,
            n_items=size,
            tables=tables,
            vectors=vectors,
            item_frequencies=known,
            workspaces=Workspaces(size),
        )

    def sample(self, queries: Any = None, **options: Any) -> ActiveSet:
        """As :meth:`Sampler.sample`, if the stages hold their tables themselves."""
        held = self.held_tables
        if not held:
            raise ArgumentError(
                "sampler", str(self), "stages with tables, or bound by .bind(n_items=..., tables=...)"
            )
        n_items = max(tables.n_ids for tables in held)
        if n_items not in self._bound:
            self._bound.clear()
            self._bound[n_items] = self.bind(n_items=n_items)
        return self._bound[n_items].sample(queries, **options)

    def _repr_html_(self) -> str:
        rows = [(stage, (type(stage).__doc__ or "").strip().split("\n")[0]) for stage in self.stages]
        return html_table(f"Pipeline of {len(self)} stages", ["stage", ""], rows)

    def to_dict(self) -> dict[str, Any]:
        """The pipeline as plain data; ArgumentError for stages that hold tables."""
        return {"stages": [stage_to_dict(stage) for stage in self.stages]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], stages: Mapping[str, type[Stage]] | None = None) -> Pipeline:
        """A pipeline from plain data; ``stages`` are custom classes by name."""
        rows = data.get("stages") if isinstance(data, Mapping) else None
        if not isinstance(rows, list) or set(data) != {"stages"}:
            if isinstance(rows, str):
                wanted = "a list of tables, each with the name of a stage; parse_pipeline reads text"
                raise ArgumentError("stages", repr(rows), wanted)
            if rows is not None and set(data) == {"stages"}:
                wanted = "a list of tables, each with the name of a stage"
                raise ArgumentError("stages", type(rows).__name__, wanted)
            given = f"the keys {list(data)}" if isinstance(data, Mapping) else type(data).__name__
            raise ArgumentError("pipeline", given, "a table with the single key 'stages', a list")
        return cls([stage_from_dict(row, f"stages[{i}]", stages) for i, row in enumerate(rows)])

    def to_toml(self) -> str:
        """The pipeline as TOML text."""
        return tomli_w.dumps(self.to_dict())

    @classmethod
    def from_toml(cls, text: str, stages: Mapping[str, type[Stage]] | None = None) -> Pipeline:
        """A pipeline from TOML text."""
        return cls.from_dict(parsed_toml(text), stages)


class SamplerStage(Stage):
    """Base class of all stages, built-in and custom; a stage can be anywhere in a pipeline.

    Subclass it as a frozen attrs class and implement :meth:`apply`. If it does not state its law by
    :meth:`inclusion`, inclusion probabilities are conditional on its output: followed by a draw that makes
    every item possible (``Uniform``) they are exact; otherwise the set is biased, and the error message
    contains this stage.

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

    def bind(self, **arguments: Any) -> Sampler:
        """As :meth:`Pipeline.bind`, of this stage alone."""
        return Pipeline((self,)).bind(**arguments)

    def sample(self, queries: Any, **options: Any) -> ActiveSet:
        """As :meth:`Pipeline.sample`, of this stage alone."""
        return Pipeline((self,)).sample(queries, **options)


def parse_pipeline(text: str, stages: Mapping[str, type[Stage]] | None = None) -> Pipeline:
    """A pipeline from text in Python's syntax; nothing is evaluated.

    Parameters
    ----------
    text : str
        Stages with literal arguments, joined with ``|``.
    stages : mapping of str to Stage class, optional
        Custom stages, in addition to the built-in ones, whose names they must not have.

    Raises
    ------
    ArgumentError
        The text is invalid; the message contains the stage and the column.

    Examples
    --------
    >>> parse_pipeline("Retrieve() | Top(50) | Include() | Uniform(10)")
    Retrieve() | Top(50) | Include() | Uniform(10)
    >>> parse_pipeline("Retrieve() | Topp(50)")
    Traceback (most recent call last):
        ...
    lshsample.errors.ArgumentError: sampler must be one of the stages AtLeast, ...
    (got 'Topp(50)' at column 14)
    """
    return Pipeline(parse_stages(text, stages))
