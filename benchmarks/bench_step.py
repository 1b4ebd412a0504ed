"""Training steps at the size of Amazon-670K: batch 256, hidden width 128, about 5,000 active units.

``pytest benchmarks/bench_step.py --benchmark-only`` runs it; ``--benchmark-save`` and ``pytest-benchmark
compare`` compare two runs. ``extra_info`` has the lower bound of a step: the FLOPs of its three matrix
products over (batch, active, hidden), the bytes of the optimizer's rows (weights and two Adam moments of each
active unit, read and written once), and the number of active units.

- ``test_pipeline``: every named pipeline (pooled), simhash tables.
- ``test_family``: the ``lsh`` pipeline with every registered family that hashes dense rows as they are.
- ``test_isa``: the ``lsh`` pipeline on every instruction set.
- ``test_rehash``: steps with the default schedule of rehashing, in turns with steps without; ``longest`` is
  the longest step over the median, ``excess`` the time of a rebuild in median steps.
- ``test_precision``: the ``lsh`` pipeline in each other precision, in turns with float32, one active set a
  batch or one a sample (about 1,000 units); ``ratio_quartiles`` are float32's time over the other's.
- ``test_labels``: 67,000 to 2,000,000 labels with the same active set: the cost of a step must not grow.
- ``test_python_share``: the time of a step outside of the C core; ``extra_info`` has its calls of Python
  functions and of C functions. ``python benchmarks/bench_step.py [LABELS]`` prints the same.
"""

import sys
import time

import numpy as np
import pytest
import scipy.sparse as sp
from sizes import rounds, sized
from turns import in_turns

from lshsample._native import core
from lshsample._native.core import lib
from lshsample.errors import LshsampleError
from lshsample.nn import Adam, Dense, Network, Sampled, Sparse
from lshsample.nn.signals import Run
from lshsample.registry import families
from lshsample.sampling import Rehash

N_FEATURES, N_LABELS, ACTIVE = sized(135_909, 800), sized(670_091, 2_000), sized(5_000, 200)
HIDDEN, BATCH, THREADS = 128, sized(256, 16), 2
FEATURES_A_ROW, LABELS_A_ROW, N_BATCHES = 75, 5, 8
#: The oracle multiplies every row and `full` trains every row: 100 and more times the work of a sampled step.
SLOW = {"exact-top", "full"}
PIPELINES = ["lsh", "uniform", "slide-vanilla", "slide-topk", "slide-threshold"]


def sparse_rows(rng, n_columns, per_row, values):
    """Rows with a given number of distinct columns, low ones more frequent, as for words."""
    columns = [np.unique((rng.random(per_row) ** 3 * n_columns).astype(np.int32)) for _ in range(BATCH)]
    indptr = np.concatenate([[0], np.cumsum([len(c) for c in columns])]).astype(np.int64)
    out = sp.csr_array((BATCH, n_columns), dtype=np.float32)
    out.indptr, out.indices = indptr, np.concatenate(columns)
    out.data = values(len(out.indices)).astype(np.float32)
    return out


class Steps:
    """A network with built tables, and batches in a cycle."""

    def __init__(
        self,
        n_labels=N_LABELS,
        family="simhash",
        sampler="lsh",
        n_active=ACTIVE,
        *,
        each="batch",
        rehash=0,
        **options,
    ):
        layer = Sampled(
            n_labels, family=family, sampler=sampler, n_active=n_active, rehash=rehash, active_set=each
        )
        self.network = Network([Sparse(N_FEATURES), Dense(HIDDEN), layer], **options)
        rng = np.random.default_rng(0)
        x = [sparse_rows(rng, N_FEATURES, FEATURES_A_ROW, rng.random) for _ in range(N_BATCHES)]
        y = [sparse_rows(rng, n_labels, LABELS_A_ROW, np.ones) for _ in range(N_BATCHES)]
        self.batches = list(zip(x, y, strict=True))
        self.optimizer = Adam()
        self.network.allocate(self.optimizer.slots, THREADS)
        self.step, self.active = 0, []
        self()

    def __call__(self):
        self.step += 1
        x, y = self.batches[self.step % N_BATCHES]
        run = Run(THREADS, 0, self.step, training=True, sampled=True, targets=y)
        self.active.append(self.network.train_step(x, y, self.optimizer, 1e-3, run).active)


def floor(active, hidden=HIDDEN):
    """Operations of the three products, and bytes of the rows with their two moments, read and written."""
    return {"flop": 3 * 2 * BATCH * active * hidden, "bytes": 3 * 2 * 4 * active * hidden}


def measure(benchmark, steps):
    benchmark.pedantic(steps, rounds=rounds(60), warmup_rounds=rounds(5))
    active = float(np.median(steps.active))
    benchmark.extra_info["active"] = active
    benchmark.extra_info |= floor(active)


@pytest.mark.benchmark(group="pipeline")
@pytest.mark.parametrize("sampler", PIPELINES)
def test_pipeline(benchmark, sampler):
    measure(benchmark, Steps(sampler=sampler))


@pytest.mark.benchmark(group="family")
@pytest.mark.parametrize("family", sorted(families()))
def test_family(benchmark, family):
    try:
        steps = Steps(family=family)
    except LshsampleError as reason:
        pytest.skip(f"{family} does not hash a layer's rows without options of its own: {reason}")
    measure(benchmark, steps)


@pytest.mark.benchmark(group="isa")
@pytest.mark.parametrize("isa", core.available_isas())
def test_isa(benchmark, isa):
    with core.forced_isa(isa):
        measure(benchmark, Steps())


@pytest.mark.benchmark(group="precision")
@pytest.mark.parametrize("precision", ["bfloat16", "int8", "int8-float4", "int4"])
@pytest.mark.parametrize(("each", "n_active"), [("batch", ACTIVE), ("sample", sized(980, 40))])
def test_precision(benchmark, each, n_active, precision):
    name, _, moments = precision.partition("-")
    few = {"precision": name, "moments": moments or None}
    wide, narrow = (Steps(n_active=n_active, each=each, **one) for one in ({}, few))
    in_turns(benchmark, narrow, wide, 30, against="the same step in float32")
    benchmark.extra_info["active"] = float(np.median(narrow.active))


@pytest.mark.benchmark(group="rehash")
@pytest.mark.parametrize("strategy", ["rebuild", "sliced"])
def test_rehash(benchmark, strategy):
    steps, without = Steps(rehash=Rehash(strategy=strategy)), Steps()
    in_turns(benchmark, steps, without, 170, against="the same step without rehashing")
    taken, median = np.array(benchmark.stats.stats.data), benchmark.extra_info["peer_ms"] / 1e3
    builds = steps.network.sampled_layers[0].active.n_builds - 1
    benchmark.extra_info["longest"] = round(float(taken.max() / np.median(taken)), 2)
    benchmark.extra_info["excess"] = round(float((taken - median).sum() / median) / max(builds, 1), 1)


@pytest.mark.benchmark(group="labels")
@pytest.mark.parametrize("sampler", ["uniform", "lsh"])
@pytest.mark.parametrize("n_labels", sized([67_000, 670_091, 2_000_000], [2_000]))
def test_labels(benchmark, n_labels, sampler):
    measure(benchmark, Steps(n_labels=n_labels, sampler=sampler))


def calls_of(step):
    """Calls of Python functions, and of functions of the C core, in one step."""
    count = {"call": 0, "c_call": 0}

    def profile(frame, event, argument):
        if event == "call" or (
            event == "c_call" and getattr(argument, "__qualname__", "").startswith("Lib.lsh_")
        ):
            count[event] += 1

    sys.setprofile(profile)
    step()
    sys.setprofile(None)
    return count["call"] - 1, count["c_call"]  # without the call of step itself


class Clock:
    """The C core's library, measuring the time in its functions."""

    def __init__(self):
        self.seconds = 0.0

    def timed(self, function):
        def call(*arguments):
            began = time.perf_counter()
            try:
                return function(*arguments)
            finally:
                self.seconds += time.perf_counter() - began

        return call

    def __getattr__(self, name):
        value = getattr(lib, name)
        if name.startswith("lsh_"):
            value = self.timed(value)
        setattr(self, name, value)
        return value


def seconds_of(step, turns=100):
    """Median seconds of a step, and of its part outside of the C core."""
    clock = Clock()
    modules = [
        m for name, m in sys.modules.items() if name.startswith("lshsample.") and vars(m).get("lib") is lib
    ]
    for module in modules:
        module.lib = clock
    try:
        whole, outside = [], []
        for _ in range(turns):
            clock.seconds, began = 0.0, time.perf_counter()
            step()
            whole.append(time.perf_counter() - began)
            outside.append(whole[-1] - clock.seconds)
    finally:
        for module in modules:
            module.lib = lib
    return float(np.median(whole)), float(np.median(outside))


@pytest.mark.benchmark(group="python share")
@pytest.mark.parametrize("sampler", ["lsh", "uniform"])
def test_python_share(benchmark, sampler):
    steps = Steps(sampler=sampler)
    measure(benchmark, steps)
    benchmark.extra_info["python_calls"], benchmark.extra_info["c_calls"] = calls_of(steps)
    whole, outside = seconds_of(steps, rounds(100))
    benchmark.extra_info["python_ms"], benchmark.extra_info["python_share"] = 1e3 * outside, outside / whole


if __name__ == "__main__":
    labels = int(sys.argv[1]) if len(sys.argv) > 1 else N_LABELS
    steps = Steps(n_labels=labels)
    for _ in range(10):
        steps()
    python, c = calls_of(steps)
    whole, outside = (1e3 * seconds for seconds in seconds_of(steps))
    print(
        f"{labels:,} labels, {np.median(steps.active):,.0f} active: {python} Python calls, {c} C calls a step"
    )
    print(f"{whole:.2f} ms a step, {outside:.2f} ms of it outside of the C core ({outside / whole:.0%})")
