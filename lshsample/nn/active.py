"""The active units of a sampled layer: its family, its tables, and the pipeline over them."""

from __future__ import annotations

import base64
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from lshsample.errors import ArgumentError, BiasedSampleError, CheckpointError, UnsupportedError
from lshsample.family import HashFamily
from lshsample.nn.background import BackgroundBuild
from lshsample.nn.signals import Run
from lshsample.registry import families, family_of_bits, make_family
from lshsample.sampling import ActiveSet, Full, Include, Pipeline, Retrieve, Sampler, make_pipeline
from lshsample.tables import Candidates, HashTables

if TYPE_CHECKING:
    from lshsample.nn.sampled import Sampled

__all__ = ["ActiveUnits", "default_bits"]

Float32 = npt.NDArray[np.float32]

_DEFAULT_TABLES = 16
_ACTIVE_OF_BATCH = 4096
_ACTIVE_OF_SAMPLE = 512
#: Units that are hashed at a time when they move: their rows are copied.
_MOVED_AT_ONCE = 16384


class ActiveUnits:
    """Picks a sampled layer's active units, and keeps the tables that it picks from.

    Tables are built from the layer's weights at the first step, and anew when the rehash schedule says so; in
    between the weights move on and the tables stay. The hash functions of the t-th build are named by (seed,
    layer, t).

    Parameters
    ----------
    spec : Sampled
        The layer.
    index : int
        Its place in the network.
    inputs : int
        Columns of its weight rows.
    seed : int
        The network's seed.
    """

    def __init__(self, spec: Sampled, index: int, inputs: int, seed: int) -> None:
        self.spec, self.index, self.inputs, self._seed = spec, index, inputs, seed
        self.pipeline = _pipeline(spec)
        for stage in self.pipeline.stages:
            stage.check(spec.units)
        self.has_tables = any(
            isinstance(stage, Retrieve) and stage.tables is None for stage in self.pipeline.stages
        )
        self.wants_frequencies = any("frequencies" in stage.needs() for stage in self.pipeline.stages)
        if spec.family not in families():
            raise ArgumentError("family", repr(spec.family), f"one of {', '.join(sorted(families()))}")
        if self.has_tables:
            self._family(0)  # refuses options that do not fit, before anything is trained
        self._builds = 0
        self._frequencies: npt.NDArray[np.float64] | None = None
        self._tables: HashTables | None = None
        self._serving: HashTables | None = None
        self._sampler: Sampler | None = None
        self._pending: BackgroundBuild | None = None
        # The units whose weights have moved since the tables looked at them, for the drift strategy.
        self._touched: npt.NDArray[np.bool_] | None = None
        if self.has_tables and spec.rehash.strategy == "drift":
            self._touched = np.zeros(spec.units, bool)
        self.last_drift = 0.0  #: share of the sketch's codes that had changed at the last look

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pending": None}  # a thread stays where it is

    def _family(self, build: int) -> HashFamily:
        """The family of the build-th tables."""
        spec = self.spec
        options = {"dim": self.inputs, "n_tables": spec.n_tables or _DEFAULT_TABLES, **spec.family_options}
        seed = _stream(self._seed, self.index, build)
        if spec.n_hashes is None:
            return family_of_bits(spec.family, default_bits(spec.units), seed=seed, **options)
        return make_family(spec.family, n_hashes=spec.n_hashes, seed=seed, **options)

    @property
    def tables(self) -> HashTables:
        """The layer's tables."""
        if self._tables is None:
            raise UnsupportedError(f"layer {self.index}: its sampler retrieves from no tables of its own")
        return self._tables

    def memory_needed(self, threads: int | None = None) -> int:
        """Bytes of the tables at the peak of a build on so many threads."""
        if not self.has_tables:
            return 0
        need = HashTables.memory_needed(self._family(0), self.spec.units, threads)
        copies = 4 * self.spec.units * self.inputs + need.tables if self.spec.rehash.is_asynchronous else 0
        return need.peak + (need.writer if self._touched is not None else 0) + copies

    def expected(self, batch_size: int) -> int:
        """About how many units a row computes, for the memory estimate: the pipeline's budget, or all of
        them.
        """
        sizes = [getattr(stage, "k", 0) or getattr(stage, "n", 0) for stage in self.pipeline.stages]
        unbounded = any(isinstance(stage, Full) for stage in self.pipeline.stages)
        return self.spec.units if unbounded else min(self.spec.units, max(sum(sizes), _n_active(self.spec)))

    def observe(self, labels: sp.csr_array | None) -> None:
        """Take the labels' frequencies, for pipelines that draw by them; None for a hidden layer."""
        if self.wants_frequencies:
            if labels is None:
                raise UnsupportedError(
                    f"layer {self.index}: Frequency() is for the last layer; a hidden unit has none"
                )
            # One more than they are, so that every label can be drawn and the sample has a law.
            self._frequencies = np.bincount(labels.indices, minlength=self.spec.units).astype(np.float64) + 1
            self._sampler = None

    def forget(self) -> None:
        """Begin anew: the next refresh builds the first tables."""
        self._builds, self._tables, self._sampler, self._serving = 0, None, None, None
        self._pending = None
        if self._touched is not None:
            self._touched[:] = False

    def refresh(self, weights: Float32, done: int, threads: int) -> None:
        """Bring the tables up to date as the schedule says, after ``done`` steps."""
        due = 1 + self.spec.rehash.count(done)
        self._serving = None
        if not self.has_tables:
            return
        if self._pending is not None:
            self._take_pending()
        if self._builds >= due:
            return
        if self._tables is not None and self._touched is not None:
            self._follow_drift(self._tables, weights, due)
        elif self._tables is not None and self.spec.rehash.is_asynchronous:
            if self._pending is None:
                self._pending = BackgroundBuild(self._functions(due), weights, due)
            return
        else:
            self._tables = self._sampler = None  # before the new ones, for their memory
            self._tables = self._built(weights, due, threads)
        self._builds = due

    def settle(self) -> None:
        """Wait for tables that are being built in the background, and change over to them.

        Raises
        ------
        Exception
            What the build raised.
        """
        if self._pending is not None:
            self._take_pending(None)

    def _take_pending(self, timeout: float | None = 0.0) -> None:
        """Change over to tables that were built in the background, if they are done in so many seconds."""
        assert self._pending is not None
        try:
            tables = self._pending.result(timeout)
        except BaseException:
            self._pending = None
            raise
        if tables is not None:
            self._tables, self._builds, self._sampler, self._pending = (
                tables,
                self._pending.number,
                None,
                None,
            )

    def _follow_drift(self, tables: HashTables, weights: Float32, due: int) -> None:
        """Move the touched units whose codes changed, if a sketch of them says that enough have."""
        assert self._touched is not None
        touched = np.flatnonzero(self._touched)
        if not len(touched):
            return
        if type(tables.family).prepare is not HashFamily.prepare:
            tables.rebuild(weights)  # such functions fit all rows: rows that moved may need others
            self._touched[:] = False
            return
        generator = np.random.Generator(np.random.Philox(_stream(self._seed, self.index, due)))
        size = min(self.spec.rehash.sketch, len(touched))
        sketch = np.sort(generator.choice(touched, size, replace=False))
        self.last_drift = float(tables.changed(sketch, weights[sketch]).mean())
        if self.last_drift < self.spec.rehash.threshold:
            return
        for begin in range(0, len(touched), _MOVED_AT_ONCE):
            part = touched[begin : begin + _MOVED_AT_ONCE]
            tables.update(part, weights[part])
        self._touched[:] = False

    def _built(self, weights: Float32, build: int, threads: int) -> HashTables:
        """Tables of a build's functions, counted from 1, over the weights as they are."""
        return HashTables(self._functions(build), threads=threads).build(weights)

    def _functions(self, build: int) -> HashFamily:
        keeps = not self.spec.rehash.new_functions or self._touched is not None
        return self._family(0 if keeps else max(build - 1, 0))

    def _bound(self, weights: Float32) -> Sampler:
        if self._sampler is None:
            self._sampler = self.pipeline.bind(
                n_items=self.spec.units, tables=self._tables, vectors=weights, frequencies=self._frequencies
            )
        return self._sampler

    def sample(self, queries: Float32, weights: Float32, run: Run) -> ActiveSet:
        """The active set of a batch; the last layer's holds the batch's labels."""
        include = run.targets if self.spec.loss is not None else None
        seed = _stream(run.seed, self.index)
        pool = self.spec.active_set == "batch"
        active = self._bound(weights).sample(
            queries, include=include, seed=seed, step=run.step, pool=pool, threads=run.threads
        )
        if self._touched is not None and run.training:
            self._touched[active.ids] = True
        return active

    def sampler(self, weights: Float32) -> Sampler:
        """The pipeline over the tables; before a first step, over tables built from the weights."""
        if self.has_tables and self._tables is None:
            tables = self._built(weights, max(self._builds, 1), 1)
            return self.pipeline.bind(
                n_items=self.spec.units, tables=tables, vectors=weights, frequencies=self._frequencies
            )
        return self._bound(weights)

    def correction(self, active: ActiveSet) -> Float32 | None:
        """Log inclusion probabilities to correct the loss by, as the spec wants; None for no correction."""
        if self.spec.importance == "off" or self.spec.loss is None:
            return None
        try:
            return active.log_inclusion
        except BiasedSampleError:
            if self.spec.importance == "on":
                raise
            return None

    def candidates(self, queries: Float32, weights: Float32, threads: int) -> Candidates:
        """What tables built from the weights as they are now retrieve.

        They are not the tables that training goes on with, which a prediction in between must not change.
        """
        if self._serving is None:
            self._serving = self._built(weights, self._builds, threads)
        state = self._serving.state
        probes = max(stage.probes_of(state) for stage in self.pipeline.stages if isinstance(stage, Retrieve))
        return self._serving.query(queries, n_probes=probes, threads=threads)

    def state(self) -> dict[str, Any] | None:
        """What a checkpoint's manifest says of the tables; None if there are none yet."""
        if not self.has_tables or not self._builds:
            return None
        state: dict[str, Any] = {"builds": self._builds, "asynchronous": self.spec.rehash.is_asynchronous}
        if self._touched is not None:
            state["touched"] = base64.b64encode(np.packbits(self._touched).tobytes()).decode()
        return state

    def save_tables(self, path: Path) -> None:
        """Write the tables."""
        self.tables.save(path)

    def restore(self, state: dict[str, Any], path: Path, weights: Float32) -> None:
        """Take tables back as they were; they were built from older weights."""
        tables = HashTables.open(path, verify=True)
        if tables.n_items != self.spec.units:
            raise CheckpointError(f"{path}: tables of {tables.n_items} items; wanted {self.spec.units}")
        if self._touched is not None:
            bits = np.frombuffer(base64.b64decode(state["touched"]), np.uint8)
            self._touched[:] = np.unpackbits(bits, count=self.spec.units).astype(bool)
        self._tables, self._builds, self._sampler, self._pending = tables, state["builds"], None, None


def _stream(*key: int) -> int:
    """A seed below 2**63 named by integers."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _n_active(spec: Sampled) -> int:
    """The budget of a named pipeline: as given, or what a step of some milliseconds can take."""
    default = _ACTIVE_OF_BATCH if spec.active_set == "batch" else _ACTIVE_OF_SAMPLE
    return default if spec.n_active is None else spec.n_active


def default_bits(units: int) -> int:
    """Code bits that leave about 8 units in a bucket.

    Longer codes find next to nothing: a label's weights and the hidden vectors that it belongs to meet at
    cosines of 0.3 to 0.5, where a hash agrees with probability 0.6 to 0.67 only.
    """
    return max(1, min(30, round(math.log2(max(units, 2)) - 3)))


def _pipeline(spec: Sampled) -> Pipeline:
    """The spec's pipeline; a last layer's keeps the labels whatever its stages do."""
    pipeline = make_pipeline(spec.sampler, n_active=_n_active(spec), n_items=spec.units)
    if spec.loss is not None and not any(isinstance(stage, Include) for stage in pipeline.stages):
        pipeline = pipeline | Include()
    return pipeline
