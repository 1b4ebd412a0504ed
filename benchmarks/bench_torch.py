"""A step of an output layer in PyTorch: forward, backward, update; 670,091 classes, about 5,000 active.

``pip install torch; MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=9000000000000000000 pytest
benchmarks/bench_torch.py --benchmark-only`` takes ``SampledLinearCrossEntropy`` with ``RowAdam`` in turns
with a peer on the same hidden rows, 2 threads each; ``extra_info`` has the peer's time and the quartiles of
the ratio of peer to ours. The peers:

- ``native``: the sampled layer of ``lshsample.nn`` with its loss and Adam;
- ``sampled``: as many uniform units and the labels, looked up from sparse embeddings under ``SparseAdam``;
- ``full``: ``linear`` and ``cross_entropy`` over all classes, fused Adam.
"""

import numpy as np
import pytest
import scipy.sparse as sp
from bench_step import floor
from sizes import sized
from turns import in_turns

from lshsample.nn import Adam, Sampled, Softmax
from lshsample.nn.layer import BuildContext
from lshsample.nn.losses import Logits
from lshsample.nn.signals import Block, LossGradient, Run

torch = pytest.importorskip("torch")

CLASSES, ACTIVE = sized(670_091, 2_000), sized(5_000, 200)
HIDDEN, BATCH, THREADS, N_BATCHES = 128, sized(256, 16), 2, 8
TURNS = {"native": 60, "sampled": 60, "full": 12}


def batches():
    rng = np.random.default_rng(0)
    for _ in range(N_BATCHES):
        hidden = rng.standard_normal((BATCH, HIDDEN), dtype=np.float32)
        yield hidden, rng.integers(0, CLASSES, BATCH)


class Native:
    """The layer of this package's networks."""

    def __init__(self):
        spec = Sampled(CLASSES, sampler="lsh", n_active=ACTIVE, rehash=0, importance="on")
        self.layer, self.loss, self.optimizer = spec.build(BuildContext(1, HIDDEN, 0)), Softmax(), Adam()
        for parameter in self.layer.parameters:
            parameter.allocate(self.optimizer.slots, THREADS)
        self.step = 0
        self.batches = [
            (h, sp.csr_array((np.ones(BATCH, np.float32), y, np.arange(BATCH + 1)), shape=(BATCH, CLASSES)))
            for h, y in batches()
        ]
        self()

    def __call__(self):
        self.step += 1
        hidden, labels = self.batches[self.step % N_BATCHES]
        run = Run(THREADS, 0, self.step, training=True, sampled=True, targets=labels)
        self.layer.prepare(self.step - 1, THREADS)
        signal, log_inclusion, backward = self.layer.logits(Block(hidden, HIDDEN), run)
        logits = Logits.of(signal, labels, self.loss.label_weights(labels), log_inclusion)
        self.loss.apply(logits, THREADS).mean()
        _, updates = backward(LossGradient(signal, 1 / BATCH))
        for one in updates:
            store = one.parameter.raw
            self.optimizer.update_checked(store, one.rows, one.gradient, 1e-3, self.step, THREADS)


class Layer:
    """What the layers in PyTorch have in common."""

    def __init__(self):
        torch.set_num_threads(THREADS)
        torch.manual_seed(0)
        self.step = 0
        self.batches = [(torch.from_numpy(h).requires_grad_(), torch.from_numpy(y)) for h, y in batches()]
        self.optimizers = []

    def __call__(self):
        self.step += 1
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        self.loss(*self.batches[self.step % N_BATCHES]).backward()
        for optimizer in self.optimizers:
            optimizer.step()


class Ours(Layer):
    def __init__(self):
        from lshsample.torch import RowAdam, SampledLinearCrossEntropy, SamplingOptions

        super().__init__()
        options = SamplingOptions(n_active=ACTIVE, rehash=0, sparse=True)
        self.loss = SampledLinearCrossEntropy(HIDDEN, CLASSES, options=options)
        self.optimizers = [RowAdam(self.loss.parameters())]
        self()


class SampledPeer(Layer):
    def __init__(self):
        super().__init__()
        self.rows = torch.nn.Embedding(CLASSES, HIDDEN, sparse=True)
        self.bias = torch.nn.Embedding(CLASSES, 1, sparse=True)
        torch.nn.init.normal_(self.rows.weight, std=HIDDEN**-0.5)
        parameters = [*self.rows.parameters(), *self.bias.parameters()]
        self.optimizers = [torch.optim.SparseAdam(parameters)]

    def loss(self, hidden, target):
        drawn = np.random.default_rng(self.step).integers(0, CLASSES, ACTIVE)
        units = np.union1d(target.numpy(), drawn)
        active = torch.from_numpy(units)
        logits = torch.nn.functional.linear(hidden, self.rows(active), self.bias(active)[:, 0])
        places = torch.from_numpy(np.searchsorted(units, target.numpy()))
        return torch.nn.functional.cross_entropy(logits, places)


class FullPeer(Layer):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(HIDDEN, CLASSES)
        self.optimizers = [torch.optim.Adam(self.linear.parameters(), fused=True)]

    def loss(self, hidden, target):
        return torch.nn.functional.cross_entropy(self.linear(hidden), target)


SETTINGS = {
    "native": "lshsample.nn: Sampled with Softmax and Adam",
    "sampled": "PyTorch: as many uniform units and the labels, sparse embeddings, SparseAdam",
    "full": "PyTorch: linear and cross_entropy over all classes, fused Adam",
}
PEERS = {"native": Native, "sampled": SampledPeer, "full": FullPeer}


@pytest.mark.benchmark(group="an output layer's step, in turns with its peer")
@pytest.mark.parametrize("kind", PEERS)
def test_step_in_turns(benchmark, kind):
    ours = Ours()
    in_turns(benchmark, ours, PEERS[kind](), TURNS[kind], against=SETTINGS[kind])
    benchmark.extra_info |= {"active": ours.loss.active_size, **floor(ours.loss.active_size)}
