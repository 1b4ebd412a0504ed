"""Product quantization: codes of the nearest centroids, which k-means learns, and probes by distance."""

import numpy as np
import pytest

from lshsample import HashTables, hash_rows, make_family
from lshsample.errors import ArgumentError, UnsupportedError

DIM = 9


def clusters(n, seed):
    """Rows near 8 centres in each half, and the centre of each row in each half."""
    rng = np.random.default_rng(seed)
    centres = 10 * np.random.default_rng(1).standard_normal((2, 8, DIM))
    chosen = rng.integers(8, size=(2, n))
    edge = DIM // 2
    rows = np.hstack([centres[0][chosen[0], :edge], centres[1][chosen[1], edge:]])
    return (rows + 0.01 * rng.standard_normal((n, DIM))).astype(np.float32), chosen


def test_codes_are_the_clusters_of_each_half():
    rows, chosen = clusters(2000, 0)
    family = make_family("product-quantization", dim=DIM, bits=5, iterations=20).fit(rows)
    codes = hash_rows(family, rows)[:, 0]
    for k in range(2):
        value = codes >> (5 * k) & 31
        # Some clusters have several of the 32 centroids, none shares one.
        for one in np.unique(value):
            assert len(set(chosen[k][value == one])) == 1


def test_codes_and_probes_are_the_nearest_of_all_combinations():
    rows = np.random.default_rng(2).standard_normal((300, DIM)).astype(np.float32)
    family = make_family("product-quantization", dim=DIM, n_hashes=2, n_tables=2, bits=2).fit(rows)
    books, edge = family.codebooks.astype(np.float64), DIM // 2
    assert books.shape == (2, 4, DIM)
    assert not np.array_equal(books[0], books[1])
    probes = family.probe(rows[:20], 16)
    for table in range(2):
        sums = np.array([np.r_[books[table][c & 3, :edge], books[table][c >> 2, edge:]] for c in range(16)])
        distances = np.square(rows[:20, None] - sums).sum(axis=2)
        np.testing.assert_array_equal(probes[:, table], np.argsort(distances, axis=1))
        np.testing.assert_array_equal(hash_rows(family, rows[:20])[:, table], distances.argmin(axis=1))
        values = probes[0, table, 0] & 3, probes[0, table, 0] >> 2
        products = family.products(rows[:1])[0, table]
        assert products[0, values[0]] + products[1, values[1]] == pytest.approx(
            rows[0] @ sums[probes[0, table, 0]], rel=1e-5
        )


def test_more_centroids_lose_less():
    rows = np.random.default_rng(3).standard_normal((2000, DIM)).astype(np.float32)
    losses = []
    for bits, iterations in ((2, 1), (2, 10), (5, 10)):
        family = make_family("product-quantization", dim=DIM, bits=bits, iterations=iterations).fit(rows)
        own = np.take_along_axis(family._costs(rows), family._costs(rows).argmin(axis=3)[..., None], axis=3)
        losses.append(float(own.sum(axis=(1, 2, 3)).mean() + np.square(rows).sum(axis=1).mean()))
    assert losses[0] > losses[1] > losses[2] > 0


def test_a_build_learns_once_and_a_rehash_again():
    rows = np.random.default_rng(4).standard_normal((400, DIM)).astype(np.float32)
    family = make_family("product-quantization", dim=DIM, bits=3)
    with pytest.raises(ArgumentError, match=r"codebooks must be learned centroids.* \(got nothing\)"):
        family.hash(rows)
    tables = HashTables(family).build(rows)
    learned = tables.family
    assert learned.is_fitted
    assert learned == family.fit(rows)
    assert tables.rebuild(rows + 1).family == learned
    assert not learned.with_seed(7).is_fitted
    few = HashTables(make_family("product-quantization", dim=DIM, bits=4)).build(rows[:3])
    assert few.query(rows[1:2]).ids.tolist() == [1]


def test_bad_options_are_refused():
    with pytest.raises(ArgumentError, match=r"n_hashes must be at most dim, 3 \(got 4\)"):
        make_family("product-quantization", dim=3, n_hashes=4)
    with pytest.raises(ArgumentError, match="a code has at most 32 bits"):
        make_family("product-quantization", dim=40, n_hashes=7)
    with pytest.raises(ArgumentError, match="codebooks must be"):
        make_family("product-quantization", dim=4, codebooks="AAAA")
    family = make_family("product-quantization", dim=3)
    with pytest.raises(ArgumentError, match="no rows"):
        family.fit(np.zeros((0, 3), np.float32))
    with pytest.raises(UnsupportedError, match="no collision probability"):
        family.similarity_of(np.ones((1, 3)), np.ones((1, 3)))
