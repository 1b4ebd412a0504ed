"""What approximate exchanges send, and what they keep back."""

import numpy as np
import pytest

from lshsample.errors import ArgumentError
from lshsample.nn import ApproximateActivations, ApproximateGradients, NetworkSpec, Sharded, Sparse
from lshsample.nn.exchange import ErrorFeedback, as_matrix
from lshsample.nn.remote import message_bytes

RNG = np.random.default_rng(0)


def test_the_largest_of_each_row_are_kept_with_the_first_of_equal_ones():
    h = np.array([[0, -3, 1, 2], [1, 1, 1, 1], [0, 0, 0, 5]], np.float32)
    kept = ApproximateActivations(0.5).largest(h)
    assert kept.columns.tolist() == [[1, 3], [0, 1], [0, 3]]
    np.testing.assert_array_equal(as_matrix(kept), [[0, -3, 0, 2], [1, 1, 0, 0], [0, 0, 0, 5]])
    gradient = np.arange(12, dtype=np.float32).reshape(3, 4)
    back = kept.part_of(gradient)
    assert back.tolist() == [[1, 3], [4, 5], [8, 11]]
    np.testing.assert_array_equal(kept.matrix(back), [[0, 1, 0, 3], [4, 5, 0, 0], [8, 0, 0, 11]])
    np.testing.assert_array_equal(as_matrix(ApproximateActivations(1.0).largest(h)), h)


def test_a_twentieth_of_the_bytes_is_sent():
    h = RNG.normal(size=(256, 128)).astype(np.float32)
    kept = ApproximateActivations(0.039).largest(h)
    assert kept.columns.dtype == np.uint8
    assert 20 * (message_bytes(kept) + message_bytes(kept.part_of(h))) < 2 * h.nbytes


@pytest.mark.parametrize("renew", [1, 7])
def test_what_is_not_sent_is_sent_later(renew):
    feedback, total, sent, n_sent = ErrorFeedback(ApproximateGradients(0.02, renew), (50, 20)), 0, 0, []
    for step in range(40):
        rows = None if step % 2 else RNG.choice(50, 9, replace=False).astype(np.int32)
        gradient = RNG.integers(-9, 10, (50 if rows is None else 9, 20)).astype(np.float32)
        whole = np.zeros((50, 20), np.float32)
        whole[slice(None) if rows is None else rows] = gradient
        one = feedback.sent(rows, gradient)
        assert (np.diff(one.places.astype(int)) > 0).all()
        n_sent.append(len(one.places))
        total += whole
        sent = sent + np.bincount(one.places, one.values, 1000).reshape(50, 20)
    assert (sent != 0).any()
    np.testing.assert_array_equal(total - sent, feedback._left)
    if renew == 1:
        assert np.median(n_sent) == pytest.approx(20, abs=5)  # equal numbers are sent together


def test_the_threshold_is_renewed_at_doubling_distances_up_to_the_given_one():
    exchange = ApproximateGradients(0.1, renew_steps=10)
    assert [step for step in range(41) if exchange.renews_at(step)] == [0, 1, 2, 4, 8, 10, 20, 30, 40]


def test_a_layer_says_that_it_approximates_in_its_plain_data():
    spec = NetworkSpec([Sparse(9), Sharded(50, n_active=9, exchange=ApproximateActivations(0.1))])
    assert spec.to_dict()["layers"][1]["exchange"] == {"kept": 0.1}
    assert NetworkSpec.from_json(spec.to_json()) == spec
    assert "exchange" not in NetworkSpec([Sparse(9), Sharded(50, n_active=9)]).to_dict()["layers"][1]


@pytest.mark.parametrize("kept", [0.0, 1.5, "a"])
def test_bad_shares_are_refused(kept):
    for kind in (ApproximateActivations, ApproximateGradients):
        with pytest.raises(ArgumentError, match="kept must be a"):
            kind(kept)
    with pytest.raises(ArgumentError, match="exchange must be None or an ApproximateActivations"):
        Sharded(50, exchange=kept)
