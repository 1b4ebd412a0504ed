"""What ``compare`` and ``tune`` measure on: a trained layer, a data file's rows, or synthetic rows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lshsample.cli.app import console, load_data
from lshsample.compare.workloads import Workload
from lshsample.errors import ArgumentError
from lshsample.nn import Network

__all__ = ["LayerModel", "MostItems", "told_workload"]

LayerModel = Annotated[
    Path | None, typer.Option(help="Folder of a trained model: items are the units of its last layer.")
]
MostItems = Annotated[int | None, typer.Option(min=100, help="At most so many items.")]


def told_workload(
    file: Path | None,
    model: Path | None,
    items: int | None,
    queries: int,
    seed: int,
    trust_rows: bool,
    threads: int | None,
) -> Workload:
    """What the arguments name, told in a line; without a file, synthetic rows."""
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
        raise ArgumentError("FILE", "nothing", "a data file whose rows go through the model")
    else:
        workload = Workload.synthetic(items or 20_000, **sizes)
    console.print(
        f"{workload.name}: {workload.n_items:,} items of {workload.dim:,} columns, "
        f"{workload.queries.shape[0]} queries",
        highlight=False, markup=False, soft_wrap=True,
    )  # fmt: skip
    return workload
