"""Measure what a step on workers costs here: ``python tools/measure_scaling.py docs/scaling.json``.

The costs of the parts are measured in one process (and messages on one worker); then steps on 1, 2 and 4
workers, in turns with those of one process. The workers are forked processes, with the connections that
workers on Ray have. All times are processor time, which other programs hardly change; of a step on workers it
is that of the trainer's process and of the busiest worker, which wait for each other.
``tools/plot_scaling.py`` draws the result.
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from multiprocessing.connection import Listener
from pathlib import Path

import attrs
import numpy as np
import scipy.sparse as sp

from lshsample.nn import Dense, Network, Sharded, Sparse
from lshsample.nn.connected import ConnectedWorker, answer_calls
from lshsample.nn.remote import RemoteShards
from lshsample.nn.shard import Shard
from lshsample.ray import StepModel
from lshsample.training import Trainer

FEATURES, BATCH, HIDDEN, BLOCKS, ACTIVE = 20_000, 256, 128, 8, 4096
LABELS = 100_000


def rows(n_labels, seed=0):
    rng = np.random.default_rng(seed)
    x = sp.random_array((BATCH, FEATURES), density=75 / FEATURES, rng=rng, format="csr", dtype=np.float32)
    return x, rng.integers(0, n_labels, (BATCH, 5)).tolist()


def layers(n_labels, n_active, blocks=BLOCKS):
    last = Sharded(n_labels, n_active=n_active, blocks=blocks, rehash=0)
    return [Sparse(FEATURES), Dense(HIDDEN), last]


class Forked(ConnectedWorker):
    """A forked process with a shard, of one thread."""

    def __init__(self, spec, context, first, last):
        super().__init__(b"local")
        listener = Listener(("127.0.0.1", 0), authkey=b"local")
        self._place = listener.address

        def run():
            answer_calls(Shard(spec, context, first, last, 1), listener)

        self._process = multiprocessing.get_context("fork").Process(target=run, daemon=True)
        self._process.start()
        listener.close()

    def address(self):
        return self._place

    def seconds(self):
        """Its processor time."""
        return int(Path(f"/proc/{self._process.pid}/schedstat").read_text().split()[0]) / 1e9

    def stop(self):
        super().stop()
        self._process.terminate()


def on_workers(n):
    """The network with its last layer on workers."""
    network = Network(layers(LABELS, ACTIVE), 1)
    spec, context = network.output.spec, network.output.context
    folder = Path(tempfile.mkdtemp())  # empty, as no snapshot is due
    network.output.shards = RemoteShards(spec, n, lambda a, b: Forked(spec, context, a, b), folder, 10**6)
    return network


def quartile(several):
    """The lower quartile: other programs only add to a time."""
    return float(np.percentile(several, 25))


def local_step(n_labels, n_active, blocks, steps):
    """Seconds of the layers below, and of the blocks, in one process; active units of all blocks."""
    network = Network(layers(n_labels, n_active, blocks), 1)
    trainer, data, inside = Trainer(network, batch_size=BATCH, threads=1), rows(n_labels), []
    ask = network.output.shards.ask

    def timed(method, each):
        began = time.process_time()
        values = ask(method, each)
        inside[-1] += time.process_time() - began
        return values

    network.output.shards.ask = timed
    inside.append(0.0)
    trainer.step(*data)
    whole = []
    for _ in range(steps):
        inside.append(0.0)
        began = time.process_time()
        active = trainer.step(*data).active
        whole.append(time.process_time() - began)
    of_blocks = np.array(inside[1:])
    return quartile(np.array(whole) - of_blocks), quartile(of_blocks), active


def table_seconds(n_labels):
    """Seconds to build the tables of a label."""
    network = Network(layers(n_labels, ACTIVE), 1)
    network.allocate(3)
    blocks, seconds = network.output.shards.shards[0].blocks, []
    for block in blocks:
        began = time.process_time()
        block.layer.prepare(0, 1)
        seconds.append(time.process_time() - began)
    return quartile(seconds) * BLOCKS / n_labels


def message_seconds(shards, sizes, rounds):
    """Seconds of an exchange with a worker that has nothing to do, without and with an array of some bytes:
    in this process, and in the worker.
    """
    found, (worker,) = [], shards.workers
    for size in sizes:
        array = np.zeros((size // 4 // HIDDEN, HIDDEN), np.float32)
        nothing = np.zeros(len(array) + 1, np.int64), np.zeros(0, np.int32)
        for _ in range(3):
            began, before = time.process_time(), worker.seconds()
            for _ in range(rounds):
                shards.ask(
                    "top_k",
                    [(array[:0], 1, (nothing[0][:1], nothing[1]), 1)]
                    if not size
                    else [(array, 1, nothing, 1)],
                )
        found += [(time.process_time() - began) / rounds, (worker.seconds() - before) / rounds]
    return found


def steps_on_workers(trainer, data, steps):
    """Seconds of a step: of this process, and of the busiest worker."""
    workers = trainer.network.output.shards.workers
    began, before = time.process_time(), [one.seconds() for one in workers]
    for _ in range(steps):
        trainer.step(*data)
    busiest = max(one.seconds() - earlier for one, earlier in zip(workers, before, strict=True))
    return (time.process_time() - began + busiest) / steps


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=20, help="steps of each turn")
    parser.add_argument("--turns", type=int, default=4)
    options = parser.parse_args()
    data = rows(LABELS)

    runs = {0: Network(layers(LABELS, ACTIVE), 1)}
    for workers in (1, 2, 4):
        runs[workers] = on_workers(workers)
    trainers = {w: Trainer(one, batch_size=BATCH, threads=1) for w, one in runs.items()}
    measured = {w: [] for w in runs}
    parts = {name: [] for name in ("small", "large", "few", "message")}
    for trainer in trainers.values():
        trainer.step(*data)
    for _ in range(options.turns):
        parts["small"].append(local_step(LABELS, ACTIVE // 4, BLOCKS, options.steps))
        parts["large"].append(local_step(LABELS, ACTIVE, BLOCKS, options.steps))
        parts["few"].append(local_step(LABELS, ACTIVE, BLOCKS // 4, options.steps))
        sizes = 0, 4 * BATCH * HIDDEN
        parts["message"].append(message_seconds(runs[1].output.shards, sizes, options.steps))
        began = time.process_time()
        for _ in range(options.steps):
            trainers[0].step(*data)
        measured[0].append((time.process_time() - began) / options.steps)
        for workers in (1, 2, 4):
            measured[workers].append(steps_on_workers(trainers[workers], data, options.steps))
    of = {name: np.percentile(np.array(several), 25, axis=0) for name, several in parts.items()}
    # Seconds of all blocks are blocks * block + units * active, at three pairs of these.
    pairs = [(BLOCKS, of["small"][2]), (BLOCKS, of["large"][2]), (BLOCKS // 4, of["few"][2])]
    seconds = [of["small"][1], of["large"][1], of["few"][1]]
    block, active = np.maximum(np.linalg.lstsq(np.array(pairs), np.array(seconds), rcond=None)[0], 0.0)
    empty, _, full, full_at_worker = of["message"]
    model = StepModel(
        below=float(of["large"][0] + 2 * full_at_worker),
        block=float(block),
        active=float(active),
        label=table_seconds(LABELS),
        message=2 * empty,
        byte=max(full - empty, 0.0) / sizes[1],
        batch_size=BATCH,
        hidden=HIDDEN,
    )
    n_active = round(float(of["large"][2]))
    checks = []
    for workers in (1, 2, 4):
        predicted = model.step(
            workers=workers, labels=LABELS, n_active=n_active, rebuild_steps=float("inf"),
            bandwidth=float("inf"), latency=0.0,
        )  # fmt: skip
        checks.append(
            {"workers": workers, "measured": quartile(measured[workers]), "predicted": predicted.seconds}
        )
    for workers, one in runs.items():
        if workers:
            one.output.shards.stop()
    result = {
        "model": attrs.asdict(model),
        "one process": quartile(measured[0]),
        "checks": checks,
        "labels": LABELS,
        "active": n_active,
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
