"""The diagnose command: whether it pays to sample a layer of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from lshsample.cli.app import JsonFile, Threads, check_shape, check_writable, output, write_json
from lshsample.cli.messages import working
from lshsample.cli.model import ModelPath
from lshsample.cli.reading import FILES, ReadOptions, load_data, reads_data
from lshsample.compare.plots import require_matplotlib
from lshsample.diagnosis import diagnose as diagnosis_of
from lshsample.errors import ArgumentError
from lshsample.xc import load_network

__all__ = ["diagnose"]


@reads_data
def diagnose(
    model: ModelPath,
    file: Annotated[Path, typer.Argument(metavar="FILE", help=f"Data with labels: {FILES}")],
    layer: Annotated[
        int | None,
        typer.Option(min=2, help="The layer, counted from the input, 0; by default the slowest one."),
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="Rows of the file that are used, evenly spaced.")] = 512,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the hash functions.")] = 0,
    plot: Annotated[
        Path | None, typer.Option(callback=check_writable, help="Draw the figures to this file, as SVG.")
    ] = None,
    threads: Threads = None,
    json: JsonFile = None,
    *,
    reading: ReadOptions,
) -> None:
    """Tell whether a sampled layer would pay: time of the layers, loss by units kept, what tables find."""
    if plot is not None:
        require_matplotlib()
    network = load_network(model)
    data = load_data(file, reading, threads, network.n_features, network.n_labels)
    check_shape(network, data, "FILE")
    if not data.y.nnz:
        raise ArgumentError("FILE", "no label in any row", "a file with at least one label")
    n_rows = data.x.shape[0]
    chosen = np.unique(np.linspace(0, n_rows - 1, min(rows, n_rows)).astype(np.int64))
    with working("running the network"):
        found = diagnosis_of(network, data.x[chosen], data.y[chosen], layer=layer, seed=seed, threads=threads)
    output.print(str(found), markup=False, highlight=False, soft_wrap=True)
    if plot is not None:
        found.plot(plot)
    write_json(json, found.to_dict())
