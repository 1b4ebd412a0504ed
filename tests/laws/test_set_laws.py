"""Laws of MinHash and consistent weighted sampling: bits, densification, dependence, weights."""

import numpy as np
import pytest
from lshsample_families._sets import jaccard, weighted_jaccard
from lshsample_families.icws import logarithm
from lshsample_families.minhash import MinHashSpec

from lshsample.hashing import hash_rows
from lshsample.registry import make_family


def pair_of_sets(size, shared, dim=4000):
    x = np.zeros((2, dim), np.float32)
    x[0, :size] = x[1, size - shared : 2 * size - shared] = 1
    return x


def agreement(name, x, seeds, **options):
    """Fractions of hashes and of codes that agree under each seed: (seeds, 2)."""
    rates = []
    for seed in seeds:
        family = make_family(name, dim=x.shape[1], seed=seed, **options)
        codes = hash_rows(family, x, threads=1)
        differing = codes[0] ^ codes[1]
        each = differing[:, None] >> np.arange(family.n_hashes, dtype=np.uint32) * np.uint32(
            family.bits_per_hash
        )
        rates.append([(each & np.uint32(2**family.bits_per_hash - 1) == 0).mean(), (differing == 0).mean()])
    return np.array(rates)


def assert_rates(rates, p, code):
    error = 3.9 * rates.std(axis=0, ddof=1) / np.sqrt(len(rates)) + 1e-9
    assert abs(rates[:, 0].mean() - p) <= error[0]
    assert abs(rates[:, 1].mean() - code) <= error[1]


@pytest.mark.parametrize("bits", [1, 2, 5, 16])
@pytest.mark.parametrize("method", ["permutation-free", "doph"])
def test_short_hashes_add_accidental_collisions(method, bits):
    x = pair_of_sets(20, 8)
    p = 0.25 + 0.75 / 2**bits
    rates = agreement("minhash", x, range(400), method=method, bits=bits, n_hashes=2, n_tables=64)
    assert_rates(rates, p, p**2)


@pytest.mark.parametrize(("size", "shared"), [(1, 0), (2, 1), (5, 4), (60, 20)])
def test_codes_of_doph_obey_the_power_law_for_sets_of_any_size(size, shared):
    """With one permutation for all hashes of a code they would not: for tiny sets hashes would be copies."""
    j = shared / (2 * size - shared)
    p = j + (1 - j) / 2**10
    rates = agreement("minhash", pair_of_sets(size, shared), range(600), method="doph", bits=10, n_hashes=3)
    assert_rates(rates, p, p**3)


def test_tables_of_doph_are_dependent_for_small_sets_as_documented():
    hits = {}
    for method in ("permutation-free", "doph"):
        rates = agreement("minhash", pair_of_sets(2, 1), range(1500), method=method, n_hashes=2, n_tables=32)
        hits[method] = (rates[:, 1] > 0).mean()
    independent = 1 - (1 - (1 / 3 + 2 / 3 / 256) ** 2) ** 32
    assert hits["permutation-free"] == pytest.approx(independent, abs=0.015)
    assert hits["doph"] == pytest.approx(0.936, abs=0.025)


def test_consecutive_columns_are_as_good_as_scattered_ones():
    """Orders are linear functions of hashed words, so that arithmetic series of columns do not matter."""
    for step in (1, 2, 64, 1024):
        x = np.zeros((2, 60_000), np.float32)
        x[0, np.arange(30) * step] = x[1, np.arange(15, 45) * step] = 1
        rates = agreement("minhash", x, range(120), bits=8, n_hashes=4, n_tables=64)
        p = 1 / 3 + 2 / 3 / 256
        assert_rates(rates, p, p**4)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e20])
def test_weighted_samples_agree_at_the_rate_of_the_weighted_similarity(scale):
    rng = np.random.default_rng(3)
    x = (rng.random((2, 30)) ** 4 * scale).astype(np.float32)
    j = weighted_jaccard(x[:1], x[1:])[0]
    assert j == pytest.approx(np.minimum(*x.astype(float)).sum() / np.maximum(*x.astype(float)).sum())
    p = j + (1 - j) / 256
    assert_rates(agreement("icws", x, range(300), n_hashes=4, n_tables=64), p, p**4)


def test_a_row_and_its_double_have_half_the_weight_in_common():
    x = np.abs(np.random.default_rng(0).standard_normal((1, 50))).astype(np.float32)
    x = np.concatenate([x, 2 * x])
    assert weighted_jaccard(x[:1], x[1:])[0] == pytest.approx(0.5)
    assert_rates(agreement("icws", x, range(300), bits=16, n_hashes=2), 0.5, 0.25)


def test_positive_and_negative_parts_are_separate_coordinates():
    q, x = np.float32([[1, -2, 0, 3]]), np.float32([[1, 2, 0, 1]])
    assert weighted_jaccard(q, x)[0] == pytest.approx((1 + 1) / (1 + 2 + 2 + 3))


def test_sets_and_their_similarity():
    x = np.float32([[3, -1, 0, 2, 2, 0.5], [0, 1, 0, 2, 0, 9], [0] * 6])
    spec = {kind: MinHashSpec(dim=6, sets=kind, set_size=2) for kind in ("nonzero", "threshold", "top")}
    assert jaccard(x[:1], x[1:2], spec["nonzero"]) == pytest.approx([3 / 5])
    assert jaccard(x[:1], x[1:2], spec["threshold"]) == pytest.approx([2 / 5])
    assert jaccard(x[:1], x[1:2], spec["top"]) == pytest.approx([1 / 3])  # {0, 3} and {5, 3}
    assert jaccard(x[2:], x[2:], spec["top"]) == [1]
    assert jaccard(x[:1], x[2:], spec["top"]) == [0]


def test_logarithm():
    x = np.concatenate([np.geomspace(1.2e-38, 3e38, 10_001), 1 + np.linspace(-0.4, 0.5, 999)]).astype(
        np.float32
    )
    expected = np.log(x.astype(np.float64))
    np.testing.assert_allclose(logarithm(x), expected, rtol=3e-7, atol=1e-7)
