"""A convolution layer whose filters are sparse, trained and pruned where they are sparse."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import scipy.sparse as sp
import torch

from lshsample.convolution import METHODS, Filters, SparseFilters, WinogradFilters
from lshsample.errors import ArgumentError, UnsupportedError

__all__ = ["SparseConv2d"]


class SparseConv2d(torch.nn.Module):
    """A convolution of which a share of the weights is kept; the others are no parameters.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size : int or pair of int
    density : float
        The share of weights that is kept, the largest of a new layer's.
    method : str
        One of :data:`lshsample.convolution.METHODS`: ``"direct"``, or ``"winograd2"`` and ``"winograd4"``,
        which prune and train the filters at the points of Winograd's algorithm, for kernels of 3 x 3 with
        stride and dilation 1.
    stride, padding, dilation : int or pair of int
    bias : bool
    threads : int, optional

    Attributes
    ----------
    values : (n,) Parameter
        The weights that are kept. Their places are in the state dict as ``indptr`` and ``indices``.
    bias : (out_channels,) Parameter or None

    Raises
    ------
    ArgumentError

    Notes
    -----
    float32 on the CPU. A pass costs what its entries cost, see :class:`lshsample.convolution.SparseFilters`;
    :class:`~lshsample.convolution.ConvolutionCost` says below which density it is faster than a dense one.

    Examples
    --------
    >>> import torch
    >>> from lshsample.torch import SparseConv2d
    >>> dense = torch.nn.Conv2d(8, 16, 3, padding=1)
    >>> layer = SparseConv2d.from_conv(dense, density=0.2)
    >>> layer(torch.randn(4, 8, 10, 10)).shape, len(layer.values)
    (torch.Size([4, 16, 10, 10]), 230)
    >>> layer.prune(0.1)
    115
    """

    indptr: torch.Tensor
    indices: torch.Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        *,
        density: float = 0.1,
        method: str = "direct",
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        bias: bool = True,
        threads: int | None = None,
    ) -> None:
        conv = torch.nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, padding, dilation=dilation, bias=bias
        )
        super().__init__()
        self._set(conv, density, method, threads)

    @classmethod
    def from_conv(
        cls,
        conv: torch.nn.Conv2d,
        density: float = 0.1,
        method: str = "direct",
        *,
        threads: int | None = None,
    ) -> Self:
        """A layer with the largest weights of a dense one, and its bias.

        Raises
        ------
        ArgumentError
            A layer with groups, or padding by other values than zeros.
        """
        made = cls.__new__(cls)
        torch.nn.Module.__init__(made)
        made._set(conv, density, method, threads)
        return made

    def _set(self, conv: torch.nn.Conv2d, density: float, method: str, threads: int | None) -> None:
        if not isinstance(conv, torch.nn.Conv2d):
            raise ArgumentError("conv", type(conv).__name__, "a torch.nn.Conv2d")
        if conv.groups != 1:
            raise ArgumentError("groups", conv.groups, "1")
        if conv.padding_mode != "zeros" or isinstance(conv.padding, str):
            raise ArgumentError("padding", f"{conv.padding!r}, {conv.padding_mode}", "numbers of zeros")
        if method not in METHODS:
            raise ArgumentError("method", method, f"one of {', '.join(METHODS)}")
        weights = conv.weight.detach().cpu().float().numpy()
        stride, padding, dilation = ((one[0], one[1]) for one in (conv.stride, conv.padding, conv.dilation))
        filters: Filters
        if METHODS[method]:
            if {*stride, *dilation} != {1}:
                given = f"{stride}, dilation {dilation}"
                raise ArgumentError("stride", given, f"1, and dilation 1, for {method}")
            filters = WinogradFilters.of(weights, density, tile=METHODS[method], padding=padding)
        else:
            filters = SparseFilters.of(weights, density, stride=stride, padding=padding, dilation=dilation)
        self.method, self.threads = method, threads
        self._set_entries(filters)
        self.bias = (
            None if conv.bias is None else torch.nn.Parameter(conv.bias.detach().cpu().float().clone())
        )

    def _set_entries(self, filters: Filters) -> None:
        self._filters = filters
        self.values = torch.nn.Parameter(torch.from_numpy(filters.entries.data.copy()))
        for name in ("indptr", "indices"):
            array = getattr(filters.entries, name).astype(np.int64)
            self.register_buffer(name, torch.from_numpy(array))

    @property
    def filters(self) -> Filters:
        """The filters as they are now, of :mod:`lshsample.convolution`."""
        return self._filters.with_values(self.values.detach().numpy())

    @torch.no_grad()
    def prune(self, density: float) -> int:
        """Keep the largest of the entries, and return their number; an optimizer must be made anew.

        Parameters
        ----------
        density : float
            Of all places, from 0 to the present density.

        Raises
        ------
        ArgumentError
        """
        entries = self.filters.entries
        kept, most = round(density * entries.shape[0] * entries.shape[1]), entries.nnz
        if not 0 < kept <= most:
            share = most / (entries.shape[0] * entries.shape[1])
            raise ArgumentError("density", density, f"above 0 and up to the present {share:.3g}")
        order = np.argsort(-np.abs(entries.data), kind="stable")[:kept]
        mask = np.zeros(most, bool)
        mask[order] = True
        indptr = np.concatenate([[0], np.cumsum(mask)])[entries.indptr]
        self._restore(indptr, entries.indices[mask], entries.data[mask])
        return kept

    def _restore(self, indptr: Any, indices: Any, values: Any) -> None:
        shape = self._filters.entries.shape
        self._set_entries(self._filters.with_entries(sp.csr_array((values, indices, indptr), shape=shape)))

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        """Other entries than the layer's own are taken over."""
        names = [prefix + name for name in ("indptr", "indices", "values")]
        if all(name in state_dict for name in names):
            indptr, indices, values = (state_dict[name].detach().cpu().numpy() for name in names)
            if len(indptr) == len(self.indptr) and len(indices) == len(values) == indptr[-1]:
                self._restore(indptr, indices.astype(np.int32), values.astype(np.float32))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The convolution of images (n, channels, height, width).

        Raises
        ------
        UnsupportedError
            Images that are not float32 on the CPU.
        """
        if images.dtype != torch.float32 or images.device.type != "cpu" or self.values.device.type != "cpu":
            raise UnsupportedError(
                f"SparseConv2d takes float32 images on the CPU (got {images.dtype} on {images.device.type})"
            )
        made: torch.Tensor = _Convolution.apply(images, self.values, self.bias, self._filters, self.threads)  # type: ignore[no-untyped-call]
        return made

    def extra_repr(self) -> str:
        """As shown by ``print``."""
        entries = self._filters.entries
        density = entries.nnz / (entries.shape[0] * entries.shape[1])
        sizes = f"{self._filters.channels}, {self._filters.n_filters}"
        return f"{sizes}, density={density:.3g}, method={self.method!r}"


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Any, values: Any, bias: Any, filters: Filters, threads: int | None) -> Any:
        now = filters.with_values(values.detach().numpy())
        ctx.save_for_backward(images, values)
        ctx.filters, ctx.threads = filters, threads
        offset = None if bias is None else bias.detach().numpy()
        return torch.from_numpy(now.convolve(images.detach().contiguous().numpy(), offset, threads=threads))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Any) -> Any:
        images, values = ctx.saved_tensors
        now = ctx.filters.with_values(values.detach().numpy())
        above = gradient.contiguous().numpy()
        of_images, of_values, of_bias = None, None, None
        if ctx.needs_input_grad[0]:
            found = now.image_gradient(above, tuple(images.shape), threads=ctx.threads)
            of_images = torch.from_numpy(found)
        if ctx.needs_input_grad[1]:
            found = now.value_gradient(above, images.detach().contiguous().numpy(), threads=ctx.threads)
            of_values = torch.from_numpy(found)
        if ctx.needs_input_grad[2]:
            of_bias = gradient.sum((0, 2, 3))
        return of_images, of_values, of_bias, None, None
