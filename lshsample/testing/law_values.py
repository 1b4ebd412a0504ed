"""Checks of the values of a collision law: probabilities, for all similarities, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from unittest import SkipTest

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample._native import core
from lshsample.errors import UnsupportedError
from lshsample.family import DISTANCES, SIMILARITIES, HashFamily
from lshsample.testing import law_checks as laws

if TYPE_CHECKING:
    from lshsample.testing.conformance import FamilyCase

__all__ = ["check_law_values"]

Floats = npt.NDArray[np.float64]


def check_law_values(case: FamilyCase) -> None:
    """The law gives probabilities, in float64, for every similarity: each by itself, arrays of any shape."""
    family = case.make(dim=laws.DIM, n_hashes=laws.hashes_that_fit(case.make, 2), n_tables=1, seed=0)
    _check_similarity_is_known(family)
    q, x = _pairs(case)
    try:
        found = _check_similarities(family, q, x)
        family.collision_probability(found[:1], *((np.ones(1),) * family.law_of_norms))
    except UnsupportedError as error:
        raise SkipTest(str(error)) from None
    norms = np.linalg.norm(x.astype(np.float64), axis=1)
    given = [(found, norms), (np.nextafter(found, np.inf), norms), (np.nextafter(found, -np.inf), norms)]
    if not family.law_of_norms:
        swept = _sweep(family, found)
        given.append((swept, np.ones_like(swept)))
    values, norms = (np.concatenate(parts) for parts in zip(*given, strict=True))
    laws_of = {"collision_probability": family.pair_probability}
    if _has_code_law(family):
        laws_of["code_probability"] = family.pair_code_probability
    some = q.any(axis=1) & x.any(axis=1)  # a row of zeros may have a law of its own
    for name, of_pairs in laws_of.items():
        law = getattr(family, name)
        _check_law(name, law, values, (norms,) * family.law_of_norms)
        said = law(found, *(given[0][1],) * family.law_of_norms)
        assert np.allclose(of_pairs(q, x)[some], said[some], atol=1e-5), (
            f"{of_pairs.__name__} is not {name} of the similarities"
        )


def _check_similarity_is_known(family: HashFamily) -> None:
    """A family that inherits ``similarity_of`` has one of the similarities that it implements."""
    similarity = getattr(family, "similarity", None)
    assert isinstance(similarity, str), (
        f"similarity is {similarity!r}, expected a name: {', '.join(SIMILARITIES)} or another"
    )
    own = type(family).similarity_of is not HashFamily.similarity_of
    assert own or similarity in SIMILARITIES, (
        f"similarity is {similarity!r}, and similarity_of is not overridden: it is implemented for "
        f"{', '.join(SIMILARITIES)}; without it the law cannot be used or tested"
    )


def _has_code_law(family: HashFamily) -> bool:
    return family.independent_hashes or type(family).code_probability is not HashFamily.code_probability


def _pairs(case: FamilyCase) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Pairs of all kinds, pairs of mixed rows at several scales, equal ones, and rows of zeros."""
    x, q = (np.concatenate(rows) for rows in zip(*map(laws.pairs, laws.PAIRS), strict=True))
    mixed = case.rows(24, laws.DIM)
    scaled = mixed[1:] * np.geomspace(1e-6, 1e6, 23, dtype=np.float32)[:, None]
    zero, some = np.zeros((1, laws.DIM), np.float32), mixed[1:2]
    x = np.concatenate([x, scaled, mixed, zero, some, zero])
    q = np.concatenate([q, scaled[::-1], mixed, some, zero, zero])
    return case.prepare(q), case.prepare(x)


def _check_similarities(family: HashFamily, q: Any, x: Any) -> Floats:
    found = family.similarity_of(q, x)
    kind = f"{found.dtype} {found.shape}" if isinstance(found, np.ndarray) else type(found).__name__
    assert kind == f"float64 ({len(x)},)", (
        f"similarity_of returns {kind}, expected a float64 array of shape ({len(x)},)"
    )
    assert np.isfinite(found).all(), f"similarity_of is {found[~np.isfinite(found)][0]} for a pair of rows"
    csr = family.similarity_of(*(core.csr_rows(sp.csr_array(rows), "x") for rows in (q, x)))
    assert np.allclose(csr, found, rtol=1e-6, atol=1e-12), "similarity_of: dense and CSR rows differ"
    return found


def _sweep(family: HashFamily, found: Floats) -> Floats:
    """Similarities over the whole range, or over the range that was found if it is not known."""
    if family.similarity == "cosine":
        low, high = -1.0, 1.0
    elif family.similarity in DISTANCES:
        return np.concatenate([[0.0, 5e-324], np.geomspace(1e-30, 1e30, 2000)])
    else:
        low, high = found.min(), found.max()
        if low >= 0 and high <= 1:
            low, high = 0.0, 1.0
    ends = [low, np.nextafter(low, high), np.nextafter(high, low), high]
    return np.concatenate([ends, np.linspace(low, high, 2001)])


def _check_law(name: str, law: Callable[..., Any], values: Floats, norms: tuple[Floats, ...]) -> None:
    """Probabilities of the right shape and type, for each similarity alone, from float64."""

    def of(similarity: Any, *norm: Any) -> Any:
        before = np.array(similarity)
        try:
            p = law(similarity, *norm)
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            span = f"{before.min(initial=np.inf):.6g} to {before.max(initial=-np.inf):.6g}"
            raise AssertionError(f"{name} of similarities from {span} raises {what}") from error
        assert np.array_equal(before, similarity), f"{name} writes into the similarities it is given"
        shape, kind = np.shape(before), np.asarray(p).dtype
        assert np.shape(p) == shape, f"{name} of shape {shape} has shape {np.shape(p)}"
        assert kind == np.float64, f"{name} returns {kind}, expected float64"
        return p

    p = of(values, *norms)
    wrong = ~((p >= 0) & (p <= 1))
    if wrong.any():
        at = int(wrong.argmax())
        raise AssertionError(
            f"{name} of similarity {float(values[at])} is {p[at]}, not a probability (of {wrong.sum()})"
        )
    both = slice(None, len(values) // 2 * 2)
    grid, grids = values[both].reshape(-1, 2), tuple(norm[both].reshape(-1, 2) for norm in norms)
    assert np.array_equal(of(grid, *grids), p[both].reshape(-1, 2)), f"{name} of a 2-D array has other values"
    for i in range(0, len(values), max(1, len(values) // 40)):
        alone = of(values[i : i + 1], *(norm[i : i + 1] for norm in norms))
        assert np.allclose(alone, p[i], rtol=1e-9), f"{name} of a similarity depends on the others given"
    of(values[0], *(norm[0] for norm in norms))
    of(values[:0], *(norm[:0] for norm in norms))
    if not norms:
        _check_precision(name, law, values)


def _check_precision(name: str, law: Callable[..., Any], values: Floats) -> None:
    """A law that changes with every change of the similarity does so below the precision of float32."""
    rng = np.random.default_rng(3)
    s = rng.choice(values, 400) * (1 - 1e-3 * rng.random(400))
    steps = np.stack([law(s * (1 + k * 2e-5)) for k in range(5)])
    moves = (np.diff(steps, axis=0) != 0).all(axis=0)
    rounded = s.astype(np.float32).astype(np.float64)
    differs = moves & (rounded != s) & (np.abs(np.diff(steps, axis=0)).min(axis=0) > 1e-9)
    if differs.sum() >= 20:
        equal = law(rounded) == law(s)
        coarse = steps[0].astype(np.float32) == steps[0]
        assert not (equal | coarse)[differs].all(), f"{name} computes in float32, expected float64"
