"""Adaptive softmax: an output layer whose rare units are computed for the rows that need them (Grave et al.).

Units are in the order of their frequency. The most frequent ones and one more unit for each cluster of the
others are the head, which all rows compute. A cluster is computed for the rows with a label in it, after a
projection to fewer columns: ``log p(j) = log p_head(cluster of j) + log p_cluster(j)``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample import specs
from lshsample._native import layers as kernels
from lshsample._native import unchecked
from lshsample._native.arrays import matrix, row_ids
from lshsample._native.core import threads_or_default
from lshsample.errors import ArgumentError, UnsupportedError
from lshsample.nn.best import hits_of
from lshsample.nn.layer import (
    LAYERS,
    BuildContext,
    CandidateLists,
    Layer,
    LossPass,
    OutputLayer,
    initial_scale,
)
from lshsample.nn.losses import Logits, Softmax
from lshsample.nn.parameter import Parameter, Update
from lshsample.nn.signals import Run, Signal, as_dense, from_dense, indptr_of, times

__all__ = ["AdaptiveSoftmax", "AdaptiveSoftmaxLayer"]

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]

#: Log probabilities, of rows times units, that are in memory at a time in prediction.
_BLOCK = 1 << 24
#: Distance between the numbers of the random streams of two parameters of a layer; other layers' lie between.
_STREAMS = 1 << 20
_LOSS = Softmax()


def _cutoffs(value: Any) -> Any:
    """Integers of Python, from a sequence of integers; anything else as it is, to be refused."""
    if isinstance(value, np.ndarray):
        value = list(value) if value.ndim else value.item()
    if not isinstance(value, list | tuple):
        return value
    return tuple(int(one) if isinstance(one, np.integer) else one for one in value)


def _columns(inputs: int, factor: float, number: int) -> int:
    """Columns that the cluster of this number, from 1, projects its input to."""
    try:
        return max(int(inputs / factor**number), 1)
    except OverflowError:  # of the power
        return 1


def _check_cutoffs(spec: AdaptiveSoftmax, attribute: attrs.Attribute[Any], value: Any) -> None:
    whole = isinstance(value, tuple) and all(type(one) is int for one in value)
    ends = (0, *value, spec.units) if whole else ()
    if not value or not whole or any(a >= b for a, b in itertools.pairwise(ends)):
        wanted = f"ascending integers from 1 to {spec.units - 1}, at least one"
        raise ArgumentError(attribute.name, repr(value), wanted)


@LAYERS.add("adaptive-softmax")
@attrs.frozen
class AdaptiveSoftmax(Layer):
    """A last layer with softmax cross-entropy that computes rare units only for the rows that have them.

    It is exact and not sampled: what a sampled layer is to be compared with. `Grave et al. 2017
    <https://arxiv.org/abs/1609.04309>`_; ``torch.nn.AdaptiveLogSoftmaxWithLoss`` is the same function.

    Attributes
    ----------
    units : int
        Width, at most 2^24.
    cutoffs : tuple of int
        Numbers of units, ascending, below the width: the head has the ``cutoffs[0]`` most frequent units, the
        clusters those from one of the numbers to the next, the last one all others.
    factor : float
        The first cluster projects its input to 1 / factor of the columns, the next one to 1 / factor^2, and
        so on, rounded down, to at least one column; at least 1.
    bias : bool
        Whether the head has a bias.
    init_scale : float, optional
        Standard deviation of the initial weights; by default ``sqrt(1 / columns)`` of each matrix.

    Notes
    -----
    The order is that of the training labels that the network observes first (``Trainer.fit``,
    ``Network.observe``), ties by the smaller label, and is saved with the network; a network that is trained
    without them keeps the order of the labels. A row with several labels has the target 1 / their number for
    each. Scores are log probabilities.

    A training step computes ``cutoffs[0] + len(cutoffs)`` logits for each row, and those of a cluster for the
    rows with a label in it; prediction computes all units for each row, whichever are asked for.

    Examples
    --------
    >>> from lshsample.nn import Dense, Input, Network
    >>> network = Network([Input(32), Dense(64), AdaptiveSoftmax(10_000, (1_000, 4_000))])
    >>> network.n_parameters, Network([Input(32), Dense(64), Dense(10_000, "softmax")]).n_parameters
    (139520, 652112)
    """

    units: int = attrs.field(validator=specs.integer(2, 2**24))
    cutoffs: tuple[int, ...] = attrs.field(converter=_cutoffs, validator=_check_cutoffs)
    factor: float = attrs.field(default=4.0, validator=specs.at_least(1.0), kw_only=True)
    bias: bool = attrs.field(default=False, validator=specs.one_of(True, False), kw_only=True)
    init_scale: float | None = attrs.field(
        default=None, validator=attrs.validators.optional(specs.at_least(0.0)), kw_only=True
    )

    @property
    def loss(self) -> Softmax:
        """Softmax cross-entropy."""
        return _LOSS

    def build(self, context: BuildContext) -> AdaptiveSoftmaxLayer:
        """The layer, with the head, and projection and weights of each cluster."""
        return AdaptiveSoftmaxLayer(self, context)


@attrs.frozen(eq=False)
class _Product:
    """``x @ W.T + b`` with W (units, inputs)."""

    weights: Parameter
    bias: Parameter | None = None

    def forward(self, x: Float32, threads: int) -> Float32:
        """All units of the rows."""
        weights, bias = self.weights, None if self.bias is None else self.bias.slots
        out, scaled = np.empty((len(x), weights.rows), np.float32), times(x, weights.factor)
        no_rows, view = unchecked.ids_pointer(None), unchecked.dense(out)
        unchecked.matmul_nt(unchecked.dense(scaled), weights.raw, no_rows, bias, view, threads)
        return out

    def backward(self, x: Float32, dy: Float32, threads: int) -> tuple[Float32, list[Update]]:
        """The gradient of x, and updates, from the gradient of the output."""
        weights, view = self.weights, unchecked.dense(dy)
        dw = np.empty((weights.rows, weights.columns), weights.raw.dtypes[0].numpy)
        unchecked.matmul_tn(view, unchecked.dense(x), unchecked.dense(dw), weights.raw, threads)
        updates = [Update(weights, None, dw)]
        if self.bias is not None:
            sums = unchecked.column_sums(view, weights.rows, threads)
            updates.append(Update(self.bias, None, sums.reshape(-1, 1)))
        dx, no_rows = np.empty(x.shape, np.float32), unchecked.ids_pointer(None)
        unchecked.matmul_nn(view, weights.raw, no_rows, unchecked.dense(dx), threads)
        return times(dx, weights.factor), updates


@attrs.frozen(eq=False)
class _Cluster:
    """Rare units: those from ``first`` on in the order of frequency, after a projection."""

    first: int
    projection: _Product
    units: _Product


#: Backpropagates the gradient of a loss times a factor to some rows of the input.
_Back = Callable[[float], tuple[Float32, list[Update]]]


class AdaptiveSoftmaxLayer(OutputLayer):
    """The output layer of an :class:`AdaptiveSoftmax`.

    Parameters
    ----------
    spec : AdaptiveSoftmax
        Width, cutoffs.
    context : BuildContext
        Its place in the network.
    """

    in_parts = True

    def __init__(self, spec: AdaptiveSoftmax, context: BuildContext) -> None:
        self.spec, parameters = spec, list[Parameter]()
        ends, inputs = (*spec.cutoffs, spec.units), context.inputs

        def made(name: str, rows: int, columns: int, **options: Any) -> Parameter:
            key = context.seed, 2 * context.index + _STREAMS * len(parameters)
            scale = 0.0 if options else initial_scale(spec.init_scale, columns, None)
            if not options:
                options = {"dtype": context.precision, "moments": context.moments}
            parameters.append(Parameter(f"{context.index}.{name}", rows, columns, scale, key, **options))
            return parameters[-1]

        head = made("head", ends[0] + len(spec.cutoffs), inputs)
        self._head = _Product(head, made("bias", head.rows, 1, decays=False) if spec.bias else None)
        self._clusters = []
        for number, (first, last) in enumerate(itertools.pairwise(ends), 1):
            columns = _columns(inputs, spec.factor, number)
            projection = _Product(made(f"projection{number}", columns, inputs))
            units = _Product(made(f"cluster{number}", last - first, columns))
            self._clusters.append(_Cluster(first, projection, units))
        #: Place of each unit in the order of frequency; all 0 while there is no order.
        self._places = made("places", spec.units, 1, trained=False)
        super().__init__(spec.units, context, tuple(parameters))

    def forward(self, x: Signal, run: Run) -> Any:
        """Only for hidden layers."""
        raise UnsupportedError("an adaptive softmax is the last layer of a network")

    def logits(self, x: Signal, run: Run) -> Any:
        """There are none of all units; see :meth:`loss_pass`."""
        raise UnsupportedError(f"layer {self.index}: an adaptive softmax has no logits of all units")

    def unit_vectors(self) -> Float32:
        """There are none: rare units share projections, and their probabilities that of their cluster."""
        raise UnsupportedError(f"layer {self.index}: an adaptive softmax has no vector for each unit")

    def workspace_needed(self, batch_size: int) -> int:
        """Logits of all units for all rows, at worst, and the gradient of every weight."""
        return 4 * (2 * batch_size * self.units + self.n_parameters)

    # The order of the units.

    def observe_labels(self, labels: sp.csr_array | None) -> None:
        """Order the units by the frequency of their labels, if they are in no order yet."""
        self._places.allocate(1)
        if labels is not None and not self._ordered:
            counts = np.bincount(labels.indices, minlength=self.units)
            self._places.vector[np.argsort(-counts, kind="stable")] = np.arange(self.units)

    @property
    def _ordered(self) -> bool:
        first, second = self._places.vector[:2]
        return bool(first != second)

    def _places_of(self, ids: npt.NDArray[np.integer[Any]] | None = None) -> npt.NDArray[np.int64]:
        """The places of units, or of all; those of the labels while there is no order."""
        if not self._ordered:
            return np.arange(self.units) if ids is None else ids.astype(np.int64)
        vector = self._places.vector
        return (vector if ids is None else vector[ids]).astype(np.int64)

    # Training.

    def loss_pass(self, x: Signal, y: sp.csr_array, weights: Float32, run: Run, count_hits: bool) -> LossPass:
        """The loss of the head for all rows, and that of each cluster for those with a label in it."""
        if run.training and not self._ordered:
            self._places.vector[...] = np.arange(self.units)
        h, indptr = as_dense(x), indptr_of(y)
        rows, places = np.repeat(np.arange(len(h)), np.diff(indptr)), self._places_of(y.indices)
        of_label = np.searchsorted(self.spec.cutoffs, places, side="right")  # 0: in the head
        in_head = np.where(of_label == 0, places, self.spec.cutoffs[0] + of_label - 1)
        top = self._head.forward(h, run.threads)
        best = _Best.of_head(top, self.spec.cutoffs[0]) if count_hits else None
        active, losses = top.size, _loss(top, indptr, in_head, weights, run.threads)
        backs: list[tuple[npt.NDArray[np.int64], _Back]] = []
        for number, cluster in enumerate(self._clusters, 1):
            own = of_label == number
            if not own.any():
                continue
            some, counts = np.unique(rows[own], return_counts=True)
            ends = np.concatenate([[0], np.cumsum(counts)])
            below = h[some]
            inner = cluster.projection.forward(below, run.threads)
            values = cluster.units.forward(inner, run.threads)
            if best is not None:
                best.add(some, number - 1, values, cluster.first)
            active += values.size
            losses[some] += _loss(values, ends, places[own] - cluster.first, weights[own], run.threads)
            backs.append((some, _back(cluster, below, inner, values, run.threads)))

        def backward(scale: float) -> tuple[Signal | None, list[Update]]:
            dh, updates = self._head.backward(h, times(top, scale), run.threads)
            for some, back in backs:
                gradient, more = back(scale)
                dh[some] += gradient
                updates += more
            return (from_dense(dh, x) if self.context.needs_input_gradient else None), updates

        hits = None if best is None else hits_of(self._units_at(best.places), y)
        return LossPass(losses, active, hits, backward)

    def _units_at(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The units at places of the order."""
        return np.argsort(self._places_of())[places]

    # Prediction.

    def log_probabilities(self, h: Float32, *, threads: int | None = None) -> Float32:
        """Log probabilities of all units.

        Parameters
        ----------
        h : ndarray of float32, shape (rows, inputs)
            The layer's inputs.
        threads : int, optional
            Threads; the result does not depend on it.

        Returns
        -------
        ndarray of float32, shape (rows, units)

        Raises
        ------
        ArgumentError
            ``h`` is of another type or width.
        """
        matrix(h, "h", cols=self.context.inputs)
        count, first = threads_or_default(threads), self.spec.cutoffs[0]
        top = _log_softmax(self._head.forward(h, count))
        parts = [top[:, :first]]
        for number, cluster in enumerate(self._clusters):
            inner = cluster.projection.forward(h, count)
            part = _log_softmax(cluster.units.forward(inner, count))
            part += top[:, first + number, None]
            parts.append(part)
        return np.concatenate(parts, axis=1)[:, self._places_of()]

    def score(self, h: Float32, ids: Int32 | None = None, *, threads: int | None = None) -> Float32:
        """Log probabilities of the given units, which cost as much as those of all."""
        if ids is None:
            return self.log_probabilities(h, threads=threads)
        row_ids(ids, "ids", self.units)
        blocks = self._blocks(h)
        out = np.empty((len(h), len(ids)), np.float32)
        for rows in blocks:
            out[rows] = self.log_probabilities(h[rows], threads=threads)[:, ids]
        return out

    def top_k(
        self, h: Float32, k: int, candidates: CandidateLists | None = None, *, threads: int | None = None
    ) -> tuple[Int32, Float32]:
        """The units of the largest probabilities; candidates save no time."""
        specs.checked_integer("k", k, 1, self.units if candidates is None else None)
        blocks = self._blocks(h)
        ids, scores = np.empty((len(h), k), np.int32), np.empty((len(h), k), np.float32)
        for rows in blocks:
            found = self.log_probabilities(h[rows], threads=threads)
            if candidates is None:
                starts = np.arange(len(found) + 1) * self.units
                units = np.tile(np.arange(self.units, dtype=np.int32), len(found))
                values = found.reshape(-1)
            else:
                starts = candidates.indptr[rows.start : rows.stop + 1]
                units = candidates.ids[starts[0] : starts[-1]]
                starts = starts - starts[0]
                values = found[np.repeat(np.arange(len(found)), np.diff(starts)), units]
            ids[rows], scores[rows] = kernels.top_k_ragged(values, starts, units, k, threads=threads)
        return ids, scores

    def _blocks(self, h: Float32) -> Sequence[slice]:
        """Inputs in blocks of rows, whose log probabilities are in memory together."""
        matrix(h, "h", cols=self.context.inputs)
        step = max(_BLOCK // self.units, 1)
        return [slice(start, min(start + step, len(h))) for start in range(0, len(h), step)]


def _back(cluster: _Cluster, below: Float32, inner: Float32, values: Float32, threads: int) -> _Back:
    """The backward pass of a cluster, from the gradient of its logits."""

    def back(scale: float) -> tuple[Float32, list[Update]]:
        gradient, updates = cluster.units.backward(inner, times(values, scale), threads)
        gradient, more = cluster.projection.backward(below, gradient, threads)
        return gradient, updates + more

    return back


def _loss(
    values: Float32,
    indptr: npt.NDArray[np.int64],
    places: npt.NDArray[np.int64],
    weights: Float32,
    threads: int,
) -> Float32:
    """The loss of each row; its gradient replaces the values."""
    columns = places.astype(np.int32), np.ascontiguousarray(weights, np.float32)
    return _LOSS.apply(Logits(values, None, indptr, *columns, None, values.shape[1]), threads)


def _log_softmax(values: Float32) -> Float32:
    """Log probabilities from the logits of all units of a row, which they replace."""
    values -= values.max(axis=1, keepdims=True)
    values -= np.log(np.exp(values).sum(axis=1, keepdims=True))
    return values


class _Best:
    """The place of the most probable unit of each row, among those that are computed in a step.

    Parameters
    ----------
    places : ndarray of int64, shape (rows,)
        The best place of each row so far.
    scores : ndarray of float32, shape (rows,)
        Its log probability.
    clusters : ndarray of float32, shape (rows, clusters)
        Log probabilities of the clusters.
    """

    def __init__(self, places: npt.NDArray[np.int64], scores: Float32, clusters: Float32) -> None:
        self.places, self._scores, self._clusters = places, scores, clusters

    @classmethod
    def of_head(cls, values: Float32, first: int) -> _Best:
        """From the logits of the head, which are kept."""
        known = _log_softmax(values.copy())
        return cls(known[:, :first].argmax(axis=1), known[:, :first].max(axis=1), known[:, first:])

    def add(self, rows: npt.NDArray[np.int64], cluster: int, values: Float32, first: int) -> None:
        """Take the units of a cluster into account, for some rows."""
        known = _log_softmax(values.copy())
        scores = known.max(axis=1) + self._clusters[rows, cluster]
        better = scores > self._scores[rows]
        chosen = rows[better]
        self.places[chosen] = known[better].argmax(axis=1) + first
        self._scores[chosen] = scores[better]
