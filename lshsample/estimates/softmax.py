"""Partition functions, and losses over all classes with their gradients, from samples of the classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample.errors import ArgumentError
from lshsample.estimates.estimate import Estimate
from lshsample.estimates.logits import Logits, class_logits
from lshsample.estimates.samples import DrawOptions, Samples, SampleSource, draw_samples
from lshsample.sampling import ActiveSet

__all__ = ["LossGradient", "partition_function", "sigmoid_gradient", "softmax_gradient"]

Floats = npt.NDArray[np.float64]


@attrs.frozen(eq=False, kw_only=True)
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
        (m,); ``.log()`` estimates its logarithm.

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
    samples = draw_samples(sampler, queries, **draws)
    scaled = np.asarray(queries) * np.float32(scale) if scale != 1 else queries
    logits = Logits.of(samples, class_logits(samples, scaled, vectors, bias))
    return samples.linear(logits.exponentials()).column() / np.exp(-logits.largest)


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
        shape = getattr(targets, "shape", ())
        if not sp.issparse(targets) or shape != (rows, n_items):
            given = f"{type(targets).__name__} of shape {shape}"
            raise ArgumentError("targets", given, f"a sparse matrix of shape ({rows}, {n_items})")
        matrix: Any = targets
        return cls(sp.csr_array(matrix, dtype=np.float64))

    def weighted_logits(self, inputs: Any, weights: Any, bias: npt.ArrayLike | None) -> Floats:
        """sum_j t_j o_j of each row, (m,), o being the logits."""
        y = self.matrix
        stored = ActiveSet(
            indptr=y.indptr.astype(np.int64),
            ids=y.indices.astype(np.int32),
            counts=np.zeros(y.nnz, np.int32),
            n_items=y.shape[1],
        )
        (logits,) = class_logits(Samples((stored,), ()), inputs, weights, bias)
        sums = np.bincount(stored.row_of_ids(), weights=y.data * logits, minlength=y.shape[0])
        return np.asarray(sums, np.float64)

    def weighted_vectors(self, weights: npt.NDArray[Any]) -> Floats:
        """sum_j t_j w_j of each row, (m, d)."""
        return np.asarray(self.matrix @ weights.astype(np.float64))


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
    samples = draw_samples(sampler, inputs, **draws)
    y = _Targets.of(targets, len(inputs), samples.sets[0].n_items)
    logits = Logits.of(samples, class_logits(samples, inputs, weights, bias))
    masses = logits.exponentials()
    log_z = samples.linear(masses).column().log()
    moments = [mass * weights[active.ids] for active, mass in zip(samples.sets, masses, strict=True)]
    expected = samples.ratio(moments, masses)
    loss = log_z.value + logits.largest - y.weighted_logits(inputs, weights, bias)
    totals = samples.totals(masses).sum(axis=0)[:, 0]
    shares = [
        mass[:, 0] * weight / totals[active.row_of_ids()]
        for active, mass, weight in zip(samples.sets, masses, samples.weights, strict=True)
    ]
    return LossGradient(
        loss=attrs.evolve(log_z, value=loss),
        gradient=attrs.evolve(expected, value=expected.value - y.weighted_vectors(weights)),
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
    samples = draw_samples(sampler, inputs, **draws)
    y = _Targets.of(targets, len(inputs), samples.sets[0].n_items)
    logits = class_logits(samples, inputs, weights, bias)
    softplus = samples.linear([np.logaddexp(0, each)[:, None] for each in logits]).column()
    rates = [np.exp(-np.logaddexp(0, -each)) for each in logits]
    sums = samples.linear(
        [rate[:, None] * weights[active.ids] for active, rate in zip(samples.sets, rates, strict=True)]
    )
    shares = [rate * weight / len(rates) for rate, weight in zip(rates, samples.weights, strict=True)]
    return LossGradient(
        loss=attrs.evolve(softplus, value=softplus.value - y.weighted_logits(inputs, weights, bias)),
        gradient=attrs.evolve(sums, value=sums.value - y.weighted_vectors(weights)),
        logits=_sparse_sum(samples, shares) - y.matrix,
    )


def _sparse_sum(samples: Samples, values: Sequence[Floats]) -> Any:
    """The sum over all sets of the values of their ids, as a sparse matrix (rows, n_items)."""
    shape = (samples.sets[0].n_rows, samples.sets[0].n_items)
    total: Any = sp.csr_array(shape, dtype=np.float64)
    for active, value in zip(samples.sets, values, strict=True):
        total = total + sp.csr_array((value, active.ids, active.indptr), shape=shape)
    return total
