"""A sampled output layer in blocks of units, which may be spread over several processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample import specs
from lshsample._native.core import threads_or_default
from lshsample.errors import ArgumentError, MemoryBudgetError, UnsupportedError
from lshsample.family import HashFamily
from lshsample.memory import mebibytes
from lshsample.nn.active import ActiveUnits, n_active_of
from lshsample.nn.below import InParts
from lshsample.nn.best import Chosen, hits_of, merge_top
from lshsample.nn.bundle import Kind, WrittenFiles
from lshsample.nn.exchange import ApproximateActivations, RoundedActivations, SentRows
from lshsample.nn.layer import (
    LAYERS,
    BuildContext,
    BuiltLayer,
    CandidateLists,
    Layer,
    LossPass,
    OutputBackward,
    OutputLayer,
)
from lshsample.nn.losses import Loss
from lshsample.nn.optimizers import Optimizer
from lshsample.nn.parameter import Update
from lshsample.nn.sampled import Sampled
from lshsample.nn.shard import Forward, Room, Summaries, label_part
from lshsample.nn.shards import LocalShards, Shards
from lshsample.nn.signals import Run, Signal, as_dense, from_dense
from lshsample.nn.sums import MAX_PARTS, tree
from lshsample.registry import named_family
from lshsample.sampling.functions import FunctionSequence
from lshsample.sampling.named import NAMED_PIPELINES

__all__ = ["Sharded", "ShardedLayer"]

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
Exchange = ApproximateActivations | RoundedActivations


def _of_units(spec: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value > spec.units:
        raise ArgumentError(attribute.name, value, f"a power of two, at most the {spec.units} units")


def _exchange(value: Any) -> Exchange | None:
    if value is None or isinstance(value, Exchange):
        return value
    if isinstance(value, Mapping):
        if "kept" in value:
            return specs.from_dict(ApproximateActivations, value)
        return specs.from_dict(RoundedActivations, value)
    wanted = "None, a RoundedActivations, or an ApproximateActivations"
    raise ArgumentError("exchange", repr(value), wanted)


@LAYERS.add("sharded")
@attrs.frozen
class Sharded(Sampled):
    """A :class:`Sampled` last layer in blocks of neighbouring units, for training over several processes.

    Each block has its own weights, tables and draws; the loss is that of all units. Sums over units are sums
    over blocks in a fixed order, so that a network has the same bits in one process and with its blocks
    spread over any number of shards (:class:`lshsample.ray.ShardedNetwork`).

    Attributes
    ----------
    blocks : int
        Number of blocks, a power of two: the largest number of shards.
    units, activation, family, n_hashes, n_tables, importance, rehash, bias, init_scale
        As in :class:`Sampled`. All blocks have the same hash functions, and by default as many hashes as one
        layer of all units, so that they retrieve what this layer would. A rehash in the background is
        refused, as it depends on timing.
    n_active : int, optional
        The budget of all blocks together, for a named pipeline.
    sampler : str or pipeline
        As in :class:`Sampled`; the numbers in the text of a pipeline are those of a block.
    parts : int
        Parts of a batch, a power of two, that the layers below compute one by one; shards compute them side
        by side. By default all rows are one part, which is computed where the trainer is. The weights depend
        on this number by the order of sums over rows, and by the draws of dropout.
    exchange : RoundedActivations or ApproximateActivations, optional
        Send hidden rows and their gradients in few bits, or only the largest units of each row. By default
        all numbers are sent as they are.

    Examples
    --------
    >>> Sharded(670_091, n_active=4096).of_block(0, BuildContext(2, 128, 0)).n_active
    512
    """

    blocks: int = attrs.field(default=8, validator=[specs.power_of_two(MAX_PARTS), _of_units], kw_only=True)
    parts: int = attrs.field(default=1, validator=specs.power_of_two(MAX_PARTS), kw_only=True)
    exchange: Exchange | None = attrs.field(default=None, converter=_exchange, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if self.rehash.is_asynchronous:
            raise UnsupportedError(
                f"a sharded layer cannot rehash by {self.rehash.strategy}, which depends on timing; use "
                "'rebuild' or 'drift'"
            )

    @classmethod
    def of(cls, layer: Sampled, blocks: int | None = None) -> Sharded:
        """A layer as another one, in blocks: by default 8, or of fewer units the largest number that there
        can be.
        """
        if isinstance(layer, cls):
            return layer
        if blocks is None:
            blocks = min(8, 2 ** (layer.units.bit_length() - 1))
        fields = {field.name: getattr(layer, field.name) for field in attrs.fields(Sampled)}
        return cls(**fields, blocks=blocks)

    def bounds(self) -> list[int]:
        """First unit of each block, and the number of units."""
        return [i * self.units // self.blocks for i in range(self.blocks + 1)]

    def of_block(self, number: int, context: BuildContext) -> Sampled:
        """The layer of one block."""
        bounds = self.bounds()
        units, n_active = bounds[number + 1] - bounds[number], -(-n_active_of(self) // self.blocks)
        fields = {field.name: getattr(self, field.name) for field in attrs.fields(Sampled)}
        if self.sampler.strip() in NAMED_PIPELINES and n_active >= units:
            fields["sampler"] = "full"  # the same, without a warning of numbers that nobody gave
        fields |= {"units": units, "n_active": n_active, "n_hashes": self._n_hashes(context)}
        return Sampled(**fields)

    def _n_hashes(self, context: BuildContext) -> int | None:
        """Hashes for the number of all units; None where the family has its own number."""
        if self.n_hashes is not None or isinstance(self.family, HashFamily):
            return self.n_hashes
        if "n_hashes" in named_family(self.family)[1]:
            return None
        functions = FunctionSequence(
            self.family, dim=context.inputs, n_items=self.units, n_tables=self.n_tables
        )
        return functions.family(0).n_hashes

    def build(self, context: BuildContext) -> ShardedLayer:
        """The layer, with all of its blocks in this process.

        Raises
        ------
        UnsupportedError
            A network in another precision, or with moments in 8 bits, whose rounding would depend on the
            blocks.
        """
        if context.precision != "float32" or context.codes is not None:
            given = context.precision if context.codes is None else f"int{context.codes.bits}"
            raise UnsupportedError(f"a Sharded layer trains in float32; this network is in {given}")
        if context.moments is not None:
            raise UnsupportedError(
                f"a Sharded layer keeps no moments in {context.moments}, as this network does"
            )
        return ShardedLayer(self, context)


class ShardedLayer(OutputLayer):
    """The output layer of a :class:`Sharded` spec, whose parameters are those of its shards.

    Parameters
    ----------
    spec : Sharded
        The layer.
    context : BuildContext
        Its place in the network.
    shards : Shards, optional
        Where its blocks are; by default in this process.
    """

    in_parts = True

    def __init__(self, spec: Sharded, context: BuildContext, shards: Shards | None = None) -> None:
        super().__init__(spec.units, context)
        self.spec = spec
        self._whole = ActiveUnits(spec, context.index, context.inputs, context.seed)
        self.retrieves = self._whole.has_tables
        self.shards = LocalShards(spec, context) if shards is None else shards
        self._slots: int | None = None

    # Parameters.

    @property
    def n_parameters(self) -> int:
        """Number of weights of all blocks."""
        return self.units * (self.context.inputs + (1 if self.spec.bias else 0))

    def parameters_needed(self, slots: int) -> int:
        """Bytes of the blocks that are in this process; others check their memory themselves."""
        return 4 * slots * self.n_parameters if self.shards.is_local else 0

    def allocate(self, slots: int, threads: int) -> None:
        """Allocate the parameters of all shards; MemoryBudgetError, before any does, if those of a machine
        do not fit together.
        """
        if self._slots != slots:
            _require_rooms(self.shards.ask_all("room", slots, threads), self.shards.bounds)
            self.shards.ask_all("allocate", slots, threads)
            self._slots = slots

    def is_allocated(self, slots: int | None = None) -> bool:
        """Whether the shards have their parameters."""
        return self._slots is not None and slots in (None, self._slots)

    def settle_weights(self) -> None:
        """Apply weight decay in all shards."""
        self.shards.ask_all("settle_weights")

    def reset_state(self) -> None:
        """Set the state of the optimizer to 0 in all shards."""
        self.shards.ask_all("reset_state")

    def update(self, optimizer: Optimizer, lr: float, kept: float, step: int, threads: int) -> None:
        """Let all shards update their parameters."""
        self.shards.tell("update", [(optimizer, lr, kept, step, threads)] * len(self.shards))

    def keep_best(self) -> None:
        """Let all shards keep a copy of their weights."""
        self.shards.ask_all("keep_best")

    def restore_best(self) -> None:
        """Let all shards return to the weights that they kept."""
        self.shards.ask_all("restore_best")

    @property
    def exchanged(self) -> int:
        """Bytes exchanged so far with the busiest shard."""
        return self.shards.exchanged

    # Tables.

    def tables_needed(self, threads: int | None) -> int:
        """Peak bytes of the tables in this process."""
        return self._whole.memory_needed(threads) if self.shards.is_local else 0

    def workspace_needed(self, batch_size: int) -> int:
        """Logits, the gradients of rows and of the input, for the expected size of the active set."""
        inputs = self.context.inputs
        if not self.shards.is_local:
            return 12 * batch_size * inputs
        active = self._whole.expected_size
        rows = active if self.spec.active_set == "batch" else min(active * batch_size, self.units)
        return 5 * (batch_size * active + rows * inputs) + 12 * batch_size * inputs

    def functions(self) -> HashFamily | None:
        """The hash functions of the first tables, which all blocks have."""
        return self._whole.first_functions()

    def forget(self) -> None:
        """Discard the tables."""
        self.shards.ask_all("forget")

    def observe_labels(self, labels: sp.csr_array | None) -> None:
        """Give each shard the labels of its units, for samplers that draw by their frequency."""
        if self._whole.needs_frequencies and labels is not None:
            every = label_part(labels)
            self.shards.ask("observe", [(every.part(*bounds),) for bounds in self.shards.bounds])

    def begin_biases(self, values: Float32) -> None:
        """Set the biases of an untrained layer."""
        self.shards.ask("begin_biases", [(values[low:high],) for low, high in self.shards.bounds])

    def sent(self, h: Float32) -> Float32 | SentRows:
        """What is sent of the layer's input: all of it, or what its exchange makes of it."""
        return h if self.spec.exchange is None else self.spec.exchange.sent(h)

    # Training.

    def parted(self, specs: Sequence[Layer], layers: Sequence[BuiltLayer]) -> InParts | None:
        """The layers below for parts of a batch, which shards in other processes compute."""
        if self.spec.parts == 1 or len(layers) == 1:
            return None
        return InParts(specs, layers, self.spec.parts, lambda: self.shards)

    def forward(self, x: Signal, run: Run) -> Any:
        """Only for hidden layers."""
        raise UnsupportedError("a sharded layer is the last one of a network")

    def logits(self, x: Signal, run: Run) -> tuple[Signal, Float32 | None, OutputBackward]:
        """Not in one place; see :meth:`loss_pass`."""
        raise UnsupportedError("the logits of a sharded layer are in several parts")

    def loss_pass(self, x: Signal, y: sp.csr_array, weights: Float32, run: Run, count_hits: bool) -> LossPass:
        """Send the input to all shards, and combine what they return."""
        sent, labels = self.sent(as_dense(x)), label_part(y, weights)
        # Calls are kept, while a layer below may use its memory again.
        if isinstance(sent, np.ndarray) and not self.shards.is_local:
            sent = sent.copy()
        loss: Loss = self.spec.loss  # type: ignore[assignment]
        parts: list[Forward] = self.shards.ask(
            "forward",
            [
                (sent, labels.part(*bounds), run.seed, run.step, run.threads, count_hits)
                for bounds in self.shards.bounds
            ],
        )
        whole = tree([part.summaries.whole() for part in parts], lambda a, b: loss.combine([a, b])[0])
        total, losses = loss.combine([whole])
        hits = None
        if count_hits:
            best = merge_top([part.best for part in parts if part.best is not None], 1)
            hits = hits_of(best.ids[:, 0], y)

        def backward(scale: float) -> tuple[Signal | None, list[Update]]:
            gradients = self.shards.ask_all("backward", Summaries.of(total), scale, run.threads)
            if not self.context.needs_input_gradient:
                return None, []
            gradient = sent.gradient(gradients) if isinstance(sent, SentRows) else tree(gradients, np.add)
            return from_dense(np.require(gradient, requirements="W"), x), []

        return LossPass(losses, sum(part.active for part in parts), hits, backward)

    # Prediction.

    def unit_vectors(self) -> Float32:
        """A copy of the weights of all shards; changing it does not change them."""
        return np.concatenate(self.shards.ask_all("vectors"))

    def score(self, h: Float32, ids: Int32 | None = None, *, threads: int | None = None) -> Float32:
        """Logits of all units, or of some of them, which costs the same."""
        threads = threads_or_default(threads)
        scores = np.concatenate(self.shards.ask_all("score", self.sent(h), threads), axis=1)
        return scores if ids is None else np.ascontiguousarray(scores[:, ids])

    def top_k(
        self, h: Float32, k: int, candidates: CandidateLists | None = None, *, threads: int | None = None
    ) -> tuple[Int32, Float32]:
        """The best units of each row: the best of each shard, merged."""
        threads = threads_or_default(threads)
        lists = None if candidates is None else (candidates.indptr, candidates.ids)
        parts: list[Chosen] = self.shards.ask_all("top_k", self.sent(h), k, lists, threads)
        best = merge_top(parts, k)
        return best.ids, best.scores

    def top_retrieved(self, h: Float32, k: int, threads: int) -> tuple[Int32, Float32, int]:
        """The best of the units that the tables of all shards retrieve."""
        if not self.retrieves:
            raise UnsupportedError(f"layer {self.index} has no hash tables to retrieve from")
        parts: list[tuple[Chosen, int]] = self.shards.ask_all("top_retrieved", self.sent(h), k, threads)
        best = merge_top([chosen for chosen, _ in parts], k)
        return best.ids, best.scores, sum(found for _, found in parts)

    # Files.

    def write_files(self, folder: Path, generation: int, checkpoint: bool) -> WrittenFiles:
        """Each shard writes the files of its blocks."""
        written: list[WrittenFiles] = self.shards.ask_all("write", folder, generation, checkpoint)
        entries = {name: entry for one in written for name, entry in one.entries.items()}
        return WrittenFiles(entries, {key: value for one in written for key, value in one.facts.items()})

    def read_files(self, folder: Path, kind: Kind, generation: int, slots: int | None) -> None:
        """Each shard reads the files of its blocks."""
        self.shards.ask_all("read", folder, kind, generation, slots)
        self._slots = slots or 1


def _require_rooms(rooms: list[Room], bounds: list[tuple[int, int]]) -> None:
    """Refuse shards that do not fit into the memory of their machine, all of them together."""
    for machine in dict.fromkeys(room.machine for room in rooms):
        own = [i for i, room in enumerate(rooms) if room.machine == machine]
        needed = sum(rooms[i].needed for i in own)
        free = [available for i in own if (available := rooms[i].available) is not None]
        if free and needed > min(free):
            parts = ", ".join(
                f"worker {i} (labels {bounds[i][0]:,} to {bounds[i][1] - 1:,}) {mebibytes(rooms[i].needed)}"
                for i in own
            )
            raise MemoryBudgetError(
                f"the workers on {machine} need {mebibytes(needed)}: {parts}; {mebibytes(min(free))} are "
                "available there"
            )
