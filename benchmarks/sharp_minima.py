"""Small, large and large sampled batches: test accuracy, and the sharpness of the minima that they find.

``python benchmarks/sharp_minima.py FOLDER docs``: FOLDER has bibtex and debian-tags in XC format. Prints the
tables of docs/sharpness.md and draws its picture; needs matplotlib. All networks are trained until the exact
loss of all training rows is ``EXCESS`` above its least value; the learning rate of a kind of batch is the one
whose networks have the best P@1 on held-out training rows.
"""

from __future__ import annotations

import itertools
import sys
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from seeds import pyplot, spread, whole

from lshsample import Adam, Dense, Network, Sampled, Sparse, Trainer
from lshsample.data import read_xc
from lshsample.metrics import precision_at_k
from lshsample.nn import NetworkObjective, sharpness
from lshsample.training import Callback

DATA = ("bibtex", "debian-tags")
SEEDS, CHOICE_SEED = (0, 1, 2, 3, 4), 99
#: Training rows, those held out, and the commonest features of the training rows, which the others leave.
ROWS, HELD_OUT, FEATURES = 2000, 2000, 2000
#: How far above its least value the loss is at the end, rows from one look at it to the next, and passes.
EXCESS, EVERY, EPOCHS = 0.1, 1000, 200
#: Batch size, the sampler of the last layer, and the learning rates to choose from; of equally good ones the
#: first is taken.
KINDS = {
    "8 rows": (8, "full", (0.01, 0.003, 0.001)),
    "200 rows": (200, "full", (0.03, 0.01, 0.003)),
    "200 rows, LSH": (200, "lsh", (0.03, 0.01, 0.003)),
}
#: Options of the measure, by column.
MEASURES = {
    "eps 1e-3": {"eps": 1e-3},
    "eps 5e-4": {"eps": 5e-4},
    "eps 1e-3, subspace": {"eps": 1e-3, "n_directions": 100},
    "eps 5e-4, subspace": {"eps": 5e-4, "n_directions": 100},
    "scale-free": {"eps": 1e-2, "scale_free": True},
}
COLUMNS = ("passes", "loss above its least", "length of the weights", "P@1, %", *MEASURES)


@attrs.frozen
class Rows:
    """Feature rows and their labels."""

    x: Any
    y: Any

    def least_loss(self) -> float:
        """The mean entropy of the targets, which are even over a row's labels."""
        return float(np.log(np.diff(self.y.indptr)).mean())


def read(folder: Path) -> tuple[Rows, Rows, Rows]:
    """Training rows, held-out training rows and test rows."""
    train, test = read_xc(folder / "train.txt.gz"), read_xc(folder / "test.txt.gz")
    counts = np.bincount(train.x[:ROWS].indices, minlength=train.x.shape[1])
    kept = np.sort(np.argsort(-counts, kind="stable")[:FEATURES])
    x, end = train.x[:, kept], ROWS + HELD_OUT
    return Rows(x[:ROWS], train.y[:ROWS]), Rows(x[ROWS:end], train.y[ROWS:end]), Rows(test.x[:, kept], test.y)


class AtLoss(Callback):
    """Ends a run whose exact loss of all training rows is low enough."""

    def __init__(self, network: Network, rows: Rows, batch_size: int) -> None:
        objective = NetworkObjective(network, rows.x, rows.y, sampled=False, threads=1)
        self.objective, self.target = objective, rows.least_loss() + EXCESS
        self.loss = partial(objective, rows=np.arange(objective.n_rows), seed=0)
        self.every, self.steps, self.reached = EVERY // batch_size, 0, False

    def on_step(self, step: int, report: Any, milliseconds: float) -> bool:
        if step % self.every == 0:
            self.steps, self.reached = step, self.loss(self.objective.weights)[0] <= self.target
        return self.reached


def trained(rows: Rows, kind: str, rate: float, seed: int) -> tuple[Network, AtLoss]:
    """A network, and what ended its training."""
    batch_size, sampler, _ = KINDS[kind]
    units, options = rows.y.shape[1], {}
    if sampler == "lsh":
        options = {"n_active": units // 8, "n_hashes": 4, "n_tables": 8}
        options |= {"active_set": "sample", "importance": "auto"}
    last = Sampled(units, "softmax", sampler=sampler, **options)
    network = Network([Sparse(rows.x.shape[1], weighting="l2"), Dense(24, "relu"), last], seed=seed)
    end = AtLoss(network, rows, batch_size)
    run = {"batch_size": batch_size, "epochs": EPOCHS, "lr": rate, "schedule": "constant", "seed": seed}
    trainer = Trainer(network, optimizer=Adam(), callbacks=[end], threads=1, **run)
    whole(trainer.fit(rows.x, rows.y), "callback")
    return network, end


def accuracy(network: Network, rows: Rows) -> float:
    """P@1 in percent."""
    labels, _ = network.predict(rows.x, top=1, threads=1)
    return 100 * precision_at_k(labels, rows.y, 1)


def chosen_rate(train: Rows, held_out: Rows, kind: str) -> float:
    """The learning rate with the best P@1, of those with which training reaches the loss."""
    scores = {}
    for rate in KINDS[kind][2]:
        network, end = trained(train, kind, rate, CHOICE_SEED)
        scores[rate] = accuracy(network, held_out) if end.reached else -np.inf
    print(f"{kind}: P@1 of held-out rows by rate {scores}", flush=True)
    return max(scores, key=scores.__getitem__)


def measured(parts: tuple[Rows, Rows, Rows], kind: str) -> tuple[float, Any]:
    """The chosen rate of a kind of batch, and an array of seeds and ``COLUMNS``."""
    train, held_out, test = parts
    rate, results = chosen_rate(train, held_out, kind), []
    for seed in SEEDS:
        network, end = trained(train, kind, rate, seed)
        if not end.reached:
            raise RuntimeError(f"{kind}, seed {seed}: the loss was not reached in {EPOCHS} passes")
        weights = end.objective.weights
        found = [sharpness(end.loss, weights, seed=seed, **options) for options in MEASURES.values()]
        passes = end.steps * KINDS[kind][0] / ROWS
        above, length = found[0].loss - train.least_loss(), float(np.linalg.norm(weights))
        results.append([passes, above, length, accuracy(network, test), *(one.value for one in found)])
    return rate, np.array(results)


def difference(ours: Any, theirs: Any) -> str:
    """Mean of the paired differences, with its standard error."""
    pairs = ours - theirs
    return f"{pairs.mean():+.3f} ± {pairs.std(ddof=1) / np.sqrt(len(pairs)):.3f}"


def draw(results: dict[str, dict[str, tuple[float, Any]]], path: Path) -> None:
    """Accuracy by sharpness of every network, plain and scale-free."""
    plt = pyplot()
    figure, axes = plt.subplots(1, 2 * len(results), figsize=(6.4 * len(results), 3), layout="constrained")
    panels = [(name, measure) for name in results for measure in ("eps 1e-3", "scale-free")]
    for axis, (name, measure) in zip(axes, panels, strict=True):
        for kind, (_, rows) in results[name].items():
            axis.plot(rows[:, COLUMNS.index(measure)], rows[:, COLUMNS.index("P@1, %")], "o", label=kind)
        axis.set_title(name)
        axis.set_xlabel(f"sharpness, {measure}")
    axes[0].set_ylabel("P@1 on test rows, %")
    axes[0].legend()
    figure.savefig(path, metadata={"Date": None})


def main(folder: Path, out: Path) -> None:
    """Both tables, and the picture."""
    results = {}
    for name in DATA:
        parts = read(folder / name)
        results[name] = {kind: measured(parts, kind) for kind in KINDS}
    print("data", "batch", "rate", *COLUMNS, sep=" | ")
    for name, kinds in results.items():
        for kind, (rate, rows) in kinds.items():
            print(name, kind, rate, *(spread(column, ".3f") for column in rows.T), sep=" | ")
    print("data", "batch", "less", *COLUMNS[3:], sep=" | ")
    for name, kinds in results.items():
        for less, kind in itertools.combinations(KINDS, 2):
            columns = zip(kinds[kind][1].T[3:], kinds[less][1].T[3:], strict=True)
            print(name, kind, less, *(difference(*pair) for pair in columns), sep=" | ")
    draw(results, out / "sharpness.svg")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python benchmarks/sharp_minima.py FOLDER_OF_DATA FOLDER_OF_PICTURE")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
