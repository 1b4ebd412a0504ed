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

__all__ = ["Shape", "convolve", "convolve_filters", "convolve_images"]

Pair = tuple[int, int]


@attrs.frozen(kw_only=True)
class Shape:
    """The sizes of a convolution of (n, channels, height, width) images.

    With ``tile``, the outputs of a tile of Winograd's algorithm in one direction, filters are given at its
    (tile + 2)^2 points; with 0 by their weights.
    """

    images: int
    channels: int
    size: Pair
    filters: int
    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    tile: int = 0

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

    @property
    def points(self) -> int:
        """Values of a filter and a channel that stand in rows of their own."""
        return (self.tile + 2) ** 2 if self.tile else 1

    @property
    def places(self) -> int:
        """Values of a filter and a channel that stand side by side in a row."""
        return 1 if self.tile else self.kernel[0] * self.kernel[1]

    def call(self, direct: Any, winograd: Any, *arguments: Any) -> None:
        """Call the C function of its kind."""
        values = self.images, self.channels, *self.size, self.filters, *self.kernel
        view = ffi.new("lsh_convolution *", (*values, *self.stride, *self.padding, *self.dilation))[0]
        status = winograd(view, self.tile, *arguments) if self.tile else direct(view, *arguments)
        check(status, "convolve")


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


def convolve(
    shape: Shape,
    images: Float32,
    filters: sp.csr_array,
    bias: Float32 | None = None,
    threads: int | None = None,
) -> Float32:
    """Images convolved with filters.

    Parameters
    ----------
    shape : Shape
    images : array, shape ``shape.inputs``
    filters : csr_array, shape (points * filters, channels * places)
        Row ``point * filters + filter``, column ``channel * places + place``.
    bias : (filters,) array, optional
    threads : int, optional

    Raises
    ------
    ArgumentError
        Arrays of another dtype or shape.

    Notes
    -----
    2 operations for each nonzero and output pixel, or tile.
    """
    source, out = _images(images, "images", shape.inputs), np.empty(shape.outputs, np.float32)
    entries = _filters(filters, "filters", shape.points * shape.filters, shape.channels * shape.places)
    offset = ffi.NULL if bias is None else _images(bias, "bias", (shape.filters,))
    target, n_threads = pointer("float *", out), threads_or_default(threads)
    shape.call(lib.lsh_convolve, lib.lsh_winograd, source, entries, offset, target, n_threads)
    return out


def convolve_images(
    shape: Shape, gradient: Float32, transposed: sp.csr_array, threads: int | None = None
) -> Float32:
    """The gradient at the images.

    ``transposed`` has the filters by channel: row ``point * channels + channel``, column ``filter * places +
    place``, with the places of a kernel in reverse order.
    """
    source, out = _images(gradient, "gradient", shape.outputs), np.empty(shape.inputs, np.float32)
    entries = _filters(transposed, "transposed", shape.points * shape.channels, shape.filters * shape.places)
    target, n_threads = pointer("float *", out), threads_or_default(threads)
    shape.call(lib.lsh_convolve_images, lib.lsh_winograd_images, source, entries, target, n_threads)
    return out


def convolve_filters(
    shape: Shape, images: Float32, gradient: Float32, filters: sp.csr_array, threads: int | None = None
) -> Float32:
    """The gradient of each entry of the filters, in their order."""
    source = _images(images, "images", shape.inputs)
    above = _images(gradient, "gradient", shape.outputs)
    entries = _filters(filters, "filters", shape.points * shape.filters, shape.channels * shape.places)
    values = np.empty(filters.nnz, np.float32)
    target, n_threads = pointer("float *", values), threads_or_default(threads)
    shape.call(lib.lsh_convolve_filters, lib.lsh_winograd_points, source, above, entries, target, n_threads)
    return values
