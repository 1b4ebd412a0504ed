"""Similarities that families inherit, of dense and sparse rows."""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.spatial import distance

from lshsample.compare.nearest import nearest, own_nearest
from lshsample.errors import UnsupportedError
from lshsample.family import DISTANCES, SIMILARITIES
from lshsample.plugin import FamilySpec, HashFamily, dense_rows

RNG = np.random.default_rng(0)
Q, X = (RNG.standard_normal((2, 40, 9)) * (RNG.random((2, 40, 9)) < 0.4)).astype(np.float32)
Q[0] = 0
EXPECTED = {
    "cosine": lambda q, x: 1 - distance.cosine(q, x) if q.any() and x.any() else 0.0,
    "inner_product": lambda q, x: float(q.astype(float) @ x.astype(float)),
    "euclidean": distance.euclidean,
    "l1": distance.cityblock,
}


def family_with(name):
    class Some(HashFamily[FamilySpec]):
        similarity = name

        def hash(self, x):
            return np.zeros((x.shape[0], self.n_tables), np.uint32)

        def collision_probability(self, similarity):
            s = np.asarray(similarity, np.float64)
            return np.exp(-s) if name in DISTANCES else 1 / (1 + np.exp(-s))

    return Some(FamilySpec(dim=9, n_hashes=1, n_tables=1))


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array], ids=["dense", "sparse"])
@pytest.mark.parametrize("name", SIMILARITIES)
def test_the_similarity_of_pairs(name, form):
    seen = family_with(name).similarity_of(form(Q), form(X))
    expected = [EXPECTED[name](q.astype(float), x.astype(float)) for q, x in zip(Q, X, strict=True)]
    assert seen.dtype == np.float64
    np.testing.assert_allclose(seen, expected, atol=1e-7)


@pytest.mark.parametrize(("name", "metric"), [("l1", "l1"), ("euclidean", "l2"), ("cosine", "cosine")])
def test_nearest_by_the_own_similarity(name, metric):
    found = own_nearest(family_with(name), Q[:5], X, 3)
    np.testing.assert_array_equal(found, nearest(Q[:5], X, 3, metric))


def test_another_name_has_no_similarity_of_its_own():
    with pytest.raises(UnsupportedError, match="does not implement similarity_of for 'chi_square'"):
        family_with("chi_square").similarity_of(Q, X)


def test_dense_rows():
    assert dense_rows(X) is X
    found = dense_rows(sp.csr_array(X))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, X)
