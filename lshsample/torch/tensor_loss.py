"""The loss over an active set in tensor operations, on any device, with gradients by autograd."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from lshsample.torch.loss import of_rows

__all__ = ["full_loss", "gathered", "gathered_loss"]

#: Logits of a block of rows, in bytes, of losses over all classes.
_BLOCK_BYTES = 1 << 27


def gathered(parameter: Tensor, rows: Tensor, sparse: bool) -> Tensor:
    """Rows of a parameter, ascending and unique, as float32; their gradient is dense, or sparse by rows."""
    return _Gather.apply(parameter, rows, sparse)  # type: ignore[no-any-return,no-untyped-call]


class _Gather(torch.autograd.Function):
    """Some rows of a parameter, ascending and unique; their gradient is dense, or sparse by rows."""

    @staticmethod
    def forward(ctx: Any, parameter: Tensor, rows: Tensor, sparse: bool) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.size, ctx.sparse, ctx.dtype = len(parameter), sparse, parameter.dtype
        return parameter.index_select(0, rows).to(torch.float32)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        (rows,) = ctx.saved_tensors
        return of_rows(gradient.to(ctx.dtype), rows, ctx.size, ctx.sparse), None, None


def gathered_loss(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    ids: Tensor,
    indptr: Tensor | None,
    log_inclusion: Tensor | None,
    labels: tuple[Tensor, Tensor],
    class_weight: Tensor | None,
    factors: Tensor | None,
    kind: str,
    reduction: str,
    smoothing: float,
    sparse: bool,
) -> Tensor:
    """The loss over active sets; the arguments are those of :func:`lshsample.torch.loss.sampled_loss`.

    Rows with a set each cost memory for the weight row of each of their ids.
    """
    label_ids, label_rows = labels[0], _rows_of(labels[1])
    if indptr is None:
        if torch.compiler.is_compiling():
            torch._check(len(ids) > 0)  # type: ignore[no-untyped-call]
        rows = gathered(weight, ids, sparse)
        logits = hidden.to(torch.float32) @ rows.T
        if bias is not None:
            logits = logits + gathered(bias, ids, sparse)
        places = label_rows * len(ids) + torch.searchsorted(ids, label_ids)
        owners = None
    else:
        unique, inverse = torch.unique(ids, return_inverse=True)
        owners = _rows_of(indptr)
        rows = gathered(weight, unique, sparse)[inverse]
        logits = (hidden.to(torch.float32)[owners] * rows).sum(1)
        if bias is not None:
            logits = logits + gathered(bias, unique, sparse)[inverse]
        n_classes = len(weight)
        places = torch.searchsorted(owners * n_classes + ids, label_rows * n_classes + label_ids)
    scale = None if class_weight is None else class_weight[ids]
    losses, mass = _losses(
        logits, owners, len(hidden), log_inclusion, places, label_rows, labels, class_weight, scale, kind,
        smoothing, len(weight),
    )  # fmt: skip
    return _reduced(losses, mass, factors, kind, reduction)


def full_loss(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    labels: tuple[Tensor, Tensor],
    class_weight: Tensor | None,
    factors: Tensor | None,
    kind: str,
    reduction: str,
    smoothing: float,
) -> Tensor:
    """The loss over all classes, block by block of rows."""
    classes, parts = len(weight), []
    matrix, offsets = weight.to(torch.float32), None if bias is None else bias.to(torch.float32)
    for begin, end in _blocks(len(hidden), classes):
        first, last = labels[1][begin], labels[1][end]
        own = labels[0][first:last], labels[1][begin : end + 1] - first
        rows = _rows_of(own[1])
        logits = functional.linear(hidden[begin:end].to(torch.float32), matrix, offsets)
        places = rows * classes + own[0]
        weights = class_weight, class_weight
        parts.append(
            _losses(logits, None, end - begin, None, places, rows, own, *weights, kind, smoothing, classes)
        )
    losses, mass = (torch.cat(part) for part in zip(*parts, strict=True))
    return _reduced(losses, mass, factors, kind, reduction)


def _blocks(rows: int, classes: int) -> Iterator[tuple[int, int]]:
    size = max(_BLOCK_BYTES // (4 * classes), 16)
    yield from ((begin, min(begin + size, rows)) for begin in range(0, max(rows, 1), size))


def _rows_of(starts: Tensor) -> Tensor:
    return torch.repeat_interleave(torch.arange(len(starts) - 1, device=starts.device), starts.diff())


def _losses(
    logits: Tensor,
    owners: Tensor | None,
    n_rows: int,
    log_inclusion: Tensor | None,
    places: Tensor,
    label_rows: Tensor,
    labels: tuple[Tensor, Tensor],
    class_weight: Tensor | None,
    scale: Tensor | None,
    kind: str,
    smoothing: float,
    n_classes: int,
) -> tuple[Tensor, Tensor]:
    """The loss of each row, and the sum of its targets.

    Logits are (rows, n), or (n,) with their ``owners``; ``log_inclusion`` and ``scale``, the class weights,
    are (n,); ``places`` are those of the labels among the flat logits.
    """

    def sums(values: Tensor, rows: Tensor | None = owners) -> Tensor:
        if rows is None:
            return values.expand_as(logits).sum(1)
        return values.new_zeros(n_rows).index_add(0, rows, values)

    targets = torch.ones(len(label_rows), device=logits.device)
    if kind == "softmax":
        targets = targets / labels[1].diff().to(torch.float32)[label_rows]
        if class_weight is not None:
            targets = targets * class_weight[labels[0]]
    weights = torch.ones_like(logits) if log_inclusion is None else (-log_inclusion).exp().expand_as(logits)
    mass = sums(targets, label_rows)
    agreement = logits.reshape(-1)[places] * targets
    spread: Any = 0.0
    even = weight = torch.zeros_like(mass)
    if smoothing:
        weight = sums(weights)
        even = smoothing * mass / (weight if log_inclusion is None else n_classes)
        spread = sums(weights * logits)
    if kind == "softmax":
        corrected = logits if log_inclusion is None else logits - log_inclusion
        total = (1 - smoothing) * mass + even * weight
        losses = total * _log_sum_exp(corrected, owners, n_rows)
    else:
        if scale is not None:
            weights = weights * scale
        agreement = agreement * weights.reshape(-1)[places]
        losses = sums(weights * functional.softplus(logits))
    return losses - (1 - smoothing) * sums(agreement, label_rows) - even * spread, mass


def _log_sum_exp(values: Tensor, owners: Tensor | None, n_rows: int) -> Tensor:
    if owners is None:
        return values.logsumexp(1).clamp_min(torch.finfo(values.dtype).min)
    top = values.detach().new_full((n_rows,), -torch.inf).scatter_reduce(0, owners, values.detach(), "amax")
    top = top.nan_to_num(neginf=0.0)  # of rows without ids
    total = values.new_zeros(n_rows).index_add(0, owners, (values - top[owners]).exp())
    return total.clamp_min(torch.finfo(total.dtype).tiny).log() + top


def _reduced(losses: Tensor, mass: Tensor, factors: Tensor | None, kind: str, reduction: str) -> Tensor:
    if factors is not None:
        losses = losses * factors
    if reduction == "none":
        return losses
    if reduction == "sum":
        return losses.sum()
    if kind == "softmax":
        return losses.sum() / mass.sum()
    return losses.mean() if factors is None else losses.sum() / factors.sum()
