"""Dense products against float64: odd sizes, gathered and strided rows, any number of threads, every ISA."""

import numpy as np
import pytest
import reference
import scipy.sparse as sp

from lshsample._native import convert, core, layers, unchecked
from lshsample._native.dtypes import BFLOAT16, FLOAT32
from lshsample._native.slots import Slots
from lshsample.errors import ArgumentError

SHAPES = [
    (1, 1, 1),
    (3, 7, 17),
    (8, 32, 128),
    (5, 33, 129),
    (17, 129, 3),
    (33, 70, 300),
    (13, 1100, 31),
    (300, 65, 9),
]


def unaligned(array):
    """A copy that starts 4 bytes behind an aligned address and whose rows have a gap."""
    rows, cols = array.shape
    space = np.full((rows + 1) * (cols + 5) + 1, np.nan, np.float32)
    view = space[1 : 1 + rows * (cols + 5)].reshape(rows, cols + 5)[:, :cols]
    view[:] = array
    return view


def bfloat16_weights(rng, rows, cols):
    """bfloat16 weights as a gapped view that starts 2 bytes behind an aligned address, and their values."""
    halves = convert.from_float32(normal(rng, rows, cols), "bfloat16")
    space = np.full((rows + 1) * (cols + 5) + 1, 0x7FC0, np.uint16).view(halves.dtype)
    view = space[1 : 1 + rows * (cols + 5)].reshape(rows, cols + 5)[:, :cols]
    view[:] = halves
    return view, reference.bfloat16_values(halves["bfloat16"])


def normal(rng, *shape):
    return rng.standard_normal(shape, dtype=np.float32)


def close(found, wanted, terms):
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=3e-6 * np.sqrt(terms + 1) * 4)


def same_bits(call):
    one = call(1)
    for threads in (2, 4):
        np.testing.assert_array_equal(one, call(threads))
    return one


@pytest.mark.parametrize(("m", "n", "k"), SHAPES)
def test_nt(isa, rng, m, n, k):
    a, b, bias = unaligned(normal(rng, m, k)), unaligned(normal(rng, n, k)), normal(rng, n, 3)[:, 1]
    close(same_bits(lambda t: layers.matmul_nt(a, b, threads=t)), reference.matmul_nt(a, b), k)
    rows = rng.integers(0, n, size=2 * n + 1, dtype=np.int32)
    found = same_bits(lambda t: layers.matmul_nt(a, b, bias=bias, rows=rows, threads=t))
    close(found, reference.matmul_nt(a, b, bias, rows), k)


@pytest.mark.parametrize(("m", "n", "k"), SHAPES)
def test_nn(isa, rng, m, n, k):
    b = unaligned(normal(rng, n, k))
    rows = rng.integers(0, n, size=2 * n + 1, dtype=np.int32)
    a = unaligned(normal(rng, m, len(rows)))
    close(
        same_bits(lambda t: layers.matmul_nn(a, b, rows=rows, threads=t)),
        reference.matmul_nn(a, b, rows),
        len(rows),
    )
    close(same_bits(lambda t: layers.matmul_nn(a[:, :n], b, threads=t)), reference.matmul_nn(a[:, :n], b), n)


@pytest.mark.parametrize(("m", "n", "k"), SHAPES)
def test_nt_of_bfloat16_weights(isa, rng, m, n, k):
    a, bias, (b, values) = unaligned(normal(rng, m, k)), normal(rng, n, 3)[:, 1], bfloat16_weights(rng, n, k)
    close(same_bits(lambda t: layers.matmul_nt(a, b, threads=t)), reference.matmul_nt(a, values), k)
    rows = rng.integers(0, n, size=2 * n + 1, dtype=np.int32)
    found = same_bits(lambda t: layers.matmul_nt(a, b, bias=bias, rows=rows, threads=t))
    close(found, reference.matmul_nt(a, values, bias, rows), k)
    # Converting is exact, so the product has the bits of the one over float32 weights.
    wide = values.astype(np.float32)
    np.testing.assert_array_equal(found, layers.matmul_nt(a, wide, bias=bias, rows=rows))


@pytest.mark.parametrize(("m", "n", "k"), SHAPES)
def test_nn_of_bfloat16_weights(isa, rng, m, n, k):
    b, values = bfloat16_weights(rng, n, k)
    rows = rng.integers(0, n, size=2 * n + 1, dtype=np.int32)
    a = unaligned(normal(rng, m, len(rows)))
    found = same_bits(lambda t: layers.matmul_nn(a, b, rows=rows, threads=t))
    close(found, reference.matmul_nn(a, values, rows), len(rows))
    found = same_bits(lambda t: layers.matmul_nn(a[:, :n], b, threads=t))
    close(found, reference.matmul_nn(a[:, :n], values), n)


@pytest.mark.parametrize(("m", "n", "k"), SHAPES)
def test_tn(isa, rng, m, n, k):
    a, b = unaligned(normal(rng, m, n)), unaligned(normal(rng, m, k))
    close(same_bits(lambda t: layers.matmul_tn(a, b, threads=t)), reference.matmul_tn(a, b), m)


def rounded(values):
    """The values of an array rounded to bfloat16."""
    return reference.bfloat16_values(reference.bfloat16_bits(values))


@pytest.mark.parametrize(("m", "n", "k"), [*SHAPES, (40, 600, 1100)])
def test_products_of_rounded_operands(isa, rng, m, n, k):
    """In tile registers they are those of operands in bfloat16; elsewhere nothing is rounded."""
    b, values = bfloat16_weights(rng, n, k)
    used = rounded if layers.has_tiles() else np.asarray
    rows, bias = rng.integers(0, n, size=2 * n + 1, dtype=np.int32), normal(rng, n, 3)[:, 1]
    a, wide = unaligned(normal(rng, m, k)), unaligned(normal(rng, m, len(rows)))
    how = {"operands": "bfloat16"}
    found = same_bits(lambda t: layers.matmul_nt(a, b, bias=bias, rows=rows, threads=t, **how))
    close(found, reference.matmul_nt(used(a), values, bias, rows), k)
    close(layers.matmul_nt(a, b, **how), reference.matmul_nt(used(a), values), k)
    found = same_bits(lambda t: layers.matmul_nn(wide, b, rows=rows, threads=t, **how))
    close(found, reference.matmul_nn(used(wide), values, rows), len(rows))
    close(layers.matmul_nn(wide[:, :n], b, **how), reference.matmul_nn(used(wide[:, :n]), values), n)
    found = same_bits(lambda t: layers.matmul_tn(wide, a, threads=t, **how))
    close(found, reference.matmul_tn(used(wide), used(a)), m)


@pytest.mark.parametrize(("m", "n", "k"), [(5, 33, 129), (33, 70, 300), (1100, 13, 31)])
def test_gradients_in_bfloat16_are_those_of_float32_rounded(isa, rng, m, n, k):
    """Of weights in bfloat16: dense, and of the columns that sparse rows have."""
    a, b = normal(rng, m, n), normal(rng, m, k)
    narrow, wide = (Slots.zeros(1, k, [dtype]) for dtype in (BFLOAT16, FLOAT32))
    out = np.zeros((n, k), BFLOAT16.numpy)
    unchecked.matmul_tn(unchecked.dense(a), unchecked.dense(b), unchecked.dense(out), narrow, 2)
    wanted = layers.matmul_tn(a, b, operands="bfloat16")
    np.testing.assert_array_equal(out, convert.from_float32(wanted, BFLOAT16))
    x = core.csr_rows(sp.random_array((m, n), density=0.3, rng=rng, format="csr", dtype=np.float32), "x")
    found = unchecked.csr_transpose_matmul(x, b, narrow, 0.5)
    columns, sums, of_bias = unchecked.csr_transpose_matmul(x, b, wide, 0.5)
    np.testing.assert_array_equal(found[0], columns)
    assert found[1].shape == (len(columns), k)
    np.testing.assert_array_equal(found[1].array(2), convert.from_float32(sums.array(), BFLOAT16))
    np.testing.assert_array_equal(found[2].array(), of_bias.array())
    np.testing.assert_allclose(
        of_bias.array()[:, 0], 0.5 * x.toarray().sum(axis=0)[columns], rtol=1e-5, atol=1e-5
    )


def test_tiles_are_used_on_the_last_set_alone(isa):
    assert not layers.has_tiles() or isa == "avx512"


def test_rounded_products_of_weights_in_float32_are_those_of_float32(isa, rng):
    a, b = normal(rng, 5, 9), normal(rng, 17, 9)
    np.testing.assert_array_equal(layers.matmul_nt(a, b, operands="bfloat16"), layers.matmul_nt(a, b))
    np.testing.assert_array_equal(
        layers.matmul_nn(a @ b.T, b, operands="bfloat16"), layers.matmul_nn(a @ b.T, b)
    )


def test_column_sums(isa, rng):
    for m, n in [(1, 1), (3, 7), (130, 1025), (0, 4)]:
        a = unaligned(normal(rng, m, n))
        close(same_bits(lambda t, a=a: layers.column_sums(a, threads=t)), a.astype(float).sum(axis=0), m)


def test_out_is_written_within_its_bounds(isa, rng):
    a, b = normal(rng, 9, 20), normal(rng, 41, 20)
    halves = convert.from_float32(b, "bfloat16")
    for call, shape in [
        (lambda out: layers.matmul_nt(a, b, out=out), (9, 41)),
        (lambda out: layers.matmul_nn(normal(rng, 9, 41), b, out=out), (9, 20)),
        (lambda out: layers.matmul_tn(a, normal(rng, 9, 33), out=out), (20, 33)),
        (lambda out: layers.matmul_nt(a, halves, operands="bfloat16", out=out), (9, 41)),
        (lambda out: layers.matmul_nn(normal(rng, 9, 41), halves, operands="bfloat16", out=out), (9, 20)),
        (lambda out: layers.matmul_tn(a, normal(rng, 9, 33), operands="bfloat16", out=out), (20, 33)),
    ]:
        space = np.full((shape[0] + 2, shape[1] + 7), 7.5, np.float32)
        out = space[1:-1, 3 : 3 + shape[1]]
        assert call(out) is out
        out[:] = 7.5
        assert (space == 7.5).all()


def test_empty_sizes():
    none = np.zeros((0, 4), np.float32)
    assert layers.matmul_nt(none, np.ones((3, 4), np.float32)).shape == (0, 3)
    assert layers.matmul_nt(np.ones((2, 4), np.float32), none).shape == (2, 0)
    assert (layers.matmul_nn(np.ones((2, 0), np.float32), none) == 0).all()
    assert (layers.matmul_tn(np.ones((0, 2), np.float32), none) == 0).all()
    zero_width = layers.matmul_nt(
        np.ones((2, 0), np.float32), np.ones((3, 0), np.float32), bias=np.ones(3, np.float32)
    )
    assert (zero_width == 1).all()
    halves, how = convert.from_float32(np.ones((3, 4), np.float32), "bfloat16"), {"operands": "bfloat16"}
    assert layers.matmul_nt(none, halves, **how).shape == (0, 3)
    assert (layers.matmul_nn(np.ones((2, 0), np.float32), halves[:0], **how) == 0).all()
    assert (layers.matmul_nt(np.ones((2, 0), np.float32), halves[:, :0], **how) == 0).all()
    assert (layers.matmul_tn(np.ones((0, 2), np.float32), none, **how) == 0).all()


def test_nan_reaches_only_its_row(isa, rng):
    a, b = normal(rng, 6, 10), normal(rng, 40, 10)
    a[2, 3] = np.nan
    halves = convert.from_float32(b, "bfloat16")
    for found in (layers.matmul_nt(a, b), layers.matmul_nt(a, halves, operands="bfloat16")):
        bad = np.isnan(found)
        assert bad[2].all()
        assert bad.sum() == 40


A, B = np.ones((2, 3), np.float32), np.ones((4, 3), np.float32)
OUT = np.ones((2, 4), np.float32)
FROZEN = OUT.copy()
FROZEN.flags.writeable = False


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("a", lambda: layers.matmul_nt(A.astype(float), B)),
        ("a", lambda: layers.matmul_nt(A[0], B)),
        ("a", lambda: layers.matmul_nt([[1.0]], B)),
        ("a", lambda: layers.matmul_nt(np.asfortranarray(A), B)),
        ("a", lambda: layers.matmul_nt(A[::-1], B)),
        ("a", lambda: layers.matmul_nt(np.broadcast_to(A[0], (5, 3)), B)),
        ("b", lambda: layers.matmul_nt(A, B[:, :2])),
        ("b", lambda: layers.matmul_tn(A, B)),
        ("a", lambda: layers.matmul_nn(A, B)),
        ("rows", lambda: layers.matmul_nt(A, B, rows=np.array([0, 4], np.int32))),
        ("rows", lambda: layers.matmul_nt(A, B, rows=np.array([-1], np.int32))),
        ("rows", lambda: layers.matmul_nt(A, B, rows=np.array([1]))),
        ("rows", lambda: layers.matmul_nt(A, B, rows=np.zeros(4, np.int32)[::2])),
        ("bias", lambda: layers.matmul_nt(A, B, bias=np.ones(3, np.float32))),
        ("bias", lambda: layers.matmul_nt(A, B, bias=np.ones(4, np.float32)[::-1])),
        ("bias", lambda: layers.matmul_nt(A, B, bias=np.ones(4))),
        ("out", lambda: layers.matmul_nt(A, B, out=OUT[:1])),
        ("out", lambda: layers.matmul_nt(A, B, out=OUT.astype(float))),
        ("out", lambda: layers.matmul_nt(A, B, out=FROZEN)),
        ("out", lambda: layers.matmul_nn(A, B[:3], out=A)),
        ("threads", lambda: layers.matmul_nt(A, B, threads=0)),
    ],
)
def test_bad_arguments_are_named(argument, call):
    with pytest.raises(ArgumentError) as caught:
        call()
    assert caught.value.argument == argument
