"""Attention over a large cache of keys on the CPU, from the keys that hash tables find."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from lshsample.errors import ArgumentError
from lshsample.registry import FamilyLike
from lshsample.sampling import Pipeline, Sampler, parse_pipeline
from lshsample.specs import checked_integer, checked_number
from lshsample.tables import HashTables

__all__ = ["SampledAttention"]

Law = Literal["conditional", "marginal"]

#: Ids that one table gives for a query that is like no key, where the family is chosen by the number of keys.
_PER_BUCKET = 256
#: Keys of the uniform sample where no sampler is given.
_UNIFORM = 1000


class SampledAttention(nn.Module):
    """Softmax attention of few queries to many keys, for decoding with a large cache on the CPU.

    Parameters
    ----------
    keys : (..., n, d) tensor
        Finite keys on the CPU, as ``torch.nn.functional.scaled_dot_product_attention`` takes them: leading
        dimensions are heads, each of which has its own tables. Kept by reference.
    values : (..., n, c) tensor
        Finite values.
    sampler : str or Pipeline, optional
        The keys that a query attends to, by default ``Uniform(1000) | Retrieve()``: the keys that are found
        in a table count in full, and a uniform sample of 1,000 stands for the others. Up to 1,000 keys it is
        ``Full()``.
    family : str, HashFamily, FamilySpec or mapping, optional
        The hash functions, of ``keys`` less their mean. By default SimHash with 20 tables, whose buckets
        have about 256 keys.
    scale : float, optional
        Factor of the inner products; 1 / sqrt(d) by default.
    first : int
        Keys at the beginning that every query attends to, which no table has.
    law : "conditional" or "marginal"
        Inclusion probabilities given the tables, or over random tables too, as for
        :meth:`lshsample.sampling.Sampler.sample`; ``"Retrieve() | AtLeast(2)"`` with ``"marginal"`` is the
        estimator of MagicPIG. It keeps a float32 copy of the keys.
    seed : int
        Of the samples; those of each call are others.
    threads : int, optional
        Maximum number of threads of the core.

    Raises
    ------
    ArgumentError
        Bad tensors or options.

    Notes
    -----
    sum_j (e^{s_j} / pi_j) v_j / sum_j e^{s_j} / pi_j over the sample and the keys of ``first`` and
    :meth:`append`, whose pi is 1: a ratio of two unbiased sums (Chen et al. 2024, MagicPIG, arXiv
    2410.16179). A constant may be subtracted from all keys, as it adds the same number to all logits; so the
    mean of the keys is, which makes their angles differ. It costs d + c multiplications for each sampled
    key. Nothing is differentiable.

    Examples
    --------
    >>> generator = torch.Generator().manual_seed(0)
    >>> keys, values = torch.randn(2, 5000, 16, generator=generator)
    >>> attention = SampledAttention(keys, values)
    >>> query = 4 * keys[7:8]
    >>> exact = nn.functional.scaled_dot_product_attention(query[None], keys[None], values[None])[0]
    >>> error = (attention(query) - exact).norm() / exact.norm()
    >>> bool(error < 0.05)
    True
    """

    def __init__(
        self,
        keys: Tensor,
        values: Tensor,
        *,
        sampler: str | Pipeline | None = None,
        family: FamilyLike | None = None,
        scale: float | None = None,
        first: int = 0,
        law: Law = "conditional",
        seed: int = 0,
        threads: int | None = None,
    ) -> None:
        super().__init__()
        _check_rows(keys, "keys")
        _check_rows(values, "values")
        if keys.shape[:-1] != values.shape[:-1]:
            raise ArgumentError("values", f"shape {tuple(values.shape)}", f"{tuple(keys.shape[:-1])} rows")
        n_keys = keys.shape[-2]
        self.first = checked_integer("first", first, 0, n_keys - 1)
        self.scale = (
            keys.shape[-1] ** -0.5 if scale is None else checked_number("scale", scale, -math.inf, math.inf)
        )
        if law not in ("conditional", "marginal"):
            raise ArgumentError("law", repr(law), '"conditional" or "marginal"')
        self.law: Law = law
        self.seed, self.threads = checked_integer("seed", seed, 0, 2**63 - 1), threads
        if sampler is None:
            sampler = "Full()" if n_keys - self.first <= _UNIFORM else f"Uniform({_UNIFORM}) | Retrieve()"
        self.pipeline = parse_pipeline(sampler) if isinstance(sampler, str) else sampler
        self.family = _family_for(n_keys) if family is None else family
        self.heads = keys.shape[:-2]
        self._keys, self._values = (
            x.detach().reshape(math.prod(self.heads), *x.shape[-2:]) for x in (keys, values)
        )
        self._recent: tuple[Tensor, Tensor] | None = None
        self._steps = 0
        self._samplers = [self._bound(head) for head in self._keys]

    def extra_repr(self) -> str:
        """The sizes, the sampler and the tables."""
        shape = (*self.heads, *self._keys.shape[1:])
        return f"{shape}, sampler={str(self.pipeline)!r}, family={self.family!r}"

    @property
    def n_keys(self) -> int:
        """Keys of each head, those that were appended included."""
        return self._keys.shape[1] + (0 if self._recent is None else self._recent[0].shape[1])

    def _bound(self, keys: Tensor) -> Sampler:
        used = keys[self.first :].float()
        rows = (used - used.mean(0)).numpy()
        tables = HashTables(self.family, threads=self.threads)
        # Given ids, the tables do not keep the rows, which only marginal probabilities need.
        tables.build(rows, ids=None if self.law == "marginal" else np.arange(len(rows)))
        return self.pipeline.bind(tables=tables)

    @torch.no_grad()
    def append(self, keys: Tensor, values: Tensor) -> None:
        """Add keys (..., m, d) and values (..., m, c) at the end, which every query attends to exactly.

        :meth:`rebuild` puts them into the tables.
        """
        given = []
        for name, tensor, own in (("keys", keys, self._keys), ("values", values, self._values)):
            _check_rows(tensor, name)
            wanted = (*self.heads, "m", own.shape[-1])
            if tensor.shape[:-2] != self.heads or tensor.shape[-1] != own.shape[-1]:
                raise ArgumentError(name, f"shape {tuple(tensor.shape)}", f"shape {wanted}")
            given.append(tensor.detach().reshape(len(own), *tensor.shape[-2:]).to(own.dtype))
        if given[0].shape[1] != given[1].shape[1]:
            raise ArgumentError("values", f"{given[1].shape[1]} rows", f"{given[0].shape[1]} rows")
        if self._recent is not None:
            given = [torch.cat([a, b], 1) for a, b in zip(self._recent, given, strict=True)]
        self._recent = given[0], given[1]

    @torch.no_grad()
    def rebuild(self) -> None:
        """Build the tables anew, over the appended keys too."""
        if self._recent is not None:
            self._keys, self._values = (
                torch.cat([old, new], 1)
                for old, new in zip((self._keys, self._values), self._recent, strict=True)
            )
            self._recent = None
        self._samplers = [self._bound(head) for head in self._keys]

    @torch.no_grad()
    def forward(self, queries: Tensor) -> Tensor:
        """Attention (..., m, c) of queries (..., m, d), in their dtype.

        A query whose sample is empty, and for which there are no exact keys, gives NaN.

        Raises
        ------
        ArgumentError
            Bad queries.
        BiasedSampleError
            The inclusion probabilities of the sampler are not known.
        """
        _check_rows(queries, "queries", least=0)
        if queries.shape[:-2] != self.heads or queries.shape[-1] != self._keys.shape[2]:
            wanted = f"shape {(*self.heads, 'm', self._keys.shape[2])}"
            raise ArgumentError("queries", f"shape {tuple(queries.shape)}", wanted)
        flat = queries.reshape(len(self._keys), *queries.shape[-2:]).float()
        out = torch.empty(*flat.shape[:2], self._values.shape[2])
        for head, sampler in enumerate(self._samplers):
            active = sampler.sample(
                flat[head].numpy(), seed=self.seed, step=self._steps, law=self.law, threads=self.threads
            )
            ids, logs = torch.from_numpy(active.ids), torch.from_numpy(active.log_inclusion).float()
            for row, (begin, end) in enumerate(zip(active.indptr[:-1], active.indptr[1:], strict=True)):
                out[head, row] = self._attend(head, flat[head, row], ids[begin:end], logs[begin:end])
        self._steps += 1
        return out.reshape(*queries.shape[:-1], self._values.shape[2]).to(queries.dtype)

    def _attend(self, head: int, query: Tensor, ids: Tensor, log_inclusion: Tensor) -> Tensor:
        """Attention (c,) of one query to sampled keys, and to the first and the appended ones."""
        ids = ids.long() + self.first
        keys, values = [self._keys[head].index_select(0, ids)], [self._values[head].index_select(0, ids)]
        exact = [(self._keys[:, : self.first], self._values[:, : self.first])] if self.first else []
        for each in (*exact, *([] if self._recent is None else [self._recent])):
            keys.append(each[0][head])
            values.append(each[1][head])
        logits = [(k.float() @ query) * self.scale for k in keys]
        logits[0] = logits[0] - log_inclusion
        weights = torch.softmax(torch.cat(logits), 0)
        if not len(weights):
            return torch.full((self._values.shape[2],), math.nan)
        parts = torch.split(weights, [len(k) for k in keys])
        total = parts[0] @ values[0].float()
        for weight, value in zip(parts[1:], values[1:], strict=True):
            total = total + weight @ value.float()
        return total


def _family_for(n_keys: int) -> str:
    """SimHash for that many keys."""
    n_hashes = min(max(round(math.log2(n_keys / _PER_BUCKET)), 2), 24)
    return f"simhash:n_hashes={n_hashes},n_tables=20"


def _check_rows(x: Any, argument: str, least: int = 1) -> None:
    """Refuse all but finite real tensors (..., n, d) on the CPU."""
    if not isinstance(x, Tensor):
        raise ArgumentError(argument, type(x).__name__, "a tensor (..., n, d)")
    if x.device.type != "cpu" or x.layout != torch.strided or not x.is_floating_point():
        given = f"a tensor of {x.dtype}, layout {x.layout}, on {x.device}"
        raise ArgumentError(argument, given, "a dense tensor of floats on the CPU")
    if x.ndim < 2 or x.shape[-2] < least or not x.shape[-1]:
        raise ArgumentError(argument, f"shape {tuple(x.shape)}", "a tensor (..., n, d) with rows")
    if not bool(torch.isfinite(x).all()):
        raise ArgumentError(argument, "NaN or infinite values", "finite values")
