"""The nearest-neighbour baseline."""

import os
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample.data import Dataset, cosine_knn, load
from lshsample.errors import ArgumentError
from lshsample.metrics import precision_at_k


def naive_knn(train: Dataset, test: Dataset, k: int, top: int):
    """Neighbours and votes by sorting all of them."""
    a, b = train.x.toarray().astype(float), test.x.toarray().astype(float)
    a /= np.maximum(np.linalg.norm(a, axis=1, keepdims=True), 1e-30)
    b /= np.maximum(np.linalg.norm(b, axis=1, keepdims=True), 1e-30)
    similarity = b @ a.T
    out = np.full((test.n_rows, top), -1)
    for row, s in enumerate(similarity):
        votes = sum(s[j] * train.y[[j]].toarray()[0] for j in np.argsort(-s)[:k])
        best = [label for label in np.argsort(-votes, kind="stable")[:top] if votes[label] > 0]
        out[row, : len(best)] = best
    return out


@pytest.mark.parametrize(("k", "top"), [(1, 1), (5, 3), (500, 5)])
def test_knn_equals_the_definition(k, top):
    rng = np.random.default_rng(3)
    train, test = (
        Dataset.of(
            sp.random_array((n, 12), density=0.4, rng=rng, format="csr"),
            sp.random_array((n, 8), density=0.2, rng=rng, format="csr").astype(bool),
        )
        for n in (60, 17)
    )
    labels, scores = cosine_knn(train, test, k=k, top=top)
    assert labels.tolist() == naive_knn(train, test, k, top).tolist()
    assert (np.diff(scores, axis=1) <= 0).all()
    assert (scores[labels < 0] == 0).all()


def test_knn_of_nothing_and_of_other_shapes():
    one = Dataset.of(sp.csr_array((1, 3)), sp.csr_array((1, 2)))
    assert cosine_knn(one, one, top=2)[0].tolist() == [[-1, -1]]
    none = Dataset.of(sp.csr_array((0, 3)), sp.csr_array((0, 2)))
    assert cosine_knn(none, one, top=2)[0].tolist() == [[-1, -1]]
    with pytest.raises(ArgumentError, match="test"):
        cosine_knn(one, Dataset.of(sp.csr_array((1, 3)), sp.csr_array((1, 5))))
    for options in ({"k": 0}, {"top": 1.5}, {"k": True}):
        with pytest.raises(ArgumentError, match=next(iter(options))):
            cosine_knn(one, one, **options)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("bibtex", (56.6, 34.3, 25.3)), ("delicious", (63.1, 56.7, 51.8)), ("citeulike-t", (64.0, 45.7, 36.6))],
)
def test_knn_on_real_data(name, expected):
    folder = os.environ.get("LSHSAMPLE_DATA")
    if not folder:
        pytest.skip("LSHSAMPLE_DATA is not a folder of real data")
    train, test = (load(Path(folder) / name / f"{side}.txt.gz") for side in ("train", "test"))
    labels, _ = cosine_knn(train, test)
    given = [100 * precision_at_k(labels, test.y, k) for k in (1, 3, 5)]
    # Ties between neighbours of binary rows may be broken either way.
    assert given == pytest.approx(expected, abs=1.1)
