"""Losses over the active set: logits are replaced by their gradient, in place.

Softmax cross-entropy over several labels Y has the target 1/|Y| for each of them. Over a sample of the units
its normaliser is ``sum_j exp(o_j) / pi_j``, with pi_j the probability that unit j is in the sample: an
unbiased estimate of the full sum. The sigmoid loss sums ``BCE_j / pi_j``. A row without labels has no softmax
loss; for the sigmoid loss all of its units are negatives.

With label smoothing e, the targets t_j of a row, with the sum M, become ``(1 - e) t_j + e M / N`` over all N
units (Szegedy et al. 2016). Over a sample of the units with a correction, the even part of an active unit is
``e M / (N pi_j)``: sums of targets are unbiased estimates of those over all units. Without a correction the
active units are taken for all units: N is their number.

With a propensity model (A, B), each label's target is multiplied by 1 / p_l, where p_l is the probability
that label l is recorded where it is true (Jain et al. 2016).

Where a row's logits are split into several parts, a loss works in two phases: each part is summarised, the
summaries are combined in the order of the parts, and each part's gradient is computed from the combined one.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample import specs
from lshsample._native import loss as kernels
from lshsample.display import array_text
from lshsample.errors import ArgumentError, UnsupportedError
from lshsample.metrics import propensities
from lshsample.nn.names import NameTable
from lshsample.nn.signals import Block, Signal, indptr_of

__all__ = ["LOSSES", "Logits", "Loss", "Sigmoid", "Softmax", "loss_in_parts"]

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]


@attrs.frozen(eq=False)
class Logits:
    """The logits of some rows, or of a part of their units, and the labels among them.

    Attributes
    ----------
    values : ndarray of float32, shape (rows, n), or (nnz,) with ``indptr``
        The logits; a loss replaces them by its gradient.
    indptr : ndarray of int64, shape (rows + 1,), or None
        Row i is ``values[indptr[i] : indptr[i + 1]]``; None if all rows have the same n units.
    label_indptr : ndarray of int64, shape (rows + 1,)
        Row i has the labels ``label_indptr[i] : label_indptr[i + 1]``.
    label_places : ndarray of int32
        Index of each label among its row's logits.
    label_weights : ndarray of float32
        Target of each label, from :meth:`Loss.label_weights`.
    log_inclusion : ndarray of float32, or None
        Log inclusion probability of each of the n units, or of each value; None for no correction.
    units : int
        Number of the layer's units, of which those with logits are a sample or a part.
    """

    values: Float32 = attrs.field(repr=array_text)
    indptr: Int64 | None = attrs.field(repr=array_text)
    label_indptr: Int64 = attrs.field(repr=array_text)
    label_places: Int32 = attrs.field(repr=array_text)
    label_weights: Float32 = attrs.field(repr=array_text)
    log_inclusion: Float32 | None = attrs.field(default=None, repr=array_text)
    units: int = 0

    @classmethod
    def of(
        cls,
        signal: Signal,
        labels: sp.csr_array,
        weights: Float32,
        log_inclusion: Float32 | None = None,
        *,
        part: bool = False,
    ) -> Logits:
        """The logits of a layer's output.

        Parameters
        ----------
        signal : Block or csr_array
            The output; its values become the gradient.
        labels : csr_array
            The rows' labels.
        weights : ndarray of float32
            Target of each label.
        log_inclusion : ndarray of float32, or None
            Log inclusion probabilities of the active units.
        part : bool
            Whether labels may be missing, because they are in another part.

        Raises
        ------
        UnsupportedError
            If a label is not among the active units, and ``part`` is False.
        """
        indptr = indptr_of(labels)
        weights = np.ascontiguousarray(weights, np.float32)
        if weights.shape != labels.indices.shape:
            wanted = f"an array of shape {labels.indices.shape}, one for each label"
            raise ArgumentError("weights", f"shape {weights.shape}", wanted)
        if isinstance(signal, Block):
            values, starts, units = signal.values, None, signal.width
            places, missing = _in_block(signal, labels.indices)
        else:
            values, starts, units = signal.data, indptr_of(signal), signal.shape[1]
            places, missing = _in_rows(signal, labels)
        if missing is not None:
            if not part:
                raise UnsupportedError(
                    "the active set lacks labels of the batch; the last layer's sampler needs Include()"
                )
            kept = ~missing
            indptr = np.concatenate([[0], np.cumsum(kept)])[indptr]
            places, weights = places[kept], weights[kept]
        return cls(values, starts, indptr, places, weights, log_inclusion, units)


class Loss(ABC):
    """Base class of the losses of the last layer's logits.

    :meth:`apply` is enough for a network. A loss that can be computed over parts of a row
    (:func:`loss_in_parts`) also has :meth:`summarise`, :meth:`combine` and :meth:`finish`. To save a network
    with a loss, make its class an attrs class registered under a name: ``LOSSES.add("name")``.
    """

    #: Whether rows without labels are left out of training.
    needs_labels: ClassVar[bool] = False

    def label_factors(self, labels: sp.csr_array) -> Float32 | None:
        """A factor for each unit, shape (units,), from the labels of all training rows; None without factors.

        A network computes them once, when it observes the labels, and gives them to :meth:`label_weights`.
        """
        return None

    def initial_biases(self, labels: sp.csr_array) -> Float32 | None:
        """Biases of the last layer, shape (units,), from the labels of all training rows, for a network that
        has not been trained; None to leave them at 0.
        """
        return None

    def label_weights(self, labels: sp.csr_array, factors: Float32 | None = None) -> Float32:
        """The target of each label, in the order of ``labels.indices``; by default 1, or its factor."""
        return np.ones(labels.nnz, np.float32) if factors is None else factors[labels.indices]

    #: Whether :meth:`apply_layer` computes logits, losses and gradients row by row.
    by_rows: ClassVar[bool] = False

    def apply_layer(self, logits: Logits, layer: Any, threads: int) -> Float32:
        """As :meth:`apply`, for logits that are still to be computed (``by_rows``).

        Parameters
        ----------
        logits : Logits
            With ``indptr``; the values are overwritten.
        layer : lsh_sampled_layer *
            From :func:`lshsample._native.unchecked.sampled_layer`.
        threads : int
            Number of threads.
        """
        raise UnsupportedError(f"{self} is not computed row by row")

    @abstractmethod
    def apply(self, logits: Logits, threads: int) -> Float32:
        """The loss of each row; replaces ``logits.values`` by the gradient of the sum of the rows' losses.

        Parameters
        ----------
        logits : Logits
            Logits that include all of the rows' labels; the values are overwritten.
        threads : int
            Number of threads; the result must not depend on it.

        Returns
        -------
        ndarray of float32, shape (rows,)
        """

    def summarise(self, logits: Logits, threads: int) -> Float64:
        """What a part contributes to the rows' losses, shape (rows, any); may change ``logits.values``."""
        raise UnsupportedError(f"{self} cannot be taken over parts of a row")

    def combine(self, parts: Sequence[Float64]) -> tuple[Float64, Float32]:
        """The summary of whole rows, and the rows' losses, from the summaries of the parts in their order."""
        raise UnsupportedError(f"{self} cannot be taken over parts of a row")

    def finish(self, logits: Logits, part: Float64, total: Float64, threads: int) -> None:
        """Replace a part's values by the gradient, given its summary and that of whole rows."""
        raise UnsupportedError(f"{self} cannot be taken over parts of a row")


#: Losses by the names used in files and on the command line.
LOSSES: NameTable[Loss] = NameTable("loss", Loss)


def loss_in_parts(loss: Loss, parts: Sequence[Logits], threads: int) -> Float32:
    """The loss of each row over several parts of its logits, whose values are replaced by the gradient.

    The parts are added in the given order. With the losses of this package, a single part gives the same bits
    as :meth:`Loss.apply`.

    Parameters
    ----------
    loss : Loss
        One with ``summarise``, ``combine`` and ``finish``.
    parts : sequence of Logits
        Parts of the same rows, each with the labels among its units.
    threads : int
        Number of threads; the result does not depend on it.

    Returns
    -------
    ndarray of float32, shape (rows,)

    Examples
    --------
    >>> from lshsample.nn.signals import Block
    >>> labels = sp.csr_array(np.array([[0, 1, 0, 1]], np.float32))
    >>> halves = [Block(np.zeros((1, 2), np.float32), 4, np.array(ids, np.int32)) for ids in ([0, 1], [2, 3])]
    >>> weights = Softmax().label_weights(labels)
    >>> parts = [Logits.of(half, labels, weights, part=True) for half in halves]
    >>> loss_in_parts(Softmax(), parts, threads=1)
    array([1.3862944], dtype=float32)
    >>> halves[1].values
    array([[ 0.25, -0.25]], dtype=float32)
    """
    summaries = [loss.summarise(part, threads) for part in parts]
    total, losses = loss.combine(summaries)
    for part, summary in zip(parts, summaries, strict=True):
        loss.finish(part, summary, total, threads)
    return losses


def _model(value: Any) -> Any:
    """A propensity model as a tuple; files have it as a list."""
    return tuple(value) if isinstance(value, list) else value


@attrs.frozen(repr=False)
class _CompiledLoss(Loss):
    """A loss implemented in the C core."""

    smoothing: float = attrs.field(
        default=0.0, validator=specs.number(0.0, 1.0, open_high=True), kw_only=True
    )
    propensity: tuple[float, float] | None = attrs.field(
        default=None, converter=_model, validator=attrs.validators.optional(specs.positive_pair), kw_only=True
    )

    _kernel: ClassVar[str]
    by_rows = True

    def label_factors(self, labels: sp.csr_array) -> Float32 | None:
        """1 / propensity of each label, if the loss has a propensity model."""
        if self.propensity is None:
            return None
        return (1.0 / propensities(labels, *self.propensity)).astype(np.float32)

    def _factors_of(self, labels: sp.csr_array, factors: Float32 | None) -> Float32 | None:
        """The factor of each label; None without a propensity model."""
        if self.propensity is None:
            return None
        if factors is None:
            raise UnsupportedError(
                "the loss weights labels by their propensity, which is computed from the training labels; "
                "call Network.observe(X, Y) before single steps"
            )
        return factors[labels.indices]

    def apply(self, logits: Logits, threads: int) -> Float32:
        """The loss of each row, in one pass."""
        return self._view(logits).apply(kernels.LOSSES[self._kernel], threads)

    def apply_layer(self, logits: Logits, layer: Any, threads: int) -> Float32:
        """As :meth:`apply`, of logits that are computed in the same pass."""
        return self._view(logits).apply_layer(kernels.LOSSES[self._kernel], layer, threads)

    def summarise(self, logits: Logits, threads: int) -> Float64:
        """Largest logit and sums, in float64."""
        return self._view(logits).summarise(kernels.LOSSES[self._kernel], threads)

    def combine(self, parts: Sequence[Float64]) -> tuple[Float64, Float32]:
        """The sums of all parts, added in their order."""
        return kernels.combine(self._kernel, np.stack(parts), self.smoothing)

    def finish(self, logits: Logits, part: Float64, total: Float64, threads: int) -> None:
        """The part's gradient."""
        self._view(logits).finish(kernels.LOSSES[self._kernel], part, total, threads)

    def __repr__(self) -> str:
        values = ((field, getattr(self, field.name)) for field in attrs.fields(type(self)))
        given = [f"{field.name}={value!r}" for field, value in values if value != field.default]
        return f"{type(self).__name__}({', '.join(given)})"

    def _view(self, logits: Logits) -> kernels.LogitsView:
        targets = logits.label_indptr, logits.label_places, logits.label_weights
        # Without a correction the active units count as all units.
        smoothing = self.smoothing, 0 if logits.log_inclusion is None else logits.units
        return kernels.LogitsView.of(logits.values, targets, logits.log_inclusion, logits.indptr, smoothing)


@LOSSES.add("softmax")
@attrs.frozen(repr=False)
class Softmax(_CompiledLoss):
    """Softmax cross-entropy with the target ``1/|Y|`` at each of a row's labels Y: ``-sum_j log(p_j) / |Y|``.

    Rows without labels are left out.

    Attributes
    ----------
    smoothing : float
        Share of the targets that is spread evenly over all units, in [0, 1).
    propensity : tuple of two floats, optional
        (A, B) of a propensity model (:func:`lshsample.metrics.propensities`), such as (0.55, 1.5): the
        targets of a row are proportional to 1 / propensity, so that rare labels weigh more.

    Examples
    --------
    >>> labels = sp.csr_array(np.array([[0, 1, 0, 1]], np.float32))
    >>> Softmax().label_weights(labels)
    array([0.5, 0.5], dtype=float32)
    >>> Softmax(propensity=(0.55, 1.5)).label_weights(labels, np.array([1, 1, 1, 3], np.float32))
    array([0.25, 0.75], dtype=float32)
    """

    needs_labels = True
    _kernel = "softmax"

    def label_weights(self, labels: sp.csr_array, factors: Float32 | None = None) -> Float32:
        """1 / the row's number of labels; with propensities, the label's share of the row's factors."""
        lengths = labels.indptr[1:] - labels.indptr[:-1]
        weighted = self._factors_of(labels, factors)
        if weighted is None:
            weights: Float32 = (1.0 / np.maximum(lengths, 1)).astype(np.float32)
            return weights.repeat(lengths)
        of_row = np.repeat(np.arange(len(lengths)), lengths)
        sums = np.bincount(of_row, weights=weighted, minlength=len(lengths))
        return (weighted / sums[of_row]).astype(np.float32)


@LOSSES.add("sigmoid")
@attrs.frozen(repr=False)
class Sigmoid(_CompiledLoss):
    """One-vs-all logistic loss: ``sum_j log(1 + exp(o_j)) - t_j o_j`` with t = 1 at a row's labels.

    The biases of an untrained network begin at the log odds of a label, on average over the labels.

    Attributes
    ----------
    smoothing : float
        Share of the targets that is spread evenly over all units, in [0, 1); a row's targets keep their sum.
    propensity : tuple of two floats, optional
        (A, B) of a propensity model (:func:`lshsample.metrics.propensities`), such as (0.55, 1.5): the loss
        at a row's label is multiplied by 1 / propensity.
    """

    _kernel = "sigmoid"

    def initial_biases(self, labels: sp.csr_array) -> Float32:
        """The log odds of a label in a training row, the mean over all labels, half a label added to both
        sides.

        Each label's own log odds would do as well where labels are few; with 21,139 labels, whose rare ones
        would begin far below the others, P@1 was 13 points lower.
        """
        pairs = labels.shape[0] * labels.shape[1]
        odds = math.log((labels.nnz + 0.5) / (pairs - labels.nnz + 0.5))
        return np.full(labels.shape[1], odds, np.float32)

    def label_weights(self, labels: sp.csr_array, factors: Float32 | None = None) -> Float32:
        """1, or 1 / the label's propensity."""
        weighted = self._factors_of(labels, factors)
        return np.ones(labels.nnz, np.float32) if weighted is None else weighted


def _in_block(logits: Block, labels: Int32) -> tuple[Int32, npt.NDArray[np.bool_] | None]:
    """Each label's column, by binary search, so that the cost does not grow with the layer's width; and which
    labels are missing, if any.
    """
    if logits.ids is None:
        return labels, None
    places = logits.ids.searchsorted(labels)
    return places.astype(np.int32), _missing(logits.ids, places, labels)


def _in_rows(logits: sp.csr_array, labels: sp.csr_array) -> tuple[Int32, npt.NDArray[np.bool_] | None]:
    """Each label's place in its row, by binary search over (row, column) as one ascending key; and which
    labels are missing, if any.
    """
    keys, sought = _keys(logits), _keys(labels)
    places = np.searchsorted(keys, sought)
    starts = np.repeat(indptr_of(logits)[:-1], np.diff(labels.indptr))
    return (places - starts).astype(np.int32), _missing(keys, places, sought)


def _keys(rows: sp.csr_array) -> npt.NDArray[np.int64]:
    return np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr)) * np.int64(rows.shape[1]) + rows.indices


def _missing(
    keys: npt.NDArray[np.integer], places: npt.NDArray[np.int64], sought: npt.NDArray[np.integer]
) -> npt.NDArray[np.bool_] | None:
    if not len(sought):
        return None
    if not len(keys):
        return np.ones(len(sought), bool)
    missing = keys[np.minimum(places, len(keys) - 1)] != sought
    return missing if np.count_nonzero(missing) else None
