"""The active classes of a layer by tensor operations: tables over its weight, and draws, on its device."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lshsample.errors import BiasedSampleError, UnsupportedError
from lshsample.sampling import ActiveSet, Rebuild
from lshsample.sampling.functions import FunctionSequence, stream_seed
from lshsample.torch.draws import TensorSet, check_stages, draw_sets, reaches_all
from lshsample.torch.options import SamplingOptions
from lshsample.torch.tables import TorchTables

__all__ = ["DeviceSampler"]

#: Scores of candidates that are compared at a time.
_BLOCK_SCORES = 2**20


class DeviceSampler:
    """The sampler of a layer's classes, for ``backend="torch"``.

    Parameters
    ----------
    in_features, num_classes : int
        Shape of the weight.
    options : SamplingOptions
        Its options.

    Attributes
    ----------
    pipeline : Pipeline
        The stages.
    tables : TorchTables or None
        The current tables.
    n_builds : int
        Number of their build, from 1; 0 before the first.

    Raises
    ------
    UnsupportedError
        A stage, or a strategy of updating tables, that has no implementation in tensor operations.
    BiasedSampleError
        Inclusion probabilities are wanted of a pipeline that has none.
    """

    def __init__(self, in_features: int, num_classes: int, options: SamplingOptions) -> None:
        self.in_features, self.num_classes, self.options = in_features, num_classes, options
        self.pipeline = options.pipeline(num_classes)
        check_stages(self.pipeline)
        if type(options.rehash.strategy) is not Rebuild:
            wanted = (
                f"{options.rehash.strategy} updates tables of the C core: use Rebuild(), or backend='core'"
            )
            raise UnsupportedError(wanted)
        if options.importance == "on" and not reaches_all(self.pipeline):
            why = f"{self.pipeline} leaves items with inclusion probability 0 given the tables"
            raise BiasedSampleError(f"{why}; a Uniform(n) after it makes every item possible")
        self._functions = FunctionSequence(
            options.family,
            dim=in_features,
            n_items=num_classes,
            n_hashes=options.n_hashes,
            n_tables=options.n_tables,
            key=(options.seed,),
            fixed=options.rehash.keeps_functions,
        )
        self.has_tables = "tables" in self.pipeline.needs
        self.forget()

    def forget(self) -> None:
        """Discard the tables; the next step builds them from the weight of that time."""
        self.tables: TorchTables | None = None
        self.n_builds = 0
        self._drawn: TensorSet | None = None

    def refresh(self, weight: Tensor, done: int) -> None:
        """Build the tables as the schedule says, after ``done`` steps."""
        due = 1 + self.options.rehash.count(done)
        if self.has_tables and self.n_builds < due:
            self.tables = None  # memory never holds both
            self.tables, self.n_builds = self._built(weight, due), due

    def _built(self, weight: Tensor, number: int) -> TorchTables:
        family = self._functions.family(max(number - 1, 0))
        return TorchTables.build(
            family, weight, hashing=self.options.hashing or "matmul", threads=torch.get_num_threads()
        )

    def draw(self, hidden: Tensor, weight: Tensor, labels: Any, seed: int, step: int) -> TensorSet:
        """The active set of step number ``step``, from 1; labels are (ids, row pointers)."""
        self.refresh(weight, step - 1)
        pooled = self.options.active_set == "batch"
        self._drawn = drawn = draw_sets(
            self.pipeline,
            self.num_classes,
            self.tables,
            hidden.to(torch.float32),
            labels,
            seed=stream_seed(seed, 1),
            step=step,
            pooled=pooled,
        )
        return drawn

    @property
    def last(self) -> ActiveSet | None:
        """The active set of the last step."""
        if self._drawn is None:
            return None
        indptr, ids, counts, log_inclusion = (part.cpu().numpy() for part in self._drawn)
        biased = "importance='off'" if self.options.importance == "off" else None
        return ActiveSet(
            indptr=indptr,
            ids=ids.astype(np.int32),
            counts=counts.astype(np.int32),
            n_items=self.num_classes,
            pooled=self.options.active_set == "batch",
            biased_by=biased,
            log_inclusion=log_inclusion,
        )

    def best_retrieved(
        self, queries: Tensor, weight: Tensor, bias: Tensor | None, k: int
    ) -> tuple[Tensor, Tensor]:
        """Values (rows, k) and ids of the best rows that tables of the current weight retrieve."""
        if not self.has_tables:
            raise UnsupportedError(f"{self.pipeline} does not retrieve from tables of this sampler")
        rows, weight = queries.to(torch.float32), weight.detach()
        tables = self._built(weight, self.n_builds)
        probes = self.pipeline.n_probes(tables.family) or tables.family.default_probes
        parts = [
            _best(tables.find(part, probes), part, weight, bias, k)
            for part in torch.split(rows, max(_BLOCK_SCORES // self.num_classes, 16))
        ]
        return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


def _best(found: Any, queries: Tensor, weight: Tensor, bias: Tensor | None, k: int) -> tuple[Tensor, Tensor]:
    """The k candidates of each query of largest score, ties by the smaller id."""
    lengths = found.indptr.diff()
    rows = torch.repeat_interleave(torch.arange(len(queries), device=queries.device), lengths)
    scores = torch.cat(
        [
            (queries[own] * weight[ids].to(torch.float32)).sum(1)
            for own, ids in zip(
                torch.split(rows, _BLOCK_SCORES), torch.split(found.ids, _BLOCK_SCORES), strict=True
            )
        ]
    )
    if bias is not None:
        scores = scores + bias.detach()[found.ids].to(torch.float32)
    order = scores.sort(descending=True, stable=True).indices
    order = order[rows[order].sort(stable=True).indices]
    rank = torch.arange(len(order), device=order.device) - found.indptr[rows]
    kept = rank < k
    values = scores.new_full((len(queries), k), -torch.inf)
    indices = rows.new_full((len(queries), k), -1)
    at = rows[kept], rank[kept]
    values[at], indices[at] = scores[order[kept]], found.ids[order[kept]]
    return values, indices
