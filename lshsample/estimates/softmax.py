"""Partition functions, and losses over all classes with their gradients, from samples of the classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample._native import core
from lshsample._native.labels import label_rows
from lshsample.errors import ArgumentError
from lshsample.estimates.estimate import Estimate
from lshsample.estimates.inputs import (
    finite_number,
    finite_rows,
    real_matrix,
    require_finite,
    sampled_rows,
)
from lshsample.estimates.logits import Logits, class_logits
from lshsample.estimates.samples import DrawOptions, Samples, SampleSource, draw_samples
from lshsample.sampling import ActiveSet

__all__ = [
    "LossGradient",
    "log_partition_function",
    "partition_function",
    "sigmoid_gradient",
    "softmax_gradient",
]

Floats = npt.NDArray[np.float64]


@attrs.frozen(eq=False, kw_only=True, repr=False)
class LossGradient:
    """A loss over all classes and its gradients, estimated from a sample of the classes.

    Attributes
    ----------
    loss : Estimate
        The loss of each row, (m,).
    gradient : Estimate
        The gradient with respect to the input, (m, d).
    logits : csr_array
        The gradient with respect to the logits, (m, n_items); zero but for sampled classes and targets. The
        gradient with respect to the weights is ``logits.T @ inputs``.
    """

    loss: Estimate
    gradient: Estimate
    logits: sp.csr_array

    def __repr__(self) -> str:
        shape = self.logits.shape
        return f"LossGradient(loss={self.loss!r}, gradients of {self.gradient.value.shape} and {shape})"

    def _repr_html_(self) -> str:
        return self.loss._repr_html_()


def partition_function(
    sampler: SampleSource,
    queries: Any,
    vectors: Any,
    *,
    bias: npt.ArrayLike | None = None,
    scale: float = 1.0,
    **draws: Unpack[DrawOptions],
) -> Estimate:
    """The partition function of a softmax, sum_j exp(scale q.x_j + b_j), for each query.

    Parameters
    ----------
    sampler : Sampler, ActiveSet, or a sequence of them
        As for :func:`~lshsample.estimates.draw_samples`.
    queries : (m, dim) rows
        Queries.
    vectors : (n_items, dim) rows
        The class vectors.
    bias : (n_items,) array, optional
        The biases of the classes.
    scale : float
        Factor of the inner products.
    **draws
        Keyword arguments of :func:`~lshsample.estimates.draw_samples`; see
        :class:`~lshsample.estimates.DrawOptions`.

    Returns
    -------
    Estimate
        (m,).

    Raises
    ------
    ArgumentError
        Invalid arrays, or an estimate beyond the largest float64, 1.8e308, whose logarithm
        :func:`log_partition_function` estimates.

    Notes
    -----
    The Horvitz-Thompson estimate of the sum of exp(logit): unbiased (Spring & Shrivastava 2017, arXiv
    1703.05160). Costs dim multiplications for each sampled class.

    Examples
    --------
    >>> from lshsample import HashTables, Retrieve, Uniform, make_family
    >>> rows = np.random.default_rng(0).standard_normal((2000, 16), dtype=np.float32) / 4
    >>> tables = HashTables(make_family("simhash", dim=16, n_hashes=6, n_tables=10)).build(rows)
    >>> sampler = (Retrieve() | Uniform(100)).bind(tables=tables)
    >>> z = partition_function(sampler, rows[:1], rows)
    >>> low, high = z.interval(0.99)
    >>> bool(low[0] < np.exp(rows @ rows[0]).sum() < high[0])
    True
    """
    z, largest = _relative_sum(sampler, queries, vectors, bias, scale, draws)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        absolute = z / np.exp(-largest)
    beyond = np.flatnonzero(~np.isfinite(absolute.value))
    if len(beyond):
        row = beyond[0]
        given = f"a logarithm of {np.log(z.value[row]) + largest[row]:.6g} for query {row}"
        wanted = "at most 1.8e308, the largest float64; log_partition_function estimates its logarithm"
        raise ArgumentError("the partition function", given, wanted)
    return absolute


def log_partition_function(
    sampler: SampleSource,
    queries: Any,
    vectors: Any,
    *,
    bias: npt.ArrayLike | None = None,
    scale: float = 1.0,
    **draws: Unpack[DrawOptions],
) -> Estimate:
    """The logarithm of :func:`partition_function`, log sum_j exp(scale q.x_j + b_j), for logits of any size.

    Parameters
    ----------
    sampler, queries, vectors, bias, scale, **draws
        As for :func:`partition_function`.

    Returns
    -------
    Estimate
        (m,); -inf for a query without sampled ids.

    Notes
    -----
    Exponentials are relative to the largest logit of the sample, so that none overflows. The result is
    :meth:`Estimate.log` of the unbiased estimate of the sum, with its correction for the bias of the
    logarithm. With every item in the sample it is exact.

    Examples
    --------
    >>> from lshsample import Full
    >>> rows = np.array([[1e4, 0], [1e4, 1]], np.float32)
    >>> query = np.array([[1, 0]], np.float32)
    >>> log_partition_function(Full().bind(n_items=2), query, rows).value    # 10,000 + log 2
    array([10000.69314718])
    """
    z, largest = _relative_sum(sampler, queries, vectors, bias, scale, draws)
    log = z.log()
    return attrs.evolve(log, value=log.value + largest)


def _relative_sum(
    sampler: SampleSource, queries: Any, vectors: Any, bias: Any, scale: float, draws: DrawOptions
) -> tuple[Estimate, Floats]:
    """The partition function relative to exp(largest) in each row, and largest: (m,) each."""
    q = finite_rows(queries, "queries")
    factor = finite_number("scale", scale)
    samples = draw_samples(sampler, queries, **draws).per_query(q.shape[0])
    x = real_matrix(vectors, "vectors", rows=samples.sets[0].n_items, columns=q.shape[1])
    logits = Logits.of(samples, class_logits(samples, q, x, bias, scale=factor))
    return samples.linear(logits.exponentials()).column(), logits.largest


@attrs.frozen(eq=False)
class _Targets:
    """The target matrix of a loss, with what can be computed from it exactly.

    Attributes
    ----------
    matrix : (m, n_items) csr_array of float64
        The targets t.
    """

    matrix: Any

    @classmethod
    def of(cls, targets: Any, rows: int, n_items: int) -> _Targets:
        """Checked targets."""
        given: Any = targets
        shape = getattr(targets, "shape", ())
        if not sp.issparse(targets) or shape != (rows, n_items) or given.dtype.kind not in "fiub":
            kind = f"{type(targets).__name__} of shape {shape}"
            wanted = f"a sparse matrix of real numbers of shape ({rows}, {n_items})"
            raise ArgumentError("targets", kind, wanted)
        core.csr_rows(given, "targets")  # SciPy would follow offsets and indices that point outside
        matrix: Any = sp.csr_array(given, dtype=np.float64, copy=True)
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
        require_finite(matrix.data, "targets")
        return cls(matrix)

    def weighted_logits(self, inputs: Any, weights: Any, bias: npt.ArrayLike | None) -> Floats:
        """sum_j t_j o_j of each row, (m,), o being the logits."""
        y = self.matrix
        stored = ActiveSet(
            indptr=y.indptr.astype(np.int64),
            ids=y.indices.astype(np.int32),
            counts=np.zeros(y.nnz, np.int32),
            n_items=y.shape[1],
        )
        (logits,) = class_logits(Samples((stored,), ()), inputs, weights, bias, name="weights")
        sums = np.bincount(stored.row_of_ids(), weights=y.data * logits, minlength=y.shape[0])
        return np.asarray(sums, np.float64)

    def weighted_vectors(self, weights: npt.NDArray[Any]) -> Floats:
        """sum_j t_j w_j of each row, (m, d)."""
        classes, place = np.unique(self.matrix.indices, return_inverse=True)
        shape = self.matrix.shape[0], len(classes)
        matrix: Any = sp.csr_array((self.matrix.data, place, self.matrix.indptr), shape=shape)
        return np.asarray(matrix @ weights[classes].astype(np.float64))


def softmax_gradient(
    sampler: SampleSource,
    inputs: npt.NDArray[Any],
    weights: npt.NDArray[Any],
    targets: Any,
    *,
    bias: npt.ArrayLike | None = None,
    **draws: Unpack[DrawOptions],
) -> LossGradient:
    """Softmax cross-entropy over all classes, and its gradients, from a sample of the classes.

    Parameters
    ----------
    sampler : Sampler, ActiveSet, or a sequence of them
        As for :func:`~lshsample.estimates.draw_samples`.
    inputs : (m, d) array
        Hidden vectors, which are the queries.
    weights : (n_items, d) array
        The class vectors.
    targets : (m, n_items) sparse matrix
        The target distribution of each row, with sum 1.
    bias : (n_items,) array, optional
        The biases of the classes.
    **draws
        Keyword arguments of :func:`~lshsample.estimates.draw_samples`; see
        :class:`~lshsample.estimates.DrawOptions`.

    Notes
    -----
    The loss is log Z - sum_j t_j o_j, and its gradient with respect to the input E_p[w] - sum_j t_j w_j. The
    terms of the targets are exact. log Z is :meth:`Estimate.log` of an unbiased Z; E_p[w] is a ratio of two
    unbiased sums, whose bias is of order 1 / n. With every class in the sample both are exact.
    """
    samples, q, w, y = _layer(sampler, inputs, weights, targets, draws)
    logits = Logits.of(samples, class_logits(samples, q, w, bias, name="weights"))
    masses = logits.exponentials()
    log_z = samples.linear(masses).column().log()
    moments = [
        mass * sampled_rows(w, "weights", active) for active, mass in zip(samples.sets, masses, strict=True)
    ]
    expected = samples.ratio(moments, masses)
    loss = log_z.value + logits.largest - y.weighted_logits(q, w, bias)
    totals = samples.totals(masses).sum(axis=0)[:, 0]
    shares = [
        mass[:, 0] * weight / totals[active.row_of_ids()]
        for active, mass, weight in zip(samples.sets, masses, samples.weights, strict=True)
    ]
    return LossGradient(
        loss=attrs.evolve(log_z, value=loss),
        gradient=attrs.evolve(expected, value=expected.value - y.weighted_vectors(w)),
        logits=_sparse_sum(samples, shares) - y.matrix,
    )


def sigmoid_gradient(
    sampler: SampleSource,
    inputs: npt.NDArray[Any],
    weights: npt.NDArray[Any],
    targets: Any,
    *,
    bias: npt.ArrayLike | None = None,
    **draws: Unpack[DrawOptions],
) -> LossGradient:
    """The sum of the binary cross-entropies of all classes, and its gradients, from a sample of the classes.

    Parameters
    ----------
    sampler, inputs, weights, bias, **draws
        As for :func:`softmax_gradient`.
    targets : (m, n_items) sparse matrix
        1 for the true classes of each row.

    Notes
    -----
    The loss is sum_j softplus(o_j) - sum_j t_j o_j. The first sum is over all classes; it and its gradient
    sum_j sigmoid(o_j) w_j are estimated without bias. The terms of the targets are exact.
    """
    samples, q, w, y = _layer(sampler, inputs, weights, targets, draws)
    label_rows(y.matrix, "targets")
    logits = class_logits(samples, q, w, bias, name="weights")
    softplus = samples.linear([np.logaddexp(0, each)[:, None] for each in logits]).column()
    rates = [np.exp(-np.logaddexp(0, -each)) for each in logits]
    sums = samples.linear(
        [
            rate[:, None] * sampled_rows(w, "weights", active)
            for active, rate in zip(samples.sets, rates, strict=True)
        ]
    )
    shares = [rate * weight / len(rates) for rate, weight in zip(rates, samples.weights, strict=True)]
    return LossGradient(
        loss=attrs.evolve(softplus, value=softplus.value - y.weighted_logits(q, w, bias)),
        gradient=attrs.evolve(sums, value=sums.value - y.weighted_vectors(w)),
        logits=_sparse_sum(samples, shares) - y.matrix,
    )


def _layer(
    sampler: SampleSource, inputs: Any, weights: Any, targets: Any, draws: DrawOptions
) -> tuple[Samples, Any, Any, _Targets]:
    """Samples for each input, and the checked inputs, weights and targets."""
    q = finite_rows(inputs, "inputs")
    samples = draw_samples(sampler, inputs, **draws).per_query(q.shape[0])
    n_items = samples.sets[0].n_items
    w = real_matrix(weights, "weights", rows=n_items, columns=q.shape[1], dense=True)
    return samples, q, w, _Targets.of(targets, q.shape[0], n_items)


def _sparse_sum(samples: Samples, values: Sequence[Floats]) -> Any:
    """The sum over all sets of the values of their ids, as a sparse matrix (rows, n_items)."""
    shape = (samples.sets[0].n_rows, samples.sets[0].n_items)
    total: Any = sp.csr_array(shape, dtype=np.float64)
    for active, value in zip(samples.sets, values, strict=True):
        total = total + sp.csr_array((value, active.ids, active.indptr), shape=shape)
    return total
