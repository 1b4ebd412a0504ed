"""Partition functions, and gradients of full losses, from a sample of the classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample.errors import ArgumentError
from lshsample.estimates.estimate import Estimate
from lshsample.estimates.samples import Samples, draw_samples, pair_products
from lshsample.sampling import ActiveSet, Sampler

__all__ = ["LossGradient", "partition_function", "sigmoid_gradient", "softmax_gradient"]

Floats = npt.NDArray[np.float64]
Drawn = Sampler | ActiveSet | Sequence[Sampler] | Sequence[ActiveSet]


@attrs.frozen(eq=False, kw_only=True)
class LossGradient:
    """A loss over all classes and its gradient, as a sample of the classes estimates them.

    Attributes
    ----------
    loss : Estimate
        The loss of each row, (m,).
    gradient : Estimate
        Its gradient by the input, (m, d).
    logits : csr_array
        Its gradient by the logits, (m, n_items): of sampled classes and targets, the others' being 0. Times
        the inputs it is the gradient by the weights, ``logits.T @ inputs``.
    """

    loss: Estimate
    gradient: Estimate
    logits: sp.csr_array


def _logits(samples: Samples, inputs: Any, weights: Any, bias: npt.ArrayLike | None) -> list[Floats]:
    out = []
    for active in samples.sets:
        logit = pair_products(inputs, weights, active)
        out.append(logit if bias is None else logit + np.asarray(bias, np.float64)[active.ids])
    return out


def _tops(samples: Samples, logits: Sequence[Floats]) -> Floats:
    """The largest logit of each row over all sets, (rows,): what exponentials are taken relative to."""
    tops = np.full(samples.sets[0].n_rows, -np.inf)
    for active, logit in zip(samples.sets, logits, strict=True):
        np.maximum.at(tops, active.row_of_ids(), logit)
    return np.where(np.isfinite(tops), tops, 0.0)


def _exponentials(samples: Samples, logits: Sequence[Floats], tops: Floats) -> list[Floats]:
    return [
        np.exp(logit - tops[active.row_of_ids()])[:, None]
        for active, logit in zip(samples.sets, logits, strict=True)
    ]


def partition_function(
    sampler: Drawn,
    queries: Any,
    vectors: Any,
    *,
    bias: npt.ArrayLike | None = None,
    scale: float = 1.0,
    replicates: int = 1,
    seed: int = 0,
    step: int = 0,
    allow_biased: bool = False,
    **options: Any,
) -> Estimate:
    """The partition function of a softmax, sum_j exp(scale q.x_j + b_j), for each query.

    Parameters
    ----------
    sampler : Sampler, ActiveSet, or several
        As for :func:`~lshsample.estimates.draw_samples`.
    queries : (m, dim) rows
        Queries.
    vectors : (n_items, dim) rows
        The classes' vectors.
    bias : (n_items,) array, optional
        The classes' biases.
    scale : float
        Of the inner products.
    replicates, seed, step, allow_biased, **options
        As for :func:`~lshsample.estimates.draw_samples`.

    Returns
    -------
    Estimate
        (m,); ``.log()`` is the estimate of its logarithm.

    Notes
    -----
    Horvitz-Thompson over exp of the logits: unbiased (Spring & Shrivastava 2017, arXiv 1703.05160). Costs dim
    multiplications for each sampled class.

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
    samples = draw_samples(
        sampler, queries, replicates=replicates, seed=seed, step=step, allow_biased=allow_biased, **options
    )
    logits = _logits(
        samples, np.asarray(queries) * np.float32(scale) if scale != 1 else queries, vectors, bias
    )
    tops = _tops(samples, logits)
    return samples.linear(_exponentials(samples, logits, tops)).column() / np.exp(-tops)


def _targets(targets: Any, rows: int, n_items: int) -> Any:
    shape = getattr(targets, "shape", ())
    if not sp.issparse(targets) or shape != (rows, n_items):
        given = f"{type(targets).__name__} of shape {shape}"
        raise ArgumentError("targets", given, f"a sparse matrix of shape ({rows}, {n_items})")
    matrix: Any = targets
    return sp.csr_array(matrix, dtype=np.float64)


def _named_logits(y: Any, inputs: Any, weights: Any, bias: npt.ArrayLike | None) -> Floats:
    named = ActiveSet(
        indptr=y.indptr.astype(np.int64),
        ids=y.indices.astype(np.int32),
        counts=np.zeros(y.nnz, np.int32),
        n_items=y.shape[1],
    )
    return _logits(Samples((named,), ()), inputs, weights, bias)[0]


def softmax_gradient(
    sampler: Drawn,
    inputs: npt.NDArray[Any],
    weights: npt.NDArray[Any],
    targets: Any,
    *,
    bias: npt.ArrayLike | None = None,
    replicates: int = 1,
    seed: int = 0,
    step: int = 0,
    allow_biased: bool = False,
    **options: Any,
) -> LossGradient:
    """Softmax cross-entropy over all classes, and its gradient, from a sample of the classes.

    Parameters
    ----------
    sampler : Sampler, ActiveSet, or several
        As for :func:`~lshsample.estimates.draw_samples`.
    inputs : (m, d) array
        Hidden vectors: the queries.
    weights : (n_items, d) array
        The classes' vectors.
    targets : (m, n_items) sparse matrix
        The target distribution of each row, with sum 1.
    bias : (n_items,) array, optional
        The classes' biases.
    replicates, seed, step, allow_biased, **options
        As for :func:`~lshsample.estimates.draw_samples`.

    Notes
    -----
    loss = log Z - sum_j t_j o_j, and its gradient by the input is E_p[w] - sum_j t_j w_j. The targets' part
    is exact, from the targets themselves. log Z is :meth:`Estimate.log` of an unbiased Z; E_p[w] is a ratio
    of two unbiased sums, whose bias is of the order of 1 / n. With every class in the sample both are exact.
    """
    samples = draw_samples(
        sampler, inputs, replicates=replicates, seed=seed, step=step, allow_biased=allow_biased, **options
    )
    y = _targets(targets, len(inputs), samples.sets[0].n_items)
    logits = _logits(samples, inputs, weights, bias)
    tops = _tops(samples, logits)
    masses = _exponentials(samples, logits, tops)
    log_z = samples.linear(masses).column().log()
    moments = [mass * weights[active.ids] for active, mass in zip(samples.sets, masses, strict=True)]
    expected = samples.ratio(moments, masses)
    named = _named_logits(y, inputs, weights, bias)
    rows = np.repeat(np.arange(len(inputs)), np.diff(y.indptr))
    hit = np.bincount(rows, weights=y.data * named, minlength=len(inputs))
    loss = attrs.evolve(log_z, value=log_z.value + tops - hit)
    totals = samples.totals(masses).sum(axis=0)[:, 0]
    shares = [
        mass[:, 0] * weight / totals[active.row_of_ids()]
        for active, mass, weight in zip(samples.sets, masses, samples.weights, strict=True)
    ]
    gradient = attrs.evolve(expected, value=expected.value - y @ weights.astype(np.float64))
    return LossGradient(loss=loss, gradient=gradient, logits=_by_logits(samples, shares) - y)


def _by_logits(samples: Samples, values: Sequence[Floats]) -> Any:
    """Values of all sets, added up, as one matrix (rows, n_items)."""
    shape = (samples.sets[0].n_rows, samples.sets[0].n_items)
    out: Any = sp.csr_array(shape, dtype=np.float64)
    for active, value in zip(samples.sets, values, strict=True):
        out = out + sp.csr_array((value, active.ids, active.indptr), shape=shape)
    return out


def sigmoid_gradient(
    sampler: Drawn,
    inputs: npt.NDArray[Any],
    weights: npt.NDArray[Any],
    targets: Any,
    *,
    bias: npt.ArrayLike | None = None,
    replicates: int = 1,
    seed: int = 0,
    step: int = 0,
    allow_biased: bool = False,
    **options: Any,
) -> LossGradient:
    """The sum over all classes of binary cross-entropies, and its gradient, from a sample of the classes.

    Parameters
    ----------
    sampler, inputs, weights, bias, replicates, seed, step, allow_biased, **options
        As for :func:`softmax_gradient`.
    targets : (m, n_items) sparse matrix
        1 for the classes of each row.

    Notes
    -----
    loss = sum_j softplus(o_j) - sum_j t_j o_j: the first sum is over all classes and is estimated, unbiased,
    and so is its gradient sum_j sigmoid(o_j) w_j; the targets' part is exact.
    """
    samples = draw_samples(
        sampler, inputs, replicates=replicates, seed=seed, step=step, allow_biased=allow_biased, **options
    )
    y = _targets(targets, len(inputs), samples.sets[0].n_items)
    logits = _logits(samples, inputs, weights, bias)
    softplus = samples.linear([np.logaddexp(0, o)[:, None] for o in logits]).column()
    rates = [np.exp(-np.logaddexp(0, -o)) for o in logits]
    sums = samples.linear(
        [rate[:, None] * weights[active.ids] for active, rate in zip(samples.sets, rates, strict=True)]
    )
    named = _named_logits(y, inputs, weights, bias)
    rows = np.repeat(np.arange(len(inputs)), np.diff(y.indptr))
    hit = np.bincount(rows, weights=y.data * named, minlength=len(inputs))
    loss = attrs.evolve(softplus, value=softplus.value - hit)
    shares = [rate * weight / len(rates) for rate, weight in zip(rates, samples.weights, strict=True)]
    gradient = attrs.evolve(sums, value=sums.value - y @ weights.astype(np.float64))
    return LossGradient(loss=loss, gradient=gradient, logits=_by_logits(samples, shares) - y)
