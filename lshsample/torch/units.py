"""Layers inside of a network of which a step computes an active set of units, picked by hash tables."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from lshsample.errors import ArgumentError
from lshsample.specs import checked_integer
from lshsample.torch.active import draw_active_set, make_sampler
from lshsample.torch.arrays import check_parameter
from lshsample.torch.options import SamplingOptions
from lshsample.torch.tensor_loss import gathered

__all__ = ["SampledConv2d", "SampledFeedForward"]


class _ActiveUnits(torch.nn.Module):
    """Draws active units, whose vectors are the rows of a matrix; a step has one set for all of its queries.

    Attributes
    ----------
    step : () int64 tensor
        Number of training steps so far; not in the state dict.
    n_queries : int
        Queries by which the units of a step are picked.
    """

    step: Tensor

    def __init__(self, dim: int, n_units: int, options: SamplingOptions, n_queries: int) -> None:
        super().__init__()
        if not isinstance(options, SamplingOptions):
            raise ArgumentError("options", type(options).__name__, "SamplingOptions, or None")
        if options.active_set != "batch":
            raise ArgumentError(
                "options", f"active_set={options.active_set!r}", "one set: active_set='batch'"
            )
        self.n_queries = checked_integer("n_queries", n_queries, 1, 2**31 - 1)
        self.options, self.sampler = options, make_sampler(dim, n_units, options)
        self.register_buffer("step", torch.zeros((), dtype=torch.int64), persistent=False)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        result = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.forget()  # the vectors are elsewhere now
        return result

    def forget(self) -> None:
        """Discard the tables: the next step builds them from the vectors of that time."""
        self.sampler.forget()

    def draw(self, queries: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor | None]:
        """Ids (n,) int64 of the active units, and by what their outputs are divided, if it is not 1."""
        check_parameter(vectors, "weight", self.options.backend)
        self.step.add_(1)
        stride = -(-len(queries) // self.n_queries)
        chosen = queries[:: max(stride, 1)].detach().to(torch.float32)
        nothing = torch.empty((len(chosen), 0), dtype=torch.int64, device=chosen.device)
        arguments = nothing, None, self.step, self.sampler.number, self.options.seed, -100
        ids, _, log_inclusion, *_ = draw_active_set(chosen, vectors.detach(), *arguments)
        return ids.long(), log_inclusion.exp() if self.options.importance == "on" else None


def _default(n_units: int, importance: str) -> SamplingOptions:
    return SamplingOptions(n_active=max(n_units // 4, 1), importance=importance)


class SampledConv2d(torch.nn.Conv2d):
    """A convolution that computes an active set of its output channels in training.

    Filters are hashed, and a step computes those whose buckets the patches of its images fall into: filters
    with large responses. The other channels are 0, and their filters have no gradient; the gradients of the
    active filters and of the images are exact. In evaluation all channels are computed.

    Active channels are divided by their inclusion probabilities, so that a sum over channels, such as the
    next layer's after ReLU or max pooling, has the mean of that of all channels.

    Parameters
    ----------
    in_channels, out_channels, kernel_size, stride, padding, dilation, bias, device, dtype
        Those of ``torch.nn.Conv2d``, whose state dicts it loads and gives; there are no groups.
    options : SamplingOptions, optional
        How filters are picked; by default a quarter of them, by name ``"lsh"``. With ``importance="off"``
        channels are not divided by their inclusion probabilities: what follows is then trained on smaller
        sums than evaluation, with all channels, gives it. ``sparse=True`` is refused.
    n_queries : int
        Patches of a batch that pick the filters, at even distances.
    sampled_in_evaluation : bool
        Whether channels are picked in evaluation too; else all are computed.

    Raises
    ------
    ArgumentError
        A bad argument.

    Notes
    -----
    The cost of a step is that of the active channels, and of hashing ``n_queries`` patches. Where channels
    are followed by a ReLU, those of negative responses are 0 anyway; the choice is by cosine with a filter,
    for all images of a batch together (Chen et al., SLIDE, MLSys 2020, for fully connected layers).

    ``torch.nn.BatchNorm2d`` behind the layer would take the zeros of channels that were not active into its
    statistics; normalize before it, or the outputs of the next layer.

    Examples
    --------
    >>> from lshsample.torch import SampledConv2d, SamplingOptions
    >>> options = SamplingOptions(n_active=8, n_hashes=4)
    >>> layer = SampledConv2d(3, 64, 3, padding=1, options=options)
    >>> outputs = layer(torch.randn(5, 3, 10, 10))
    >>> int((outputs != 0).any(3).any(2).any(0).sum()) < 12
    True
    >>> int((layer.eval()(torch.randn(5, 3, 10, 10)) != 0).any(3).any(2).any(0).sum())
    64
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        bias: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        options: SamplingOptions | None = None,
        n_queries: int = 256,
        sampled_in_evaluation: bool = False,
    ) -> None:
        shape: Any = {"stride": stride, "padding": padding, "dilation": dilation, "device": device}
        super().__init__(in_channels, out_channels, kernel_size, bias=bias, dtype=dtype, **shape)
        options = _default(out_channels, "on") if options is None else options
        if isinstance(options, SamplingOptions) and options.sparse:
            raise ArgumentError("options", "sparse=True", "sparse=False: filters are gathered as they are")
        self.sampled_in_evaluation = sampled_in_evaluation
        self.units = _ActiveUnits(self.weight[0].numel(), out_channels, options, n_queries)
        self.register_load_state_dict_post_hook(_forget)  # type: ignore[no-untyped-call]

    def forward(self, images: Tensor) -> Tensor:
        """Outputs (n, out_channels, height, width) of images (n, in_channels, height, width).

        Raises
        ------
        ArgumentError
            Images of another shape, where channels are picked.
        BiasedSampleError
            Inclusion probabilities are wanted of a pipeline that has none; the message names the stage.
        """
        if not (self.training or self.sampled_in_evaluation):
            return super().forward(images)
        outputs, ids = self.active(images)
        shape = outputs.shape[0], self.out_channels, *outputs.shape[2:]
        return outputs.new_zeros(shape).index_copy(1, ids, outputs)

    def active(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The outputs of the active channels alone, (n, k, height, width), and these channels, (k,) int64."""
        if images.dim() != 4 or images.shape[1] != self.in_channels:
            wanted = f"of shape (n, {self.in_channels}, height, width)"
            raise ArgumentError("images", f"shape {tuple(images.shape)}", wanted)
        ids, inclusion = self.units.draw(self._patches(images), self.weight.flatten(1))
        some = ids if len(ids) else ids.new_zeros(1)  # conv2d takes no empty weight
        bias = None if self.bias is None else self.bias[some]
        how: Any = self.stride, self.padding, self.dilation
        outputs = functional.conv2d(images, self.weight[some], bias, *how)[:, : len(ids)]
        return outputs if inclusion is None else outputs / inclusion[:, None, None].to(outputs.dtype), ids

    @torch.no_grad()
    def _patches(self, images: Tensor) -> Tensor:
        """Patches of the images that reach the first, (n, dim); of few images, as many as are needed."""
        how: Any = {"padding": self.padding, "stride": self.stride, "dilation": self.dilation}
        some = images[:: max(len(images) // self.units.n_queries, 1)]
        columns = functional.unfold(some, self.kernel_size, **how)
        return columns.transpose(1, 2).reshape(-1, columns.shape[1])


class SampledFeedForward(torch.nn.Module):
    """The feed-forward block of a transformer, of which a step computes an active set of hidden units.

    ``down(activation(up(x)))``, where only the hidden units are computed whose rows of ``up`` fall into the
    buckets of some of the inputs: one set for a batch, in dense products.

    Parameters
    ----------
    features, hidden : int
        Columns of inputs and outputs, and hidden units.
    activation : callable
        A function of the hidden units, by default ``torch.nn.functional.gelu``.
    options : SamplingOptions, optional
        How units are picked; by default a quarter of them. With ``importance="on"`` activations are divided
        by their inclusion probabilities, so that outputs are unbiased estimates of those of all units; with
        ``"off"``, the default here, the others count as 0: blocks whose outputs are added to their inputs
        lose less by missing units than by the noise. With ``sparse=True`` gradients are sparse.
    n_queries : int
        Inputs of a batch that pick the units, at even distances.
    sampled_in_evaluation : bool
        Whether units are picked in evaluation too; else all are computed.

    Attributes
    ----------
    up_weight, up_bias : (hidden, features) and (hidden,) Parameter
        Of the hidden units.
    down_weight, down_bias : (hidden, features) and (features,) Parameter
        Of the outputs; a unit's row is contiguous.

    Raises
    ------
    ArgumentError
        A bad argument.

    Notes
    -----
    In trained language models most hidden units contribute little to a given token (Liu et al., Deja Vu, ICML
    2023, where trained predictors pick them; here hash tables do). A whole batch shares a set, which is less
    sparse than one token's.

    Examples
    --------
    >>> from lshsample.torch import SampledFeedForward
    >>> block = SampledFeedForward(16, 64)
    >>> block(torch.randn(2, 5, 16)).shape
    torch.Size([2, 5, 16])
    """

    def __init__(
        self,
        features: int,
        hidden: int,
        *,
        activation: Any = functional.gelu,
        options: SamplingOptions | None = None,
        n_queries: int = 256,
        sampled_in_evaluation: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.features = checked_integer("features", features, 1, 2**31 - 1)
        self.hidden = checked_integer("hidden", hidden, 1, 2**31 - 2)
        if not callable(activation):
            raise ArgumentError("activation", repr(activation), "a function of tensors")
        self.activation, self.sampled_in_evaluation = activation, sampled_in_evaluation
        place: Any = {"device": device, "dtype": dtype}
        self.up_weight = torch.nn.Parameter(torch.empty(self.hidden, self.features, **place))
        self.up_bias = torch.nn.Parameter(torch.empty(self.hidden, **place))
        self.down_weight = torch.nn.Parameter(torch.empty(self.hidden, self.features, **place))
        self.down_bias = torch.nn.Parameter(torch.empty(self.features, **place))
        options = _default(self.hidden, "off") if options is None else options
        self.units = _ActiveUnits(self.features, self.hidden, options, n_queries)
        self.register_load_state_dict_post_hook(_forget)  # type: ignore[no-untyped-call]
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters, as those of two ``torch.nn.Linear``, and discard the tables."""
        for fan_in, parameters in (
            (self.features, (self.up_weight, self.up_bias)),
            (self.hidden, (self.down_weight, self.down_bias)),
        ):
            for parameter in parameters:
                torch.nn.init.uniform_(parameter, -(fan_in**-0.5), fan_in**-0.5)
        self.units.forget()

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs of inputs, both (..., features).

        Raises
        ------
        ArgumentError
            Inputs of another shape.
        BiasedSampleError
            As for :class:`SampledConv2d`.
        """
        if inputs.dim() < 1 or inputs.shape[-1] != self.features:
            wanted = f"of shape (..., {self.features})"
            raise ArgumentError("inputs", f"shape {tuple(inputs.shape)}", wanted)
        if not self.training and not self.sampled_in_evaluation:
            every: Tensor = self.activation(functional.linear(inputs, self.up_weight, self.up_bias))
            return every @ self.down_weight + self.down_bias
        rows = inputs.reshape(-1, self.features)
        ids, inclusion = self.units.draw(rows, self.up_weight)
        up, bias, down = (
            gathered(parameter, ids, self.units.options.sparse)
            for parameter in (self.up_weight, self.up_bias, self.down_weight)
        )
        units: Tensor = self.activation(functional.linear(rows.to(up.dtype), up, bias))
        if inclusion is not None:
            units = units / inclusion.to(units.dtype)
        return (units @ down + self.down_bias).reshape(inputs.shape).to(inputs.dtype)


def _forget(module: SampledConv2d | SampledFeedForward, _: Any) -> None:
    module.units.forget()
