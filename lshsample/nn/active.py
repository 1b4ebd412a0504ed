"""The active units of a sampled layer: a maintained sampler over its weight rows, with the batch's labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample._native.labels import CheckedLabels
from lshsample.errors import BiasedSampleError, UnsupportedError
from lshsample.nn.signals import Run
from lshsample.sampling import ActiveSet, Include, MaintainedSampler, Pipeline, make_pipeline
from lshsample.sampling.functions import stream_seed

if TYPE_CHECKING:
    from lshsample.nn.sampled import Sampled

__all__ = ["ActiveUnits", "n_active_of"]

Float32 = npt.NDArray[np.float32]

_ACTIVE_OF_BATCH = 4096
_ACTIVE_OF_SAMPLE = 512


class ActiveUnits(MaintainedSampler):
    """The sampler of a layer's units, as its spec describes.

    Parameters
    ----------
    spec : Sampled
        The layer.
    index : int
        Its place in the network.
    inputs : int
        Columns of its weight rows.
    seed : int
        The network's seed. (seed, index, t) determines the hash functions of the t-th build.
    """

    def __init__(self, spec: Sampled, index: int, inputs: int, seed: int) -> None:
        super().__init__(
            inputs,
            spec.units,
            family=spec.family,
            n_hashes=spec.n_hashes,
            n_tables=spec.n_tables,
            pipeline=_pipeline(spec),
            rehash=spec.rehash,
            seed=(seed, index),
        )
        self.spec, self.index = spec, index
        self._held: dict[tuple[int, int], ActiveSet] | None = None

    @property
    def expected_size(self) -> int:
        """Estimate of the units computed for a row, for the memory estimate; at least the layer's budget."""
        return max(super().expected_size, min(n_active_of(self.spec), self.spec.units))

    @property
    def needs_frequencies(self) -> bool:
        """Whether its pipeline draws labels by their frequency."""
        return "frequencies" in self.pipeline.needs

    def observe(self, labels: sp.csr_array | None) -> None:
        """Count the labels' frequencies, for pipelines that draw by them; None for a hidden layer."""
        if self.needs_frequencies:
            if labels is None:
                raise UnsupportedError(
                    f"layer {self.index}: Frequency() works in the last layer only, which has labels"
                )
            # Plus one, so that labels without rows can be drawn too.
            self.use_frequencies(
                np.bincount(labels.indices, minlength=self.spec.units).astype(np.float64) + 1
            )

    def hold(self) -> None:
        """From now on draw one active set for each seed and step, anew after the next call."""
        self._held = {}

    def draw(self, queries: Float32, run: Run) -> ActiveSet:
        """The active set of a batch; the last layer's holds the batch's labels."""
        if self._held is None:
            return self._drawn(queries, run)
        key = run.seed, run.step
        if key not in self._held:
            self._held[key] = self._drawn(queries, run)
        return self._held[key]

    def _drawn(self, queries: Float32, run: Run) -> ActiveSet:
        labels = None if self.spec.loss is None or run.targets is None else CheckedLabels(run.targets)
        active = self.bound().sample(
            queries,
            include=labels,
            seed=stream_seed(run.seed, self.index),
            step=run.step,
            pool=self.spec.active_set == "batch",
            threads=run.threads,
        )
        if run.training:
            self.touched(active.ids)
        return active

    def correction(self, active: ActiveSet) -> Float32 | None:
        """Log inclusion probabilities that correct the loss, as the spec says; None for no correction."""
        if self.spec.importance == "off" or self.spec.loss is None:
            return None
        try:
            return active.log_inclusion
        except BiasedSampleError:
            if self.spec.importance == "on":
                raise
            return None


def n_active_of(spec: Sampled) -> int:
    """The budget of a named pipeline: as given, or a default for steps of a few milliseconds."""
    default = _ACTIVE_OF_BATCH if spec.active_set == "batch" else _ACTIVE_OF_SAMPLE
    return default if spec.n_active is None else spec.n_active


def _pipeline(spec: Sampled) -> Pipeline:
    """The spec's pipeline; in the last layer it always includes the labels of the batch."""
    pipeline = make_pipeline(spec.sampler, n_active=n_active_of(spec), n_items=spec.units)
    if spec.loss is not None and not pipeline.forces_ids:
        pipeline = pipeline | Include()
    return pipeline
