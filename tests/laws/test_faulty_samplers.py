"""Mistakes of public samplers: each is simulated and detected, and ours passes the same test."""

import numpy as np
import pytest

from lshsample import HashTables, laws, make_family, parse_pipeline

N, DIM, RUNS = 200, 8, 800


@pytest.fixture(scope="module")
def drawn():
    rng = np.random.default_rng(0)
    items = rng.standard_normal((N, DIM), dtype=np.float32)
    query = items[:1] + 0.5 * rng.standard_normal((1, DIM), dtype=np.float32)
    family = make_family("simhash", dim=DIM, n_hashes=3, n_tables=8, projection="gaussian")
    return items, query, [HashTables(family.with_seed(s), threads=1).build(items) for s in range(RUNS)]


def deviation(sums, truth):
    """Deviation of the mean from the true value, in standard errors."""
    return (np.mean(sums) - truth) / (np.std(sums, ddof=1) / np.sqrt(len(sums)))


def test_candidates_cut_in_storage_order(drawn):
    """The first k ids in the order of a hash set are no uniform draw: weights U / k are wrong."""
    _, query, tables = drawn
    values = np.where(np.arange(N) < N // 4, 5.0, 1.0)  # order and value are correlated, as in practice
    cut, ours = [], []
    for seed, table in enumerate(tables):
        full = parse_pipeline("Retrieve()").bind(tables=table).sample(query, law="marginal", threads=1)
        pi, k = np.exp(full.log_inclusion.astype(float)), 20
        kept = full.ids[:k]
        cut.append((values[kept] / pi[:k]).sum() * max(1, len(full.ids) / k))
        active = (
            parse_pipeline("Retrieve() | Cap(20)")
            .bind(tables=table)
            .sample(query, seed=seed, law="marginal", threads=1)
        )
        ours.append((values[active.ids] / np.exp(active.log_inclusion.astype(float))).sum())
    assert abs(deviation(cut, values.sum())) > 8
    assert abs(deviation(ours, values.sum())) < 4


def test_vanilla_weighted_by_the_number_of_visited_tables(drawn):
    """1 - (1 - q)^t with t visited tables ignores that t depends on the contents of the tables."""
    items, query, tables = drawn
    values = np.ones(N)
    naive, ours = [], []
    family = tables[0].family
    q = family.pair_code_probability(np.repeat(query, N, axis=0), items)
    for seed, table in enumerate(tables):
        active = (
            parse_pipeline("Retrieve(budget=45)")
            .bind(tables=table)
            .sample(query, seed=seed, law="marginal", threads=1)
        )
        held = table.buckets(query, threads=1)
        order_free = [set(held.bucket(0, t)) for t in range(8)]
        visited = sum(bool(bucket) and bucket <= set(active.ids.tolist()) for bucket in order_free)
        pi = laws.union_inclusion(q[active.ids], max(visited, 1))
        naive.append((values[active.ids] / pi).sum())
        ours.append((values[active.ids] * np.exp(-active.log_inclusion.astype(float))).sum())
    assert abs(deviation(naive, N)) > 4
    assert abs(deviation(ours, N)) < 4


def test_top_by_count_weighted_as_if_it_were_a_union(drawn):
    """Top-k has no inclusion probabilities: the union's weights are far off, and ours is biased."""
    items, query, tables = drawn
    sums, family = [], tables[0].family
    pi = laws.union_inclusion(family.pair_code_probability(np.repeat(query, N, axis=0), items), 8)
    for table in tables:
        active = (
            parse_pipeline("Retrieve() | Top(30)").bind(tables=table).sample(query, law="marginal", threads=1)
        )
        assert active.is_biased
        sums.append((1 / pi[active.ids]).sum())
    assert deviation(sums, N) < -8


def test_dependent_hashes_weighted_by_a_power():
    """Codes whose K hashes are the same hash: weights by p^K are wrong."""
    p, k, runs = 0.7, 4, 20_000
    found = np.random.default_rng(0).random(runs) < p  # all K agree together
    naive = found / p**k
    assert abs(deviation(naive, 1.0)) > 20
    assert abs(deviation(found / p, 1.0)) < 4
