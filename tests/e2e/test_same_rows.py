"""Rows and labels that are the same give the same bits at every entrance, however they are stored.

The same rows: with zeros stored, with entries out of order or in parts that add up, in another format, with
another index type.
"""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

import lshsample as ls
from lshsample import data, metrics
from lshsample.compare.workloads import Workload
from lshsample.data import Dataset
from lshsample.estimates import sigmoid_gradient, softmax_gradient, sum_by_tables
from lshsample.hashing import hash_rows, probe_rows
from lshsample.nn import Dense, Network, Sampled, Sparse
from lshsample.registry import make_family
from lshsample.sampling import Include, Retrieve
from lshsample.training.defaults import choose_defaults

N, F, L = 60, 24, 9


def rows_and_labels():
    rng = np.random.default_rng(3)
    x = np.where(rng.random((N, F)) < 0.3, rng.integers(1, 9, (N, F)) / 4, 0).astype(np.float32)
    return sp.csr_array(x), sp.csr_array(rng.random((N, L)) < 0.3).astype(np.float32)


def stored(matrix, seed, *, parts=True):
    """The same matrix with zeros of both signs stored, in no order; with ``parts``, some values in two."""
    rng = np.random.default_rng(seed)
    coo = sp.coo_array(matrix)
    row, column = np.nonzero(rng.random(matrix.shape) < 0.3)
    kept = ~np.isin(row * matrix.shape[1] + column, coo.row * matrix.shape[1] + coo.col)
    row, column = row[kept], column[kept]
    values, more = coo.data.copy(), np.zeros(len(row), np.float32) * rng.choice([-1, 1], len(row))
    rows, columns = [coo.row, row], [coo.col, column]
    pieces = [values, more]
    if parts:
        half = rng.random(len(values)) < 0.3
        pieces[0] = np.where(half, values - 0.25, values)
        rows, columns = [*rows, coo.row[half]], [*columns, coo.col[half]]
        pieces.append(np.full(half.sum(), 0.25, np.float32))
    rows, columns, values = map(np.concatenate, (rows, columns, pieces))
    order = np.lexsort((rng.random(len(rows)), rows))
    indptr = np.searchsorted(rows[order], np.arange(matrix.shape[0] + 1))
    out = sp.csr_array(matrix.shape, dtype=np.float32)
    out.indptr, out.indices, out.data = (
        indptr.astype(np.int64),
        columns[order].astype(np.int32),
        values[order],
    )
    return out


X, Y = rows_and_labels()
WAYS = [stored(X, 1), stored(X, 2, parts=False), X.tocsc(), X.tocoo(), sp.lil_matrix(X), X.astype(np.float64)]
LABELS = [
    stored(Y, 3),
    stored(Y, 4, parts=False),
    Y.tocsc(),
    Y.astype(bool).tocoo(),
    Y.toarray() > 0,
    Y.tolil(),
]
PAIRS = list(zip(WAYS, LABELS, strict=True))


def network(**options):
    last = Sampled(L, "softmax", n_hashes=3, n_tables=4, n_active=4, sampler="lsh")
    return Network([Sparse(F, weighting="idf-l2", **options), Dense(8), last], seed=1)


def trained(x, y, **options):
    net = network(**options)
    ls.Trainer(net, batch_size=8, epochs=2, lr=0.02, threads=1).fit(x, y, validation=(x, y))
    return net


def same(one, other):
    """Nested arrays, equal to the bit."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(same, one, other))
    if sp.issparse(one):
        return same(*((m.shape, m.indptr, m.indices, m.data) for m in (one, other)))
    return np.asarray(one).tobytes() == np.asarray(other).tobytes()


def active(found):
    return found.indptr, found.ids, found.counts


def of_tables(x, y):
    family = make_family("minhash", dim=F, n_hashes=2, n_tables=6, seed=2)
    made = ls.HashTables(family).build(x)
    first = made.query(x)
    made.update([1, 5], ls_rows(x, [2, 3]))
    second = made.query(x)
    return [(f.indptr, f.ids, f.counts) for f in (first, second)]


def ls_rows(x, rows):
    return sp.csr_array(sp.csr_array(x).toarray()[rows]) if x is X else _padded_rows(x, rows)


def _padded_rows(x, rows):
    dense = sp.csr_array(sp.csr_array(x)).toarray()[rows]
    out = sp.csr_array(dense + 1)
    out.data[:] = dense.ravel()  # all entries stored, zeros included
    return out


def of_sampler(x, y):
    family = make_family("simhash", dim=F, n_hashes=3, n_tables=4, seed=2)
    made = ls.HashTables(family).build(x)
    sampler = (Retrieve() | Include()).bind(tables=made)
    include = sp.csr_array((N, N)) if y is Y else stored(sp.csr_array((N, N), dtype=np.float32), 5)
    alone = Include().bind(n_items=L)
    return [active(sampler.sample(x, include=include, seed=1)), active(alone.sample(include=y))]


def of_estimates(x, y):
    rng = np.random.default_rng(0)
    vectors, h = (
        rng.standard_normal((L, 6)).astype(np.float32),
        rng.standard_normal((N, 6)).astype(np.float32),
    )
    sampler = Include().bind(n_items=L)
    full = sampler.sample(include=np.ones((N, L)))
    sigmoid = sigmoid_gradient(full, h, vectors, y if sp.issparse(y) else sp.csr_array(y))
    share = sp.csr_array(np.full((N, L), 1 / L)).asformat(x.format)
    softmax = softmax_gradient(full, h, vectors, share)
    family = make_family("simhash", dim=F, n_hashes=2, n_tables=6, seed=2)
    sums = sum_by_tables(ls.HashTables(family).build(x), x, np.ones(N))
    return [sigmoid.loss.value, sigmoid.gradient.value, softmax.loss.value, sums.value]


def of_metrics(x, y):
    predicted = np.argsort(-np.random.default_rng(1).random((N, L)), axis=1)[:, :4]
    p = metrics.propensities(y)
    functions = (metrics.precision_at_k, metrics.recall_at_k, metrics.ndcg_at_k)
    return [p, *(function(predicted, y) for function in functions), metrics.psp_at_k(predicted, y, p)]


def of_dataset(x, y, folder):
    held = Dataset(x, y) if sp.issparse(y) else Dataset.of(x, y)
    data.write_xc(folder / "a.txt", held)
    data.write_npz(folder / "a.npz", held)
    knn = data.cosine_knn(held, held, k=3, top=4)
    return [held.x, held.y, (folder / "a.txt").read_bytes(), data.read_npz(folder / "a.npz").x, *knn]


def of_network(x, y):
    net = trained(x, y)
    weights = {p.name: p.weights for p in net.parameters}
    return [
        weights,
        net.predict(x),
        net.predict(x, mode="sampled"),
        net.hidden(x),
        list(net.evaluate(x, y).values()),
    ]


def of_steps(x, y):
    net = network(dropout=0.25)
    net.observe(x, y)
    trainer = ls.Trainer(net, lr=0.02, threads=1)
    return [trainer.step(x, y).loss for _ in range(3)] + [p.weights for p in net.parameters]


def of_choices(x, y):
    workload = Workload.of_rows("rows", x, n_queries=9)
    return [repr(choose_defaults(x, y)).encode(), workload.items, workload.queries, workload.truth]


@pytest.mark.parametrize("way", range(len(PAIRS)))
@pytest.mark.parametrize(
    "entrance", [of_tables, of_sampler, of_estimates, of_metrics, of_network, of_steps, of_choices]
)
def test_entrances(entrance, way):
    assert same(entrance(*PAIRS[way]), entrance(X, Y))


@pytest.mark.parametrize("way", range(len(PAIRS)))
def test_datasets(way, tmp_path):
    assert same(of_dataset(*PAIRS[way], tmp_path), of_dataset(X, Y, tmp_path))


@pytest.mark.parametrize("name", sorted(set(ls.families()) - {"function"}))
def test_families(name):
    family = make_family(name, dim=F, n_hashes=2, n_tables=5, seed=4).prepare(X)
    wanted = hash_rows(family, X), probe_rows(family, X, 2) if family.can_probe else None
    for x in WAYS:
        assert same(hash_rows(family, x), wanted[0])
        assert wanted[1] is None or same(probe_rows(family, x, 2), wanted[1])


def test_what_is_handed_out_is_what_scipy_takes():
    """One index type, so that all of SciPy's operations work."""
    net, vectorizer = network(), data.Tfidf.fit(["a b c", "a b", "b c"])
    batch, held = net.batch(WAYS[0], LABELS[0]), Dataset(WAYS[0], LABELS[0])
    taken = held.take(slice(3, 9))
    rows = [batch.x, batch.y, held.x, held.y, taken.x, taken.y, vectorizer.transform(["a", ""])]
    rows.append(net.input.checked(WAYS[0]).data)
    rows.append(ls.HashTables(make_family("minhash", dim=F)).build(WAYS[0]).snapshot().vectors)
    for matrix in filter(sp.issparse, rows):
        assert matrix.indptr.dtype == matrix.indices.dtype == np.int32
        coo, text = matrix.tocoo(), str(matrix)
        assert text
        assert len(matrix.nonzero()[0]) == matrix.nnz == coo.nnz
        for form in ("csc", "bsr", "lil", "dok"):
            assert np.array_equal(matrix.asformat(form).toarray(), matrix.toarray())
        assert ((matrix + matrix) != 2 * matrix).nnz == 0
        assert np.array_equal(matrix[::2].toarray(), matrix.toarray()[::2])
        assert (matrix @ matrix.T).shape == (matrix.shape[0],) * 2
