"""Sparse convolutions beside SciPy's, at every stride, padding and number of images."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal as signal

from lshsample._native import core
from lshsample.convolution import METHODS, ConvolutionCost, SparseFilters, WinogradFilters
from lshsample.errors import ArgumentError


def plain(images, weights, stride=(1, 1), padding=(0, 0), dilation=(1, 1)):
    """The same in float64, by correlations of planes."""
    wide = np.zeros(
        (*weights.shape[:2], *(d * (k - 1) + 1 for d, k in zip(dilation, weights.shape[2:], strict=True)))
    )
    wide[:, :, :: dilation[0], :: dilation[1]] = weights
    padded = np.pad(images, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2)).astype(float)
    rows = [
        [sum(signal.correlate2d(x, w, "valid") for x, w in zip(image, one, strict=True)) for one in wide]
        for image in padded
    ]
    return np.array(rows)[:, :, :: stride[0], :: stride[1]]


def data(n, channels, size, filters, kernel, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.standard_normal((n, channels, *size), dtype=np.float32)
    return images, rng.standard_normal((filters, channels, *kernel), dtype=np.float32)


CASES = [
    (1, 2, (5, 6), 3, (3, 3), {}),
    (3, 2, (7, 9), 5, (3, 3), {"padding": 1}),
    (17, 3, (8, 8), 4, (3, 3), {"padding": (0, 1)}),
    (20, 3, (9, 11), 4, (5, 3), {"stride": (2, 3), "padding": (2, 1), "dilation": (1, 2)}),
    (2, 2, (9, 33), 70, (2, 2), {"stride": 2}),
    (8, 3, (3, 40), 2, (1, 1), {"padding": (1, 2)}),
    (7, 1, (11, 11), 9, (3, 3), {"stride": (3, 2), "padding": (0, 1)}),
]


@pytest.mark.parametrize(("n", "channels", "size", "filters", "kernel", "options"), CASES)
def test_direct_is_the_dense_convolution_of_the_entries(n, channels, size, filters, kernel, options):
    images, weights = data(n, channels, size, filters, kernel)
    made = SparseFilters.of(weights, 0.4, **options)
    bias = np.linspace(-1, 1, filters, dtype=np.float32)
    pairs = {name: (value, value) if isinstance(value, int) else value for name, value in options.items()}
    wanted = plain(images, made.dense(), **pairs) + bias[:, None, None]
    np.testing.assert_allclose(made.convolve(images, bias, threads=2), wanted, atol=2e-5)


@pytest.mark.parametrize(("n", "channels", "size", "filters", "kernel", "options"), CASES)
def test_gradients_are_adjoint(n, channels, size, filters, kernel, options):
    images, weights = data(n, channels, size, filters, kernel)
    made = SparseFilters.of(weights, 0.4, **options)
    check_adjoint(made, images)


def check_adjoint(made, images):
    """<g, conv(x, w)> is linear in both arguments, so it is <dx, x> and <dw, w>."""
    outputs = made.convolve(images, threads=2)
    gradient = np.random.default_rng(1).standard_normal(outputs.shape, dtype=np.float32)
    total = float((gradient.astype(float) * outputs).sum())
    of_images = made.image_gradient(gradient, images.shape, threads=2).astype(float)
    of_values = made.value_gradient(gradient, images, threads=2).astype(float)
    scale = float(np.abs(gradient.astype(float) * outputs).sum())
    assert abs((of_images * images).sum() - total) < 1e-5 * scale
    assert abs(of_values @ made.entries.data - total) < 1e-5 * scale


@pytest.mark.parametrize("tile", [2, 4])
@pytest.mark.parametrize(("n", "size", "padding"), [(2, (5, 6), 0), (18, (9, 7), 1), (1, (30, 31), (0, 2))])
def test_winograd_is_the_dense_convolution(tile, n, size, padding):
    images, weights = data(n, 4, size, 6, (3, 3))
    pair = (padding, padding) if isinstance(padding, int) else padding
    made = WinogradFilters.of(weights, tile=tile, padding=padding)
    np.testing.assert_allclose(
        made.convolve(images, threads=2), plain(images, weights, padding=pair), atol=2e-4
    )
    check_adjoint(WinogradFilters.of(weights, 0.3, tile=tile, padding=padding), images)


@pytest.mark.parametrize("isa", core.available_isas())
def test_instruction_sets_agree(isa):
    images, weights = data(19, 3, (6, 17), 5, (3, 3))
    for made in (SparseFilters.of(weights, 0.5, padding=1), WinogradFilters.of(weights, 0.5, padding=1)):
        best = made.convolve(images), made.value_gradient(np.ones((19, 5, 6, 17), np.float32), images)
        with core.forced_isa(isa):
            here = made.convolve(images), made.value_gradient(np.ones((19, 5, 6, 17), np.float32), images)
        for one, other in zip(best, here, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def test_threads_and_other_images_change_no_bit():
    images, weights = data(40, 5, (10, 10), 37, (3, 3))
    direct, winograd = SparseFilters.of(weights, 0.2, padding=1), WinogradFilters.of(weights, 0.2, padding=1)
    for made in (direct, winograd):
        gradient = made.convolve(images, threads=1)
        for threads in (2, 4):
            assert np.array_equal(made.convolve(images, threads=threads), gradient)
            for name in ("image_gradient", "value_gradient"):
                given = images.shape if name == "image_gradient" else images
                one, many = (getattr(made, name)(gradient, given, threads=n) for n in (1, threads))
                assert np.array_equal(one, many)
        # A block of one image adds in the same order as a block of sixteen.
        assert np.array_equal(made.convolve(images[3:4], threads=1), gradient[3:4])


def test_pruning_keeps_the_largest():
    _, weights = data(1, 3, (1, 1), 4, (3, 3))
    kept = SparseFilters.of(weights, 0.25)
    assert kept.n_entries == round(0.25 * weights.size)
    assert np.abs(kept.entries.data).min() >= np.sort(np.abs(weights).ravel())[-kept.n_entries]
    assert kept.with_values(2 * kept.entries.data).dense().sum() == pytest.approx(2 * kept.dense().sum())


def test_no_entries_give_the_bias():
    empty = SparseFilters.of(np.zeros((2, 3, 3, 3)))
    out = empty.convolve(np.ones((2, 3, 4, 4)), np.array([1, 2], np.float32))
    assert np.array_equal(out[:, 0], np.ones((2, 2, 2)))
    assert np.array_equal(out[:, 1], np.full((2, 2, 2), 2))


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda w: SparseFilters.of(w[0]), "weights"),
        (lambda w: SparseFilters.of(w * np.nan), "weights"),
        (lambda w: SparseFilters.of(w, 0.0), "density"),
        (lambda w: SparseFilters.of(w, stride=0), "stride"),
        (lambda w: SparseFilters.of(w, padding=(1, -1)), "padding"),
        (lambda w: SparseFilters.of(w).convolve(np.ones((1, 4, 5, 5))), "images"),
        (lambda w: SparseFilters.of(w).convolve(np.ones((1, 3, 2, 5))), "images"),
        (lambda w: SparseFilters.of(w).convolve(np.ones((1, 3, 5, 5)), np.ones(3, np.float32)), "bias"),
        (
            lambda w: SparseFilters.of(w).value_gradient(
                np.ones((1, 2, 9, 9), np.float32), np.ones((1, 3, 5, 5))
            ),
            "gradient",
        ),
        (lambda w: SparseFilters.of(w).with_values([1.0]), "values"),
        (lambda w: WinogradFilters.of(w[..., :2]), "weights"),
        (lambda w: WinogradFilters.of(w, tile=3), "tile"),
    ],
)
def test_bad_arguments_are_named(call, named):
    with pytest.raises(ArgumentError, match=named):
        call(np.ones((2, 3, 3, 3)))


def test_cost_grows_with_the_density_and_has_a_break_even():
    cost = ConvolutionCost.measure()  # of one repeat, what grows may be 0 on a busy machine
    sizes = {"images": 32, "channels": 64, "size": 14, "filters": 64}
    for method in METHODS:
        assert cost.seconds(method, 0.9, **sizes) > cost.seconds(method, 0.01, **sizes) > 0
    with_dense = ConvolutionCost(
        cost.factors, 2.0 * 64 * 64 * 9 * 196 * 32 / cost.seconds("direct", 0.25, **sizes), 1
    )
    assert with_dense.break_even("direct", **sizes) == pytest.approx(0.25, rel=1e-6)
    with pytest.raises(ArgumentError, match="kernel"):
        cost.seconds("winograd2", 0.1, **sizes, kernel=5)
