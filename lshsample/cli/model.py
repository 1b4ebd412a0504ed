"""Commands that use a trained model: evaluate and predict."""

from __future__ import annotations

import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from lshsample.cli.app import (
    STDOUT,
    JsonFile,
    Threads,
    check_shape,
    check_writable,
    console,
    environment,
    output,
    run_figures,
    write_json,
)
from lshsample.cli.messages import working
from lshsample.cli.reading import FILES, ReadOptions, load_data, reads_data
from lshsample.cli.serving import ServingFamily, ServingPipeline, ServingTables, serving_sampler
from lshsample.data import write_predictions
from lshsample.nn import Network
from lshsample.training.history import peak_rss_mib

__all__ = ["evaluate", "load_model", "predict"]


class Mode(StrEnum):
    """Which labels are scored."""

    exact = "exact"
    sampled = "sampled"


ModelPath = Annotated[
    Path, typer.Argument(metavar="MODEL", help="Folder written by train --save, or by Network.save.")
]
DataPath = Annotated[Path, typer.Argument(metavar="FILE", help=f"Data: {FILES}")]
ModeOption = Annotated[Mode, typer.Option(help="Score all labels, or those retrieved from the tables.")]


def load_model(path: Path) -> Network:
    """A saved network."""
    with working(f"loading {path}"):
        return Network.load(path)


@reads_data
def evaluate(
    model: ModelPath,
    file: DataPath,
    mode: ModeOption = Mode.exact,
    family: ServingFamily = None,
    n_tables: ServingTables = 50,
    sampler: ServingPipeline = "Retrieve()",
    threads: Threads = None,
    json: JsonFile = None,
    *,
    reading: ReadOptions,
) -> None:
    """Compute P@1, P@3 and P@5 of a model on a data file."""
    network = load_model(model)
    data = load_data(file, reading, threads, network.n_features, network.n_labels)
    check_shape(network, data, "FILE")
    serving = serving_sampler(network, mode.value, family, n_tables, sampler, threads)
    began = time.perf_counter()
    with working(f"evaluating {file}") as progress:
        measures = network.evaluate(
            data.x, data.y, mode=mode.value, sampler=serving, threads=threads, progress=progress
        )
    seconds = time.perf_counter() - began
    for name, value in measures.items():
        output.print(f"{name.upper()} {value:.2f} %", highlight=False)
    result = {
        "mode": mode.value,
        "sampler": None if serving is None else f"{serving.pipeline} over {family}, {n_tables} tables",
        "rows": data.n_rows,
        "evaluate_seconds": seconds,
        "n_parameters": network.n_parameters,
    }
    facts = {"seed": network.spec.seed, "peak_rss_mib": peak_rss_mib(), **environment(threads)}
    precisions = {f"p@{k}": measures.get(f"p@{k}") for k in (1, 3, 5)}
    write_json(json, {**run_figures(model), **precisions, **result, **facts})


@reads_data
def predict(
    model: ModelPath,
    file: DataPath,
    top: Annotated[
        int | None, typer.Option(min=1, help="Labels per row.", show_default="5, or all if there are fewer")
    ] = None,
    mode: ModeOption = Mode.exact,
    family: ServingFamily = None,
    n_tables: ServingTables = 50,
    sampler: ServingPipeline = "Retrieve()",
    output: Annotated[
        Path | None,
        typer.Option(help="The file to write.", show_default="standard output", callback=check_writable),
    ] = None,
    threads: Threads = None,
    *,
    reading: ReadOptions,
) -> None:
    """Write the best labels of each row as a line: label:score label:score ..."""
    network = load_model(model)
    data = load_data(file, reading, threads, network.n_features)
    check_shape(network, data, "FILE", labels=False)
    serving = serving_sampler(network, mode.value, family, n_tables, sampler, threads)
    with working(f"predicting {file}") as progress:
        labels, scores = network.predict(
            data.x, top=top, mode=mode.value, sampler=serving, threads=threads, progress=progress
        )
    write_predictions(sys.stdout.buffer if output in (None, STDOUT) else output, labels, scores)
    console.print(f"{data.n_rows} rows predicted")
