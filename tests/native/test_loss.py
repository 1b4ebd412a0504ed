"""Losses on active sets against float64, and their gradients against finite differences."""

import itertools

import numpy as np
import pytest
import reference

from lshsample._native import loss
from lshsample._native.loss import N_SUMS
from lshsample.errors import ArgumentError


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
        found = loss.apply(name, gradient, aimed, inclusion, threads=threads)
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
        found = loss.apply(name, gradient, aimed, inclusion, indptr=indptr, threads=threads)
        np.testing.assert_allclose(found, wanted_loss, rtol=1e-5, atol=2e-5)
        np.testing.assert_allclose(gradient, wanted, rtol=1e-5, atol=rounding(inclusion))


def smoothed_reference(name, o, t, inclusion, share, labels):
    """Loss and gradient of one row with smoothed targets, in float64; t holds its targets, 0 elsewhere."""
    spread, w = reference.smoothed(t, inclusion, share, labels), np.exp(-inclusion)
    if name == "softmax":
        log_z = np.logaddexp.reduce(o - inclusion)
        return spread @ (log_z - o), spread.sum() * np.exp(o - inclusion - log_z) - spread
    count, p = np.maximum(t, 1), 1 / (1 + np.exp(-o))
    even = spread - (1 - share) * t  # carries its weight w already
    target = (1 - share) * t * w + even
    return w @ (count * np.logaddexp(0, o)) - target @ o, w * count * p - target


def spread_out(aimed, row, n):
    indptr, positions, values = aimed
    t = np.zeros(n)
    t[positions[indptr[row] : indptr[row + 1]]] = values[indptr[row] : indptr[row + 1]]
    return t


@pytest.mark.parametrize("name", ["softmax", "sigmoid"])
@pytest.mark.parametrize(("n", "labels"), [(1, 0), (33, 0), (33, 1000), (2050, 9999)])
@pytest.mark.parametrize("share", [0.1, 0.9])
def test_smoothing_and_large_targets(isa, rng, name, n, labels, share):
    """Against float64, in one call and in parts, for any number of threads; positives are certain."""
    logits = 3 * rng.standard_normal((4, n), dtype=np.float32)
    indptr, positions, values = targets(rng, [n] * 4, name == "softmax")
    aimed = indptr, positions, values * (rng.uniform(0.5, 9, len(values)).astype(np.float32))
    inclusion = np.zeros(n, np.float32)
    if labels:
        inclusion = np.log(rng.uniform(0.05, 1, n)).astype(np.float32)
        inclusion[positions] = 0
    given = inclusion if labels else None
    wanted = [
        smoothed_reference(name, row.astype(float), spread_out(aimed, i, n), inclusion, share, labels)
        for i, row in enumerate(logits)
    ]
    for threads in (1, 3):
        gradient = logits.copy()
        found = loss.apply(name, gradient, aimed, given, smoothing=(share, labels), threads=threads)
        np.testing.assert_allclose(found, [w[0] for w in wanted], rtol=3e-5, atol=3e-5)
        np.testing.assert_allclose(gradient, [w[1] for w in wanted], rtol=2e-5, atol=1e-5)
    for bounds in ([0, n], [0, n // 3, n]):
        losses, parts = in_parts(name, logits, aimed, given, bounds, smoothing=(share, labels))
        np.testing.assert_allclose(losses, found, rtol=3e-5, atol=3e-5)
        np.testing.assert_allclose(parts, gradient, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["softmax", "sigmoid"])
def test_smoothing_over_a_sample_is_unbiased(name):
    """Over all samples, by their probability: the targets are those of all labels; the sigmoid loss and its
    gradient are exactly those of the full loss.
    """
    rng = np.random.default_rng(5)
    n, share, o = 7, 0.3, rng.standard_normal(7).astype(np.float32)
    pi = np.array([1, 0.5, 0.3, 0.8, 0.25, 1, 0.6])
    t = np.array([1.0, 0, 0, 0, 0, 1, 0]) * (0.5 if name == "softmax" else 3)
    full = smoothed_reference(name, o.astype(float), t, np.zeros(n), share, n)
    target = np.zeros(n)
    total, gradient = 0.0, np.zeros(n)
    for others in itertools.product([False, True], repeat=5):
        inside = np.ones(n, bool)
        inside[[1, 2, 3, 4, 6]] = others
        chance = np.prod(np.where(inside, pi, 1 - pi))
        ids, inclusion = np.flatnonzero(inside), np.log(pi[inside]).astype(np.float32)
        values = o[None, ids].copy()
        places = np.searchsorted(ids, [0, 5]).astype(np.int32)
        aimed = np.array([0, 2]), places, t[[0, 5]].astype(np.float32)
        total += chance * loss.apply(name, values, aimed, inclusion, smoothing=(share, n))[0]
        gradient[ids] += chance * values[0]
        if name == "softmax":
            weights = np.exp(o[ids] - inclusion)
            mass = (1 - share) * t.sum() + share * t.sum() / n * (1 / pi[ids]).sum()
            target[ids] += chance * (mass * weights / weights.sum() - values[0])
    if name == "softmax":
        np.testing.assert_allclose(target, (1 - share) * t + share * t.sum() / n, atol=1e-6)
    else:
        assert total == pytest.approx(full[0], rel=1e-6)
        np.testing.assert_allclose(gradient, full[1], atol=1e-6)


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
    found = loss.apply(name, logits, aimed)
    np.testing.assert_allclose(found, wanted[0], rtol=1e-5)
    np.testing.assert_allclose(logits, wanted[1], rtol=1e-5, atol=2e-38)


@pytest.mark.parametrize("name", ["softmax", "sigmoid"])
def test_nan_shows_in_the_loss(isa, name):
    for place in (0, 20, 39):
        logits = np.zeros((2, 40), np.float32)
        logits[0, place] = np.nan
        nothing = np.zeros(3, np.int64), np.empty(0, np.int32), np.empty(0, np.float32)
        found = loss.apply(name, logits, nothing)
        assert np.isnan(found[0])
        assert np.isfinite(found[1])


def test_row_without_labels_has_no_softmax_gradient(isa):
    logits = np.ones((1, 50), np.float32)
    nothing = np.zeros(2, np.int64), np.empty(0, np.int32), np.empty(0, np.float32)
    found = loss.apply("softmax", logits, nothing)
    assert found.tolist() == [0]
    assert (logits == 0).all()


def test_exp_within_two_units_in_the_last_place(isa):
    """With one further logit at 0 and no labels the row's exponentials show in the sigmoid's weights."""
    x = np.linspace(-87.3, 0, 200_003, dtype=np.float32)[None]
    weights = np.zeros_like(x)
    nothing = (np.zeros(2, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))
    loss.apply("sigmoid", weights, nothing, -x[0])  # exp(x) * sigmoid(0)
    wanted = np.exp(x.astype(np.float64))
    error = np.abs(2 * weights.astype(np.float64) - wanted) / np.spacing(wanted.astype(np.float32))
    assert error.max() < 2


ROW = np.zeros((1, 4), np.float32)
PTR, PLACE, ONE = np.array([0, 1]), np.array([0], np.int32), np.ones(1, np.float32)
FROZEN = ROW.copy()
FROZEN.flags.writeable = False
SUMS = np.zeros((1, N_SUMS))


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("loss", lambda: loss.apply("hinge", ROW, (PTR, PLACE, ONE))),
        ("values", lambda: loss.apply("softmax", ROW.astype(float), (PTR, PLACE, ONE))),
        ("values", lambda: loss.apply("softmax", FROZEN, (PTR, PLACE, ONE))),
        ("target_positions", lambda: loss.apply("softmax", ROW, (PTR, PLACE + np.int32(4), ONE))),
        ("target_positions", lambda: loss.apply("softmax", ROW, (PTR, PLACE - np.int32(1), ONE))),
        ("target_positions", lambda: loss.apply("softmax", ROW, (PTR, PLACE.astype(np.int64), ONE))),
        ("target_indptr", lambda: loss.apply("softmax", ROW, (np.array([0, 2]), PLACE, ONE))),
        ("target_indptr", lambda: loss.apply("softmax", ROW, (np.array([0, 1, 1]), PLACE, ONE))),
        ("target_values", lambda: loss.apply("softmax", ROW, (PTR, PLACE, ONE.astype(float)))),
        ("log_inclusion", lambda: loss.apply("sigmoid", ROW, (PTR, PLACE, ONE), np.zeros(3, np.float32))),
        ("values", lambda: loss.apply("softmax", ROW, (PTR, PLACE, ONE), indptr=PTR)),
        ("indptr", lambda: loss.apply("softmax", ROW[0], (PTR, PLACE, ONE), indptr=np.array([0, 3]))),
        (
            "target_positions",
            lambda: loss.apply(
                "sigmoid", ROW[0], (np.array([0, 1, 1]), PLACE, ONE), indptr=np.array([0, 0, 4])
            ),
        ),
        ("smoothing", lambda: loss.apply("softmax", ROW, (PTR, PLACE, ONE), smoothing=(1.0, 0))),
        ("smoothing", lambda: loss.combine("softmax", SUMS[None], -0.1)),
        ("values", lambda: loss.summarise("softmax", FROZEN, (PTR, PLACE, ONE))),
        ("parts", lambda: loss.combine("softmax", SUMS)),
        ("parts", lambda: loss.combine("softmax", SUMS[None].astype(np.float32))),
        ("parts", lambda: loss.combine("softmax", np.zeros((1, 1, 8))[:, :, ::2])),
        ("parts", lambda: loss.combine("softmax", np.zeros((1, 1, 3)))),
        ("part", lambda: loss.finish("softmax", ROW, (PTR, PLACE, ONE), [0.0], SUMS)),
        ("total", lambda: loss.finish("softmax", ROW, (PTR, PLACE, ONE), SUMS, np.zeros((2, N_SUMS)))),
    ],
)
def test_bad_arguments_are_named(argument, call):
    with pytest.raises(ArgumentError) as caught:
        call()
    assert caught.value.argument == argument
    assert (ROW == 0).all()


def cut(aimed, start, stop):
    """The targets from place start to stop (numbers, or one for each target), counted from the start."""
    indptr, positions, values = aimed
    starts = np.broadcast_to(start, positions.shape)
    rows = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    inside = (positions >= starts) & (positions < stop)
    counts = np.bincount(rows[inside], minlength=len(indptr) - 1)
    return (
        np.concatenate([[0], np.cumsum(counts)]),
        (positions[inside] - starts[inside]).astype(np.int32),
        np.ascontiguousarray(values[inside]),
    )


def in_parts(name, logits, aimed, inclusion, bounds, threads=1, smoothing=(0.0, 0)):
    """Loss and gradient of the columns between bounds, part after part."""
    pieces, sums = [], []
    for start, stop in itertools.pairwise(bounds):
        piece = logits[:, start:stop].copy()
        own = cut(aimed, start, stop), None if inclusion is None else inclusion[start:stop]
        sums.append(loss.summarise(name, piece, *own, smoothing=smoothing, threads=threads))
        pieces.append((piece, *own))
    total, losses = loss.combine(name, np.stack(sums), smoothing[0])
    for (piece, targets_here, inclusion_here), part in zip(pieces, sums, strict=True):
        own = {"smoothing": smoothing, "threads": threads}
        loss.finish(name, piece, targets_here, part, total, inclusion_here, **own)
    return losses, np.hstack([piece for piece, *_ in pieces])


#: Where a row of 300 columns is cut: halves, unequal parts, empty ones, single columns, in another order.
CUTS = [[0, 300], [0, 150, 300], [0, 1, 17, 200, 299, 300], [0, 0, 120, 120, 300, 300], range(0, 301, 20)]


@pytest.mark.parametrize("name", loss.LOSSES)
@pytest.mark.parametrize("corrected", [False, True])
@pytest.mark.parametrize("bounds", CUTS, ids=lambda bounds: f"{len(bounds) - 1} parts")
def test_parts_are_the_whole(isa, rng, name, corrected, bounds):
    """Rows whose labels lie in several parts, rows without labels, and parts without columns."""
    logits = 20 * rng.standard_normal((6, 300), dtype=np.float32)
    inclusion = np.log(rng.uniform(0.01, 1, 300)).astype(np.float32) if corrected else None
    aimed = targets(rng, [300] * 6, name == "softmax")
    whole = logits.copy()
    wanted = loss.apply(name, whole, aimed, inclusion)
    results = [in_parts(name, logits, aimed, inclusion, bounds, threads) for threads in (1, 2, 4)]
    for losses, gradient in results:
        np.testing.assert_allclose(losses, wanted, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(gradient, whole, rtol=1e-5, atol=rounding(inclusion))
        np.testing.assert_array_equal(losses, results[0][0])
        np.testing.assert_array_equal(gradient, results[0][1])
    if len(bounds) == 2:
        np.testing.assert_array_equal(results[0][0], wanted)
        np.testing.assert_array_equal(results[0][1], whole)


@pytest.mark.parametrize("name", loss.LOSSES)
def test_parts_of_ragged_rows_are_the_whole(isa, rng, name):
    """Each row cut in two at its own place; one part keeps the bits of the whole."""
    lengths = np.array([0, 1, 17, 33, 200, 2049, 5])
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    logits = 4 * rng.standard_normal(indptr[-1], dtype=np.float32)
    aimed = targets(rng, lengths, name == "softmax")
    whole, one = logits.copy(), logits.copy()
    wanted = loss.apply(name, whole, aimed, indptr=indptr)
    sums = loss.summarise(name, one, aimed, indptr=indptr)
    total, losses = loss.combine(name, sums[None])
    loss.finish(name, one, aimed, sums, total, indptr=indptr)
    np.testing.assert_array_equal(losses, wanted)
    np.testing.assert_array_equal(one, whole)
    of_row = np.repeat(np.arange(len(lengths)), lengths)
    first = np.arange(indptr[-1]) - indptr[of_row] < lengths[of_row] // 3
    ends = np.repeat(lengths // 3, np.diff(aimed[0]))
    halves, sums = [], []
    for kept, own in ((first, cut(aimed, 0, ends)), (~first, cut(aimed, ends, 2**31 - 1))):
        starts = np.concatenate([[0], np.cumsum(np.bincount(of_row[kept], minlength=len(lengths)))])
        halves.append((np.ascontiguousarray(logits[kept]), own, starts))
        sums.append(loss.summarise(name, *halves[-1][:2], indptr=starts, threads=2))
    total, losses = loss.combine(name, np.stack(sums))
    for (values, own, starts), part in zip(halves, sums, strict=True):
        loss.finish(name, values, own, part, total, indptr=starts, threads=2)
    np.testing.assert_allclose(losses, wanted, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(halves[0][0], whole[first], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(halves[1][0], whole[~first], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", loss.LOSSES)
def test_parts_are_added_in_their_order(isa, rng, name):
    """The sums are those of float64 additions from the first part on."""
    parts = np.abs(rng.standard_normal((5, 40, N_SUMS))) * 10.0 ** rng.integers(-8, 9, (5, 40, 1))
    total, losses = loss.combine(name, parts)
    again, same = loss.combine(name, parts.copy())
    np.testing.assert_array_equal(total, again)
    np.testing.assert_array_equal(losses, same)
    if name == "sigmoid":
        wanted = np.zeros(40)
        for part in parts:
            wanted = wanted + part[:, 1]
        np.testing.assert_array_equal(total[:, 1], wanted)
        assert (loss.combine(name, parts[::-1].copy())[0][:, 1] != wanted).any()


@pytest.mark.parametrize("name", loss.LOSSES)
def test_a_part_far_below_the_others_adds_nothing(isa, name):
    """Its exponentials are negligible, without an overflow; NaN shows in the loss, wherever it lies."""
    logits = np.array([[1e30, 0, -1e30, -1e30]], np.float32)
    aimed = PTR, np.array([3], np.int32), ONE
    whole = logits.copy()
    wanted = loss.apply(name, whole, aimed)
    losses, gradient = in_parts(name, logits, aimed, None, [0, 2, 4])
    np.testing.assert_array_equal(losses, wanted)
    np.testing.assert_array_equal(gradient, whole)
    logits[0, 3] = np.nan
    assert np.isnan(in_parts(name, logits, (PTR, PLACE, ONE), None, [0, 2, 4])[0]).all()
    empty = np.zeros((1, 0), np.float32), (np.zeros(2, np.int64), PLACE[:0], ONE[:0])
    losses = loss.combine(name, loss.summarise(name, *empty)[None])[1]
    assert losses.tolist() == [0]
