"""A shard of a wide output layer: some of its blocks of units, with weights, optimizer state and tables.

A :class:`Shard` knows nothing of the process that it is in. Its methods take and return arrays and plain
values, which may come from another process (:mod:`lshsample.nn.shards`).

Every sum over units is a sum over blocks, added in pairs, then pairs of pairs, and so on. A shard holds a
power of two of neighbouring blocks, so that the sums of shards are the inner nodes of one tree: they have the
same bits however many shards there are.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample import memory
from lshsample.display import array_text
from lshsample.errors import ArgumentError, CheckpointError
from lshsample.nn import tensorfile
from lshsample.nn.below import BelowCall, BelowWork
from lshsample.nn.best import Chosen, best_units, merge_top
from lshsample.nn.bundle import (
    BLOCK_FILES,
    MANIFEST,
    Bundle,
    Kind,
    WrittenFiles,
    read_bundle,
    write_bundle,
    write_data_file,
)
from lshsample.nn.exchange import SentRows, as_matrix
from lshsample.nn.layer import BuildContext
from lshsample.nn.losses import Logits, Loss
from lshsample.nn.optimizers import Optimizer
from lshsample.nn.parameter import Parameter, Update
from lshsample.nn.sampled import SampledLayer
from lshsample.nn.signals import Block, LossGradient, Run, Signal, csr_from_parts, values_of
from lshsample.nn.sums import Gradients, tree
from lshsample.sampling.functions import stream_seed

if TYPE_CHECKING:
    from lshsample.nn.sharded import Sharded

__all__ = ["Forward", "LabelPart", "Room", "Shard", "Summaries", "label_part"]

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

_BEST = "best/"
#: The state of one shard, to restart it from.
_SNAPSHOT = Kind("snapshot", BLOCK_FILES)


@attrs.frozen(eq=False)
class LabelPart:
    """The labels of a batch that lie in a range of units, counted from its first one, with their targets.

    Attributes
    ----------
    counts : ndarray of int32, shape (rows,)
        Labels of each row.
    ids : ndarray of int32
    weights : ndarray of float32
        Target of each label.
    """

    counts: Int32 = attrs.field(repr=array_text)
    ids: Int32 = attrs.field(repr=array_text)
    weights: Float32 = attrs.field(repr=array_text)

    def part(self, first: int, last: int) -> LabelPart:
        """Those in a part of the range."""
        inside = (self.ids >= first) & (self.ids < last)
        rows = np.repeat(np.arange(len(self.counts)), self.counts)[inside]
        counts = np.bincount(rows, minlength=len(self.counts)).astype(np.int32)
        return LabelPart(counts, self.ids[inside] - np.int32(first), self.weights[inside])

    def csr(self, units: int) -> sp.csr_array:
        """The labels as a matrix of ones."""
        indptr = np.zeros(len(self.counts) + 1, np.int64)
        np.cumsum(self.counts, out=indptr[1:])
        return csr_from_parts(indptr, self.ids, np.ones(len(self.ids), np.float32), (len(self.counts), units))


def label_part(labels: sp.csr_array, weights: Float32 | None = None) -> LabelPart:
    """All labels of a batch."""
    counts = np.diff(labels.indptr).astype(np.int32)
    ids = np.asarray(labels.indices, np.int32)
    return LabelPart(counts, ids, np.ones(len(ids), np.float32) if weights is None else weights)


@attrs.frozen(eq=False)
class Summaries:
    """What a loss knows of a part of the rows' logits, without the columns that are 0 in all rows."""

    columns: Int32 = attrs.field(repr=array_text)
    values: Float64 = attrs.field(repr=array_text)
    width: int

    @classmethod
    def of(cls, whole: Float64) -> Summaries:
        """Leave out the columns of zeros."""
        columns = np.flatnonzero(whole.any(axis=0)).astype(np.int32)
        return cls(columns, np.ascontiguousarray(whole[:, columns]), whole.shape[1])

    def whole(self) -> Float64:
        """All columns."""
        out = np.zeros((len(self.values), self.width))
        out[:, self.columns] = self.values
        return out


@attrs.frozen(eq=False)
class Forward:
    """What a shard returns of the forward pass of a batch.

    Attributes
    ----------
    summaries : Summaries
        What the loss needs of its logits.
    active : int
        Number of its logits.
    best : Chosen or None
        The best active unit of each row, if it was requested.
    """

    summaries: Summaries
    active: int
    best: Chosen | None


@attrs.frozen
class Room:
    """What a shard still has to allocate, and what there is where it is.

    Attributes
    ----------
    machine : str
        Name of its machine, whose memory other shards may need too.
    needed : int
        Bytes.
    available : int or None
        Bytes that its process can allocate; None if the system does not report it.
    """

    machine: str
    needed: int
    available: int | None


@attrs.define(eq=False)
class _Pass:
    """A block's forward pass, which waits for its backward pass."""

    logits: Logits
    summary: Float64
    signal: Signal
    backward: Callable[[LossGradient], tuple[Signal | None, list[Update]]]


class _Block:
    """A range of units: a sampled layer of its own, and its number among the blocks."""

    def __init__(self, number: int, first: int, layer: SampledLayer) -> None:
        self.number, self.first, self.layer = number, first, layer
        self.last = first + layer.units
        self.best: dict[str, npt.NDArray[Any]] = {}
        self.waiting: _Pass | None = None

    def file(self) -> str:
        return f"block{self.number}.safetensors"

    def tables_file(self) -> str:
        return f"block{self.number}tables.lsh"

    def named(self) -> dict[str, Parameter]:
        """Its parameters by the names of their tensors."""
        return {p.name.partition(".")[2]: p for p in self.layer.parameters}


class Shard:
    """Some neighbouring blocks of a :class:`~lshsample.nn.Sharded` layer.

    Parameters
    ----------
    spec : Sharded
        The layer.
    context : BuildContext
        Its place in the network.
    first, last : int
        Its blocks: ``first`` to ``last - 1``, a power of two of them.
    threads : int, optional
        Number of threads; by default those that are given to each method. Results do not depend on it.
    """

    def __init__(
        self, spec: Sharded, context: BuildContext, first: int, last: int, threads: int | None = None
    ) -> None:
        self.spec, self.context, self._threads = spec, context, threads
        self.blocks = []
        for number in range(first, last):
            placed = attrs.evolve(context, first_unit=spec.bounds()[number])
            layer = SampledLayer(spec.of_block(number, context), placed)
            self.blocks.append(_Block(number, placed.first_unit, layer))
        self.first, self.last = self.blocks[0].first, self.blocks[-1].last
        self._updates: list[Update] = []
        self._sent: SentRows | None = None
        self._below = BelowWork()

    def _count(self, threads: int) -> int:
        return threads if self._threads is None else self._threads

    @property
    def loss(self) -> Loss:
        """The loss of the layer."""
        assert self.spec.loss is not None
        return self.spec.loss

    # Parameters.

    def room(self, slots: int, threads: int) -> Room:
        """What :meth:`allocate` would need, tables included."""
        missing = self._missing(slots)
        needed = sum(b.layer.parameters_needed(slots) for b in missing)
        tables = max((b.layer.tables_needed(self._count(threads)) for b in missing), default=0) * len(missing)
        return Room(platform.node(), needed + tables, memory.available_bytes())

    def allocate(self, slots: int, threads: int) -> None:
        """Allocate weights and optimizer state; MemoryBudgetError if they and the tables do not fit."""
        room = self.room(slots, threads)
        if room.needed:
            what = f"labels {self.first:,} to {self.last - 1:,} of layer {self.context.index}"
            memory.require_bytes(room.needed, what)
        for block in self._missing(slots):
            block.layer.allocate(slots, self._count(threads))

    def _missing(self, slots: int) -> list[_Block]:
        return [block for block in self.blocks if not block.layer.is_allocated(slots)]

    def reset_state(self) -> None:
        """Set the optimizer's state to 0."""
        for block in self.blocks:
            block.layer.reset_state()

    def settle_weights(self) -> None:
        """Apply weight decay to the stored weights."""
        for block in self.blocks:
            block.layer.settle_weights()

    def forget(self) -> None:
        """Discard the tables."""
        for block in self.blocks:
            block.layer.forget()

    def observe(self, labels: LabelPart) -> None:
        """Count the frequencies of labels, for samplers that draw by them."""
        for block in self.blocks:
            own = labels.part(block.first - self.first, block.last - self.first)
            block.layer.observe_labels(own.csr(block.layer.units))

    def begin_biases(self, values: Float32) -> None:
        """Set the biases of blocks that have not been trained, from those of the shard's units."""
        for block in self.blocks:
            block.layer.begin_biases(values[block.first - self.first : block.last - self.first])

    def keep_best(self) -> None:
        """Keep a copy of the weights."""
        for block in self.blocks:
            block.best = {name: p.weights.copy() for name, p in block.named().items()}

    def restore_best(self) -> None:
        """Return to the weights that were kept."""
        for block in self.blocks:
            for name, parameter in block.named().items():
                parameter.weights[...] = block.best[name]

    # Training.

    def forward_below(self, call: BelowCall, threads: int) -> list[Float32]:
        """As :meth:`BelowWork.forward`: the hidden rows of some parts of a batch."""
        return self._below.forward(call, self._count(threads))

    def backward_below(self, first: int, last: int, gradients: Mapping[int, Float32]) -> Gradients | None:
        """As :meth:`BelowWork.backward`."""
        return self._below.backward(first, last, gradients)

    def forward(
        self, h: Float32 | SentRows, labels: LabelPart, seed: int, step: int, threads: int, want_best: bool
    ) -> Forward:
        """Update tables that are due, compute the logits of the active units, and summarise them."""
        threads = self._count(threads)
        self._sent = h if isinstance(h, SentRows) else None
        h = as_matrix(h)
        passes, best, active = [], [], 0
        for block in self.blocks:
            block.layer.prepare(step - 1, threads)
            own = labels.part(block.first - self.first, block.last - self.first)
            targets = own.csr(block.layer.units)
            # A stream of draws for each block.
            run = Run(threads, stream_seed(seed, 1 + block.number), step, True, True, targets)
            signal, log_inclusion, backward = block.layer.logits(Block(h, h.shape[1]), run)
            active += values_of(signal).size
            if want_best:
                units, scores = best_units(signal)
                ids = np.where(units < 0, -1, units + block.first).astype(np.int32)
                best.append(Chosen(ids[:, None], scores[:, None]))
            logits = Logits.of(signal, targets, own.weights, log_inclusion, part=True)
            logits = attrs.evolve(logits, units=self.spec.units)
            block.waiting = _Pass(logits, self.loss.summarise(logits, threads), signal, backward)
            passes.append(block.waiting.summary)
        whole = tree(passes, lambda a, b: self.loss.combine([a, b])[0])
        return Forward(Summaries.of(whole), active, merge_top(best, 1) if want_best else None)

    def backward(self, total: Summaries, scale: float, threads: int) -> Any:
        """The gradient of the input, in the form that its rows were sent in, from the summaries of whole
        rows; None if no layer below needs it. Updates wait for :meth:`update`.
        """
        threads, whole = self._count(threads), total.whole()
        gradients, self._updates = [], []
        for block in self.blocks:
            done, block.waiting = block.waiting, None
            if done is None:
                raise ArgumentError("backward", "no forward pass before", "called after forward")
            self.loss.finish(done.logits, done.summary, whole, threads)
            gradient, updates = done.backward(LossGradient(done.signal, scale))
            self._updates += updates
            if gradient is not None:
                gradients.append(values_of(gradient))
        if not gradients:
            return None
        if self._sent is not None:
            return self._sent.answer(gradients)
        return tree(gradients, lambda a, b: np.add(a, b, out=a))

    def update(self, optimizer: Optimizer, lr: float, kept: float, step: int, threads: int) -> None:
        """Decay the weights, and update them by the gradient of the last backward pass."""
        updates, self._updates = self._updates, []
        if kept != 1.0:
            for block in self.blocks:
                for parameter in block.layer.parameters:
                    if parameter.decays:
                        parameter.decay(kept)
        optimizer.apply(updates, lr, step, self._count(threads))

    # Prediction.

    def top_k(
        self, h: Float32 | SentRows, k: int, candidates: tuple[Int64, Int32] | None, threads: int
    ) -> Chosen:
        """The best k units of each row, of all or of candidates (indptr, units of the layer)."""
        h, parts = as_matrix(h), []
        for block in self.blocks:
            lists = None if candidates is None else _Lists(*candidates).part(block.first, block.last)
            ids, scores = block.layer.top_k(h, min(k, block.layer.units), lists, threads=self._count(threads))
            parts.append(Chosen(np.where(ids < 0, -1, ids + block.first).astype(np.int32), scores))
        return merge_top(parts, k)

    def top_retrieved(self, h: Float32 | SentRows, k: int, threads: int) -> tuple[Chosen, int]:
        """The best k of the units that the tables retrieve for each row, and the number of those."""
        h, parts, found = as_matrix(h), [], 0
        for block in self.blocks:
            lists = block.layer.candidates(h, self._count(threads))
            found += len(lists.ids)
            ids, scores = block.layer.top_k(h, min(k, block.layer.units), lists, threads=self._count(threads))
            parts.append(Chosen(np.where(ids < 0, -1, ids + block.first).astype(np.int32), scores))
        return merge_top(parts, k), found

    def score(self, h: Float32 | SentRows, threads: int) -> Float32:
        """Logits of all units."""
        h = as_matrix(h)
        return np.concatenate([b.layer.score(h, threads=self._count(threads)) for b in self.blocks], axis=1)

    def vectors(self) -> Float32:
        """A copy of the weights."""
        return np.concatenate([block.layer.unit_vectors() for block in self.blocks])

    # Files.

    def write(self, folder: Path, generation: int, checkpoint: bool) -> WrittenFiles:
        """Write the files of each block: for a checkpoint, with optimizer state and tables."""
        entries: dict[str, dict[str, Any]] = {}
        facts: dict[str, Any] = {}
        for block in self.blocks:
            named = block.named()
            if checkpoint:
                tensors = {name: p.raw.array for name, p in named.items()}
                tensors |= {f"{_BEST}{name}": weights for name, weights in block.best.items()}
            else:
                tensors = {name: p.weights for name, p in named.items()}
            write = partial(tensorfile.write_tensors, tensors=tensors)
            entries[block.file()] = write_data_file(folder, generation, block.file(), write)
            state = block.layer.state() if checkpoint else None
            if state is not None:
                name = block.tables_file()
                entries[name] = write_data_file(folder, generation, name, block.layer.save_state)
            factors = {name: p.factor for name, p in named.items()}
            facts[f"block{block.number}"] = {
                "tables": state,
                "factors": factors if checkpoint else {},
                "best": checkpoint and bool(block.best),
            }
        return WrittenFiles(entries, facts)

    def snapshot(self, folder: Path, calls: int) -> None:
        """Write all of its state after a number of calls that changed it."""
        slots = len(self.blocks[0].layer.weights.raw.dtypes)
        payload = {"calls": calls, "slots": slots}
        write_bundle(folder, _SNAPSHOT, payload, {}, [partial(self.write, checkpoint=True)])

    def restore_snapshot(self, folder: Path) -> int:
        """Return to the state of :meth:`snapshot`; returns the number of calls, 0 if there is none."""
        if not (folder / MANIFEST).exists():
            return 0
        with read_bundle(folder, _SNAPSHOT) as bundle:
            for block in self.blocks:
                _read_block(bundle, block, bundle.payload["slots"])
            return int(bundle.payload["calls"])

    def read(self, folder: Path, kind: Kind, generation: int, slots: int | None) -> None:
        """Read what :meth:`write` wrote, perhaps of other shards: a checkpoint with ``slots`` values for each
        weight, or a model.
        """
        names = {name for block in self.blocks for name in (block.file(), block.tables_file())}
        with read_bundle(folder, kind, names.__contains__) as bundle:
            if bundle.generation != generation:
                raise CheckpointError(f"{folder}: was replaced while it was read")
            if not all(b.layer.is_allocated(slots or 1) for b in self.blocks):
                needed = sum(b.layer.parameters_needed(slots or 1) for b in self.blocks)
                memory.require_bytes(needed, f"{folder}: labels {self.first:,} to {self.last - 1:,}")
            for block in self.blocks:
                _read_block(bundle, block, slots)


@attrs.frozen(eq=False)
class _Lists:
    """Units for each row, ascending within it."""

    indptr: Int64
    ids: Int32

    def part(self, first: int, last: int) -> _Lists:
        """Those of a range of units, counted from its first."""
        inside = (self.ids >= first) & (self.ids < last)
        places = np.concatenate([[0], np.cumsum(inside)])[self.indptr]
        return _Lists(places.astype(np.int64), self.ids[inside] - np.int32(first))


def _read_block(bundle: Bundle, block: _Block, slots: int | None) -> None:
    facts = bundle.payload.get(f"block{block.number}")
    if not isinstance(facts, dict) or not isinstance(facts.get("factors"), dict):
        raise CheckpointError(f"{bundle.path}: its manifest does not describe block {block.number}")
    file = bundle.file(block.file())
    for name, parameter in block.named().items():
        factor = facts["factors"].get(name, 1.0)
        if not isinstance(factor, float) or not 0 < factor <= 1:
            raise CheckpointError(
                f"{bundle.path}: the factor of {name} in block {block.number} is {factor!r}"
            )
        store = np.empty((parameter.rows, slots or 1, parameter.columns), np.float32)
        tensorfile.read_into(file, name, store if slots is not None else store[:, 0])
        parameter.adopt(store, factor)
        if facts.get("best"):
            block.best[name] = np.empty((parameter.rows, parameter.columns), np.float32)
            tensorfile.read_into(file, f"{_BEST}{name}", block.best[name])
    if facts.get("tables") is not None:
        if not isinstance(facts["tables"], dict):
            raise CheckpointError(f"{bundle.path}: the state of the tables of block {block.number} is wrong")
        block.layer.restore(facts["tables"], bundle.file(block.tables_file()))
