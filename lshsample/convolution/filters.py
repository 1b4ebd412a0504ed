"""Filters of a convolution of which few entries are not zero."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Self

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample._native import convolution as native
from lshsample._native.convolution import Shape
from lshsample.errors import ArgumentError

__all__ = ["TRANSFORMS", "Filters", "SparseFilters", "WinogradFilters", "checked_pair"]

Floats = npt.NDArray[np.float32]
Pair = tuple[int, int]

#: The maps of filters of 3 x 3 to Winograd's points, by the outputs of a tile in one direction.
TRANSFORMS: dict[int, npt.NDArray[np.float64]] = {
    2: np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]]),
    4: np.array(
        [
            [1 / 4, 0, 0],
            [-1 / 6, -1 / 6, -1 / 6],
            [-1 / 6, 1 / 6, -1 / 6],
            [1 / 24, 1 / 12, 1 / 6],
            [1 / 24, -1 / 12, 1 / 6],
            [0, 0, 1],
        ]
    ),
}


def checked_pair(argument: str, value: Any, least: int) -> Pair:
    """Two integers, from one for both directions or from a pair.

    Raises
    ------
    ArgumentError
    """
    pair = (value, value) if isinstance(value, (int, np.integer)) else value
    try:
        one, two = pair
        is_valid = int(one) == one and int(two) == two and one >= least and two >= least
    except (TypeError, ValueError):
        is_valid = False
    if not is_valid:
        raise ArgumentError(argument, value, f"an integer of at least {least}, or a pair of such")
    return int(one), int(two)


def _pruned(values: Floats, density: float | None) -> sp.csr_array:
    """The entries of rows that are not 0; with a density, no more than that share, the largest."""
    if density is not None:
        if not 0 < density <= 1:
            raise ArgumentError("density", density, "a share above 0 and up to 1")
        kept = max(round(density * values.size), 1)
        order = np.argsort(-np.abs(values).ravel(), kind="stable")[:kept]
        mask = np.zeros(values.size, bool)
        mask[order] = True
        values = np.where(mask.reshape(values.shape), values, np.float32(0))
    made = sp.csr_array(values)
    made.sort_indices()
    return made


def _weights(weights: Any) -> Floats:
    array: Floats = np.asarray(weights, np.float32)
    if array.ndim != 4 or 0 in array.shape or not np.isfinite(array).all():
        given = f"shape {array.shape}" if array.ndim != 4 or 0 in array.shape else "NaN or infinity"
        raise ArgumentError(
            "weights", given, "finite numbers (filters, channels, kernel height, kernel width)"
        )
    return array


def _images(images: Any, channels: int) -> Floats:
    array: Floats = np.ascontiguousarray(images, np.float32)
    if array.ndim != 4 or array.shape[1] != channels:
        raise ArgumentError("images", f"shape {array.shape}", f"shape (n, {channels}, height, width)")
    return array


class Filters(ABC):
    """Filters of a convolution of which few entries are kept: what :class:`SparseFilters` and
    :class:`WinogradFilters` have in common.

    Attributes
    ----------
    entries : csr_array
        The kept values, float32, columns ascending.
    channels, n_filters : int
    """

    entries: sp.csr_array
    channels: int

    @property
    @abstractmethod
    def n_filters(self) -> int:
        """The number of filters."""

    @abstractmethod
    def shape(self, images: tuple[int, ...]) -> Shape:
        """The sizes of a convolution of images of a shape."""

    @property
    def n_entries(self) -> int:
        """Entries that are kept."""
        return int(self.entries.nnz)

    def with_values(self, values: npt.ArrayLike) -> Self:
        """The same pattern with other values, in the order of the entries.

        Raises
        ------
        ArgumentError
        """
        new, csr = np.asarray(values, np.float32), self.entries
        if new.shape != csr.data.shape:
            raise ArgumentError("values", f"shape {new.shape}", f"shape {csr.data.shape}")
        return self.with_entries(sp.csr_array((new, csr.indices, csr.indptr), shape=csr.shape))

    def with_entries(self, entries: sp.csr_array) -> Self:
        """The same with another CSR array of the same shape, whose columns ascend."""
        own: Any = self
        made: Self = attrs.evolve(own, entries=entries)
        return made

    def convolve(
        self, images: npt.ArrayLike, bias: Floats | None = None, *, threads: int | None = None
    ) -> Floats:
        """The convolution.

        Parameters
        ----------
        images : array_like, shape (n, channels, height, width)
        bias : (filters,) float32, optional
        threads : int, optional

        Returns
        -------
        (n, filters, out height, out width) float32

        Raises
        ------
        ArgumentError
        """
        array = _images(images, self.channels)
        return native.convolve(self.shape(array.shape), array, self.entries, bias, threads)

    def image_gradient(
        self, gradient: Floats, images: tuple[int, ...], *, threads: int | None = None
    ) -> Floats:
        """The gradient at images of a shape, from that at the outputs."""
        shape = self.shape(images)
        return native.convolve_images(shape, gradient, self._transposed(shape), threads)

    def value_gradient(
        self, gradient: Floats, images: npt.ArrayLike, *, threads: int | None = None
    ) -> Floats:
        """The gradient of each entry, in their order."""
        array = _images(images, self.channels)
        return native.convolve_filters(self.shape(array.shape), array, gradient, self.entries, threads)

    def _transposed(self, shape: Shape) -> sp.csr_array:
        """The entries by channel, kernels turned round, as the gradient at the images takes them."""
        rows = np.repeat(np.arange(self.entries.shape[0]), np.diff(self.entries.indptr))
        points, filters = np.divmod(rows, shape.filters)
        channels, at = np.divmod(self.entries.indices.astype(np.int64), shape.places)
        places = points * self.channels + channels, filters * shape.places + (shape.places - 1 - at)
        size = shape.points * self.channels, shape.filters * shape.places
        made = sp.csr_array((self.entries.data, places), shape=size)
        made.sort_indices()
        return made


@attrs.frozen(eq=False)
class SparseFilters(Filters):
    """Filters whose convolution is computed entry by entry: each is an axpy over the output plane.

    Attributes
    ----------
    entries : csr_array, shape (filters, channels * kernel height * kernel width)
        float32, columns ascending.
    channels : int
    kernel, stride, padding, dilation : (int, int)
        Of y and x.

    Notes
    -----
    2 nnz out_height out_width operations an image. Blocks of 16 images are computed together, and images that
    are left over one by one, which takes about twice as long for each. The result is the same bits for any
    number of threads and images.
    J. Park et al., "Faster CNNs with direct sparse convolutions and guided pruning", ICLR 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from lshsample.convolution import SparseFilters
    >>> weights = np.random.default_rng(0).standard_normal((8, 3, 3, 3))
    >>> filters = SparseFilters.of(weights, density=0.1, padding=1)
    >>> filters.n_entries, filters.convolve(np.ones((2, 3, 5, 5))).shape
    (22, (2, 8, 5, 5))
    """

    entries: sp.csr_array
    channels: int
    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)

    @classmethod
    def of(
        cls,
        weights: npt.ArrayLike,
        density: float | None = None,
        *,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        dilation: int | Pair = 1,
    ) -> Self:
        """From weights (filters, channels, kernel height, kernel width).

        Parameters
        ----------
        weights : array_like of float
        density : float, optional
            The share of entries that is kept, the largest by absolute value; None keeps those that are not 0.
        stride, padding, dilation : int or pair of int

        Raises
        ------
        ArgumentError
        """
        array = _weights(weights)
        return cls(
            _pruned(array.reshape(len(array), -1), density),
            array.shape[1],
            (array.shape[2], array.shape[3]),
            checked_pair("stride", stride, 1),
            checked_pair("padding", padding, 0),
            checked_pair("dilation", dilation, 1),
        )

    @property
    def n_filters(self) -> int:
        """The number of filters."""
        return int(self.entries.shape[0])

    def shape(self, images: tuple[int, ...]) -> Shape:
        """The sizes of a convolution of images of a shape."""
        return Shape(
            images=images[0],
            channels=self.channels,
            size=(images[2], images[3]),
            filters=self.n_filters,
            kernel=self.kernel,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
        )

    def dense(self) -> Floats:
        """The weights (filters, channels, kernel height, kernel width)."""
        made: Floats = self.entries.toarray().reshape(self.n_filters, self.channels, *self.kernel)
        return made


@attrs.frozen(eq=False)
class WinogradFilters(Filters):
    """Filters of 3 x 3 that are sparse at the points of Winograd's algorithm, where they are multiplied.

    Attributes
    ----------
    entries : csr_array, shape (points * filters, channels)
        float32; row ``p * filters + k`` has the values of filter k at point p.
    n_filters, channels : int
    tile : int
        Outputs of a tile in one direction, 2 or 4; there are (tile + 2)^2 points.
    padding : (int, int)

    Notes
    -----
    A tile of 16 outputs (4 x 4) takes 36 products for each filter and channel where a direct convolution
    takes 144, and of these those whose value is not 0. Filters that are sparse are not sparse at the points,
    so pruning and training are done there: y = A'[U * (B' d B)] A, with U the parameter (Liu et al.,
    "Efficient sparse-Winograd convolutional neural networks", ICLR 2018; the maps: Lavin & Gray, CVPR 2016).
    Blocks of 16 images are computed together; fewer take as long. The same bits for any number of threads.

    Examples
    --------
    >>> import numpy as np
    >>> from lshsample.convolution import SparseFilters, WinogradFilters
    >>> weights = np.random.default_rng(0).standard_normal((8, 4, 3, 3))
    >>> images = np.random.default_rng(1).standard_normal((2, 4, 9, 9))
    >>> whole = WinogradFilters.of(weights, tile=4, padding=1).convolve(images)
    >>> bool(np.allclose(whole, SparseFilters.of(weights, padding=1).convolve(images), atol=1e-4))
    True
    """

    entries: sp.csr_array
    n_filters: int
    channels: int
    tile: int
    padding: Pair = (0, 0)

    @classmethod
    def of(
        cls, weights: npt.ArrayLike, density: float | None = None, *, tile: int = 4, padding: int | Pair = 0
    ) -> Self:
        """From weights (filters, channels, 3, 3).

        Parameters
        ----------
        weights : array_like of float
        density : float, optional
            The share of values at the points that is kept, the largest by absolute value.
        tile : int
            2 or 4.
        padding : int or pair of int

        Raises
        ------
        ArgumentError
        """
        array = _weights(weights)
        if array.shape[2:] != (3, 3):
            raise ArgumentError(
                "weights", f"kernels of {array.shape[2]} x {array.shape[3]}", "kernels of 3 x 3"
            )
        if tile not in TRANSFORMS:
            raise ArgumentError("tile", tile, "2 or 4")
        g = TRANSFORMS[tile]
        points = np.einsum("ia,kcab,jb->ijkc", g, array.astype(np.float64), g).astype(np.float32)
        entries = _pruned(points.reshape(-1, array.shape[1]), density)
        return cls(entries, len(array), array.shape[1], tile, checked_pair("padding", padding, 0))

    def shape(self, images: tuple[int, ...]) -> Shape:
        """The sizes of a convolution of images of a shape."""
        return Shape(
            images=images[0],
            channels=self.channels,
            size=(images[2], images[3]),
            filters=self.n_filters,
            kernel=(3, 3),
            padding=self.padding,
            tile=self.tile,
        )
