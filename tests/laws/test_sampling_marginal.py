"""Inclusion probabilities, marginal over the hash functions, and the formulas of lshsample.laws."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.sparse as sp
from law_cases import LONG
from scipy import stats

from lshsample import laws
from lshsample.errors import ArgumentError, BiasedSampleError, UnsupportedError
from lshsample.estimates import sum_by_tables
from lshsample.registry import make_family
from lshsample.sampling import Pipeline, Retrieve, parse_pipeline
from lshsample.sampling import pipeline as pipeline_module
from lshsample.sampling.budget import visited_shares
from lshsample.tables import HashTables

N, DIM, SEEDS = 120, 6, 1500 if LONG else 500


@pytest.fixture(autouse=True)
def _not_judged(monkeypatch):
    """Pipelines are bound to hundreds of tables; that their stages have an effect is tested elsewhere."""
    monkeypatch.setattr(pipeline_module, "certain_warnings", lambda *_: [])


@pytest.fixture(scope="module")
def drawn_tables():
    """Tables over many draws of the functions, on non-negative rows like those of hidden layers."""
    rng = np.random.default_rng(0)
    items = np.maximum(rng.standard_normal((N, DIM), dtype=np.float32) + 0.3, 0)
    queries = np.abs(rng.standard_normal((2, DIM), dtype=np.float32))
    family = make_family("simhash", dim=DIM, n_hashes=4, n_tables=5, seed=0, projection="gaussian")
    tables = [HashTables(family.with_seed(seed), threads=1).build(items) for seed in range(SEEDS)]
    return items, queries, tables


WITH_INCLUSION = [
    "Retrieve()",
    "Retrieve() | AtLeast(2)",
    "Retrieve() | Cap(12)",
    "Retrieve() | AtLeast(2) | Cap(5)",
    "Retrieve() | Include() | Uniform(10)",
    "Uniform(10) | Retrieve() | Cap(20)",
    "Retrieve() | Frequency(20)",
    "Uniform(9)",
    "Include() | Full()",
    "Retrieve(budget=25)",
    "Retrieve(budget=60) | Include() | Cap(30)",
    "Retrieve(budget=1000)",
    "Retrieve(budget=25) | Uniform(12)",
    "Retrieve() | Cap(5) | Uniform(9)",
    "Retrieve() | Top(9) | Uniform(12)",
    "Retrieve() | AtLeast(3) | Fill(110)",
    "Retrieve() | Retrieve() | Frequency(30)",
    "Retrieve(probes=2) | AtLeast(2) | Cap(30)",
    "Retrieve(probes=2, budget=30)",
    "ExactTop(4) | Include() | Uniform(12)",
]


@pytest.mark.parametrize("text", WITH_INCLUSION)
def test_weighted_sums_are_unbiased_marginally(text, drawn_tables):
    items, queries, tables = drawn_tables
    # A zero row's similarity is undefined; its weight in the sum is 0.
    values = np.exp(np.random.default_rng(1).standard_normal(N)) * (np.linalg.norm(items, axis=1) > 0)
    include = sp.csr_array((np.ones(2), ([0, 1], [3, 50])), shape=(2, N)) if "Include" in text else None
    sums = np.empty((SEEDS, 2))
    pipeline = parse_pipeline(text)
    for seed, table in enumerate(tables):
        sampler = pipeline.bind(tables=table, frequencies=np.ones(N))
        active = sampler.sample(queries, include=include, seed=seed, law="marginal", threads=1)
        weights = np.exp(-active.log_inclusion.astype(np.float64))
        sums[seed] = np.bincount(active.row_of_ids(), weights=values[active.ids] * weights, minlength=2)
    error = sums.std(axis=0, ddof=1) / np.sqrt(SEEDS)
    assert np.all(np.abs(sums.mean(axis=0) - values.sum()) <= 4 * error + 1e-4 * values.sum())


@pytest.mark.parametrize("text", ["Retrieve()", "Retrieve() | AtLeast(2)", "Retrieve() | AtLeast(3)"])
def test_observed_rates_follow_the_law_in_every_bin_of_similarity(text, drawn_tables):
    items, queries, tables = drawn_tables
    family = tables[0].family
    nonzero = np.linalg.norm(items, axis=1) > 0
    hits, pi = np.zeros((2, N)), np.empty((2, N))
    for row in range(2):
        q = family.code_probability(family.similarity_of(np.repeat(queries[[row]], N, axis=0), items))
        m = 1 if "AtLeast" not in text else int(text[-2])
        pi[row] = laws.at_least_inclusion(q, 5, m)
    pipeline = parse_pipeline(text)
    for table in tables:
        active = pipeline.bind(tables=table).sample(queries, threads=1)
        hits[active.row_of_ids(), active.ids] += 1
    z = ((hits - SEEDS * pi) / np.sqrt(SEEDS * pi * (1 - pi) + 1e-9))[:, nonzero]
    assert np.abs(z).max() < 4.5
    assert abs(z.mean()) < 4 / np.sqrt(z.size) * 3  # z values are correlated, as items share the functions


@pytest.fixture(scope="module")
def table_pairs(drawn_tables):
    """Tables of two families and seeds, over many draws of both; the second probes two buckets."""
    items, queries, tables = drawn_tables
    family = make_family("simhash", dim=DIM, n_hashes=5, n_tables=3, projection="gaussian")
    others = [HashTables(family.with_seed(SEEDS + s), threads=1).build(items) for s in range(SEEDS)]
    return items, queries, list(zip(tables, others, strict=True))


def two_tables(text, first, second, probes=1):
    """A pipeline whose first Retrieve() reads the first tables, and the next one the second."""
    held = iter([Retrieve(first), Retrieve(second, probes=probes)])
    return Pipeline([next(held) if stage == Retrieve() else stage for stage in parse_pipeline(text).stages])


TWO_TABLES = [
    "Retrieve() | Retrieve()",
    "Retrieve() | Retrieve() | AtLeast(2)",
    "Retrieve() | Retrieve() | AtLeast(3)",
    "Retrieve() | AtLeast(2) | Retrieve()",
    "Retrieve() | Retrieve() | AtLeast(2) | Cap(15)",
    "Uniform(9) | Retrieve() | Retrieve()",
    "Retrieve() | Uniform(9) | Retrieve() | Cap(30)",
]


@pytest.mark.parametrize(
    ("text", "probes"), [*((text, 1) for text in TWO_TABLES), (TWO_TABLES[0], 2), (TWO_TABLES[1], 2)]
)
def test_sums_over_tables_of_two_seeds_are_unbiased(text, probes, table_pairs):
    items, queries, pairs = table_pairs
    values = np.exp(np.random.default_rng(1).standard_normal(N)) * (np.linalg.norm(items, axis=1) > 0)
    pairs = pairs if probes == 1 else pairs[: SEEDS // 3]
    sums = np.empty((len(pairs), 2))
    for seed, (first, second) in enumerate(pairs):
        sampler = two_tables(text, first, second, probes).bind(n_items=N)
        active = sampler.sample(queries, seed=seed, law="marginal", threads=1)
        sums[seed] = active.to_csr(active.weights) @ values
    error = sums.std(axis=0, ddof=1) / np.sqrt(len(sums))
    assert np.all(np.abs(sums.mean(axis=0) - values.sum()) <= 4 * error + 1e-4 * values.sum())


@pytest.mark.parametrize("m", [1, 2, 4])
def test_rates_and_counts_of_two_retrievals_follow_their_law(m, table_pairs):
    """1 - (1 - p1)(1 - p2) for the union, and the tail of the sum of two binomials for counts."""
    items, queries, pairs = table_pairs
    nonzero = np.linalg.norm(items, axis=1) > 0
    hits, pi, stated = np.zeros((2, N)), np.empty((2, N)), np.full((2, N), np.nan)
    p, q = (
        np.array([t.family.pair_code_probability(np.repeat(row[None], N, axis=0), items) for row in queries])
        for t in pairs[0]
    )
    for row in range(2):
        counts = [stats.binom.pmf(np.arange(m)[:, None], n, prob[row]) for n, prob in ((5, p), (3, q))]
        below = sum(counts[0][i] * counts[1][j] for i in range(m) for j in range(m - i))
        pi[row] = 1 - below
    if m == 1:
        np.testing.assert_allclose(pi, 1 - (1 - p) ** 5 * (1 - q) ** 3)
    for first, second in pairs:
        sampler = two_tables(f"Retrieve() | Retrieve() | AtLeast({m})", first, second).bind(n_items=N)
        active = sampler.sample(queries, law="marginal", threads=1)
        hits[active.row_of_ids(), active.ids] += 1
        stated[active.row_of_ids(), active.ids] = np.exp(active.log_inclusion)
    np.testing.assert_allclose(
        stated[:, nonzero], np.where(np.isnan(stated), stated, pi)[:, nonzero], rtol=1e-5
    )
    z = ((hits - SEEDS * pi) / np.sqrt(SEEDS * pi * (1 - pi) + 1e-9))[:, nonzero]
    assert np.abs(z).max() < 4.5


def test_two_retrievals_conditional_on_their_tables(table_pairs):
    """What either tables have is certain, and a draw after it makes every sum unbiased."""
    _items, queries, pairs = table_pairs
    sampler = two_tables("Retrieve() | Retrieve() | Uniform(12)", *pairs[0]).bind(n_items=N)
    values = np.exp(np.random.default_rng(1).standard_normal(N))
    found = sampler.sample(queries, threads=1)
    held = [set(np.concatenate([t.query(queries).row(row) for t in pairs[0]])) for row in range(2)]
    for row in range(2):
        own = slice(found.indptr[row], found.indptr[row + 1])
        certain = np.isin(found.ids[own], list(held[row]))
        np.testing.assert_allclose(found.weights[own], np.where(certain, 1, N / 12), rtol=1e-6)
    sums = np.array(
        [a.to_csr(a.weights) @ values for a in (sampler.sample(queries, step=k) for k in range(800))]
    )
    error = sums.std(axis=0, ddof=1) / np.sqrt(len(sums))
    assert np.all(np.abs(sums.mean(axis=0) - values.sum()) <= 4 * error)


def test_two_retrievals_that_share_functions_are_refused_by_name(drawn_tables):
    items, queries, tables = drawn_tables
    same = HashTables(tables[3].family, threads=1).build(items)
    longer = make_family("simhash", dim=DIM, n_hashes=6, n_tables=5, seed=3, projection="gaussian")
    for second in (tables[3], same, HashTables(longer, threads=1).build(items)):
        pipeline = two_tables("Retrieve() | Retrieve()", tables[3], second)
        active = pipeline.bind(n_items=N).sample(queries, law="marginal")
        with pytest.raises(
            BiasedSampleError, match=r"a second retrieval with functions of seed 3.*with_seed"
        ):
            active.weights  # noqa: B018
        # A draw that makes every item possible gives the weights of the conditional law.
        drawn = two_tables("Retrieve() | Retrieve() | Uniform(9)", tables[3], second).bind(n_items=N)
        assert drawn.sample(queries, law="marginal").weights.max() == pytest.approx(N / 9)
    three = Pipeline([Retrieve(tables[0]), Retrieve(tables[1]), Retrieve(tables[0])]).bind(n_items=N)
    assert three.sample(queries, law="marginal").biased_by.startswith("Retrieve(")
    three = Pipeline([Retrieve(tables[0]), Retrieve(tables[1]), Retrieve(tables[2])]).bind(n_items=N)
    assert not three.sample(queries, law="marginal").is_biased


BIASED = {
    "Retrieve() | Top(5)": r"^Top\(5\)",
    "Include() | Retrieve(budget=5)": r"^Retrieve\(budget=5\): the weights of a budget, or of",
    "Retrieve(budget=90) | AtLeast(2)": r"^AtLeast\(2\)",
    "Retrieve() | Fill(2)": r"^Fill\(2\)",
    "Retrieve() | Cap(5) | Retrieve()": r"^Retrieve\(\): a second",
    "Uniform(5) | Retrieve() | AtLeast(1)": r"^AtLeast\(1\)",
    "Retrieve() | Retrieve()": r"^Retrieve\(\): a second",
    "Include()": r"^Include\(\)",
    "ExactTop(4)": r"^ExactTop\(4\)",
    "Retrieve() | Include() | Cap(1)": r"^Cap\(1\): forced",
}


@pytest.mark.parametrize("text", BIASED)
def test_pipelines_without_a_law_are_biased(text, drawn_tables):
    _items, queries, tables = drawn_tables
    include = sp.csr_array((np.ones(2), ([0, 1], [3, 50])), shape=(2, N)) if "Include" in text else None
    active = parse_pipeline(text).bind(tables=tables[0]).sample(queries, include=include, law="marginal")
    assert active.is_biased
    assert len(active.ids)
    with pytest.raises(BiasedSampleError, match=BIASED[text]):
        _ = active.log_inclusion


def test_a_pooled_retrieval_has_no_marginal_law(drawn_tables):
    _, queries, tables = drawn_tables
    active = parse_pipeline("Retrieve()").bind(tables=tables[0]).sample(queries, pool=True, law="marginal")
    with pytest.raises(BiasedSampleError, match="pooled"):
        _ = active.log_inclusion


def test_a_pooled_retrieval_with_a_draw_has_the_conditional_law(drawn_tables):
    items, queries, tables = drawn_tables
    values, sums = np.linalg.norm(items, axis=1), []
    for seed, table in enumerate(tables[:400]):
        sampler = parse_pipeline("Retrieve() | Uniform(20)").bind(tables=table)
        active = sampler.sample(queries, pool=True, seed=seed, law="marginal", threads=1)
        sums.append((values[active.ids] / np.exp(active.log_inclusion)).sum())
    assert abs(np.mean(sums) - values.sum()) < 4 * np.std(sums) / 20


@pytest.mark.parametrize("budget", [1, 3, 5, 7, 50])
def test_shares_of_visited_tables_are_those_of_all_orders(budget):
    """All orders of five tables, by the set of visited tables: how often each table is first."""
    hits = np.random.default_rng(budget).random((9, 5)) < 0.35
    first = {}
    for order in itertools.permutations(range(5)):
        sizes = [hits[:, order[: t + 1]].any(axis=1).sum() for t in range(5)]
        n_visited = next((t + 1 for t in range(5) if sizes[t] >= budget), 5)
        first.setdefault(frozenset(order[:n_visited]), []).append(order)
    for visited, orders in first.items():
        expected = np.bincount([order[0] for order in orders], minlength=5) / len(orders)
        for order in orders[:6]:
            shares = np.zeros(5)
            shares[list(order)] = visited_shares(hits[:, order], budget)
            np.testing.assert_allclose(shares, expected, atol=1e-12)
            assert set(np.flatnonzero(shares)) <= visited


@pytest.mark.parametrize(
    "text", ["Retrieve()", "Retrieve() | Cap(9)", "Retrieve(budget=9)", "Retrieve(probes=2)"]
)
def test_bounded_buckets_are_corrected(text, drawn_tables):
    """Without the correction the sums are 0.6 of the true value."""
    items, queries, tables = drawn_tables
    values = np.linalg.norm(items, axis=1)
    sums, naive = np.empty((SEEDS, 2)), np.empty((SEEDS, 2))
    pipeline, retrieval = parse_pipeline(text), parse_pipeline("Retrieve()")
    for seed, table in enumerate(tables):
        bounded = HashTables(table.family, threads=1, bucket_size=4).build(items)
        active = pipeline.bind(tables=bounded).sample(queries, seed=seed, law="marginal", threads=1)
        weights = np.exp(-active.log_inclusion.astype(np.float64))
        sums[seed] = np.bincount(active.row_of_ids(), weights=values[active.ids] * weights, minlength=2)
        full = retrieval.bind(tables=table).sample(queries, law="marginal", threads=1)
        stated = dict(zip(zip(full.row_of_ids(), full.ids, strict=True), full.log_inclusion, strict=True))
        plain = [stated.get(pair, 0.0) for pair in zip(active.row_of_ids(), active.ids, strict=True)]
        naive[seed] = np.bincount(
            active.row_of_ids(), weights=values[active.ids] * np.exp(-np.array(plain)), minlength=2
        )
    error = sums.std(axis=0, ddof=1) / np.sqrt(len(sums))
    assert np.all(np.abs(sums.mean(axis=0) - values.sum()) < 4 * error)
    if text == "Retrieve()":
        assert np.all(naive.mean(axis=0) < 0.9 * values.sum())


def test_a_family_with_dependent_hashes_is_refused_by_name(drawn_tables):
    items, queries, _ = drawn_tables

    from lshsample.plugin import HashFamily

    class Dependent(HashFamily):
        similarity = "cosine"
        independent_hashes = False

        def hash(self, x):
            return np.tile(np.arange(x.shape[0], dtype=np.uint32)[:, None] % 4, self.n_tables)

        def collision_probability(self, similarity):
            return np.asarray(similarity, float)

    from lshsample.plugin import FamilySpec

    tables = HashTables(Dependent(FamilySpec(dim=DIM, n_hashes=2, n_tables=2))).build(items)
    active = parse_pipeline("Retrieve()").bind(tables=tables).sample(queries, law="marginal")
    with pytest.raises(BiasedSampleError, match="Dependent"):
        _ = active.log_inclusion


def test_a_query_equal_to_an_item_has_a_finite_weight(drawn_tables):
    # The cosine of a float32 row with itself may be an ulp above 1; its arccos would be NaN.
    items, _, tables = drawn_tables
    active = parse_pipeline("Retrieve()").bind(tables=tables[0]).sample(items, law="marginal")
    assert np.all(np.isfinite(active.log_inclusion))
    assert np.all(active.log_inclusion <= 0)


@pytest.mark.parametrize("q", [0.0, 1e-12, 1e-3, 0.3, 0.999, 1.0])
@pytest.mark.parametrize(("n_tables", "m"), [(1, 1), (5, 2), (50, 1), (50, 3), (50, 50)])
def test_the_binomial_tail(q, n_tables, m):
    expected = stats.binom.sf(m - 1, n_tables, q)
    np.testing.assert_allclose(laws.at_least_inclusion(q, n_tables, m), expected, rtol=1e-9, atol=1e-300)
    if m == 1:
        np.testing.assert_allclose(laws.union_inclusion(q, n_tables), expected, rtol=1e-9)


def test_laws_at_the_ends_of_their_domains():
    assert laws.at_least_inclusion([0.5], 3, 4).tolist() == [0.0]
    assert laws.cap_inclusion([0.5, 0.5], [10, 3], [5, 12]).tolist() == [0.5, 0.125]
    assert laws.frequency_inclusion([0.0, 1.0], 3).tolist() == [0.0, 1.0]
    assert laws.fill_inclusion([0.2], 8, 8, 10).tolist() == [0.2]
    assert laws.union_inclusion(1 + 1e-12, 2).item() == 1.0


@pytest.mark.parametrize(
    "call",
    [
        lambda: laws.union_inclusion([0.5, np.nan], 2),
        lambda: laws.union_inclusion(1.5, 2),
        lambda: laws.union_inclusion(0.5, 0),
        lambda: laws.union_inclusion(0.5, True),
        lambda: laws.at_least_inclusion(0.5, 4, 0),
        lambda: laws.uniform_inclusion(5, 4),
        lambda: laws.fill_inclusion(0.1, 2, 9, 8),
        lambda: laws.rho(0.5, 0.9),
        lambda: laws.n_hashes_for(10, 1.0),
        lambda: laws.n_tables_for(0.9, 3, recall=1.0),
    ],
)
def test_bad_arguments_of_laws_are_refused(call):
    with pytest.raises(ArgumentError):
        call()


def test_numbers_of_hashes_and_tables_meet_their_targets():
    for p_near, p_far in ((0.9, 0.5), (0.8, 0.6)):
        n_hashes = laws.n_hashes_for(100_000, p_far)
        assert 100_000 * p_far**n_hashes <= 1 < 100_000 * p_far ** (n_hashes - 1)
        n_tables = laws.n_tables_for(p_near, n_hashes, recall=0.9)
        assert laws.union_inclusion(p_near**n_hashes, n_tables) >= 0.9
        assert laws.union_inclusion(p_near**n_hashes, n_tables - 1) < 0.9
        assert 0 < laws.rho(p_near, p_far) < 1


@pytest.mark.parametrize("name", ["simhash", "e2lsh", "cross-polytope", "multiprobe", "simple-lsh"])
def test_laws_that_hold_for_some_rows_only_give_no_weights(name, drawn_tables):
    items, queries, _ = drawn_tables
    sparse = {"projection": "sparse"}
    options = (
        sparse if name not in ("multiprobe", "simple-lsh") else {"inner": {"family": "simhash", **sparse}}
    )
    family = make_family(name, dim=DIM, n_hashes=2, n_tables=4, **options)
    assert not family.exact_law
    tables = HashTables(family, threads=1).build(items)
    for text in ("Retrieve(probes=1)", "Retrieve(probes=1, budget=9)", "Retrieve(probes=1) | AtLeast(2)"):
        active = parse_pipeline(text).bind(tables=tables).sample(queries, law="marginal")
        assert "collision probability is not exact for all rows" in active.biased_by
    with pytest.raises(UnsupportedError, match="not exact for all rows"):
        sum_by_tables(tables, queries, np.ones(N), probes=1)


@pytest.mark.parametrize(("name", "options"), [("simhash", {}), ("minhash", {"method": "doph", "bits": 4})])
def test_tables_that_share_random_numbers_have_no_law_of_several(name, options, drawn_tables):
    items, queries, _ = drawn_tables
    family = make_family(name, dim=DIM, n_hashes=2, n_tables=4, **options)
    assert not family.independent_tables
    tables = HashTables(family, threads=1).build(items)
    active = parse_pipeline("Retrieve() | AtLeast(2)").bind(tables=tables).sample(queries, law="marginal")
    assert "independent tables" in active.biased_by
    active = parse_pipeline("Retrieve()").bind(tables=tables).sample(queries, law="marginal")
    row = active.row_of_ids()
    q = family.pair_code_probability(queries[row], items[active.ids])
    np.testing.assert_allclose(np.exp(-active.log_inclusion), active.counts / (4 * q), rtol=1e-5)
