"""The law of probing, conditional on the query: calibrated, exact for each flip set, unbiased in sums."""

import itertools

import numpy as np
import pytest
import scipy.sparse as sp
from lshsample_families._vertex_law import vertices_probability
from lshsample_families.e2lsh import _step_law
from lshsample_families.simhash import flips_probability

from lshsample import AtLeast, HashTables, Retrieve, Uniform, laws
from lshsample.errors import UnsupportedError
from lshsample.hashing import hash_rows, probe_rows
from lshsample.registry import make_family

DIM = 20
PROJECTIONS = ["gaussian", "hadamard"]


def pairs_around(q, cosines, seed=1):
    """Rows at given cosines to q."""
    other = np.random.default_rng(seed).standard_normal((len(cosines), len(q)))
    unit = q / np.linalg.norm(q)
    other -= (other @ unit)[:, None] * unit
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    cosines = np.asarray(cosines)[:, None]
    return (3 * (cosines * unit + np.sqrt(1 - cosines**2) * other)).astype(np.float32)


def bins_within_limits(stated, found):
    """Check the fraction found in each bin of the stated probability; returns the number of bins checked."""
    bins, checked = np.digitize(stated, np.linspace(0, 1, 11)), 0
    for b in np.unique(bins):
        p, hit = stated[bins == b], found[bins == b]
        if len(p) > 300:
            allowed = 3.2905 * np.sqrt((p * (1 - p)).sum()) + 0.5
            assert abs(hit.sum() - p.sum()) < 1.25 * allowed, f"bin {b}: {hit.mean()} against {p.mean()}"
            checked += 1
    return checked


def queries(n, seed=0):
    return np.random.default_rng(seed).standard_normal((n, DIM)).astype(np.float32)


@pytest.mark.parametrize("projection", PROJECTIONS)
@pytest.mark.parametrize("kind", ["dense", "csr"])
def test_rows_are_found_at_the_rate_of_the_law_in_every_bin(projection, kind):
    """In bins of the stated probability, the fraction found is within its 99.9 % interval."""
    q = queries(1)
    x = pairs_around(q[0], np.linspace(-0.6, 0.98, 12))
    q, x = (sp.csr_array(q), sp.csr_array(x)) if kind == "csr" else (q, x)
    stated, found = [], []
    for seed in range(120):
        family = make_family("simhash", dim=DIM, n_hashes=6, n_tables=16, seed=seed, projection=projection)
        codes = hash_rows(family, x, threads=1)
        probes = probe_rows(family, q, 5, threads=1)[0]
        stated.append(family.probe_probability(*(hold(family, r) for r in (q, x)), 5))
        found.append((codes[:, :, None] == probes).any(axis=2))
    stated, found = np.concatenate(stated).ravel(), np.concatenate(found).ravel()
    assert bins_within_limits(stated, found) >= 6


def hold(family, rows):
    from lshsample.hashing import checked_rows

    return checked_rows(family, rows)


def test_the_flip_sets_of_all_codes_have_probability_one():
    z = np.abs(np.random.default_rng(0).standard_normal((3, 4)))
    cosines = np.array([-1, -0.4, 0, 0.7, 1])
    flips = np.tile(np.arange(16, dtype=np.uint32), (3, 1))
    assert flips_probability(z, cosines, flips) == pytest.approx(np.ones((5, 3)))
    own = flips_probability(z, cosines, flips[:, :1])
    assert (np.diff(own, axis=0) >= 0).all()
    assert own[4].tolist() == [1, 1, 1]
    assert own[0].tolist() == [0, 0, 0]
    zero = flips_probability(np.zeros((1, 4)), np.array([1.0]), flips[:1, :1])
    assert zero[0, 0] == pytest.approx(1 / 16)


def test_the_mean_over_queries_margins_is_the_law_of_a_code():
    """With one probe, the mean of the law conditional on the margins is p^K."""
    q = queries(1)
    x = pairs_around(q[0], [0.2, 0.6, 0.9])
    family = make_family("simhash", dim=DIM, n_hashes=4, n_tables=20_000, projection="gaussian")
    given = family.probe_probability(q, x, 1)
    expected = family.code_probability(family.similarity_of(np.repeat(q, 3, axis=0), x))
    assert np.abs(given.mean(axis=1) - expected) == pytest.approx(0, abs=4 * given.std() / 20_000**0.5)


def test_poisson_binomial_tail():
    p = np.random.default_rng(0).random((3, 6))
    for m in range(1, 8):
        expected = np.zeros(3)
        for outcome in itertools.product([0, 1], repeat=6):
            if sum(outcome) >= m:
                expected += np.where(outcome, p, 1 - p).prod(axis=1)
        assert laws.tables_inclusion(p, m) == pytest.approx(expected)
    equal = np.full(9, 0.3)
    assert laws.tables_inclusion(equal, 3) == pytest.approx(laws.at_least_inclusion(0.3, 9, 3))


@pytest.mark.parametrize("text", ["union", "at-least"])
@pytest.mark.parametrize("projection", PROJECTIONS)
def test_sums_are_unbiased_with_probes(text, projection):
    q = queries(2)
    x = np.concatenate([pairs_around(q[0], np.linspace(-0.3, 0.95, 30)), queries(20, seed=9)])
    values = np.random.default_rng(3).random(len(x))
    totals = []
    for seed in range(120):
        family = make_family("simhash", dim=DIM, n_hashes=5, n_tables=8, seed=seed, projection=projection)
        stages = Retrieve(HashTables(family, threads=1).build(x), probes=4)
        if text == "at-least":
            stages = stages | AtLeast(2)
        sampler = (stages | Uniform(4)).bind(n_items=len(x))
        active = sampler.sample(q, law="marginal", seed=seed, threads=1)
        weights = values[active.ids] / np.exp(active.log_inclusion)
        totals.append([weights[: active.indptr[1]].sum(), weights[active.indptr[1] :].sum()])
    error = np.std(totals, axis=0) / len(totals) ** 0.5
    assert (np.abs(np.mean(totals, axis=0) - values.sum()) < 4 * error).all()
    assert (error < 0.08 * values.sum()).all()


def test_four_tables_with_four_probes_are_as_good_as_twelve():
    """Measured: relative deviations 0.046 (4 tables, 4 probes) and 0.055 (12 tables, 1 probe)."""
    q = queries(1)
    x = pairs_around(q[0], np.linspace(0.3, 0.95, 40))
    deviation = {}
    for n_tables, probes in ((4, 4), (12, 1)):
        sums = []
        for seed in range(200):
            family = make_family(
                "simhash", dim=DIM, n_hashes=4, n_tables=n_tables, seed=seed, projection="gaussian"
            )
            tables = family.probe_probability(q, x, probes)
            pi = laws.tables_inclusion(tables) if probes > 1 else np.array(
                laws.union_inclusion(family.pair_code_probability(np.repeat(q, 40, axis=0), x), n_tables)
            )  # fmt: skip
            codes, looked = hash_rows(family, x, threads=1), probe_rows(family, q, probes, threads=1)[0]
            found = (codes[:, :, None] == looked).any(axis=(1, 2))
            sums.append((found / pi).sum())
        assert np.mean(sums) == pytest.approx(40, abs=4 * np.std(sums) / 200**0.5)
        deviation[n_tables] = np.std(sums) / 40
    assert deviation[4] < 1.2 * deviation[12]


def test_families_without_a_law_of_probes_raise():
    q = queries(1)
    for family in (
        make_family("dwta", dim=DIM, n_hashes=2, window=4),
        make_family("simhash", dim=DIM, projection="sparse"),
        make_family("e2lsh", dim=DIM, projection="sparse"),
        make_family("cross-polytope", dim=DIM, projection="sparse"),
    ):
        with pytest.raises(UnsupportedError, match="the probability that probes find a row"):
            family.probe_probability(q, q, 2)


def test_a_query_of_zeros():
    q = np.zeros((1, DIM), np.float32)
    family = make_family("simhash", dim=DIM, n_hashes=3, n_tables=2, projection="gaussian")
    assert family.probe_probability(q, queries(4), 2) == pytest.approx(np.full((4, 2), 2 / 8))


def at_distances(q, distances, seed=1):
    """Rows at given distances from q."""
    way = np.random.default_rng(seed).standard_normal((len(distances), len(q)))
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    return (q + np.asarray(distances)[:, None] * way).astype(np.float32)


@pytest.mark.parametrize("projection", PROJECTIONS)
@pytest.mark.parametrize(("bits", "probes"), [(8, 6), (2, 6), (1, 3)])
def test_rows_are_found_by_distance_at_the_rate_of_the_law_in_every_bin(projection, bits, probes):
    """E2LSH; with few bits, bucket numbers wrap around within these distances."""
    q = queries(1)
    x = at_distances(q[0], np.geomspace(0.2, 14, 12))
    stated, found = [], []
    for seed in range(160):
        family = make_family("e2lsh", dim=DIM, n_hashes=3, n_tables=16, bits=bits, width=2.5, seed=seed,
                             projection=projection)  # fmt: skip
        looked = probe_rows(family, q, probes, threads=1)[0]
        stated.append(family.probe_probability(q, x, probes))
        found.append((hash_rows(family, x, threads=1)[:, :, None] == looked).any(axis=2))
    stated, found = np.concatenate(stated).ravel(), np.concatenate(found).ravel()
    assert bins_within_limits(stated, found) >= 5


def test_steps_of_e2lsh_are_floors_of_normal_numbers():
    rng, period = np.random.default_rng(0), 8
    within, normal = np.array([[0.03, 0.5], [0.7, 0.999]]), rng.standard_normal(400_000)
    ratios = np.array([0.0, 0.05, 0.6, 3.0, 7.9, 8.1, 1e9])
    law = _step_law(ratios, within, np.arange(8.0), period)
    assert law.sum(axis=-1) == pytest.approx(np.ones((7, 2, 2)), abs=1e-8)
    for i, ratio in enumerate(ratios):
        for place in np.ndindex(2, 2):
            steps = np.floor(within[place] + ratio * normal).astype(np.int64) % period
            seen = np.bincount(steps, minlength=8) / len(normal)
            p = law[(i, *place)]
            assert (np.abs(seen - p) <= 4.5 * np.sqrt(p * (1 - p) / len(normal)) + 1e-8).all()


def test_the_mean_over_fractions_is_the_law_of_a_code_of_e2lsh():
    q = queries(1)
    x = at_distances(q[0], [0.5, 2.0, 6.0, 40.0])
    family = make_family("e2lsh", dim=DIM, n_hashes=2, n_tables=20_000, bits=3, projection="gaussian")
    given = family.probe_probability(q, x, 1)
    expected = family.code_probability(family.similarity_of(np.repeat(q, 4, axis=0), x))
    assert np.abs(given.mean(axis=1) - expected) == pytest.approx(0, abs=4 * given.std() / 20_000**0.5)


def test_all_codes_of_e2lsh_have_probability_one():
    q = queries(1)
    x = np.concatenate([q, at_distances(q[0], [0.5, 9.0, 200.0])])
    family = make_family("e2lsh", dim=DIM, n_hashes=3, n_tables=4, bits=2)
    assert family.probe_probability(q, x, 64) == pytest.approx(np.ones((4, 4)))
    assert family.probe_probability(q, x, 1)[0].tolist() == [1] * 4


@pytest.mark.parametrize("projection", PROJECTIONS)
@pytest.mark.parametrize("name", ["e2lsh", "cross-polytope"])
def test_sums_are_unbiased_with_probes_of_many_valued_hashes(name, projection):
    q = queries(2)
    x = np.concatenate([at_distances(q[0], np.geomspace(0.3, 9, 30)), queries(20, seed=9)])
    values = np.random.default_rng(3).random(len(x))
    totals = []
    for seed in range(120):
        options = {"n_hashes": 3, "bits": 4} if name == "e2lsh" else {"n_hashes": 1, "dimension": 8}
        family = make_family(name, dim=DIM, n_tables=8, seed=seed, projection=projection, **options)
        tables = HashTables(family, threads=1).build(x)
        sampler = (Retrieve(tables, probes=4) | Uniform(4)).bind(n_items=len(x))
        active = sampler.sample(q, law="marginal", seed=seed, threads=1)
        weights = values[active.ids] / np.exp(active.log_inclusion)
        totals.append([weights[: active.indptr[1]].sum(), weights[active.indptr[1] :].sum()])
    error = np.std(totals, axis=0) / len(totals) ** 0.5
    assert (np.abs(np.mean(totals, axis=0) - values.sum()) < 4 * error).all()
    assert (error < 0.08 * values.sum()).all()


@pytest.mark.parametrize("projection", PROJECTIONS)
@pytest.mark.parametrize(("dimension", "probes"), [(4, 6), (16, 9)])
def test_rows_are_found_by_vertices_at_the_rate_of_the_law_in_every_bin(projection, dimension, probes):
    """Cross-polytope."""
    q = queries(1)
    x = pairs_around(q[0], np.linspace(-0.6, 0.98, 12))
    stated, found = [], []
    for seed in range(100):
        family = make_family("cross-polytope", dim=DIM, n_hashes=2, n_tables=16, dimension=dimension,
                             seed=seed, projection=projection)  # fmt: skip
        looked = probe_rows(family, q, probes, threads=1)[0]
        stated.append(family.probe_probability(q, x, probes))
        found.append((hash_rows(family, x, threads=1)[:, :, None] == looked).any(axis=2))
    stated, found = np.concatenate(stated).ravel(), np.concatenate(found).ravel()
    assert bins_within_limits(stated, found) >= 5


def test_the_probabilities_of_the_vertices_of_a_hash_add_up_to_one():
    """For all angles, also with equal coordinates and a query of zeros."""
    rng = np.random.default_rng(0)
    cosines = np.array([-1, -0.99, -0.5, 0, 0.3, 0.9, 0.9999, 1 - 1e-9, 1])
    for dimension in (2, 8, 64, 256):
        z = rng.standard_normal((2, 2, dimension))
        z[0, 0] = 0
        z[1, 0, 1] = z[1, 0, 0]
        vertices = np.tile(np.arange(2 * dimension, dtype=np.uint32), (2, 2, 1))
        law = vertices_probability(z, cosines, vertices)
        assert law.sum(axis=-1) == pytest.approx(np.ones((9, 2, 2)), abs=1e-7)
        assert law[:, 0, 0] == pytest.approx(np.full((9, 2 * dimension), 0.5 / dimension), abs=1e-7)
        own = 2 * np.abs(z[1, 1]).argmax() + (z[1, 1][np.abs(z[1, 1]).argmax()] < 0)
        assert law[[0, 8], 1, 1, [own ^ 1, own]].tolist() == pytest.approx([1, 1], abs=1e-9)
    assert vertices_probability(z, cosines[:0], vertices).shape == (0, 2, 2, 512)


def test_the_mean_over_coordinates_is_the_law_of_a_code_of_cross_polytope():
    q = queries(1)
    x = pairs_around(q[0], [0.2, 0.6, 0.9])
    family = make_family(
        "cross-polytope", dim=DIM, n_hashes=2, n_tables=4000, dimension=8, projection="gaussian"
    )
    given = family.probe_probability(q, x, 1)
    expected = family.code_probability(family.similarity_of(np.repeat(q, 3, axis=0), x))
    assert np.abs(given.mean(axis=1) - expected) == pytest.approx(0, abs=4 * given.std() / 4000**0.5)
