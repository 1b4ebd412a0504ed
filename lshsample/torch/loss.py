"""The loss over an active set as an operator of PyTorch, with its gradients.

The sums over rows that training needs are known before the backward pass, up to a factor: the gradients are
computed with the loss, block by block of rows, so that the logits of all rows are never in memory together.
Without a reduction each row has a factor of its own, and the backward pass computes the logits again, over
the same active set.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch

from lshsample._native import core, layers
from lshsample.errors import UnsupportedError
from lshsample.nn.losses import Logits, Loss, Sigmoid, Softmax
from lshsample.nn.signals import Block, take_rows
from lshsample.torch.arrays import float32_rows, view_of

__all__ = ["LOSSES", "of_rows", "sampled_loss"]

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

LOSSES: dict[str, type[Softmax] | type[Sigmoid]] = {"softmax": Softmax, "sigmoid": Sigmoid}
#: Logits of a block of rows, in bytes.
_BLOCK_BYTES = 1 << 25


_memory = threading.local()


def _scratch(shape: tuple[int, int]) -> Float32:
    """Memory for the logits of a block, which each thread keeps: new pages cost as much as the product."""
    size = shape[0] * shape[1]
    held: Float32 | None = getattr(_memory, "logits", None)
    if held is None or held.size < size:
        _memory.logits = held = np.empty(size + size // 4, np.float32)
    return held[:size].reshape(shape)


@attrs.frozen(eq=False)
class _Rows:
    """Rows of a batch with their active set and targets; the logits are ``hidden @ weight.T + bias``.

    Attributes
    ----------
    hidden : (rows, d) float32 array
    weight : (classes, d) array of float32 or bfloat16
    bias : (classes,) float32 array or None
    ids : (n,) int32 array
        The active classes; ascending in each row.
    indptr : (rows + 1,) int64 array or None
        Row pointers of the ids; None if all rows share them.
    log_inclusion : (n,) float32 array or None
    labels : csr_array (rows, classes)
    targets : (nnz,) float32 array
    """

    hidden: Float32
    weight: npt.NDArray[Any]
    bias: Float32 | None
    ids: Int32
    indptr: Int64 | None
    log_inclusion: Float32 | None
    labels: sp.csr_array
    targets: Float32

    def blocks(self) -> Iterator[tuple[slice, _Rows]]:
        """Blocks of rows, whose logits are small."""
        rows = len(self.hidden)
        each = len(self.ids) if self.indptr is None else int(np.diff(self.indptr).max(initial=0))
        size = max(_BLOCK_BYTES // (4 * max(each, 1)), 16)
        if size >= rows:
            yield slice(0, rows), self
            return
        for begin in range(0, rows, size):
            at = slice(begin, min(begin + size, rows))
            chosen: Any = attrs.evolve(
                self,
                hidden=self.hidden[at],
                labels=take_rows(self.labels, np.arange(at.start, at.stop)),
                targets=self.targets[self.labels.indptr[at.start] : self.labels.indptr[at.stop]],
            )
            if self.indptr is not None:
                ends = self.indptr[at.start], self.indptr[at.stop]
                own = slice(*ends)
                inclusion = None if self.log_inclusion is None else self.log_inclusion[own]
                indptr = self.indptr[at.start : at.stop + 1] - ends[0]
                chosen = attrs.evolve(chosen, ids=self.ids[own], indptr=indptr, log_inclusion=inclusion)
            yield at, chosen

    @property
    def _products_of(self) -> Int32 | None:
        """The rows of the weight in shared products; None for all."""
        return None if len(self.ids) == len(self.weight) else self.ids

    def losses(self, loss: Loss, threads: int) -> tuple[Float32, Any]:
        """The loss of each row, and the gradient of its logits: a dense array, or CSR rows."""
        signal: Any
        if self.indptr is None:
            values = layers.matmul_nt(
                self.hidden,
                self.weight,
                bias=self.bias,
                rows=self._products_of,
                out=_scratch((len(self.hidden), len(self.ids))),
                threads=threads,
            )
            signal = Block(values, len(self.weight), self._products_of)
            gradient: Any = values
        else:
            values = layers.csr_sampled_matmul(
                self.hidden, self.weight, self.bias, self.indptr, self.ids, threads=threads
            )
            shape = len(self.hidden), len(self.weight)
            gradient = signal = core.csr_from_parts(self.indptr, self.ids, values, shape)
        logits = Logits.of(signal, self.labels, self.targets, self.log_inclusion)
        return loss.apply(logits, threads), gradient

    def to_hidden(self, gradient: Any, threads: int) -> Float32:
        """The gradient of the hidden rows."""
        if self.indptr is None:
            return layers.matmul_nn(gradient, self.weight, rows=self._products_of, threads=threads)
        return layers.csr_matmul(gradient, self.weight, threads=threads)

    def to_weight(self, gradient: Any, scale: float, threads: int) -> tuple[Int32, Float32, Float32]:
        """The classes with a gradient, and the gradient of their weight and bias, times ``scale``."""
        scaled = self.hidden if scale == 1.0 else self.hidden * np.float32(scale)
        if self.indptr is None:
            sums = layers.column_sums(gradient, threads=threads) * np.float32(scale)
            return self.ids, layers.matmul_tn(gradient, scaled, threads=threads), sums
        ones = np.full((len(scaled), 1), scale, np.float32)
        rows, weight = layers.csr_transpose_matmul(gradient, scaled, threads=threads)
        return rows, weight, layers.csr_transpose_matmul(gradient, ones, threads=threads)[1][:, 0]


def _scale_rows(gradient: Any, factors: Float32) -> None:
    """Multiply the rows of a gradient by a factor each, in place."""
    if isinstance(gradient, sp.csr_array):
        gradient.data *= np.repeat(factors, np.diff(gradient.indptr))
    else:
        gradient *= factors[:, None]


def _mass(rows: _Rows, loss: Loss, factors: Float32 | None) -> float:
    """What a mean divides by: the sum of the targets of the softmax, the number of rows of the sigmoid."""
    if loss.needs_labels:
        return float(rows.targets.sum(dtype=np.float64))
    return float(len(rows.hidden) if factors is None else factors.sum(dtype=np.float64))


def _run(
    rows: _Rows, loss: Loss, factors: Float32 | None, scale: float, wanted: tuple[bool, bool]
) -> tuple[Float32, Float32, Int32, Float32, Float32]:
    """The losses of the rows, times their factors, and the gradient of ``scale`` times their sum."""
    threads, d = torch.get_num_threads(), rows.hidden.shape[1]
    losses = np.empty(len(rows.hidden), np.float32)
    to_hidden = np.empty(rows.hidden.shape if wanted[0] else (0, d), np.float32)
    parts = []
    for at, block in rows.blocks():
        losses[at], gradient = block.losses(loss, threads)
        if factors is not None:
            losses[at] *= factors[at]
            _scale_rows(gradient, factors[at])
        if wanted[0]:
            own = block.to_hidden(gradient, threads)
            to_hidden[at] = own if scale == 1.0 else own * np.float32(scale)
        if wanted[1]:
            parts.append(block.to_weight(gradient, scale, threads))
    return losses, to_hidden, *_joined(parts, d)


def _joined(parts: list[tuple[Int32, Float32, Float32]], d: int) -> tuple[Int32, Float32, Float32]:
    """The sum of gradients of rows, over the union of their classes."""
    if len(parts) < 2:
        return (
            parts[0]
            if parts
            else (np.empty(0, np.int32), np.empty((0, d), np.float32), np.empty(0, np.float32))
        )
    ids = np.unique(np.concatenate([part[0] for part in parts]))
    weight, bias = np.zeros((len(ids), d), np.float32), np.zeros(len(ids), np.float32)
    for own, to_weight, to_bias in parts:
        places = np.searchsorted(ids, own)
        weight[places] += to_weight
        bias[places] += to_bias
    return ids, weight, bias


@torch.library.custom_op("lshsample::sampled_loss", mutates_args=())
def sampled_loss(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    ids: torch.Tensor,
    indptr: torch.Tensor,
    log_inclusion: torch.Tensor,
    label_ids: torch.Tensor,
    label_indptr: torch.Tensor,
    class_weight: torch.Tensor | None,
    factors: torch.Tensor | None,
    loss: str,
    reduction: str,
    smoothing: float,
    sparse: bool,
    to_hidden: bool,
    to_weight: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The loss of a batch over an active set, and its gradients.

    Parameters
    ----------
    hidden : (rows, d) tensor
    weight : (classes, d) float32 or bfloat16 tensor
    bias : (classes,) tensor or None
    ids, indptr, log_inclusion, label_ids, label_indptr : tensors
        From :func:`lshsample.torch.active.draw_active_set`.
    class_weight : (classes,) float32 tensor or None
        A factor of each class's part of the loss.
    factors : (rows,) float32 tensor or None
        A factor of each row's loss.
    loss : str
        ``"softmax"`` or ``"sigmoid"``.
    reduction : str
        ``"mean"``, ``"sum"`` or ``"none"``.
    smoothing : float
        Share of the targets that is spread over all classes.
    sparse : bool
        Whether the backward pass gives sparse gradients of weight and bias.
    to_hidden, to_weight : bool
        Which gradients of the loss are computed here; with ``"none"``, of the sum of the rows' losses.

    Returns
    -------
    loss : float32 tensor
        One number, or (rows,) with ``"none"``.
    grad_hidden : (rows, d) float32 tensor
        Empty unless wanted, as the others.
    classes : (n,) int64 tensor
        The classes with a gradient.
    grad_weight : (n, d) float32 tensor
    grad_bias : (n,) float32 tensor
    """
    rows = _rows_of(hidden, weight, bias, ids, indptr, log_inclusion, label_ids, label_indptr)
    rows, made = _weighted(rows, LOSSES[loss](smoothing=smoothing), class_weight)
    by_row = None if factors is None else view_of(factors)
    mass = _mass(rows, made, by_row) if reduction == "mean" else 1.0
    scale = 1.0 / mass if mass else 0.0
    losses, *gradients = _run(rows, made, by_row, scale, (to_hidden, to_weight))
    grad_hidden, classes, grad_weight, grad_bias = gradients
    if reduction == "none":
        result = torch.from_numpy(losses)
    else:
        total = losses.sum(dtype=np.float64)
        result = torch.tensor(total / mass if mass else np.nan, dtype=torch.float32)
    tensors = (torch.from_numpy(a) for a in (grad_hidden, classes.astype(np.int64), grad_weight, grad_bias))
    return result, *tensors  # type: ignore[return-value]


def _rows_of(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    ids: torch.Tensor,
    indptr: torch.Tensor,
    log_inclusion: torch.Tensor,
    label_ids: torch.Tensor,
    label_indptr: torch.Tensor,
) -> _Rows:
    """The arguments of an operator as arrays."""
    labels = core.csr_from_parts(
        view_of(label_indptr), view_of(label_ids), None, (len(hidden), weight.shape[0])
    )
    return _Rows(
        np.ascontiguousarray(float32_rows(hidden)),
        view_of(weight),
        None if bias is None else view_of(bias.to(torch.float32)),
        view_of(ids),
        view_of(indptr) if len(indptr) else None,
        view_of(log_inclusion) if len(log_inclusion) else None,
        labels,
        labels.data,
    )


def _weighted(rows: _Rows, loss: Softmax | Sigmoid, class_weight: torch.Tensor | None) -> tuple[_Rows, Loss]:
    """The rows with the targets of the loss, and the weights of the classes."""
    targets, log_inclusion = loss.label_weights(rows.labels), rows.log_inclusion
    if class_weight is not None:
        weights = view_of(class_weight.to(torch.float32))
        if loss.needs_labels:
            targets = targets * weights[rows.labels.indices]
        else:  # the sigmoid's sum over classes is weighted by exp(-log_inclusion)
            with np.errstate(divide="ignore"):
                own = -np.log(weights[rows.ids])
            log_inclusion = own if log_inclusion is None else own + log_inclusion
    return attrs.evolve(rows, targets=targets, log_inclusion=log_inclusion), loss


@sampled_loss.register_fake
def _(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    ids: torch.Tensor,
    indptr: torch.Tensor,
    log_inclusion: torch.Tensor,
    label_ids: torch.Tensor,
    label_indptr: torch.Tensor,
    class_weight: torch.Tensor | None,
    factors: torch.Tensor | None,
    loss: str,
    reduction: str,
    smoothing: float,
    sparse: bool,
    to_hidden: bool,
    to_weight: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    rows, d = hidden.shape
    active: Any = 0
    if to_weight:
        shared = indptr.shape[0] == 0
        active = ids.shape[0] if shared else torch.library.get_ctx().new_dynamic_size()

    def new(*shape: Any, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return hidden.new_empty(shape, dtype=dtype)

    losses = new(rows) if reduction == "none" else new()
    grad_hidden = new(rows if to_hidden else 0, d)
    return losses, grad_hidden, new(active, dtype=torch.int64), new(active, d), new(active)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    """Save what the backward pass needs: the gradients, or the arguments where rows have a factor each."""
    hidden, weight, bias, *_, loss, reduction, smoothing, sparse, _, _ = inputs
    ctx.sizes = weight.shape[0], hidden.dtype, weight.dtype, None if bias is None else bias.dtype
    ctx.reduction, ctx.sparse = reduction, sparse
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)
    if reduction == "none":
        ctx.plain = loss, smoothing
        ctx.save_for_backward(*inputs[:10])
    else:
        ctx.save_for_backward(*output[1:])


def _backward(ctx: Any, grad_loss: torch.Tensor | None, *_: Any) -> tuple[Any, ...]:
    """The gradients of hidden rows, weight and bias."""
    nothing = (None,) * 16
    if grad_loss is None:
        return nothing
    if torch.is_grad_enabled():
        raise UnsupportedError("a sampled loss has no second derivatives: leave out create_graph=True")
    classes, hidden_dtype, weight_dtype, bias_dtype = ctx.sizes
    needs = ctx.needs_input_grad[:3]
    if ctx.reduction == "none":
        *arguments, factors = ctx.saved_tensors
        by_row = grad_loss if factors is None else grad_loss * factors
        loss, smoothing = ctx.plain
        parameters = needs[1] or needs[2]
        _, *saved = sampled_loss(
            *arguments, by_row.contiguous(), loss, "sum", smoothing, False, needs[0], parameters
        )
        factor = None
    else:
        saved, factor = ctx.saved_tensors, grad_loss
    grad_hidden, rows, grad_weight, grad_bias = saved
    return (
        _times(grad_hidden, factor, hidden_dtype) if needs[0] else None,
        of_rows(_times(grad_weight, factor, weight_dtype), rows, classes, ctx.sparse) if needs[1] else None,
        of_rows(_times(grad_bias, factor, bias_dtype), rows, classes, ctx.sparse) if needs[2] else None,
        *nothing[3:],
    )


def _times(gradient: torch.Tensor, factor: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor:
    """The gradient times a factor, in the type of what it is the gradient of."""
    # The usual factor is 1; the values of tensors of a compiler's trace are not known.
    if factor is not None and not (type(factor) is torch.Tensor and factor.item() == 1.0):
        gradient = gradient * factor
    return gradient.to(dtype)


def of_rows(values: torch.Tensor, rows: torch.Tensor, classes: int, sparse: bool) -> torch.Tensor:
    """The gradient of a parameter, from that of some of its rows."""
    size = classes, *values.shape[1:]
    if sparse:
        return torch.sparse_coo_tensor(rows[None], values, size, is_coalesced=True, check_invariants=False)
    return values.new_zeros(size).index_copy_(0, rows, values)


sampled_loss.register_autograd(_backward, setup_context=_keep)


@sampled_loss.register_vmap
def _(info: Any, in_dims: Any, *arguments: Any) -> Any:
    raise UnsupportedError("vmap over a sampled loss: its rows share an active set; give it all rows at once")
