"""Samples of the rows of a parameter, as tensors."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from lshsample._native.labels import CheckedLabels
from lshsample.errors import ArgumentError
from lshsample.specs import checked_integer
from lshsample.torch.active import LayerSampler, make_sampler
from lshsample.torch.arrays import check_device, check_parameter, view_of
from lshsample.torch.labels import canonical_labels, label_tensors, labels_of_target
from lshsample.torch.options import SamplingOptions

__all__ = ["ParameterSampler", "SampledRows"]


class SampledRows(NamedTuple):
    """Rows that were drawn for some queries, as tensors on the device of the parameter.

    Attributes
    ----------
    ids : (n,) int64 tensor
        The rows, ascending in each set.
    log_inclusion : (n,) float32 tensor, or None
        Their log inclusion probabilities; None with ``importance="off"``.
    indptr : (sets + 1,) int64 tensor
        Set i is ``ids[indptr[i]:indptr[i + 1]]``; there is one set for all queries, or one for each.
    """

    ids: torch.Tensor
    log_inclusion: torch.Tensor | None
    indptr: torch.Tensor


class ParameterSampler:
    """Samples from the rows of a parameter that is being trained, through hash tables kept over its memory.

    The tables are built at the first sample, and updated as the schedule says; float32 parameters are not
    copied. What was sampled has the law of the tables and draws, however much the parameter has changed since
    the build.

    Parameters
    ----------
    parameter : (rows, columns) tensor
        A parameter of float32 or bfloat16, such as the weight of an embedding: on the CPU, or with
        ``backend="torch"`` on any device.
    options : SamplingOptions, optional
        The sampler and its tables; ``sparse`` has no meaning here. With ``backend="torch"`` tables and draws
        are tensor operations on the device of the parameter; for the same codes, seed and step they give the
        ids of the core.

    Attributes
    ----------
    parameter : tensor
        The parameter.
    step : int
        Number of the last step.

    Raises
    ------
    ArgumentError
        A bad argument.
    UnsupportedError
        A pipeline, or a strategy of updating tables, that ``backend="torch"`` does not have.
    BiasedSampleError
        Inclusion probabilities are wanted of a pipeline that has none, with ``backend="torch"``.

    Examples
    --------
    >>> items = torch.nn.Embedding(5000, 16, sparse=True)
    >>> sampler = ParameterSampler(items.weight, SamplingOptions(sampler="lsh", n_active=100, rehash=50))
    >>> queries, positives = torch.randn(8, 16), torch.arange(8)
    >>> drawn = sampler.sample(queries, include=positives)
    >>> set(range(8)) <= set(drawn.ids.tolist()), items(drawn.ids).shape == (len(drawn.ids), 16)
    (True, True)
    """

    def __init__(self, parameter: torch.Tensor, options: SamplingOptions | None = None) -> None:
        if not isinstance(parameter, torch.Tensor) or parameter.dim() != 2:
            given = f"shape {tuple(parameter.shape)}" if isinstance(parameter, torch.Tensor) else parameter
            raise ArgumentError("parameter", given, "a tensor of shape (rows, columns)")
        options = SamplingOptions() if options is None else options
        if not isinstance(options, SamplingOptions):
            raise ArgumentError("options", type(options).__name__, "SamplingOptions, or None")
        check_parameter(parameter, "parameter", options.backend)
        self.parameter, self.options, self.step = parameter, options, 0
        self._sampler = make_sampler(parameter.shape[1], parameter.shape[0], options)

    def sample(self, queries: torch.Tensor, *, include: Any = None, step: int | None = None) -> SampledRows:
        """Rows for some queries.

        Parameters
        ----------
        queries : (n, columns) tensor
            Queries of any floating type.
        include : integer tensor or sparse matrix, optional
            Rows that are in the set for certain: (n,) or (n, m) ids, -100 for none, or an indicator matrix.
        step : int, optional
            Number of the step, from 1, which determines the draw; by default that of the last call plus 1.

        Returns
        -------
        SampledRows

        Raises
        ------
        ArgumentError
            Another shape, dtype or device, or an id out of range.
        BiasedSampleError
            Inclusion probabilities are wanted of a pipeline that has none.
        """
        rows = self._checked(queries)
        if include is None:
            include = torch.empty((len(queries), 0), dtype=torch.int64, device=rows.device)
        n_items = len(self.parameter)
        ids, starts = labels_of_target(include, "include", rows.shape[:1], n_items, rows.device)
        step = self.step + 1 if step is None else checked_integer("step", step, 1, 2**63 - 1)
        drawn = self._drawn(rows, ids, starts, step)
        self.step = step
        return drawn

    def _drawn(
        self, rows: torch.Tensor, ids: torch.Tensor, starts: torch.Tensor | None, step: int
    ) -> SampledRows:
        """The sample, with ids to include as :func:`labels_of_target` returns them."""
        seed, n_items, sampler = self.options.seed, len(self.parameter), self._sampler
        corrected = self.options.importance == "on"
        if isinstance(sampler, LayerSampler):
            pointers = None if starts is None else view_of(starts)
            labels = CheckedLabels(canonical_labels(view_of(ids), pointers, -100, n_items, "include"))
            active = sampler.draw(rows, self.parameter, labels, seed, step)
            return SampledRows(
                torch.from_numpy(active.ids.astype(np.int64)),
                torch.from_numpy(active.log_inclusion) if corrected else None,
                torch.from_numpy(active.indptr),
            )
        included = label_tensors(ids, starts, -100, n_items, "include")
        drawn = sampler.draw(rows, self.parameter.detach(), included, seed, step)
        return SampledRows(drawn.ids, drawn.log_inclusion if corrected else None, drawn.indptr)

    def search(self, queries: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The k rows of largest inner product among those that the tables of the current rows retrieve.

        Parameters
        ----------
        queries : (n, columns) tensor
            Queries of any floating type.
        k : int
            Rows for each query.

        Returns
        -------
        values : (n, k) float32 tensor
            Inner products, the largest first; -inf where fewer rows are retrieved.
        indices : (n, k) int64 tensor
            The rows; -1 where there is none.

        Raises
        ------
        UnsupportedError
            The pipeline uses no tables.
        """
        k = checked_integer("k", k, 1, len(self.parameter))
        return self._sampler.best_retrieved(self._checked(queries), self.parameter, None, k)

    def rebuild(self) -> None:
        """Discard the tables: the next sample builds them from the rows of that time.

        Needed after the parameter was replaced by other values, or moved to another device.
        """
        self._sampler.forget()

    def _checked(self, queries: torch.Tensor) -> torch.Tensor:
        if not isinstance(queries, torch.Tensor) or not queries.is_floating_point():
            given = queries.dtype if isinstance(queries, torch.Tensor) else type(queries).__name__
            raise ArgumentError("queries", given, "a tensor of floating-point numbers")
        check_device(queries, "queries", self.parameter.device)
        columns = self.parameter.shape[1]
        if queries.dim() != 2 or queries.shape[1] != columns:
            raise ArgumentError("queries", f"shape {tuple(queries.shape)}", f"of shape (n, {columns})")
        return queries.detach()
