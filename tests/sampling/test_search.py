"""Search with a sampler: the items of largest inner product in the sampled set."""

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample.errors import ArgumentError
from lshsample.registry import make_family
from lshsample.sampling import AtLeast, Full, Retrieve, Uniform
from lshsample.tables import HashTables

ITEMS = np.random.default_rng(0).standard_normal((300, 16), dtype=np.float32)
QUERIES = np.random.default_rng(1).standard_normal((9, 16), dtype=np.float32)


def tables():
    return HashTables(make_family("simhash", dim=16, n_hashes=4, n_tables=6)).build(ITEMS)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_search_over_all_items_is_exact(threads):
    products = QUERIES.astype(np.float64) @ ITEMS.T
    ids, scores = Full().bind(n_items=300, vectors=ITEMS).search(QUERIES, top=7, threads=threads)
    assert (ids == np.argsort(-products, axis=1)[:, :7]).all()
    np.testing.assert_allclose(scores, np.take_along_axis(products, ids, 1), rtol=1e-5)
    assert ids.dtype == np.int32
    assert scores.dtype == np.float32


@pytest.mark.parametrize("pipeline", [Retrieve(), Retrieve(probes=5) | AtLeast(2), Retrieve() | Uniform(5)])
def test_search_ranks_the_sampled_set(pipeline):
    """Results are padded with -1 and -inf; by default the vectors of the tables are used."""
    sampler = pipeline.bind(tables=tables())
    active = sampler.sample(QUERIES, seed=3, step=4)
    ids, scores = sampler.search(QUERIES, top=300, seed=3, step=4)
    for row, (found, values) in enumerate(zip(ids, scores, strict=True)):
        own = active.ids[active.indptr[row] : active.indptr[row + 1]]
        order = np.argsort(-(ITEMS[own].astype(np.float64) @ QUERIES[row]), kind="stable")
        assert (found[: len(own)] == own[order]).all()
        assert (found[len(own) :] == -1).all()
        assert (values[len(own) :] == -np.inf).all()


def test_search_of_no_queries():
    ids, scores = Retrieve().bind(tables=tables()).search(QUERIES[:0], top=3)
    assert ids.shape == scores.shape == (0, 3)


def test_search_refuses_invalid_queries_and_vectors():
    sampler = Retrieve().bind(tables=tables())
    for queries, top, words in (
        (None, 3, r"queries must be given, since Retrieve\(\) requires them \(got nothing\)"),
        (sp.csr_array(QUERIES), 3, r"queries must be a dense array, .* \(got a sparse matrix\)"),
        (QUERIES[:, :5], 3, r"queries must be an array with 16 columns \(got 5 columns\)"),
        (np.full((1, 16), np.nan), 3, "queries must be finite"),
        (QUERIES, 0, r"top must be an integer from 1 to 300, .* \(got 0\)"),
        (QUERIES, 301, r"top must be .* \(got 301\)"),
    ):
        with pytest.raises(ArgumentError, match=words):
            sampler.search(queries, top)
    for vectors, words in ((None, "nothing"), (sp.csr_array(ITEMS), "a sparse matrix")):
        with pytest.raises(ArgumentError, match=rf"vectors must be a dense array, .* \(got {words}\)"):
            Full().bind(n_items=300, vectors=vectors).search(QUERIES)
