"""Sampled losses with and without importance weights on the demo data: the table in docs/probabilities.md.

``python tools/measure_importance.py --seeds 3 --threads 2`` prints it, in about five minutes. Needs
``pip install 'lshsample[demo]'``.
"""

from __future__ import annotations

import argparse

import numpy as np

from lshsample.config import TrainConfig, build_network, build_trainer
from lshsample.data import Demo, load_demo

__all__ = ["CASES", "measure"]

#: Pipeline, budget, and corrections of the loss.
CASES = [
    ("uniform", 500, ("off", "auto")),
    ("Retrieve() | Top(375) | Include() | Uniform(125)", 500, ("off", "auto")),
    ("uniform", 2_000, ("off", "auto")),
    ("full", 0, ("off",)),
]


def measure(data: Demo, sampler: str, budget: int, importance: str, seeds: int, threads: int) -> str:
    """Mean P@1 and P@5 in percent over seeds, after five epochs each."""
    found = []
    for seed in range(seeds):
        config = TrainConfig(
            sampler=sampler, n_active=budget or None, importance=importance, epochs=5, seed=seed
        ).resolve(data.train)
        network = build_network(config, data.train.n_features, data.train.n_labels)
        history = build_trainer(config, network, threads=threads).fit(data.train.x, data.train.y)
        if history.stopped != "finished":  # by a signal
            raise SystemExit(f"the run was stopped by {history.stopped}")
        measures = network.evaluate(data.test.x, data.test.y, threads=threads)
        found.append((measures["p@1"], measures["p@5"]))
    return " / ".join(f"{value:.1f}" for value in np.mean(found, axis=0))


def main() -> None:
    """Print the table line by line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    data = load_demo()
    print("| sampler, budget | off | corrected |\n|---|---|---|", flush=True)
    for sampler, budget, corrections in CASES:
        figures = [
            measure(data, sampler, budget, importance, chosen.seeds, chosen.threads)
            for importance in corrections
        ]
        name = sampler.replace("|", "\\|")
        print(f"| `{name}`, {budget or 'all'} | {' | '.join(figures)} |", flush=True)


if __name__ == "__main__":
    main()
