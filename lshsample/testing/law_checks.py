"""Checks of a collision law by simulation, on pairs of rows that reveal common mistakes.

A law is rejected if the rate of a pair is outside of its interval twice: in a first sample at a level of
10^-3, and in an independent, larger one at 10^-6, both divided by the number of rates of a claim. Added over
all pairs and claims, the product of the two levels is below 10^-6: that is how often a correct family fails.
A rate that is outside of its interval at a level of 10^-12 needs no second sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from statistics import NormalDist
from typing import Any
from unittest import SkipTest

import attrs
import numpy as np
import numpy.typing as npt

from lshsample.errors import UnsupportedError
from lshsample.family import HashFamily
from lshsample.hashing import hash_rows, probe_rows

__all__ = [
    "PAIRS",
    "Rates",
    "check_law",
    "check_probe_law",
    "check_probe_order",
    "half_widths",
    "hashes_that_fit",
    "observed_rates",
    "pairs",
]

Float32 = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]

DIM, N_HASHES, N_TABLES, N_SEEDS = 48, 4, 32, 400
#: Probes of a query, and draws of the functions, to observe the law of probing.
N_PROBES, N_PROBE_SEEDS = 5, 60
#: Levels of the two tests of a claim; see the top of the module.
_LEVELS, _CERTAIN = (1e-3, 1e-6), 1e-12


def _rotated(rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Gaussian rows, and the same rotated by angles from 10 to 150 degrees."""
    angles = np.radians(np.linspace(10, 150, 8))[:, None]
    x = rng.standard_normal((8, DIM))
    other = rng.standard_normal((8, DIM))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    other -= (other * x).sum(axis=1, keepdims=True) * x
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    return x, np.cos(angles) * x + np.sin(angles) * other


def _non_negative(rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Rows like the outputs of a relu layer: half zeros; from nearly equal to independent pairs."""
    x, other = rng.standard_normal((2, 8, DIM))
    keep = np.linspace(0.95, 0, 8)[:, None]
    return np.maximum(x, 0), np.maximum(keep * x + np.sqrt(1 - keep**2) * other, 0)


def _disjoint_support(rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Rows that share no coordinate, and rows that share a few."""
    x, q = rng.random((2, 8, DIM)) + 0.2
    half = DIM // 2
    for i, shared in enumerate([0, 0, 0, 0, 2, 4, 8, 16]):
        x[i, half:] = 0
        q[i, : half - shared] = 0
    return x, q


def _very_sparse(rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Rows of one to three entries, equal and unequal, sharing none, one or two of them."""
    patterns: list[tuple[dict[int, float], dict[int, float]]] = [
        ({0: 1}, {1: 1}), ({0: 1}, {0: 1, 1: 1}), ({0: 1, 1: 1}, {0: 1, 2: 1}), ({0: 1, 1: 1}, {0: 1, 1: -1}),
        ({0: 1, 1: 1, 2: 1}, {0: 1, 1: 1, 3: 1}), ({0: 2, 1: 1}, {0: 2, 2: 1}), ({0: 3, 1: 1}, {0: -1, 1: 3}),
        ({0: 1, 1: 0.5}, {0: 1, 1: -0.5}),
    ]  # fmt: skip
    x, q = np.zeros((2, len(patterns), DIM))
    for i, both in enumerate(patterns):
        places = rng.permutation(DIM)
        if i in (1, 2):  # the first and the last column, which an index that is off by one leaves out
            at = int(np.argmax(places == (0, DIM - 1)[i - 1]))
            places[1], places[at] = places[at], places[1]
        for row, entries in zip((x[i], q[i]), both, strict=True):
            for place, value in entries.items():
                row[places[place]] = value
    return x, q


def _heavy_tailed(rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Rows dominated by a few large entries: cubes of Cauchy variables, partly shared."""
    x, other = np.clip(rng.standard_cauchy((2, 8, DIM)), -300, 300) ** 3
    swap = rng.random((8, DIM)) < np.linspace(0.02, 1, 8)[:, None]
    return x, np.where(swap, other, x)


#: Kinds of pairs by name.
PAIRS: dict[str, Callable[[np.random.Generator], tuple[Floats, Floats]]] = {
    "rotated": _rotated,
    "non_negative": _non_negative,
    "disjoint_support": _disjoint_support,
    "very_sparse": _very_sparse,
    "heavy_tailed": _heavy_tailed,
}


def pairs(kind: str, seed: int = 0) -> tuple[Float32, Float32]:
    """Eight pairs of rows of a kind, (8, 48) each."""
    x, q = PAIRS[kind](np.random.default_rng([13, seed]))
    return x.astype(np.float32), q.astype(np.float32)


def hashes_that_fit(make: Callable[..., HashFamily], n_hashes: int) -> int:
    """At most ``n_hashes``: as many as fit into a code of 32 bits."""
    return min(n_hashes, 32 // make(dim=DIM, n_hashes=1, n_tables=1, seed=0).bits_per_hash)


@attrs.frozen(eq=False)
class Rates:
    """Whether pairs agreed under each of many draws of the functions.

    Attributes
    ----------
    agreed : (n_seeds, n_pairs, n_tables, n_hashes) bool array
        Whether each hash agreed.
    """

    agreed: npt.NDArray[np.bool_]

    @property
    def codes(self) -> npt.NDArray[np.bool_]:
        """Whether the code of each table agreed, (n_seeds, n_pairs, n_tables)."""
        return np.asarray(self.agreed.all(axis=3))


def observed_rates(
    make: Callable[..., HashFamily], x: Float32, q: Float32, seeds: range, n_hashes: int = N_HASHES
) -> Rates:
    """Agreement of ``x[i]`` (as data) with ``q[i]`` (as queries) over families of many seeds."""
    agreed = np.empty((len(seeds), len(x), N_TABLES, n_hashes), bool)
    for i, seed in enumerate(seeds):
        family = make(dim=x.shape[1], n_hashes=n_hashes, n_tables=N_TABLES, seed=seed)
        differences = hash_rows(family, x, threads=1) ^ hash_rows(family, q, query=True, threads=1)
        places = np.arange(n_hashes, dtype=np.uint32) * np.uint32(family.bits_per_hash)
        agreed[i] = (differences[:, :, None] >> places & np.uint32(2**family.bits_per_hash - 1)) == 0
    return Rates(agreed)


def _quantile(level: float) -> float:
    """What a standard normal variable exceeds with this probability."""
    return -NormalDist().inv_cdf(level)


def half_widths(
    observed: Floats, expected: Floats, trials: int | npt.NDArray[np.intp], level: float
) -> Floats:
    """Half the width of the interval around each expected rate that a mean of the rates is in.

    The law is over the draw of the functions, so the width is computed from the spread between seeds: hashes
    of one seed may share random numbers and are not independent trials. It is at least that of the binomial
    interval of ``trials`` trials for each seed, times the median ratio of the two, for events that are too
    rare to have a spread.

    Parameters
    ----------
    observed : (n_seeds, ...) array
        Rates under each seed.
    expected : (...) array
        Their expectation.
    trials : int or array
        Trials under each seed.
    level : float
        The probability to be outside.
    """
    n_seeds, z = len(observed), _quantile(level / 2)
    deviations = observed - observed.mean(axis=0)
    variance = (deviations**2).sum(axis=0) / (n_seeds - 1)
    binomial = np.broadcast_to(expected * (1 - expected) / trials, variance.shape)
    ratio = np.median(np.divide(variance, binomial, out=np.ones_like(variance), where=binomial > 0))
    variance = np.maximum(variance, binomial * max(1.0, ratio))
    # The skewness of rare events, to the first order (Cornish & Fisher 1937); at least that of single trials.
    third = np.abs((deviations**3).mean(axis=0))
    skew = np.maximum(np.divide(third, variance, out=np.zeros_like(variance), where=variance > 0), 1 / trials)
    # Half a trial for the step of a count, so that a rate of exactly 0 or 1 can agree with a law next to it.
    return np.asarray(
        z * np.sqrt(variance / n_seeds) + (z * z - 1) / 6 * skew / n_seeds + 0.5 / (n_seeds * trials)
    )


def _rounds(n_seeds: int) -> Iterator[tuple[range, float]]:
    """The seeds and the level of the first sample, and of the second, three times as large."""
    return zip((range(n_seeds), range(n_seeds, 4 * n_seeds)), _LEVELS, strict=True)


@attrs.frozen(eq=False)
class _Claim:
    """What a law says about rates: an event, and for each pair how often it happens, in one or more places.

    Attributes
    ----------
    event : str
        The event, with ``{}`` for the number of the place.
    expected : (n_pairs,) float64 array
        Its probability.
    rates : callable
        The fractions (n_seeds, n_pairs, n_places) of agreeing hashes with the event.
    trials : int or (n_places,) array
        Trials under each seed that a fraction is of.
    first : int
        The number of the first place.
    """

    event: str
    expected: Floats
    rates: Callable[[Rates], Any]
    trials: int | npt.NDArray[np.intp]
    first: int = 0


def check_law(
    make: Callable[..., HashFamily], prepare: Callable[[Float32], Float32], kind: str, whole_code: bool
) -> None:
    """Assert that pairs of a kind agree at the rate of the law: all hashes, each of the K, each table's.

    With whole codes: how often codes agree and, for a family with independent tables, that two tables find a
    pair together, at any distance from each other, and all tables at least once, at the rates of independent
    tables.
    """
    x, q = (prepare(rows) for rows in pairs(kind))
    n_hashes = hashes_that_fit(make, N_HASHES)
    family = make(dim=DIM, n_hashes=n_hashes, n_tables=N_TABLES, seed=0)
    try:
        similarity = family.similarity_of(q, x)
        claims = _claims(family, q, x, whole_code)
    except UnsupportedError as error:
        raise SkipTest(str(error)) from None
    suspects = [np.ones((1, 1), bool)] * len(claims)
    for seeds, level in _rounds(N_SEEDS):
        rates = observed_rates(make, x, q, seeds, n_hashes)
        found, certain = [], False
        for k, claim in enumerate(claims):
            observed, expected = claim.rates(rates), claim.expected[:, None]
            allowed = half_widths(observed, expected, claim.trials, level / observed.shape[2])
            seen = observed.mean(axis=0)
            off = np.abs(seen - expected) / allowed
            suspects[k] = suspects[k] & (off > 1)
            surely = half_widths(observed, expected, claim.trials, _CERTAIN / observed.shape[2])
            certain |= bool((np.abs(seen - expected) > surely).any())
            if suspects[k].any():
                i, place = np.unravel_index(np.where(suspects[k], off, 0).argmax(), off.shape)
                event = claim.event.format(place + claim.first)
                text = (
                    f"{kind} pair {i} of {family.similarity} {similarity[i]:.4f}: {event} at a rate of "
                    f"{seen[i, place]:.4f}; the law says {expected[i, 0]:.4f} +- {allowed[i, place]:.4f}"
                )
                found.append((off[i, place], text))
        if not found:
            return
        if certain:
            break
    raise AssertionError(max(found)[1])


def _claims(family: HashFamily, q: Float32, x: Float32, whole_code: bool) -> list[_Claim]:
    """The claims of a family about pairs."""
    if not whole_code:
        p, k = family.pair_probability(q, x), family.n_hashes
        return [
            _Claim("hashes agree", p, lambda r: r.agreed.mean(axis=(2, 3))[:, :, None], N_TABLES * k),
            _Claim("hashes number {} of the codes agree", p, lambda r: r.agreed.mean(axis=2), N_TABLES),
            _Claim("hashes of table {} agree", p, lambda r: r.agreed.mean(axis=3), k),
        ]
    own_law = type(family).code_probability is not HashFamily.code_probability
    if not family.independent_hashes and not own_law:
        raise UnsupportedError("the family has no law of a code")
    law = family.pair_code_probability(q, x)
    claims = [_Claim("codes agree", law, _one_table, N_TABLES)]
    if family.independent_tables:
        distances = np.arange(1, N_TABLES)
        claims += [
            _Claim("two tables, claimed to be independent, agree", law**2, _two_tables, N_TABLES),
            _Claim(
                "tables t and t + {}, claimed to be independent, agree",
                law**2,
                _tables_apart,
                N_TABLES - distances,
                first=1,
            ),
            _Claim(
                f"one or more of {N_TABLES} tables, claimed to be independent, agree",
                -np.expm1(N_TABLES * np.log1p(-np.minimum(law, 1 - 1e-16))),
                lambda r: r.codes.any(axis=2, keepdims=True).astype(np.float64),
                1,
            ),
        ]
    return claims


def _one_table(rates: Rates) -> Floats:
    """Fractions (n_seeds, n_pairs, 1) of the tables whose codes agreed."""
    return np.asarray(rates.codes.mean(axis=2, keepdims=True))


def _two_tables(rates: Rates) -> Floats:
    """Fractions (n_seeds, n_pairs, 1) of the L (L - 1) / 2 pairs of tables in which both codes agreed."""
    codes = _one_table(rates)
    return np.asarray(codes * (codes * N_TABLES - 1) / (N_TABLES - 1))


def _tables_apart(rates: Rates) -> Floats:
    """Fractions (n_seeds, n_pairs, L - 1) of the pairs of tables at each distance whose codes both agreed."""
    agreed = rates.codes
    both = ((agreed[:, :, d:] & agreed[:, :, :-d]).mean(axis=2) for d in range(1, N_TABLES))
    return np.stack(list(both), axis=2)


def check_probe_law(
    make: Callable[..., HashFamily], prepare: Callable[[Float32], Float32], kind: str
) -> None:
    """Assert that probes of a query find rows at the rate of ``probe_probability``.

    The law is conditional on the query's hash values, so the test is of the difference between hits and the
    law for the functions that were drawn.
    """
    q, x = _query_and_rows(prepare, kind)
    suspects = np.ones((2, len(x)), bool)
    for seeds, level in _rounds(N_PROBE_SEEDS):
        # The rate, and its covariance with the law over the tables: a law may be right on average alone.
        found, said, variance = np.empty((3, len(seeds), 2, len(x)))
        for i, (family, hits) in enumerate(_hits(make, q, x, seeds)):
            try:
                law = family.probe_probability(q, x, hits.shape[2])
            except UnsupportedError as error:
                raise SkipTest(str(error)) from None
            for k, weights in enumerate((np.ones_like(law), law - law.mean(axis=1, keepdims=True))):
                found[i, k] = (hits.any(axis=2) * weights).mean(axis=1)
                said[i, k] = (law * weights).mean(axis=1)
                variance[i, k] = (law * (1 - law) * weights**2).mean(axis=1)
        spread = np.maximum((found - said).std(axis=0, ddof=1), np.sqrt(variance.mean(axis=0) / N_TABLES))
        z, trials = _quantile(level / 4), len(seeds) * N_TABLES
        allowed = z * spread / np.sqrt(len(seeds)) + (z * z - 1) / 6 / trials + 0.5 / trials
        off = np.abs((found - said).mean(axis=0)) / allowed
        suspects &= off > 1
        if not suspects.any():
            return
    k, row = (int(n) for n in np.unravel_index(np.where(suspects, off, 0).argmax(), off.shape))
    seen, right = found[:, k, row].mean(), f"{said[:, k, row].mean():.4f} +- {allowed[k, row]:.4f}"
    if k == 0:
        raise AssertionError(
            f"{kind} row {row}: {hits.shape[2]} probes find it at a rate of {seen:.4f}; the law says {right}"
        )
    raise AssertionError(
        f"{kind} row {row}: {hits.shape[2]} probes find it in other tables than the law says: the covariance "
        f"with the law is {seen:.4f}; it should be {right}"
    )


def check_probe_order(make: Callable[..., HashFamily], prepare: Callable[[Float32], Float32]) -> None:
    """Assert that no probe finds rows near the query more often than the one before it.

    After the last one comes the average of all buckets that are not probed.
    """
    q, x = _query_and_rows(prepare, "rotated")
    suspects = np.ones(1, bool)
    for seeds, level in _rounds(N_PROBE_SEEDS):
        rates = np.stack([_rates_in_order(*found) for found in _hits(make, q, x[len(x) // 2 :], seeds)])
        more = np.diff(rates, axis=1)
        z = _quantile(level / max(1, more.shape[1]))
        allowed = z * more.std(axis=0, ddof=1) / np.sqrt(len(seeds)) + z * z / len(seeds) / N_TABLES
        suspects = suspects & (more.mean(axis=0) > allowed)
        if not suspects.any():
            return
    place, seen = int(suspects.argmax()), rates.mean(axis=0)
    raise AssertionError(
        f"probes are not ordered by probability: number {place + 1} finds rows near the query at a rate of "
        f"{seen[place]:.4f}, the next one, or the average of those left out, at {seen[place + 1]:.4f}"
    )


def _rates_in_order(family: HashFamily, hits: npt.NDArray[np.bool_]) -> Floats:
    """The rate of each probe, and the average of the other buckets."""
    rates = hits.mean(axis=(0, 1))
    others = 2**family.code_bits - len(rates)
    return np.append(rates, (1 - rates.sum()) / others) if others else np.asarray(rates)


def _query_and_rows(prepare: Callable[[Float32], Float32], kind: str) -> tuple[Float32, Float32]:
    """A query, and rows from unrelated ones to one that is nearly the query."""
    x, q = pairs(kind)
    near = np.linspace(0, 0.95, len(x), dtype=np.float32)[:, None]
    return prepare(q[:1]), prepare(near * q[:1] + (1 - near) * x)


def _hits(
    make: Callable[..., HashFamily], q: Float32, x: Float32, seeds: range
) -> Iterator[tuple[HashFamily, npt.NDArray[np.bool_]]]:
    """Families of many seeds, with (n, n_tables, n_probes): whether each probe of the query finds a row."""
    n_hashes = hashes_that_fit(make, N_HASHES)
    for seed in seeds:
        family = make(dim=DIM, n_hashes=n_hashes, n_tables=N_TABLES, seed=seed)
        if not family.can_probe:
            raise SkipTest(f"family {type(family).__name__} cannot probe")
        probes = probe_rows(family, q, min(N_PROBES, 2**family.code_bits), threads=1)
        yield family, hash_rows(family, x, threads=1)[:, :, None] == probes
