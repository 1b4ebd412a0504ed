"""The stages of a sampler in tensor operations: the sets, counts and probabilities of the C core, to the bit.

Draws are those of the core's streams, Philox 4x32-10 (Salmon et al., SC 2011), and each stage does the same
arithmetic in the same order. Only the logarithm at the end is another: that of float64, rounded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import attrs
import numpy as np
import torch
from torch import Tensor

from lshsample._native.sample import table_order
from lshsample.errors import UnsupportedError
from lshsample.sampling import AtLeast, Cap, Full, Include, Pipeline, Retrieve, Stage, Top, Uniform
from lshsample.torch.tables import TorchTables

__all__ = ["TensorSet", "check_stages", "draw_sets", "reaches_all"]

_WORD = 0xFFFFFFFF
#: Purposes of random streams, as in rng.h.
_CAP, _TOP, _UNIFORM = 1, 2, 4


class TensorSet(NamedTuple):
    """The active sets of a batch as tensors.

    Attributes
    ----------
    indptr : (rows + 1,) int64 tensor
        Row r is ``ids[indptr[r]:indptr[r + 1]]``.
    ids : (n,) int64 tensor
        Ascending and unique in a row.
    counts : (n,) int64 tensor
        Numbers of collisions.
    log_inclusion : (n,) float32 tensor
        Log inclusion probabilities, given the tables.
    """

    indptr: Tensor
    ids: Tensor
    counts: Tensor
    log_inclusion: Tensor


def check_stages(pipeline: Pipeline) -> None:
    """Refuse pipelines whose stages have no implementation in tensor operations.

    Raises
    ------
    UnsupportedError
        The message has the stage.
    """
    wanted = (
        "Full(), or Retrieve() of the layer's own tables, AtLeast(m), then Top(k) or Cap(k), in this order "
        "and each at most once, and after them Include() and Uniform(n)"
    )
    before = -1
    for place, stage in enumerate(pipeline):
        known = _IMPLEMENTED.get(type(stage))
        now = -1 if known is None else known.order
        late = now < before or (now == before and now < _LAST)
        if late or (place == 0 and 0 < now < _LAST) or stage.tables_of() is not None:
            why = f"{stage} (stage {place + 1} of {pipeline}) is not drawn in tensor operations"
            raise UnsupportedError(f'{why}: backend="torch" takes {wanted}; use backend="core"')
        before = now


def draw_sets(
    pipeline: Pipeline,
    n_items: int,
    tables: TorchTables | None,
    queries: Tensor,
    include: tuple[Tensor, Tensor],
    *,
    seed: int,
    step: int,
    pooled: bool,
) -> TensorSet:
    """The active sets of a batch: those that the C core draws with the same codes, seed and step.

    Parameters
    ----------
    pipeline : Pipeline
        Stages that :func:`check_stages` accepts.
    n_items : int
        Number of items.
    tables : TorchTables or None
        For ``Retrieve``.
    queries : (m, dim) float32 tensor
        Finite rows on the tables' device.
    include : pair of int64 tensors
        Ids (nnz,) and row pointers (m + 1,) of ``Include``.
    seed, step : int
        They determine the draws.
    pooled : bool
        One set for the whole batch.
    """
    state = _Sets.empty(1 if pooled else len(queries), n_items, queries.device)
    batch = _Batch(tables, queries, include, pooled, _Streams(seed, step))
    seen: dict[type[Stage], int] = {}
    for stage in pipeline:
        seen[type(stage)] = ordinal = seen.get(type(stage), -1) + 1
        state = _IMPLEMENTED[type(stage)].apply(stage, state, batch, ordinal)
    return state.result()


@attrs.frozen
class _Streams:
    """Random words as functions of (purpose, row, index)."""

    seed: int
    step: int

    def words(self, purpose: int, rows: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """The first two words of 32 bits, as int64 tensors of the shape of rows and index together."""
        stream = rows + torch.zeros_like(index)
        c0, c1 = (index + torch.zeros_like(rows)) & _WORD, stream & _WORD
        c2 = torch.full_like(c0, self.step & _WORD)
        c3 = torch.full_like(c0, (purpose ^ (self.step >> 32) << 8) & _WORD)
        k0, k1 = self.seed & _WORD, self.seed >> 32
        for _ in range(10):
            p0, p1 = c0 * 0xD2511F53, c2 * 0xCD9E8D57  # of 64 bits; the sign bit is one of them
            c0, c1, c2, c3 = (
                (p1 >> 32 & _WORD) ^ c1 ^ k0,
                p1 & _WORD,
                (p0 >> 32 & _WORD) ^ c3 ^ k1,
                p0 & _WORD,
            )
            k0, k1 = k0 + 0x9E3779B9 & _WORD, k1 + 0xBB67AE85 & _WORD
        return c0, c1


@attrs.frozen
class _Batch:
    """What stages read."""

    tables: TorchTables | None
    queries: Tensor
    include: tuple[Tensor, Tensor]
    pooled: bool
    streams: _Streams


@attrs.frozen
class _Sets:
    """The ids seen so far, by row: ``keys`` are row * n_items + id, ascending and unique.

    ``chance`` is the probability of each to be in the set, ``rest`` that of ids that were not seen.
    """

    n_rows: int
    n_items: int
    keys: Tensor
    counts: Tensor
    chance: Tensor
    held: Tensor
    rest: float = 0.0

    @classmethod
    def empty(cls, n_rows: int, n_items: int, device: torch.device) -> _Sets:
        none = torch.empty(0, dtype=torch.int64, device=device)
        return cls(n_rows, n_items, none, none, none.to(torch.float32), none.to(torch.bool))

    @property
    def rows(self) -> Tensor:
        return torch.div(self.keys, self.n_items, rounding_mode="floor")

    @property
    def ids(self) -> Tensor:
        return self.keys % self.n_items

    def without(self, dropped: Tensor) -> _Sets:
        """Some ids are not in the set, for certain."""
        return attrs.evolve(self, held=self.held & ~dropped, chance=self.chance.masked_fill(dropped, 0.0))

    def _joined(self, keys: Tensor) -> tuple[_Sets, Tensor]:
        """With places for other keys, which are not in the set yet; and these places."""
        merged, places = torch.unique(torch.cat([self.keys, keys]), return_inverse=True)
        own, added = places[: len(self.keys)], places[len(self.keys) :]
        counts = torch.zeros_like(merged).index_copy_(0, own, self.counts)
        chance = torch.full(merged.shape, self.rest, dtype=torch.float32, device=merged.device)
        held = torch.zeros(merged.shape, dtype=torch.bool, device=merged.device)
        chance.index_copy_(0, own, self.chance)
        held[own] = self.held
        return attrs.evolve(self, keys=merged, counts=counts, chance=chance, held=held), added

    def forced(self, keys: Tensor) -> _Sets:
        """With ids of the caller, whose probability is 1."""
        joined, places = self._joined(keys)
        joined.held[places] = True
        joined.chance[places] = 1.0
        return joined

    def drawn(self, keys: Tensor, share: float) -> _Sets:
        """With ids that were drawn, each item with probability ``share``, independently of the set."""
        chance = self.chance.to(torch.float64)
        mixed = (chance + (1 - chance) * share).to(torch.float32)
        rest = self.rest + (1 - self.rest) * share
        joined, places = attrs.evolve(self, chance=mixed, rest=rest)._joined(keys)
        joined.held[places] = True
        return joined

    def ranks(self, priority: Tensor) -> Tensor:
        """Each id's rank in its row by priority, equal ones by id; ids that are not held come last."""
        by_priority = torch.sort(priority.masked_fill(~self.held, torch.iinfo(torch.int64).max), stable=True)
        order = by_priority.indices
        rows = self.rows
        order = order[torch.sort(rows[order], stable=True).indices]
        starts = torch.cumsum(torch.bincount(rows, minlength=self.n_rows), 0)
        first = torch.cat([starts.new_zeros(1), starts])[rows[order]]
        ranks = torch.empty_like(order)
        ranks[order] = torch.arange(len(order), device=order.device) - first
        return ranks

    def result(self) -> TensorSet:
        rows = self.rows[self.held]
        indptr = torch.zeros(self.n_rows + 1, dtype=torch.int64, device=self.keys.device)
        torch.cumsum(torch.bincount(rows, minlength=self.n_rows), 0, out=indptr[1:])
        log_inclusion = self.chance[self.held].to(torch.float64).log().to(torch.float32)
        return TensorSet(indptr, self.ids[self.held], self.counts[self.held], log_inclusion)


def _rows_of(starts: Tensor) -> Tensor:
    return torch.repeat_interleave(torch.arange(len(starts) - 1, device=starts.device), starts.diff())


def _retrieve(stage: Retrieve, state: _Sets, batch: _Batch, ordinal: int) -> _Sets:
    """The candidates of the queries; with a budget, of tables in random order until there are enough."""
    tables, queries, streams = batch.tables, batch.queries, batch.streams
    assert tables is not None
    order = None
    if stage.budget is not None:
        order = torch.empty((state.n_rows, tables.n_tables), dtype=torch.int64)
        for row in range(state.n_rows):
            own = table_order(tables.n_tables, seed=streams.seed, step=streams.step, row=row, ordinal=0)
            order[row] = torch.from_numpy(own.astype(np.int64))
        order = order.to(queries.device)
    probes = stage.n_probes(tables.family)
    found = tables.retrieve(queries, probes, pooled=batch.pooled, order=order, budget=stage.budget)
    keys = _rows_of(found.indptr) * state.n_items + found.ids
    chance = torch.ones(len(keys), dtype=torch.float32, device=keys.device)
    return attrs.evolve(state, keys=keys, counts=found.counts, chance=chance, held=chance > 0)


def _at_least(stage: AtLeast, state: _Sets, batch: _Batch, ordinal: int) -> _Sets:
    return state.without(state.counts < stage.m)


def _include(stage: Include, state: _Sets, batch: _Batch, ordinal: int) -> _Sets:
    ids, starts = batch.include
    return state.forced(ids if batch.pooled else _rows_of(starts) * state.n_items + ids)


def _full(stage: Full, state: _Sets, batch: _Batch, ordinal: int) -> _Sets:
    return state.forced(torch.arange(state.n_rows * state.n_items, device=state.keys.device))


def _top(stage: Top, state: _Sets, batch: _Batch, ordinal: int) -> _Sets:
    """The k ids of each row with the most collisions; of those tied at the last place a random part."""
    k, rows, counts = stage.k, state.rows, state.counts.masked_fill(~state.held, 0)
    first, _ = batch.streams.words(_TOP, rows, state.ids)
    ranks = state.ranks((0x7FFFFFFF - counts << 32) + first)
    sizes = torch.bincount(rows[state.held], minlength=state.n_rows)
    last = state.held & (ranks == k - 1)
    level = torch.zeros_like(sizes)
    level[rows[last]] = counts[last]
    above, tied = state.held & (counts > level[rows]), state.held & (counts == level[rows])
    left = k - torch.bincount(rows[above], minlength=state.n_rows)
    among = torch.bincount(rows[tied], minlength=state.n_rows).clamp_min(1)
    fraction = (left.to(torch.float64) / among).to(torch.float32)
    share = torch.where(above, 1.0, torch.where(tied, fraction[rows], 0.0))
    full = (sizes > k)[rows]
    chance = torch.where(full, state.chance * share, state.chance)
    return attrs.evolve(state, held=state.held & ~(full & (ranks >= k)), chance=chance)


def _cap(stage: Cap, state: _Sets, batch: _Batch, ordinal: int) -> _Sets:
    """At most k ids of each row, drawn uniformly."""
    k, rows = stage.k, state.rows
    first, _ = batch.streams.words(_CAP, rows, state.ids)
    ranks = state.ranks(first)
    sizes = torch.bincount(rows[state.held], minlength=state.n_rows)
    fraction = (k / sizes.to(torch.float64).clamp_min(k))[rows]
    chance = (state.chance.to(torch.float64) * fraction).to(torch.float32)
    return attrs.evolve(state, held=state.held & (ranks < k), chance=chance)


def _uniform(stage: Uniform, state: _Sets, batch: _Batch, ordinal: int) -> _Sets:
    """n distinct ids of each row by Floyd's algorithm (Bentley & Floyd 1987), all steps at a time.

    Step t draws an id up to N - n + t, and takes this last one instead if the id was taken before: if an
    earlier step drew it too, or if it is itself the last one of an earlier step that took that. The second is
    a chain of steps, whose end is found by doubling.
    """
    n, n_items, device = stage.n, state.n_items, state.keys.device
    rows = torch.arange(state.n_rows, device=device)[:, None]
    steps = torch.arange(n, device=device)
    first, second = batch.streams.words(_UNIFORM + 16 * ordinal, rows, steps)
    last = n_items - n + steps
    drawn = (first * (last + 1) + (second * (last + 1) >> 32)) >> 32
    ordered = torch.sort(drawn, dim=1, stable=True)
    repeats = torch.zeros_like(drawn, dtype=torch.bool)
    again = ordered.values[:, 1:] == ordered.values[:, :-1]
    repeats.scatter_(1, ordered.indices[:, 1:], again)
    # Step n stands for none.
    repeats = torch.cat([repeats, repeats.new_zeros(len(repeats), 1)], 1)
    link = torch.where((drawn >= n_items - n) & (drawn < last), drawn - (n_items - n), n)
    link = torch.cat([link, link.new_full((len(link), 1), n)], 1)
    for _ in range(n.bit_length()):
        repeats = repeats | repeats.gather(1, link)
        link = link.gather(1, link)
    ids = torch.where(repeats[:, :n], last, drawn)
    return state.drawn((rows * n_items + ids).reshape(-1), n / n_items)


@attrs.frozen
class _Implemented:
    """A stage's implementation, its place in the order of stages, and whether it makes all items possible."""

    apply: Callable[[Any, _Sets, _Batch, int], _Sets]
    order: int
    reaches_all: bool = False


#: From this place on, stages may come in any order and several times.
_LAST = 3
_IMPLEMENTED: dict[type[Stage], _Implemented] = {
    Retrieve: _Implemented(_retrieve, 0),
    AtLeast: _Implemented(_at_least, 1),
    Top: _Implemented(_top, 2),
    Cap: _Implemented(_cap, 2),
    Include: _Implemented(_include, _LAST),
    Uniform: _Implemented(_uniform, _LAST, reaches_all=True),
    Full: _Implemented(_full, _LAST, reaches_all=True),
}


def reaches_all(pipeline: Pipeline) -> bool:
    """Whether every item has a positive probability given the tables, whatever they contain."""
    return any(_IMPLEMENTED[type(stage)].reaches_all for stage in pipeline)
