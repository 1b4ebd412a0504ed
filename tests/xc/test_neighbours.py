"""Neighbours among rows: each index against cosines by hand, what is left out, saved forms, refused input."""

import json

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample.errors import ArgumentError, CheckpointError
from lshsample.xc import RowNeighbours
from lshsample.xc.choose_tables import choose_tables
from lshsample.xc.unit_rows import unit_rows


def clusters(n, dim=32, seed=0, sparse=False):
    """Rows around 40 centres, with a large common mean if they are dense; the last row is zero."""
    rng = np.random.default_rng(seed)
    if sparse:
        centres = sp.random_array((40, 200), density=0.06, rng=1, dtype=np.float32, format="csr")
        noise = sp.random_array((n, 200), density=0.01, rng=seed, dtype=np.float32, format="csr")
        rows = sp.csr_array(centres[rng.integers(0, 40, n)] + noise)
    else:
        centres = np.random.default_rng(1).standard_normal((40, dim))
        rows = np.maximum(centres[rng.integers(0, 40, n)] + 0.4 * rng.standard_normal((n, dim)) + 1, 0)
        rows = rows.astype(np.float32)
    keep = np.ones((n, 1), np.float32)
    keep[-1] = 0
    return sp.csr_array(rows.multiply(keep)) if sparse else rows * keep


def by_hand(queries, rows, k, exclude=None):
    """Cosines above 0 in float64, the best k."""
    dense = [(m.toarray() if sp.issparse(m) else m).astype(np.float64) for m in (queries, rows)]
    unit = [m / np.maximum(np.linalg.norm(m, axis=1, keepdims=True), 1e-300) for m in dense]
    cosines = unit[0] @ unit[1].T
    if exclude is not None:
        cosines[np.arange(len(exclude)), exclude] = 0
    ids = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    best = np.take_along_axis(cosines, ids, axis=1)
    return np.where(best > 0, ids, -1), np.maximum(best, 0)


@pytest.mark.parametrize("exclude", [False, True])
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_exact_neighbours_are_those_by_hand(sparse, exclude):
    rows = clusters(300, sparse=sparse)
    own = np.arange(60) if exclude else None
    queries = rows[:60] if exclude else clusters(60, seed=2, sparse=sparse)
    built = RowNeighbours.build(rows, dtype="float32", threads=1)
    assert (built.index, built.n_rows, built.is_sparse) == ("inverted" if sparse else "exact", 300, sparse)
    ids, cosines = built.search(queries, 12, exclude=own, threads=1)
    expected, best = by_hand(queries, rows, 12, own)
    np.testing.assert_allclose(cosines, best, atol=2e-6)
    ties = np.abs(np.diff(best, axis=1)).min(axis=1) < 1e-6
    assert (ids == expected)[~ties].all()
    assert (~ties).sum() > 20
    assert ids.dtype == np.int32
    assert cosines.dtype == np.float32
    again = built.search(queries, 12, exclude=own, threads=3)
    assert (again[0] == ids).all()
    assert (again[1] == cosines).all()


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_more_neighbours_than_rows_and_rows_of_zeros(sparse):
    rows = clusters(6, sparse=sparse)
    ids, cosines = RowNeighbours.build(rows).search(rows, 9, exclude=np.arange(6))
    assert (ids[-1] == -1).all(), "a query of zeros has no neighbours"
    assert not (ids == 5).any(), "a row of zeros is a neighbour of none"
    assert not (ids == np.arange(6)[:, None]).any()
    assert (cosines[ids < 0] == 0).all()
    assert RowNeighbours.build(rows[:0]).search(rows, 2)[0].tolist() == [[-1, -1]] * 6
    assert RowNeighbours.build(rows).search(rows[:0], 2)[0].shape == (0, 2)


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_hash_tables_find_the_share_that_they_were_chosen_for(sparse):
    rows, queries = clusters(3000, sparse=sparse), clusters(200, seed=2, sparse=sparse)
    built = RowNeighbours.build(rows, "lsh", recall=0.8, dtype="float32", threads=1)
    choice = built.choice
    assert choice.recall >= 0.8
    assert choice.candidates < 1500
    exact = RowNeighbours.build(rows, dtype="float32").search(queries, 20)
    ids, cosines = built.search(queries, 20, threads=1)
    hits = sum(len(np.intersect1d(a[a >= 0], b)) for a, b in zip(exact[0], ids, strict=True))
    assert hits > 0.6 * (exact[0] >= 0).sum()
    unit = [m.toarray() if sparse else m for m in (unit_rows(queries, "q"), unit_rows(rows, "x"))]
    known = ids >= 0
    products = np.einsum("ij,ikj->ik", unit[0], unit[1][np.maximum(ids, 0)])
    np.testing.assert_allclose(np.where(known, products, 0), cosines, atol=2e-6)
    own = np.arange(50)
    assert not (built.search(rows[:50], 20, exclude=own)[0] == own[:, None]).any()
    assert (built.search(queries, 20, threads=3)[0] == ids).all()


def test_hidden_vectors_in_16_bits_have_nearly_the_same_neighbours():
    rows, queries = clusters(2000, dim=64), clusters(50, dim=64, seed=2)
    narrow, wide = (RowNeighbours.build(rows, "exact", dtype=d) for d in ("bfloat16", "float32"))
    assert narrow.memory_bytes * 2 == wide.memory_bytes
    (a, near), (b, exact) = (one.search(queries, 20) for one in (narrow, wide))
    np.testing.assert_allclose(near, exact, atol=3e-3)
    assert np.mean([len(np.intersect1d(x, y)) / 20 for x, y in zip(a, b, strict=True)]) > 0.95


@pytest.mark.parametrize("index", ["exact", "inverted", "lsh", "lsh-sparse"])
def test_saved_as_plain_data_and_arrays(index):
    sparse = index in ("inverted", "lsh-sparse")
    rows, queries = clusters(500, sparse=sparse), clusters(20, seed=2, sparse=sparse)
    built = RowNeighbours.build(rows, index.removesuffix("-sparse"), threads=1)
    spec, arrays = built.to_arrays()
    assert all(array.dtype.kind in "fiu" for array in arrays.values())
    opened = RowNeighbours.from_arrays(json.loads(json.dumps(spec)), arrays)
    assert repr(opened) == repr(built)
    assert opened.dim == built.dim
    for own, other in zip(built.search(queries, 5), opened.search(queries, 5), strict=True):
        np.testing.assert_array_equal(own, other)
    with pytest.raises(ArgumentError):
        RowNeighbours.from_arrays({**spec, "sparse": not sparse}, arrays)
    with pytest.raises(ArgumentError):
        RowNeighbours.from_arrays(spec, {})
    if built.tables is not None:
        damaged = arrays["tables"].copy()
        damaged[60] ^= 255
        with pytest.raises(CheckpointError):
            RowNeighbours.from_arrays(spec, {**arrays, "tables": damaged})


def test_a_recall_out_of_reach_gives_the_largest():
    rows = np.random.default_rng(0).standard_normal((3000, 64)).astype(np.float32)
    nearest = RowNeighbours.build(rows).search(rows[:30], 5, exclude=np.arange(30))[0]
    options = {"seed": 0, "threads": 1}
    some, most = (choose_tables(["simhash"], rows, np.arange(30), nearest, r, **options) for r in (0.5, 1.0))
    assert some.recall >= 0.5
    assert most.recall > some.recall
    assert most.seconds > some.seconds


def test_what_is_refused():
    dense, sparse = clusters(50), clusters(50, sparse=True)
    for options, message in [
        ({"index": "inverted"}, r"index must be 'auto', 'exact' or 'lsh' for dense rows \(got 'inverted'\)"),
        ({"recall": 0}, r"recall must be a number above 0 and at most 1 \(got 0\)"),
        ({"family": "simhash"}, r"family must be left out with index='exact' \(got 'simhash'\)"),
        ({"dtype": "int3"}, r"dtype must be"),
        ({"seed": -1}, r"seed must be an integer"),
    ]:
        with pytest.raises(ArgumentError, match=message):
            RowNeighbours.build(dense, **options)
    built = RowNeighbours.build(sparse)
    with pytest.raises(ArgumentError, match=r"queries must be sparse rows \(got dense rows\)"):
        built.search(dense, 3)
    with pytest.raises(ArgumentError, match=r"k must be an integer from 1 to"):
        built.search(sparse, 0)
    with pytest.raises(ArgumentError, match=r"queries must be an array with 32 columns \(got 31 columns\)"):
        RowNeighbours.build(dense).search(dense[:, :31], 3)
    with pytest.raises(ArgumentError, match="rows must be finite"):
        RowNeighbours.build(dense * np.float32(np.nan))
