"""A training step compared with PyTorch on the same batches: full softmax, and softmax over sampled units.

``pip install torch; MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=9000000000000000000 pytest
benchmarks/bench_peers.py --benchmark-only`` takes the steps in turns, 2 threads each. With the two settings
the C library keeps freed memory; without them a large part of a full softmax is spent on new pages.
``extra_info`` has the milliseconds of the peer and the quartiles of the ratio of peer to lshsample, by turns.
The peers are straightforward PyTorch: an ``EmbeddingBag`` of the features, ReLU, an output layer; dense Adam
for the full softmax, which is also compiled (that takes a C++ compiler), and with the output layer in
bfloat16; for the sampled one, as many uniform units as in the active set of lshsample, plus the labels of the
batch, looked up from sparse embeddings under ``SparseAdam``. ``test_small_problems`` compares steps of an
eighth of few labels with those of all of them, and with PyTorch's full softmax.
"""

import shutil

import numpy as np
import pytest
from bench_step import ACTIVE, HIDDEN, N_FEATURES, N_LABELS, THREADS, Steps, floor
from sizes import sized
from turns import in_turns

torch = pytest.importorskip("torch")
# Of parts of PyTorch itself, which compiling imports.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning"),
]
TURNS = {"full": 12, "compiled": 12, "bfloat16": 12, "sampled": 60}
SETTINGS = {
    "full": "PyTorch: full softmax, fused Adam",
    "compiled": "PyTorch: full softmax with torch.compile, fused Adam",
    "bfloat16": "PyTorch: full softmax, the output layer and its Adam in bfloat16, softmax in float32",
    "sampled": "PyTorch: softmax over as many uniform units and the labels, SparseAdam",
}


class Peer:
    """The same network in PyTorch; ``kind`` is one of ``SETTINGS``."""

    def __init__(self, kind, batches, n_labels=N_LABELS):
        torch.set_num_threads(THREADS)
        torch.manual_seed(0)
        self.batches, self.step, sparse = batches, 0, kind == "sampled"
        self.features = torch.nn.EmbeddingBag(N_FEATURES, HIDDEN, mode="sum", sparse=True)
        self.rows = torch.nn.Embedding(n_labels, HIDDEN, sparse=sparse)
        self.bias = torch.nn.Embedding(n_labels, 1, sparse=sparse)
        for table in (self.features, self.rows, self.bias):
            torch.nn.init.normal_(table.weight, std=HIDDEN**-0.5)
        if kind == "bfloat16":
            self.rows, self.bias = self.rows.bfloat16(), self.bias.bfloat16()
        self.over_all = torch.compile(softmax_over_all) if kind == "compiled" else softmax_over_all
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
        return self.over_all(hidden, self.rows.weight, self.bias.weight, *targets(y, y.indices))

    def sampled(self, hidden, y):
        labels = np.unique(y.indices)
        drawn = np.random.default_rng(self.step).integers(0, N_LABELS, ACTIVE - len(labels))
        units = np.union1d(labels, drawn)
        active = torch.from_numpy(units).long()
        logits = torch.nn.functional.linear(hidden, self.rows(active), self.bias(active)[:, 0])
        return cross_entropy(logits, *targets(y, np.searchsorted(units, y.indices)))


def targets(y, columns):
    """Row, column and weight of each label: those of a row have equal weights."""
    each = np.diff(y.indptr)
    rows = torch.from_numpy(np.repeat(np.arange(y.shape[0]), each))
    weights = torch.from_numpy(np.repeat(1 / each, each).astype(np.float32))
    return rows, torch.from_numpy(columns.astype(np.int64)), weights


def cross_entropy(logits, rows, columns, weights):
    """Mean over rows of the softmax cross-entropy with a row's labels."""
    chosen = (logits[rows, columns] * weights).sum()
    return (torch.logsumexp(logits, 1).sum() - chosen) / logits.shape[0]


def softmax_over_all(hidden, weight, bias, rows, columns, weights):
    logits = torch.nn.functional.linear(hidden.to(weight.dtype), weight, bias[:, 0])
    return cross_entropy(logits.float(), rows, columns, weights)


@pytest.mark.benchmark(group="lshsample's step, in turns with PyTorch's")
@pytest.mark.parametrize("kind", SETTINGS)
@pytest.mark.parametrize("sampler", ["lsh", "uniform"])
def test_step_in_turns_with_pytorch(benchmark, kind, sampler):
    if kind == "compiled" and not (shutil.which("g++") or shutil.which("clang++")):
        pytest.skip("torch.compile needs a C++ compiler")
    if kind == "bfloat16" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("PyTorch takes minutes for a step in bfloat16 on a processor without AVX-512")
    ours = Steps(sampler=sampler)
    in_turns(benchmark, ours, Peer(kind, ours.batches), TURNS[kind], against=SETTINGS[kind])
    active = float(np.median(ours.active))
    benchmark.extra_info |= {"active": active, **floor(active)}


@pytest.mark.benchmark(group="few labels, in turns with all of them")
@pytest.mark.parametrize("peer", ["full set", "pytorch"])
@pytest.mark.parametrize("n_labels", sized([1_000, 4_000], [200]))
def test_small_problems(benchmark, n_labels, peer):
    ours = Steps(n_labels=n_labels, n_active=n_labels // 8)
    full = Steps(n_labels=n_labels, sampler="full", n_active=None) if peer == "full set" else None
    against = "the step of all labels" if full else SETTINGS["full"]
    in_turns(benchmark, ours, full or Peer("full", ours.batches, n_labels), 60, against=against)
    benchmark.extra_info["active"] = float(np.median(ours.active))
