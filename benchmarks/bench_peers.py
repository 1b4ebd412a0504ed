"""A training step compared with PyTorch on the same batches: full softmax, and softmax over sampled units.

``pip install torch; MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=9000000000000000000 pytest
benchmarks/bench_peers.py --benchmark-only`` takes the steps in turns, 2 threads each. With the two settings
the C library keeps freed memory; without them a large part of a full softmax is spent on new pages.
``extra_info`` has the milliseconds of the peer and the quartiles of the ratio of peer to lshsample, by turns.
The peers are straightforward PyTorch: an ``EmbeddingBag`` of the features, ReLU, an output layer; dense Adam
for the full softmax; for the sampled one, as many uniform units as in the active set of lshsample, plus the
labels of the batch, looked up from sparse embeddings under ``SparseAdam``. ``test_small_problems`` compares
steps of an eighth of few labels with those of all of them, and with PyTorch's full softmax.
"""

import numpy as np
import pytest
from bench_step import ACTIVE, HIDDEN, N_FEATURES, N_LABELS, THREADS, Steps
from sizes import sized
from turns import in_turns

torch = pytest.importorskip("torch")
TURNS = {"full": 12, "sampled": 60}


class Peer:
    """The same network in PyTorch; ``kind`` is full or sampled."""

    def __init__(self, kind, batches, n_labels=N_LABELS):
        torch.set_num_threads(THREADS)
        torch.manual_seed(0)
        self.batches, self.step, sparse = batches, 0, kind == "sampled"
        self.features = torch.nn.EmbeddingBag(N_FEATURES, HIDDEN, mode="sum", sparse=True)
        self.rows = torch.nn.Embedding(n_labels, HIDDEN, sparse=sparse)
        self.bias = torch.nn.Embedding(n_labels, 1, sparse=sparse)
        for table in (self.features, self.rows, self.bias):
            torch.nn.init.normal_(table.weight, std=HIDDEN**-0.5)
        output = [*self.rows.parameters(), *self.bias.parameters()]
        inputs = [*self.features.parameters()]
        self.optimizers = [torch.optim.SparseAdam(inputs + output if sparse else inputs)]
        if not sparse:
            self.optimizers.append(torch.optim.Adam(output, fused=True))
        self.loss = self.sampled if sparse else self.full

    def __call__(self):
        self.step += 1
        x, y = self.batches[self.step % len(self.batches)]
        indices, offsets = torch.from_numpy(x.indices), torch.from_numpy(x.indptr[:-1].astype(np.int32))
        hidden = torch.relu(self.features(indices, offsets, per_sample_weights=torch.from_numpy(x.data)))
        loss = self.loss(hidden, y)
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in self.optimizers:
            optimizer.step()

    def full(self, hidden, y):
        logits = torch.nn.functional.linear(hidden, self.rows.weight, self.bias.weight[:, 0])
        return cross_entropy(logits, y, torch.from_numpy(y.indices).long())

    def sampled(self, hidden, y):
        labels = np.unique(y.indices)
        drawn = np.random.default_rng(self.step).integers(0, N_LABELS, ACTIVE - len(labels))
        units = np.union1d(labels, drawn)
        active = torch.from_numpy(units).long()
        logits = torch.nn.functional.linear(hidden, self.rows(active), self.bias(active)[:, 0])
        return cross_entropy(logits, y, torch.from_numpy(np.searchsorted(units, y.indices)))


def cross_entropy(logits, y, columns):
    """Mean over rows of the softmax cross-entropy with a row's labels, equally weighted."""
    each = np.diff(y.indptr)
    rows = torch.from_numpy(np.repeat(np.arange(y.shape[0]), each))
    weights = torch.from_numpy(np.repeat(1 / each, each).astype(np.float32))
    chosen = (logits[rows, columns] * weights).sum()
    return (torch.logsumexp(logits, 1).sum() - chosen) / y.shape[0]


@pytest.mark.benchmark(group="lshsample's step, in turns with PyTorch's (its time is peer_ms)")
@pytest.mark.parametrize("kind", ["sampled", "full"])
@pytest.mark.parametrize("sampler", ["lsh", "uniform"])
def test_step_in_turns_with_pytorch(benchmark, kind, sampler):
    ours = Steps(sampler=sampler)
    in_turns(benchmark, ours, Peer(kind, ours.batches), TURNS[kind])
    benchmark.extra_info["active"] = float(np.median(ours.active))


@pytest.mark.benchmark(group="few labels, in turns with all of them")
@pytest.mark.parametrize("peer", ["full set", "pytorch"])
@pytest.mark.parametrize("n_labels", sized([1_000, 4_000], [200]))
def test_small_problems(benchmark, n_labels, peer):
    ours = Steps(n_labels=n_labels, n_active=n_labels // 8)
    full = Steps(n_labels=n_labels, sampler="full", n_active=None) if peer == "full set" else None
    in_turns(benchmark, ours, full or Peer("full", ours.batches, n_labels), 60)
    benchmark.extra_info["active"] = float(np.median(ours.active))
