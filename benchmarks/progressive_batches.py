"""Progressive-batching L-BFGS beside SGD and Adam, at equal numbers of gradients of single rows.

``python benchmarks/progressive_batches.py FOLDER docs``: FOLDER has the data sets in XC format, each a folder
with train.txt.gz and test.txt.gz. Prints the tables of docs/quasi-newton.md and draws its picture; needs
matplotlib. Learning rates and first batches are chosen on training rows that are held out.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.optimize
import scipy.sparse as sp
from seeds import pyplot, spread, whole

from lshsample import SGD, Adam, Dense, Network, Sampled, Sparse, Trainer
from lshsample.data import read_xc
from lshsample.metrics import precision_at_k
from lshsample.nn import NetworkObjective, ProgressiveLBFGS

DATA = ("bibtex", "delicious", "citeulike-t", "debian-tags")
SEEDS = (0, 1, 2)
ROWS, HELD_OUT, EPOCHS, PENALTY = 2500, 500, 20, 1e-4
#: What is chosen on held-out rows: learning rates, and the size of the first batches.
CHOICES = {
    "L-BFGS": (16, 64, 256, 1024, ROWS),
    "SGD": (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0),
    "Adam": (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3),
}


def logistic(x: Any, y: Any) -> Callable[[Any, Any, int], tuple[float, Any]]:
    """Mean logistic loss of rows with a squared penalty, and its gradient; y is +1 or -1."""

    def objective(weights: Any, rows: Any, seed: int) -> tuple[float, Any]:
        part, signs = x[rows], y[rows]
        margins = signs * (part @ weights)
        slopes = -signs * np.exp(-np.logaddexp(0, margins))
        loss = float(np.logaddexp(0, -margins).mean()) + PENALTY / 2 * float(weights @ weights)
        return loss, slopes @ part / len(rows) + PENALTY * weights

    return objective


def first_order(objective: Any, n: int, d: int, name: str, rate: float, seed: int, marks: Any) -> Any:
    """Weights of SGD or Adam with batches of 32 after each number of gradients in ``marks``."""
    rng, w, m, v, out, done, t = np.random.default_rng(seed), np.zeros(d), 0.0, 0.0, [], 0, 0
    for mark in marks:
        while done < mark:
            t += 1
            gradient = objective(w, rng.integers(0, n, 32), 0)[1]
            done += 32
            if name == "SGD":
                w = w - rate * gradient / (1 + 5 * done / (n * EPOCHS))
                continue
            m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
            w = w - rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        out.append(w)
    return out


def quasi_newton(objective: Any, n: int, d: int, first: int, seed: int, marks: Any) -> tuple[Any, list[int]]:
    """The same of L-BFGS, with the batch size at each mark."""
    optimizer, done, out, sizes = ProgressiveLBFGS(np.zeros(d), n, batch_size=first, seed=seed), 0, [], []
    for mark in marks:
        while done < mark:
            done += optimizer.step(objective).evaluations
        out.append(optimizer.weights)
        sizes.append(optimizer.batch_size)
    return out, sizes


def regression(folder: Path) -> dict[str, Any]:
    """Excess of the training objective by method, seed and mark, and the test error at the end."""
    train, test = read_xc(folder / "train.txt.gz"), read_xc(folder / "test.txt.gz")
    x = sp.csr_array(train.x[: ROWS + HELD_OUT], dtype=np.float64)
    commonest = int(np.argmax(np.bincount(train.y.indices)))

    def signs(y: Any) -> Any:
        return np.where(y[:, [commonest]].toarray()[:, 0] > 0, 1.0, -1.0)

    length = np.sqrt(x.multiply(x).sum(axis=1)).mean()
    x, y = x / length, signs(train.y[: ROWS + HELD_OUT])
    test_x, test_y = sp.csr_array(test.x, dtype=np.float64) / length, signs(test.y)
    n, d, every = ROWS, x.shape[1], np.arange(ROWS)
    objective, marks = logistic(x[:n], y[:n]), ROWS * np.array([1, 2, 5, 10, EPOCHS])
    best = scipy.optimize.minimize(
        lambda w: objective(w, every, 0),
        np.zeros(d),
        jac=True,
        method="L-BFGS-B",
        options={"ftol": 1e-15, "gtol": 1e-9, "maxiter": 3000},
    ).fun
    held_out, chosen = logistic(x[n:], y[n:]), {}

    def run(name: str, choice: Any, seed: int, marks: Any) -> tuple[Any, list[int]]:
        if name == "L-BFGS":
            return quasi_newton(objective, n, d, choice, seed, marks)
        return first_order(objective, n, d, name, choice, seed, marks), []

    for name, choices in CHOICES.items():
        ends = [run(name, choice, 99, marks[-1:])[0][0] for choice in choices]
        losses = [held_out(w, np.arange(HELD_OUT), 0)[0] for w in ends]
        chosen[name] = choices[int(np.argmin(losses))]
    out: dict[str, Any] = {"marks": marks / n, "chosen": chosen}
    for name in CHOICES:
        excess, errors, sizes = [], [], []
        for seed in SEEDS:
            found, batch = run(name, chosen[name], seed, marks)
            sizes.append(batch)
            excess.append([objective(w, every, 0)[0] - best for w in found])
            errors.append(float((np.sign(test_x @ found[-1]) != test_y).mean()))
        out[name] = np.array(excess), np.array(errors), np.array(sizes)
    return out


def network_runs(folder: Path) -> dict[str, Any]:
    """Exact training loss and P@1 on test rows of a small network, by method and seed."""
    train, test = read_xc(folder / "train.txt.gz"), read_xc(folder / "test.txt.gz")
    x, y = train.x[: ROWS + HELD_OUT], train.y[: ROWS + HELD_OUT]
    every, out = np.arange(ROWS), {}

    def make(seed: int, sampler: str) -> Any:
        last = Sampled(y.shape[1], "softmax", sampler=sampler, n_active=40, importance="auto")
        return Network([Sparse(x.shape[1], weighting="l2"), Dense(32, "tanh"), last], seed=seed)

    def by_trainer(seed: int, sampler: str, optimizer: Any, rate: float) -> Any:
        network = make(seed, sampler)
        options = {"batch_size": 64, "epochs": EPOCHS, "lr": rate, "seed": seed, "threads": 1}
        whole(Trainer(network, optimizer=optimizer, **options).fit(x[:ROWS], y[:ROWS]))
        return network

    def by_quasi_newton(seed: int, sampler: str, first: int) -> Any:
        network, done = make(seed, sampler), 0
        objective = NetworkObjective(network, x[:ROWS], y[:ROWS], threads=1)
        optimizer = ProgressiveLBFGS(objective.weights, objective.n_rows, batch_size=first, seed=seed)
        while done < EPOCHS * objective.n_rows:
            done += optimizer.step(objective).evaluations
        objective(optimizer.weights, every[:1], 0)
        network.batch_size_at_the_end = optimizer.batch_size
        return network

    for sampler in ("full", "uniform"):
        for name, optimizer, choices in (
            ("L-BFGS", None, CHOICES["L-BFGS"]),
            ("SGD", SGD(), (0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)),
            ("Adam", Adam(), (0.001, 0.003, 0.01, 0.03, 0.1)),
        ):

            def run(seed: int, choice: Any, sampler: str = sampler, optimizer: Any = optimizer) -> Any:
                if optimizer is None:
                    return by_quasi_newton(seed, sampler, choice)
                return by_trainer(seed, sampler, optimizer, choice)

            scores = [run(99, choice).evaluate(x[ROWS:], y[ROWS:])["p@1"] for choice in choices]
            found, rows = choices[int(np.argmax(scores))], []
            for seed in SEEDS:
                net = run(seed, found)
                exact = NetworkObjective(net, x[:ROWS], y[:ROWS], sampled=False, threads=1)
                loss = exact(exact.weights, np.arange(exact.n_rows), 0)[0]
                labels, _ = net.predict(test.x, top=1, threads=1)
                size = getattr(net, "batch_size_at_the_end", 64)
                rows.append([loss, 100 * precision_at_k(labels, test.y, 1), size])
            out[sampler, name] = np.array(rows), found
    return out


def draw(results: dict[str, Any], path: Path) -> None:
    """Excess loss by passes over the rows, one panel a data set."""
    plt = pyplot()
    figure, axes = plt.subplots(1, len(results), figsize=(3.2 * len(results), 3), layout="constrained")
    for axis, (name, result) in zip(axes, results.items(), strict=True):
        for method in CHOICES:
            excess = result[method][0]
            (line,) = axis.loglog(result["marks"], excess.mean(axis=0), "o-", label=method)
            low, high = excess.min(axis=0), excess.max(axis=0)
            axis.fill_between(result["marks"], low, high, alpha=0.2, color=line.get_color())
        axis.set_title(name)
        axis.set_xlabel("passes over the rows")
    axes[0].set_ylabel("training objective above its minimum")
    axes[0].legend()
    figure.savefig(path, metadata={"Date": None})


def main(folder: Path, out: Path) -> None:
    """All tables, and the picture."""
    results = {}
    print(
        "data | method | chosen | above the minimum, 5 passes | 20 passes | test error % | batch at the end"
    )
    for name in DATA:
        results[name] = result = regression(folder / name)
        for method in CHOICES:
            excess, errors, sizes = result[method]
            last = f"{np.mean(sizes[:, -1]):.0f}" if sizes.size else "32"
            columns = spread(excess[:, 2], ".1e"), spread(excess[:, -1], ".1e"), spread(100 * errors, ".2f")
            print(name, method, result["chosen"][method], *columns, last, sep=" | ", flush=True)
    draw(results, out / "quasi-newton.svg")
    print("last layer | method | chosen | exact training loss | P@1 | batch at the end")
    for (sampler, method), (rows, choice) in network_runs(folder / "bibtex").items():
        loss, p1, size = rows.T
        columns = spread(loss, ".3f"), spread(p1, ".2f"), spread(size, ".0f")
        print(sampler, method, choice, *columns, sep=" | ", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python benchmarks/progressive_batches.py FOLDER_OF_DATA FOLDER_OF_PICTURE")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
