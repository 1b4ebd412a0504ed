"""The softmax loss of retrieval models and of contrastive learning, over the batch and drawn items."""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from lshsample.errors import ArgumentError
from lshsample.specs import checked_number

__all__ = ["contrastive_loss"]


def contrastive_loss(
    queries: torch.Tensor,
    positives: torch.Tensor,
    negatives: torch.Tensor | None = None,
    *,
    ids: torch.Tensor | None = None,
    negative_ids: torch.Tensor | None = None,
    log_q: torch.Tensor | None = None,
    log_inclusion: torch.Tensor | None = None,
    temperature: float = 1.0,
    reduction: str = "mean",
) -> torch.Tensor:
    """Softmax cross-entropy of each query's positive against the other positives of the batch, and negatives.

    Parameters
    ----------
    queries, positives : (n, d) tensors
        Embeddings; row i of both belong together. Normalised ones give cosines.
    negatives : (m, d) tensor, optional
        Embeddings of items that were drawn for the batch, such as those of
        :meth:`ParameterSampler.sample`.
    ids : (n,) integer tensor, optional
        The items of the positives. Other rows with the same item are then no negatives of a row.
    negative_ids : (m,) integer tensor, optional
        The items of the negatives, to leave out a row's positive among them; needs ``ids``.
    log_q : (n,) tensor, optional
        Log probability of each positive's item to be that of a row, such as the log of its share of the
        training rows; the loss is then corrected for it.
    log_inclusion : (m,) tensor, optional
        Log inclusion probabilities of the negatives.
    temperature : float
        Inner products are divided by it.
    reduction : str
        ``"mean"``, ``"sum"`` or ``"none"``.

    Returns
    -------
    tensor
        One number, or (n,) with ``"none"``.

    Raises
    ------
    ArgumentError
        A bad argument; a correction for one of two sources of negatives alone.

    Notes
    -----
    Without corrections this is InfoNCE (van den Oord et al. 2018), in which an item is a negative as often as
    it is a positive of others: popular items are pushed away. With ``log_q`` (Yi et al. 2019) an item's
    exponential is divided by the expected number of times that it is in the other rows, and with
    ``log_inclusion`` by its inclusion probability; the positive, which is certain, is not corrected.
    Both together (mixed negatives, Yang et al. 2020) are two estimates of one sum, averaged in proportion to
    their sizes. The normaliser is then an unbiased estimate of that over all items, given ``ids`` and
    ``negative_ids``, with which the positive counts once.

    Examples
    --------
    >>> queries, items = torch.eye(3), torch.eye(3)
    >>> round(float(contrastive_loss(queries, items)), 4)
    0.5514
    >>> round(float(contrastive_loss(queries, items, temperature=0.5)), 4)
    0.2395
    """
    n = _checked(queries, positives, negatives, temperature, reduction)
    m = 0 if negatives is None else len(negatives)
    _check_sizes({"ids": (ids, n), "log_q": (log_q, n)})
    _check_sizes({"negative_ids": (negative_ids, m), "log_inclusion": (log_inclusion, m)})
    if negative_ids is not None and ids is None:
        raise ArgumentError("negative_ids", "ids of negatives alone", "given together with ids")
    if negatives is not None and (log_q is None) != (log_inclusion is None):
        raise ArgumentError("log_q", "a correction of one source alone", "given together with log_inclusion")
    share = (n - 1) / max(n - 1 + m, 1)
    others = (queries @ positives.T).float() / temperature
    diagonal = torch.eye(n, dtype=torch.bool, device=queries.device)
    positive = others.diagonal()
    if log_q is not None:
        others = others - (log_q.float() + math.log(max(n - 1, 1)) - math.log(max(share, 1e-30)))
    same = diagonal if ids is None else ids[:, None] == ids
    columns = [positive[:, None], others.masked_fill(same, -torch.inf)]
    if negatives is not None:
        drawn = (queries @ negatives.T).float() / temperature
        if log_inclusion is not None:
            drawn = drawn - (log_inclusion.float() - math.log(1 - share))
        if ids is not None and negative_ids is not None:
            drawn = drawn.masked_fill(ids[:, None] == negative_ids, -torch.inf)
        columns.append(drawn)
    target = torch.zeros(n, dtype=torch.int64, device=queries.device)
    return functional.cross_entropy(torch.cat(columns, 1), target, reduction=reduction)


def _checked(
    queries: torch.Tensor,
    positives: torch.Tensor,
    negatives: torch.Tensor | None,
    temperature: float,
    reduction: str,
) -> int:
    """The number of queries."""
    checked_number("temperature", temperature, 0.0, float("inf"), open_low=True)
    if reduction not in ("mean", "sum", "none"):
        raise ArgumentError("reduction", repr(reduction), "one of 'mean', 'sum', 'none'")
    if queries.dim() != 2 or not len(queries):
        raise ArgumentError("queries", f"shape {tuple(queries.shape)}", "of shape (n, d), n of at least 1")
    if positives.shape != queries.shape:
        raise ArgumentError(
            "positives", f"shape {tuple(positives.shape)}", f"of shape {tuple(queries.shape)}"
        )
    if negatives is not None and (negatives.dim() != 2 or negatives.shape[1] != queries.shape[1]):
        wanted = f"of shape (m, {queries.shape[1]})"
        raise ArgumentError("negatives", f"shape {tuple(negatives.shape)}", wanted)
    return len(queries)


def _check_sizes(given: dict[str, tuple[torch.Tensor | None, int]]) -> None:
    for name, (tensor, size) in given.items():
        if tensor is not None and tensor.shape != (size,):
            raise ArgumentError(name, f"shape {tuple(tensor.shape)}", f"of shape ({size})")
