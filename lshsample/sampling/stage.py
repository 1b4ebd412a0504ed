"""The contract of a stage: an immutable object that maps an active set to the next, with its law."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Self, TypeVar

import attrs
import numpy as np
import numpy.typing as npt

from lshsample._native.sample import Drawn, StageCall
from lshsample.errors import ArgumentError, PluginError
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
    """The contract of a stage: everything that samplers, descriptions and explanations use.

    Stages, built-in and from plugins alike, are subclasses of
    :class:`~lshsample.sampling.SamplerStage`, which composes them with ``|``.
    """

    #: Its name in plain data and text: the name of the class.
    name: ClassVar[str]
    #: Whether ids included by the caller are in the set after it, and are not dropped later.
    forces_ids: ClassVar[bool] = False
    #: Whether every item is in the set after it.
    joins_every_item: ClassVar[bool] = False
    #: Whether its output is deterministic, given the tables and the set before it.
    outcome_is_certain: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.name = cls.__name__

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        # Otherwise the first assignment in its __init__ would fail, with an error that does not say why.
        if "__attrs_attrs__" not in vars(cls):
            where = f"{cls.__module__}.{cls.__qualname__}"
            raise PluginError(f"stage {where} is not a frozen attrs class: decorate it with @attrs.frozen")
        return super().__new__(cls)

    def check(self, n_items: int) -> None:
        """Raise ArgumentError, when a sampler is bound, if the stage does not fit the number of items."""

    def check_family(self, family: HashFamily) -> None:
        """Raise ArgumentError, when a sampler is bound, if the stage cannot use tables of the family."""

    def needs(self) -> frozenset[str]:
        """What it requires: any of "queries", "tables", "frequencies"."""
        return frozenset()

    def tables_of(self) -> TableReader | None:
        """Tables that the stage holds itself, or None."""
        return None

    def n_probes(self, family: HashFamily) -> int:
        """Number of buckets that it probes in each table of a family; 0 if it does not retrieve."""
        return 0

    def size(self, n_items: int) -> int:
        """Approximate number of ids, of ``n_items``, that it adds or keeps; 0 if it does not limit them."""
        return 0

    def call(self, batch: Batch) -> StageCall | None:
        """The stage as a call of the C core; None for a Python stage, which implements :meth:`apply`."""
        return None

    @property
    def runs_in_core(self) -> bool:
        """Whether it is a call of the C core, which draws the same for a query in any part of a batch."""
        return type(self).call is not Stage.call

    def apply(self, active: ActiveSet, batch: Batch) -> ActiveSet:
        """The next active set: ids ascending and unique in a row, as many rows as before.

        Parameters
        ----------
        active : ActiveSet
            The set after the previous stages; empty rows if this stage is the first.
        batch : Batch
            Queries, tables, vectors, seed and step, which must not be modified.
        """
        raise NotImplementedError

    def inclusion(self, so_far: Inclusion, pairs: Pairs) -> Inclusion:
        """Probability of each pair to be in the set after this stage.

        Parameters
        ----------
        so_far : Inclusion
            The probabilities after the previous stages. Its methods return the result.
        pairs : Pairs
            The ids of the set that the whole pipeline drew. The first call has no pairs, to find out whether
            the pipeline has a law before anything is computed.

        Returns
        -------
        Inclusion
            By default :meth:`Inclusion.unknown`: weights are then conditional on the output of this stage,
            if a later draw makes every item possible.
        """
        return so_far.unknown(f"{self}: its inclusion probabilities are not known")

    def simple_sample(self, later: Sequence[Stage], drawn: Drawn) -> npt.NDArray[np.int64] | None:
        """Size (rows,) of the simple random sample that it draws, if it is the pipeline's only draw.

        Parameters
        ----------
        later : sequence of Stage
            The stages after it.
        drawn : Drawn
            The set drawn by the pipeline.

        Returns
        -------
        (rows,) int64 array or None
            The number of draws without replacement from which all uncertain ids are; None for other
            designs.
        """
        return None

    def expected(self, so_far: Expected, population: Population) -> Expected:
        """The expected set of one query after this stage; by default unchanged."""
        return so_far

    def reason(self, before: int, after: Drawn, batch: Batch) -> str:
        """Why it added or removed ids, as text for :meth:`Sampler.explain`.

        Parameters
        ----------
        before : int
            Number of ids before the stage.
        after : Drawn
            The set after the stage.
        batch : Batch
            The batch of one query.
        """
        return "by the rule of this stage"

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
    """A sequence of stages, with properties that follow from those of each."""

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
    def runs_in_core(self) -> bool:
        """Whether all stages are calls of the C core."""
        return all(stage.runs_in_core for stage in self.stages)

    @property
    def needs(self) -> frozenset[str]:
        """What its stages require: any of "queries", "tables", "frequencies"."""
        return frozenset().union(*(stage.needs() for stage in self.stages))

    @property
    def forces_ids(self) -> bool:
        """Whether ids included by the caller (true labels) are always in the set."""
        return any(stage.forces_ids for stage in self.stages)

    @property
    def takes_include(self) -> bool:
        """Whether ids included by the caller (true labels) are in the set, or all items are."""
        return any(stage.forces_ids or stage.joins_every_item for stage in self.stages)

    @property
    def held_tables(self) -> tuple[TableReader, ...]:
        """The tables that its stages hold themselves."""
        return tuple(tables for stage in self.stages if (tables := stage.tables_of()) is not None)

    def n_probes(self, family: HashFamily) -> int:
        """Maximum, over the stages, of the buckets probed in each table of a family; 0 if none retrieves."""
        return max(stage.n_probes(family) for stage in self.stages)

    def size(self, n_items: int) -> int:
        """Approximate maximum size of the set, without an unlimited number of retrieved ids."""
        return min(sum(stage.size(n_items) for stage in self.stages), n_items)

    def simple_sample(self, drawn: Drawn) -> npt.NDArray[np.int64] | None:
        """Size (rows,) of the pipeline's simple random sample; None for other designs.

        Notes
        -----
        The ids from the stages before the first draw are certain given the tables; ``Uniform`` or ``Fill``
        then add a simple random sample without replacement of all items (Uniform: draws of certain ids count
        as zeros) or of those outside the set (Fill).
        """
        for at, stage in enumerate(self.stages):
            if not stage.outcome_is_certain:
                size = stage.simple_sample(self.stages[at + 1 :], drawn)
                if size is not None and (np.shape(size) != (len(drawn.indptr) - 1,)):
                    given, wanted = np.shape(size), (len(drawn.indptr) - 1,)
                    raise PluginError(f"{stage}.simple_sample returned shape {given}, expected {wanted}")
                return size
        return None


#: The built-in stages by name, registered by their modules.
BUILTIN: dict[str, type[Stage]] = {}


def builtin(cls: S) -> S:
    """A class decorator that registers a built-in stage by its name."""
    BUILTIN[cls.name] = cls
    return cls


#: Metadata of an attrs field that has no form in text and plain data, such as tables.
UNPLAIN = {"plain": False}


def plain_fields(cls: type[Stage]) -> list[attrs.Attribute[Any]]:
    """The fields of a stage that are part of its text and plain data."""
    return [field for field in attrs.fields(cls) if field.metadata.get("plain", True)]


def required(batch_value: Any, what: str, stage: Stage) -> Any:
    """A value that a stage requires; ArgumentError, which says how to pass it, if it is None."""
    if batch_value is None:
        raise ArgumentError(what, "nothing", f"given, since {stage} requires them: bind(..., {what}=...)")
    return batch_value


def at_most(stage: Stage, amount: int, n_items: int) -> None:
    """Raise ArgumentError for a stage that requires more ids than there are items."""
    if amount > n_items:
        raise ArgumentError(str(stage), amount, f"a stage of at most {n_items} ids, the number of items")
