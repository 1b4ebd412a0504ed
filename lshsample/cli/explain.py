"""The explain command: how the active set of a row is sampled."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import scipy.sparse as sp
import typer

from lshsample._native import core
from lshsample.cli.app import (
    JsonFile,
    Threads,
    check_shape,
    console,
    output,
    write_json,
)
from lshsample.cli.messages import working
from lshsample.cli.model import ModelPath
from lshsample.cli.reading import FILES, ReadOptions, load_data, reads_data
from lshsample.errors import ArgumentError
from lshsample.xc import load_network

__all__ = ["explain"]


@reads_data
def explain(
    model: ModelPath,
    file: Annotated[Path, typer.Argument(metavar="FILE", help=f"Data: {FILES}")],
    row: Annotated[int, typer.Option(min=0, help="The row of the file, counted from 0.")] = 0,
    layer: Annotated[int, typer.Option(min=0, help="The sampled layer, counted from 0.")] = 0,
    threads: Threads = None,
    json: JsonFile = None,
    *,
    reading: ReadOptions,
) -> None:
    """Show how the active units of a row are sampled: for each stage the ids added and removed, and why."""
    with working(f"loading {model}"):
        network = load_network(model)
    data = load_data(file, reading, threads, network.n_features, network.n_labels)
    check_shape(network, data, "FILE")
    sampled = network.sampled_layers
    if layer >= len(sampled):
        raise ArgumentError("--layer", layer, f"below {len(sampled)}, the number of sampled layers")
    if row >= data.n_rows:
        raise ArgumentError("--row", row, f"below {data.n_rows}, the number of rows of {file}")
    chosen = sampled[layer]
    if chosen.active.needs_frequencies:
        chosen.active.observe(data.y)
    query = network.layer_input(data.x[[row]], network.layers.index(chosen), threads=threads)
    with working("building the tables"):
        chosen.prepare(0, core.threads_or_default(threads))
    sampler = chosen.active.bound()
    last = chosen is network.output and sampler.pipeline.takes_include
    named = sp.csr_array(data.y[[row]]) if last else None
    explanation = sampler.explain(np.asarray(query), include=named)
    console.print(f"row {row}, layer {chosen.index}: {sampler.pipeline} over {sampler.n_items:,} units")
    output.print(explanation.table())
    write_json(json, {"row": row, "layer": chosen.index, **explanation.to_dict()})
