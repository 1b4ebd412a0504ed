"""The workload of ``compare`` and ``tune``: a trained layer, the rows of a data file, or synthetic rows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lshsample.cli.app import console
from lshsample.cli.messages import working
from lshsample.cli.reading import ReadOptions, is_pipe, load_data, load_rows
from lshsample.compare.sources import is_hdf5
from lshsample.compare.workloads import TOP, Workload
from lshsample.errors import ArgumentError
from lshsample.xc import load_network

__all__ = ["ROWS_HELP", "LayerModel", "MostItems", "load_workload"]

#: What the files of rows are, for the help of commands.
ROWS_HELP = (
    "Data: HDF5 of ann-benchmarks, NumPy .npy, SciPy .npz, XC text or libsvm (plain or compressed), or a "
    "data set in npz; - for standard input. "
)
LayerModel = Annotated[
    Path | None, typer.Option(help="Folder of a trained model; the units of its last layer are the items.")
]
MostItems = Annotated[int | None, typer.Option(min=100, help="Largest number of items.")]


def load_workload(
    file: Path | None,
    model: Path | None,
    items: int | None,
    queries: int,
    seed: int,
    reading: ReadOptions,
    threads: int | None,
    *,
    k: int = TOP,
    metric: str | None = None,
) -> Workload:
    """The workload of the arguments, described in a line on standard error; synthetic without a file."""
    sizes: dict[str, Any] = {"n_queries": queries, "seed": seed, "k": k}
    if file is not None and model is not None:
        network = load_network(model)
        rows = load_data(file, reading, threads, network.n_features).x
        with working("finding the nearest units"):
            workload = Workload.of_layer(network, rows, n_items=items, metric=metric or "inner", **sizes)
    elif file is not None:
        if not is_pipe(file) and is_hdf5(file):
            for option in reading.given():
                name = f"--{option.replace('_', '-')}"
                raise ArgumentError(name, f"given for {file.name}", "left out for HDF5")
            with working(f"reading {file}"):
                workload = Workload.of_file(file, n_items=items, metric=metric, **sizes)
        else:
            x, name = load_rows(file, reading, threads), f"rows of {file.name}"
            with working("finding the nearest items"):
                workload = Workload.of_rows(name, x, n_items=items, metric=metric or "inner", **sizes)
    elif model is not None:
        raise ArgumentError("FILE", "nothing", "a data file whose rows are inputs of the model")
    else:
        with working("finding the nearest items"):
            workload = Workload.synthetic(items or 20_000, metric=metric or "inner", **sizes)
    console.print(
        f"{workload.name}: {workload.n_items:,} items of {workload.dim:,} columns, "
        f"{workload.n_queries:,} queries, {workload.metric} metric",
        highlight=False, markup=False, soft_wrap=True,
    )  # fmt: skip
    return workload
