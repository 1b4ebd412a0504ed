"""What approximate exchanges send, and what they keep back."""

import numpy as np
import pytest

from lshsample.errors import ArgumentError, DivergenceError
from lshsample.nn import (
    ApproximateActivations,
    ApproximateGradients,
    NetworkSpec,
    RoundedActivations,
    Sharded,
    Sparse,
)
from lshsample.nn.exchange import STEPS, CodedRows, ErrorFeedback, as_matrix
from lshsample.nn.remote import message_bytes

RNG = np.random.default_rng(0)


def test_the_largest_of_each_row_are_kept_with_the_first_of_equal_ones():
    h = np.array([[0, -3, 1, 2], [1, 1, 1, 1], [0, 0, 0, 5]], np.float32)
    kept = ApproximateActivations(0.5).sent(h)
    assert kept.columns.tolist() == [[1, 3], [0, 1], [0, 3]]
    np.testing.assert_array_equal(as_matrix(kept), [[0, -3, 0, 2], [1, 1, 0, 0], [0, 0, 0, 5]])
    gradient = np.arange(12, dtype=np.float32).reshape(3, 4)
    back = kept.part_of(gradient)
    assert back.tolist() == [[1, 3], [4, 5], [8, 11]]
    np.testing.assert_array_equal(kept.matrix(back), [[0, 1, 0, 3], [4, 5, 0, 0], [8, 0, 0, 11]])
    np.testing.assert_array_equal(as_matrix(ApproximateActivations(1.0).sent(h)), h)


@pytest.mark.parametrize("exchange", [ApproximateActivations(0.039), RoundedActivations(1, 2)], ids=str)
def test_a_twentieth_of_the_bytes_is_sent(exchange):
    h = RNG.normal(size=(256, 1024)).astype(np.float32)
    sent = exchange.sent(h)
    assert 20 * (message_bytes(sent) + message_bytes(sent.answer([h]))) < 2 * h.nbytes


@pytest.mark.parametrize("from_zero", [False, True])
@pytest.mark.parametrize("bits", [True, 1, 2, 4])
def test_values_are_rounded_to_the_nearest_of_a_grid(bits, from_zero):
    values = RNG.normal(size=(50, 37)).astype(np.float32) * np.float32(2.0) ** RNG.integers(-20, 20, (50, 1))
    values = np.maximum(values, 0) if from_zero else values
    coded = CodedRows.of(values, bits, True)
    assert coded.codes.shape == (50, -(-37 * bits // 8))
    grid = np.arange(2**bits, dtype=np.float32) - (0 if from_zero else (2**bits - 1) / 2)
    for row, found, step in zip(values, coded.matrix(), STEPS[coded.steps], strict=True):
        distance = np.abs(row[:, None] - grid * step).min(axis=1)
        np.testing.assert_allclose(np.abs(found - row), distance, rtol=1e-4, atol=1e-6 * step)


ERRORS = [(1, 0, 0.363), (2, 0, 0.119), (4, 0, 0.0115), (1, 1, 0.190), (2, 1, 0.047), (4, 1, 0.0037)]


@pytest.mark.parametrize(("bits", "from_zero", "wanted"), ERRORS)
def test_the_error_of_normal_values_is_the_least_of_a_uniform_grid(bits, from_zero, wanted):
    values = RNG.normal(size=(400, 500)).astype(np.float32)
    values = np.maximum(values, 0) if from_zero else values
    error = np.square(CodedRows.of(values, bits, True).matrix() - values).sum() / np.square(values).sum()
    assert wanted < error < 1.1 * wanted  # Max 1960; the steps are some per cent from the best ones


def test_a_row_is_rounded_alone_and_zeros_stay_zeros():
    values = RNG.normal(size=(9, 20)).astype(np.float32)
    values[::3] = np.abs(values[::3])
    values[4] = 0
    whole = RoundedActivations().sent(values)
    assert whole.rows.around.tolist() == [False, True, True, False, False, True, False, True, True]
    for i in range(9):
        alone = RoundedActivations().sent(values[i : i + 1])
        np.testing.assert_array_equal(alone.matrix()[0], whole.matrix()[i])
    assert not whole.matrix()[4].any()
    assert not whole.answer([np.zeros_like(values)])[0].matrix().any()
    assert as_matrix(RoundedActivations().sent(values[:0])).shape == (0, 20)


@pytest.mark.parametrize("scale", [1e-38, 1e-12, 1e12, 1e38])
def test_values_of_any_size_are_finite_and_have_their_sign(scale):
    values = (RNG.normal(size=(5, 64)) * scale).astype(np.float32)
    rounded = CodedRows.of(values, 1, False).matrix()
    assert np.isfinite(rounded).all()
    np.testing.assert_array_equal(np.sign(rounded), np.where(values < 0, -1, 1))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_not_rounded(value):
    with pytest.raises(DivergenceError, match="hidden layer is not finite"):
        RoundedActivations().sent(np.array([[0, value]], np.float32))


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
    spec = NetworkSpec([Sparse(9), Sharded(50, n_active=9, exchange=RoundedActivations(4, 2))])
    assert spec.to_dict()["layers"][1]["exchange"] == {"bits": 4, "gradient_bits": 2}
    assert NetworkSpec.from_json(spec.to_json()) == spec
    assert "exchange" not in NetworkSpec([Sparse(9), Sharded(50, n_active=9)]).to_dict()["layers"][1]


@pytest.mark.parametrize("kept", [0.0, 1.5, "a"])
def test_bad_shares_are_refused(kept):
    for kind in (ApproximateActivations, ApproximateGradients):
        with pytest.raises(ArgumentError, match="kept must be a"):
            kind(kept)
    with pytest.raises(ArgumentError, match="exchange must be None, a RoundedActivations, or an Approx"):
        Sharded(50, exchange=kept)


@pytest.mark.parametrize("bits", [0, 3, 8, "a", True, np.array([1, 2])], ids=str)
def test_bad_numbers_of_bits_are_refused(bits):
    for name in ("bits", "gradient_bits"):
        with pytest.raises(ArgumentError, match=f"{name} must be"):
            RoundedActivations(**{name: bits})


def test_bits_of_numpy_are_those_of_python():
    """A spec has plain values, which can be saved."""
    made = RoundedActivations(np.int64(4), np.uint8(1))
    assert [type(made.bits), type(made.gradient_bits)] == [int, int]
    spec = NetworkSpec([Sparse(9), Sharded(50, n_active=9, exchange=made)])
    assert NetworkSpec.from_toml(spec.to_toml()) == spec
