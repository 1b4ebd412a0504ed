"""Attention over many keys, and kernel densities: ratios and means over all items."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from lshsample.errors import ArgumentError, did_you_mean
from lshsample.estimates.estimate import Estimate
from lshsample.estimates.inputs import (
    finite_number,
    finite_rows,
    real_matrix,
    sampled_rows,
    squared_distances,
)
from lshsample.estimates.logits import Logits, class_logits
from lshsample.estimates.samples import DrawOptions, SampleSource, draw_samples

__all__ = ["KERNELS", "attention", "kernel_density"]

Floats = npt.NDArray[np.float64]


def attention(
    sampler: SampleSource,
    queries: npt.NDArray[Any],
    keys: npt.NDArray[Any],
    values: npt.NDArray[Any],
    *,
    scale: float | None = None,
    **draws: Unpack[DrawOptions],
) -> Estimate:
    """Softmax attention over many keys, from a sample that is corrected for its inclusion probabilities.

    Parameters
    ----------
    sampler : Sampler, ActiveSet, or a sequence of them
        As for :func:`~lshsample.estimates.draw_samples`, over the keys. ``Retrieve() | AtLeast(2)`` with
        ``law="marginal"`` is the estimator of MagicPIG; ``Retrieve() | Uniform(n)`` gives intervals from
        one sample; ``Include()`` keeps keys that every query attends to (the first and the last ones).
    queries : (m, d) array
        Queries.
    keys : (n_items, d) array
        Keys.
    values : (n_items, c) array
        Values.
    scale : float, optional
        Factor of the inner products; 1 / sqrt(d) by default.
    **draws
        Keyword arguments of :func:`~lshsample.estimates.draw_samples`; see
        :class:`~lshsample.estimates.DrawOptions`.

    Returns
    -------
    Estimate
        (m, c).

    Notes
    -----
    sum_j (e^{s_j} / pi_j) v_j / sum_j e^{s_j} / pi_j over the sample: a ratio of two unbiased sums, whose
    bias is of order 1 / n (Chen et al. 2024, MagicPIG, arXiv 2410.16179). Costs d + c multiplications for
    each sampled key. The result of a query without sampled keys is NaN.

    Examples
    --------
    >>> from lshsample import HashTables, Retrieve, Uniform, make_family
    >>> rng = np.random.default_rng(0)
    >>> keys, values = rng.standard_normal((2, 4000, 16), dtype=np.float32)
    >>> tables = HashTables(make_family("simhash", dim=16, n_hashes=8, n_tables=10)).build(keys)
    >>> sampler = (Retrieve() | Uniform(400)).bind(tables=tables)
    >>> out = attention(sampler, keys[:2], keys, values)
    >>> out.value.shape, out.standard_error.shape
    ((2, 16), (2, 16))
    """
    q = finite_rows(queries, "queries")
    factor = q.shape[1] ** -0.5 if scale is None else finite_number("scale", scale)
    samples = draw_samples(sampler, queries, **draws).per_query(q.shape[0])
    n_items = samples.sets[0].n_items
    k = real_matrix(keys, "keys", rows=n_items, columns=q.shape[1])
    v = real_matrix(values, "values", rows=n_items, dense=True)
    masses = Logits.of(samples, class_logits(samples, q, k, None, scale=factor, name="keys")).exponentials()
    moments = [
        mass * sampled_rows(v, "values", active) for active, mass in zip(samples.sets, masses, strict=True)
    ]
    return samples.ratio(moments, masses)


#: Kernels by name: functions of the distance in units of the bandwidth, with value 1 at 0.
KERNELS: dict[str, Callable[[Floats], Floats]] = {
    "gaussian": lambda distance: np.asarray(np.exp(-(distance**2) / 2)),
    "exponential": lambda distance: np.asarray(np.exp(-distance)),
    "cauchy": lambda distance: np.asarray(1 / (1 + distance**2)),
}


def kernel_density(
    sampler: SampleSource,
    queries: Any,
    vectors: Any,
    *,
    kernel: str = "gaussian",
    bandwidth: float = 1.0,
    **draws: Unpack[DrawOptions],
) -> Estimate:
    """The mean over all items of a kernel of the distance to each query: ``(1/N) sum_j k(|q - x_j| / h)``.

    Parameters
    ----------
    sampler : Sampler, ActiveSet, or a sequence of them
        As for :func:`~lshsample.estimates.draw_samples`.
    queries, vectors : (m, d) and (n_items, d) rows
        Queries and items.
    kernel : "gaussian", "exponential" or "cauchy"
        exp(-r^2 / 2), exp(-r) or 1 / (1 + r^2). The kernel is not normalised: divide by its integral for a
        density.
    bandwidth : float
        h, a number above 0.
    **draws
        Keyword arguments of :func:`~lshsample.estimates.draw_samples`; see
        :class:`~lshsample.estimates.DrawOptions`.

    Returns
    -------
    Estimate
        (m,), unbiased.

    Examples
    --------
    >>> from lshsample import Uniform
    >>> rows = np.random.default_rng(0).standard_normal((1000, 4), dtype=np.float32)
    >>> density = kernel_density(Uniform(200).bind(n_items=1000), rows[:1], rows)
    >>> low, high = density.interval(0.99)
    >>> exact = np.exp(-((rows - rows[0]) ** 2).sum(axis=1) / 2).mean()
    >>> bool(low[0] < exact < high[0])
    True
    """
    if kernel not in KERNELS:
        wanted = f"one of {', '.join(KERNELS)}{did_you_mean(kernel, KERNELS)}"
        raise ArgumentError("kernel", repr(kernel), wanted)
    width = finite_number("bandwidth", bandwidth, 0)
    q = finite_rows(queries, "queries")
    samples = draw_samples(sampler, queries, **draws).per_query(q.shape[0])
    n_items = samples.sets[0].n_items
    x = real_matrix(vectors, "vectors", rows=n_items, columns=q.shape[1])
    values = [
        KERNELS[kernel](np.sqrt(squared_distances(q, x, active)) / width)[:, None] for active in samples.sets
    ]
    return samples.linear(values).column() / n_items
