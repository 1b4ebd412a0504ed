"""Checks of a collision law by simulation, on pairs of rows that reveal common mistakes."""

from __future__ import annotations

from collections.abc import Callable
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
#: Two-sided 99.9 % quantile of the normal distribution.
_Z = 3.2905


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
    """How often pairs agreed under each of many draws of the functions.

    Attributes
    ----------
    hashes, codes, tables : (n_seeds, n_pairs) float64 arrays
        The fractions of hashes (K L of them), of whole codes (L), and of two tables at once (L (L - 1) / 2),
        that agreed under each seed.
    """

    hashes: Floats
    codes: Floats
    tables: Floats


def observed_rates(
    make: Callable[..., HashFamily], x: Float32, q: Float32, seeds: range, n_hashes: int = N_HASHES
) -> Rates:
    """Rates of agreement of ``x[i]`` (as data) with ``q[i]`` (as queries) over families of many seeds."""
    hashes, codes = np.empty((2, len(seeds), len(x)))
    for i, seed in enumerate(seeds):
        family = make(dim=x.shape[1], n_hashes=n_hashes, n_tables=N_TABLES, seed=seed)
        differences = hash_rows(family, x, threads=1) ^ hash_rows(family, q, query=True, threads=1)
        codes[i] = (differences == 0).mean(axis=1)
        places = np.arange(n_hashes, dtype=np.uint32) * np.uint32(family.bits_per_hash)
        each = differences[:, :, None] >> places & np.uint32(2**family.bits_per_hash - 1)
        hashes[i] = (each == 0).mean(axis=(1, 2))
    return Rates(hashes, codes, codes * (codes * N_TABLES - 1) / (N_TABLES - 1))


def half_widths(observed: Floats, expected: Floats, trials: int) -> Floats:
    """Half the width of the 99.9 % interval around each pair's expected rate.

    The law is over the draw of the functions, so the width is computed from the spread between seeds: hashes
    of one seed may share random numbers and are not independent trials. It is at least that of the binomial
    interval of ``trials`` trials for each seed.
    """
    n_seeds = len(observed)
    spread = observed.std(axis=0, ddof=1) / np.sqrt(n_seeds)
    binomial = np.sqrt(expected * (1 - expected) / (n_seeds * trials))
    # Half a trial for the step of a count, so that a rate of exactly 0 or 1 can agree with a law next to it.
    return np.asarray(_Z * np.maximum(spread, binomial) + 0.5 / (n_seeds * trials))


def check_law(
    make: Callable[..., HashFamily], prepare: Callable[[Float32], Float32], kind: str, whole_code: bool
) -> None:
    """Assert that pairs of a kind agree at the rate of the law, within its 99.9 % interval.

    With whole codes also, for a family with independent tables, that two tables find a pair together at the
    rate of independent tables.

    A pair outside of its interval is tested again with three times as many other seeds, and fails if it is
    outside again, so that correct families do not fail by chance although many pairs are tested.
    """
    x, q = (prepare(rows) for rows in pairs(kind))
    n_hashes = hashes_that_fit(make, N_HASHES)
    family = make(dim=DIM, n_hashes=n_hashes, n_tables=N_TABLES, seed=0)
    try:
        similarity = family.similarity_of(q, x)
        claims = _claims(family, q, x, whole_code)
    except UnsupportedError as error:
        raise SkipTest(str(error)) from None
    suspects = np.arange(len(x))
    for seeds in (range(N_SEEDS), range(N_SEEDS, 4 * N_SEEDS)):
        rates = observed_rates(make, x[suspects], q[suspects], seeds, n_hashes)
        wrong: dict[int, str] = {}
        for name, (what, law, trials) in claims.items():
            observed, expected = getattr(rates, name), law[suspects]
            allowed = half_widths(observed, expected, trials)
            seen = observed.mean(axis=0)
            for i in np.flatnonzero(np.abs(seen - expected) > allowed):
                found = (
                    f"{what} at a rate of {seen[i]:.4f}; the law says {expected[i]:.4f} +- {allowed[i]:.4f}"
                )
                wrong.setdefault(int(suspects[i]), found)
        suspects = np.array(sorted(wrong), np.intp)
        if not wrong:
            return
    first = suspects[0]
    raise AssertionError(
        f"{kind} pair {first} of {family.similarity} {similarity[first]:.4f}: {wrong[int(first)]}"
    )


def _claims(
    family: HashFamily, q: Float32, x: Float32, whole_code: bool
) -> dict[str, tuple[str, Floats, int]]:
    """The claims of a family about pairs, by field of Rates: the event, its probability, trials per seed."""
    if not whole_code:
        return {"hashes": ("hashes agree", family.pair_probability(q, x), N_TABLES * family.n_hashes)}
    own_law = type(family).code_probability is not HashFamily.code_probability
    if not family.independent_hashes and not own_law:
        raise UnsupportedError("the family has no law of a code")
    law = family.pair_code_probability(q, x)
    claims = {"codes": ("codes agree", law, N_TABLES)}
    if family.independent_tables:
        claims["tables"] = ("two tables, claimed to be independent, agree", law**2, N_TABLES)
    return claims


def check_probe_law(
    make: Callable[..., HashFamily], prepare: Callable[[Float32], Float32], kind: str
) -> None:
    """Assert that probes of a query find rows at the rate of ``probe_probability``, within 99.9 %.

    The law is conditional on the query's hash values, so the test is of the difference between hits and the
    law for the functions that were drawn; a row outside of its interval is tested again, as in
    :func:`check_law`.
    """
    x, q = pairs(kind)
    # From unrelated rows to rows that are nearly the query.
    near = np.linspace(0, 0.95, len(x), dtype=np.float32)[:, None]
    q, x = prepare(q[:1]), prepare(near * q[:1] + (1 - near) * x)
    n_hashes = hashes_that_fit(make, N_HASHES)
    for seeds in (range(N_PROBE_SEEDS), range(N_PROBE_SEEDS, 4 * N_PROBE_SEEDS)):
        found, said, variance = np.empty((3, len(seeds), len(x)))
        for i, seed in enumerate(seeds):
            family = make(dim=DIM, n_hashes=n_hashes, n_tables=N_TABLES, seed=seed)
            n_probes = min(N_PROBES, 2**family.code_bits)
            try:
                law = family.probe_probability(q, x, n_probes)
            except UnsupportedError as error:
                raise SkipTest(str(error)) from None
            probes = probe_rows(family, q, n_probes, threads=1)
            hits = (hash_rows(family, x, threads=1)[:, :, None] == probes).any(axis=2)
            found[i], said[i], variance[i] = (v.mean(axis=1) for v in (hits, law, law * (1 - law)))
        spread = np.maximum((found - said).std(axis=0, ddof=1), np.sqrt(variance.mean(axis=0) / N_TABLES))
        allowed = _Z * spread / np.sqrt(len(seeds)) + 0.5 / (len(seeds) * N_TABLES)
        off = np.abs((found - said).mean(axis=0))
        if (off <= allowed).all():
            return
    worst = int((off / allowed).argmax())
    raise AssertionError(
        f"{kind} row {worst}: {n_probes} probes find it at a rate of {found[:, worst].mean():.4f}; "
        f"the law says {said[:, worst].mean():.4f} +- {allowed[worst]:.4f}"
    )
