"""The nearest items by each metric, against one pair at a time in float64."""

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample.compare.nearest import METRICS, kth_closeness, nearest, own_nearest
from lshsample.errors import ArgumentError, UnsupportedError
from lshsample.plugin import FamilySpec, HashFamily
from lshsample.registry import make_family


def closeness(metric, q, x):
    """One pair, from the definition."""
    if metric == "inner":
        return q @ x
    if metric == "cosine":
        scale = np.linalg.norm(q) * np.linalg.norm(x)
        return q @ x / scale if scale else 0.0
    if metric == "l2":
        return -np.linalg.norm(q - x)
    if metric == "l1":
        return -np.abs(q - x).sum()
    union = np.sum((q != 0) | (x != 0))
    return np.sum((q != 0) & (x != 0)) / union if union else 1.0


def rows_of(kind, seed):
    rng = np.random.default_rng(seed)
    q, x = rng.standard_normal((6, 20)), rng.standard_normal((90, 20)) + 0.3
    for rows in (q, x):
        rows[rng.random(rows.shape) < 0.6] = 0
    q[0] = x[3] = 0
    rows = [part.astype(np.float32) for part in (q, x)]
    return rows if kind == "dense" else [sp.csr_array(part) for part in rows]


@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize("metric", [metric for metric in METRICS if metric != "own"])
def test_every_metric_by_its_definition(metric, kind, monkeypatch):
    monkeypatch.setattr("lshsample.compare.nearest._SCORES", 6 * 32)  # several blocks
    q, x = rows_of(kind, 1)
    found = nearest(q, x, 7, metric)
    least = kth_closeness(q, x, found, metric)
    dense = [np.asarray(r if kind == "dense" else r.toarray(), np.float64) for r in (q, x)]
    for row, query in enumerate(dense[0]):
        each = np.round([closeness(metric, query, item) for item in dense[1]], 9)
        best = np.lexsort((np.arange(90), -each))[:7]
        np.testing.assert_array_equal(found[row], np.sort(best))
        expected = each[best].min() if metric != "l2" else -(each[best].min() ** 2)
        assert least[row] == pytest.approx(expected, abs=1e-6)


def test_near_items_far_from_the_origin():
    rng = np.random.default_rng(0)
    x = (1000 + 1e-3 * rng.standard_normal((200, 8))).astype(np.float32)
    distances = np.linalg.norm(x[:3, None].astype(np.float64) - x.astype(np.float64), axis=2)
    expected = np.sort(np.argsort(distances, axis=1, kind="stable")[:, :5], axis=1)
    np.testing.assert_array_equal(nearest(x[:3], x, 5, "l2"), expected)


def test_unknown_metrics():
    rows = np.eye(3, dtype=np.float32)
    with pytest.raises(
        ArgumentError, match=r"metric must be one of inner, cosine, l2, l1, jaccard \(got 'own'\)"
    ):
        nearest(rows, rows, 1, "own")


@pytest.mark.parametrize(
    ("family", "metric"),
    [("simhash", "cosine"), ("e2lsh", "l2"), ("simple-lsh", "inner"), ("minhash", "jaccard")],
)
def test_the_own_similarity_of_families(family, metric):
    q, x = rows_of("sparse" if metric == "jaccard" else "dense", 2)
    made = make_family(family, dim=20, n_hashes=1, n_tables=2).prepare(x)
    np.testing.assert_array_equal(own_nearest(made, q[1:], x, 5), nearest(q[1:], x, 5, metric))


def test_a_distance_is_recognised_by_its_collision_probability():
    class Manhattan(HashFamily):
        similarity = "manhattan"

        def hash(self, x):
            raise NotImplementedError

        def similarity_of(self, q, x):
            return np.abs(np.asarray(q, np.float64) - x).sum(axis=1)

        def collision_probability(self, similarity):
            return np.exp(-np.asarray(similarity))

    q, x = rows_of("dense", 3)
    np.testing.assert_array_equal(own_nearest(Manhattan(FamilySpec(dim=20)), q, x, 4), nearest(q, x, 4, "l1"))


def test_learned_families_have_no_own_similarity():
    q, x = rows_of("dense", 4)
    with pytest.raises(UnsupportedError):
        own_nearest(make_family("itq", dim=20, n_hashes=2, n_tables=1), q, x, 3)
