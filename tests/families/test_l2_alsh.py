"""L2-ALSH: the published distance, its law, and a wrapped family without a kernel."""

import numpy as np
import pytest
from lshsample_families import E2LSH, L2ALSH
from lshsample_families._mips import row_norms

from lshsample import HashTables
from lshsample.errors import ArgumentError
from lshsample.hashing import hash_rows
from lshsample.registry import make_family
from lshsample.testing import FamilyCase
from lshsample.testing.conformance import check_blocks_and_threads, check_dense_equals_csr

DIM = 24


class WithoutKernel(E2LSH):
    """The reference alone."""

    def native(self):
        return None


def rows(seed=0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((200, DIM)) * rng.lognormal(0, 0.7, (200, 1))).astype(np.float32)


def test_the_published_distance_and_law():
    x, q = rows(), rows(1)
    family = make_family("l2-alsh", dim=DIM, n_hashes=4, n_tables=8).prepare(x)
    norms, s = row_norms(x), family.similarity_of(q, x)
    scaled = 0.83 * norms / norms.max()
    p, queries = family.transform(x).astype(np.float64), family.transform_query(q).astype(np.float64)
    squared = 1 + 3 / 4 - 2 * 0.83 * s / norms.max() + scaled**16
    np.testing.assert_allclose(((p - queries) ** 2).sum(1), squared, rtol=1e-5)
    expected = family.inner.collision_probability(np.sqrt(squared))
    np.testing.assert_allclose(family.collision_probability(s, norms), expected, rtol=1e-9)
    assert family.inner.spec.width == 2.5


def test_outgrown_bounds_and_refusals():
    x = rows()
    tables = HashTables(make_family("l2-alsh", dim=DIM, n_hashes=4, n_tables=8)).build(x)
    assert tables.rebuild(x * 2).family.spec.bound == 2 * row_norms(x).max()
    with pytest.raises(ArgumentError, match=r"x must be rows of norm at most .* \(got row \d+ of norm"):
        hash_rows(tables.family, x * 3)
    with pytest.raises(ArgumentError, match="family of euclidean similarity: the inner product"):
        L2ALSH(make_family("simhash", dim=DIM))


def test_a_wrapped_family_without_a_kernel():
    def make(**shape):
        return L2ALSH(WithoutKernel(E2LSH.Spec(**shape, bits=4)), bound=1e3)

    assert make(dim=8).native() is None
    assert make(dim=8).native_query() is None
    case = FamilyCase(make)
    check_dense_equals_csr(case)
    check_blocks_and_threads(case)
