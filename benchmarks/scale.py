"""Time and memory of a training step against labels, features, active units, width, batch and threads.

``python benchmarks/scale.py --out scale.json`` measures, each point in a process of its own, and all points
in turns (``--rounds``), so that a slow phase of the machine affects all of them; a run that is repeated adds
its turns to those of the file. ``--only labels`` measures one axis, ``--at labels=10000000`` adds a point to
it, ``--just`` measures no others; ``--precision bfloat16`` and ``--usual hidden=128`` change all points.
``python tools/plot_scale.py scale.json scale.svg`` draws the file, with the slopes.

A point is a network of sparse features, one dense layer and a sampled output (``lsh``: simhash tables),
trained on made-up rows. ``seconds`` and ``processor_seconds`` are those of each step: the processor's do not
grow while others use the machine. ``peak_bytes`` is the process's largest resident memory, and ``base_bytes``
what it had before the network was made.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import scipy.sparse as sp

#: What is measured where an axis does not say otherwise.
USUAL = {"labels": 100_000, "features": 100_000, "active": 2_000, "hidden": 64, "batch": 256, "threads": 1}
AXES = {
    "labels": (10_000, 30_000, 100_000, 300_000, 1_000_000),
    "features": (10_000, 100_000, 1_000_000),
    "active": (500, 1_000, 2_000, 4_000, 8_000),
    "hidden": (32, 64, 128, 256),
    "batch": (64, 128, 256, 512),
    "threads": (1, 2),
}
FEATURES_EACH, LABELS_EACH, BATCHES, WARM = 50, 5, 8, 4


def rows(rng, n, columns, each, positive):
    """Rows with up to ``each`` columns, low ones more frequent, as for words."""
    drawn = [np.unique((rng.random(each) ** 3 * columns).astype(np.int32)) for _ in range(n)]
    indptr = np.concatenate([[0], np.cumsum([len(one) for one in drawn])])
    values = rng.random(indptr[-1], np.float32) if positive else np.ones(indptr[-1], np.float32)
    return sp.csr_array((values, np.concatenate(drawn), indptr), shape=(n, columns))


def peak_bytes():
    """The largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(point, steps, precision):
    """The times of the steps, and the memory, of one point."""
    from lshsample.nn import Adam, Dense, Network, Sampled, Sparse
    from lshsample.nn.signals import Run

    rng = np.random.default_rng(0)
    batches = [
        (
            rows(rng, point["batch"], point["features"], FEATURES_EACH, True),
            rows(rng, point["batch"], point["labels"], LABELS_EACH, False),
        )
        for _ in range(BATCHES)
    ]
    base = peak_bytes()
    layers = [
        Sparse(point["features"]),
        Dense(point["hidden"]),
        Sampled(point["labels"], sampler="lsh", n_active=point["active"], rehash=0),
    ]
    optimizer, seconds, processor, active = Adam(), [], [], []
    began = time.perf_counter()
    network = Network(layers, precision=precision)
    network.allocate(optimizer.slots, point["threads"])
    for step in range(WARM + steps):
        x, y = batches[step % BATCHES]
        run = Run(point["threads"], 0, step + 1, training=True, sampled=True, targets=y)
        start, used = time.perf_counter(), time.process_time()
        active.append(network.train_step(x, y, optimizer, 1e-3, run).active)
        seconds.append(time.perf_counter() - start)
        processor.append(time.process_time() - used)
        if step == 0:
            build = time.perf_counter() - began
    return {
        "seconds": [round(one, 6) for one in seconds[WARM:]],
        "processor_seconds": [round(one, 6) for one in processor[WARM:]],
        "active": int(np.median(active)),
        "build_seconds": round(build, 3),
        "parameter_bytes": sum(parameter.raw.data.nbytes for parameter in network.parameters),
        "peak_bytes": peak_bytes(),
        "base_bytes": base,
    }


def size(text):
    """An axis and a size, of ``axis=size``."""
    axis, _, value = text.partition("=")
    return axis, int(value)


def points(given):
    """(axis, point) of the run: one size differs from the usual ones."""
    usual = USUAL | dict(map(size, given.usual))
    for axis in given.only or AXES:
        extra = [value for name, value in map(size, given.at) if name == axis]
        for value in sorted({*AXES[axis], *extra}) if not given.just else extra:
            yield axis, usual | {axis: value}


def main():
    parser = argparse.ArgumentParser(description="Time and memory of a training step against its sizes.")
    parser.add_argument("--out", type=Path, required=True, help="the file to write, or to add to")
    parser.add_argument("--only", nargs="+", choices=AXES, help="axes; all by default")
    parser.add_argument("--at", nargs="+", default=[], metavar="AXIS=N", help="more points of an axis")
    parser.add_argument("--just", action="store_true", help="the points of --at alone")
    parser.add_argument("--rounds", type=int, default=3, help="turns through all points")
    parser.add_argument("--steps", type=int, default=20, help="steps that are timed in a turn")
    parser.add_argument("--usual", nargs="+", default=[], metavar="AXIS=N", help="other sizes of all points")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--point", type=json.loads, help=argparse.SUPPRESS)  # in the process of a point
    given = parser.parse_args()
    if given.point:
        print(json.dumps(measure(given.point, given.steps, given.precision)))
        return
    from lshsample.compare.environment import describe_machine

    found = json.loads(given.out.read_text()) if given.out.exists() else []
    machine = describe_machine(None)
    for turn, (axis, point) in itertools.product(range(given.rounds), list(points(given))):
        words = [sys.executable, __file__, "--out", str(given.out), "--steps", str(given.steps)]
        words += ["--precision", given.precision, "--point", json.dumps(point)]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        measured = json.loads(done.stdout)
        about = {"axis": axis, "point": point, "precision": given.precision, "machine": machine}
        found.append(about | measured)
        least = 1e3 * min(measured["processor_seconds"])
        print(f"turn {turn}: {axis} {point[axis]:,}: {least:.2f} ms of the processor", flush=True)
        given.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
