"""Inclusion probabilities of samplers, and the choice of K and L.

Throughout, q is the probability that the codes of a pair, of K hashes each, are equal
(``family.code_probability``), L the number of tables, and pi the probability that an item is in the active
set. All functions take arrays and return float64 arrays.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import scipy

from lshsample.errors import ArgumentError

__all__ = [
    "at_least_inclusion",
    "cap_inclusion",
    "fill_inclusion",
    "frequency_inclusion",
    "mixture_inclusion",
    "n_hashes_for",
    "n_tables_for",
    "rho",
    "tables_inclusion",
    "uniform_inclusion",
    "union_inclusion",
]

Floats = npt.NDArray[np.float64]


def _probabilities(values: npt.ArrayLike, argument: str) -> Floats:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ArgumentError(argument, repr(values), "an array of probabilities") from None
    # Rounding errors are clipped; larger deviations and NaN are errors.
    if not np.all((array >= -1e-9) & (array <= 1 + 1e-9)):
        raise ArgumentError(
            argument, f"values from {array.min()} to {array.max()}", "probabilities from 0 to 1"
        )
    return np.clip(array, 0.0, 1.0)


def _positive(value: int, argument: str, low: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < low:
        raise ArgumentError(argument, repr(value), f"an integer >= {low}")
    return int(value)


def _number(value: float, argument: str, low: float, high: float, wanted: str) -> float:
    """A number from ``low`` to ``high``."""
    plain = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not plain or not low <= value <= high:
        raise ArgumentError(argument, repr(value), wanted)
    return float(value)


def _probability(value: float, argument: str) -> float:
    return _number(value, argument, 0, 1, "a number from 0 to 1")


def union_inclusion(code_probability: npt.ArrayLike, n_tables: int) -> Floats:
    """Probability of a collision in at least one of L tables: 1 - (1 - q)^L.

    Parameters
    ----------
    code_probability : array
        q of each pair.
    n_tables : int
        L.

    Notes
    -----
    The L codes are independent, so that there is no collision with probability (1 - q)^L (Spring &
    Shrivastava 2017, arXiv 1703.05160, eq. 3). Computed with log1p and expm1, which is accurate for small q.

    Examples
    --------
    >>> union_inclusion([0.0, 0.5, 1.0], 2)
    array([0.  , 0.75, 1.  ])
    """
    q = _probabilities(code_probability, "code_probability")
    with np.errstate(divide="ignore"):
        return np.asarray(-np.expm1(_positive(n_tables, "n_tables") * np.log1p(-q)))


def at_least_inclusion(code_probability: npt.ArrayLike, n_tables: int, m: int) -> Floats:
    """Probability of collisions in at least m of L tables: the tail of the binomial distribution.

    Parameters
    ----------
    code_probability : array
        q of each pair.
    n_tables : int
        L.
    m : int
        Number of tables, at least 1.

    Notes
    -----
    sum_{i >= m} C(L, i) q^i (1 - q)^(L - i) = I_q(m, L - m + 1), the regularised incomplete beta function
    (Abramowitz & Stegun 26.5.24). It applies to the hard threshold of SLIDE (Chen et al., MLSys 2020).

    Examples
    --------
    >>> at_least_inclusion(0.5, 3, 2).item()
    0.5
    """
    q = _probabilities(code_probability, "code_probability")
    tables, least = _positive(n_tables, "n_tables"), _positive(m, "m")
    if least > tables:
        return np.zeros_like(q)
    return np.asarray(scipy.special.betainc(least, tables - least + 1, q))


def tables_inclusion(table_probability: npt.ArrayLike, m: int = 1) -> Floats:
    """Probability of being retrieved from at least m of L independent tables with different probabilities.

    Parameters
    ----------
    table_probability : (..., L) array
        The probability for each table.
    m : int
        Number of tables that must retrieve the item.

    Returns
    -------
    (...) float64 array

    Notes
    -----
    For m = 1 it is 1 - prod_l (1 - P_l); else 1 minus the first m terms of the Poisson binomial distribution,
    which are computed table by table (Wang 1993, Statistica Sinica 3). Cost: O(L m) for each item.

    Examples
    --------
    >>> tables_inclusion([[0.5, 0.5, 0.0]]), tables_inclusion([[0.5, 0.5, 0.5]], m=2)
    (array([0.75]), array([0.5]))
    """
    tables, least = _probabilities(table_probability, "table_probability"), _positive(m, "m")
    if least == 1:
        with np.errstate(divide="ignore"):
            return np.asarray(-np.expm1(np.log1p(-tables).sum(axis=-1)))
    found = np.zeros((*tables.shape[:-1], least))
    found[..., 0] = 1
    for number in range(tables.shape[-1]):
        p = tables[..., number, None]
        moved = np.concatenate([np.zeros_like(found[..., :1]), found[..., :-1]], axis=-1)
        found = found * (1 - p) + moved * p
    return np.asarray(np.clip(1 - found.sum(axis=-1), 0, 1))


def cap_inclusion(inclusion: npt.ArrayLike, kept: npt.ArrayLike, size: npt.ArrayLike) -> Floats:
    """Probability after a uniform cap that keeps ``kept`` of ``size`` ids: pi * kept / size.

    Parameters
    ----------
    inclusion : array
        pi before the cap.
    kept, size : array
        Number of ids after and before the cap; arrays broadcast.

    Notes
    -----
    The second phase draws m = kept of U = size ids uniformly. Conditional on the first phase each id is kept
    with probability m / U, so that E[sum f / (pi m / U)] = E[sum over the first phase of f / pi] = sum f
    (two-phase sampling: Sarndal, Swensson & Wretman 1992, ch. 9), although U is random.

    Examples
    --------
    >>> cap_inclusion(0.5, 10, 40).item()
    0.125
    """
    pi, m, u = _probabilities(inclusion, "inclusion"), np.asarray(kept, float), np.asarray(size, float)
    for argument, values in (("kept", m), ("size", u)):
        if not np.all(values >= 0):
            raise ArgumentError(argument, values.min(), "numbers >= 0")
    return np.asarray(pi * np.where(m < u, m / np.maximum(u, 1), 1.0))


def mixture_inclusion(inclusion: npt.ArrayLike, other: npt.ArrayLike) -> Floats:
    """Probability of being in the union of two independent samples: 1 - (1 - pi)(1 - u).

    Parameters
    ----------
    inclusion, other : array
        pi and u; arrays broadcast.

    Examples
    --------
    >>> mixture_inclusion(0.5, 0.5).item()
    0.75
    """
    pi, u = _probabilities(inclusion, "inclusion"), _probabilities(other, "other")
    return np.asarray(pi + (1 - pi) * u)


def uniform_inclusion(n: int, n_items: int) -> float:
    """Probability of each item among n distinct uniform draws from N: n / N.

    Parameters
    ----------
    n, n_items : int
        Number of draws, and of items.

    Examples
    --------
    >>> uniform_inclusion(5, 20)
    0.25
    """
    items = _positive(n_items, "n_items")
    if _positive(n, "n", 0) > items:
        raise ArgumentError("n", n, f"at most n_items = {items}")
    return n / items


def frequency_inclusion(frequencies: npt.ArrayLike, n: int) -> Floats:
    """Probability of being drawn in n independent draws proportional to frequency: 1 - (1 - f)^n.

    Parameters
    ----------
    frequencies : array
        Relative frequencies, with sum 1.
    n : int
        Number of draws.

    Notes
    -----
    Draws with replacement are independent: none is item j with probability (1 - f_j)^n (Hansen & Hurwitz
    1943).

    Examples
    --------
    >>> frequency_inclusion([0.5, 0.5], 2)
    array([0.75, 0.75])
    """
    f, draws = _probabilities(frequencies, "frequencies"), _positive(n, "n", 0)
    if draws == 0:
        return np.zeros_like(f)
    with np.errstate(divide="ignore"):
        return np.asarray(-np.expm1(draws * np.log1p(-f)))


def fill_inclusion(inclusion: npt.ArrayLike, size: int, k: int, n_items: int) -> Floats:
    """Probability after a set of fixed size is filled up to k ids by uniform draws from the other items.

    Parameters
    ----------
    inclusion : array
        pi before.
    size, k, n_items : int
        Number of ids in the set, U; number of ids after filling; number of items, N.

    Notes
    -----
    Conditional on the set, each of the N - U others is added with probability u = (k - U) / (N - U). Since U
    is fixed, the result is pi + (1 - pi) u.

    Examples
    --------
    >>> fill_inclusion([0.0, 1.0], 10, 20, 30)
    array([0.5, 1. ])
    """
    size, k, n_items = _positive(size, "size", 0), _positive(k, "k", 0), _positive(n_items, "n_items")
    if size >= k:
        return _probabilities(inclusion, "inclusion")
    if k > n_items:
        raise ArgumentError("k", k, f"at most n_items = {n_items}")
    return mixture_inclusion(inclusion, (k - size) / (n_items - size))


def rho(p_near: float, p_far: float) -> float:
    """The exponent of sublinear search, ln p1 / ln p2: about n^rho tables retrieve a near item among n.

    Parameters
    ----------
    p_near, p_far : float
        Collision probabilities of one hash, p1 > p2. The exponent is 0 if p1 is 1 or p2 is 0.

    Notes
    -----
    Indyk & Motwani 1998: with p1 > p2 the collision probabilities of one hash at the near and the far
    similarity.

    Examples
    --------
    >>> round(rho(0.9, 0.5), 3)
    0.152
    """
    near, far = _probability(p_near, "p_near"), _probability(p_far, "p_far")
    if not far < near:
        raise ArgumentError("p_near, p_far", (p_near, p_far), "such that p_far < p_near")
    return 0.0 if near == 1 or far == 0 else math.log(near) / math.log(far)


def n_hashes_for(n_items: int, p_far: float, candidates: float = 1.0) -> int:
    """The K at which about ``candidates`` of n far items are in the bucket of a query: n p2^K = candidates.

    Parameters
    ----------
    n_items : int
        n.
    p_far : float
        Collision probability of one hash for a far item, p2.
    candidates : float
        Expected number of far items in a bucket.

    Notes
    -----
    K = ln(n / candidates) / ln(1 / p2), rounded up (Indyk & Motwani 1998); at least 1, which is enough if p2
    is 0 or there are no more items than candidates.

    Raises
    ------
    ArgumentError
        No K is enough: p2 is 1, and there are more items than candidates.

    Examples
    --------
    >>> n_hashes_for(670_091, 0.5)
    20
    """
    items, far = _positive(n_items, "n_items"), _probability(p_far, "p_far")
    wanted = _number(candidates, "candidates", 5e-324, math.inf, "a number above 0")
    if wanted >= items or far == 0:
        return 1
    if far == 1:
        raise ArgumentError("p_far", p_far, f"below 1, so that fewer than {items} items share a bucket")
    return max(1, math.ceil(math.log(items / wanted) / -math.log(far) - 1e-12))


def n_tables_for(p_near: float, n_hashes: int, recall: float = 0.9) -> int:
    """The L at which a near item is retrieved with probability ``recall``: 1 - (1 - p1^K)^L >= recall.

    Parameters
    ----------
    p_near : float
        Collision probability of one hash for a near item, p1.
    n_hashes : int
        K.
    recall : float
        The target probability.

    Raises
    ------
    ArgumentError
        No L is enough: a recall of 1 for an item that may be missed, or above 0 for one that never collides.

    Examples
    --------
    >>> n_tables_for(0.9, 10, recall=0.95)
    7
    >>> n_tables_for(1.0, 4, recall=0.95)
    1
    """
    near, hashes = _probability(p_near, "p_near"), _positive(n_hashes, "n_hashes")
    wanted, code = _probability(recall, "recall"), near**hashes
    if code == 1 or wanted == 0:
        return 1
    if code == 0:
        given = f"{p_near} with {hashes} hashes"
        raise ArgumentError("p_near", given, "such that p_near**n_hashes is above 0")
    if wanted == 1:
        raise ArgumentError("recall", recall, "below 1, unless p_near is 1: every table may miss the item")
    return max(1, math.ceil(math.log1p(-wanted) / math.log1p(-code) - 1e-12))
