"""The active classes of a layer: a maintained sampler over its weight, and the operator that draws them.

An operator of PyTorch takes tensors and plain values, and a sampler is neither: it is named by a number,
under which it is registered for as long as it is there.
"""

from __future__ import annotations

import itertools
from typing import Any, Self
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt
import torch

from lshsample._native import layers
from lshsample._native.labels import CheckedLabels
from lshsample.errors import ArgumentError, UnsupportedError
from lshsample.sampling import ActiveSet, MaintainedSampler, Pipeline
from lshsample.sampling.functions import stream_seed
from lshsample.torch.arrays import float32_rows, view_of
from lshsample.torch.device import DeviceSampler
from lshsample.torch.labels import canonical_labels, label_tensors
from lshsample.torch.options import SamplingOptions

__all__ = ["LayerSampler", "RegisteredDeviceSampler", "draw_active_set", "make_sampler"]

_numbers = itertools.count()
_samplers: WeakValueDictionary[int, _Registered] = WeakValueDictionary()


class _Registered:
    """What operators know by a number. Copies and pickles have the options alone."""

    def __init__(self, in_features: int, num_classes: int, options: SamplingOptions) -> None:
        self.in_features, self.num_classes, self.options = in_features, num_classes, options
        self.number = next(_numbers)
        _samplers[self.number] = self

    def __reduce__(self) -> Any:
        return type(self), (self.in_features, self.num_classes, self.options)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return type(self)(self.in_features, self.num_classes, self.options)


class RegisteredDeviceSampler(_Registered, DeviceSampler):
    """The sampler of ``backend="torch"`` as operators know it."""

    def __init__(self, in_features: int, num_classes: int, options: SamplingOptions) -> None:
        DeviceSampler.__init__(self, in_features, num_classes, options)
        _Registered.__init__(self, in_features, num_classes, options)


class LayerSampler(_Registered):
    """The sampler of a layer's classes, kept over the memory of its weight.

    Copies and pickles have the options alone: their tables are built from the weight that they are used with.

    Parameters
    ----------
    in_features, num_classes : int
        Shape of the weight.
    options : SamplingOptions
        Its options.

    Attributes
    ----------
    number : int
        Its name as an argument of operators.
    last : ActiveSet or None
        The active set of the last step.
    """

    def __init__(self, in_features: int, num_classes: int, options: SamplingOptions) -> None:
        self.maintained = MaintainedSampler(
            in_features,
            num_classes,
            family=options.family,
            n_hashes=options.n_hashes,
            n_tables=options.n_tables,
            pipeline=options.pipeline(num_classes),
            rehash=options.rehash,
            frequencies=options.frequencies,
            seed=options.seed,
        )
        self.last: ActiveSet | None = None
        self._copy: npt.NDArray[np.float32] | None = None
        super().__init__(in_features, num_classes, options)

    @property
    def pipeline(self) -> Pipeline:
        """The stages."""
        return self.maintained.pipeline

    def forget(self) -> None:
        """Discard the tables; the next step builds them from the weight of that time."""
        self.maintained.forget()
        self._copy = self.last = None

    def refresh(self, weight: torch.Tensor, done: int) -> None:
        """Update the tables as the schedule says, after ``done`` steps."""
        sampler = self.maintained
        if weight.dtype == torch.float32:
            sampler.refresh(view_of(weight), done, torch.get_num_threads())
            return
        # Rows of another type are hashed as float32: a copy of the time of the last build, or of the first.
        due = sampler.has_tables and 1 + sampler.rehash.count(done) > sampler.n_builds
        if self._copy is None or due:
            self._copy = float32_rows(weight)
        sampler.refresh(self._copy, done, torch.get_num_threads())

    def draw(
        self, hidden: torch.Tensor, weight: torch.Tensor, labels: CheckedLabels, seed: int, step: int
    ) -> ActiveSet:
        """The active set of step number ``step``, from 1."""
        self.refresh(weight, step - 1)
        active = self.maintained.sample(
            float32_rows(hidden),
            include=labels,
            seed=stream_seed(seed, 1),
            step=step,
            pool=self.options.active_set == "batch",
            threads=torch.get_num_threads(),
        )
        self.maintained.touched(active.ids)
        self.last = active
        return active

    def best_retrieved(
        self, queries: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, k: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Values (rows, k) and ids of the best rows that tables of the current weight retrieve."""
        if self.maintained.has_tables and self.maintained.n_builds == 0:
            self.refresh(weight, 0)
        rows, threads = np.ascontiguousarray(float32_rows(queries)), torch.get_num_threads()
        found = self.maintained.candidates(rows, float32_rows(weight.detach()), threads)
        biases = None if bias is None else view_of(bias.detach().to(torch.float32))
        ids, values = layers.csr_top_k(
            rows, view_of(weight), biases, found.indptr, found.ids, k, threads=threads
        )
        return torch.from_numpy(values), torch.from_numpy(ids.astype(np.int64))


def make_sampler(
    in_features: int, num_classes: int, options: SamplingOptions
) -> LayerSampler | RegisteredDeviceSampler:
    """The sampler of a layer, by ``options.backend``."""
    kind = LayerSampler if options.backend == "core" else RegisteredDeviceSampler
    return kind(in_features, num_classes, options)


def sampler_of(number: int) -> LayerSampler | RegisteredDeviceSampler:
    """The sampler with this number."""
    found = _samplers.get(number)
    if not isinstance(found, LayerSampler | RegisteredDeviceSampler):
        raise ArgumentError("sampler", number, "the number of a layer that is still there")
    return found


@torch.library.custom_op("lshsample::draw_active_set", mutates_args=())
def draw_active_set(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    target: torch.Tensor,
    starts: torch.Tensor | None,
    step: torch.Tensor,
    sampler: int,
    seed: int,
    ignore_index: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The active set of a step, with the labels of the batch.

    Parameters
    ----------
    hidden : (rows, in_features) tensor
        Queries.
    weight : (num_classes, in_features) tensor
        The vectors.
    target, starts, ignore_index
        As for :func:`lshsample.torch.labels.canonical_labels`.
    step : () int64 tensor
        Number of the step, from 1.
    sampler : int
        Number of a :class:`LayerSampler`; -1 for all classes.
    seed : int
        Determines the draws, together with the step.

    Returns
    -------
    ids : (n,) int32 tensor
        The active classes.
    indptr : (rows + 1,) int64 tensor
        Row pointers of the ids; empty if all rows share one set.
    log_inclusion : (n,) float32 tensor
        Log inclusion probabilities; empty for no correction.
    label_ids : (nnz,) int32 tensor
        The labels.
    label_indptr : (rows + 1,) int64 tensor
        Row pointers of the labels.
    """
    layer = None if sampler < 0 else sampler_of(sampler)
    if isinstance(layer, RegisteredDeviceSampler):
        return _drawn_on_device(layer, hidden, weight, target, starts, int(step), seed, ignore_index)
    rows = None if starts is None else view_of(starts)
    labels = canonical_labels(view_of(target), rows, ignore_index, weight.shape[0])
    named = (
        torch.from_numpy(labels.indices.astype(np.int32)),
        torch.from_numpy(labels.indptr.astype(np.int64)),
    )
    nothing = torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.float32)
    if layer is None:
        return torch.arange(weight.shape[0], dtype=torch.int32), *nothing, *named
    active = layer.draw(hidden, weight, CheckedLabels(labels), seed, int(step))
    ids = torch.from_numpy(active.ids)
    indptr = nothing[0] if active.pooled else torch.from_numpy(active.indptr)
    corrected = layer.options.importance == "on"
    log_inclusion = torch.from_numpy(active.log_inclusion) if corrected else nothing[1]
    return ids, indptr, log_inclusion, *named


def _drawn_on_device(
    layer: RegisteredDeviceSampler,
    hidden: torch.Tensor,
    weight: torch.Tensor,
    target: torch.Tensor,
    starts: torch.Tensor | None,
    step: int,
    seed: int,
    ignore_index: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """As :func:`draw_active_set`, by tensor operations."""
    labels = label_tensors(target, starts, ignore_index, weight.shape[0])
    drawn = layer.draw(hidden, weight, labels, seed, step)
    options = layer.options
    indptr = drawn.indptr[:0] if options.active_set == "batch" else drawn.indptr
    log_inclusion = drawn.log_inclusion if options.importance == "on" else drawn.log_inclusion[:0]
    # Results of an operator are no views of each other or of its arguments.
    return (
        drawn.ids.to(torch.int32),
        indptr.clone(),
        log_inclusion.clone(),
        labels[0].to(torch.int32),
        labels[1].clone(),
    )


@draw_active_set.register_fake
def _(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    target: torch.Tensor,
    starts: torch.Tensor | None,
    step: torch.Tensor,
    sampler: int,
    seed: int,
    ignore_index: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    def new(size: Any, dtype: torch.dtype) -> torch.Tensor:
        return hidden.new_empty((size,), dtype=dtype)

    rows = hidden.shape[0]
    labels = torch.library.get_ctx().new_dynamic_size()
    named = new(labels, torch.int32), new(rows + 1, torch.int64)
    if sampler < 0:
        return new(weight.shape[0], torch.int32), new(0, torch.int64), new(0, torch.float32), *named
    options, active = sampler_of(sampler).options, torch.library.get_ctx().new_dynamic_size()
    indptr = 0 if options.active_set == "batch" else rows + 1
    log_inclusion = active if options.importance == "on" else 0
    return new(active, torch.int32), new(indptr, torch.int64), new(log_inclusion, torch.float32), *named


@draw_active_set.register_vmap
def _(info: Any, in_dims: Any, *arguments: Any) -> Any:
    raise UnsupportedError(
        "vmap over a sampled layer: an active set is that of a batch; give the layer all rows at once"
    )
