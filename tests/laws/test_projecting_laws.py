"""Laws of E2LSH, cross-polytope and WTA, compared with closed forms, simulation and enumeration."""

import itertools

import numpy as np
import pytest
from lshsample_families.cross_polytope import _interpolated, _law_at, _table
from lshsample_families.wta import concordance
from scipy.special import ndtr

from lshsample.hashing import hash_rows
from lshsample.registry import make_family


def published(ratio):
    """The law of Datar et al. for the ratio r/c."""
    return 1 - 2 * ndtr(-ratio) - 2 * (1 - np.exp(-(ratio**2) / 2)) / (np.sqrt(2 * np.pi) * ratio)


def test_law_of_buckets_that_do_not_wrap_is_the_published_one():
    family = make_family("e2lsh", dim=4, width=3.0, n_hashes=1, bits=30)
    distances = np.geomspace(0.05, 300, 200)
    np.testing.assert_allclose(family.collision_probability(distances), published(3 / distances), rtol=1e-9)


@pytest.mark.parametrize("bits", [1, 3, 8])
def test_wrapped_law_equals_simulated_floors_of_normal_numbers(bits):
    family = make_family("e2lsh", dim=4, width=2.0, n_hashes=2, bits=bits)
    rng, n = np.random.default_rng(bits), 200_000
    normal, offset = rng.standard_normal(n), rng.random(n)
    for distance in (0.3, 2.0, 9.0, 30.0, 520.0, 1e4):
        agreed = (np.floor(normal * distance / 2 + offset).astype(np.int64) % 2**bits == 0).mean()
        p = family.collision_probability(distance)
        assert agreed == pytest.approx(p, abs=4.5 * np.sqrt(p * (1 - p) / n))


def test_wrapped_law_is_continuous_where_its_formulas_meet():
    for bits in (1, 4, 12):
        family = make_family("e2lsh", dim=4, width=1.0, n_hashes=1, bits=bits)
        for edge in (2.0**bits, 1000.0):
            below, above = family.collision_probability([edge * (1 - 1e-9), edge * (1 + 1e-9)])
            assert below == pytest.approx(above, rel=1e-6)
    assert family.collision_probability([0, 1e300]) == pytest.approx([1, 2.0**-12])


@pytest.mark.parametrize("projection", ["hadamard", "gaussian"])
@pytest.mark.parametrize("offset", [0.0, 300.0])
def test_only_the_difference_of_rows_matters(projection, offset):
    rng = np.random.default_rng(5)
    x = rng.standard_normal((2, 40)).astype(np.float32) + np.float32(offset)
    rates = []
    for seed in range(120):
        family = make_family("e2lsh", dim=40, n_tables=64, n_hashes=2, bits=8, width=9.0,
                             projection=projection, seed=seed)  # fmt: skip
        codes = hash_rows(family, x)
        rates.append((codes[0] == codes[1]).mean())
    expected = family.code_probability(family.similarity_of(x[:1], x[1:]))[0]
    assert np.mean(rates) == pytest.approx(expected, abs=4 * np.std(rates) / np.sqrt(120))


def test_distances_do_not_cancel():
    family = make_family("e2lsh", dim=3)
    x = np.full((1, 3), 1e6, np.float32)
    q = x.copy()
    q[0, 1] += 0.25
    assert family.similarity_of(q, x) == pytest.approx([0.25])


def test_two_dimensional_cross_polytopes_are_two_signs():
    family = make_family("cross-polytope", dim=4, dimension=2)
    angles = np.linspace(0, np.pi, 50)
    np.testing.assert_allclose(
        family.collision_probability(np.cos(angles)), (1 - angles / np.pi) ** 2, atol=2e-6
    )


@pytest.mark.parametrize("dimension", [4, 16, 256])
def test_table_of_cross_polytopes(dimension):
    table = _table(dimension)
    rng = np.random.default_rng(dimension)
    angles = rng.uniform(0.01, 3.1, 12)
    direct = np.array([_law_at(angle, dimension) for angle in angles])
    np.testing.assert_allclose(_interpolated(angles, *table), direct, rtol=1e-3, atol=1e-9)
    assert _interpolated(np.array([np.pi / 2]), *table)[0] == pytest.approx(1 / (2 * dimension), rel=1e-8)
    n = 6_000_000 // dimension
    for rho in (0.95, 0.6, 0.2):
        u = rng.standard_normal((n // 4, dimension), dtype=np.float32)
        v = rho * u + np.sqrt(1 - rho**2) * rng.standard_normal(u.shape, dtype=np.float32)
        places = [np.abs(w).argmax(axis=1) for w in (u, v)]
        rows = np.arange(len(u))
        agreed = ((places[0] == places[1]) & (u[rows, places[0]] * v[rows, places[1]] > 0)).mean()
        p = _interpolated(np.array([np.arccos(rho)]), *table)[0]
        assert agreed == pytest.approx(p, abs=4 * np.sqrt(p / len(u)))


def test_cross_polytope_gives_the_largest_projection_and_its_sign():
    family = make_family("cross-polytope", dim=20, n_hashes=2, n_tables=5, dimension=8)
    x = np.random.default_rng(0).standard_normal((30, 20)).astype(np.float32)
    margins, codes = family.margins(x), hash_rows(family, x)
    for k in range(2):
        vertex = codes >> (4 * k) & 15
        chosen = np.take_along_axis(margins[:, k], (vertex >> 1)[:, None].astype(np.int64), axis=1)[:, 0]
        assert (np.abs(chosen) == np.abs(margins[:, k]).max(axis=1)).all()
        assert ((chosen < 0) == (vertex & 1)).all()


def by_enumeration(q, x, window):
    """The rate at which a WTA hash agrees, over all ordered windows."""
    agreed = [
        np.argmax(q[list(chosen)]) == np.argmax(x[list(chosen)])
        for chosen in itertools.permutations(range(len(q)), window)
    ]
    return np.mean(agreed)


@pytest.mark.parametrize("window", [2, 4])
@pytest.mark.parametrize("seed", range(6))
def test_concordance_is_the_enumeration(window, seed):
    rng = np.random.default_rng(seed)
    q, x = (rng.integers(-3, 4, (2, 7)) * (rng.random((2, 7)) < [0.2, 0.5, 1][seed % 3])).astype(np.float32)
    pair = [(np.flatnonzero(row), row[row != 0]) for row in (q, x)]
    assert concordance(*pair, 7, window) == pytest.approx(by_enumeration(q, x, window), abs=1e-12)


def test_codes_of_wta_agree_at_the_rate_of_independent_hashes():
    rng = np.random.default_rng(1)
    q = rng.standard_normal((1, 32)).astype(np.float32)
    x = (q + 0.7 * rng.standard_normal((1, 32))).astype(np.float32)
    family = make_family("wta", dim=32, n_hashes=4, n_tables=60_000, window=8)
    p = family.collision_probability(family.similarity_of(q, x))[0]
    agreed = (hash_rows(family, q) == hash_rows(family, x)).mean()
    assert agreed == pytest.approx(p**4, abs=4 * np.sqrt(p**4 * (1 - p**4) / 60_000))
