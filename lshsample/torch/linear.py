"""Output layers with their loss, trained on samples of their classes."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import torch
from torch.nn import functional

from lshsample._native import layers
from lshsample.errors import ArgumentError, UnsupportedError
from lshsample.sampling import ActiveSet
from lshsample.specs import checked_integer, checked_number
from lshsample.torch.active import draw_active_set, make_sampler
from lshsample.torch.arrays import check_device, check_parameter, float32_rows, in_large_pages, view_of
from lshsample.torch.labels import label_tensors, labels_of_target
from lshsample.torch.loss import sampled_loss
from lshsample.torch.options import SamplingOptions
from lshsample.torch.tensor_loss import full_loss, gathered_loss

__all__ = ["SampledLinearCrossEntropy", "SampledLinearSigmoid"]

_REDUCTIONS = ("mean", "sum", "none")
_HIDDEN_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


class _SampledLinear(torch.nn.Module):
    """A linear layer with a loss over its classes."""

    _loss: ClassVar[str]
    step: torch.Tensor
    class_weight: torch.Tensor | None

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        bias: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
        reduction: str = "mean",
        weight: torch.Tensor | None = None,
        ignore_index: int = -100,
        label_smoothing: float = 0.0,
        options: SamplingOptions | None = None,
    ) -> None:
        super().__init__()
        self.in_features = checked_integer("in_features", in_features, 1, 2**31 - 1)
        self.num_classes = checked_integer("num_classes", num_classes, 1, 2**31 - 2)
        if reduction not in _REDUCTIONS:
            raise ArgumentError("reduction", repr(reduction), f"one of {', '.join(map(repr, _REDUCTIONS))}")
        self.reduction = reduction
        self.ignore_index = checked_integer("ignore_index", ignore_index, -(2**63), 2**63 - 1)
        self.label_smoothing = checked_number("label_smoothing", label_smoothing, 0.0, 1.0, open_high=True)
        self.options = SamplingOptions() if options is None else options
        if not isinstance(self.options, SamplingOptions):
            raise ArgumentError("options", type(options).__name__, "SamplingOptions, or None")
        self.sampler = make_sampler(self.in_features, self.num_classes, self.options)
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        empty = torch.empty((self.num_classes, self.in_features), **place)
        self.weight = torch.nn.Parameter(in_large_pages(empty))
        if self.weight.dtype not in (torch.float32, torch.bfloat16):
            raise ArgumentError("dtype", str(self.weight.dtype), "torch.float32 or torch.bfloat16")
        self.bias: torch.nn.Parameter | None
        if bias:
            self.bias = torch.nn.Parameter(torch.empty(self.num_classes, **place))
        else:
            self.register_parameter("bias", None)
        self.register_buffer("class_weight", self._checked_weight(weight), persistent=False)
        self.register_buffer("step", torch.zeros((), dtype=torch.int64), persistent=False)
        self.register_load_state_dict_post_hook(_forget)  # type: ignore[no-untyped-call]
        self.reset_parameters()

    def _checked_weight(self, weight: torch.Tensor | None) -> torch.Tensor | None:
        if weight is None:
            return None
        if not isinstance(weight, torch.Tensor) or weight.shape != (self.num_classes,):
            given = f"shape {tuple(weight.shape)}" if isinstance(weight, torch.Tensor) else repr(weight)
            raise ArgumentError("weight", given, f"a tensor of shape ({self.num_classes},)")
        if not bool((weight >= 0).all() & weight.isfinite().all()):
            raise ArgumentError("weight", "a negative or infinite number", "finite numbers of at least 0")
        if self.label_smoothing:
            raise ArgumentError("weight", "weights and label_smoothing", "left out with label_smoothing")
        return weight.detach().to(torch.float32).contiguous()

    def reset_parameters(self) -> None:
        """Draw new parameters, as those of ``torch.nn.Linear``, and discard the tables."""
        torch.nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.in_features)
            torch.nn.init.uniform_(self.bias, -bound, bound)
        self.sampler.forget()

    def rebuild(self) -> None:
        """Discard the tables: the next step builds them from the weight of that time.

        Needed only after the weight was replaced by values that have little to do with the old ones; loading
        a state dict does it.
        """
        self.sampler.forget()

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        result = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.sampler.forget()
        return result

    # Training.

    def forward(
        self, hidden: torch.Tensor, target: Any, *, step: int | torch.Tensor | None = None
    ) -> torch.Tensor:
        """The loss: over a sample of the classes in training mode, over all of them in evaluation mode.

        Parameters
        ----------
        hidden : (..., in_features) tensor
            Inputs of the layer: float32, bfloat16 or float16, on the CPU, or with ``backend="torch"`` on the
            device of the weight.
        target : integer tensor, or sparse matrix
            Class ids (...,), ``ignore_index`` for rows without loss; or several labels a row: padded ids
            (..., m), ``ignore_index`` where there is none, or an indicator matrix (rows, num_classes) of
            SciPy or of layout ``torch.sparse_csr``.
        step : int or () int64 tensor, optional
            Number of the step, from 1, which determines the draw and when tables are rebuilt. By default
            that of the last call plus 1. Activation checkpointing runs a forward pass twice, and needs it.

        Returns
        -------
        float32 tensor
            One number, or (...,) with ``reduction="none"``.

        Raises
        ------
        ArgumentError
            Another shape, dtype, device or layout, or a class id out of range.
        BiasedSampleError
            Inclusion probabilities are wanted of a pipeline that has none; the message names the stage.
        UnsupportedError
            Transforms of ``torch.func``, and checkpointing without ``step``.
        """
        rows, ids, starts = self._checked(hidden, target)
        if self.options.backend == "torch":
            of_rows = self._in_tensors(rows, ids, starts, step)
            return of_rows.reshape(hidden.shape[:-1]) if self.reduction == "none" else of_rows
        parameters = self.weight.requires_grad or (self.bias is not None and self.bias.requires_grad)
        recorded = torch.is_grad_enabled()
        parts = draw_active_set(
            rows.detach(),
            self.weight.detach(),
            ids,
            starts,
            self._step(step),
            self.sampler.number if self.training else -1,
            self.options.seed,
            self.ignore_index,
        )
        ignored = self._loss == "sigmoid" and starts is None and ids.dim() == 1
        now = self.reduction != "none" and recorded
        loss: torch.Tensor = sampled_loss(
            rows,
            self.weight,
            self.bias,
            *parts,
            self.class_weight,
            (ids != self.ignore_index).to(torch.float32) if ignored else None,
            self._loss,
            self.reduction,
            self.label_smoothing,
            self.options.sparse,
            now and hidden.requires_grad,
            now and parameters,
        )[0]
        return loss.reshape(hidden.shape[:-1]) if self.reduction == "none" else loss

    def _in_tensors(
        self, rows: torch.Tensor, ids: torch.Tensor, starts: Any, step: int | torch.Tensor | None
    ) -> torch.Tensor:
        """The loss in tensor operations."""
        factors = None
        if self._loss == "sigmoid" and starts is None and ids.dim() == 1:
            factors = (ids != self.ignore_index).to(torch.float32)
        how = self.class_weight, factors, self._loss, self.reduction, self.label_smoothing
        with torch.autocast(rows.device.type, enabled=False):
            if not self.training:
                labels = label_tensors(ids, starts, self.ignore_index, self.num_classes)
                return full_loss(rows, self.weight, self.bias, labels, *how)
            drawn, indptr, log_inclusion, *labelled = draw_active_set(
                rows.detach(),
                self.weight.detach(),
                ids,
                starts,
                self._step(step),
                self.sampler.number,
                self.options.seed,
                self.ignore_index,
            )
            return gathered_loss(
                rows,
                self.weight,
                self.bias,
                drawn.long(),
                None if self.options.active_set == "batch" else indptr,
                log_inclusion if self.options.importance == "on" else None,
                (labelled[0].long(), labelled[1]),
                *how,
                self.options.sparse,
            )

    def _step(self, step: int | torch.Tensor | None) -> torch.Tensor:
        if step is not None:
            if isinstance(step, torch.Tensor):
                return step
            return torch.tensor(checked_integer("step", step, 1, 2**63 - 1))
        if not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1:
            raise UnsupportedError(
                "a forward pass inside of a backward pass (checkpointing) would draw another active set; "
                "give the number of the step: layer(hidden, target, step=step)"
            )
        if self.training:
            self.step.add_(1)
        return self.step

    def _checked(self, hidden: torch.Tensor, target: Any) -> tuple[torch.Tensor, torch.Tensor, Any]:
        """Hidden rows, and targets as the operators take them."""
        check_parameter(self.weight, "weight", self.options.backend)
        self._check_hidden(hidden)
        rows, device = hidden.reshape(-1, self.in_features), self.weight.device
        return rows, *labels_of_target(target, "target", hidden.shape[:-1], self.num_classes, device)

    def _check_hidden(self, hidden: torch.Tensor) -> None:
        if not isinstance(hidden, torch.Tensor):
            raise ArgumentError("hidden", type(hidden).__name__, "a tensor")
        check_device(hidden, "hidden", self.weight.device)
        if hidden.dtype not in _HIDDEN_DTYPES:
            wanted = "of dtype torch.float32, torch.bfloat16 or torch.float16"
            raise ArgumentError("hidden", str(hidden.dtype), wanted)
        if hidden.dim() < 1 or hidden.shape[-1] != self.in_features:
            wanted = f"of shape (..., {self.in_features})"
            raise ArgumentError("hidden", f"shape {tuple(hidden.shape)}", wanted)

    @property
    def active_size(self) -> float:
        """Number of active classes of the last step, the mean over rows where each has a set of its own.

        Raises
        ------
        UnsupportedError
            There was no step yet.
        """
        last = self._last
        return len(last.ids) / last.n_rows

    @property
    def effective_sample_size(self) -> float:
        """Effective size of the active set of the last step: ``(sum w)**2 / sum w**2`` over the importance
        weights ``w = 1 / pi`` (Kish 1965), the mean over rows where each has a set of its own.

        Raises
        ------
        UnsupportedError
            There was no step yet.
        BiasedSampleError
            The pipeline has no inclusion probabilities.
        """
        last = self._last
        weights, row_of = last.weights, last.row_of_ids()
        sums = np.bincount(row_of, weights, last.n_rows)
        squares = np.bincount(row_of, weights**2, last.n_rows)
        return float((sums**2 / np.maximum(squares, np.finfo(np.float64).tiny)).mean())

    @property
    def _last(self) -> ActiveSet:
        if self.sampler.last is None:
            raise UnsupportedError("there was no training step yet, so there is no active set")
        return self.sampler.last

    # Prediction.

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """The logits of all classes, (..., num_classes): those of ``torch.nn.Linear``."""
        return functional.linear(hidden, self.weight, self.bias)

    def predict(self, hidden: torch.Tensor) -> torch.Tensor:
        """The class of the largest logit of each row, (...,) int64: exact, without the logits in memory."""
        return self.topk(hidden, 1)[1][..., 0]

    def topk(self, hidden: torch.Tensor, k: int, *, exact: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
        """The k classes of largest logits, as ``torch.topk`` of all logits.

        Parameters
        ----------
        hidden : (..., in_features) tensor
            Inputs of the layer.
        k : int
            Classes per row.
        exact : bool
            Compare with all classes; else with those that the hash tables retrieve.

        Returns
        -------
        values : (..., k) float32 tensor
            Logits, the largest first; -inf where the tables retrieve fewer classes.
        indices : (..., k) int64 tensor
            Their classes, ties by the smaller id (exact ones of ``backend="torch"``: in any order); -1 where
            there is none.

        Raises
        ------
        ArgumentError
            Another shape, dtype or device, or k out of range.
        UnsupportedError
            ``exact=False`` with a pipeline that uses no tables.
        """
        check_parameter(self.weight, "weight", self.options.backend)
        self._check_hidden(hidden)
        k = checked_integer("k", k, 1, self.num_classes)
        rows = hidden.detach().reshape(-1, self.in_features)
        if exact and self.options.backend == "torch":
            best = self._best_logits(rows, k)
        elif exact:
            bias = None if self.bias is None else view_of(self.bias.detach().to(torch.float32))
            arrays = np.ascontiguousarray(float32_rows(rows)), view_of(self.weight), bias
            ids, scores = layers.top_k(*arrays, k, threads=torch.get_num_threads())
            best = torch.from_numpy(scores), torch.from_numpy(ids.astype(np.int64))
        else:
            best = self.sampler.best_retrieved(rows, self.weight, self.bias, k)
        values, indices = (part.reshape(*hidden.shape[:-1], k) for part in best)
        return values, indices

    @torch.no_grad()
    def _best_logits(self, rows: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Values and ids of the k largest logits, block by block of rows."""
        weight = self.weight.to(torch.float32)
        bias = None if self.bias is None else self.bias.to(torch.float32)
        blocks = torch.split(rows.to(torch.float32), max(2**25 // self.num_classes, 16))
        parts = [functional.linear(block, weight, bias).topk(k) for block in blocks]
        return torch.cat([part.values for part in parts]), torch.cat([part.indices for part in parts])

    def extra_repr(self) -> str:
        """The arguments, for the module's text."""
        return (
            f"in_features={self.in_features}, num_classes={self.num_classes}, bias={self.bias is not None}, "
            f"reduction={self.reduction!r}, sampler={str(self.sampler.pipeline)!r}"
        )


def _forget(module: _SampledLinear, _: Any) -> None:
    module.sampler.forget()


class SampledLinearCrossEntropy(_SampledLinear):
    """A linear layer with softmax cross-entropy, trained on a sample of its classes.

    In training mode only the classes of an active set are computed: the labels of the batch, and those that a
    sampler draws, such as the classes whose weights are near the batch's inputs by hash tables. In evaluation
    mode the loss is that of all classes, as ``torch.nn.LinearCrossEntropyLoss``.

    Parameters
    ----------
    in_features, num_classes : int
        Shape of the weight, (num_classes, in_features).
    bias : bool
        Whether there is a bias.
    device, dtype
        Of the parameters; ``torch.float32`` or ``torch.bfloat16`` on the CPU.
    reduction : str
        ``"mean"``: the sum of the losses over the sum of the targets' weights; ``"sum"``, or ``"none"``.
    weight : (num_classes,) tensor, optional
        A factor of the loss of each class; not with ``label_smoothing``.
    ignore_index : int
        The target of rows without loss, and of places without a label.
    label_smoothing : float
        Share of the targets that is spread evenly over all classes, in [0, 1).
    options : SamplingOptions, optional
        The sampler and its tables.

    Attributes
    ----------
    weight, bias : Parameter
        With the names of ``torch.nn.Linear``: state dicts of one load into the other.
    step : () int64 tensor
        Number of training steps so far; not in the state dict.
    class_weight : tensor or None
        The argument ``weight``; not in the state dict.

    Raises
    ------
    ArgumentError
        A bad argument.

    Notes
    -----
    With inclusion probabilities pi_j (``importance="on"``) the normaliser is estimated by the sum of
    ``exp(o_j) / pi_j`` over the active set, which is unbiased (Bengio & Senecal 2008); its logarithm, the
    loss, is too low by about half of the relative variance of the estimate. Several labels of a row have the
    target 1 / their number each. The cost of a step depends on the active set alone; with ``sparse=True``
    that of the gradients does, too.

    Examples
    --------
    >>> from lshsample.torch import RowAdam
    >>> options = SamplingOptions(sampler="lsh", n_active=400, sparse=True)
    >>> layer = SampledLinearCrossEntropy(16, 10_000, options=options)
    >>> optimizer = RowAdam(layer.parameters(), lr=1e-2)
    >>> hidden, target = torch.randn(32, 16), torch.randint(10_000, (32,))
    >>> loss = layer(hidden, target)
    >>> loss.backward()
    >>> optimizer.step()
    >>> layer.weight.grad.is_sparse, layer.predict(hidden).shape
    (True, torch.Size([32]))
    """

    _loss = "softmax"

    def log_prob(self, hidden: torch.Tensor) -> torch.Tensor:
        """Log probabilities of all classes, (..., num_classes)."""
        return functional.log_softmax(self.logits(hidden), -1)


class SampledLinearSigmoid(_SampledLinear):
    """A linear layer with the logistic loss of each class, trained on a sample of its classes.

    The loss of a row is the sum over all classes of the binary cross-entropy, 1 for its labels and 0 for
    others; ``reduction="mean"`` is the mean over rows. Arguments, attributes and errors are those of
    :class:`SampledLinearCrossEntropy`; rows of padded ids or of a sparse matrix may have no labels: all
    classes are negatives then.

    Notes
    -----
    With inclusion probabilities (``importance="on"``) the loss and its gradients are unbiased estimates of
    those over all classes (Horvitz & Thompson 1952).

    Examples
    --------
    >>> layer = SampledLinearSigmoid(8, 1000, options=SamplingOptions(sampler="uniform", n_active=50))
    >>> labels = torch.tensor([[3, 7, -100], [12, -100, -100]])
    >>> layer(torch.zeros(2, 8), labels).shape, layer.active_size <= 53
    (torch.Size([]), True)
    """

    _loss = "sigmoid"

    def log_prob(self, hidden: torch.Tensor) -> torch.Tensor:
        """Log probabilities of all classes, each on its own, (..., num_classes)."""
        return functional.logsigmoid(self.logits(hidden))
