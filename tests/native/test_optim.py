"""Row-sparse optimizers against float64 over several steps."""

import attrs
import numpy as np
import pytest
import reference

from lshsample._native import convert, optim
from lshsample._native.convert import Rounding
from lshsample._native.dtypes import BFLOAT16, FLOAT8, FLOAT32
from lshsample._native.slots import ArraySlots, Slots
from lshsample._native.unchecked import RowSums
from lshsample.errors import ArgumentError

SLOTS = {"sgd": 1, "adagrad": 2, "adam": 3}


def update(module, name, store, rows, grad, step, **threads):
    call = getattr(module, f"{name}_rows")
    if name == "adam":
        return call(store, rows, grad, 0.01, 0.9, 0.999, 1e-8, step, **threads)
    return call(store, rows, grad, 0.01, **threads)


@pytest.mark.parametrize("name", list(SLOTS))
@pytest.mark.parametrize("d", [1, 3, 17, 33, 128, 129])
def test_against_float64(isa, rng, name, d):
    n, start = 70, np.zeros((70, SLOTS[name], d), np.float32)
    start[:, 0] = rng.standard_normal((n, d))
    stores = {t: start.copy() for t in (1, 2, 4)}
    wanted = start.astype(np.float64)
    for step in range(1, 6):
        rows = rng.permutation(n)[: 23 * step % 71].astype(np.int32) if step < 5 else None
        grad = rng.standard_normal((n if rows is None else len(rows), d + 2), dtype=np.float32)[:, 1:-1]
        wanted = update(reference, name, wanted, rows, grad, step)
        for threads, store in stores.items():
            update(optim, name, store, rows, grad, step, threads=threads)
    np.testing.assert_allclose(stores[1], wanted, rtol=2e-5, atol=2e-6)
    np.testing.assert_array_equal(stores[1], stores[2])
    np.testing.assert_array_equal(stores[1], stores[4])


@pytest.mark.parametrize("name", list(SLOTS))
def test_other_rows_keep_their_bits(isa, rng, name):
    store = rng.random((40, SLOTS[name], 19), dtype=np.float32)
    before = store.copy()
    rows = np.array([3, 17, 39], np.int32)
    update(optim, name, store, rows, np.ones((3, 19), np.float32), 1)
    others = np.setdiff1d(np.arange(40), rows)
    np.testing.assert_array_equal(store[others], before[others])
    assert (store[rows] != before[rows]).any()


def bfloat16_slots(rng, name, n, d):
    """Weights and state in bfloat16."""
    slots = Slots.zeros(n, d, [BFLOAT16] * SLOTS[name])
    slots.weights[...] = convert.from_float32(rng.standard_normal((n, d), dtype=np.float32), BFLOAT16)
    return slots


def values_of(slots):
    """A float64 array (rows, slots, columns) of the slots' values."""
    return reference.bfloat16_values(slots.array["bfloat16"])


@pytest.mark.parametrize("rounding", [None, 11])
@pytest.mark.parametrize("name", list(SLOTS))
@pytest.mark.parametrize("d", [1, 3, 17, 33, 128, 129, 300])
def test_bfloat16_against_float64(isa, rng, name, d, rounding):
    """Each step lands within half a bfloat16 gap of the float64 step from where it began; stochastic rounding
    within a whole one.
    """
    n = 70
    held = {1: bfloat16_slots(rng, name, n, d)}
    for threads in (2, 4):
        held[threads] = Slots(held[1].data.copy(), d, held[1].dtypes)
    for step in range(1, 6):
        rows = rng.permutation(n)[: 23 * step % 71].astype(np.int32) if step < 5 else None
        grad = rng.standard_normal((n if rows is None else len(rows), d + 2), dtype=np.float32)[:, 1:-1]
        wanted = update(reference, name, values_of(held[1]), rows, grad, step)
        for threads, slots in held.items():
            how = None if rounding is None else Rounding(rounding, step)
            update(optim, name, slots, rows, grad, step, rounding=how, threads=threads)
        found = values_of(held[1])
        # Eight bits of precision: neighbours are at most 2^-7 of a value apart.
        gap = 2.0 ** (np.floor(np.log2(np.maximum(np.abs(wanted), 1e-30))) - 7)
        allowed = gap * (0.5 if rounding is None else 1) + 1e-5 * np.abs(wanted) + 1e-6
        assert (np.abs(found - wanted) <= allowed).all()
        for threads in (2, 4):
            np.testing.assert_array_equal(held[1].data, held[threads].data)


@pytest.mark.parametrize("name", list(SLOTS))
@pytest.mark.parametrize("d", [1, 5, 129, 300])
def test_bfloat16_is_the_float32_step_rounded(isa, rng, name, d):
    """The step in float32 and then a conversion, to the bit; bits are drawn by the row's own id, and the
    state takes those of the weights turned by 5 and by 10 places.
    """
    n, rows = 30, np.array([4, 29, 11], np.int32)
    grad = rng.standard_normal((3, d), dtype=np.float32)
    for rounding in (None, Rounding(5, 6)):
        slots = bfloat16_slots(rng, name, n, d)
        wide = values_of(slots).astype(np.float32)
        untouched = np.setdiff1d(np.arange(n), rows)
        before = slots.data[untouched].copy()
        update(optim, name, slots, rows, grad, 1, rounding=rounding)
        update(optim, name, wide, rows, grad, 1)
        for slot in range(SLOTS[name]):
            how = None if rounding is None else (rounding.seed, rounding.step)
            expected = reference.bfloat16_bits(wide[rows, slot], how, ids=rows, turned=5 * slot)
            np.testing.assert_array_equal(slots.slot(slot)["bfloat16"][rows], expected)
        np.testing.assert_array_equal(slots.data[untouched], before)


def float8_state(slots, slot):
    """State in float8 as float32, by the reference."""
    held = slots.slot(slot)
    top, signed = np.ascontiguousarray(held[:, :4]).view(np.int32)[:, 0], slot == 1 and len(slots.dtypes) == 3
    return reference.small_values(held[:, 4:], top, 8, signed).astype(np.float32)


@pytest.mark.parametrize("name", ["adagrad", "adam"])
@pytest.mark.parametrize("dtype", [FLOAT32, BFLOAT16], ids=str)
@pytest.mark.parametrize("d", [1, 5, 129, 300])
def test_state_in_float8_is_that_of_the_float32_step_rounded(isa, rng, name, dtype, d):
    """As for bfloat16; over several steps, by gradients of very different size, and some of 0."""
    n, rows, count = 12, np.array([4, 9, 1], np.int32), SLOTS[name]
    slots = Slots.zeros(n, d, [dtype, *[FLOAT8] * (count - 1)])
    values = rng.standard_normal((n, d), dtype=np.float32)
    slots.weights[...] = values if dtype == FLOAT32 else convert.from_float32(values, dtype)
    untouched = np.setdiff1d(np.arange(n), rows)
    before = slots.data[untouched].copy()
    for step in (1, 2, 3):
        grad = rng.standard_normal((3, d), dtype=np.float32) * np.float32([[1e-6], [1.0], [1e3]])
        grad *= 10 ** rng.uniform(-6, 0, (1, d)).astype(np.float32) * (rng.random((3, d)) < 0.8)
        weights = slots.weights if dtype == FLOAT32 else reference.bfloat16_values(slots.weights["bfloat16"])
        state = [float8_state(slots, slot) for slot in range(1, count)]
        wide = np.stack([weights, *state], axis=1).astype(np.float32)
        update(optim, name, slots, rows, grad, step, rounding=Rounding(5, step))
        update(optim, name, wide, rows, grad, step)
        if dtype == FLOAT32:
            np.testing.assert_array_equal(slots.weights, wide[:, 0])
        else:
            expected = reference.bfloat16_bits(wide[rows, 0], (5, step), ids=rows)
            np.testing.assert_array_equal(slots.weights["bfloat16"][rows], expected)
        for slot in range(1, count):
            signed = slot == 1 and count == 3
            codes, top = reference.small_codes(wide[rows, slot], 8, signed, (5, step), rows, 5 * slot)
            found = slots.slot(slot)[rows]
            np.testing.assert_array_equal(np.ascontiguousarray(found[:, :4]).view(np.int32)[:, 0], top)
            np.testing.assert_array_equal(found[:, 4:], codes)
    np.testing.assert_array_equal(slots.data[untouched], before)


@pytest.mark.parametrize("name", ["adagrad", "adam"])
def test_weights_with_state_in_float8_stay_near_those_of_float32(name):
    """Over 1,000 steps, with gradients of columns that differ by a factor of 100."""
    n, d, rng = 20, 64, np.random.default_rng(1)
    slots, other = (
        Slots.zeros(n, d, [FLOAT8 if i and few else FLOAT32 for i in range(SLOTS[name])]) for few in (1, 0)
    )
    sizes = np.logspace(-1, 1, d, dtype=np.float32)
    for step in range(1, 1001):
        grad = (rng.standard_normal((n, d), dtype=np.float32) + 0.2) * sizes
        update(optim, name, slots, None, grad, step, rounding=Rounding(3, step))
        update(optim, name, other, None, grad, step)
    for slot in range(1, SLOTS[name]):
        ratio = float8_state(slots, slot).mean(axis=0) / other.slot(slot).mean(axis=0)
        assert abs(ratio.mean() - 1) < 0.02
        if slot == SLOTS[name] - 1:
            assert np.abs(ratio - 1).max() < 0.3
    moved = np.linalg.norm(other.weights)
    assert np.linalg.norm(slots.weights - other.weights) < 0.1 * moved


@pytest.mark.parametrize("dtype", [FLOAT32, BFLOAT16], ids=str)
def test_state_in_float8_has_the_same_bits_for_any_number_of_threads_and_form_of_gradient(rng, dtype):
    n, d, found = 300, 130, []
    h = rng.standard_normal((9, d), dtype=np.float32)
    starts = np.arange(0, 2 * n + 1, 2)
    samples, values = (
        rng.integers(0, 9, 2 * n).astype(np.int32),
        rng.standard_normal(2 * n).astype(np.float32),
    )
    sums = RowSums(starts, samples, values, h, dtype)
    for threads, gradient in ((1, sums), (3, sums), (2, sums.array(1))):
        slots = attrs.evolve(Slots.zeros(n, d, [dtype, FLOAT8, FLOAT8]), seed=7)
        for step in (1, 2):
            optim.adam_unchecked(slots, None, gradient, 0.01, 0.9, 0.999, 1e-8, step, threads)
        found.append(slots.data)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_state_in_float8_needs_a_rounding(rng):
    slots = Slots.zeros(3, 5, [FLOAT32, FLOAT8, FLOAT8])
    with pytest.raises(ArgumentError, match="rounding"):
        update(optim, "adam", slots, None, np.ones((3, 5), np.float32), 1)
    with pytest.raises(ArgumentError, match="slot 2"):
        Slots.zeros(3, 5, [FLOAT32, FLOAT8, FLOAT32])


@pytest.mark.parametrize("dtype", [FLOAT32, BFLOAT16])
def test_slots_in_arrays_of_their_own_are_updated_as_interleaved_ones(rng, dtype):
    together = bfloat16_slots(rng, "adam", 9, 5) if dtype == BFLOAT16 else Slots.zeros(9, 5, [dtype] * 3)
    weights, (first, second) = together.weights.copy(), np.zeros((2, 9, 5), dtype.numpy)
    moments = np.zeros((9, 2, 5), dtype.numpy)
    apart = (
        ArraySlots.over(weights, moments[:, 0], moments[:, 1]),
        ArraySlots.over(weights.copy(), first, second),
    )
    for slot in (1, 2):
        values = np.abs(rng.standard_normal((9, 5), dtype=np.float32))
        for slots in (together, *apart):
            slots.slot(slot)[...] = convert.from_float32(values, dtype)
    rows, gradient = np.array([7, 0, 3], np.int32), rng.standard_normal((3, 5), dtype=np.float32)
    for slots in (together, *apart):
        optim.adam_rows(slots, rows, gradient, 0.1, step=3)
    for slots in apart:
        assert slots.nbytes == 9 * 5 * 3 * dtype.itemsize
        for slot in range(3):
            assert slots.slot(slot).tobytes() == together.slot(slot).tobytes()
    with pytest.raises(ArgumentError, match="slot 1 must be"):
        ArraySlots.over(weights, first[:3])
    with pytest.raises(ArgumentError, match="slot 1 must be"):
        ArraySlots.over(weights, first.astype(np.float64))


@pytest.mark.parametrize("d", [1, 7, 130, 300])
def test_a_gradient_in_bfloat16_is_that_of_its_values(isa, rng, d):
    halves = convert.from_float32(rng.standard_normal((3, d), dtype=np.float32), BFLOAT16)
    rows, rounding = np.array([4, 29, 11], np.int32), Rounding(1, 2)
    slots = bfloat16_slots(rng, "adam", 30, d)
    same = Slots(slots.data.copy(), d, slots.dtypes)
    optim.adam_rows(slots, rows, halves, 0.1, rounding=rounding)
    optim.adam_rows(same, rows, convert.to_float32(halves), 0.1, rounding=rounding)
    np.testing.assert_array_equal(slots.data, same.data)
    with pytest.raises(ArgumentError, match="grad"):
        optim.adam_rows(Slots.zeros(3, d, [FLOAT32] * 3), None, halves, 0.1)


@pytest.mark.parametrize("name", list(SLOTS))
@pytest.mark.parametrize("dtype", [FLOAT32, BFLOAT16], ids=str)
@pytest.mark.parametrize("d", [1, 17, 128, 300])
def test_a_gradient_of_sums_gives_the_bits_of_the_array_of_them(isa, rng, name, dtype, d):
    rows, of = np.array([7, 2, 30, 11], np.int32), rng.standard_normal((6, d), dtype=np.float32)
    starts, samples = np.array([0, 3, 3, 4, 70]), rng.integers(0, 6, 70).astype(np.int32)
    gradient = RowSums(starts, samples, rng.standard_normal(70, dtype=np.float32), of, dtype)
    found = []
    for given, threads in ((gradient, 1), (gradient, 3), (gradient.array(), 1)):
        store = Slots.zeros(40, d, [dtype] * SLOTS[name])
        store = attrs.evolve(store, seed=9) if dtype is BFLOAT16 else store
        for step in (1, 2):
            options = {"adam": (0.01, 0.9, 0.999, 1e-8), "adagrad": (0.01, 1e-8), "sgd": (0.01,)}[name]
            getattr(optim, f"{name}_unchecked")(store, rows, given, *options, step, threads)
        found.append(store.data.tobytes())
    assert found[0] == found[1] == found[2]
    assert store.weights[rows[[0, 2, 3]]].any()


def test_small_updates_are_lost_to_nearest_and_kept_on_average_stochastically(isa):
    """Steps of a hundredth of a gap: to nearest nothing moves; stochastically the mean moves by their sum."""
    columns, steps, lr = 20_000, 50, 0.01 * 2.0**-7
    grad = -np.ones((1, columns), np.float32)
    for stochastic in (False, True):
        slots = Slots.zeros(1, columns, [BFLOAT16])
        slots.weights[...] = convert.from_float32(-grad, BFLOAT16)
        for step in range(1, steps + 1):
            optim.sgd_rows(slots, None, grad, lr, rounding=Rounding(1, step) if stochastic else None)
        moved = (reference.bfloat16_values(slots.weights["bfloat16"]) - 1) * 2.0**7
        # The sum of 50 steps that are taken with probability 0.01 each: mean 0.5, variance 0.5.
        assert abs(moved.mean() - 0.5) < 4 * np.sqrt(0.5 / columns) if stochastic else (moved == 0).all()


def test_a_decaying_mean_falls_on_average_stochastically(isa):
    """A second moment loses a thousandth a step, less than half a gap: to nearest it keeps its value."""
    columns, steps, grad = 20_000, 300, np.zeros((1, 20_000), np.float32)
    for stochastic in (False, True):
        slots = Slots.zeros(1, columns, [BFLOAT16] * 3)
        slots.slot(2)[...] = convert.from_float32(grad + 1, BFLOAT16)
        for step in range(1, steps + 1):
            rounding = Rounding(1, step) if stochastic else None
            optim.adam_rows(slots, None, grad, 0.1, step=step, rounding=rounding)
        mean = reference.bfloat16_values(slots.slot(2)["bfloat16"]).mean()
        wanted = 0.999**steps if stochastic else 1.0
        assert abs(mean - wanted) <= 0.002 * stochastic


def test_float32_weights_are_not_rounded(rng):
    store = rng.random((4, 3, 19), dtype=np.float32)
    again, grad = store.copy(), np.ones((4, 19), np.float32)
    optim.adam_rows(store, None, grad, 0.1, rounding=Rounding(1, 2))
    optim.adam_rows(Slots.of(again), None, grad, 0.1)
    np.testing.assert_array_equal(store, again)


def test_adam_after_many_steps(isa):
    """The bias corrections tend to 1 and never overflow."""
    store = np.zeros((1, 3, 5), np.float32)
    optim.adam_rows(store, None, np.ones((1, 5), np.float32), 0.1, step=2**40)
    wanted = reference.adam_rows(np.zeros((1, 3, 5)), None, np.ones((1, 5)), 0.1, step=2**40)
    np.testing.assert_allclose(store, wanted, rtol=1e-5)


STORE, ROWS, GRAD = np.zeros((4, 3, 2), np.float32), np.array([2, 0], np.int32), np.ones((2, 2), np.float32)

READ_ONLY = np.zeros((4, 3, 2), np.float32)
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("store", lambda: optim.adam_rows(STORE[:, :2], ROWS, GRAD, 0.1)),
        ("store", lambda: optim.adam_rows(STORE[::2], ROWS, GRAD, 0.1)),
        ("store", lambda: optim.adam_rows(STORE.astype(float), ROWS, GRAD, 0.1)),
        ("store", lambda: optim.adagrad_rows(STORE, ROWS, GRAD, 0.1)),
        ("store", lambda: optim.sgd_rows([1.0], ROWS, GRAD, 0.1)),
        ("store", lambda: optim.adam_rows(Slots.of(STORE[:, :2].copy()), ROWS, GRAD, 0.1)),
        ("store", lambda: optim.sgd_rows(READ_ONLY, ROWS, GRAD, 0.1)),
        ("store", lambda: optim.sgd_rows(Slots.of(READ_ONLY), ROWS, GRAD, 0.1)),
        ("grad", lambda: optim.adam_rows(Slots.of(STORE), ROWS, GRAD[:1], 0.1)),
        ("rows", lambda: optim.sgd_rows(STORE, ROWS + np.int32(2), GRAD, 0.1)),
        ("rows", lambda: optim.sgd_rows(STORE, np.array([1, 1], np.int32), GRAD, 0.1)),
        ("rows", lambda: optim.sgd_rows(STORE, np.array([1, 2]), GRAD, 0.1)),
        ("grad", lambda: optim.sgd_rows(STORE, ROWS, GRAD[:1], 0.1)),
        ("grad", lambda: optim.sgd_rows(STORE, None, GRAD, 0.1)),
        ("grad", lambda: optim.sgd_rows(STORE, ROWS, GRAD[:, :1], 0.1)),
        ("lr", lambda: optim.sgd_rows(STORE, ROWS, GRAD, float("nan"))),
        ("beta2", lambda: optim.adam_rows(STORE, ROWS, GRAD, 0.1, beta2=1.0)),
        ("eps", lambda: optim.adam_rows(STORE, ROWS, GRAD, 0.1, eps=-1.0)),
        ("step", lambda: optim.adam_rows(STORE, ROWS, GRAD, 0.1, step=0)),
    ],
)
def test_bad_arguments_are_named(argument, call):
    with pytest.raises(ArgumentError) as caught:
        call()
    assert caught.value.argument == argument
    assert (STORE == 0).all()
