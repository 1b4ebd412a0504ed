"""The kernels of a pooled training step, on every instruction set, each with its lower bound.

``pytest benchmarks/bench_kernels.py --benchmark-only`` runs them; ``--benchmark-save`` and ``pytest-benchmark
compare`` compare two runs. Sizes are those of a step over about 5,000 of 670,091 labels: batch 256, hidden
128, 75 features a sample of 135,909. ``extra_info`` has the least amount of work of a kernel:
``flop`` floating-point operations, and ``bytes`` moved to or from memory beyond the caches.
"""

import numpy as np
import pytest
import scipy.sparse as sp
from sizes import rounds, sized

from lshsample._native import convert, core, layers, loss, optim
from lshsample._native.dtypes import BFLOAT16
from lshsample._native.slots import Slots

BATCH, HIDDEN, FEATURES, FEATURES_EACH = sized(256, 16), 128, sized(135_909, 500), 75
ACTIVE, LABELS, RANKED = sized(5000, 100), sized(670_091, 600), sized(100_000, 300)
PRODUCT = 2 * BATCH * HIDDEN * ACTIVE


class Step:
    """The arrays of a step, and row sets that change with each call, so that they are not in the caches."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.labels, self.features = self.store(rng, LABELS), self.store(rng, FEATURES)
        self.narrow = Slots.zeros(LABELS, HIDDEN, [BFLOAT16] * 3)
        self.narrow.weights[...] = convert.from_float32(self.labels[:1, 0], BFLOAT16)
        self.weights, self.bias = self.labels[:, 0], np.zeros((LABELS, 3), np.float32)[:, 0]
        choice = [rng.choice(LABELS, ACTIVE, replace=False) for _ in range(32)]
        self.row_sets, self.turn = [np.sort(c).astype(np.int32) for c in choice], 0
        self.hidden = rng.standard_normal((BATCH, HIDDEN), dtype=np.float32)
        self.errors = rng.standard_normal((BATCH, ACTIVE), dtype=np.float32)
        self.logits, self.gradient = self.errors.copy(), np.zeros((ACTIVE, HIDDEN), np.float32)
        # Feature frequencies fall as a power law, as those of text do.
        columns = (rng.pareto(0.7, (BATCH, FEATURES_EACH)) * 50).astype(np.int64) % FEATURES
        entries = (np.repeat(np.arange(BATCH), FEATURES_EACH), columns.ravel())
        self.x = core.csr_rows(sp.csr_array((np.ones(columns.size), entries), shape=(BATCH, FEATURES)), "x")
        self.touched, self.touched_gradient = layers.csr_transpose_matmul(self.x, self.hidden)
        places = np.sort(rng.choice(ACTIVE, (BATCH, 5)), axis=1).astype(np.int32).ravel()
        self.targets = (np.arange(0, 5 * BATCH + 1, 5), places, np.full(places.size, 0.2, np.float32))
        self.inclusion = np.log(rng.uniform(0.01, 1, ACTIVE)).astype(np.float32)
        self.sample_starts = np.arange(BATCH + 1, dtype=np.int64) * 512
        self.sample_ids = rng.integers(0, LABELS, BATCH * 512, dtype=np.int32)

    @staticmethod
    def store(rng, rows):
        store = np.empty((rows, 3, HIDDEN), np.float32)
        store[:] = rng.random((1, 3, HIDDEN), dtype=np.float32) * 0.1
        return store

    def rows(self):
        self.turn += 1
        return self.row_sets[self.turn % len(self.row_sets)]

    def fresh_logits(self):
        np.copyto(self.logits, self.errors)


@pytest.fixture(scope="module")
def step():
    return Step()


def adam(store, rows, gradient, threads, rounding=None):
    optim.adam_rows(store, rows, gradient, 1e-4, 0.9, 0.999, 1e-8, 5, rounding=rounding, threads=threads)


ROW = 4 * HIDDEN
#: name -> (call, floating-point operations, bytes)
KERNELS = {
    "matmul_nt": (
        lambda s, t: layers.matmul_nt(
            s.hidden, s.weights, bias=s.bias, rows=s.rows(), out=s.logits, threads=t
        ),
        PRODUCT,
        ACTIVE * ROW + 4 * BATCH * ACTIVE,
    ),
    "matmul_nn": (
        lambda s, t: layers.matmul_nn(s.errors, s.weights, rows=s.rows(), threads=t),
        PRODUCT,
        ACTIVE * ROW + 4 * BATCH * ACTIVE,
    ),
    "matmul_tn": (
        lambda s, t: layers.matmul_tn(s.errors, s.hidden, out=s.gradient, threads=t),
        PRODUCT,
        ACTIVE * ROW + 4 * BATCH * ACTIVE,
    ),
    "column_sums": (lambda s, t: layers.column_sums(s.errors, threads=t), BATCH * ACTIVE, 4 * BATCH * ACTIVE),
    "softmax": (
        lambda s, t: loss.apply("softmax", s.logits, s.targets, s.inclusion, threads=t),
        20 * BATCH * ACTIVE,
        8 * BATCH * ACTIVE,
    ),
    "sigmoid": (
        lambda s, t: loss.apply("sigmoid", s.logits, s.targets, s.inclusion, threads=t),
        60 * BATCH * ACTIVE,
        8 * BATCH * ACTIVE,
    ),
    "adam_rows": (
        lambda s, t: adam(s.labels, s.rows(), s.gradient, t),
        12 * ACTIVE * HIDDEN,
        7 * ACTIVE * ROW,
    ),
    "matmul_nt_bfloat16": (
        lambda s, t: layers.matmul_nt(
            s.hidden, s.narrow.weights, bias=s.bias, rows=s.rows(), out=s.logits, threads=t
        ),
        PRODUCT,
        ACTIVE * ROW // 2 + 4 * BATCH * ACTIVE,
    ),
    "matmul_nt_rounded": (
        lambda s, t: layers.matmul_nt(
            s.hidden, s.narrow.weights, rows=s.rows(), out=s.logits, operands="bfloat16", threads=t
        ),
        PRODUCT,
        ACTIVE * ROW // 2 + 4 * BATCH * ACTIVE,
    ),
    "matmul_nn_rounded": (
        lambda s, t: layers.matmul_nn(
            s.errors, s.narrow.weights, rows=s.rows(), operands="bfloat16", threads=t
        ),
        PRODUCT,
        ACTIVE * ROW // 2 + 4 * BATCH * ACTIVE,
    ),
    "matmul_tn_rounded": (
        lambda s, t: layers.matmul_tn(s.errors, s.hidden, out=s.gradient, operands="bfloat16", threads=t),
        PRODUCT,
        ACTIVE * ROW + 4 * BATCH * ACTIVE,
    ),
    "adam_rows_bfloat16": (
        lambda s, t: adam(s.narrow, s.rows(), s.gradient, t),
        12 * ACTIVE * HIDDEN,
        4 * ACTIVE * ROW,
    ),
    "adam_rows_stochastic": (
        lambda s, t: adam(s.narrow, s.rows(), s.gradient, t, convert.Rounding(1, 2)),
        12 * ACTIVE * HIDDEN,
        4 * ACTIVE * ROW,
    ),
    "csr_matmul": (
        lambda s, t: layers.csr_matmul(s.x, s.features[:, 0], threads=t),
        2 * BATCH * FEATURES_EACH * HIDDEN,
        BATCH * FEATURES_EACH * ROW,
    ),
    "csr_transpose_matmul": (
        lambda s, t: layers.csr_transpose_matmul(s.x, s.hidden, threads=t),
        2 * BATCH * FEATURES_EACH * HIDDEN,
        BATCH * FEATURES_EACH * 24,
    ),
    "csr_sampled_matmul": (
        lambda s, t: layers.csr_sampled_matmul(
            s.hidden, s.weights, s.bias, s.sample_starts, s.sample_ids, threads=t
        ),
        2 * BATCH * 512 * HIDDEN,
        BATCH * 512 * ROW,
    ),
    "dropout_mask": (
        lambda s, t: layers.dropout_mask(0, 1, 0, (BATCH, HIDDEN), 0.5, threads=t),
        0,
        BATCH * ROW,
    ),
    "top_k_single_bfloat16": (
        lambda s, t: layers.top_k(s.hidden[:1], s.narrow.weights, None, 5, threads=t),
        2 * HIDDEN * LABELS,
        LABELS * ROW // 2,
    ),
    "top_k_single": (
        lambda s, t: layers.top_k(s.hidden[:1], s.weights, None, 5, threads=t),
        2 * HIDDEN * LABELS,
        LABELS * ROW,
    ),
    "top_k": (
        lambda s, t: layers.top_k(s.hidden, s.weights[:RANKED], s.bias[:RANKED], 5, threads=t),
        2 * BATCH * HIDDEN * RANKED,
        RANKED * ROW,
    ),
}


@pytest.mark.parametrize("isa", core.available_isas())
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", list(KERNELS))
def test_kernel(benchmark, step, name, threads, isa):
    call, flop, size = KERNELS[name]
    benchmark.group = name
    benchmark.extra_info.update(flop=flop, bytes=size, threads=threads, isa=isa)
    with core.forced_isa(isa):
        benchmark.pedantic(
            call, args=(step, threads), setup=step.fresh_logits, rounds=rounds(20), warmup_rounds=2
        )


@pytest.mark.parametrize("isa", core.available_isas())
@pytest.mark.parametrize("threads", [1, 2])
def test_step(benchmark, step, threads, isa):
    """All kernels of one pooled softmax step with Adam, one after another."""

    def whole(s, t):
        rows = s.rows()
        hidden = layers.csr_matmul(s.x, s.features[:, 0], threads=t)
        layers.matmul_nt(hidden, s.weights, bias=s.bias, rows=rows, out=s.logits, threads=t)
        loss.apply("softmax", s.logits, s.targets, s.inclusion, threads=t)
        back = layers.matmul_nn(s.logits, s.weights, rows=rows, threads=t)
        layers.matmul_tn(s.logits, hidden, out=s.gradient, threads=t)
        layers.column_sums(s.logits, threads=t)
        adam(s.labels, rows, s.gradient, t)
        adam(s.features, *layers.csr_transpose_matmul(s.x, back, threads=t), t)

    benchmark.group = "step"
    benchmark.extra_info.update(
        flop=3 * PRODUCT, bytes=8 * (ACTIVE + len(step.touched)) * ROW, threads=threads, isa=isa
    )
    with core.forced_isa(isa):
        benchmark.pedantic(whole, args=(step, threads), rounds=rounds(20), warmup_rounds=2)
