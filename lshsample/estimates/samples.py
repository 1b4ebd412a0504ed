"""Samples with the weight of each id, and the weighted sums that all estimators are made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypedDict

import attrs
import numpy as np
import numpy.typing as npt

from lshsample.errors import ArgumentError, BiasedSampleError
from lshsample.estimates.estimate import Estimate
from lshsample.estimates.inputs import real_array, require_finite
from lshsample.sampling import ActiveSet, Pipeline, Sampler, SamplerStage
from lshsample.sampling.active_set import Law
from lshsample.specs import checked_integer

__all__ = ["DrawOptions", "SampleSource", "Samples", "Values", "draw_samples"]

Floats = npt.NDArray[np.float64]
Values = npt.ArrayLike | Callable[[ActiveSet], npt.ArrayLike]
"""What is summed: a number (or a row of numbers) for each item, or a function of an active set that returns
one for each of its ids."""
SampleSource = Sampler | Pipeline | SamplerStage | ActiveSet | Sequence[Sampler] | Sequence[ActiveSet]
"""What estimators take samples from; see :func:`draw_samples`."""


class DrawOptions(TypedDict, total=False):
    """The keyword arguments of :func:`draw_samples`, which every estimator over a sampler passes on to it.

    Attributes
    ----------
    replicates : int
        Independent samples of one sampler; 1 by default. Their spread gives the standard error where one
        sample does not.
    seed, step : int
        Determine the draws: the same values give the same samples. 0 by default.
    law : str
        What the inclusion probabilities are over; see :class:`~lshsample.sampling.ActiveSet`. By default
        conditional on the tables for one sampler, and marginal over the hash functions for several.
    allow_biased : bool
        Whether to accept sets without inclusion probabilities, every id with weight 1. Off by default.
    include : (m, n_items) sparse matrix
        The ids that the stage ``Include()`` adds.
    pool : bool
        One set for the whole batch instead of one for each query; estimates are still one for each query,
        each from the same ids, and so their errors are correlated.
    threads : int
        Number of threads; the result does not depend on it.
    n_queries : int
        Number of rows, if there are no queries.
    """

    replicates: int
    seed: int
    step: int
    law: Law | None
    allow_biased: bool
    include: Any
    pool: bool
    threads: int | None
    n_queries: int | None


def _weights(active: ActiveSet, allow_biased: bool) -> Floats:
    return np.ones(len(active.ids)) if active.is_biased and allow_biased else active.weights


def _kind(value: Any) -> str:
    """A value in an error: its class."""
    return f"a {type(value).__name__}" if value is not None else "None"


def _members(samples: Any) -> tuple[Any, ...]:
    """The members of a sequence or an iterator, or nothing for something else."""
    return tuple(samples) if isinstance(samples, Sequence | Iterator) else ()


def _shared(active: ActiveSet, n: int) -> ActiveSet:
    """A set of the whole batch as n equal rows."""
    return attrs.evolve(
        active,
        indptr=np.arange(n + 1) * len(active.ids),
        ids=np.tile(active.ids, n),
        counts=np.tile(active.counts, n),
        pooled=False,
        draws=None if active.draws is None else np.repeat(active.draws, n),
        log_inclusion=None if active.is_biased else np.tile(active.log_inclusion, n),
    )


def _item_values(values: Any, n_items: int) -> npt.NDArray[Any]:
    """Finite values of all items, (n_items, ...)."""
    table = real_array(values, "values")
    if table.shape[:1] != (n_items,):
        wanted = f"an array with one row for each of the {n_items} items"
        raise ArgumentError("values", f"shape {table.shape}", wanted)
    require_finite(table, "values")
    return table


def _id_values(values: Any, active: ActiveSet) -> npt.NDArray[Any]:
    """Finite values of a set's ids, by a function."""
    given = real_array(values(active), "values")
    if given.shape[:1] != active.ids.shape:
        wanted = f"an array with one row for each of the {len(active.ids)} ids"
        raise ArgumentError("values", f"shape {given.shape}", wanted)
    require_finite(given, "values", active.ids)
    return given


@attrs.frozen(eq=False, repr=False)
class Samples:
    """Independent samples of the same queries, with the weight of each id.

    Attributes
    ----------
    sets : tuple of ActiveSet
        One or more, of as many rows each.
    weights : tuple of float64 arrays
        1 / pi of each id, pi being its inclusion probability; 1 for ids of biased sets, if these are allowed.
    """

    sets: tuple[ActiveSet, ...]
    weights: tuple[Floats, ...]

    @classmethod
    def of(cls, samples: ActiveSet | Sequence[ActiveSet], allow_biased: bool = False) -> Samples:
        """One active set or several, with their weights.

        Raises
        ------
        ArgumentError
            Something else than active sets, or sets of different queries or items.
        BiasedSampleError
            A set has no inclusion probabilities, and that is not allowed; the message names the stage.
        """
        sets = (samples,) if isinstance(samples, ActiveSet) else _members(samples)
        other = next((s for s in sets if not isinstance(s, ActiveSet)), None if sets else samples)
        if other is not None or not sets:
            wanted = "an ActiveSet, such as sampler.sample(queries), or a sequence of them"
            raise ArgumentError("samples", _kind(other), wanted)
        shapes = {(s.n_rows, s.n_items, s.pooled) for s in sets}
        if len(shapes) > 1:
            given = ", ".join(f"{rows} x {items}" for rows, items, _ in sorted(shapes))
            raise ArgumentError("samples", f"sets of {given}", "sets of the same queries and items")
        try:
            return cls(sets, tuple(_weights(s, allow_biased) for s in sets))
        except BiasedSampleError as error:
            raise BiasedSampleError(
                f"{error}; allow_biased=True accepts the set, with weight 1 for each id"
            ) from None

    def per_query(self, n_queries: int) -> Samples:
        """The samples with one row for each query; a set of the whole batch is shared by all queries.

        Each id of a pooled set has the same inclusion probability for every query, so that a weighted sum
        over it is unbiased whichever query its terms are computed with.

        Raises
        ------
        ArgumentError
            The sets are of another number of queries.
        """
        first = self.sets[0]
        if not first.pooled and first.n_rows == n_queries:
            return self
        if not first.pooled:
            wanted = f"{first.n_rows} rows, one for each row of the active sets"
            raise ArgumentError("queries", f"{n_queries} rows", wanted)
        shared = tuple(_shared(active, n_queries) for active in self.sets)
        return Samples(shared, tuple(np.tile(weight, n_queries) for weight in self.weights))

    def __repr__(self) -> str:
        return f"Samples({len(self.sets)} of {self.sets[0]!r})"

    @property
    def biased_by(self) -> str | None:
        """Why a set has no inclusion probabilities, naming the stage; None if all sets have them."""
        return next((s.biased_by or "unknown" for s in self.sets if s.is_biased), None)

    def values(self, values: Values) -> list[Floats]:
        """The values of each set's ids, (n, c) each."""
        out = []
        table = None if callable(values) else _item_values(values, self.sets[0].n_items)
        for active in self.sets:
            given = table[active.ids] if table is not None else _id_values(values, active)
            # The width is computed, since -1 has no meaning for a sample without ids.
            out.append(given.reshape(len(active.ids), math.prod(given.shape[1:])).astype(np.float64))
        return out

    def totals(self, values: Sequence[Floats]) -> Floats:
        """Weighted sums for each set and row, (sets, rows, c) float64."""
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

        The standard errors are those of the residuals of the ratio, each divided by 1 - h, h being the id's
        share of the base: the residuals of the jackknife. Plain linearisation underestimates the error where
        a few ids dominate the sum.
        """
        top, bottom = self.totals(values).mean(axis=0), self.totals(base).mean(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = top / bottom
        n = len(self.sets)
        residuals = [
            (each - ratio[rows] * below) / _one_minus(weight[:, None] * below / (n * bottom[rows]))
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
        """Standard error of the mean total, its degrees of freedom, and the method.

        By the design where all uncertain ids are one simple random sample, else from the spread between sets.
        """
        if all(active.draws is not None for active in self.sets):
            variances = [_design_variance(*pair) for pair in zip(self.sets, values, strict=True)]
            degrees = np.sum([_design_degrees(*pair) for pair in zip(self.sets, values, strict=True)], axis=0)
            degrees = np.maximum(degrees, 1.0)
            return np.sqrt(np.sum(variances, axis=0)) / len(self.sets), degrees, "design"
        if len(self.sets) == 1:
            return None, np.array(np.inf), "none"
        error = totals.std(axis=0, ddof=1) / np.sqrt(len(totals))
        return np.asarray(error), np.array(len(totals) - 1.0), "replicates"


def _one_minus(share: Floats) -> Floats:
    """1 - h, at least 0.1."""
    return np.asarray(np.maximum(1 - np.nan_to_num(share), 0.1))


def _row_sums(active: ActiveSet, values: Floats) -> Floats:
    """Sums (rows, c) of values (n, c) over the ids of each row."""
    sums = np.zeros((active.n_rows, values.shape[1]))
    filled = np.flatnonzero(np.diff(active.indptr))
    if len(filled):
        sums[filled] = np.add.reduceat(values, active.indptr[filled], axis=0)
    return sums


def _design_variance(active: ActiveSet, values: Floats) -> Floats:
    """Estimated variance (rows, c) of the weighted sum, conditional on the ids with probability 1.

    For n draws without replacement from a pool of M items with sample variance s^2, where draws of ids that
    are certain anyway count as zeros: M^2 (1 - n / M) s^2 / n, unbiased (Cochran 1977, theorem 2.4).
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
    # The variance cannot be estimated from one draw, nor from draws of certain ids alone, unless all ids
    # are certain.
    certain = np.diff(active.indptr)[:, None] - number
    estimable = np.where(certain < active.n_items, (n > 1) & (number > 0), True)
    return np.asarray(np.where(estimable, np.where(number > 0, variance, 0.0), np.inf))


def _design_degrees(active: ActiveSet, values: Floats) -> Floats:
    """Degrees of freedom (rows, c) of the design's variance estimate.

    Draws of certain ids are zeros without information on the spread, and are not counted. The variance of k
    draws with kurtosis g is known as well as that of 2 k / (g - 1) normal draws (Satterthwaite 1946), at
    most k - 1. Where a few draws dominate the sum, intervals by k alone are too short.
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
    sampler: SampleSource,
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
    sampler : Sampler, Pipeline, stage, ActiveSet, or a sequence of them
        One sampler (or a pipeline or a stage that holds its tables itself): ``replicates`` samples
        conditional on its tables, at the steps from ``step`` on. Several samplers over independently drawn
        tables: one sample from each, with probabilities over the hash functions (the marginal law). Active
        sets are used as they are.
    queries : (m, dim) rows, optional
        Queries.
    replicates, seed, step, law, allow_biased
        See :class:`DrawOptions`.
    **options
        Further arguments of :meth:`~lshsample.sampling.Sampler.sample`: ``include``, ``pool``, ``threads``,
        ``n_queries``.

    Returns
    -------
    Samples
        The active sets with the weight of each id.

    Raises
    ------
    BiasedSampleError
        A set has no inclusion probabilities; the message names the stage.
    ArgumentError
        Something else than samplers or active sets; options of draws with active sets, which have been
        drawn; ``replicates`` is not 1 under the marginal law, where repeated draws of one sampler share the
        same hash functions and are not independent.
    """
    one = isinstance(sampler, ActiveSet | Sampler | Pipeline | SamplerStage)
    each = (sampler,) if one else _members(sampler)
    if each and all(isinstance(member, ActiveSet) for member in each):
        # What would have no effect is refused.
        changed = {
            "replicates": replicates != 1,
            "seed": seed != 0,
            "step": step != 0,
            "law": law is not None,
        }
        changed |= {name: value is not None and value is not False for name, value in options.items()}
        for name in (name for name, is_changed in changed.items() if is_changed):
            raise ArgumentError(name, "a value", "left out with active sets, which have been drawn")
        return Samples.of(each, allow_biased)
    if not each or any(not isinstance(member, Sampler | Pipeline | SamplerStage) for member in each):
        wanted = (
            "a Sampler, such as (Retrieve() | Uniform(100)).bind(tables=tables), an ActiveSet, or a sequence "
            "of either"
        )
        raise ArgumentError("sampler", _kind(sampler), wanted)
    repeats = checked_integer("replicates", replicates, 1)
    if one and law == "marginal" and repeats > 1:
        raise ArgumentError(
            "replicates",
            repeats,
            "1 for law='marginal': repeated draws of one sampler share the same hash functions "
            "(pass several samplers over independent tables)",
        )
    if not one and repeats > 1:
        wanted = "1 with several samplers, each of which draws one sample"
        raise ArgumentError("replicates", repeats, wanted)
    law = law or ("conditional" if one else "marginal")
    draws: list[Any] = list(each) * repeats
    sets = [
        drawn.sample(queries, seed=seed, step=step + k, law=law, **options) for k, drawn in enumerate(draws)
    ]
    return Samples.of(sets, allow_biased)
