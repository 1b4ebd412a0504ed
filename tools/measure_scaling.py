"""Measure what a step on workers costs here: ``python tools/measure_scaling.py docs/scaling.json``.

The costs of the parts are measured in one process (and messages on one worker); then steps on 1, 2 and 4
workers, in turns with those of one process: of a network of sparse features, and of one of dense features and
large batches, whose layers below the workers compute in parts too. The workers are forked processes, with the
connections that workers on Ray have. All times are processor time, which other programs hardly change; of a
step on workers it is that of the trainer's process and of the busiest worker, which wait for each other.
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

from lshsample.nn import Dense, Input, Network, Sharded, Sparse
from lshsample.nn.connected import ConnectedWorker, answer_calls
from lshsample.nn.remote import RemoteShards
from lshsample.nn.shard import Shard
from lshsample.nn.shards import LocalShards
from lshsample.ray import StepModel
from lshsample.training import Trainer

BLOCKS, ACTIVE, LABELS = 8, 4096, 100_000
WORKERS = 1, 2, 4


@attrs.frozen
class Case:
    """A network, its batches, and the numbers of parts to measure; 1 for layers below in one process."""

    features: int
    hidden: tuple[int, ...]
    batch: int
    values_per_row: int | None  # None for dense features
    parts: tuple[int, ...]
    steps: int

    def rows(self):
        rng = np.random.default_rng(0)
        if self.values_per_row is None:
            x = rng.standard_normal((self.batch, self.features), np.float32)
        else:
            density = self.values_per_row / self.features
            shape = self.batch, self.features
            x = sp.random_array(shape, density=density, rng=rng, format="csr", dtype=np.float32)
        return x, rng.integers(0, LABELS, (self.batch, 5)).tolist()

    def network(self, n_active=ACTIVE, blocks=BLOCKS, parts=1):
        last = Sharded(LABELS, n_active=n_active, blocks=blocks, rehash=0, parts=parts)
        first = Input(self.features) if self.values_per_row is None else Sparse(self.features)
        return Network([first, *map(Dense, self.hidden), last], 1)

    def trainer(self, network):
        return Trainer(network, batch_size=self.batch, threads=1)


CASES = {
    "sparse": Case(20_000, (128,), 256, 75, (1,), 20),
    "dense": Case(768, (1024, 128), 2048, None, (1, 4), 5),
}


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


class Several(LocalShards):
    """Shards of this process that are treated as those of others; the seconds of each for layers below."""

    is_local = False

    def __init__(self, spec, context, n):
        super().__init__(spec, context, n)
        self.below, self.all = [0.0] * n, 0.0

    def ask(self, method, each):
        began, values = time.process_time(), []
        for i, (shard, arguments) in enumerate(zip(self.shards, each, strict=True)):
            before = time.process_time()
            values.append(getattr(shard, method)(*arguments))
            if method.endswith("_below"):
                self.below[i] += time.process_time() - before
        self.all += time.process_time() - began
        return values


def on_workers(case, n, parts):
    """The network with its last layer on workers."""
    network = case.network(parts=parts)
    spec, context = network.output.spec, network.output.context
    folder = Path(tempfile.mkdtemp())  # empty, as no snapshot is due
    network.output.shards = RemoteShards(spec, n, lambda a, b: Forked(spec, context, a, b), folder, 10**6)
    return network


def quartile(several):
    """The lower quartile: other programs only add to a time."""
    return float(np.percentile(several, 25))


def local_step(case, data, n_active, blocks):
    """Seconds of the layers below, and of the blocks, in one process; active units of all blocks."""
    network = case.network(n_active, blocks)
    network.output.shards = shards = Several(network.output.spec, network.output.context, 1)
    trainer = case.trainer(network)
    trainer.step(*data)
    whole, inside = [], []
    for _ in range(case.steps):
        before, began = shards.all, time.process_time()
        active = trainer.step(*data).active
        whole.append(time.process_time() - began)
        inside.append(shards.all - before)
    return quartile(np.array(whole) - np.array(inside)), quartile(inside), active


def parted_step(case, data, workers, parts):
    """Seconds of a step with layers below in parts: outside of shards, and of the busiest shard for them."""
    network = case.network(parts=parts)
    shards = Several(network.output.spec, network.output.context, workers)
    network.output.shards, trainer = shards, case.trainer(network)
    trainer.step(*data)
    here, there = [], []
    for _ in range(case.steps):
        shards.below, shards.all = [0.0] * workers, 0.0
        began = time.process_time()
        trainer.step(*data)
        here.append(time.process_time() - began - shards.all)
        there.append(max(shards.below))
    return quartile(here), quartile(there)


def table_seconds(case):
    """Seconds to build the tables of a label."""
    network = case.network()
    network.allocate(3)
    blocks, seconds = network.output.shards.shards[0].blocks, []
    for block in blocks:
        began = time.process_time()
        block.layer.prepare(0, 1)
        seconds.append(time.process_time() - began)
    return quartile(seconds) * BLOCKS / LABELS


def message_seconds(shards, sizes, width, rounds):
    """Seconds of an exchange with a worker that has nothing to do, without and with an array of some bytes:
    in this process, and in the worker.
    """
    found, (worker,) = [], shards.workers
    for size in sizes:
        array = np.zeros((size // 4 // width, width), np.float32)
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


def in_parts(case, below, several, taken_by_bytes):
    """What layers below in parts cost: the seconds that workers share, and those of each weight."""
    if not several:
        return {}
    model = StepModel(
        below=0, block=0, active=0, label=0, message=0, byte=0, hidden=case.hidden,
        features=case.features, values_per_row=case.values_per_row, batch_size=case.batch,
    )  # fmt: skip
    weights = model.cost(1, LABELS, ACTIVE, parts=max(case.parts)).below_weights
    # In a worker shared / n + weights * taken seconds; here below - shared + n * weights * given.
    rows = [(1 / n, weights) for n in several]
    there = [float(np.percentile(one[:, 1], 25)) for one in several.values()]
    shared, taken = np.maximum(np.linalg.lstsq(np.array(rows), np.array(there), rcond=None)[0], 0.0)
    shared = min(float(shared), below)
    here = [
        (float(np.percentile(one[:, 0], 25)) - below + shared) / n / weights for n, one in several.items()
    ]
    return {"shared": shared, "given": max(float(np.mean(here)), 0.0), "taken": float(taken) + taken_by_bytes}


def measured(case, turns):
    """The costs of a case, and its steps on workers beside what they predict."""
    data, networks = case.rows(), {(0, 1): case.network()}
    for parts in case.parts:
        networks |= {(workers, parts): on_workers(case, workers, parts) for workers in WORKERS}
    trainers = {key: case.trainer(one) for key, one in networks.items()}
    seconds = {key: [] for key in networks}
    of = {name: [] for name in ("small", "large", "few", "message")}
    several = {workers: [] for workers in WORKERS if max(case.parts) > 1}
    sizes = 0, 4 * case.batch * case.hidden[-1]
    for trainer in trainers.values():
        trainer.step(*data)
    for _ in range(turns):
        of["small"].append(local_step(case, data, ACTIVE // 4, BLOCKS))
        of["large"].append(local_step(case, data, ACTIVE, BLOCKS))
        of["few"].append(local_step(case, data, ACTIVE, BLOCKS // 4))
        shards = networks[1, 1].output.shards
        of["message"].append(message_seconds(shards, sizes, case.hidden[-1], 20))
        for workers, found in several.items():
            found.append(parted_step(case, data, workers, max(case.parts)))
        for key, trainer in trainers.items():
            if key[0]:
                seconds[key].append(steps_on_workers(trainer, data, case.steps))
                continue
            began = time.process_time()
            for _ in range(case.steps):
                trainer.step(*data)
            seconds[key].append((time.process_time() - began) / case.steps)
    for (workers, _), one in networks.items():
        if workers:
            one.output.shards.stop()
    of = {name: np.percentile(np.array(values), 25, axis=0) for name, values in of.items()}
    # Seconds of all blocks are blocks * block + units * active, at three pairs of these.
    pairs = [(BLOCKS, of["small"][2]), (BLOCKS, of["large"][2]), (BLOCKS // 4, of["few"][2])]
    of_blocks = [of["small"][1], of["large"][1], of["few"][1]]
    block, active = np.maximum(np.linalg.lstsq(np.array(pairs), np.array(of_blocks), rcond=None)[0], 0.0)
    empty, empty_at_worker, full, full_at_worker = of["message"]
    at_worker = max(full_at_worker - empty_at_worker, 0.0) / sizes[1]
    below = float(of["large"][0])
    parted = in_parts(case, below, {n: np.array(one) for n, one in several.items()}, 8 * at_worker)
    model = StepModel(
        below=below + 2 * full_at_worker,
        block=float(block),
        active=float(active),
        label=table_seconds(case),
        message=2 * empty,
        byte=max(full - empty, 0.0) / sizes[1],
        batch_size=case.batch,
        hidden=case.hidden,
        features=case.features,
        values_per_row=case.values_per_row,
        **parted,
    )
    n_active = round(float(of["large"][2]))
    checks = []
    for (workers, parts), values in seconds.items():
        if workers:
            predicted = model.step(
                workers=workers, labels=LABELS, n_active=n_active, rebuild_steps=float("inf"),
                bandwidth=float("inf"), latency=0.0, parts=parts,
            )  # fmt: skip
            check = {"workers": workers, "parts": parts, "measured": quartile(values)}
            spread = {"least": min(values), "most": max(values)}
            checks.append(check | spread | {"predicted": predicted.seconds})
    return {
        "model": attrs.asdict(model),
        "one process": quartile(seconds[0, 1]),
        "checks": checks,
        "labels": LABELS,
        "active": n_active,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--turns", type=int, default=4)
    options = parser.parse_args()
    result = {name: measured(case, options.turns) for name, case in CASES.items()}
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
