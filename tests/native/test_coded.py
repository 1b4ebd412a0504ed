"""Rows in 8 and 4 bits: their codes, their rounding, the cache against a plain model, the sparse products."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from lshsample._native import core
from lshsample._native.coded import CodedRows, CodedStep, RowCache
from lshsample._native.slots import Slots
from lshsample.errors import ArgumentError

NONE = RowCache(0.0)
WIDTHS = (1, 2, 15, 16, 33, 128, 131)


def made(rows=40, columns=33, bits=8, slots=3, cache=NONE, seed=5, state_bits=8):
    coded = CodedRows.zeros(rows, columns, bits, slots, cache, seed, state_bits)
    values = np.random.default_rng(0).standard_normal((rows, columns), dtype=np.float32)
    coded.write(0, values)
    return coded, values


@pytest.mark.parametrize("isa", core.available_isas())
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("columns", WIDTHS)
def test_values_are_the_nearest_of_equally_spaced_ones(isa, bits, columns):
    with core.forced_isa(isa):
        coded, values = made(columns=columns, bits=bits)
        found = coded.read()
    low, high = values.min(axis=1, keepdims=True), values.max(axis=1, keepdims=True)
    step = (high - low).astype(np.float64) / (2**bits - 1)
    nearest = low + np.floor((values - low) / np.where(step, step, 1) + 0.5) * step
    np.testing.assert_allclose(found, nearest, atol=1e-5)
    np.testing.assert_allclose(coded.scales, np.concatenate([step, low], axis=1), rtol=1e-6)


@pytest.mark.parametrize("bits", [8, 4])
def test_instruction_sets_write_the_same_codes(bits):
    found = []
    for isa in core.available_isas():
        with core.forced_isa(isa):
            coded, values = made(columns=45, bits=bits, slots=1)
            coded.update(None, values * np.float32(0.01), CodedStep(0.1), 3, 1)
            found.append(coded.records.tobytes())
    # Updates may differ by fused operations, which moves no code but in rare ties.
    arrays = [np.frombuffer(one, np.uint8) for one in found]
    assert all((one != arrays[0]).mean() < 0.02 for one in arrays)


@pytest.mark.parametrize("bits", [8, 4])
def test_rounding_is_unbiased(bits):
    """The mean of many rows that are written with the same value is the value (Gupta et al. 2015)."""
    values = np.zeros((1, 9), np.float32)
    values[0] = [0.0, 1.0, 0.1, 0.37, 0.5, 0.613, 0.75, 0.99, 0.004]
    trials, step = 20_000, 1 / (2**bits - 1)
    coded = CodedRows.zeros(trials, 9, bits, 1, NONE, seed=8)
    coded.update(None, -np.repeat(values, trials, axis=0), CodedStep(1.0), 1, 2)
    found = coded.read().astype(np.float64)
    assert set(np.unique(np.round(found / step)).astype(int)) <= set(range(2**bits))
    fraction = values[0] / step - np.floor(values[0] / step)
    deviation = step * np.sqrt(fraction * (1 - fraction) / trials) + step * 2.0**-16
    assert (np.abs(found.mean(axis=0) - values[0]) < 5 * deviation + 1e-6).all()
    # Columns are rounded independently.
    middle = np.flatnonzero((fraction > 0.2) & (fraction < 0.8))
    correlation = np.corrcoef(found[:, middle].T)
    assert np.abs(correlation - np.eye(len(middle))).max() < 6 / np.sqrt(trials)


def plain_step(values, g, how):
    """One step on the slots of a row in float64."""
    w, *state = values
    if not state:
        return [w - how.rate * g]
    if len(state) == 1:
        s = state[0] + g**2
        return [w - how.rate * g / (np.sqrt(s) + how.eps), s]
    m, v = how.beta1 * state[0] + how.rest1 * g, how.beta2 * state[1] + how.rest2 * g**2
    return [w - how.rate * m / (how.scale * np.sqrt(v) + how.eps), m, v]


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_a_cached_row_is_trained_in_float32(slots):
    coded, _ = made(rows=6, columns=21, slots=slots, cache=RowCache(1.0))
    rng, how = np.random.default_rng(1), CodedStep(0.1, 0.9, 0.1, 0.99, 0.01, 1.1, 1e-6)
    rows = np.array([1, 4], np.int32)
    values = [coded.read(rows).astype(np.float64), *np.zeros((slots - 1, 2, 21))]
    for step in range(1, 30):
        g = rng.standard_normal((2, 21), dtype=np.float32)
        coded.update(rows, g, how, step, 1)
        values = plain_step(values, g.astype(np.float64), how)
    for slot, wanted in enumerate(values):
        np.testing.assert_allclose(coded.read(rows, slot=slot), wanted, rtol=1e-4, atol=1e-5)
    assert sorted(coded.tags[coded.tags >= 0]) == [1, 4]


@pytest.mark.parametrize("slots", [2, 3])
@pytest.mark.parametrize(("bits", "state_bits"), [(8, 8), (4, 8), (8, 4)])
def test_state_in_few_bits_stays_near_that_of_float32(bits, state_bits, slots):
    """Over 200 steps, with gradients of columns that differ by a factor of 10: the mean of many rows, which
    no rounding may bias, and the weights.
    """
    rows, columns, steps = 300, 32, 200
    coded, _ = made(rows=rows, columns=columns, bits=bits, slots=slots, state_bits=state_bits)
    how, every = CodedStep(1e-3, 0.9, 0.1, 0.99, 0.01, 1.0, 1e-8), np.arange(rows, dtype=np.int32)
    rng, sizes = np.random.default_rng(1), np.logspace(-0.5, 0.5, columns, dtype=np.float32)
    values = [coded.read().astype(np.float64), *np.zeros((slots - 1, rows, columns))]
    for step in range(1, steps + 1):
        g = (rng.standard_normal((rows, columns), dtype=np.float32) + 0.5) * sizes
        coded.update(every, g, how, step, 1)
        values = plain_step(values, g.astype(np.float64), how)
    for slot in range(1, slots):
        found, wanted = coded.read(slot=slot).astype(np.float64), values[slot]
        if 4 in (bits, state_bits) and slot == slots - 1:  # the mean over a row
            np.testing.assert_allclose(
                found, wanted.mean(axis=1, keepdims=True) * np.ones(columns), rtol=1e-4
            )
        else:
            np.testing.assert_allclose(found.mean(axis=0), wanted.mean(axis=0), rtol=0.06 * 8 / state_bits)
            np.testing.assert_allclose(found.mean(), wanted.mean(), rtol=0.02)
    if (bits, state_bits) == (8, 8):
        walk = np.sqrt(steps / 6) * float(coded.scales[:, 0].max())  # of the weights' own rounding
        assert np.abs(coded.read() - values[0]).max() < 5 * walk


def state_of(g, bits, isa=None, seed=5, state_bits=8):
    """Rows whose moments are g and g**2, rounded."""
    with core.forced_isa(isa or core.available_isas()[0]):
        coded = CodedRows.zeros(*g.shape, bits, 3, NONE, seed, state_bits)
        coded.update(None, g, CodedStep(0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 1.0), 1, 2)
        return coded.read(slot=1), coded.read(slot=2), coded


@pytest.mark.parametrize("columns", WIDTHS)
def test_state_is_one_of_the_two_nearest_small_numbers(columns):
    g = np.random.default_rng(3).standard_normal((30, columns)).astype(np.float32)
    g[g < -1] = 0
    g[1] = 0
    g[2] *= np.float32(1e-12)
    g[3] *= np.float32(1e9)
    found = state_of(g, 8)
    for one, wanted, octaves in ((found[0], g, 15), (found[1], g * g, 31)):
        assert ((one == 0) >= (wanted == 0)).all()
        assert (np.sign(one) * np.sign(wanted) >= 0).all()
        top = np.abs(wanted).max(axis=1, keepdims=True)
        step = 2.0 ** (np.floor(np.log2(np.maximum(np.abs(wanted), 1e-30))) - 3)
        least = 2.0 ** (np.ceil(np.log2(np.maximum(top, 1e-30))) - octaves + 1)
        assert (np.abs(one - wanted) <= np.maximum(step * 1.001, least)).all()
        magnitude = np.abs(one[one != 0]).astype(np.float64)
        assert (magnitude / 2.0 ** (np.floor(np.log2(magnitude)) - 3) % 1 == 0).all()
    assert (found[1][g != 0] > 0).all()  # never divided by 0


@pytest.mark.parametrize("columns", WIDTHS)
def test_state_in_4_bits_is_one_of_the_two_nearest_powers_of_two(columns):
    g = np.random.default_rng(3).standard_normal((30, columns)).astype(np.float32)
    g[g < -1] = 0
    g[1] = 0
    g[2] *= np.float32(1e-12)
    g[3] *= np.float32(1e9)
    found = state_of(g, 8, state_bits=4)[0]
    assert ((found == 0) >= (g == 0)).all()
    assert (np.sign(found) * np.sign(g) >= 0).all()
    top = 2.0 ** np.ceil(np.log2(np.maximum(np.abs(g).max(axis=1, keepdims=True), 1e-30)))
    below = 2.0 ** np.floor(np.log2(np.maximum(np.abs(g), 1e-30)))
    within = np.abs(g) >= top / 64
    magnitude = np.abs(found)
    assert ((magnitude == below) | (magnitude == 2 * below))[within].all()
    assert ((magnitude == 0) | (magnitude == top / 64))[~within & (g != 0)].all()


@pytest.mark.parametrize(("bits", "state_bits"), [(8, 8), (4, 8), (8, 4), (4, 4)])
def test_state_is_the_same_on_each_instruction_set(bits, state_bits):
    g = np.random.default_rng(3).standard_normal((30, 45)).astype(np.float32)
    found = [state_of(g, bits, isa, state_bits=state_bits)[2].records for isa in core.available_isas()]
    for one in found[1:]:
        np.testing.assert_array_equal(one, found[0])


def test_rounding_of_state_is_unbiased():
    trials = 20_000
    values = np.array([1.0, 0.99, -0.77, 0.5, 0.31, -0.1, 0.013, -2e-5], np.float32)
    moment, square, _ = state_of(np.repeat(values[None], trials, axis=0), 8)
    for one, wanted in ((moment, values), (square, values**2)):
        error = np.abs(one.mean(axis=0, dtype=np.float64) - wanted)
        deviation = one.std(axis=0, dtype=np.float64) / np.sqrt(trials) + 2.0**-17 * np.abs(wanted)
        assert (error[:7] < 5 * deviation[:7]).all()
    # The least numbers: 2**-16 with a sign, of which the mean is kept, and 2**-31.
    assert abs(moment[:, 7].mean(dtype=np.float64) + 2e-5) < 2e-7


def test_rounding_of_state_in_4_bits_is_unbiased():
    trials = 20_000
    values = np.array([1.0, 0.99, -0.77, 0.5, 0.31, -0.1, 0.013, -0.001], np.float32)
    found, squares, _ = state_of(np.repeat(values[None], trials, axis=0), 8, state_bits=4)
    error = np.abs(found.mean(axis=0, dtype=np.float64) - values)
    deviation = found.std(axis=0, dtype=np.float64) / np.sqrt(trials) + 2.0**-17 * np.abs(values)
    assert (error < 5 * deviation).all()
    np.testing.assert_allclose(squares, np.mean(values**2), rtol=1e-6)
    # Columns are rounded independently.
    between = np.flatnonzero(found.std(axis=0) > 0.05)
    assert np.abs(np.corrcoef(found[:, between].T) - np.eye(len(between))).max() < 6 / np.sqrt(trials)


class PlainCache:
    """Sets of at most ``ways`` rows in lists, as the header describes them."""

    def __init__(self, rows, cache):
        self.sets, self.ways = cache.shape(rows)
        self.lfu = cache.policy == "lfu"
        self.places = [[-1] * self.ways for _ in range(self.sets)]
        self.uses, self.last = [0] * rows, [0] * rows

    def update(self, rows, step):
        for row in rows:
            self.uses[row] += 1
        for row in rows:
            places = self.places[row % self.sets]
            if row not in places:
                worth = (lambda r: self.uses[r]) if self.lfu else (lambda r: self.last[r])
                least = min(range(self.ways), key=lambda at: -1 if places[at] < 0 else worth(places[at]))
                if places[least] < 0 or worth(places[least]) < (self.uses[row] if self.lfu else step):
                    places[least] = row
            if row in places:
                self.last[row] = step


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["lfu", "lru"]),
    st.integers(1, 3),
    st.floats(0.05, 1.0),
    st.lists(st.sets(st.integers(0, 22)), max_size=25),
)
def test_the_cache_holds_what_a_plain_model_says(policy, ways, share, steps):
    cache = RowCache(share, policy=policy, ways=ways)
    coded, _ = made(rows=23, columns=3, slots=1, cache=cache)
    plain = PlainCache(23, cache) if cache.shape(23)[0] else None
    for step, rows in enumerate(steps, 1):
        ids = np.array(sorted(rows), np.int32)
        before = coded.read()
        coded.update(ids, np.zeros((len(ids), 3), np.float32), CodedStep(1.0), step, 1)
        if plain is not None:
            plain.update(ids.tolist(), step)
            assert coded.tags.tolist() == plain.places
        # A gradient of 0 changes nothing but by the rounding of rows that are written in codes.
        assert np.abs(coded.read() - before).max() < 2 * (before.max() - before.min()) / 255


def test_numbers_of_updates_are_halved_before_they_overflow():
    coded, _ = made(rows=5, columns=2, slots=1, cache=RowCache(0.4))
    coded.uses[:] = [65535, 100, 7, 0, 0]
    coded.update(np.array([0], np.int32), np.zeros((1, 2), np.float32), CodedStep(0.0), 1, 1)
    assert coded.uses.tolist() == [32768, 50, 3, 0, 0]


@pytest.mark.parametrize("policy", ["lfu", "lru"])
@pytest.mark.parametrize(("bits", "state_bits"), [(8, 8), (4, 8), (8, 4)])
def test_the_bits_are_the_same_for_any_number_of_threads(policy, bits, state_bits):
    found = []
    for threads in (1, 3):
        coded, _ = made(rows=400, bits=bits, cache=RowCache(0.1, policy=policy), state_bits=state_bits)
        rng = np.random.default_rng(2)
        for step in range(1, 9):
            rows = np.unique(rng.integers(0, 400, 300)).astype(np.int32)
            gradient = rng.standard_normal((len(rows), 33), dtype=np.float32)
            coded.update(rows, gradient, CodedStep(0.01, 0.9, 0.1, 0.99, 0.01, 1.0, 1e-8), step, threads)
        found.append([array.tobytes() for array in coded.arrays(state=True).values()])
    assert found[0] == found[1]


@pytest.mark.parametrize("isa", core.available_isas())
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("columns", [1, 16, 45, 2100])
def test_sparse_products_read_the_rows_where_they_are(isa, bits, columns):
    with core.forced_isa(isa):
        coded, _ = made(rows=50, columns=columns, bits=bits, cache=RowCache(0.2))
        rows = np.arange(0, 50, 3, dtype=np.int32)
        gradient = np.random.default_rng(1).standard_normal((len(rows), columns), dtype=np.float32)
        coded.update(rows, gradient, CodedStep(0.1), 1, 1)
        weights, rng = coded.read().astype(np.float64), np.random.default_rng(3)
        x = sp.random_array((9, 50), density=0.5, rng=rng, format="csr", dtype=np.float32)
        bias = rng.standard_normal(columns).astype(np.float32)
        found = coded.csr_matmul(x, Slots.of(bias.reshape(1, 1, -1)), 2)
        np.testing.assert_allclose(found, x @ weights + bias, rtol=1e-4, atol=1e-4)
        h = rng.standard_normal((9, columns)).astype(np.float32)
        of_rows = Slots.of(rng.standard_normal((50, 1, 1)).astype(np.float32))
        dots = coded.csr_sampled_matmul(h, of_rows, x.indptr.astype(np.int64), x.indices, 2)
        wanted = (h @ weights.T)[np.repeat(np.arange(9), np.diff(x.indptr)), x.indices]
        np.testing.assert_allclose(dots, wanted + of_rows.weights[x.indices, 0], rtol=1e-4, atol=1e-3)
        assert (coded.tags >= 0).any()
        np.testing.assert_array_equal(coded.read(x.indices[:4].copy()), coded.read()[x.indices[:4]])


@pytest.mark.parametrize("slots", [1, 2, 3])
@pytest.mark.parametrize(("bits", "state_bits"), [(4, 8), (8, 4)])
def test_memory_is_what_was_said(slots, bits, state_bits):
    for cache in (NONE, RowCache(0.05), RowCache(0.3, policy="lru", ways=3)):
        coded = CodedRows.zeros(333, 65, bits, slots, cache, 0, state_bits)
        assert coded.nbytes == CodedRows.bytes_needed(333, 65, bits, slots, cache, state_bits)


def test_what_is_not_finite_stays_so():
    coded, _ = made(rows=3, columns=20, slots=1)
    gradient = np.zeros((3, 20), np.float32)
    gradient[0, 7], gradient[1, 19] = np.nan, np.inf
    coded.update(None, gradient, CodedStep(1.0), 1, 1)
    assert np.isfinite(coded.read()).all(axis=1).tolist() == [False, False, True]


def test_new_state_keeps_the_weights():
    coded, _ = made(cache=RowCache(0.2))
    coded.update(None, np.ones((40, 33), np.float32), CodedStep(0.1, 0.9, 0.1), 1, 1)
    for slots in (1, 2, 3):
        np.testing.assert_array_equal(coded.with_slots(slots).read(), coded.read())
    coded.reset_state()
    for slot in (1, 2):
        assert not coded.with_slots(3).read(slot=slot).any()
        assert not coded.read(slot=slot).any()


def test_bad_values_are_refused():
    with pytest.raises(ArgumentError, match="bits"):
        CodedRows.zeros(4, 4, 5, 1, NONE)
    with pytest.raises(ArgumentError, match="state_bits"):
        CodedRows.zeros(4, 4, 8, 1, NONE, state_bits=5)
    with pytest.raises(ArgumentError, match="slots"):
        CodedRows.zeros(4, 4, 8, 4, NONE)
    for options in ({"share": 1.5}, {"share": 0.1, "policy": "fifo"}, {"share": 0.1, "ways": 0}):
        with pytest.raises(ArgumentError):
            RowCache(**options)
    coded, _ = made(cache=RowCache(0.5, ways=2))
    coded.tags[0, 0] = 1
    with pytest.raises(ArgumentError, match="tags"):
        coded.check_tags()
    with pytest.raises(ArgumentError, match="rows"):
        coded.read(np.array([40], np.int32))
