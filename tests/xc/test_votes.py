"""Votes: weights by hand, the best labels, the choice of a weighting on held-out rows, saved forms."""

import json

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample.errors import ArgumentError
from lshsample.xc import LabelVotes, Voting

IDS = np.array([[2, 0, 1], [1, -1, -1], [-1, -1, -1]], np.int32)
COSINES = np.array([[0.9, 0.5, 0.1], [0.4, 0, 0], [0, 0, 0]], np.float32)
LABELS = sp.csr_array(np.array([[1, 0, 1, 0], [0, 1, 0, 0], [1, 1, 0, 0]], np.float32))


@pytest.mark.parametrize(
    ("voting", "raw"),
    [
        (Voting(k=3), [0.9, 0.5, 0.1]),
        (Voting(k=2, power=2.0), [0.81, 0.25]),
        (Voting(k=9, temperature=0.2), np.exp(np.array([0.9, 0.5, 0.1]) / 0.2)),
        (Voting(k=3, power=0), [1, 1, 1]),
    ],
)
def test_weights_add_up_to_one(voting, raw):
    weights = voting.weights(IDS, COSINES)
    np.testing.assert_allclose(weights[0], np.divide(raw, np.sum(raw)), rtol=1e-5)
    np.testing.assert_allclose(weights.sum(axis=1), [1, 1, 0], rtol=1e-6)
    votes = LabelVotes(LABELS, voting)
    shares = votes.votes(IDS, COSINES).toarray()
    padded = np.zeros(3)
    padded[: weights.shape[1]] = weights[0]
    np.testing.assert_allclose(shares[0], padded @ LABELS.toarray()[[2, 0, 1]], rtol=1e-5)
    np.testing.assert_array_equal(shares[1:], [[0, 1, 0, 0], [0, 0, 0, 0]])


def test_a_small_temperature_has_finite_weights():
    weights = Voting(k=3, temperature=1e-6).weights(IDS, COSINES)
    np.testing.assert_array_equal(weights, [[1, 0, 0], [1, 0, 0], [0, 0, 0]])


def test_the_best_labels_ties_by_the_smaller():
    labels, scores = LabelVotes(LABELS, Voting(k=1)).predict(IDS, COSINES, top=3)
    assert labels.tolist() == [[0, 1, -1], [1, -1, -1], [-1, -1, -1]]
    assert scores.tolist() == [[1, 1, 0], [1, 0, 0], [0, 0, 0]]
    assert (labels.dtype, scores.dtype) == (np.int32, np.float32)
    assert LabelVotes(LABELS).predict(IDS[:0], COSINES[:0], 2)[0].shape == (0, 2)


def test_a_fit_chooses_what_is_best_on_held_out_rows():
    rng = np.random.default_rng(0)
    n, m, k = 400, 60, 40
    labels = sp.csr_array((np.ones(n, np.float32), (np.arange(n), rng.integers(0, 5, n))), shape=(n, 5))
    truth = rng.integers(0, 5, m)
    held_out = sp.csr_array((np.ones(m, np.float32), (np.arange(m), truth)), shape=(m, 5))
    of_label = [np.flatnonzero(labels.toarray()[:, label]) for label in range(5)]
    # The nearest three neighbours are right, all others are wrong.
    near = np.array([rng.choice(of_label[t], 3, replace=False) for t in truth])
    far = np.array([rng.choice(of_label[(t + 1) % 5], k - 3, replace=False) for t in truth])
    ids = np.concatenate([near, far], axis=1).astype(np.int32)
    cosines = np.broadcast_to(np.linspace(0.9, 0.3, k, dtype=np.float32), ids.shape)
    grid = [Voting(k=40), Voting(k=40, temperature=0.01), Voting(k=5), Voting(k=4)]
    chosen = LabelVotes.fit(labels, ids, cosines, held_out, grid=grid, at=(1,))
    assert chosen.voting == Voting(k=40, temperature=0.01), "the first of those that are right for every row"
    assert LabelVotes.fit(labels, ids, cosines, held_out).voting.temperature is not None
    with pytest.raises(ArgumentError, match="grid must be one Voting or more"):
        LabelVotes.fit(labels, ids, cosines, held_out, grid=[])
    with pytest.raises(ArgumentError, match="held_out must be at least one row"):
        LabelVotes.fit(labels, ids[:0], cosines[:0], held_out[:0])
    with pytest.raises(ArgumentError, match="held_out"):
        LabelVotes.fit(labels, ids, cosines, held_out[:-1])


def test_saved_as_plain_data_and_arrays():
    votes = LabelVotes(LABELS, Voting(k=7, temperature=0.3))
    spec, arrays = votes.to_arrays()
    opened = LabelVotes.from_arrays(json.loads(json.dumps(spec)), arrays)
    assert repr(opened) == repr(votes)
    assert (opened.votes(IDS, COSINES) != votes.votes(IDS, COSINES)).nnz == 0
    with pytest.raises(ArgumentError, match="n_labels"):
        LabelVotes.from_arrays({}, arrays)
    with pytest.raises(ArgumentError, match="indptr"):
        LabelVotes.from_arrays(spec, {})


def test_what_is_refused():
    with pytest.raises(
        ArgumentError, match=r"temperature must be left out with power \(got 0.1 with power\)"
    ):
        Voting(power=1, temperature=0.1)
    with pytest.raises(ArgumentError, match=r"k must be an integer from 1"):
        Voting(k=0)
    with pytest.raises(ArgumentError, match=r"voting must be a Voting \(got int\)"):
        LabelVotes(LABELS, 3)
    votes = LabelVotes(LABELS)
    with pytest.raises(ArgumentError, match=r"ids must be -1 to 2 \(got ids from 0 to 3\)"):
        votes.predict(np.array([[0, 3]]), np.ones((1, 2), np.float32))
    with pytest.raises(ArgumentError, match=r"ids must be integers \(m, k\), with cosines of the same shape"):
        votes.predict(IDS, COSINES[:, :2])
    with pytest.raises(ArgumentError, match=r"top must be an integer from 1"):
        votes.predict(IDS, COSINES, 0)
