"""Losses on active sets against float64, and their gradients against finite differences."""

import numpy as np
import pytest

from lshsample._native import loss
from lshsample.errors import ArgumentError
from lshsample.testing import reference

PAIRS = [("softmax", "softmax_ragged"), ("sigmoid", "sigmoid_ragged")]


def targets(rng, lengths, share=True):
    """A few targets a row (none in some rows), summing to 1 where `share`."""
    counts = [int(min(n, rng.integers(0, 4))) for n in lengths]
    positions = [np.sort(rng.choice(n, c, replace=False)) for n, c in zip(lengths, counts, strict=True)]
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    values = np.repeat([1 / c if share and c else 1.0 for c in counts], counts)
    return indptr, np.concatenate([*positions, []]).astype(np.int32), values.astype(np.float32)


def rounding(inclusion):
    """Gradients at labels are differences w p - w t, each rounded."""
    return 1e-6 if inclusion is None else 2e-7 * np.exp(-inclusion.min(initial=0))


@pytest.mark.parametrize("name", ["softmax", "sigmoid"])
@pytest.mark.parametrize(("m", "n"), [(1, 1), (3, 7), (5, 33), (9, 129), (4, 5001)])
@pytest.mark.parametrize("corrected", [False, True])
def test_dense(isa, rng, name, m, n, corrected):
    logits = 5 * rng.standard_normal((m, n + 3), dtype=np.float32)[:, 1 : n + 1]
    inclusion = np.log(rng.uniform(0.001, 1, n)).astype(np.float32) if corrected else None
    aimed = targets(rng, [n] * m, name == "softmax")
    wanted_loss, wanted = getattr(reference, name)(logits, *aimed, inclusion)
    space = np.full((m, n + 3), 7.5, np.float32)
    gradient = space[:, 1 : n + 1]
    results = []
    for threads in (1, 2, 4):
        gradient[:] = logits
        found = getattr(loss, name)(gradient, *aimed, inclusion, threads=threads)
        results.append((found, gradient.copy()))
    assert (space[:, [0, -2, -1]] == 7.5).all()
    np.testing.assert_allclose(results[0][0], wanted_loss, rtol=1e-5, atol=2e-5)
    np.testing.assert_allclose(results[0][1], wanted, rtol=1e-5, atol=rounding(inclusion))
    for found, moved in results[1:]:
        np.testing.assert_array_equal(found, results[0][0])
        np.testing.assert_array_equal(moved, results[0][1])


@pytest.mark.parametrize("name", ["softmax", "sigmoid"])
@pytest.mark.parametrize("corrected", [False, True])
def test_ragged(isa, rng, name, corrected):
    lengths = [0, 1, 17, 33, 200, 2049, 5]
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    logits = 4 * rng.standard_normal(indptr[-1], dtype=np.float32)
    inclusion = np.log(rng.uniform(0.001, 1, indptr[-1])).astype(np.float32) if corrected else None
    aimed = targets(rng, lengths, name == "softmax")
    wanted_loss, wanted = getattr(reference, f"{name}_ragged")(logits, indptr, *aimed, inclusion)
    for threads in (1, 2, 4):
        gradient = logits.copy()
        found = getattr(loss, f"{name}_ragged")(gradient, indptr, *aimed, inclusion, threads=threads)
        np.testing.assert_allclose(found, wanted_loss, rtol=1e-5, atol=2e-5)
        np.testing.assert_allclose(gradient, wanted, rtol=1e-5, atol=rounding(inclusion))


@pytest.mark.parametrize("name", ["softmax", "sigmoid"])
def test_reference_gradient_is_the_loss_derivative(rng, name):
    logits, inclusion = rng.standard_normal((3, 6)), np.log(rng.uniform(0.1, 1, 6))
    aimed = targets(rng, [6] * 3, name == "softmax")
    call = getattr(reference, name)
    gradient = call(logits, *aimed, inclusion)[1]
    for place in np.ndindex(3, 6):
        step = np.zeros((3, 6))
        step[place] = 1e-5
        slope = (
            call(logits + step, *aimed, inclusion)[0] - call(logits - step, *aimed, inclusion)[0]
        ).sum() / 2e-5
        assert slope == pytest.approx(gradient[place], abs=1e-8)


@pytest.mark.parametrize("name", ["softmax", "sigmoid"])
def test_extreme_logits_stay_finite(isa, name):
    logits = np.array([[-1e30, 1e30, 0, 88, -88, 300, -300] * 5], np.float32)
    aimed = (np.array([0, 1]), np.array([1], np.int32), np.array([1], np.float32))
    wanted = getattr(reference, name)(logits, *aimed)
    found = getattr(loss, name)(logits, *aimed)
    np.testing.assert_allclose(found, wanted[0], rtol=1e-5)
    np.testing.assert_allclose(logits, wanted[1], rtol=1e-5, atol=2e-38)


@pytest.mark.parametrize("name", ["softmax", "sigmoid"])
def test_nan_shows_in_the_loss(isa, name):
    for place in (0, 20, 39):
        logits = np.zeros((2, 40), np.float32)
        logits[0, place] = np.nan
        found = getattr(loss, name)(
            logits, np.zeros(3, np.int64), np.empty(0, np.int32), np.empty(0, np.float32)
        )
        assert np.isnan(found[0])
        assert np.isfinite(found[1])


def test_row_without_labels_has_no_softmax_gradient(isa):
    logits = np.ones((1, 50), np.float32)
    found = loss.softmax(logits, np.zeros(2, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))
    assert found.tolist() == [0]
    assert (logits == 0).all()


def test_exp_within_two_units_in_the_last_place(isa):
    """With one further logit at 0 and no labels the row's exponentials show in the sigmoid's weights."""
    x = np.linspace(-87.3, 0, 200_003, dtype=np.float32)[None]
    weights = np.zeros_like(x)
    nothing = (np.zeros(2, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))
    loss.sigmoid(weights, *nothing, -x[0])  # exp(x) * sigmoid(0)
    wanted = np.exp(x.astype(np.float64))
    error = np.abs(2 * weights.astype(np.float64) - wanted) / np.spacing(wanted.astype(np.float32))
    assert error.max() < 2


ROW = np.zeros((1, 4), np.float32)
PTR, PLACE, ONE = np.array([0, 1]), np.array([0], np.int32), np.ones(1, np.float32)
FROZEN = ROW.copy()
FROZEN.flags.writeable = False


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("logits", lambda: loss.softmax(ROW.astype(float), PTR, PLACE, ONE)),
        ("logits", lambda: loss.softmax(FROZEN, PTR, PLACE, ONE)),
        ("target_positions", lambda: loss.softmax(ROW, PTR, PLACE + np.int32(4), ONE)),
        ("target_positions", lambda: loss.softmax(ROW, PTR, PLACE - np.int32(1), ONE)),
        ("target_positions", lambda: loss.softmax(ROW, PTR, PLACE.astype(np.int64), ONE)),
        ("target_indptr", lambda: loss.softmax(ROW, np.array([0, 2]), PLACE, ONE)),
        ("target_indptr", lambda: loss.softmax(ROW, np.array([0, 1, 1]), PLACE, ONE)),
        ("target_values", lambda: loss.softmax(ROW, PTR, PLACE, ONE.astype(float))),
        ("log_inclusion", lambda: loss.sigmoid(ROW, PTR, PLACE, ONE, np.zeros(3, np.float32))),
        ("values", lambda: loss.softmax_ragged(ROW, PTR, PTR, PLACE, ONE)),
        ("indptr", lambda: loss.softmax_ragged(ROW[0], np.array([0, 3]), PTR, PLACE, ONE)),
        (
            "target_positions",
            lambda: loss.sigmoid_ragged(ROW[0], np.array([0, 0, 4]), np.array([0, 1, 1]), PLACE, ONE),
        ),
    ],
)
def test_bad_arguments_are_named(argument, call):
    with pytest.raises(ArgumentError) as caught:
        call()
    assert caught.value.argument == argument
    assert (ROW == 0).all()
