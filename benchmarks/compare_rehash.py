"""Accuracy and time of training with each way to rehash, beside training without any.

``python benchmarks/compare_rehash.py FOLDER... --out runs.jsonl`` trains a network with the default
settings of ``lshsample train --preset network`` on 80 % of the rows of ``train.txt.gz`` of each folder (XC
format) with each seed: without rehashing, with the tables rebuilt at once, and with them rebuilt in slices.
Layers of few labels sample an eighth of them. It evaluates each network on the other 20 % of the rows and on
``test.txt.gz``, writes a line of JSON for each, skips what the file has, so that an interrupted comparison
continues, and prints means and standard deviations over seeds. Times are processor time of one thread,
as ratios to the run of the same seed without rehashing.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import attrs
import numpy as np
from seeds import spread, whole

from lshsample.config import TrainConfig, build_network, build_trainer
from lshsample.data import Dataset, read_xc
from lshsample.nn import Network
from lshsample.sampling import Rehash

SCHEDULES = {"never": Rehash(0), "rebuild": Rehash(), "sliced": Rehash(strategy="sliced")}
FEW_LABELS = 8192


def halves(data: Dataset) -> tuple[Dataset, Dataset]:
    """80 % of the rows, to train on, and the other 20 %."""
    order = np.random.default_rng(0).permutation(data.x.shape[0])
    cut = len(order) * 4 // 5
    return tuple(
        attrs.evolve(data, x=data.x[np.sort(ids)], y=data.y[np.sort(ids)])
        for ids in (order[:cut], order[cut:])
    )


def run(parts: dict[str, Dataset], name: str, seed: int, hidden: str | None, epochs: int | None) -> dict:
    """Train and evaluate one network."""
    train = parts["train"]
    n_labels = train.y.shape[1]
    few = n_labels // 8 if n_labels <= FEW_LABELS else None
    config = TrainConfig(seed=seed, n_active=few, hidden=hidden, epochs=epochs).resolve(train)
    spec = build_network(config, train.x.shape[1], n_labels).spec
    *others, last = spec.layers
    network = Network([*others, attrs.evolve(last, rehash=SCHEDULES[name])], spec.seed)
    trainer = build_trainer(config, network, threads=1)
    began = time.process_time()
    whole(trainer.fit(train.x, train.y))
    seconds = time.process_time() - began
    found = {part: network.evaluate(parts[part].x, parts[part].y, threads=1) for part in ("held out", "test")}
    return {
        "rehash": name,
        "seed": seed,
        "seconds": round(seconds, 2),
        "steps": trainer.state.step,
        "builds": network.sampled_layers[0].active.n_builds,
        **{part: {key: values[key] for key in ("p@1", "p@3", "p@5")} for part, values in found.items()},
    }


def report(runs: list[dict]) -> None:
    """Print means and standard deviations over seeds."""
    for folder, name in dict.fromkeys((one["folder"], one["rehash"]) for one in runs):
        some = [one for one in runs if (one["folder"], one["rehash"]) == (folder, name)]
        base = {
            one["seed"]: one["seconds"] for one in runs if (one["folder"], one["rehash"]) == (folder, "never")
        }
        ratios = [one["seconds"] / base[one["seed"]] for one in some]
        found = "  ".join(
            f"{part} {spread([one[part]['p@1'] for one in some], '.2f')}" for part in ("held out", "test")
        )
        print(
            f"{folder:14s} {name:8s} P@1 {found}  time {spread(ratios, '.3f')}  "
            f"{some[0]['builds']} builds in {some[0]['steps']} steps, {len(some)} seeds"
        )


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--hidden", default=None, help="width of the hidden layer")
    parser.add_argument("--epochs", type=int, default=None)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    lines = options.out.read_text().splitlines() if options.out.exists() else []
    runs = [json.loads(line) for line in lines]
    done = {(one["folder"], one["rehash"], one["seed"]) for one in runs}
    for folder in options.folders:
        train, held_out = halves(read_xc(folder / "train.txt.gz"))
        parts = {"train": train, "held out": held_out, "test": read_xc(folder / "test.txt.gz")}
        for seed in range(options.seeds):
            for name in SCHEDULES:
                if (folder.name, name, seed) in done:
                    continue
                runs.append({"folder": folder.name, **run(parts, name, seed, options.hidden, options.epochs)})
                with options.out.open("a") as file:
                    file.write(json.dumps(runs[-1]) + "\n")
    report(runs)


if __name__ == "__main__":
    main()
