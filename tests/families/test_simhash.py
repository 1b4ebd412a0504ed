"""SimHash: its transforms, edge rows, probing order and options."""

import itertools
import tracemalloc

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp
from lshsample_families import _draws
from lshsample_families._projections import Hadamard, row_scales

from lshsample.errors import ArgumentError
from lshsample.hashing import hash_rows, probe_rows
from lshsample.registry import make_family

PROJECTIONS = ("gaussian", "hadamard", "sparse")


@pytest.mark.parametrize("projection", PROJECTIONS)
@pytest.mark.parametrize("n_hashes", [1, 7, 32])
def test_a_row_of_zeros_has_the_code_of_ones(projection, n_hashes):
    family = make_family("simhash", dim=9, n_hashes=n_hashes, n_tables=3, projection=projection)
    rows = np.array([[0.0] * 9, [-0.0] * 9], np.float32)
    for given in (rows, sp.csr_array(rows), sp.csr_array((2, 9), dtype=np.float32)):
        assert (hash_rows(family, given) == 2**n_hashes - 1).all()


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_codes_do_not_change_with_the_length_of_a_row(projection):
    rng = np.random.default_rng(1)
    x = rng.integers(-8, 9, (40, 24)).astype(np.float32)
    family = make_family("simhash", dim=24, n_hashes=8, n_tables=9, projection=projection)
    codes = hash_rows(family, x)
    for power in (-120, -3, 1, 120):
        assert (hash_rows(family, x * np.float32(2.0) ** power) == codes).all()


@pytest.mark.parametrize(("dim", "n_tables"), [(3, 5), (64, 64), (100, 70), (257, 3), (64, 200)])
def test_hadamard_margins_are_the_matrix_product(dim, n_tables):
    projection = Hadamard(dim, 3, n_tables, 4)
    x = np.random.default_rng(0).standard_normal((6, dim)).astype(np.float32)
    size = projection.size
    h = scipy.linalg.hadamard(size).astype(np.float64)
    padded = np.zeros((6, size))
    padded[:, :dim] = x * row_scales(x)[:, None]
    spread = padded * projection.first_signs @ h * projection.second_signs @ h
    margins = projection.margins(x)
    for table, k in itertools.product(range(n_tables), range(3)):
        group, place = divmod(table, projection.outputs)
        block = group * 3 + k
        row = h[projection.permutations[block, place]]
        expected = spread @ (projection.diagonals[block] * row)
        np.testing.assert_allclose(
            margins[:, k, table], expected, rtol=0, atol=1e-5 * np.abs(spread).max() * size**0.5
        )


@pytest.mark.parametrize("n_hashes", [1, 2, 5, 9])
def test_probes_come_in_the_order_of_all_flip_sets(n_hashes):
    family = make_family("simhash", dim=12, n_hashes=n_hashes, n_tables=3, seed=2)
    q = np.random.default_rng(3).standard_normal((5, 12)).astype(np.float32)
    n_probes = min(40, 2**n_hashes)
    codes, margins = probe_rows(family, q, n_probes), family.margins(q)
    for row, table in itertools.product(range(5), range(3)):
        z = margins[row, :, table]
        own = sum(1 << k for k in range(n_hashes) if z[k] >= 0)
        costs = {own ^ flips: sum(float(z[k]) ** 2 for k in range(n_hashes) if flips >> k & 1)
                 for flips in range(2**n_hashes)}  # fmt: skip
        np.testing.assert_allclose(
            [costs[code] for code in codes[row, table]], sorted(costs.values())[:n_probes], rtol=1e-5
        )


def test_many_probes():
    family = make_family("simhash", dim=30, n_hashes=16, n_tables=1, seed=2)
    q = np.random.default_rng(3).standard_normal((2, 30)).astype(np.float32)
    codes = probe_rows(family, q, 3000)
    assert (codes == family.probe(q, 3000)).all()
    assert len(np.unique(codes[0])) == 3000


def test_probes_find_the_bucket_of_a_near_row_sooner_than_chance():
    rng = np.random.default_rng(5)
    q = rng.standard_normal((400, 32)).astype(np.float32)
    x = (q + 0.5 * rng.standard_normal(q.shape)).astype(np.float32)
    family = make_family("simhash", dim=32, n_hashes=10, n_tables=4)
    found = (probe_rows(family, q, 10) == hash_rows(family, x)[:, :, None]).any(axis=2).mean()
    own = (hash_rows(family, q) == hash_rows(family, x)).mean()
    assert found > 2.5 * own


def test_options_are_checked():
    with pytest.raises(ArgumentError, match=r"projection must be one of .* \(got 'fourier'\)"):
        make_family("simhash", dim=4, projection="fourier")
    for density in (0, 1.5, float("nan"), "1", True):
        with pytest.raises(ArgumentError, match="density"):
            make_family("simhash", dim=4, density=density)
    with pytest.raises(ArgumentError, match='"gaussian" or "sparse" take more'):
        make_family("simhash", dim=70_000)
    with pytest.raises(ArgumentError, match='the matrix of projection "gaussian" has at most 4096 MiB'):
        hash_rows(
            make_family("simhash", dim=10**7, n_tables=100, projection="gaussian"),
            sp.csr_array((1, 10**7), dtype="f4"),
        )
    with pytest.raises(ArgumentError, match=r"density.*projection lists"):
        hash_rows(
            make_family("simhash", dim=10**8, n_tables=100, projection="sparse"),
            sp.csr_array((1, 10**8), dtype="f4"),
        )


def test_a_million_columns():
    dim = 1_000_000
    family = make_family("simhash", dim=dim, n_hashes=6, n_tables=4, projection="sparse", density=1 / 16)
    x = sp.random_array((20, dim), density=2e-3, format="csr", dtype=np.float32, rng=np.random.default_rng(0))
    assert (hash_rows(family, x) == family.hash(x)).all()


@pytest.mark.parametrize("density", [0.01, 1 / 3, 1.0])
def test_signs_and_density_of_sparse_directions(density):
    family = make_family("simhash", dim=500, n_hashes=4, n_tables=50, projection="sparse", density=density)
    entries = family._projection.entries
    assert abs(len(entries) - density * 100_000) <= 4 * np.sqrt(100_000 * density * (1 - density))
    assert abs((entries & 1).mean() - 0.5) < 4 * 0.5 / np.sqrt(len(entries))
    # The signs of coordinates are independent: a direction has both.
    both = [np.unique(entries[entries >> 1 == margin] & 1).size for margin in range(200) if density > 0.1]
    assert all(size == 2 for size in both)


@pytest.mark.parametrize("count", [0, 1, 2, 7, 10, 101])
def test_gaussians_do_not_depend_on_the_blocks_that_they_are_made_in(count, monkeypatch):
    monkeypatch.setattr(_draws, "_BLOCK", 3)
    half = (count + 1) // 2
    uniform = ((_draws.words(5, 3, 2 * half) >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    radius, angle = np.sqrt(-2 * np.log(uniform[:half])), 2 * np.pi * uniform[half:]
    expected = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count].astype(np.float32)
    assert (_draws.gaussians(5, 3, count) == expected).all()


def test_drawing_a_matrix_takes_little_more_memory_than_the_matrix():
    _draws.gaussians(5, 3, 8)
    tracemalloc.start()
    matrix = _draws.gaussians(5, 3, 20_000_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * matrix.nbytes
