"""Neighbours against a scan of all rows, and what uses them."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.datasets import make_blobs
from sklearn.manifold import TSNE
from sklearn.neighbors import KNeighborsClassifier, KNeighborsTransformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import normalize

from lshsample.errors import ArgumentError
from lshsample.sklearn import LSHNeighbors

INDEXES = ("auto", "lsh")


@pytest.fixture(scope="module", params=["dense", "sparse"])
def rows(request):
    rng = np.random.default_rng(0)
    if request.param == "dense":
        return rng.standard_normal((300, 16), dtype=np.float32)
    # Few entries of both signs: most rows share no column with a query.
    return sp.random_array(
        (300, 60), density=0.05, format="csr", dtype=np.float32, rng=rng, data_sampler=rng.standard_normal
    )


def own_distances(rows):
    """Cosine distances of all pairs of rows; 1 for rows of zeros, which some of the sparse ones are."""
    products = normalize(rows) @ normalize(rows).T
    return 1 - (products.toarray() if sp.issparse(products) else products)


@pytest.mark.parametrize("own", [False, True])
def test_neighbors_are_the_nearest(rows, own):
    model = LSHNeighbors().fit(rows)
    every = own_distances(rows)
    if own:
        np.fill_diagonal(every, np.inf)
    for k in (3, 299):
        found, ids = model.kneighbors(None if own else rows, k)
        np.testing.assert_allclose(found, np.sort(every, axis=1)[:, :k], atol=1e-6)
        np.testing.assert_allclose(found, np.take_along_axis(every, ids, axis=1), atol=1e-6)
        assert all(len(set(row)) == k for row in ids.tolist())
    np.testing.assert_array_equal(
        model.kneighbors(rows, 3, return_distance=False), model.kneighbors(rows, 3)[1]
    )


def test_graphs_are_those_of_scikit_learn():
    rows = np.random.default_rng(0).standard_normal((200, 8), dtype=np.float32)
    for mode in ("distance", "connectivity"):
        ours = LSHNeighbors(7, mode=mode).fit_transform(rows)
        theirs = KNeighborsTransformer(n_neighbors=7, mode=mode, metric="cosine").fit_transform(rows)
        assert (ours.nnz, ours.shape) == (theirs.nnz, theirs.shape)
        np.testing.assert_allclose(ours.toarray(), theirs.toarray(), atol=1e-6)


@pytest.mark.parametrize("own", [False, True])
def test_radius(rows, own):
    model = LSHNeighbors(radius=0.8).fit(rows)
    every = own_distances(rows)
    if own:
        np.fill_diagonal(every, np.inf)
    queries = None if own else rows
    for radius in (None, 0.2, 0.99):
        limit = 0.8 if radius is None else radius
        found, ids = model.radius_neighbors(queries, radius)
        for row, of, distances in zip(every, ids, found, strict=True):
            assert set(of) == set(np.flatnonzero(row <= limit))
            assert (np.diff(distances) >= 0).all()
        graph = model.radius_neighbors_graph(queries, radius, mode="distance")
        assert graph.nnz == sum(map(len, ids))
        np.testing.assert_allclose(graph.data, np.concatenate(found))
        np.testing.assert_array_equal(graph.indices, np.concatenate(ids))


def test_tables_find_a_share_of_the_neighbors(rows):
    exact, tables = LSHNeighbors().fit(rows), LSHNeighbors(index="lsh").fit(rows)
    assert tables.neighbours_.tables is not None
    wanted, found = (model.kneighbors(n_neighbors=3, return_distance=False) for model in (exact, tables))
    assert np.mean([len(set(a) & set(b)) / 3 for a, b in zip(wanted, found, strict=True)]) > 0.8
    near = tables.radius_neighbors_graph(radius=0.5)
    all_of = exact.radius_neighbors_graph(radius=0.5)
    assert near.multiply(all_of).nnz == near.nnz >= 0.8 * all_of.nnz


def test_pipelines_of_what_takes_a_graph():
    x, y = make_blobs(n_samples=240, n_features=12, centers=4, random_state=0)
    model = make_pipeline(LSHNeighbors(n_neighbors=9), KNeighborsClassifier(9, metric="precomputed"))
    assert model.fit(x[:200], y[:200]).score(x[200:], y[200:]) == 1
    assert model[0].get_feature_names_out()[0] == "lshneighbors0"
    plane = TSNE(metric="precomputed", init="random", perplexity=3, max_iter=250, random_state=0)
    placed = make_pipeline(LSHNeighbors(n_neighbors=10), plane).fit_transform(x[:30])
    assert placed.shape == (30, 2)


@pytest.mark.parametrize("index", INDEXES)
def test_the_same_bits_for_threads_kinds_and_copies(rows, index):
    model = LSHNeighbors(index=index, n_jobs=1).fit(rows)
    other = sp.csr_array(rows) if isinstance(rows, np.ndarray) else rows.toarray()
    expected = model.kneighbors(rows, 20)
    for found in (
        LSHNeighbors(index=index, n_jobs=2).fit(rows).kneighbors(rows, 20),
        pickle.loads(pickle.dumps(model)).kneighbors(rows, 20),
        model.kneighbors(other, 20),
    ):
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({"n_neighbors": 0}, r"n_neighbors must be an integer >= 1 \(got 0\)"),
        ({"radius": 1.0}, r"radius must be a finite number in \[0, 1\) \(got 1.0\)"),
        ({"mode": "graph"}, r"mode must be 'distance' or 'connectivity' \(got 'graph'\)"),
        ({"index": "tree"}, "index must be"),
    ],
)
def test_bad_parameters(rows, parameters, match):
    with pytest.raises(ArgumentError, match=match):
        LSHNeighbors(**parameters).fit(rows)


def test_bad_searches(rows):
    model = LSHNeighbors().fit(rows)
    with pytest.raises(ArgumentError, match="n_neighbors must be an integer from 1 to 299, the rows to find"):
        model.kneighbors(n_neighbors=300)
    with pytest.raises(ArgumentError, match="radius must be"):
        model.radius_neighbors(radius=-0.1)
    with pytest.raises(ArgumentError, match="mode must be"):
        model.kneighbors_graph(mode="x")
