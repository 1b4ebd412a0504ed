"""Element types: the table, conversion and rounding against NumPy, slots, and what each argument refuses."""

import numpy as np
import pytest
import reference
import scipy.sparse as sp

from lshsample._native import convert, core, dtypes, layers, optim
from lshsample._native.convert import Rounding
from lshsample._native.core import ffi, lib
from lshsample._native.dtypes import BFLOAT16, DTYPES, FLOAT32
from lshsample._native.slots import Slots, row_bytes
from lshsample.errors import ArgumentError

WIDTHS = [1, 3, 7, 17, 33, 129, 256, 257, 1000]


def floats(rng, rows, columns):
    """Values of every magnitude, with a gap behind each row."""
    bits = rng.integers(0, 2**32, (rows, columns + 3), dtype=np.uint32)
    values = bits.view(np.float32)
    values[~np.isfinite(values)] = 1.5
    return values[:, 1 : columns + 1]


def bits_of(array):
    return array["bfloat16"]


def test_codes_are_those_of_the_core():
    for dtype in DTYPES:
        if dtype.code is not None:
            assert dtype.code == getattr(lib, f"LSH_{dtype.name.upper()}")


@pytest.mark.parametrize("columns", WIDTHS)
def test_to_nearest_and_back(isa, rng, columns):
    values = floats(rng, 9, columns)
    halves = convert.from_float32(values, BFLOAT16, threads=1)
    assert halves.dtype == BFLOAT16.numpy
    np.testing.assert_array_equal(bits_of(halves), reference.bfloat16_bits(values))
    back = convert.to_float32(halves)
    np.testing.assert_array_equal(back, reference.bfloat16_values(bits_of(halves)).astype(np.float32))
    for threads in (2, 4):
        np.testing.assert_array_equal(halves, convert.from_float32(values, "bfloat16", threads=threads))


@pytest.mark.parametrize("columns", WIDTHS)
def test_stochastic_rounding_restates_philox(isa, rng, columns):
    values, rounding = floats(rng, 3, columns), Rounding(2**40 + 7, 2**33 + 5)
    found = convert.from_float32(values, BFLOAT16, rounding, threads=1)
    wanted = reference.bfloat16_bits(values, (rounding.seed, rounding.step))
    np.testing.assert_array_equal(bits_of(found), wanted)


def test_stochastic_rounding_has_the_same_bits_on_any_number_of_threads(isa, rng):
    values, rounding = floats(rng, 300, 129), Rounding(3, 4)
    one = convert.from_float32(values, BFLOAT16, rounding, threads=1)
    for threads in (2, 4):
        np.testing.assert_array_equal(one, convert.from_float32(values, BFLOAT16, rounding, threads=threads))
    assert (one != convert.from_float32(values, BFLOAT16, Rounding(3, 5))).any()
    assert (one != convert.from_float32(values, BFLOAT16, Rounding(4, 4))).any()


def test_stochastic_rounding_is_unbiased(rng):
    """The mean of n roundings of values at a share p of a gap lies within 4 deviations of that share."""
    n = 200_000
    for share in (0.0, 2**-16, 0.01, 0.3, 0.5, 0.99):
        values = np.full((n // 1000, 1000), 1 + share * 2**-7, np.float32)
        found = reference.bfloat16_values(bits_of(convert.from_float32(values, BFLOAT16, Rounding(1, 2))))
        exact = (np.float64(values[0, 0]) - 1) * 2**7
        deviation = np.sqrt(exact * (1 - exact) / n)
        assert abs((found.mean() - 1) * 2**7 - exact) <= 4 * deviation


def test_special_values(isa):
    inf, nan = np.inf, np.nan
    values = np.array([[0.0, -0.0, inf, -inf, nan, -nan, 3.4e38, -3.4e38, 1e-45, 2.0**-133]], np.float32)
    values = np.concatenate([values, values], axis=1)
    nearest = convert.to_float32(convert.from_float32(values, BFLOAT16))
    stochastic = convert.to_float32(convert.from_float32(values, BFLOAT16, Rounding(0, 0)))
    # Beyond 3.39e38, the largest bfloat16, the nearest value is infinity; 2^-133 is the smallest.
    wanted = np.array([0.0, -0.0, inf, -inf, nan, nan, inf, -inf, 0.0, 2.0**-133], np.float32)
    np.testing.assert_array_equal(nearest[0], np.concatenate([wanted, wanted]))
    np.testing.assert_array_equal(np.signbit(nearest[0, :4]), [False, True, False, True])
    np.testing.assert_array_equal(stochastic[0, :6], wanted[:6])
    loud = np.array([[0x7F800001, 0xFFFFFFFF, 0x7F80FFFF]], np.uint32).view(np.float32)
    for rounding in (None, Rounding(0, 0)):
        assert np.isnan(convert.to_float32(convert.from_float32(loud, BFLOAT16, rounding))).all()


def test_float32_is_converted_as_it_is(rng):
    values = floats(rng, 5, 33)
    for rounding in (None, Rounding(0, 0)):
        np.testing.assert_array_equal(values, convert.from_float32(values, "float32", rounding))


def test_a_conversion_writes_its_columns_alone(isa, rng):
    space = np.full((6, 47), 7, np.uint16).view(BFLOAT16.numpy)
    values = floats(rng, 6, 41)
    lib_view = [convert.matrix(a, "x", dtypes=dtypes.KERNEL_DTYPES) for a in (values, space[:, 2:43])]
    for rounding in (ffi.NULL, ffi.new("lsh_rounding *", (1, 2))):
        core.check(lib.lsh_convert(*lib_view, rounding, 2), "convert")
        assert (bits_of(space)[:, [0, 1, 43, 44, 45, 46]] == 7).all()


def test_the_core_refuses_dtypes_without_kernels():
    halves = ffi.new("lsh_dense *", (ffi.NULL, 0, 4, 4, lib.LSH_FLOAT16))[0]
    floats_view = ffi.new("lsh_dense *", (ffi.NULL, 0, 4, 4, lib.LSH_FLOAT32))[0]
    bfloats = ffi.new("lsh_dense *", (ffi.NULL, 0, 4, 4, lib.LSH_BFLOAT16))[0]
    bad = lib.LSH_INVALID
    assert lib.lsh_convert(halves, floats_view, ffi.NULL, 1) == bad
    assert lib.lsh_convert(floats_view, halves, ffi.NULL, 1) == bad
    assert lib.lsh_convert(bfloats, bfloats, ffi.NULL, 1) == bad
    out = ffi.new("lsh_dense *", (ffi.NULL, 0, 0, 0, lib.LSH_FLOAT32))[0]
    square = ffi.new("lsh_dense *", (ffi.NULL, 4, 4, 4, 0))[0]
    for operands in (lib.LSH_FLOAT32, lib.LSH_BFLOAT16):
        assert lib.lsh_matmul_nt(floats_view, halves, ffi.NULL, ffi.NULL, 1, out, operands, 1) == bad
        assert lib.lsh_matmul_nt(bfloats, bfloats, ffi.NULL, ffi.NULL, 1, out, operands, 1) == bad
        assert lib.lsh_matmul_tn(floats_view, bfloats, square, operands, 1) == bad
    assert lib.lsh_column_sums(bfloats, ffi.NULL, 1) == bad
    store = ffi.new("lsh_store *", (ffi.NULL, 0, 4, 3, [(0, 24, 2), (8, 24, 0), (24, 24, 0)]))
    assert (
        lib.lsh_adam_rows(store, ffi.NULL, floats_view, ffi.NULL, 0.1, 0.9, 0.99, 1e-8, 1, ffi.NULL, 1) == bad
    )
    store = ffi.new("lsh_store *", (ffi.NULL, 0, 4, 3, [(0, 24, 1), (8, 24, 1), (16, 24, 0)]))
    assert (
        lib.lsh_adam_rows(store, ffi.NULL, floats_view, ffi.NULL, 0.1, 0.9, 0.99, 1e-8, 1, ffi.NULL, 1) == bad
    )


A, B, W = np.ones((2, 3), np.float32), np.ones((4, 3), np.float32), np.zeros((4, 3), BFLOAT16.numpy)
PTR, IDS = np.array([0, 1, 2]), np.array([0, 1], np.int32)
X = core.csr_rows(sp.csr_array(np.eye(3, 4)), "x")
GRAD = np.ones((4, 3), np.float32)


class OnDevice:
    """What other libraries' arrays say of themselves."""

    device = "cuda:0"


@pytest.mark.parametrize(
    ("argument", "given", "wanted", "call"),
    [
        ("a", "bfloat16", "array of float32", lambda: layers.matmul_nt(W, B)),
        ("b", "float16", "float32 or bfloat16", lambda: layers.matmul_nt(A, B.astype(np.float16))),
        ("b", "uint16", "float32 or bfloat16", lambda: layers.matmul_nn(A[:, :1], W["bfloat16"])),
        ("b", "bfloat16", "array of float32", lambda: layers.matmul_tn(B, W)),
        ("a", "bfloat16", "array of float32", lambda: layers.column_sums(W)),
        ("out", "bfloat16", "array of float32", lambda: layers.matmul_nt(A, B, out=W[:2])),
        ("weights", "int8", "float32 or bfloat16", lambda: layers.csr_matmul(X, B.astype(np.int8))),
        ("d", "bfloat16", "array of float32", lambda: layers.csr_transpose_matmul(X, W[:3])),
        ("h", "bfloat16", "array of float32", lambda: layers.csr_sampled_matmul(W[:2], B, None, PTR, IDS)),
        ("h", "bfloat16", "array of float32", lambda: layers.top_k(W, B, None, 1)),
        ("grad", "bfloat16", "array of float32", lambda: optim.sgd_rows(B[:, None], None, W, 0.1)),
        ("values", "bfloat16", "array of float32", lambda: convert.from_float32(W, "bfloat16")),
        ("values", "float16", "float32 or bfloat16", lambda: convert.to_float32(B.astype(np.float16))),
        ("dtype", "'float8'", "float32 or bfloat16", lambda: convert.from_float32(B, "float8")),
        ("dtype", "int8", "float32 or bfloat16", lambda: convert.from_float32(B, DTYPES[5])),
        ("dtypes", "float16", "float32 or bfloat16", lambda: Slots.zeros(1, 1, DTYPES[2:3])),
        (
            "dtypes",
            "bfloat16 in slot 1",
            "float32 or float8 in slot 1",
            lambda: Slots.zeros(1, 1, [FLOAT32, BFLOAT16]),
        ),
        (
            "dtypes",
            "float32 in slot 1",
            "bfloat16 or float8 in slot 1",
            lambda: Slots.zeros(1, 1, [BFLOAT16, FLOAT32]),
        ),
        ("dtypes", "9 slots", "1 to 8 slots", lambda: Slots.zeros(1, 1, [FLOAT32] * 9)),
        ("dtypes", "0 slots", "1 to 8 slots", lambda: Slots.zeros(1, 1, [])),
        ("store", "3 columns", "even number", lambda: Slots.of(np.zeros((1, 1, 3), BFLOAT16.numpy))),
        ("operands", "int8", "float32 or bfloat16", lambda: layers.matmul_nt(A, B, operands="int8")),
        ("store", "9", "1 to 8 slots", lambda: Slots.of(np.zeros((1, 9, 1), np.float32))),
        ("rounding", "int", "a Rounding", lambda: optim.sgd_rows(B[:, None], None, GRAD, 0.1, rounding=3)),
        ("seed", "-1", "from 0", lambda: Rounding(-1, 0)),
        ("x", "bfloat16", "real numbers", lambda: core.dense_rows(W, "x")),
        ("b", "cuda:0", "'cpu'", lambda: layers.matmul_nt(A, OnDevice())),
        ("x", "cuda:0", "'cpu'", lambda: core.dense_rows(OnDevice(), "x")),
    ],
)
def test_what_is_not_supported_is_named(argument, given, wanted, call):
    with pytest.raises(ArgumentError) as caught:
        call()
    assert caught.value.argument == argument
    assert given in str(caught.value.given)
    assert wanted in caught.value.wanted
    assert (GRAD == 1).all()
    assert (B == 1).all()


def test_slots_of_bfloat16_lie_interleaved():
    slots = Slots.zeros(5, 3, [BFLOAT16] * 3)
    assert row_bytes(3, slots.dtypes) == 3 * 8  # three halves, padded to a multiple of 4
    assert (slots.rows, slots.nbytes) == (5, 5 * 24)
    for index, value in enumerate((2.0, 3.0, 4.0)):
        slots.slot(index)[...] = convert.from_float32(np.full((5, 3), value, np.float32), BFLOAT16)
    for index, value in enumerate((2.0, 3.0, 4.0)):
        assert (convert.to_float32(slots.slot(index)) == value).all()
        assert (reference.bfloat16_values(slots.array["bfloat16"])[:, index] == value).all()
    # The first row: halves 0x4000, 0x4040, 0x4080, each slot with two bytes of padding.
    row = np.array([0x4000] * 3 + [0] + [0x4040] * 3 + [0] + [0x4080] * 3 + [0], np.uint16)
    np.testing.assert_array_equal(slots.data[0], row.view(np.uint8))
    even = Slots.zeros(5, 4, [BFLOAT16] * 2)
    assert np.shares_memory(Slots.of(even.array).data, even.data)


@pytest.mark.parametrize("shape", [(4, 1, 3), (4, 3, 5), (0, 3, 5), (4, 2, 0)])
def test_float32_slots_are_one_array(rng, shape):
    array = rng.random(shape, dtype=np.float32)
    slots = Slots.of(array)
    assert np.shares_memory(slots.array, array) or not array.size
    np.testing.assert_array_equal(slots.array, array)
    for index in range(shape[1]):
        np.testing.assert_array_equal(slots.slot(index), array[:, index])
    made = Slots.zeros(shape[0], shape[2], [FLOAT32] * shape[1])
    assert made.array.shape == shape
    assert made.nbytes == array.nbytes
