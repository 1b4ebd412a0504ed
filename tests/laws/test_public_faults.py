"""Mistakes of public hashing and sampling code: each is simulated and detected by a check that ours passes.

Other mistakes have such tests in other files: reservoirs that accept with 1/count, first-in-first-out buckets
and random numbers shared by buckets in ``test_bounded_buckets.py``; candidates cut in storage order, vanilla
weighted by the visited tables, top-k weighted as a union in ``test_faulty_samplers.py``; stages that draw
without the given seed, or by the number of threads, in ``test_stage_plugins.py``.
"""

import itertools

import numpy as np
import pytest

from lshsample import HashTables, Rehash, Retrieve, Uniform, laws, make_family
from lshsample.errors import PluginError
from lshsample.plugin import FamilySpec, HashFamily

# ---- a sign for each bin instead of each coordinate ----

DIM, HASHES = 200, 20_000


def pairs_of(kind):
    rng = np.random.default_rng(4)
    x, q = rng.standard_normal((2, DIM))
    if kind == "non-negative":
        x, q = np.maximum(x, 0), np.maximum(q, 0)
    elif kind == "disjoint support":
        x[: DIM // 2], q[DIM // 2 :] = 0, 0
    elif kind == "very sparse":
        x, q = np.zeros((2, DIM))
        x[:8], q[4:12] = 1, 1
    return x.astype(np.float32), q.astype(np.float32)


def bits_with_signs_of(what, rows):
    """Sparse signed projections with a sign for each coordinate, or for the whole bin."""
    rng = np.random.default_rng(0)
    bits = np.empty((2, HASHES), bool)
    for number in range(HASHES):
        chosen = rng.choice(DIM, DIM // 3, replace=False)
        signs = rng.choice([-1, 1], len(chosen) if what == "coordinate" else 1)
        bits[:, number] = (rows[:, chosen] * signs).sum(axis=1) > 0
    return bits


def our_bits(rows):
    family = make_family("simhash", dim=DIM, n_hashes=10, n_tables=HASHES // 10, projection="sparse")
    codes = family.hash(rows)
    return ((codes[:, :, None] >> np.arange(10, dtype=np.uint32)) & 1).reshape(2, -1).astype(bool)


def agrees_with_the_law(bits, x, q):
    cosine = float(x @ q / np.linalg.norm(x) / np.linalg.norm(q))
    return abs((bits[0] == bits[1]).mean() - (1 - np.arccos(cosine) / np.pi)) < 0.03


@pytest.mark.parametrize("kind", ["non-negative", "very sparse"])
def test_a_sign_for_each_bin(kind):
    x, q = pairs_of(kind)
    rows = np.stack([x, q])
    assert agrees_with_the_law(our_bits(rows), x, q)
    assert agrees_with_the_law(bits_with_signs_of("coordinate", rows), x, q)
    assert not agrees_with_the_law(bits_with_signs_of("bin", rows), x, q)


def test_signs_on_disjoint_supports():
    x, q = pairs_of("disjoint support")
    assert agrees_with_the_law(our_bits(np.stack([x, q])), x, q)


# ---- the natural logarithm instead of log2 ----


def packed(values, bits):
    """Codes of rows of hash values, with ``bits`` bits per hash."""
    return (values << (bits * np.arange(values.shape[1]))).sum(axis=1)


def test_codes_packed_by_the_natural_logarithm_reach_few_buckets():
    window, n_hashes = 8, 6
    values = np.array(list(itertools.product(range(window), repeat=n_hashes)))
    assert len(np.unique(packed(values, int(np.log2(window))))) == 262_144
    assert len(np.unique(packed(values, int(np.log(window))))) == 9_556
    family = make_family("dwta", dim=64, n_hashes=n_hashes, n_tables=1, window=window)
    assert family.code_bits == 18
    rows = np.random.default_rng(0).standard_normal((40_000, 64), dtype=np.float32)
    assert len(np.unique(HashTables(family).build(rows).family.hash(rows))) > 3 * 9_556


# ---- comparing one element and storing another ----


def winners(x, windows, off_by_one):
    """The index of the largest element of each window; the mistake compares the element before."""
    best = np.zeros(len(windows), int)
    for number, window in enumerate(windows):
        for place in range(1, len(window)):
            if x[window[place - off_by_one]] > x[window[best[number]]]:
                best[number] = place
    return best


def test_the_element_that_is_compared_is_the_one_that_is_stored():
    family = make_family("wta", dim=12, n_hashes=1, n_tables=400, window=4)
    x = np.random.default_rng(0).permutation(12).astype(np.float32)
    windows = family._windows.columns.reshape(400, 4)
    expected = x[windows].argmax(axis=1)
    np.testing.assert_array_equal(family.hash(x[None])[0], expected)
    assert (winners(x, windows, 0) == expected).all()
    assert (winners(x, windows, 1) != expected).mean() > 0.5


# ---- hashes from bins of one permutation, assumed independent ----


def test_hashes_from_the_bins_of_one_permutation_are_not_independent():
    rng = np.random.default_rng(2)
    q = rng.standard_normal(32).astype(np.float32)
    x = (q + 0.7 * rng.standard_normal(32)).astype(np.float32)
    orders = rng.permuted(np.tile(np.arange(32), (30_000, 1)), axis=1).reshape(-1, 4, 8)
    same = q[orders].argmax(axis=2) == x[orders].argmax(axis=2)
    p, together = same.mean(), same.all(axis=1).mean()

    def is_power(rate, runs):
        return abs(rate - p**4) < 5 * np.sqrt(p**4 / runs)

    assert not is_power(together, len(orders))
    family = make_family("dwta", dim=32, n_hashes=4, n_tables=30_000, window=8)
    assert is_power((family.hash(q[None]) == family.hash(x[None])).mean(), 30_000)


# ---- the arccosine of a value just above 1 ----


def test_the_arccosine_of_a_cosine_that_is_above_one_by_rounding():
    row = np.full(7, np.float32(0.1)) / np.float32(np.sqrt(0.07))
    cosine = float(np.dot(row.astype(np.float64), row) / np.linalg.norm(row.astype(np.float64)) ** 2)
    above = max(cosine, np.nextafter(1, 2))
    with np.errstate(invalid="ignore"):
        assert np.isnan(1 - np.arccos(above) / np.pi)
    for name in ("simhash", "cross-polytope"):
        assert make_family(name, dim=8).collision_probability([above]).tolist() == [1.0]
    rows = np.tile(row, (5, 1))
    tables = HashTables(make_family("simhash", dim=7, n_hashes=4, n_tables=3)).build(rows)
    assert Retrieve(tables).sample(rows[:1], law="marginal").log_inclusion.tolist() == [0.0] * 5


# ---- codes that are not range-checked ----


class Straying(HashFamily):
    """A plugin's family; with ``strays``, one of its codes has too many bits."""

    similarity = "cosine"
    strays = False

    def hash(self, x):
        codes = np.zeros((x.shape[0], self.n_tables), np.uint32)
        if self.strays and len(codes):
            codes[-1, -1] = 1 << self.code_bits
        return codes

    def collision_probability(self, similarity):
        return np.asarray(similarity, float)


@pytest.mark.parametrize("bucket_size", [None, 4])
@pytest.mark.parametrize(
    "use", ["build", "rehash", "insert", "update", "query", "buckets", "sample", "changed"]
)
def test_codes_out_of_range_are_refused_wherever_they_are_used(use, bucket_size, monkeypatch):
    rows = np.ones((20, 4), np.float32)
    family = Straying(FamilySpec(dim=4, n_hashes=3, n_tables=2))
    tables = HashTables(family, bucket_size=bucket_size).build(rows)
    calls = {
        "build": lambda: HashTables(family, bucket_size=bucket_size).build(rows),
        "rehash": lambda: tables.rehash(rows, 3),
        "insert": lambda: tables.insert([tables.n_ids], rows[:1]),
        "update": lambda: tables.update([3], rows[:1]),
        "changed": lambda: tables.changed([3], rows[:1]),
        "query": lambda: tables.query(rows[:1]),
        "buckets": lambda: tables.buckets(rows[:1]),
        "sample": lambda: Retrieve(tables).sample(rows[:1]),
    }
    if bucket_size and use in ("update", "changed"):
        pytest.skip("bounded tables are not moved")
    calls[use]()
    monkeypatch.setattr(Straying, "strays", True)
    with pytest.raises(PluginError, match="Straying"):
        calls[use]()


# ---- fixed padding, and a fixed period of rehashing ----


def padded(sizes, width):
    return np.full_like(sizes, width)


def test_sets_are_not_padded_to_a_width():
    rows = np.random.default_rng(0).standard_normal((800, 8), dtype=np.float32)
    tables = HashTables(make_family("simhash", dim=8, n_hashes=6, n_tables=5)).build(rows)
    codes = tables.family.hash(rows)
    expected = (codes[:30, None] == codes[None]).any(axis=2).sum(axis=1)
    sizes = np.diff(Retrieve(tables).sample(rows[:30]).indptr)
    np.testing.assert_array_equal(sizes, expected)
    assert (padded(expected, 128) != expected).any()
    both = np.diff((Retrieve() | Uniform(50)).bind(tables=tables).sample(rows[:30]).indptr)
    assert ((expected <= both) & (both <= expected + 50)).all()


def test_rehash_times_follow_the_schedule_and_not_a_period():
    first, growth = 50, 0.3
    gaps = [round(first * np.exp(growth * i)) for i in range(6)]
    expected = np.cumsum(gaps).tolist()

    def times(count):
        return [step for step in range(1, expected[-1] + 1) if count(step) > count(step - 1)]

    assert times(Rehash(first=first, growth=growth).count) == expected
    assert times(lambda step: step // first) != expected
    assert times(Rehash(first=first, growth=0.0).count) == list(range(50, expected[-1] + 1, 50))


# ---- a seed from the clock ----


def test_draws_with_a_seed_from_the_clock_are_not_reproducible():
    def is_reproducible(draw):
        return len({draw(threads).tobytes() for threads in (1, 2, 3, 8) for _ in range(2)}) == 1

    rows = np.random.default_rng(0).standard_normal((3_000, 8), dtype=np.float32)
    family = make_family("simhash", dim=8, n_hashes=3, n_tables=4)
    assert is_reproducible(
        lambda threads: HashTables(family, bucket_size=8, threads=threads).build(rows).state.base.ids
    )
    sampler = (Retrieve(budget=40) | Uniform(30)).bind(tables=HashTables(family).build(rows))
    assert is_reproducible(lambda threads: sampler.sample(rows[:40], seed=5, threads=threads).ids)
    assert not is_reproducible(lambda threads: np.random.default_rng().permutation(3_000)[:30])


# ---- the retrieved ids without weights ----


def test_unweighted_sums_of_retrieved_ids_are_biased():
    rows = np.random.default_rng(0).standard_normal((300, 8), dtype=np.float32)
    family = make_family("simhash", dim=8, n_hashes=3, n_tables=5, projection="gaussian")
    q = family.pair_code_probability(np.repeat(rows[:1], 300, axis=0), rows)
    pi, plain, weighted = laws.union_inclusion(q, 5), [], []
    for seed in range(400):
        ids = HashTables(family.with_seed(seed), threads=1).build(rows).query(rows[:1]).ids
        plain.append(len(ids))
        weighted.append((1 / pi[ids]).sum())
    error = np.std(weighted) / np.sqrt(400)
    assert abs(np.mean(weighted) - 300) < 4 * error
    assert np.mean(plain) < 300 - 20 * error
