"""Sampled layers beside what they are compared with, on the same data, at equal processor time on one thread.

``python benchmarks/torch_baselines.py`` trains networks of one hidden layer on made data and prints a table.
Some baselines make the hidden layer sparse: random dropout; standout, adaptive dropout (Ba & Frey 2013),
which keeps a unit with probability sigmoid(output); the exact largest outputs. Others make the output layer
cheaper: a product of two matrices of low rank, with or without a ReLU between them; adaptive softmax (Grave
et al. 2017). Rows that begin with "native" are networks of this package, without PyTorch. The learning rate
of each is the best of ``--rates`` on held-out training rows, at a quarter of the time; then all have the same
processor time, and are evaluated on others.

In hidden layers with dropped outputs all units are computed, but for "native, dropout": these rows show the
accuracy of a sparse layer, not its possible speed.
"""

from __future__ import annotations

import argparse
import functools
import time

import attrs
import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn
from torch.nn import functional

from lshsample.nn import Activation, Adam, AdaptiveSoftmax, Dense, Input, Network, Sampled
from lshsample.nn.dense import DenseLayer
from lshsample.nn.signals import Run, values_of, with_values
from lshsample.torch import RowAdam, SampledLinearCrossEntropy, SamplingOptions

WIDTH, BATCH = 64, 128


class Standout(nn.Module):
    """Keeps a unit of a ReLU layer with probability sigmoid(z); multiplies by it in evaluation."""

    def forward(self, z: Tensor) -> Tensor:
        keep = torch.sigmoid(z.detach())
        return z.relu() * (torch.bernoulli(keep) if self.training else keep)


class Largest(nn.Module):
    """Keeps the largest share of the outputs of a ReLU layer."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, z: Tensor) -> Tensor:
        values, ids = z.relu().topk(max(round(self.share * z.shape[1]), 1), dim=1)
        return torch.zeros_like(z).scatter(1, ids, values)


def n_active(args):
    """Classes that a sampled output layer draws."""
    return max(args.classes // 20, BATCH)


class Torch:
    """A model of PyTorch, trained by Adam."""

    def __init__(self, lr, args, hidden=None, output="full", rank=0, between=False):
        torch.manual_seed(args.seed)
        size, classes = args.hidden, args.classes
        self.below = nn.Sequential(nn.Linear(WIDTH, size), *(hidden or [nn.ReLU()]))
        self.has_loss = True
        if output == "sampled":
            options = SamplingOptions(n_active=n_active(args), sparse=True, seed=args.seed)
            self.top = SampledLinearCrossEntropy(size, classes, options=options)
        elif output == "adaptive":
            self.top = nn.AdaptiveLogSoftmaxWithLoss(size, classes, [classes // 10, classes // 2])
        else:
            low = [nn.Linear(size, rank, bias=False), *([nn.ReLU()] if between else [])] if rank else []
            self.top = nn.Sequential(*low, nn.Linear(rank or size, classes))
            self.has_loss = False
        kind = RowAdam if output == "sampled" else torch.optim.Adam
        self.optimizers = [torch.optim.Adam(self.below.parameters(), lr), kind(self.top.parameters(), lr)]

    def step(self, x, y):
        self.below.train()
        h, y = self.below(torch.from_numpy(x)), torch.from_numpy(y)
        loss = self.top(h, y) if self.has_loss else functional.cross_entropy(self.top(h), y)
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        getattr(loss, "loss", loss).backward()  # adaptive softmax also returns log probabilities
        for optimizer in self.optimizers:
            optimizer.step()

    @torch.no_grad()
    def predict(self, x):
        self.below.eval()
        h = self.below(torch.from_numpy(x))
        return (self.top.predict(h) if self.has_loss else self.top(h).argmax(1)).numpy()


@attrs.frozen
class LargestUnits(Activation):
    """Keeps the largest share of the outputs of a ReLU layer of this package."""

    share: float
    gain = 2.0

    def apply(self, values):
        count = max(round(self.share * values.shape[1]), 1)
        least = np.partition(values, -count, axis=1)[:, -count, None]
        values *= (values >= least) & (values > 0)

    def slope(self, outputs):
        return (outputs > 0).astype(np.float32)


@attrs.frozen
class StandoutUnits(Dense):
    """Keeps a ReLU unit of a network of this package with probability sigmoid(output)."""

    def build(self, context):
        return StandoutLayer(self, context)


class StandoutLayer(DenseLayer):
    def forward(self, x, run):
        y, backward = super().forward(x, run)
        keep = 1 / (1 + np.exp(-y.values))
        if run.training:
            drawn = np.random.default_rng((run.seed, run.step)).random(keep.shape, np.float32)
            keep = (drawn < keep).astype(np.float32)
        y.values[...] *= keep
        return y, lambda gradient: backward(with_values(gradient, values_of(gradient) * keep))


class Native:
    """A network of this package, trained by Adam; with one of three last layers."""

    def __init__(
        self, lr, args, output="full", rank=0, between="linear", sampler="lsh", kind=Dense, **hidden
    ):
        if output == "sampled":
            last = Sampled(args.classes, "softmax", sampler=sampler, n_active=n_active(args))
        elif output == "adaptive":
            last = AdaptiveSoftmax(args.classes, (args.classes // 10, args.classes // 2))
        else:
            last = Dense(args.classes, "softmax")
        low = [Dense(rank, between, bias=False)] if rank else []
        layers = [Input(WIDTH), kind(args.hidden, **hidden), *low, last]
        self.network = Network(layers, seed=args.seed)
        self.optimizer, self.lr, self.seed = Adam(), lr, args.seed
        self.network.allocate(self.optimizer.slots, 1)
        self.steps, self.classes = 0, args.classes

    def step(self, x, y):
        self.steps += 1
        labels = sp.csr_array((np.ones(len(y), np.float32), y, np.arange(len(y) + 1)), (len(y), self.classes))
        batch = self.network.batch(x, labels)
        run = Run(threads=1, seed=self.seed, step=self.steps, training=True, sampled=True, targets=batch.y)
        self.network.train_step(batch.x, batch.y, self.optimizer, self.lr, run)

    def predict(self, x):
        return self.network.predict(x, 1, threads=1)[0][:, 0]


MODELS = {
    "sampled output": functools.partial(Torch, output="sampled"),
    "full softmax": Torch,
    "low rank 32": functools.partial(Torch, rank=32),
    "low rank 32, ReLU between": functools.partial(Torch, rank=32, between=True),
    "adaptive softmax": functools.partial(Torch, output="adaptive"),
    "dropout 50 %": functools.partial(Torch, hidden=[nn.ReLU(), nn.Dropout(0.5)]),
    "dropout 75 %": functools.partial(Torch, hidden=[nn.ReLU(), nn.Dropout(0.75)]),
    "dropout 95 %": functools.partial(Torch, hidden=[nn.ReLU(), nn.Dropout(0.95)]),
    "standout": functools.partial(Torch, hidden=[Standout()]),
    "largest 5 % of hidden units": functools.partial(Torch, hidden=[Largest(0.05)]),
    "largest 25 % of hidden units": functools.partial(Torch, hidden=[Largest(0.25)]),
    "native, sampled output": functools.partial(Native, output="sampled"),
    "native, exact largest logits and uniform": functools.partial(
        Native, output="sampled", sampler="exact-top"
    ),
    "native, full softmax": Native,
    "native, adaptive softmax": functools.partial(Native, output="adaptive"),
    "native, low rank 32": functools.partial(Native, rank=32),
    "native, low rank 32, ReLU between": functools.partial(Native, rank=32, between="relu"),
    "native, dropout 50 %": functools.partial(Native, dropout=0.5),
    "native, dropout 95 %": functools.partial(Native, dropout=0.95),
    "native, standout": functools.partial(Native, kind=StandoutUnits),
    "native, largest 5 % of hidden units": functools.partial(Native, activation=LargestUnits(0.05)),
}


def made(args):
    """Rows near the centre of their class; classes by a power law, the most frequent first."""
    rng = np.random.default_rng(args.seed)
    centres = rng.standard_normal((args.classes, WIDTH), dtype=np.float32)
    shares = 1 / np.arange(1, args.classes + 1) ** 0.7
    y = rng.choice(args.classes, args.rows, p=shares / shares.sum())
    x = centres[y] + args.noise * rng.standard_normal((args.rows, WIDTH), dtype=np.float32)
    return x.astype(np.float32), y.astype(np.int64)


def trained(make, lr, x, y, seconds, args):
    """(model, steps) after that many seconds of processor time."""
    model, rng, steps = make(lr, args), np.random.default_rng(args.seed), 0
    begin = time.process_time()
    while time.process_time() - begin < seconds:
        rows = rng.integers(len(x), size=BATCH)
        model.step(x[rows], y[rows])
        steps += 1
    return model, steps


def precision(model, x, y):
    """P@1 in percent."""
    return 100 * float((model.predict(x) == y).mean())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="processor time of each")
    parser.add_argument("--classes", type=int, default=20_000)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--noise", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-3, 3e-3, 1e-2], help="learning rates")
    parser.add_argument(
        "--models", nargs="+", choices=MODELS, default=MODELS, metavar="NAME", help="some rows"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    x, y = made(args)
    n = len(x) // 20
    test, held, train = (x[:n], y[:n]), (x[n : 2 * n], y[n : 2 * n]), (x[2 * n :], y[2 * n :])
    print(f"{args.classes:,} classes, hidden layer of {args.hidden}, {args.seconds:g} s of one processor")
    print("| model | learning rate | steps | P@1, % |\n|---|---|---|---|", flush=True)
    for name in args.models:
        make, found = MODELS[name], []
        for rate in args.rates:
            model, _ = trained(make, rate, *train, args.seconds / 4, args)
            found.append((precision(model, *held), rate))
        best = max(found)[1]
        model, steps = trained(make, best, *train, args.seconds, args)
        print(f"| {name} | {best:g} | {steps:,} | {precision(model, *test):.1f} |", flush=True)


if __name__ == "__main__":
    main()
