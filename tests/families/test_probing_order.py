"""The order of probes of families whose hashes have many values: against every code, sorted."""

import itertools

import numpy as np
import pytest
import scipy.sparse as sp
from lshsample_families._probing import best_codes, by_cost

from lshsample import HashTables, Retrieve, Uniform
from lshsample.errors import UnsupportedError
from lshsample.hashing import hash_rows, probe_rows
from lshsample.registry import make_family


def rows(n, dim, seed=0):
    return np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)


def score(code, costs, bits):
    return sum(cost[code >> (k * bits) & (2**bits - 1)] for k, cost in enumerate(costs))


def assert_best_first(probes, costs, bits):
    """Scores ascend, no code twice, and no code that was left out scores less."""
    every = {
        sum(v << (k * bits) for k, v in enumerate(chosen)): sum(
            c[v] for c, v in zip(costs, chosen, strict=True)
        )
        for chosen in itertools.product(range(len(costs[0])), repeat=len(costs))
    }
    scores = [every[int(code)] for code in probes]
    assert len(set(probes.tolist())) == len(probes)
    assert scores == pytest.approx(sorted(every.values())[: len(probes)])


@pytest.mark.parametrize(("n_hashes", "bits"), [(1, 3), (2, 3), (3, 2), (5, 1)])
def test_the_best_of_all_codes_come_first(n_hashes, bits):
    rng = np.random.default_rng(n_hashes)
    costs = rng.integers(0, 6, (20, n_hashes, 2**bits)) + rng.random((20, n_hashes, 2**bits)) * (
        rng.random() < 0.5
    )
    own = costs.argmin(axis=2)
    costs = costs - np.take_along_axis(costs, own[..., None], 2)
    for n_probes in (1, 2, 7, 2 ** (bits * n_hashes)):
        found = best_codes(*by_cost(own.astype(np.uint32), costs, n_probes), bits, n_probes)
        for probes, cost in zip(found, costs, strict=True):
            assert_best_first(probes, cost, bits)


def e2lsh_costs(family, row):
    """Squared ways to the nearest bucket of each number, (L, K, 2^b)."""
    places, period = family.positions(row)[0].T, 2**family.spec.bits
    buckets = np.floor(places)[..., None] + np.arange(-period, period + 1)
    ways = np.maximum(np.maximum(buckets - places[..., None], places[..., None] - buckets - 1), 0) ** 2
    numbers = buckets.astype(int) % period
    return np.stack([np.where(numbers == v, ways, np.inf).min(axis=-1) for v in range(period)], axis=-1)


def vertex_costs(family, row):
    margins = family.margins(row)[0].transpose(2, 0, 1).astype(float)
    signed = np.stack([margins, -margins], axis=-1).reshape(*margins.shape[:2], -1)
    return (signed.max(axis=-1, keepdims=True) - signed) ** 2


def window_costs(family, row):
    seen = row[0, family._windows.columns].astype(float).reshape(family.n_tables, family.n_hashes, -1)
    return (seen.max(axis=-1, keepdims=True) - seen) ** 2


CASES = {
    "e2lsh": ({"bits": 2, "width": 2.0}, e2lsh_costs),
    "cross-polytope": ({"dimension": 4}, vertex_costs),
    "wta": ({"window": 8}, window_costs),
    "dwta": ({"window": 8}, window_costs),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("n_probes", [2, 9, 60])
def test_families_probe_the_nearest_first(name, n_probes):
    options, costs_of = CASES[name]
    family = make_family(name, dim=12, n_hashes=3, n_tables=6, **options)
    q = rows(5, 12)
    found = probe_rows(family, q, n_probes)
    assert (found[:, :, 0] == hash_rows(family, q, query=True)).all()
    assert (probe_rows(family, sp.csr_array(q), n_probes) == found).all()
    for row, probes in zip(q, found, strict=True):
        for table, costs in enumerate(costs_of(family, row[None])):
            assert_best_first(probes[table], costs, family.bits_per_hash)


@pytest.mark.parametrize("name", CASES)
def test_every_code_and_rows_of_zeros(name):
    family = make_family(name, dim=8, n_hashes=2, n_tables=3, **CASES[name][0])
    n_codes = 2**family.code_bits
    found = probe_rows(family, np.concatenate([rows(2, 8), np.zeros((1, 8), np.float32)]), n_codes)
    assert (np.sort(found, axis=2) == np.arange(n_codes)).all()
    assert probe_rows(family, np.empty((0, 8), np.float32), 3).shape == (0, 3, 3)


def test_second_largest_comes_second_and_zeros_last():
    family = make_family("dwta", dim=8, n_hashes=1, n_tables=200, window=8)
    x = np.float32([[0, 5, 0, -3, 4, 0, 1, 0]])
    won = np.take_along_axis(family._windows.columns, probe_rows(family, x, 8)[0].astype(int), axis=1)
    assert (won[:, :4] == [1, 4, 6, 3]).all()
    values = make_family("wta", dim=8, n_hashes=1, n_tables=200, window=8)
    won = np.take_along_axis(values._windows.columns, probe_rows(values, x, 8)[0].astype(int), axis=1)
    assert (won[:, :3] == [1, 4, 6]).all()
    assert (won[:, 7] == 3).all()


@pytest.mark.parametrize("name", CASES)
def test_probes_find_near_rows_sooner_than_other_buckets_do(name):
    """Four probes find more of a row's near neighbours than its own bucket does, and than far rows."""
    x = rows(600, 16)
    q = x + 0.4 * rows(600, 16, seed=1)
    family = make_family(name, dim=16, n_hashes=3, n_tables=1, **CASES[name][0])
    codes, probes = hash_rows(family, x), probe_rows(family, q, 4)[:, 0]
    near = (probes == codes).any(axis=1).mean()
    far = (probes == np.roll(codes, 1, axis=0)).any(axis=1).mean()
    assert near > 1.3 * (probes[:, :1] == codes).mean()
    assert near > 2 * far


@pytest.mark.parametrize("name", CASES)
def test_tables_take_the_probes_of_every_family(name):
    x = rows(400, 16)
    inner = {"family": name, **CASES[name][0]}
    family = make_family("multiprobe", dim=16, n_hashes=3, n_tables=4, probes=5, inner=inner)
    tables = HashTables(family, threads=1).build(x)
    assert len(tables.query(x[:20]).ids) > len(tables.query(x[:20], n_probes=1).ids)
    sampler = (Retrieve(tables) | Uniform(9)).bind(n_items=400)
    assert not sampler.sample(x[:2]).is_biased
    if name in ("e2lsh", "cross-polytope"):
        assert not sampler.sample(x[:2], law="marginal").is_biased
        return
    with pytest.raises(UnsupportedError, match="the probability that probes find a row"):
        family.probe_probability(x[:1], x[:3], 5)
