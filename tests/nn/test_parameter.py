"""Parameters: memory, initial weights and state by element type."""

import numpy as np
import pytest

from lshsample._native import convert, layers, optim
from lshsample._native.convert import Rounding
from lshsample._native.dtypes import BFLOAT16, DTYPES, FLOAT32
from lshsample.errors import ArgumentError, NativeError
from lshsample.nn.parameter import Parameter


def made(dtype, rows=300, columns=33, **options):
    return Parameter("w", rows, columns, 0.1, (5, 2), dtype=dtype, **options)


def test_float32_is_one_array():
    parameter = made("float32")
    parameter.allocate(3)
    assert parameter.store.shape == (300, 3, 33)
    assert parameter.store.flags.c_contiguous
    assert np.shares_memory(parameter.weights, parameter.store)
    assert parameter.store.nbytes == parameter.memory_needed(3) == 4 * 300 * 3 * 33


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("slots", [1, 2, 3])
def test_memory_needed_is_exact(dtype, slots):
    parameter = made(dtype)
    parameter.allocate(slots)
    assert parameter.slots.nbytes == parameter.memory_needed(slots)


def test_initial_weights_are_those_of_float32_rounded():
    """The same for any number of threads, over several blocks of the random stream."""
    wide, narrow, threaded = made("float32", 30_000), made("bfloat16", 30_000), made("bfloat16", 30_000)
    wide.allocate(1)
    narrow.allocate(3)
    threaded.allocate(1, threads=3)
    np.testing.assert_array_equal(narrow.weights, convert.from_float32(wide.weights, BFLOAT16))
    np.testing.assert_array_equal(narrow.weights, threaded.weights)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_more_slots_keep_the_weights(dtype):
    parameter = made(dtype)
    parameter.allocate(1)
    before = parameter.weights.copy()
    parameter.allocate(3)
    np.testing.assert_array_equal(parameter.weights, before)
    assert [d.name for d in parameter.slots.dtypes] == [dtype] * 3
    parameter.slots.slot(2).view(np.uint8)[...] = 1
    parameter.reset_state()
    assert not parameter.slots.slot(2).view(np.uint8).any()
    np.testing.assert_array_equal(parameter.weights, before)
    parameter.allocate(1)
    np.testing.assert_array_equal(parameter.weights, before)


def test_bfloat16_trains_by_adam_in_place():
    """A least-squares fit from a parameter's own views: the loss falls to the precision of the type."""
    rng = np.random.default_rng(0)
    parameter = made("bfloat16", rows=7, columns=19)
    parameter.allocate(3)
    x, target = rng.standard_normal((200, 19), dtype=np.float32), rng.standard_normal((7, 19)) * 0.5
    y = (x @ target.T).astype(np.float32)
    losses = []
    for step in range(1, 301):
        error = layers.matmul_nt(x, parameter.weights) - y
        losses.append(float(np.square(error).mean()))
        gradient = layers.matmul_tn(error / np.float32(len(x)), x)
        lr = 0.05 if step < 200 else 0.005
        optim.adam_rows(parameter.slots, None, gradient, lr, step=step, rounding=Rounding(1, step))
    # Weights of about 0.5 have neighbours 2^-9 to 2^-8 apart: 19 of them, each off by up to one.
    assert losses[-1] < 19 * 2.0**-16 < losses[0] / 1000


def test_use_before_allocation_is_an_error():
    parameter = made("bfloat16")
    for read in (lambda: parameter.slots, lambda: parameter.store, lambda: parameter.weights):
        with pytest.raises(NativeError, match="before it is allocated"):
            read()
    parameter.allocate(2)
    assert parameter.store.shape == (300, 2, 33)


@pytest.mark.parametrize(
    ("argument", "given", "options"),
    [
        ("dtype", "'float8'", {"dtype": "float8"}),
        ("dtype", "float16", {"dtype": DTYPES[2]}),
        ("device", "cuda:1", {"dtype": FLOAT32, "device": "cuda:1"}),
    ],
)
def test_only_what_is_supported_is_accepted(argument, given, options):
    with pytest.raises(ArgumentError) as caught:
        made(**options)
    assert caught.value.argument == argument
    assert given in caught.value.given
