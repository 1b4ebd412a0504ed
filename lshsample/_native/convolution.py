"""Convolutions whose filters are sparse, directly and through Winograd's transforms.

Arrays are contiguous float32; ``threads`` never changes a bit of a result.
"""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import scipy.sparse as sp

from lshsample._native.arrays import Float32
from lshsample._native.core import check, csr_view, ffi, lib, pointer, threads_or_default
from lshsample.errors import ArgumentError

__all__ = [
    "Shape",
    "convolve",
    "convolve_filters",
    "convolve_images",
    "winograd",
    "winograd_images",
    "winograd_points",
]

Pair = tuple[int, int]


@attrs.frozen(kw_only=True)
class Shape:
    """The sizes of a convolution of (n, channels, height, width) images."""

    images: int
    channels: int
    size: Pair
    filters: int
    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)

    @property
    def inputs(self) -> tuple[int, int, int, int]:
        """The shape of the images."""
        return self.images, self.channels, *self.size

    @property
    def outputs(self) -> tuple[int, int, int, int]:
        """The shape of what comes out.

        Raises
        ------
        ArgumentError
            The kernel is larger than the padded images.
        """
        height, width = (
            (self.size[i] + 2 * self.padding[i] - self.dilation[i] * (self.kernel[i] - 1) - 1)
            // self.stride[i]
            + 1
            for i in (0, 1)
        )
        if height < 1 or width < 1:
            raise ArgumentError(
                "images", f"{self.size} pixels", f"at least as large as the kernel, {self.kernel}"
            )
        return self.images, self.filters, height, width

    def view(self) -> Any:
        """The C struct."""
        values = self.images, self.channels, *self.size, self.filters, *self.kernel
        return ffi.new("lsh_convolution *", (*values, *self.stride, *self.padding, *self.dilation))[0]


def _images(value: Float32, argument: str, shape: tuple[int, ...]) -> Any:
    is_array = isinstance(value, np.ndarray) and value.dtype == np.float32 and value.flags.c_contiguous
    if not is_array or value.shape != shape:
        given = (
            f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
        )
        raise ArgumentError(argument, given, f"contiguous float32 of shape {shape}")
    return pointer("float *", value)


def _filters(value: sp.csr_array, argument: str, rows: int, columns: int) -> Any:
    is_csr = isinstance(value, sp.csr_array) and value.data.dtype == np.float32
    if not is_csr or value.shape != (rows, columns) or not value.has_canonical_format:
        raise ArgumentError(
            argument, repr(value), f"a float32 csr_array of shape {(rows, columns)}, columns ascending"
        )
    return csr_view(value)


def _bias(value: Float32 | None, shape: Shape) -> Any:
    return ffi.NULL if value is None else _images(value, "bias", (shape.filters,))


def convolve(
    shape: Shape,
    images: Float32,
    filters: sp.csr_array,
    bias: Float32 | None = None,
    threads: int | None = None,
) -> Float32:
    """Images convolved with filters (filters, channels * kernel height * kernel width).

    Raises
    ------
    ArgumentError
        Arrays of another dtype or shape.

    Notes
    -----
    2 operations for each nonzero and output pixel.
    """
    source, out = _images(images, "images", shape.inputs), np.empty(shape.outputs, np.float32)
    columns = shape.channels * shape.kernel[0] * shape.kernel[1]
    entries, offset = _filters(filters, "filters", shape.filters, columns), _bias(bias, shape)
    target, n_threads = pointer("float *", out), threads_or_default(threads)
    check(lib.lsh_convolve(shape.view(), source, entries, offset, target, n_threads), "convolve")
    return out


def convolve_images(
    shape: Shape, gradient: Float32, transposed: sp.csr_array, threads: int | None = None
) -> Float32:
    """The gradient at the images; ``transposed`` holds the filters by channel, their kernels turned round."""
    source, out = _images(gradient, "gradient", shape.outputs), np.empty(shape.inputs, np.float32)
    columns = shape.filters * shape.kernel[0] * shape.kernel[1]
    entries = _filters(transposed, "transposed", shape.channels, columns)
    target, n_threads = pointer("float *", out), threads_or_default(threads)
    check(lib.lsh_convolve_images(shape.view(), source, entries, target, n_threads), "convolve_images")
    return out


def convolve_filters(
    shape: Shape, images: Float32, gradient: Float32, filters: sp.csr_array, threads: int | None = None
) -> Float32:
    """The gradient of each entry of the filters, in their order."""
    source = _images(images, "images", shape.inputs)
    above = _images(gradient, "gradient", shape.outputs)
    columns = shape.channels * shape.kernel[0] * shape.kernel[1]
    entries, values = _filters(filters, "filters", shape.filters, columns), np.empty(filters.nnz, np.float32)
    target, n_threads = pointer("float *", values), threads_or_default(threads)
    status = lib.lsh_convolve_filters(shape.view(), source, above, entries, target, n_threads)
    check(status, "convolve_filters")
    return values


def winograd(
    shape: Shape,
    tile: int,
    images: Float32,
    points: sp.csr_array,
    bias: Float32 | None = None,
    threads: int | None = None,
) -> Float32:
    """Images convolved with filters of 3 x 3 that are given at Winograd's (tile + 2)^2 points.

    Row ``p * filters + k`` of ``points`` has the values of filter k at point p by channel.

    Raises
    ------
    ArgumentError
        Arrays of another dtype or shape.
    """
    source, out = _images(images, "images", shape.inputs), np.empty(shape.outputs, np.float32)
    entries = _filters(points, "points", (tile + 2) ** 2 * shape.filters, shape.channels)
    offset, target, n_threads = _bias(bias, shape), pointer("float *", out), threads_or_default(threads)
    check(lib.lsh_winograd(shape.view(), tile, source, entries, offset, target, n_threads), "winograd")
    return out


def winograd_images(
    shape: Shape, tile: int, gradient: Float32, transposed: sp.csr_array, threads: int | None = None
) -> Float32:
    """The gradient at the images; row ``p * channels + c`` of ``transposed`` is channel c by filter."""
    source, out = _images(gradient, "gradient", shape.outputs), np.empty(shape.inputs, np.float32)
    entries = _filters(transposed, "transposed", (tile + 2) ** 2 * shape.channels, shape.filters)
    target, n_threads = pointer("float *", out), threads_or_default(threads)
    check(lib.lsh_winograd_images(shape.view(), tile, source, entries, target, n_threads), "winograd_images")
    return out


def winograd_points(
    shape: Shape,
    tile: int,
    images: Float32,
    gradient: Float32,
    points: sp.csr_array,
    threads: int | None = None,
) -> Float32:
    """The gradient of each entry of the points, in their order."""
    source = _images(images, "images", shape.inputs)
    above = _images(gradient, "gradient", shape.outputs)
    entries = _filters(points, "points", (tile + 2) ** 2 * shape.filters, shape.channels)
    values = np.empty(points.nnz, np.float32)
    target, n_threads = pointer("float *", values), threads_or_default(threads)
    status = lib.lsh_winograd_points(shape.view(), tile, source, above, entries, target, n_threads)
    check(status, "winograd_points")
    return values
