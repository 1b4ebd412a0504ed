"""Active sets and candidates: rows, weights, sparse matrices."""

import numpy as np
import pytest
from law_cases import data

from lshsample.errors import ArgumentError, BiasedSampleError
from lshsample.estimates import horvitz_thompson
from lshsample.registry import make_family
from lshsample.sampling import parse_pipeline
from lshsample.tables import HashTables

GIVEN = data(90)
TABLES = HashTables(make_family("simhash", dim=12, n_hashes=3, n_tables=6), threads=1).build(GIVEN.items)
QUERIES = np.vstack([GIVEN.queries, GIVEN.items[:1]])


def active(text="Retrieve() | Uniform(20)", **options):
    return parse_pipeline(text).bind(tables=TABLES).sample(QUERIES, threads=1, **options)


@pytest.mark.parametrize("found", [active(), TABLES.query(QUERIES)], ids=["set", "candidates"])
def test_rows_are_those_of_a_python_sequence(found):
    rows = [found.ids[found.indptr[row] : found.indptr[row + 1]].tolist() for row in range(3)]
    assert len(found) == 3
    assert [ids.tolist() for ids in found] == rows
    for row in (*range(-3, 3), np.int64(-1)):
        assert found.row(row).tolist() == rows[row]
        assert rows[row]
    for bad in (3, -4, 10**9, 1.0, True, None, "0"):
        with pytest.raises(ArgumentError, match=r"must be an integer from -3 to 2 \(got "):
            found.row(bad)


def test_buckets_are_found_by_indices_from_both_ends():
    buckets = TABLES.buckets(QUERIES)
    assert buckets.bucket(-1, -1).tolist() == buckets.bucket(2, 5).tolist()
    for query, table, name in ((3, 0, "query"), (0, 6, "table"), (-4, 0, "query"), (0, -7, "table")):
        with pytest.raises(ArgumentError, match=f"{name} must be an integer from"):
            buckets.bucket(query, table)


def test_a_set_of_no_queries_has_no_rows():
    empty = parse_pipeline("Uniform(2)").bind(n_items=9).sample(n_queries=0)
    assert list(empty) == []
    assert empty.to_csr().shape == (0, 9)
    with pytest.raises(ArgumentError, match="index must be left out"):
        empty.row(0)
    assert "0 rows" in repr(empty)


@pytest.mark.parametrize("law", ["conditional", "marginal"])
def test_weights_are_reciprocal_inclusion_probabilities(law):
    found = active(law=law)
    np.testing.assert_allclose(found.weights * np.exp(found.log_inclusion), 1, rtol=1e-5)
    assert found.weights.dtype == np.float64
    estimate = horvitz_thompson(found, GIVEN.values)
    np.testing.assert_allclose(found.to_csr(found.weights) @ GIVEN.values, estimate.value, rtol=1e-12)


def test_unknown_weights_are_refused_with_the_name_of_the_stage():
    with pytest.raises(BiasedSampleError, match=r"^Top\(5\)"):
        active("Retrieve() | Top(5)").weights  # noqa: B018


def test_sparse_matrices_have_an_entry_for_each_id():
    found = active()
    ones = found.to_csr()
    assert ones.shape == (3, 90)
    assert set(ones.data) == {1.0}
    for row in range(3):
        assert ones[[row]].indices.tolist() == found.row(row).tolist()
    counts = found.to_csr(found.counts)
    assert counts.dtype == np.int32
    assert counts.sum() == found.counts.sum()
    for bad in (np.ones(3), np.ones((len(found.ids), 1)), [None] * len(found.ids), 1.0):
        with pytest.raises(ArgumentError, match=f"values must be an array of {len(found.ids)} numbers"):
            found.to_csr(bad)


def test_a_pooled_set_is_a_matrix_of_one_row():
    found = active(pool=True)
    assert found.to_csr().shape == (1, 90)
    assert found.row(-1).tolist() == found.row(0).tolist()
