"""Small, large and large sampled batches: test accuracy, and the sharpness of the minima that they find.

``python benchmarks/sharp_minima.py FOLDER docs``: FOLDER has bibtex and delicious in XC format. Prints the
table of docs/sharpness.md and draws its picture; needs matplotlib. A learning rate is the one with the
best P@1 on held-out training rows.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from seeds import pyplot, spread

from lshsample import Adam, Dense, Network, Sampled, Sparse, Trainer
from lshsample.data import read_xc
from lshsample.metrics import precision_at_k
from lshsample.nn import NetworkObjective, sharpness

DATA = ("bibtex", "delicious")
SEEDS = (0, 1, 2, 3, 4)
ROWS, HELD_OUT, MEASURED, EPOCHS = 2000, 400, 300, 8
#: Batch size, and the sampler of the last layer.
KINDS = {
    "32 rows": (32, "full"),
    "200 rows": (200, "full"),
    "200 rows, LSH": (200, "lsh"),
}
RATES = (0.003, 0.01)
#: Options of the measure, by column.
MEASURES = {
    "eps 1e-3": {"eps": 1e-3},
    "eps 5e-4": {"eps": 5e-4},
    "eps 1e-3, subspace": {"eps": 1e-3, "n_directions": 100},
    "eps 5e-4, subspace": {"eps": 5e-4, "n_directions": 100},
    "scale-free": {"eps": 1e-2, "scale_free": True},
}


def trained(x: Any, y: Any, kind: str, rate: float, seed: int) -> Any:
    """A network after the same number of passes."""
    batch_size, sampler = KINDS[kind]
    options = {} if sampler == "full" else {"n_active": y.shape[1] // 8}
    if sampler == "lsh":
        options |= {"n_hashes": 4, "n_tables": 8}
    last = Sampled(y.shape[1], "softmax", sampler=sampler, **options)
    network = Network([Sparse(x.shape[1], weighting="l2"), Dense(24, "relu"), last], seed=seed)
    run = {"batch_size": batch_size, "epochs": EPOCHS, "lr": rate, "seed": seed, "threads": 1}
    Trainer(network, optimizer=Adam(), **run).fit(x, y)
    return network


def measured(folder: Path) -> dict[str, Any]:
    """Training loss, P@1 on test rows and all measures, for each kind and seed; and the chosen rates."""
    train, test = read_xc(folder / "train.txt.gz"), read_xc(folder / "test.txt.gz")
    x, y = train.x[:ROWS], train.y[:ROWS]
    held_out = slice(ROWS, ROWS + HELD_OUT)
    out = {}
    for kind in KINDS:
        scores = []
        for rate in RATES:
            labels, _ = trained(x, y, kind, rate, 99).predict(train.x[held_out], top=1, threads=1)
            scores.append(precision_at_k(labels, train.y[held_out], 1))
        rate, rows = RATES[int(np.argmax(scores))], []
        for seed in SEEDS:
            network = trained(x, y, kind, rate, seed)
            labels, _ = network.predict(test.x, top=1, threads=1)
            objective = NetworkObjective(network, x[:MEASURED], y[:MEASURED], sampled=False, threads=1)
            loss = partial(objective, rows=np.arange(objective.n_rows), seed=0)
            weights = objective.weights
            found = [sharpness(loss, weights, seed=seed, **options) for options in MEASURES.values()]
            accuracy = 100 * precision_at_k(labels, test.y, 1)
            rows.append([found[0].loss, accuracy, *(one.value for one in found)])
        out[kind] = np.array(rows), rate
    return out


def draw(results: dict[str, Any], path: Path) -> None:
    """Accuracy by sharpness of every network, plain and scale-free."""
    plt = pyplot()
    figure, axes = plt.subplots(1, 2 * len(results), figsize=(6.4 * len(results), 3), layout="constrained")
    panels = [(name, column) for name in results for column in (2, 2 + len(MEASURES) - 1)]
    for axis, (name, column) in zip(axes, panels, strict=True):
        for kind, (rows, _) in results[name].items():
            axis.plot(rows[:, column], rows[:, 1], "o", label=kind)
        axis.set_title(name)
        axis.set_xscale("log")
        axis.set_xlabel(f"sharpness, {list(MEASURES)[column - 2]}")
    axes[0].set_ylabel("P@1 on test rows, %")
    axes[0].legend()
    figure.savefig(path, metadata={"Date": None})


def main(folder: Path, out: Path) -> None:
    """The table, and the picture."""
    results = {}
    print("data", "batch", "rate", "training loss", "P@1", *MEASURES, sep=" | ")
    for name in DATA:
        results[name] = measured(folder / name)
        for kind, (rows, rate) in results[name].items():
            columns = [spread(rows[:, k], ".2f") for k in range(rows.shape[1])]
            print(name, kind, rate, *columns, sep=" | ", flush=True)
    draw(results, out / "sharpness.svg")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python benchmarks/sharp_minima.py FOLDER_OF_DATA FOLDER_OF_PICTURE")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
