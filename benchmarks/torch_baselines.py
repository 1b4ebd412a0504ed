"""Sampled layers beside what they are compared with, on the same data, at equal processor time on one thread.

``python benchmarks/torch_baselines.py`` trains networks of one hidden layer on made data and prints a table.
Some baselines make the hidden layer sparse: random dropout; standout, adaptive dropout (Ba & Frey 2013),
which keeps a unit with probability sigmoid(output); the exact largest outputs. Others make the output layer
cheaper: a product of two matrices of low rank, with or without a ReLU between them; adaptive softmax (Grave
et al. 2017). Rows that begin with "native" are networks of this package, without PyTorch: the sampled output
layer, and the same baselines as far as its layers make them; standout and adaptive softmax have none. The
learning rate of each is the best of three on held-out training rows, at half of the time; then all have the
same time, and are evaluated on others.

In PyTorch all hidden units are computed, whatever is dropped: these rows show the accuracy of a sparse layer,
not its possible speed.
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

from lshsample.nn import Activation, Adam, Dense, Input, Network, Sampled
from lshsample.nn.signals import Run

WIDTH, BATCH, RATES = 64, 128, (1e-3, 3e-3, 1e-2)


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


class Torch:
    """A model of PyTorch, trained by Adam."""

    def __init__(self, lr, args, hidden=None, rank=0, between=False, adaptive=False):
        torch.manual_seed(args.seed)
        self.below = nn.Sequential(nn.Linear(WIDTH, args.hidden), *(hidden or [nn.ReLU()]))
        self.head, size = None, args.hidden
        if adaptive:
            cuts = [args.classes // 10, args.classes // 2]
            self.head = nn.AdaptiveLogSoftmaxWithLoss(size, args.classes, cuts)
        elif rank:
            between = [nn.ReLU()] if between else []
            self.out = nn.Sequential(
                nn.Linear(size, rank, bias=False), *between, nn.Linear(rank, args.classes)
            )
        else:
            self.out = nn.Linear(size, args.classes)
        self.top = self.head or self.out
        self.model = nn.ModuleList([self.below, self.top])
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr)

    def step(self, x, y):
        self.model.train()
        h, y = self.below(torch.from_numpy(x)), torch.from_numpy(y)
        loss = self.head(h, y).loss if self.head else functional.cross_entropy(self.out(h), y)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    @torch.no_grad()
    def predict(self, x):
        self.model.eval()
        h = self.below(torch.from_numpy(x))
        return (self.head.predict(h) if self.head else self.out(h).argmax(1)).numpy()


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


class Native:
    """A network of this package, trained by Adam; its last layer is sampled unless it is dense."""

    def __init__(self, lr, args, dense=True, rank=0, between="linear", sampler="lsh", **hidden):
        if dense:
            last = Dense(args.classes, "softmax")
        else:
            n_active = max(args.classes // 20, BATCH)
            last = Sampled(args.classes, "softmax", sampler=sampler, n_active=n_active)
        low = [Dense(rank, between, bias=False)] if rank else []
        layers = [Input(WIDTH), Dense(args.hidden, **hidden), *low, last]
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
    "full softmax": Torch,
    "low rank 32": functools.partial(Torch, rank=32),
    "low rank 32, ReLU between": functools.partial(Torch, rank=32, between=True),
    "adaptive softmax": functools.partial(Torch, adaptive=True),
    "dropout 50 %": functools.partial(Torch, hidden=[nn.ReLU(), nn.Dropout(0.5)]),
    "dropout 75 %": functools.partial(Torch, hidden=[nn.ReLU(), nn.Dropout(0.75)]),
    "dropout 95 %": functools.partial(Torch, hidden=[nn.ReLU(), nn.Dropout(0.95)]),
    "standout": functools.partial(Torch, hidden=[Standout()]),
    "largest 5 % of hidden units": functools.partial(Torch, hidden=[Largest(0.05)]),
    "largest 25 % of hidden units": functools.partial(Torch, hidden=[Largest(0.25)]),
    "native, sampled output": functools.partial(Native, dense=False),
    "native, exact largest logits and uniform": functools.partial(Native, dense=False, sampler="exact-top"),
    "native, full softmax": Native,
    "native, low rank 32": functools.partial(Native, rank=32),
    "native, low rank 32, ReLU between": functools.partial(Native, rank=32, between="relu"),
    "native, dropout 50 %": functools.partial(Native, dropout=0.5),
    "native, dropout 95 %": functools.partial(Native, dropout=0.95),
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
    args = parser.parse_args()
    torch.set_num_threads(1)
    x, y = made(args)
    n = len(x) // 20
    test, held, train = (x[:n], y[:n]), (x[n : 2 * n], y[n : 2 * n]), (x[2 * n :], y[2 * n :])
    print(f"{args.classes:,} classes, hidden layer of {args.hidden}, {args.seconds:g} s of one processor")
    print("| model | learning rate | steps | P@1, % |\n|---|---|---|---|", flush=True)
    for name, make in MODELS.items():
        found = []
        for rate in RATES:
            model, _ = trained(make, rate, *train, args.seconds / 2, args)
            found.append((precision(model, *held), rate))
        best = max(found)[1]
        model, steps = trained(make, best, *train, args.seconds, args)
        print(f"| {name} | {best:g} | {steps:,} | {precision(model, *test):.1f} |", flush=True)


if __name__ == "__main__":
    main()
