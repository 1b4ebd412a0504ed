"""Items and pairs above a similarity, against brute force over the pairs that share a bucket."""

import attrs
import numpy as np
import pytest
import scipy.sparse as sp
from scipy import stats

from lshsample import hashing, laws
from lshsample.errors import ArgumentError, MemoryBudgetError, PluginError, UnsupportedError
from lshsample.plugin import FamilySpec, HashFamily, WrapperFamily, family_option
from lshsample.registry import make_family
from lshsample.tables import HashTables, TableReader, matches

N, DIM = 160, 24


def clustered(sparse):
    """Rows in groups of similar ones."""
    rng = np.random.default_rng(3)
    if sparse:
        base = rng.random((N // 8, DIM)) < 0.4
        rows = np.repeat(base, 8, axis=0) ^ (rng.random((N, DIM)) < 0.05)
        return sp.csr_array(rows.astype(np.float32) * rng.uniform(0.5, 2, (N, DIM)).astype(np.float32))
    centres = rng.standard_normal((N // 8, DIM)).astype(np.float32)
    return np.repeat(centres, 8, axis=0) + np.float32(0.3) * rng.standard_normal((N, DIM), dtype=np.float32)


#: A family of each similarity, with a threshold that some pairs reach and some do not.
CASES = [
    ("simhash", {"n_hashes": 6}, False, 0.9),
    ("simhash", {"n_hashes": 6}, True, 0.8),
    ("simhash", {"n_hashes": 3}, False, -0.2),
    ("cross-polytope", {"n_hashes": 1, "dimension": 16}, False, 0.9),
    ("e2lsh", {"n_hashes": 3, "width": 8.0}, False, 2.0),
    ("e2lsh", {"n_hashes": 3, "width": 6.0}, True, 1.5),
    ("minhash", {"n_hashes": 2}, True, 0.6),
    ("minhash", {"n_hashes": 2, "method": "permutation-free"}, True, 0.5),
    ("icws", {"n_hashes": 2}, True, 0.4),
    ("simple-lsh", {"n_hashes": 4}, False, 4.5),
    ("norm-ranging", {"n_hashes": 4}, False, 4.5),
    ("l2-alsh", {"n_hashes": 3}, False, 4.5),
    ("wta", {"n_hashes": 3, "window": 4}, False, 0.7),
    ("multiprobe", {"n_hashes": 6}, False, 0.9),
]


def name_of(case):
    return f"{case[0]}-{'sparse' if case[2] else 'dense'}-{case[3]}"


def tables_of(case, **options):
    name, given, sparse, _ = case
    rows = clustered(sparse)
    return rows, HashTables(make_family(name, dim=DIM, n_tables=4, seed=1, **given), **options).build(rows)


def reaches(family, rows, q, x, threshold):
    near = family.similarity_of(rows[q], rows[x])
    return near, (near <= threshold) if family.similarity == "euclidean" else (near >= threshold)


def sharing(family, queries, rows, probes):
    """Whether each query and row share a probed bucket, (m, n)."""
    codes, probed = hashing.hash_rows(family, rows), hashing.probe_rows(family, queries, probes)
    return np.array([(codes[:, :, None] == one[None]).any((1, 2)) for one in probed])


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_range_search_finds_what_shares_a_bucket_and_reaches_the_threshold(case):
    rows, tables = tables_of(case)
    family, threshold = tables.family, case[3]
    found = tables.range_search(rows[:40], threshold)
    shared = sharing(family, rows[:40], rows, family.default_probes)
    n_found = 0
    for query in range(40):
        near, reached = reaches(family, rows, np.full(N, query), np.arange(N), threshold)
        expected = np.flatnonzero(shared[query] & reached)
        assert found.row(query).tolist() == expected.tolist()
        values = found.similarities[found.indptr[query] : found.indptr[query + 1]]
        np.testing.assert_array_equal(values, near[expected])
        n_found += len(expected)
    assert 40 < n_found < shared.sum(), "the threshold divides the candidates"
    assert len(found) == 40
    assert found.threshold == threshold


@pytest.mark.parametrize("case", [case for case in CASES if case[0] != "wta"], ids=name_of)
def test_similar_pairs_are_those_of_brute_force_that_share_a_bucket(case):
    rows, tables = tables_of(case)
    family, threshold = tables.family, case[3]
    pairs = tables.similar_pairs(threshold)
    shared = sharing(family, rows, rows, family.default_probes)
    first, second = np.triu_indices(N, 1)
    by_first, forth = reaches(family, rows, first, second, threshold)
    by_second, back = reaches(family, rows, second, first, threshold)
    forth &= shared[first, second]
    expected = forth | (shared[second, first] & back)
    assert pairs.ids.tolist() == np.stack([first[expected], second[expected]], axis=1).tolist()
    near = np.where(forth, by_first, by_second)[expected]
    np.testing.assert_allclose(pairs.similarities, near, rtol=1e-12)
    assert 0 < len(pairs) < (shared | shared.T)[first, second].sum()


@pytest.mark.parametrize("case", [CASES[0], CASES[1], CASES[5], CASES[6]], ids=name_of)
def test_results_do_not_depend_on_threads_or_blocks(case, monkeypatch):
    rows, tables = tables_of(case, threads=2)
    whole, pairs = tables.range_search(rows, case[3]), tables.similar_pairs(case[3])
    # The least block, of which a part has few candidates only.
    monkeypatch.setattr(matches, "_CANDIDATE_BYTES", 2**14)
    monkeypatch.setattr(matches, "_ELEMENTS", 100)
    monkeypatch.setattr(matches, "_ROWS", 7)
    for threads in (1, 3):
        again = tables.range_search(rows, case[3], threads=threads, block_bytes=2**20)
        for name in ("indptr", "ids", "similarities"):
            np.testing.assert_array_equal(getattr(again, name), getattr(whole, name))
        assert again.expected_recall == pytest.approx(whole.expected_recall, rel=1e-12)
        same = tables.similar_pairs(case[3], threads=threads, block_bytes=2**20)
        np.testing.assert_array_equal(same.ids, pairs.ids)
        np.testing.assert_array_equal(same.similarities, pairs.similarities)


def test_more_probes_find_more():
    case = CASES[0]
    rows, tables = tables_of(case)
    one, many = (tables.range_search(rows, 0.9, n_probes=n) for n in (1, 8))
    shared = sharing(tables.family, rows, rows, 8)
    assert len(many.ids) > len(one.ids)
    for query in range(N):
        _, reached = reaches(tables.family, rows, np.full(N, query), np.arange(N), 0.9)
        assert many.row(query).tolist() == np.flatnonzero(shared[query] & reached).tolist()
    assert many.recall == one.recall
    assert many.expected_recall > one.expected_recall


@pytest.mark.parametrize(
    ("name", "options", "sparse", "threshold"),
    [
        ("simhash", {"n_hashes": 8, "projection": "gaussian"}, False, 0.9),
        ("minhash", {"n_hashes": 2, "method": "permutation-free", "bits": 8}, True, 0.6),
        ("e2lsh", {"n_hashes": 3, "width": 3.0, "projection": "gaussian"}, False, 2.2),
    ],
)
def test_recall_is_predicted(name, options, sparse, threshold):
    """Over independent draws: every pair is found with its probability, of which the recall is the least."""
    rows = clustered(sparse)
    family = make_family(name, dim=DIM, n_tables=2, **options)
    first, second = np.triu_indices(N, 1)
    near, reached = reaches(family, rows, first, second, threshold)
    first, second, near = first[reached], second[reached], near[reached]
    chance = laws.union_inclusion(family.code_probability(near), 2)
    draws, counts, expected = 60, [], []
    for seed in range(draws):
        pairs = HashTables(family.with_seed(seed)).build(rows).similar_pairs(threshold)
        counts.append(len(pairs))
        expected.append(pairs.expected_recall)
    assert pairs.recall == laws.union_inclusion(family.code_probability(threshold), 2)
    assert pairs.recall <= chance.min()
    # The mean number found, with its spread over draws, which pairs have in common.
    error = np.std(counts, ddof=1) / np.sqrt(draws)
    assert abs(np.mean(counts) - chance.sum()) < stats.norm.isf(1e-6) * error
    assert np.mean(counts) / len(first) >= pairs.recall
    # n / sum(1 / p) estimates the mean of p.
    assert np.mean(expected) == pytest.approx(chance.mean(), abs=0.05)


def test_recall_of_one_pair_is_within_the_binomial_interval():
    family = make_family("minhash", dim=DIM, n_hashes=2, n_tables=3, method="permutation-free", bits=8)
    rows = sp.csr_array(np.float32([[1] * 8 + [0] * 16, [0] * 2 + [1] * 8 + [0] * 14]))  # Jaccard 0.6
    found = [
        HashTables(family.with_seed(seed)).build(rows).similar_pairs(0.6, block_bytes=2**20)
        for seed in range(300)
    ]
    chance = found[0].recall
    low, high = stats.binom.ppf([1e-6, 1 - 1e-6], 300, chance)
    assert low <= sum(map(len, found)) <= high
    assert found[0].recall == pytest.approx(float(laws.union_inclusion(family.code_probability(0.6), 3)))


def test_without_a_law_there_is_no_recall():
    rows, tables = tables_of(CASES[0], bucket_size=5)
    found = tables.range_search(rows, 0.9)
    assert found.recall is None
    assert found.expected_recall is None
    rows, tables = tables_of(CASES[0])
    nothing = tables.range_search(rows[:0], 0.9)
    assert (len(nothing), nothing.expected_recall) == (0, None)
    assert nothing.recall > 0
    with pytest.raises(UnsupportedError):
        HashTables(make_family("itq", dim=DIM, n_hashes=4, n_tables=2)).build(rows).range_search(rows, 0.9)


def test_equal_rows_reach_the_threshold_of_equality():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((200, 7), dtype=np.float32)
    rows[100:] = rows[:100]
    tables = HashTables(make_family("simhash", dim=7, n_hashes=8, n_tables=2)).build(rows)
    expected = np.stack([np.arange(100), np.arange(100, 200)], axis=1)
    assert (tables.similar_pairs(1.0).ids == expected).all()
    tables = HashTables(make_family("e2lsh", dim=7, n_hashes=4, n_tables=2)).build(rows)
    assert (tables.similar_pairs(0.0).ids == expected).all()


def test_changed_tables_give_the_pairs_of_their_items():
    rows, tables = tables_of(CASES[0])
    whole = tables.similar_pairs(0.9, vectors=rows).ids
    gone = np.array([3, 8, 9, 70])
    tables.delete(gone)
    left = whole[~np.isin(whole, gone).any(axis=1)]
    assert tables.similar_pairs(0.9, vectors=rows).ids.tolist() == left.tolist()
    found = tables.range_search(rows, 0.9, vectors=rows)
    assert not np.isin(found.ids, gone).any()
    assert tables.item_ids.tolist() == np.setdiff1d(np.arange(N), gone).tolist()


def test_readers_of_other_kinds_are_searched_too():
    rows, tables = tables_of(CASES[0])

    class Elsewhere(TableReader):
        family, n_ids, vectors = tables.family, N, rows

        def candidates(self, queries, n_probes, *, threads=None):
            return tables.candidates(queries, n_probes, threads=threads)

    assert Elsewhere().similar_pairs(0.9).ids.tolist() == tables.similar_pairs(0.9).ids.tolist()
    assert Elsewhere().range_search(rows, 0.9).ids.tolist() == tables.range_search(rows, 0.9).ids.tolist()


def test_bad_arguments_are_refused():
    rows, tables = tables_of(CASES[0])
    distances = tables_of(CASES[4])[1]
    for call, words in (
        (lambda: tables.range_search(rows, "0.9"), r"threshold must be a finite number \(got '0.9'\)"),
        (lambda: tables.range_search(rows, np.nan), "threshold must be a finite number"),
        (lambda: tables.similar_pairs(True), "threshold must be a finite number"),
        (lambda: distances.similar_pairs(-1), r"threshold must be a finite number >= 0, as it is a distance"),
        (lambda: tables.range_search(rows[:, :3], 0.9), "queries must be an array with 24 columns"),
        (lambda: tables.range_search(np.full((1, DIM), np.nan), 0.9), "queries must be finite"),
        (lambda: tables.range_search(rows, 0.9, n_probes=0), "n_probes must be an integer from 1"),
        (
            lambda: tables.range_search(rows, 0.9, block_bytes=7),
            "block_bytes must be an integer from 1048576",
        ),
        (lambda: tables.range_search(rows, 0.9, threads=0), "threads must be an integer from 1"),
        (lambda: tables.similar_pairs(0.9, vectors=rows[:9]), "vectors must be an array of 160 rows"),
        (lambda: HashTables(tables.family).similar_pairs(0.9), "tables must be built"),
        (
            lambda: tables.delete([0]).insert([0], rows[1:2]).similar_pairs(0.9),
            "vectors must be the rows of all ids",
        ),
    ):
        with pytest.raises(ArgumentError, match=words):
            call()


def test_a_result_that_does_not_fit_is_refused(monkeypatch):
    _, tables = tables_of(CASES[0])
    monkeypatch.setattr("lshsample.memory.available_bytes", lambda: 1000)
    with pytest.raises(MemoryBudgetError, match=r"the similar pairs needs about 0 MiB \([\d,]+ pairs so far"):
        tables.similar_pairs(-1.0)


@attrs.frozen(kw_only=True)
class WrongSpec(FamilySpec):
    inner: HashFamily = family_option("simhash")  # noqa: RUF009


class Wrong(WrapperFamily):
    Spec = WrongSpec

    def similarity_of(self, q, x):
        return np.zeros(3, np.float32)


def test_similarities_that_break_the_contract_name_the_family():
    rows = clustered(False)
    tables = HashTables(Wrong(WrongSpec(dim=DIM, n_hashes=3, n_tables=2))).build(rows)
    with pytest.raises(PluginError, match=r"Wrong.similarity_of: returned float32 \(3,\), expected an array"):
        tables.range_search(rows, 0.9)
