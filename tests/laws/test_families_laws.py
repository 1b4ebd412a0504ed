"""Laws of the built-in families, compared with enumeration, published formulas and known mistakes."""

import itertools
import math

import numpy as np
import pytest
from lshsample_families.dwta import rank_agreement

from lshsample.hashing import hash_rows
from lshsample.registry import make_family
from lshsample.testing.law_checks import observed_rates, pairs


def by_enumeration(q, x, window):
    """The rate at which a DWTA hash agrees, over all ordered windows; borrowed positions by their own law."""
    total, count = 0.0, 0
    support_q, support_x = set(np.flatnonzero(q)), set(np.flatnonzero(x))
    union = support_q | support_x
    jaccard = len(support_q & support_x) / len(union) if union else 1.0
    for chosen in itertools.permutations(range(len(q)), window):
        places = []
        for row in (q, x):
            seen = [row[i] if row[i] else -math.inf for i in chosen]
            places.append(seen.index(max(seen)) if max(seen) > -math.inf else None)
        count += 1
        if places == [None, None]:
            total += jaccard + (1 - jaccard) / window
        elif None in places:
            total += 1 / window
        else:
            total += places[0] == places[1]
    return total / count


@pytest.mark.parametrize("window", [2, 4])
@pytest.mark.parametrize("seed", range(8))
def test_rank_agreement_is_the_enumeration(window, seed):
    rng = np.random.default_rng(seed)
    q, x = rng.integers(-3, 4, (2, 7)) * (rng.random((2, 7)) < [0.3, 0.5, 0.7, 1][seed % 4])
    if seed == 7:
        q[:] = 0
    entries = [(np.flatnonzero(row), row[row != 0].astype(np.float32)) for row in (q, x)]
    assert rank_agreement(*entries, 7, window) == pytest.approx(by_enumeration(q, x, window), abs=1e-12)


def test_window_of_two_is_the_fraction_of_concordant_pairs():
    q, x = np.random.default_rng(0).standard_normal((2, 1, 20)).astype(np.float32)
    i, j = np.triu_indices(20, 1)
    concordant = ((q[0, i] - q[0, j]) * (x[0, i] - x[0, j]) > 0).mean()
    family = make_family("dwta", dim=20, window=2)
    assert family.collision_probability(family.similarity_of(q, x))[0] == pytest.approx(concordant)


def test_codes_of_dwta_agree_at_the_rate_of_independent_hashes():
    """With bins of shared permutations such a code agrees half as often as p^K: 0.0473 against 0.0989."""
    rng = np.random.default_rng(1)
    q = rng.standard_normal((1, 32)).astype(np.float32)
    x = (q + 0.7 * rng.standard_normal((1, 32))).astype(np.float32)
    family = make_family("dwta", dim=32, n_hashes=4, n_tables=60_000, window=8)
    p = family.collision_probability(family.similarity_of(q, x))[0]
    agreed = (hash_rows(family, q) == hash_rows(family, x)).mean()
    assert agreed == pytest.approx(p**4, abs=4 * np.sqrt(p**4 * (1 - p**4) / 60_000))


def test_every_code_of_dwta_can_be_reached():
    """Packing with the natural logarithm instead of log2 reaches only 9,556 of 262,144 buckets."""
    family = make_family("dwta", dim=64, n_hashes=2, n_tables=1, window=8)
    codes = hash_rows(family, np.random.default_rng(2).standard_normal((4000, 64)))
    assert len(np.unique(codes)) == 64
    assert family.code_bits == 6


def test_dwta_stores_the_element_that_won():
    family = make_family("dwta", dim=8, n_hashes=1, n_tables=500, window=8)
    x = np.arange(1, 9, dtype=np.float32)[None]
    winners = [
        window[code] for window, code in zip(family._windows.columns, hash_rows(family, x)[0], strict=True)
    ]
    assert set(winners) == {7}


def test_the_first_of_equal_values_wins():
    family = make_family("dwta", dim=8, n_hashes=1, n_tables=300, window=8)
    assert (hash_rows(family, np.ones((1, 8))) == 0).all()


@pytest.mark.parametrize("projection", ["gaussian", "hadamard", "sparse"])
def test_signs_are_of_coordinates_not_of_bins(projection):
    """With a sign for each bin, independent non-negative rows agreed at 0.997 where the law says 0.595."""
    x, q = np.maximum(np.random.default_rng(4).standard_normal((2, 1, 200)), 0).astype(np.float32)
    family = make_family("simhash", dim=200, n_hashes=8, n_tables=4000, projection=projection)
    p = family.collision_probability(family.similarity_of(q, x))[0]
    differing = np.bitwise_count(hash_rows(family, x) ^ hash_rows(family, q)).mean() / 8
    assert 1 - differing == pytest.approx(p, abs=0.02)


def test_cosines_beyond_one_by_rounding():
    family = make_family("simhash", dim=3)
    assert family.collision_probability([1 + 1e-12, -1 - 1e-12]).tolist() == [1, 0]
    x = np.full((1, 3), 1e-30, np.float32)
    assert family.similarity_of(x, x) == pytest.approx([1.0], abs=1e-15)


@pytest.mark.parametrize("kind", ["rotated", "non_negative", "heavy_tailed"])
def test_tables_of_hadamard_projections_are_nearly_independent(kind):
    """Their codes share random numbers, but the variance of their rates is only slightly larger."""
    x, q = pairs(kind)
    spread = {}
    for projection in ("gaussian", "hadamard"):
        make = lambda p=projection, **shape: make_family("simhash", projection=p, **shape)  # noqa: E731
        spread[projection] = observed_rates(make, x, q, range(400)).codes.mean(axis=2).var(axis=0).mean()
    assert spread["hadamard"] / spread["gaussian"] < 1.35
