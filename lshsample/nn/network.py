"""The network: its layers, a training step, prediction and evaluation, saving and loading."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Any, Self, cast

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample import memory
from lshsample._native.coded import RowCache
from lshsample._native.core import threads_or_default
from lshsample._native.labels import label_rows
from lshsample.display import html_table
from lshsample.errors import (
    ArgumentError,
    CheckpointError,
    DivergenceError,
    UnsupportedError,
    needs_extra,
)
from lshsample.files import as_path
from lshsample.metrics import precision_at_k
from lshsample.nn import tensorfile
from lshsample.nn.batches import Batch, FeatureRows
from lshsample.nn.best import best_units, hits_of
from lshsample.nn.bundle import (
    BLOCK_FILES,
    Bundle,
    Kind,
    OtherWriter,
    is_of_head,
    model_folder,
    read_bundle,
    write_bundle,
)
from lshsample.nn.coded import RowCodes
from lshsample.nn.guard import guarded, is_own
from lshsample.nn.layer import (
    BuildContext,
    BuiltLayer,
    InputLayer,
    Layer,
    LossPass,
    OutputLayer,
)
from lshsample.nn.losses import Logits, Loss
from lshsample.nn.network_spec import NetworkSpec
from lshsample.nn.optimizers import Optimizer
from lshsample.nn.parameter import Parameter, Update
from lshsample.nn.ranking import Mode, Precision, Ranker, Ranking, checked_ranker
from lshsample.nn.signals import (
    LossGradient,
    Run,
    Signal,
    as_dense,
    take_rows,
    values_of,
)
from lshsample.provenance import Provenance
from lshsample.sampling import Sampler
from lshsample.specs import checked_integer

if TYPE_CHECKING:
    import torch

    from lshsample.nn.sampled import SampledLayer

__all__ = ["MODEL", "Network", "StepReport"]

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]

_WEIGHTS = "weights.safetensors"
#: The kind of a folder that holds a network.
MODEL = Kind("model", r"weights\.safetensors|" + BLOCK_FILES)


@attrs.frozen
class StepReport:
    """The result of one training step.

    Attributes
    ----------
    loss : float
        Mean loss of the batch's rows.
    active : float
        Units of the last layer computed for a row, on average.
    hits : float or None
        Fraction of rows whose best active unit is one of its labels, if it was requested: an upper estimate
        of P@1, as only active units are compared.
    exchanged : int
        Bytes that were sent to and received from a process that holds a part of the network, the busiest one;
        0 if the network is in this process.
    """

    loss: float
    active: float
    hits: float | None = None
    exchanged: int = 0


class Network:
    """A network of dense and sampled layers over dense or sparse input.

    Parameters
    ----------
    layers : sequence of Layer
        :class:`Sparse` or :class:`Input` first, then any number of :class:`Dense`, :class:`Sampled` or custom
        layers (classes derived from :class:`Layer`) in any order. The last one has a loss: its activation is
        a name of :data:`LOSSES`, such as ``"softmax"``, or a :class:`Loss`.
    seed : int
        Determines the initial weights and the hash functions.
    precision : {"float32", "bfloat16", "int8", "int4"}
        The type of the layers' weights and of their optimizer state. ``"bfloat16"`` needs half of the memory,
        and less time where a step is limited by memory or the processor multiplies it (docs/precision.md); it
        is rounded stochastically, and needs an optimizer of this package. Biases, and weights of layers of
        other packages that do not say otherwise, are float32. ``"int8"`` and ``"int4"`` keep the rows of
        sampled layers, and of a dense layer after a sparse input, in 8 or 4 bits, and the most used ones in
        float32 (docs/few-bits.md). How :meth:`predict` computes scores is another choice, by its own
        ``precision``.
    row_cache : float or RowCache, optional
        The share of the rows that ``"int8"`` and ``"int4"`` keep in float32, or a
        :class:`~lshsample.nn.RowCache`; by default 0.05 with ``"int8"`` and 0.01 with ``"int4"``.

    moments : {None, "float8", "float4"}
        The type of the optimizer state. ``"float8"`` keeps that of weights in float32 or bfloat16 in 8 bits
        (docs/precision.md), and needs an optimizer of this package; by default it is that of the weights.
        ``"float4"`` keeps Adam's first moment of rows in ``"int8"`` and ``"int4"`` in 4 bits, and squares as
        one number for each row (docs/few-bits.md).

    Notes
    -----
    Parameters are allocated at the first training step or prediction. Only one thread may train a network at
    a time; predicting from several threads is safe while none trains.

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> from lshsample.nn import Dense, Sampled, Sparse
    >>> network = Network([Sparse(100), Dense(8), Sampled(50, "softmax", sampler="full")], seed=1)
    >>> network.n_parameters
    1258
    >>> labels, scores = network.predict(sp.csr_array((2, 100)), top=3)
    >>> labels.shape, scores.shape
    ((2, 3), (2, 3))
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        seed: int = 0,
        *,
        precision: str = "float32",
        row_cache: RowCache | float | None = None,
        moments: str | None = None,
    ) -> None:
        self.spec = NetworkSpec(layers, seed, precision, row_cache, moments)
        self.layers = _build(self.spec)
        self.parameters: tuple[Parameter, ...] = tuple(p for layer in self.layers for p in layer.parameters)
        #: The input layer, and the last one.
        self.input, self.output = cast(InputLayer, self.layers[0]), cast(OutputLayer, self.layers[-1])
        #: The loss of the last layer.
        self.loss: Loss = cast(Loss, self.spec.layers[-1].loss)
        self._label_factors: Float32 | None = None
        # What layers of other packages return is validated once, by a guard. In a training step, one object
        # may do what all layers below the last one do.
        self._guards = list(map(guarded, self.layers))
        parted = self.output.parted(self.spec.layers[:-1], self.layers[:-1])
        self._steps_below = self._guards[:-1] if parted is None else [parted]
        own = is_own(self.output) and is_own(self.loss)  # others may have a logits or an apply of their own
        self._by_rows = own and self.output.by_rows and self.loss.by_rows
        # Layers that prepare something before a step; the others are not called.
        self._prepared = [layer for layer in self.layers if type(layer).prepare is not BuiltLayer.prepare]

    @classmethod
    def from_spec(cls, spec: NetworkSpec) -> Self:
        """A network from its spec, with initial weights."""
        return cls(
            spec.layers,
            spec.seed,
            precision=spec.precision,
            row_cache=spec.row_cache,
            moments=spec.moments,
        )

    @property
    def precision(self) -> str:
        """The type of the layers' weights and of their optimizer state."""
        return self.spec.precision

    def check_optimizer(self, optimizer: Optimizer) -> None:
        """UnsupportedError if an optimizer does not train weights or state of this network's types."""
        if self.spec.moments == "float8" and not optimizer.takes_float8:
            name = type(optimizer).__name__
            raise UnsupportedError(
                f"{name} keeps no state in 8 bits, as this network's {self.spec.moments!r}"
            )
        if self.precision not in optimizer.precisions:
            trained = ", ".join(optimizer.precisions)
            name = type(optimizer).__name__
            raise UnsupportedError(f"{name} trains networks in {trained}; this one is in {self.precision}")

    @property
    def n_features(self) -> int:
        """Columns of the input."""
        return self.layers[0].units

    @property
    def n_labels(self) -> int:
        """Units of the last layer."""
        return self.layers[-1].units

    @property
    def n_parameters(self) -> int:
        """Number of trained weights."""
        return sum(layer.n_parameters for layer in self.layers)

    @property
    def sampled_layers(self) -> list[SampledLayer]:
        """The layers that compute a sample of their units while training."""
        return [cast("SampledLayer", layer) for layer in self.layers if layer.samples]

    def memory_needed(
        self, slots: int = 1, batch_size: int = 0, threads: int | None = None
    ) -> dict[str, int]:
        """Bytes by purpose: parameters with their optimizer state, tables, and the workspace of a step.

        Parameters
        ----------
        slots : int
            Values kept for each weight: 1 to predict, an :class:`Optimizer`'s ``slots`` to train.
        batch_size : int
            Rows of a training step; 0 for none.
        threads : int, optional
            Number of threads that build the tables; each has its own scratch memory.
        """
        return {
            "parameters": sum(layer.parameters_needed(slots) for layer in self.layers),
            "tables": sum(layer.tables_needed(threads) for layer in self.layers),
            "step": sum(layer.workspace_needed(batch_size) for layer in self.layers) if batch_size else 0,
        }

    def allocate(self, slots: int = 1, threads: int = 1) -> None:
        """Allocate the parameters and their optimizer state; existing weights are kept."""
        for layer in self.layers:
            layer.allocate(slots, threads)

    def allocate_for_prediction(self, threads: int = 1) -> None:
        """Draw the initial weights, unless weights were trained or loaded before."""
        missing = [layer for layer in self.layers if not layer.is_allocated()]
        if missing:
            memory.require_bytes(
                sum(layer.parameters_needed(1) for layer in missing), "the network's parameters"
            )
            for layer in missing:
                layer.allocate(1, threads)

    # Training.

    @memory.named_shortage("computing the statistics of data")
    def observe(self, X: Any, Y: Any = None) -> None:
        """Compute the statistics of training data that layers use: document and label frequencies.

        :meth:`Trainer.fit <lshsample.Trainer.fit>` calls this, unless the network has statistics of its input
        already; a call replaces them. Call it before the first single step
        (:meth:`Trainer.step <lshsample.Trainer.step>`) if the input has ``weighting="idf-l2"`` or a sampler
        draws labels by their frequency.

        Parameters
        ----------
        X : csr_array or array, shape (rows, n_features)
            Feature rows of the training data. The weights of the features are saved with the network.
        Y : csr_array or array, shape (rows, n_labels), optional
            Their labels. Label frequencies are not saved.

        Raises
        ------
        ArgumentError
            Rows or labels of another shape or with bad values.
        UnsupportedError
            If a hidden layer's sampler draws by label frequency.
        """
        rows = self.input.checked(X)
        labels = None if Y is None else label_rows(Y, "Y", self.n_labels, len(rows))
        self.allocate_for_prediction()
        self.input.observe(rows)
        if labels is not None:
            self.observe_labels(labels)

    def observe_labels(self, labels: sp.csr_array) -> None:
        """Compute what samplers and the loss need of validated training labels: frequencies, factors."""
        for layer in self.layers:
            layer.observe_labels(labels if layer is self.output else None)
        self._label_factors = self.loss.label_factors(labels)
        biases = self.loss.initial_biases(labels)
        if biases is not None:
            self.output.begin_biases(biases)

    def _label_weights(self, labels: sp.csr_array) -> Float32:
        if self._label_factors is None:
            return self.loss.label_weights(labels)
        return self.loss.label_weights(labels, self._label_factors)

    def batch(self, X: Any, Y: Any) -> Batch:
        """Feature rows and labels as a validated batch.

        Rows without labels are left out if the loss needs labels.

        Raises
        ------
        ArgumentError
            Rows or labels of another shape or with bad values, or no row to train on.
        """
        rows = self.input.checked(X)
        y = label_rows(Y, "Y", self.n_labels, len(rows))
        used = np.flatnonzero(np.diff(y.indptr)) if self.loss.needs_labels else np.arange(len(rows))
        if not len(used):
            wanted = "a matrix with at least one row" + (" with a label" if len(rows) else "")
            raise ArgumentError("X", f"{len(rows)} rows, none to train on", wanted)
        if len(used) == len(rows):
            return Batch(rows.slice(0, len(rows)), y)
        return Batch(rows.take(used), take_rows(y, used))

    def prepare(self, done: int, threads: int) -> None:
        """Called before each training step, with the number of steps done: build the tables that are due."""
        for layer in self._prepared:
            layer.prepare(done, threads)

    def own_rows(self, n: int) -> range:
        """The rows of a batch of n rows that this process computes with: all of them."""
        return range(n)

    def gradients(
        self, x: Signal, y: sp.csr_array, run: Run, count_hits: bool = False
    ) -> tuple[StepReport, list[Update]]:
        """The loss of a validated batch and its gradient, for the rows of each parameter that it changes.

        The gradient is of the mean loss over the batch's rows. The arrays of the updates are valid until the
        next call.

        Raises
        ------
        DivergenceError
            If the loss, or the input of a layer's sampler, is not finite.
        """
        backwards = []
        for layer in self._steps_below:
            x, backward = layer.forward(x, run)
            backwards.append(backward)
        rows, weights = max(len(y.indptr) - 1, 1), self._label_weights(y)
        if self.output.in_parts:
            done = self.output.loss_pass(x, y, weights, run, count_hits)
        elif self._by_rows and run.sampled and not count_hits:
            done = self.output.row_pass(x, y, weights, run, self.loss)
        else:
            done = self._loss_pass(self._guards[-1], x, y, weights, run, count_hits)
        loss = float(done.losses.sum(dtype=np.float64)) / rows
        if not math.isfinite(loss):
            raise DivergenceError(f"the loss is {loss}")
        gradient, updates = done.backward(1.0 / rows)
        for backward in reversed(backwards):
            if gradient is None:
                break
            gradient, more = backward(gradient)
            updates += more
        return StepReport(loss, done.active / rows, done.hits), updates

    def _loss_pass(
        self, output: Any, x: Signal, y: sp.csr_array, weights: Float32, run: Run, count_hits: bool
    ) -> LossPass:
        """The loss over the logits of the last layer, or of its guard."""
        signal, log_inclusion, last = output.logits(x, run)
        active = values_of(signal).size
        hits = hits_of(best_units(signal)[0], y) if count_hits else None
        losses = self.loss.apply(Logits.of(signal, y, weights, log_inclusion), run.threads)
        return LossPass(losses, active, hits, lambda scale: last(LossGradient(signal, scale)))

    def train_step(
        self, x: Signal, y: sp.csr_array, optimizer: Optimizer, lr: float, run: Run, count_hits: bool = False
    ) -> StepReport:
        """One training step on a validated batch; ``run.step`` counts from 1.

        Raises
        ------
        ArgumentError
            If ``lr`` times the optimizer's weight decay is 1 or more.
        DivergenceError
            As :meth:`gradients`; the weights are unchanged.
        """
        kept = 1.0 - lr * optimizer.weight_decay
        if not kept > 0:
            wanted = f"below 1 / the weight_decay of {optimizer.weight_decay:g}"
            raise ArgumentError("lr", lr, wanted)
        self.prepare(run.step - 1, run.threads)
        before = self.output.exchanged
        with np.errstate(over="ignore", invalid="ignore"):  # reported as DivergenceError
            report, updates = self.gradients(x, y, run, count_hits)
        if kept != 1.0:
            for parameter in self.parameters:
                if parameter.decays:
                    parameter.decay(kept)
        optimizer.apply(updates, lr, run.step, run.threads)
        if self.output.in_parts:
            self.output.update(optimizer, lr, kept, run.step, run.threads)
            report = attrs.evolve(report, exchanged=self.output.exchanged - before)
        return report

    # Prediction.

    def predict(
        self,
        X: Any,
        top: int | None = None,
        mode: Mode = "exact",
        *,
        sampler: Sampler | None = None,
        precision: Precision = "float32",
        batch_size: int = 1024,
        threads: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> tuple[Int32, Float32]:
        """The best labels of each row.

        Parameters
        ----------
        X : csr_array or array, shape (rows, n_features)
            Feature rows.
        top : int, optional
            Labels per row; by default 5, or all if there are fewer.
        mode : {"exact", "sampled", "auto"}
            ``"exact"`` scores every label; ``"sampled"`` scores those retrieved from the last layer's tables,
            at a cost that does not grow with the number of labels once the tables are built (at the first
            such call after training). ``"auto"`` takes the way of the least expected cost, as
            :meth:`ranker` does; without a sampler the result is that of ``"exact"``.
        sampler : Sampler, optional
            With ``mode="sampled"``: retrieves the labels to score, instead of the last layer's tables. It
            must be bound to one item per label, for instance ``Retrieve(probes=8)`` over tables of
            ``network.output.unit_vectors()``. With ``mode="auto"``: may be taken.
        precision : {"float32", "int8"}
            With ``mode="exact"``: whether all scores are computed in float32, or first bounded through a copy
            of the last layer's weights in 8 bits, made at the call, so that few are computed in float32. The
            result is the same, to the bit; ``"int8"`` pays from some hundreds of rows a call, or with a
            :meth:`ranker`, which keeps the copy.
        batch_size : int
            Rows computed together; the result does not depend on it, unless a stage of ``sampler`` draws at
            random.
        threads : int, optional
            Number of threads; the result does not depend on it.
        progress : callable, optional
            Called after each batch with the numbers of rows that are done and of all rows; what it raises
            ends the prediction.

        Returns
        -------
        labels : ndarray of int32, shape (rows, top)
            Best first, ties by the smaller label; -1 where a row has fewer candidates.
        scores : ndarray of float32, shape (rows, top)
            Their logits; -inf where the label is -1.

        Raises
        ------
        ArgumentError
            Rows of another width, NaN or infinite values, ``top`` above the number of labels, a sampler over
            another number of items or together with ``mode="exact"``,
            ``precision="int8"`` with another mode.
        DivergenceError
            With ``mode="exact"``: fewer than ``top`` labels of a row have a score, as the others are NaN.
        UnsupportedError
            ``mode="sampled"`` without ``sampler``, if the last layer does not sample or has no hash tables;
            ``precision="int8"``, if it is a layer of another package that keeps no 8-bit copy.
        MemoryBudgetError
            If the 8-bit copy does not fit in memory.
        """
        ranking = self.rank(
            X,
            top,
            mode,
            sampler=sampler,
            precision=precision,
            batch_size=batch_size,
            threads=threads,
            progress=progress,
        )
        return ranking.labels, ranking.scores

    @memory.named_shortage("predicting")
    def rank(
        self,
        X: Any,
        top: int | None = None,
        mode: Mode = "exact",
        *,
        sampler: Sampler | None = None,
        precision: Precision = "float32",
        batch_size: int = 1024,
        threads: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Ranking:
        """As :meth:`predict`, with the number of labels that were scored in float32, and the way taken."""
        rows = self.input.checked(X)
        batch_size, count = checked_integer("batch_size", batch_size, 1), threads_or_default(threads)

        def first() -> Float32:
            return self._below(len(self.layers) - 1, rows.slice(0, batch_size), count)

        ranker = checked_ranker(self, first, top, mode, sampler, precision, 0.99, len(rows), count)
        return ranker.rank(rows, batch_size=batch_size, threads=count, progress=progress)

    @memory.named_shortage("predicting")
    def ranker(
        self,
        like: Any,
        top: int | None = None,
        mode: Mode = "auto",
        *,
        sampler: Sampler | None = None,
        precision: Precision = "float32",
        recall: float = 0.99,
        threads: int | None = None,
    ) -> Ranker:
        """What ranks labels for many calls with few rows each, by the weights that the network has now.

        Parameters
        ----------
        like : csr_array or array, shape (rows, n_features)
            Rows that are like those to come, such as some hundred training rows. Labels with high scores for
            them are looked at first: they decide the time, not the result.
        top, sampler, precision, threads
            As for :meth:`predict`; ``threads`` for what is made now.
        mode : {"auto", "exact", "sampled"}
            As for :meth:`predict`. ``"auto"`` chooses for each batch among all labels in float32, 8-bit
            bounds (if the layer keeps an 8-bit copy and it fits in memory), and ``sampler``, if one is given
            and has found the best label of a share ``recall`` of ``like`` (up to 256 rows). The cheapest is
            taken by the numbers of weights that each way reads, as counted for ``like``.
        recall : float
            With ``mode="auto"`` and a sampler: the least share of best labels.

        Returns
        -------
        Ranker
            ``ranker.rank(X)`` returns a :class:`Ranking`.

        Raises
        ------
        ArgumentError, UnsupportedError, MemoryBudgetError
            As :meth:`predict`.

        Examples
        --------
        >>> from lshsample.nn import Dense, Input
        >>> network = Network([Input(20), Dense(100, "softmax")], seed=1)
        >>> rows = np.random.default_rng(0).standard_normal((300, 20), np.float32)
        >>> ranker = network.ranker(rows, top=3)
        >>> ranker.rank(rows[:1]).took
        {'int8': 1}
        """
        rows, count = self.input.checked(like), threads_or_default(threads)

        def hidden() -> Float32:
            return self._below(len(self.layers) - 1, rows.slice(0, len(rows)), count)

        return checked_ranker(self, hidden, top, mode, sampler, precision, recall, None, count)

    def hidden_batches(
        self, rows: FeatureRows, batch_size: int, threads: int
    ) -> Iterator[tuple[int, Float32]]:
        """The last layer's input, batch by batch; the layers below compute all of their units."""
        for start in range(0, len(rows), batch_size):
            yield start, self._below(len(self.layers) - 1, rows.slice(start, start + batch_size), threads)

    def _below(self, index: int, signal: Signal, threads: int) -> Float32:
        """The input of a layer, as a dense array; the layers below compute all of their units."""
        run = Run(threads=threads)
        for layer in self._guards[:index]:
            signal, _ = layer.forward(signal, run)
        return as_dense(signal)

    @memory.named_shortage("computing hidden rows")
    def hidden(self, X: Any, *, batch_size: int = 1024, threads: int | None = None) -> Float32:
        """The input of the last layer for each row: the queries for its tables.

        Parameters
        ----------
        X, batch_size, threads
            As for :meth:`predict`.

        Returns
        -------
        ndarray of float32, shape (rows, inputs of the last layer)
        """
        rows, count = self.input.checked(X), threads_or_default(threads)
        batch_size = checked_integer("batch_size", batch_size, 1)
        self.allocate_for_prediction(count)
        out = np.empty((len(rows), self.layers[-2].units), np.float32)
        for start, h in self.hidden_batches(rows, batch_size, count):
            out[start : start + len(h)] = h
        return out

    @memory.named_shortage("computing the input of a layer")
    def layer_input(self, X: Any, index: int, *, threads: int | None = None) -> Float32:
        """The input of a layer for feature rows: the queries of a sampled layer.

        Parameters
        ----------
        X : csr_array or array, shape (rows, n_features)
            Feature rows, computed as one batch.
        index : int
            The layer's index in ``network.layers``; 0 is the input layer.
        threads : int, optional
            Number of threads; the result does not depend on it.

        Returns
        -------
        ndarray of float32, shape (rows, inputs of the layer)

        Raises
        ------
        ArgumentError
            Rows of another width, or no such layer.
        """
        rows, count = self.input.checked(X), threads_or_default(threads)
        index = checked_integer("index", index, 0, len(self.layers) - 1)
        self.allocate_for_prediction(count)
        return self._below(index, rows.slice(0, len(rows)), count)

    @memory.named_shortage("evaluating")
    def evaluate(
        self,
        X: Any,
        Y: Any,
        top: Sequence[int] | None = None,
        mode: Mode = "exact",
        *,
        sampler: Sampler | None = None,
        precision: Precision = "float32",
        batch_size: int = 1024,
        threads: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> dict[str, float]:
        """Precision at each k, in percent.

        Parameters
        ----------
        X, Y : csr_array or array, shapes (rows, n_features) and (rows, n_labels)
            Feature rows, and their labels: 1 for a label, 0 for none, or lists of ids. At least one label.
        top : sequence of int, optional
            The values of k; by default 1, 3 and 5, as far as there are as many labels.
        mode, sampler, precision, batch_size, threads, progress
            As for :meth:`predict`.

        Returns
        -------
        dict
            ``{"p@1": ..., "p@3": ..., "p@5": ...}``; a row without labels counts as 0.
        """
        rows = self.input.checked(X)
        labels = label_rows(Y, "Y", self.n_labels, len(rows))
        if not len(rows):
            raise ArgumentError("X", "no rows", "a matrix with at least one row")
        if not labels.nnz:
            raise ArgumentError(
                "Y", "no label in any row", "a matrix with at least one label to compare with"
            )
        wanted = [k for k in (1, 3, 5) if k <= self.n_labels] if top is None else self._checked_tops(top)
        found, _ = self.predict(
            rows,
            max(wanted),
            mode,
            sampler=sampler,
            precision=precision,
            batch_size=batch_size,
            threads=threads,
            progress=progress,
        )
        return {f"p@{k}": 100.0 * float(precision_at_k(found, labels, k)) for k in wanted}

    def _checked_tops(self, top: Sequence[int]) -> list[int]:
        if isinstance(top, str) or not isinstance(top, Iterable):
            raise ArgumentError("top", repr(top), "a sequence of integers, such as (1, 3, 5)")
        several = [checked_integer("top", k, 1, self.n_labels, ", the number of labels") for k in top]
        if not several:
            raise ArgumentError("top", "nothing", "at least one integer, such as (1, 3, 5)")
        return several

    def in_float32(self) -> Network:
        """This network, if its precision is float32; otherwise a copy that has it, to predict with.

        The weights have the same values; neither optimizer state nor tables are copied. With more than one
        hidden layer predictions may differ by rounding, as products between hidden layers may round
        activations in bfloat16.
        """
        if self.precision == "float32":
            return self
        made = Network(self.spec.layers, self.spec.seed)
        memory.require_bytes(made.memory_needed()["parameters"], "the network in float32")
        self.allocate_for_prediction()
        for wide, narrow in zip(made.parameters, self.parameters, strict=True):
            slots = wide.new_slots(1)
            slots.weights[...] = narrow.values
            wide.adopt(slots)
        return made

    # Other libraries.

    def to_torch(self) -> torch.nn.Module:
        """The network as a module of PyTorch, with copies of the weights.

        Returns
        -------
        torch.nn.Module
            Maps rows (rows, n_features), dense or in the layout ``torch.sparse_csr``, to logits (rows,
            n_labels): those of :meth:`predict`, up to rounding. It computes all units of every layer, also
            while it is trained, without dropout.

        Raises
        ------
        LshsampleError
            PyTorch is not installed.
        UnsupportedError
            A layer or an activation of another package.
        """
        from lshsample.nn.plain import PlainNetwork

        try:
            from lshsample.nn.torch_module import TorchNetwork
        except ModuleNotFoundError as error:
            raise needs_extra("to_torch", "torch", error) from error
        return TorchNetwork(PlainNetwork.of(self.in_float32()))

    def to_onnx(self, path: str | PathLike[str], metadata: Mapping[str, str] | None = None) -> None:
        """Write the exact prediction of the network as an ONNX file; an older file is replaced atomically.

        Its inputs are, for sparse rows, ``ids`` (int64) and ``values`` (float32), both (rows, width): the
        features of each row, all different, filled up with values of 0; for dense rows ``x`` (float32, (rows,
        n_features)); and ``top`` (int64, (1,)). Its outputs are ``labels`` (int64) and ``scores`` (float32),
        (rows, top), as of :meth:`predict`, up to rounding.

        Parameters
        ----------
        path : path
        metadata : mapping of str to str, optional
            Properties of the model that are written with it.

        Raises
        ------
        LshsampleError
            The package onnx is not installed.
        UnsupportedError
            A layer or an activation of another package.
        ArgumentError
            More than 2 GiB of weights.
        """
        from lshsample.nn.plain import PlainNetwork

        try:
            from lshsample.nn.onnx_file import write_onnx
        except ModuleNotFoundError as error:
            raise needs_extra("to_onnx", "onnx", error) from error
        write_onnx(PlainNetwork.of(self.in_float32()), as_path(path), metadata or {})

    # Folders.

    @memory.named_shortage("saving a network")
    def save(self, path: str | PathLike[str]) -> None:
        """Write the network to a folder: a manifest in JSON and its weights as safetensors.

        An older network in the folder is replaced without a question, as by ``numpy.save``, and atomically:
        if writing fails, it is kept. A folder with anything else is refused.

        Parameters
        ----------
        path : str or PathLike
            The folder; it is created, with its parents, if it does not exist.

        Raises
        ------
        ArgumentError
            If ``path`` is not a path.
        CheckpointError
            If the folder holds other files, cannot be written (no space left, ...), or another process or
            thread is saving to it.
        UnsupportedError
            If a custom layer, loss or activation is not registered under a name.
        """
        payload = self.payload()
        self.allocate_for_prediction()
        weights = {name: array for p in self.parameters for name, array in p.tensors(state=False).items()}
        writers = {_WEIGHTS: lambda file: tensorfile.write_tensors(file, weights)}
        write_bundle(path, MODEL, payload, writers, self.other_writers(checkpoint=False))

    def other_writers(self, checkpoint: bool) -> list[OtherWriter]:
        """The functions that write what layers keep elsewhere, for :meth:`Claim.write`."""
        return [partial(layer.write_files, checkpoint=checkpoint) for layer in self.layers]

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Read a network written by :meth:`save`, or the model in a run's folder (``train --save``).

        Raises
        ------
        CheckpointError
            If it is missing, truncated, changed, of another kind or of a newer version, if it needs a
            plugin or a registered class that is missing, or if the installed version of its hash family has
            other functions than the one that saved it.
        MemoryBudgetError
            If its weights need more memory than is available.
        """
        return cls._read(path, cls.from_spec)

    @classmethod
    @memory.named_shortage("loading a network")
    def _read(cls, path: str | PathLike[str], made: Callable[[NetworkSpec], Self]) -> Self:
        """Read a network that is made from its spec by a function."""
        folder = as_path(path)
        with read_bundle(model_folder(folder), MODEL, is_of_head) as bundle:
            network = cls.from_bundle(bundle, made)
            memory.require_bytes(network.memory_needed()["parameters"], f"{folder}: the network")
            for parameter in network.parameters:
                read_into = partial(tensorfile.read_into, bundle.file(_WEIGHTS))
                try:
                    parameter.adopt(parameter.read(read_into, 1, state=False))
                except ArgumentError as error:
                    raise CheckpointError(f"{folder}: {parameter.name} cannot be read: {error}") from error
            for layer in network.layers:
                layer.read_files(bundle.path, MODEL, bundle.generation, slots=None)
        return network

    def payload(self) -> dict[str, Any]:
        """What a manifest says of the network: its spec, and the provenance of its hash functions."""
        functions = {layer.index: layer.functions() for layer in self.layers}
        saved = {str(i): Provenance.of(family).to_dict() for i, family in functions.items() if family}
        return {"network": self.spec.to_dict(), "provenance": saved}

    @classmethod
    def from_bundle(cls, bundle: Bundle, made: Callable[[NetworkSpec], Self] | None = None) -> Self:
        """The network that a manifest describes, without its weights; errors as :meth:`from_payload`."""
        return cls.from_payload(bundle.payload, bundle.path, made)

    @classmethod
    def from_payload(
        cls,
        payload: Mapping[str, Any],
        path: PathLike[str] | str,
        made: Callable[[NetworkSpec], Self] | None = None,
    ) -> Self:
        """The network that :meth:`payload` described, without its weights.

        Parameters
        ----------
        payload : mapping
            What :meth:`payload` returned.
        path : path
            Where it was read, for messages.
        made : callable, optional
            Makes the network from its spec; by default :meth:`from_spec`.

        Raises
        ------
        CheckpointError
            If it cannot be made: a plugin or a registered class may be missing, or its hash functions are
            not those of the installed version.
        """
        try:
            saved = {
                int(index): Provenance.from_dict(data, str(path))
                for index, data in payload.get("provenance", {}).items()
            }
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{path}: its provenance cannot be read: {error!r}") from error
        for one in saved.values():
            one.require_installed()
        try:
            network = (made or cls.from_spec)(NetworkSpec.from_dict(payload["network"]))
        except (ArgumentError, LookupError, TypeError, ValueError) as error:
            notes = "".join(dict.fromkeys(one.note() for one in saved.values()))
            raise CheckpointError(f"{path}: its network cannot be made: {error}{notes}") from error
        functions = {layer.index: layer.functions() for layer in network.layers}
        for index, one in saved.items():
            family = functions.get(index)
            if family is None or not family.calls_named_functions:
                one.check(family)
        return network

    def __repr__(self) -> str:
        other = "" if self.precision == "float32" else f", precision={self.precision!r}"
        other += "" if self.spec.row_cache is None else f", row_cache={self.spec.row_cache!r}"
        other += "" if self.spec.moments is None else f", moments={self.spec.moments!r}"
        return f"Network({list(self.spec.layers)}, seed={self.spec.seed}{other})"

    def _repr_html_(self) -> str:
        title = f"Network of {self.n_parameters:,} parameters"
        return html_table(
            title,
            ["layer", "units", ""],
            [
                (index, f"{built.units:,}", spec)
                for index, (spec, built) in enumerate(zip(self.spec.layers, self.layers, strict=True))
            ],
        )


def _build(spec: NetworkSpec) -> list[BuiltLayer]:
    """Build the layer of each spec."""
    built: list[BuiltLayer] = []
    codes = RowCodes.of(spec.precision, spec.row_cache, spec.moments)
    for index, layer in enumerate(spec.layers):
        context = BuildContext(
            index=index,
            inputs=built[-1].units if built else 0,
            seed=spec.seed,
            sparse_input=bool(built) and spec.layers[index - 1].is_sparse,
            needs_input_gradient=any(p.trained for below in built for p in below.parameters),
            precision="float32" if codes else spec.precision,
            codes=codes,
            moments=None if codes else spec.moments,
        )
        made = layer.build(context)
        wanted = InputLayer if not built else OutputLayer if index == len(spec.layers) - 1 else BuiltLayer
        if not isinstance(made, wanted):
            raise ArgumentError(
                f"layers[{index}]", f"{layer}, which builds {type(made).__name__}",
                f"a layer that builds an instance of {wanted.__name__}",
            )  # fmt: skip
        built.append(made)
    return built
