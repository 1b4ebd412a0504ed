"""What a stage is: a small frozen object that turns one active set into the next, and knows its laws."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, TypeVar

import attrs
import numpy as np
import numpy.typing as npt

from lshsample._native.sample import Drawn, StageCall
from lshsample.errors import ArgumentError
from lshsample.family import HashFamily
from lshsample.sampling.active_set import ActiveSet
from lshsample.sampling.batch import Batch
from lshsample.sampling.expected import Expected, Population
from lshsample.sampling.inclusion import Inclusion, Pairs
from lshsample.tables import TableReader

__all__ = ["BUILTIN", "UNPLAIN", "Stage", "Stages", "at_most", "builtin", "plain_fields", "required"]

S = TypeVar("S", bound="type[Stage]")


@attrs.frozen
class Stage:
    """The contract of a stage: all that samplers, descriptions and explanations know of it.

    Stages, built-in and from plugins alike, are subclasses of
    :class:`~lshsample.sampling.SamplerStage`, which composes them with ``|``.
    """

    #: What plain data and text know it by; the class's name.
    name: ClassVar[str]
    #: Whether ids that the caller names are in the set after it, and stay there.
    forces_ids: ClassVar[bool] = False
    #: Whether every item is in the set after it, those that the caller names among them.
    joins_every_item: ClassVar[bool] = False
    #: Whether what it does is certain by the conditional law, so that it is no random draw.
    outcome_is_certain: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.name = cls.__name__

    def check(self, n_items: int) -> None:
        """Refuse, when a sampler is bound, what does not fit the number of items."""

    def needs(self) -> frozenset[str]:
        """What it cannot do without: "queries", "tables", "frequencies"."""
        return frozenset()

    def tables_of(self) -> TableReader | None:
        """Tables that the stage itself holds."""
        return None

    def n_probes(self, family: HashFamily) -> int:
        """Buckets that it looks into in each table of a family; 0 for a stage that does not retrieve."""
        return 0

    def size(self, n_items: int) -> int:
        """About how many ids it joins, or lets through, of so many items; 0 if it sets no number."""
        return 0

    def call(self, batch: Batch) -> StageCall | None:
        """The stage as the C core runs it on a batch; None for a stage in Python, which :meth:`apply` is."""
        return None

    def apply(self, active: ActiveSet, batch: Batch) -> ActiveSet:
        """The next active set: ids ascending and unique in a row, as many rows as before.

        Parameters
        ----------
        active : ActiveSet
            The set so far; empty rows if this stage is the first.
        batch : Batch
            Queries, tables, vectors, seed and step. Nothing that it holds is written to.
        """
        raise NotImplementedError

    def inclusion(self, so_far: Inclusion, pairs: Pairs) -> Inclusion:
        """How likely each pair is to be in the set after this stage.

        Parameters
        ----------
        so_far : Inclusion
            The same after the stages before it. Its methods make the result.
        pairs : Pairs
            The ids of the set that the whole pipeline drew. None at first, to find out whether there is a
            law before anything is computed.

        Returns
        -------
        Inclusion
            By default :meth:`Inclusion.unknown`: weights then are conditional on this stage's outcome, if a
            later draw makes every item possible.
        """
        return so_far.unknown(f"{self}: its inclusion probabilities are not known")

    def simple_sample(self, later: Sequence[Stage], drawn: Drawn) -> npt.NDArray[np.int64] | None:
        """Size (rows,) of the simple random sample that it draws, where it is the pipeline's only draw.

        Parameters
        ----------
        later : sequence of Stage
            The stages after it.
        drawn : Drawn
            What the pipeline drew.

        Returns
        -------
        (rows,) int64 array or None
            The number of draws without replacement that all ids which are not certain are from; None for
            other designs.
        """
        return None

    def expected(self, so_far: Expected, population: Population) -> Expected:
        """The expected set of one query after this stage; by default the stage leaves it as it is."""
        return so_far

    def reason(self, before: int, after: Drawn, batch: Batch) -> str:
        """Why it joined or dropped ids, in words, for :meth:`Sampler.explain`.

        Parameters
        ----------
        before : int
            Ids of the set that it met.
        after : Drawn
            What it left.
        batch : Batch
            The batch of one query.
        """
        return "as this stage decides"

    def _shown(self) -> list[str]:
        words = []
        for field in attrs.fields(type(self)):
            value = getattr(self, field.name)
            if field.default is attrs.NOTHING:
                words.append(repr(value))
            elif value != field.default:
                words.append(f"{field.name}={value!r}")
        return words

    def __str__(self) -> str:
        return f"{self.name}({', '.join(self._shown())})"


class Stages:
    """Stages in a row, with what follows from the contract of each."""

    __slots__ = ()

    stages: tuple[Stage, ...]

    def __iter__(self) -> Iterator[Stage]:
        return iter(self.stages)

    def __len__(self) -> int:
        return len(self.stages)

    def __str__(self) -> str:
        return " | ".join(map(str, self.stages))

    __repr__ = __str__

    @property
    def needs(self) -> frozenset[str]:
        """What binding and sampling must be given: "queries", "tables", "frequencies"."""
        return frozenset().union(*(stage.needs() for stage in self.stages))

    @property
    def forces_ids(self) -> bool:
        """Whether ids that the caller names (true labels) stay in the set, whatever else is drawn."""
        return any(stage.forces_ids for stage in self.stages)

    @property
    def takes_include(self) -> bool:
        """Whether ids that the caller names (true labels) end up in the set."""
        return any(stage.forces_ids or stage.joins_every_item for stage in self.stages)

    @property
    def held_tables(self) -> tuple[TableReader, ...]:
        """The tables that stages hold themselves."""
        return tuple(tables for stage in self.stages if (tables := stage.tables_of()) is not None)

    def n_probes(self, family: HashFamily) -> int:
        """The most buckets that a stage looks into in each table of a family; 0 if none retrieves."""
        return max(stage.n_probes(family) for stage in self.stages)

    def size(self, n_items: int) -> int:
        """At most about so many ids of so many items, without those that tables return unbounded."""
        return min(sum(stage.size(n_items) for stage in self.stages), n_items)

    def simple_sample(self, drawn: Drawn) -> npt.NDArray[np.int64] | None:
        """Size (rows,) of the one simple random sample of the pipeline; None if it draws otherwise.

        Notes
        -----
        The stages before the first draw leave ids that are certain given the tables; what ``Uniform`` or
        ``Fill`` then joins is a simple random sample without replacement, of all items (Uniform: draws that
        hit certain ids count as zeros) or of those outside the set (Fill).
        """
        for at, stage in enumerate(self.stages):
            if not stage.outcome_is_certain:
                return stage.simple_sample(self.stages[at + 1 :], drawn)
        return None


#: The built-in stages by name; their modules fill it.
BUILTIN: dict[str, type[Stage]] = {}


def builtin(cls: S) -> S:
    """A class decorator: a stage that is known by its name without a plugin."""
    BUILTIN[cls.name] = cls
    return cls


#: Metadata of an attrs field that text and plain data cannot hold, such as tables.
UNPLAIN = {"plain": False}


def plain_fields(cls: type[Stage]) -> list[attrs.Attribute[Any]]:
    """The fields of a stage that text and plain data hold."""
    return [field for field in attrs.fields(cls) if field.metadata.get("plain", True)]


def required(batch_value: Any, what: str, stage: Stage) -> Any:
    """A thing that a stage needs, or an error that says how to give it."""
    if batch_value is None:
        raise ArgumentError(what, "nothing", f"a value for {stage}: bind(..., {what}=...)")
    return batch_value


def at_most(stage: Stage, amount: int, n_items: int) -> None:
    """Refuse a stage that asks for more ids than there are items."""
    if amount > n_items:
        raise ArgumentError(str(stage), amount, f"at most the {n_items} items that there are")
