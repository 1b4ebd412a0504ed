"""Samples and their weights: what every estimator is made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import attrs
import numpy as np
import numpy.typing as npt

from lshsample.errors import ArgumentError, BiasedSampleError
from lshsample.estimates.estimate import Estimate
from lshsample.sampling import ActiveSet, Pipeline, Sampler
from lshsample.sampling.active_set import Law
from lshsample.sampling.membership import pair_parts

__all__ = ["Samples", "Values", "draw_samples", "pair_products"]

Floats = npt.NDArray[np.float64]
Values = npt.ArrayLike | Callable[[ActiveSet], npt.ArrayLike]
"""What is summed: one number (or row of numbers) per item, or a function of an active set that gives one per
id of it."""

_BLOCK = 65536


def _weights(active: ActiveSet, allow_biased: bool) -> Floats:
    if active.is_biased and allow_biased:
        return np.ones(len(active.ids))
    return np.exp(-active.log_inclusion.astype(np.float64))


@attrs.frozen(eq=False)
class Samples:
    """Independent samples of the same queries, with the weight of each id.

    Attributes
    ----------
    sets : tuple of ActiveSet
        One or more, of as many rows each.
    weights : tuple of float64 arrays
        1 / pi of each id; 1 for ids of biased sets, where these are allowed.
    """

    sets: tuple[ActiveSet, ...]
    weights: tuple[Floats, ...]

    @classmethod
    def of(cls, samples: ActiveSet | Sequence[ActiveSet], allow_biased: bool = False) -> Samples:
        """Samples of sets.

        Raises
        ------
        BiasedSampleError
            A set has no law, and that is not allowed; the message names the stage.
        """
        sets = (samples,) if isinstance(samples, ActiveSet) else tuple(samples)
        if not sets or any(not isinstance(s, ActiveSet) for s in sets):
            raise ArgumentError("samples", type(samples).__name__, "an ActiveSet, or several")
        if any(s.n_rows != sets[0].n_rows or s.n_items != sets[0].n_items for s in sets):
            raise ArgumentError("samples", "sets of different sizes", "samples of the same queries and items")
        try:
            return cls(sets, tuple(_weights(s, allow_biased) for s in sets))
        except BiasedSampleError as error:
            raise BiasedSampleError(f"{error}; allow_biased=True estimates all the same") from None

    @property
    def biased_by(self) -> str | None:
        """The stage that left a set without a law."""
        return next((s.biased_by or "unknown" for s in self.sets if s.is_biased), None)

    def values(self, values: Values) -> list[Floats]:
        """The values of each set's ids, (n, c) each."""
        out = []
        for active in self.sets:
            if callable(values):
                given = np.asarray(values(active), np.float64)
                if given.shape[:1] != active.ids.shape:
                    raise ArgumentError("values", f"shape {given.shape}", f"a row per id, {len(active.ids)}")
            else:
                table = np.asarray(values)
                if table.shape[:1] != (active.n_items,):
                    raise ArgumentError("values", f"shape {table.shape}", f"a row per item, {active.n_items}")
                given = table[active.ids].astype(np.float64)
            # A sample may be empty: then -1 would not say how wide.
            out.append(given.reshape(len(active.ids), math.prod(given.shape[1:])))
        return out

    def totals(self, values: Sequence[Floats]) -> Floats:
        """Weighted sums of each set and row, (sets, rows, c)."""
        out = np.empty((len(self.sets), self.sets[0].n_rows, values[0].shape[1]))
        for k, (active, weight, each) in enumerate(zip(self.sets, self.weights, values, strict=True)):
            out[k] = _row_sums(active, each * weight[:, None])
        return out

    def linear(self, values: Sequence[Floats]) -> Estimate:
        """Sums over all items with their standard errors, (rows, c)."""
        totals = self.totals(values)
        error, degrees, method = self._error(values, totals)
        return Estimate(
            value=totals.mean(axis=0),
            standard_error=error,
            degrees=degrees,
            method=method,
            biased_by=self.biased_by,
        )

    def ratio(self, values: Sequence[Floats], base: Sequence[Floats]) -> Estimate:
        """Ratios (rows, c) of sums of ``values`` to sums of ``base`` (one column).

        The standard errors are those of the residuals, each divided by 1 - h, h being the id's share of the
        base: what leaving the id out would change (the jackknife's residuals), since plain linearisation
        tells too little where a few ids carry the sum.
        """
        top, bottom = self.totals(values).mean(axis=0), self.totals(base).mean(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = top / bottom
        n = len(self.sets)
        residuals = [
            (each - ratio[rows] * below) / _without(weight[:, None] * below / (n * bottom[rows]))
            for each, below, weight, rows in zip(
                values, base, self.weights, (active.row_of_ids() for active in self.sets), strict=True
            )
        ]
        error, degrees, method = self._error(residuals, self.totals(residuals))
        if error is not None:
            error = error / np.abs(bottom)
        return Estimate(
            value=ratio, standard_error=error, degrees=degrees, method=method, biased_by=self.biased_by
        )

    def _error(self, values: Sequence[Floats], totals: Floats) -> tuple[Floats | None, Floats, str]:
        """Standard errors of the mean total: exact by design where that is known, else between sets."""
        if all(active.draws is not None for active in self.sets):
            variances = [_design_variance(*pair) for pair in zip(self.sets, values, strict=True)]
            degrees = np.sum([_design_degrees(*pair) for pair in zip(self.sets, values, strict=True)], axis=0)
            degrees = np.maximum(degrees, 1.0)
            return np.sqrt(np.sum(variances, axis=0)) / len(self.sets), degrees, "design"
        if len(self.sets) == 1:
            return None, np.array(np.inf), "none"
        error = totals.std(axis=0, ddof=1) / np.sqrt(len(totals))
        return np.asarray(error), np.array(len(totals) - 1.0), "replicates"


def _without(share: Floats) -> Floats:
    """1 - h, away from 0."""
    return np.asarray(np.maximum(1 - np.nan_to_num(share), 0.1))


def _row_sums(active: ActiveSet, values: Floats) -> Floats:
    """Sums (rows, c) of values (n, c) over the ids of each row."""
    sums = np.zeros((active.n_rows, values.shape[1]))
    filled = np.flatnonzero(np.diff(active.indptr))
    if len(filled):
        sums[filled] = np.add.reduceat(values, active.indptr[filled], axis=0)
    return sums


def _design_variance(active: ActiveSet, values: Floats) -> Floats:
    """Estimated variance (rows, c) of the weighted sum, given what is certain.

    With n draws without replacement from a pool of M, sample variance s^2 (draws that hit certain ids are
    zeros): M^2 (1 - n / M) s^2 / n, unbiased (Cochran 1977, theorem 2.4).
    """
    assert active.draws is not None
    uncertain = active.log_inclusion < 0
    part = np.where(uncertain[:, None], values, 0.0)
    n = active.draws.astype(np.float64)[:, None]
    rate = _row_sums(active, np.where(uncertain, np.exp(active.log_inclusion.astype(float)), 0.0)[:, None])
    number = _row_sums(active, uncertain.astype(np.float64)[:, None])
    with np.errstate(divide="ignore", invalid="ignore"):
        pool = np.where(number > 0, n * number / rate, n)
        square = (_row_sums(active, part**2) - _row_sums(active, part) ** 2 / n) / (n - 1)
        variance = pool**2 * (1 - n / pool) * np.maximum(square, 0) / n
    # One draw tells nothing about its variance, nor do draws that hit certain ids only, unless all ids are.
    certain = np.diff(active.indptr)[:, None] - number
    told = np.where(certain < active.n_items, (n > 1) & (number > 0), True)
    return np.asarray(np.where(told, np.where(number > 0, variance, 0.0), np.inf))


def _design_degrees(active: ActiveSet, values: Floats) -> Floats:
    """Degrees of freedom (rows, c) behind the design's variance.

    Draws that hit certain ids are zeros and say little about the spread: they are not counted. k draws with
    kurtosis g tell their variance as well as 2 k / (g - 1) normal ones do (Satterthwaite 1946), k - 1 at
    most: where few draws carry the sum, intervals by k alone are too short.
    """
    rows, uncertain = active.row_of_ids(), active.log_inclusion < 0
    number = _row_sums(active, uncertain.astype(np.float64)[:, None])
    count = np.maximum(number, 1)
    mean = _row_sums(active, np.where(uncertain[:, None], values, 0.0)) / count
    square = np.where(uncertain[:, None], values - mean[rows], 0.0) ** 2
    second, fourth = _row_sums(active, square) / count, _row_sums(active, square**2) / count
    with np.errstate(divide="ignore", invalid="ignore"):
        like_normal = 2 * number * second**2 / (fourth - second**2)
    return np.asarray(np.fmin(number - 1, like_normal))


def draw_samples(
    sampler: Sampler | Pipeline | ActiveSet | Sequence[Sampler] | Sequence[ActiveSet],
    queries: Any = None,
    *,
    replicates: int = 1,
    seed: int = 0,
    step: int = 0,
    law: Law | None = None,
    allow_biased: bool = False,
    **options: Any,
) -> Samples:
    """Independent samples of a batch of queries.

    Parameters
    ----------
    sampler : Sampler, Pipeline, ActiveSet, or several
        One sampler: drawn ``replicates`` times given its tables, at the steps from ``step`` on. Several
        samplers over independently drawn tables: one sample of each, by the law over the hash functions.
        Sets are taken as they are.
    queries : (m, dim) rows, optional
        Queries.
    replicates : int
        Samples of one sampler.
    seed, step : int
        They name the draws.
    law : "conditional" or "marginal", optional
        By default "conditional" for one sampler, "marginal" for several.
    allow_biased : bool
        Take ids of a set without a law with weight 1.
    **options
        Further arguments of :meth:`Sampler.sample`.

    Raises
    ------
    BiasedSampleError
        A set has no law; the message names the stage.
    ArgumentError
        More than one sample of one sampler over the functions: they would share them.
    """
    first = sampler if isinstance(sampler, ActiveSet | Sampler | Pipeline) else next(iter(sampler), None)
    if isinstance(first, ActiveSet):
        return Samples.of(sampler, allow_biased)  # type: ignore[arg-type]
    if isinstance(replicates, bool) or not isinstance(replicates, int) or replicates < 1:
        raise ArgumentError("replicates", repr(replicates), "an integer >= 1")
    if isinstance(sampler, Sampler | Pipeline):
        law = law or "conditional"
        if law == "marginal" and replicates > 1:
            raise ArgumentError(
                "replicates",
                replicates,
                "1 under the marginal law: repeated draws share the same hash functions",
            )
        sets = [
            sampler.sample(queries, seed=seed, step=step + k, law=law, **options) for k in range(replicates)
        ]
    else:
        each: list[Any] = list(cast(Any, sampler))
        if not each or any(not isinstance(one, Sampler | Pipeline) for one in each):
            raise ArgumentError("sampler", type(sampler).__name__, "a sampler, or several")
        sets = [
            one.sample(queries, seed=seed, step=step + k, law=law or "marginal", **options)
            for k, one in enumerate(each)
        ]
    return Samples.of(sets, allow_biased)


def pair_products(queries: Any, vectors: Any, active: ActiveSet) -> Floats:
    """Inner products (n,) of each id's vector with its row's query, in float64."""
    rows, out = active.row_of_ids(), np.empty(len(active.ids))
    for part in pair_parts(rows, _BLOCK, by_query=False):
        q, x = queries[rows[part]], vectors[active.ids[part]]
        if isinstance(q, np.ndarray) and isinstance(x, np.ndarray):
            out[part] = np.einsum("ij,ij->i", q, x, dtype=np.float64)
        else:
            product: Any = q.multiply(x) if hasattr(q, "multiply") else x.multiply(q)
            out[part] = np.asarray(product.sum(axis=1), np.float64).reshape(-1)
    return out
