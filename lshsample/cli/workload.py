"""The workload of ``compare`` and ``tune``: a trained layer, the rows of a data file, or synthetic rows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lshsample.cli.app import console, load_data
from lshsample.compare.workloads import Workload
from lshsample.errors import ArgumentError
from lshsample.nn import Network

__all__ = ["LayerModel", "MostItems", "load_workload"]

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
    trust_rows: bool,
    threads: int | None,
) -> Workload:
    """The workload of the arguments, described in a line on standard error; synthetic without a file."""
    sizes: dict[str, Any] = {"n_queries": queries, "seed": seed}
    if file is not None:
        network = None if model is None else Network.load(model)
        rows = load_data(file, trust_rows, threads).x
        sizes["n_items"] = items
        if network is None:
            workload = Workload.of_rows(f"rows of {file.name}", rows, **sizes)
        else:
            workload = Workload.of_layer(network, rows, **sizes)
    elif model is not None:
        raise ArgumentError("FILE", "nothing", "a data file whose rows are inputs of the model")
    else:
        workload = Workload.synthetic(items or 20_000, **sizes)
    console.print(
        f"{workload.name}: {workload.n_items:,} items of {workload.dim:,} columns, "
        f"{workload.queries.shape[0]} queries",
        highlight=False, markup=False, soft_wrap=True,
    )  # fmt: skip
    return workload
