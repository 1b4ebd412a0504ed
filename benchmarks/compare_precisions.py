"""Accuracy of networks whose weights are trained in few bits, beside float32.

``python benchmarks/compare_precisions.py FOLDER... --out runs.jsonl`` trains a network with the default
settings of ``lshsample train --preset network`` on ``train.txt.gz`` of each folder (XC format), in each
precision and with each seed, and evaluates it on ``test.txt.gz``. It writes a line of JSON for each, skips
what the file has, so that an interrupted comparison continues, and prints means and standard
deviations over seeds, with the memory of weights and optimizer state. One thread.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from seeds import whole

from lshsample.config import TrainConfig, build_network, build_trainer
from lshsample.data import read_xc

#: What makes a run, besides its folder and seed.
KIND = ("precision", "moments", "cache_share")


def run(
    folder: Path,
    seed: int,
    *,
    precision: str,
    moments: str | None,
    cache_share: float | None,
    epochs: int | None,
) -> dict:
    """Train and evaluate one network."""
    train, test = (read_xc(folder / f"{part}.txt.gz") for part in ("train", "test"))
    config = TrainConfig(
        seed=seed, precision=precision, moments=moments, cache_share=cache_share, epochs=epochs
    ).resolve(train)
    network = build_network(config, train.x.shape[1], train.y.shape[1])
    trainer = build_trainer(config, network, threads=1)
    history = whole(trainer.fit(train.x, train.y))
    return {
        "folder": folder.name,
        "precision": precision,
        "moments": moments,
        "seed": seed,
        "cache_share": cache_share,
        "epochs": config.epochs,
        "parameter_bytes": network.memory_needed(trainer.settings.optimizer.slots)["parameters"],
        "seconds": round(history.seconds, 1),
        **network.evaluate(test.x, test.y, threads=1),
    }


def report(runs: list[dict]) -> None:
    """Print means and standard deviations over seeds."""
    for key in dict.fromkeys((one["folder"], *kind(one)) for one in runs):
        some = [one for one in runs if (one["folder"], *kind(one)) == key]
        found = np.array([[one["p@1"], one["p@3"], one["p@5"]] for one in some])
        means = " / ".join(f"{m:.2f} ({s:.2f})" for m, s in zip(found.mean(0), found.std(0), strict=True))
        megabytes = some[0]["parameter_bytes"] / 1e6
        name = f"{key[0]:14s} {key[1]:9s} moments {key[2]} cache {key[3]}"
        print(f"{name}  {means}  {len(some)} seeds  {megabytes:.1f} MB")


def kind(one: dict) -> tuple:
    """What makes the run, besides its folder and seed."""
    return tuple(one.get(name) for name in KIND)


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--precisions", default="float32,int8,int4")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--moments", default=None, help="runs without and with it: float8, or float4 of int8, int4"
    )
    parser.add_argument("--cache-share", type=float, default=None)
    parser.add_argument("--epochs", type=int, default=None)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    lines = options.out.read_text().splitlines() if options.out.exists() else []
    runs = [json.loads(line) for line in lines]
    done = {(one["folder"], one["seed"], *kind(one)) for one in runs}
    kinds: dict[tuple, None] = {}
    for precision in options.precisions.split(","):
        coded = precision.startswith("int")
        fits = options.moments == ("float4" if coded else "float8")
        for moments in (None, options.moments) if fits else (None,):
            kinds[precision, moments, options.cache_share if coded else None] = None
    for folder in options.folders:
        for seed in range(options.seeds):
            for each in kinds:
                if (folder.name, seed, *each) in done:
                    continue
                named = dict(zip(KIND, each, strict=True))
                runs.append(run(folder, seed, **named, epochs=options.epochs))
                with options.out.open("a") as file:
                    file.write(json.dumps(runs[-1]) + "\n")
    report(runs)


if __name__ == "__main__":
    main()
