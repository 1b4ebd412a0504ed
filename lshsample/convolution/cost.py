"""A model of the time of sparse convolutions, measured on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Self

import attrs
import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from lshsample._native.convolution import Shape
from lshsample.convolution.filters import Filters, SparseFilters, WinogradFilters
from lshsample.errors import ArgumentError

__all__ = ["METHODS", "ConvolutionCost"]

#: Ways to compute a convolution, with the outputs of a Winograd tile.
METHODS: dict[str, int] = {"direct": 0, "winograd2": 2, "winograd4": 4}

Floats = npt.NDArray[np.float64]
#: Images of a block, and pixels that a run has at most.
_BLOCK, _RUN = 16, 14
#: (channels, side, filters, kernel) and densities of the measurements.
_SHAPES = ((64, 14, 128, 3), (192, 14, 96, 3), (32, 28, 64, 5))
_DENSITIES = (0.02, 0.1, 0.3)


def filters_for(method: str, weights: npt.ArrayLike, density: float, padding: int) -> Filters:
    """Filters for a method of :data:`METHODS`."""
    if METHODS[method]:
        return WinogradFilters.of(weights, density, tile=METHODS[method], padding=padding)
    return SparseFilters.of(weights, density, padding=padding)


def _work(method: str, shape: Shape, density: float) -> Floats:
    """What grows with the time: floats that are moved, multiply-adds of blocks, and runs that are begun."""
    blocks = -(-shape.images // _BLOCK)
    _, filters, height, width = shape.outputs
    if tile := METHODS[method]:
        tiles, points = -(-height // tile) * -(-width // tile), (tile + 2) ** 2
        moved = (shape.channels + filters) * tiles * points
        products = density * points * filters * shape.channels * tiles
        runs = points * filters * -(-tiles // _RUN)
    else:
        padded = (shape.size[0] + 2 * shape.padding[0]) * (shape.size[1] + 2 * shape.padding[1])
        moved = shape.channels * padded + filters * height * width
        products = density * filters * shape.channels * shape.kernel[0] * shape.kernel[1] * height * width
        runs = filters * height * -(-width // _RUN)
    return blocks * np.array([moved, products, runs], np.float64)


@attrs.frozen(eq=False)
class ConvolutionCost:
    """Seconds of a convolution on one machine, by method, sizes and density.

    The time of a sparse convolution is a sum: a part for each float that is brought into blocks of 16
    images and back, one for each multiply-add of a block, and one for each run of outputs. The three factors
    are measured for each method on a few shapes, and so is the rate of dense convolutions.

    Attributes
    ----------
    factors : dict of str to (3,) float64 array
        Seconds of each part, by method.
    dense_rate : float
        Operations a second of the dense convolution; NaN without one.
    threads : int

    Examples
    --------
    >>> from lshsample.convolution import ConvolutionCost
    >>> cost = ConvolutionCost.measure(threads=1)
    >>> sizes = dict(images=32, channels=64, size=14, filters=64)
    >>> cost.seconds("direct", 0.05, **sizes) < cost.seconds("direct", 0.9, **sizes)
    True
    """

    factors: Mapping[str, Floats]
    dense_rate: float
    threads: int

    @classmethod
    def measure(
        cls,
        dense: Callable[[Any, Any], Any] | None = None,
        *,
        threads: int = 1,
        repeats: int = 5,
    ) -> Self:
        """Measure this machine, in about half a second for each repeat.

        Parameters
        ----------
        dense : callable, optional
            ``dense(images, weights)`` convolves float32 arrays with padding by half of the kernel, with as
            many threads.
        threads : int
        repeats : int
            The least time of so many is taken.
        """
        rng = np.random.default_rng(0)
        rows: dict[str, list[tuple[Floats, float]]] = {method: [] for method in METHODS}
        rates = []
        for channels, side, filters, kernel in _SHAPES:
            images = rng.standard_normal((2 * _BLOCK, channels, side, side), dtype=np.float32)
            weights = rng.standard_normal((filters, channels, kernel, kernel), dtype=np.float32)
            if dense is not None:
                operations = 2.0 * weights.size * len(images) * side * side
                rates.append(operations / _least(partial(dense, images, weights), threads, repeats))
            for method in METHODS:
                for density in _DENSITIES if kernel == 3 or not METHODS[method] else ():
                    made = filters_for(method, weights, density, kernel // 2)
                    taken = _least(partial(made.convolve, images, threads=threads), threads, repeats)
                    rows[method].append((_work(method, made.shape(images.shape), density), taken))
        factors = {}
        for method, measured in rows.items():
            times = np.array([taken for _, taken in measured])
            # Relative errors: small problems count as much as large ones.
            work = np.array([one for one, _ in measured]) / times[:, None]
            factors[method] = nnls(work, np.ones(len(times)))[0]
        return cls(factors, float(np.median(rates)) if rates else float("nan"), threads)

    def seconds(
        self,
        method: str,
        density: float,
        *,
        images: int,
        channels: int,
        size: int,
        filters: int,
        kernel: int = 3,
        padding: int | None = None,
    ) -> float:
        """The time of a convolution of square images with stride 1.

        Parameters
        ----------
        method : str
            One of :data:`METHODS`, or ``"dense"``.
        density : float
            The share that is kept, of the weights or of the values at the points; any for ``"dense"``.
        images, channels, size, filters, kernel : int
        padding : int, optional
            Half of the kernel unless given.

        Raises
        ------
        ArgumentError
        """
        if method != "dense" and method not in METHODS:
            raise ArgumentError("method", method, f"dense, {', '.join(METHODS)}")
        if method in METHODS and METHODS[method] and kernel != 3:
            raise ArgumentError("kernel", kernel, f"3 for {method}")
        around = kernel // 2 if padding is None else padding
        shape = Shape(
            images=images,
            channels=channels,
            size=(size, size),
            filters=filters,
            kernel=(kernel, kernel),
            padding=(around, around),
        )
        if method == "dense":
            _, _, height, width = shape.outputs
            return 2.0 * images * filters * channels * kernel**2 * height * width / self.dense_rate
        return float(_work(method, shape, density) @ self.factors[method])

    def break_even(self, method: str, **sizes: int) -> float:
        """The density below which a method is faster than dense; 0 if it never is, 1 if always.

        Parameters
        ----------
        method : str
        **sizes : int
            As for :meth:`seconds`.
        """
        goal = self.seconds("dense", 1, **sizes)
        none, whole = self.seconds(method, 0, **sizes), self.seconds(method, 1, **sizes)
        return float(np.clip((goal - none) / (whole - none), 0, 1))


def _least(call: Callable[[], Any], threads: int, repeats: int) -> float:
    """The least time of a call; of one thread that of the processor, which others disturb less."""
    clock = time.thread_time if threads == 1 else time.perf_counter
    call()
    found = []
    for _ in range(repeats):
        start = clock()
        call()
        found.append(clock() - start)
    return min(found)
