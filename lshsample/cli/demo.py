"""The demo: a network trained on real data from a package, compared with two baselines."""

from __future__ import annotations

import time
from typing import Annotated, Any

import attrs
import typer
from rich.table import Table

from lshsample.cli.app import JsonFile, Threads, console, environment, output, write_json
from lshsample.cli.messages import Stopping, exit_if_signalled, set_verbosity, working
from lshsample.config import TrainConfig, build_network, build_trainer
from lshsample.data import Demo, cosine_knn, load_demo
from lshsample.metrics import precision_at_k
from lshsample.nn import Dense, Network
from lshsample.training import ProgressBar

__all__ = ["demo"]

Result = dict[str, Any]
N_EXAMPLES = 3


#: Narrower than the default for this number of rows: as accurate here, in a fifth of the time.
_QUICK: dict[str, Any] = {"hidden": (256,), "dropout": 0.2, "epochs": 4, "lr": 0.0085}


def demo(
    threads: Threads = None,
    seed: Annotated[int, typer.Option(help="Determines every random choice.")] = 0,
    json: JsonFile = None,
) -> None:
    """Train and evaluate on ICD-10-CM diagnosis texts, without a download, in about a minute."""
    console.print(
        "[bold]1.[/] Diagnosis texts of ICD-10-CM, with the headings of the classification as labels."
    )
    with working("making the data"):
        data = load_demo()
    console.print(
        f"   train: {data.train}\n   test:  {data.test}", highlight=False, markup=False, soft_wrap=True
    )
    config = TrainConfig(**_QUICK, seed=seed).resolve(data.train)
    console.print(
        "[bold]2.[/] A network that computes only the output units sampled by hash tables and a uniform draw:"
    )
    sampled = build_network(config, data.train.n_features, data.train.n_labels)
    results = {"LSH-sampled network": _network(data, config, sampled, threads)}
    _show_examples(data, sampled, threads)
    console.print("[bold]3.[/] The same network with the same settings, computing every label in every step:")
    dense = Network([*sampled.spec.layers[:-1], Dense(data.train.n_labels, sampled.loss)], seed=seed)
    results["dense network"] = _network(data, config, dense, threads)
    console.print("[bold]4.[/] Without training: the labels of the 20 nearest texts by cosine.")
    results["cosine 20-NN"] = _neighbours(data)
    output.print(_table(results))
    write_json(json, {"results": results, "config": attrs.asdict(config), **environment(threads)})


def _network(data: Demo, config: TrainConfig, network: Network, threads: int | None) -> Result:
    """Train and evaluate one network."""
    console.print(f"   {network.spec.layers[-1]}", highlight=False, markup=False, soft_wrap=True)
    trainer = build_trainer(config, network, threads=threads, callbacks=[ProgressBar(console), Stopping()])
    with set_verbosity(quiet=False, verbose=False):
        history = trainer.fit(data.train.x, data.train.y)
    exit_if_signalled(history)
    with working("evaluating") as progress:
        measures = network.evaluate(data.test.x, data.test.y, threads=threads, progress=progress)
    extra = {"step_ms_median": history.step_ms_median, "active_mean": history.active_mean}
    return {**measures, "train_seconds": history.seconds, "n_parameters": network.n_parameters, **extra}


def _show_examples(data: Demo, network: Network, threads: int | None) -> None:
    """The predictions for a few test texts."""
    rows = list(range(0, data.test.n_rows, data.test.n_rows // N_EXAMPLES))[:N_EXAMPLES]
    labels, _ = network.predict(data.test.x[rows], top=3, threads=threads)
    for row, found in zip(rows, labels, strict=True):
        console.print(f"   {data.test_texts[row]!r}", highlight=False, markup=False, soft_wrap=True)
        for label in found:
            console.print(f"      {data.label_names[label]}", highlight=False, markup=False, soft_wrap=True)


def _neighbours(data: Demo) -> Result:
    """Evaluate the nearest-neighbour baseline."""
    began = time.perf_counter()
    with working("comparing all texts"):
        labels, _ = cosine_knn(data.train, data.test)
    seconds = time.perf_counter() - began
    return {
        **{f"p@{k}": 100 * precision_at_k(labels, data.test.y, k) for k in (1, 3, 5)},
        "train_seconds": seconds,
    }


def _table(results: dict[str, Result]) -> Table:
    """The results side by side."""
    table = Table("", "P@1", "P@3", "P@5", "seconds", "ms per step", "units per step")
    for name, result in results.items():
        figures = [f"{result[key]:.2f}" for key in ("p@1", "p@3", "p@5")] + [f"{result['train_seconds']:.1f}"]
        steps = [f"{result[key]:.1f}" if key in result else "" for key in ("step_ms_median", "active_mean")]
        table.add_row(name, *figures, *steps)
    return table
