"""Precision and bytes a step of exact and approximate exchanges between processes, on data files.

    python benchmarks/compare_exchange.py TRAIN TEST --gradients 0.002 --activations 0.039
    python benchmarks/compare_exchange.py TRAIN TEST --hidden 1024 --lr 0.0015 --rounded 1/2
    python benchmarks/compare_exchange.py TRAIN --held-out 0.2 --gradients 0.004 0.002

All processes are in this one, which counts what they would exchange: of gradients with data parallelism of
all layers, and of hidden rows and their gradients with a last layer in two shards.
"""

import argparse
import json

import numpy as np
from seeds import whole

from lshsample.data import read_xc
from lshsample.nn import (
    ApproximateActivations,
    ApproximateGradients,
    DataParallel,
    Dense,
    Network,
    RoundedActivations,
    Sharded,
    Sparse,
)
from lshsample.nn.parallel import Alone
from lshsample.nn.remote import message_bytes
from lshsample.nn.shards import LocalShards
from lshsample.training import Trainer


class CountedGroup(Alone):
    """Counts what one of two processes would send and receive."""

    def gather(self, value):
        self.exchanged += sum(map(message_bytes, value))
        return [value]


class CountedShards(LocalShards):
    """Counts what the first of two shards would receive and send: hidden rows and gradients, and all."""

    rows = 0

    def ask(self, method, each):
        values = super().ask(method, each)
        self.exchanged += message_bytes((method, each[0])) + message_bytes(values[0])
        if method == "forward":
            self.rows += message_bytes(each[0][0])
        if method == "backward":
            self.rows += message_bytes(values[0])
        return values


def train(network, data, seed, options):
    """P@1 on the test rows, and the number of steps."""
    x, y, test_x, test_y = data
    trainer = Trainer(
        network, batch_size=options.batch_size, epochs=options.epochs, lr=options.lr, seed=seed,
        threads=options.threads, curve_rows=0,
    )  # fmt: skip
    steps = whole(trainer.fit(x, y)).steps
    return network.evaluate(test_x, test_y, top=[1], threads=options.threads)["p@1"], steps


def of_gradients(kept, data, seed, options):
    """P@1; bytes a step with a process; those of a dense reduction in a ring of two."""
    exchange = None if kept is None else ApproximateGradients(kept, options.renew_steps)
    last = Dense(data[1].shape[1], "softmax")
    below = [Sparse(data[0].shape[1], weighting="idf-l2"), Dense(options.hidden, dropout=options.dropout)]
    group = CountedGroup()
    network = DataParallel([*below, last], seed, group=group, exchange=exchange)
    if kept is None:
        group.gather = lambda value: [value]
    p1, steps = train(network, data, seed, options)
    dense = 8 * network.n_parameters
    return p1, group.exchanged / steps if kept else dense, dense


def of_rounded(bits, data, seed, options):
    """As :func:`of_activations`, of bits as ``activations/gradients``."""
    return of_hidden(
        None if bits is None else RoundedActivations(*map(int, bits.split("/"))), data, seed, options
    )


def of_activations(kept, data, seed, options):
    """As :func:`of_hidden`, of a share of the units."""
    return of_hidden(None if kept is None else ApproximateActivations(kept), data, seed, options)


def of_hidden(exchange, data, seed, options):
    """P@1; bytes a step with a worker of hidden rows and their gradients, and of all."""
    last = Sharded(data[1].shape[1], sampler="full", blocks=2, exchange=exchange)
    below = [Sparse(data[0].shape[1], weighting="idf-l2"), Dense(options.hidden, dropout=options.dropout)]
    network = Network([*below, last], seed)
    network.output.shards = shards = CountedShards(last, network.output.context, 2)
    forward, counted = shards.ask, {}

    def ask(method, each):  # bytes of steps alone, not of the evaluation
        before = shards.exchanged
        values = forward(method, each)
        counted[method] = counted.get(method, 0) + shards.exchanged - before
        return values

    shards.ask = ask
    p1, steps = train(network, data, seed, options)
    whole = sum(counted[method] for method in ("forward", "backward", "update"))
    return p1, shards.rows / steps, whole / steps


def parts_of(options):
    """Training rows, and rows to measure on."""
    data = read_xc(options.train)
    if options.test is not None:
        test = read_xc(options.test)
        return data.x, data.y, test.x, test.y
    order = np.random.default_rng(0).permutation(data.n_rows)
    held = round(options.held_out * data.n_rows)
    rest, measured = np.sort(order[held:]), np.sort(order[:held])
    return data.x[rest], data.y[rest], data.x[measured], data.y[measured]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("train")
    parser.add_argument("test", nargs="?")
    parser.add_argument("--held-out", type=float, default=0.2, help="without TEST: share of TRAIN")
    parser.add_argument("--gradients", type=float, nargs="*", default=[], help="shares that are sent")
    parser.add_argument("--activations", type=float, nargs="*", default=[], help="shares that are sent")
    parser.add_argument("--rounded", nargs="*", default=[], help="bits of activations / of gradients")
    parser.add_argument("--renew-steps", type=int, default=100)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--dropout", type=float, default=0.3)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--lr", type=float, default=0.005)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    data = parts_of(options)
    ways = {"gradients": of_gradients, "activations": of_activations, "rounded": of_rounded}
    for what, of in ways.items():
        several = getattr(options, what)
        for kept in [None, *several] if several else []:
            runs = [of(kept, data, seed, options) for seed in range(options.seeds)]
            p1, *bytes_of = (np.array(one) for one in zip(*runs, strict=True))
            print(
                json.dumps(
                    {
                        "exchange": what,
                        "kept": kept,
                        "p@1": p1.round(2).tolist(),
                        "mean": round(float(p1.mean()), 2),
                        "bytes": [round(float(one.mean())) for one in bytes_of],
                    }
                ),
                flush=True,
            )


if __name__ == "__main__":
    main()
