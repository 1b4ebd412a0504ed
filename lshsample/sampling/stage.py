"""What a stage is: a small frozen object that turns one active set into the next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import numpy as np
import numpy.typing as npt

from lshsample._native.sample import AliasTable, Pattern, StageCall
from lshsample.errors import ArgumentError
from lshsample.family import Rows

if TYPE_CHECKING:
    from lshsample.sampling.active_set import ActiveSet
    from lshsample.sampling.pipeline import Pipeline
    from lshsample.tables import TableReader

__all__ = ["Batch", "BuiltinStage", "SamplerStage", "Stage"]


@attrs.frozen(eq=False, kw_only=True)
class Batch:
    """What a stage may look at: the batch and what the sampler is bound to.

    Attributes
    ----------
    queries : (n, dim) rows or None
        The queries; None where no stage needs them.
    n_queries, n_items : int
        Sizes.
    include : pattern or None
        ``(indptr, indices)`` of the ids that :class:`Include` joins.
    state : TableReader or None
        The tables that the sampler is bound to, as they were when the call began.
    vectors : (n_items, dim) rows or None
        The items' own vectors.
    frequencies : (n_items,) float64 array or None
        The items' relative frequencies, with sum 1.
    seed, step : int
        They name the draws.
    pooled : bool
        Whether there is one row for the whole batch.
    threads : int
        At most so many threads.
    """

    queries: Rows | None
    n_queries: int
    n_items: int
    include: Pattern | None
    state: TableReader | None
    vectors: Rows | None
    alias: AliasTable | None
    seed: int
    step: int
    pooled: bool
    threads: int
    own_states: Mapping[int, TableReader] = attrs.field(factory=dict, repr=False)

    def state_of(self, tables: TableReader) -> TableReader:
        """The state of tables that a stage holds itself (``tables_of``), as it was when the call began."""
        state = self.own_states.get(id(tables))
        return tables.snapshot() if state is None else state

    @property
    def frequencies(self) -> npt.NDArray[np.float64] | None:
        """The items' relative frequencies."""
        return None if self.alias is None else self.alias.frequency

    @property
    def n_rows(self) -> int:
        """Rows of the active set: one per query, or 1 if pooled."""
        return 1 if self.pooled else self.n_queries

    def generator(self, place: int = 0) -> np.random.Generator:
        """A random generator that (seed, step, place) determine, for a stage's own draws."""
        return np.random.Generator(np.random.Philox(key=[self.seed, self.step], counter=[0, 0, 0, place]))


@attrs.frozen
class Stage:
    """Base of all stages; compose them with ``|``."""

    #: Words of the stage that plain data and text know it by; the class's name.
    name: ClassVar[str]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.name = cls.__name__

    def __or__(self, other: Stage | Pipeline) -> Pipeline:
        from lshsample.sampling.pipeline import Pipeline

        return Pipeline((self,)) | other

    def bind(self, **places: Any) -> Any:
        """As :meth:`Pipeline.bind` of this stage alone."""
        from lshsample.sampling.pipeline import Pipeline

        return Pipeline((self,)).bind(**places)

    def sample(self, queries: Any, **options: Any) -> ActiveSet:
        """As :meth:`Pipeline.sample` of this stage alone."""
        from lshsample.sampling.pipeline import Pipeline

        return Pipeline((self,)).sample(queries, **options)

    def check(self, n_items: int) -> None:
        """Refuse, when a sampler is bound, what does not fit the number of items."""

    def needs(self) -> frozenset[str]:
        """What it cannot do without: "queries", "tables", "frequencies"."""
        return frozenset()

    def tables_of(self) -> TableReader | None:
        """Tables that the stage itself holds."""
        return None

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


class BuiltinStage(Stage):
    """A stage that the C core runs, fused with its neighbours."""

    def call(self, batch: Batch, place: int, ordinal: int) -> StageCall:
        """The stage as the C core takes it, for one batch."""
        raise NotImplementedError


class SamplerStage(Stage):
    """Base of stages written in Python, yours included: they stand anywhere in a pipeline.

    Subclass it as a frozen attrs class and implement :meth:`apply`. Its outcome is taken as given: later
    stages draw conditionally on it, so a lawful draw after it (``Uniform``) makes the whole lawful given
    the tables; without one the set is typed as biased and the error names this stage.

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

    def apply(self, active: ActiveSet, batch: Batch) -> ActiveSet:
        """The next active set: ids ascending and unique in a row, as many rows as before.

        Parameters
        ----------
        active : ActiveSet
            The set so far; empty rows if this stage is the first.
        batch : Batch
            Queries, tables, vectors, seed and step.
        """
        raise NotImplementedError


def required(batch_value: Any, what: str, stage: Stage) -> Any:
    """A thing that a stage needs, or an error that says how to give it."""
    if batch_value is None:
        raise ArgumentError(what, "nothing", f"a value for {stage}: bind(..., {what}=...)")
    return batch_value


def at_most(stage: Stage, amount: int, n_items: int) -> None:
    """Refuse a stage that asks for more ids than there are items."""
    if amount > n_items:
        raise ArgumentError(str(stage), amount, f"at most the {n_items} items that there are")
