"""The layers below a layer in shards, for parts of a batch: in this process, or in those of shards.

A batch is cut into a fixed number of parts. A shard's process computes the layers for its parts: it gets the
weights that they need, and returns the hidden rows; later it gets the gradient of these, and returns that of
the weights. Its result is a function of what it was sent, so that nothing has to be restored if it dies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, Protocol

import attrs
import numpy as np
import numpy.typing as npt

from lshsample.errors import UnsupportedError, WorkerError
from lshsample.nn.dense import DenseLayer
from lshsample.nn.guard import guarded
from lshsample.nn.layer import Backward, BuildContext, BuiltLayer, Layer
from lshsample.nn.parameter import Update
from lshsample.nn.signals import (
    Block,
    Run,
    Signal,
    as_dense,
    csr_from_parts,
    from_dense,
    row_slice,
    values_of,
)
from lshsample.nn.sums import Gradients, RowGradient, added, ranges, tree
from lshsample.sampling.functions import stream_seed

__all__ = ["BelowCall", "BelowWork", "InParts"]

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
#: Maps the gradient of the output of each part to that of the parameters.
_GradientsOf = Callable[[Mapping[int, Float32]], Gradients]

#: Times that a backward pass is begun again, as a worker was lost, after which the run ends.
_ATTEMPTS = 5


class Processes(Protocol):
    """What is asked of the shards of the last layer (:class:`~lshsample.nn.shards.Shards`)."""

    is_local: bool

    def __len__(self) -> int: ...

    def ask(self, method: str, each: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Call a method of each, and wait for what it returns."""


@attrs.frozen(eq=False)
class BelowCall:
    """What a process needs to compute layers for some neighbouring parts of a batch.

    Attributes
    ----------
    layers : tuple of (Layer, BuildContext)
        Between the input layer and the last one.
    weights : tuple of (ndarray of float32, float)
        Of each parameter in their order, with its factor; of a dense layer after a sparse input only the rows
        of the columns that the parts have.
    parts : mapping of int to Block or csr_array
        For each part that has rows, what the input layer returned.
    run : Run
        That of the whole batch.
    """

    layers: tuple[tuple[Layer, BuildContext], ...]
    weights: tuple[tuple[Float32, float], ...] = attrs.field(repr=False)
    parts: Mapping[int, Signal] = attrs.field(repr=False)
    run: Run


@attrs.frozen(eq=False)
class _Pass:
    """The forward pass of a part."""

    y: Signal
    backwards: list[Backward]

    @classmethod
    def through(cls, layers: Sequence[Any], x: Signal, run: Run) -> _Pass:
        backwards = []
        for layer in layers:
            x, backward = layer.forward(x, run)
            backwards.append(backward)
        return cls(x, backwards)

    def back(self, gradient: Float32, numbers: Mapping[int, int]) -> Gradients:
        """The gradient of each parameter by its number, from that of the output."""
        signal: Signal | None = from_dense(gradient, self.y)
        found: dict[int, RowGradient] = {}
        for backward in reversed(self.backwards):
            if signal is None:
                break
            signal, updates = backward(signal)
            found |= {numbers[id(update.parameter)]: RowGradient.of(update) for update in updates}
        return found


def _of_part(run: Run, part: int) -> Run:
    """A stream of draws for each part."""
    return attrs.evolve(run, seed=stream_seed(run.seed, 1 + part), targets=None)


def _numbers(layers: Sequence[BuiltLayer]) -> dict[int, int]:
    """The number of each parameter, by its identity."""
    return {id(p): i for i, p in enumerate(p for layer in layers for p in layer.parameters)}


class BelowWork:
    """Layers for some parts of a batch, in a process that has no weights of its own."""

    def __init__(self) -> None:
        self._waiting: dict[int, _Pass] = {}
        self._numbers: dict[int, int] = {}

    def forward(self, call: BelowCall, threads: int) -> list[Float32]:
        """The output of the last of the layers for each part."""
        layers = [layer.build(context) for layer, context in call.layers]
        parameters = [p for layer in layers for p in layer.parameters]
        for parameter, (weights, factor) in zip(parameters, call.weights, strict=True):
            parameter.adopt(weights.reshape(parameter.rows, 1, parameter.columns), factor)
        run, several = attrs.evolve(call.run, threads=threads), list(map(guarded, layers))
        self._waiting = {i: _Pass.through(several, x, _of_part(run, i)) for i, x in call.parts.items()}
        self._numbers = _numbers(layers)
        return [as_dense(one.y) for one in self._waiting.values()]

    def backward(self, first: int, last: int, gradients: Mapping[int, Float32]) -> Gradients | None:
        """The sum of the gradients of all parameters over parts.

        Parameters
        ----------
        first, last : int
            The parts ``first`` to ``last - 1``, a power of two of them, or none.
        gradients : mapping of int to ndarray of float32
            The gradient of the output for each of them that has rows.

        Returns
        -------
        mapping or None
            None if these parts do not wait here: the process is another one than that of :meth:`forward`.
        """
        waiting, self._waiting = self._waiting, {}
        if waiting.keys() != gradients.keys():
            return None
        return _summed(waiting, gradients, self._numbers, first, last)


def _summed(
    passes: Mapping[int, _Pass],
    gradients: Mapping[int, Float32],
    numbers: Mapping[int, int],
    first: int,
    last: int,
) -> Gradients:
    """The sum of the gradients of parts; one without rows adds nothing."""
    several = [passes[i].back(gradients[i], numbers) if i in passes else {} for i in range(first, last)]
    return tree(several, added) if several else {}


class InParts:
    """The layers below the last one, which compute a batch in parts; a training step uses it as one layer.

    Parameters
    ----------
    specs : sequence of Layer
        Their descriptions, the input layer included.
    layers : sequence of BuiltLayer
    parts : int
        Number of parts, a power of two. Results depend on it, and not on where parts are computed.
    shards : callable
        Returns the shards of the last layer, whose processes compute the parts.

    Raises
    ------
    UnsupportedError
        A layer that prepares something before a step, such as tables.
    """

    def __init__(
        self,
        specs: Sequence[Layer],
        layers: Sequence[BuiltLayer],
        parts: int,
        shards: Callable[[], Processes],
    ) -> None:
        for layer in layers:
            if type(layer).prepare is not BuiltLayer.prepare:
                raise UnsupportedError(
                    f"layer {layer.index} prepares tables before a step, which only a last layer with "
                    "parts=1 can have below it"
                )
        self._specs, self._layers, self._parts, self._shards = specs[1:], layers[1:], parts, shards
        self._input, *self._guarded = map(guarded, layers)
        self._parameters = [p for layer in self._layers for p in layer.parameters]
        self._numbers = _numbers(self._layers)
        # A product with sparse rows needs the rows of weights of their columns alone.
        first = self._layers[0]
        self._of_columns = isinstance(first, DenseLayer) and first.context.sparse_input

    def forward(self, x: Signal, run: Run) -> tuple[Signal, Backward]:
        """The output for all rows, and the function that returns the updates."""
        rows = len(x.values) if isinstance(x, Block) else len(x.indptr) - 1
        bounds = [i * rows // self._parts for i in range(self._parts + 1)]
        several = {}
        for i, (low, high) in enumerate(pairwise(bounds)):
            if low < high:
                several[i], _ = self._input.forward(row_slice(x, low, high), _of_part(run, i))
        shards = self._shards()
        work = self._here if shards.is_local else partial(self._there, shards)
        outputs, gradients_of = work(several, run)
        y = np.concatenate(outputs)

        def backward(gradient: Signal) -> tuple[None, list[Update]]:
            values = values_of(gradient)
            of_parts = {i: values[bounds[i] : bounds[i + 1]] for i in several}
            found = gradients_of(of_parts)
            return None, [Update(self._parameters[i], g.rows, g.gradient) for i, g in found.items()]

        return Block(y, y.shape[1]), backward

    def _here(self, several: Mapping[int, Signal], run: Run) -> tuple[list[Float32], _GradientsOf]:
        passes = {i: _Pass.through(self._guarded, x, _of_part(run, i)) for i, x in several.items()}
        outputs = [as_dense(one.y) for one in passes.values()]
        return outputs, lambda gradients: _summed(passes, gradients, self._numbers, 0, self._parts)

    def _there(
        self, shards: Processes, several: Mapping[int, Signal], run: Run
    ) -> tuple[list[Float32], _GradientsOf]:
        n = min(len(shards), self._parts)
        bounds = ranges(self._parts, n) + [(0, 0)] * (len(shards) - n)
        calls, touched, run = [], [], attrs.evolve(run, targets=None)
        whole = {p.name: np.ascontiguousarray(p.raw.weights) for p in self._parameters[self._of_columns :]}
        for first, last in bounds:
            own = {i: several[i] for i in range(first, last) if i in several}
            call, columns = self._call(own, whole, run)
            calls.append((call, run.threads))
            touched.append(columns)
        outputs = [y for own in shards.ask("forward_below", calls) for y in own]

        def gradients_of(gradients: Mapping[int, Float32]) -> Gradients:
            each = [
                (first, last, {i: gradients[i] for i in range(first, last) if i in gradients})
                for first, last in bounds
            ]
            for _ in range(_ATTEMPTS):
                found = shards.ask("backward_below", each)
                if not any(one is None for one in found):
                    return tree([_placed(*pair) for pair in zip(found[:n], touched, strict=False)], added)
                shards.ask("forward_below", calls)  # again, as a process was restarted in between
            raise WorkerError(f"a worker was lost {_ATTEMPTS} times in one backward pass")

        return outputs, gradients_of

    def _call(
        self, own: Mapping[int, Signal], whole: Mapping[str, Float32], run: Run
    ) -> tuple[BelowCall, Int32 | None]:
        """What a process is sent for its parts, and the rows of the first parameter that it has."""
        weights, touched = dict(whole), None
        contexts = [layer.context for layer in self._layers]
        if self._of_columns:
            first, indices = (
                self._parameters[0],
                [x.indices for x in own.values() if not isinstance(x, Block)],
            )
            touched = np.unique(np.concatenate([np.zeros(1, np.int32), *indices]))  # at least one
            weights[first.name] = first.raw.weights[touched]
            contexts[0] = attrs.evolve(contexts[0], inputs=len(touched))
            own = {i: _with_columns(x, touched) for i, x in own.items()}
        given = tuple((weights[p.name], p.factor) for p in self._parameters)
        return BelowCall(tuple(zip(self._specs, contexts, strict=True)), given, own, run), touched


def _with_columns(x: Any, columns: Int32) -> Signal:
    """Sparse rows whose columns are counted among some ascending ones, which include all of theirs."""
    indices = np.searchsorted(columns, x.indices).astype(np.int32)
    return csr_from_parts(x.indptr, indices, x.data, (x.shape[0], len(columns)))


def _placed(gradients: Gradients, rows: Int32 | None) -> Gradients:
    """Gradients whose first parameter has only some rows of the whole one."""
    if rows is None or 0 not in gradients:
        return gradients
    first = gradients[0]
    at = rows if first.rows is None else rows[first.rows]
    return {**gradients, 0: RowGradient(at, first.gradient)}
