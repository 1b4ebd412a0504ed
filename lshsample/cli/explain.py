"""The command that shows how a row's active set comes about."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import scipy.sparse as sp
import typer

from lshsample._native import core
from lshsample.cli.app import (
    JsonFile,
    Threads,
    TrustRows,
    check_shape,
    console,
    load_data,
    output,
    write_json,
)
from lshsample.cli.model import DataPath, ModelPath
from lshsample.errors import ArgumentError
from lshsample.nn import Network

__all__ = ["explain"]


def explain(
    model: ModelPath,
    file: DataPath,
    row: Annotated[int, typer.Option(min=0, help="Which row of the file, from 0.")] = 0,
    layer: Annotated[int, typer.Option(min=0, help="Which sampled layer, from 0.")] = 0,
    threads: Threads = None,
    trust_rows: TrustRows = False,
    json: JsonFile = None,
) -> None:
    """Show, stage by stage, how a row's active units are picked: how many came, went, and why."""
    network = Network.load(model)
    data = load_data(file, trust_rows, threads, (network.n_features, network.n_labels))
    check_shape(network, data, "FILE")
    sampled = network.sampled_layers
    if layer >= len(sampled):
        raise ArgumentError("--layer", layer, f"a layer below the {len(sampled)} that sample")
    if row >= data.n_rows:
        raise ArgumentError("--row", row, f"a row below the {data.n_rows} of {file}")
    chosen = sampled[layer]
    if chosen.active.wants_frequencies:
        chosen.active.observe(data.y)
    query = network.layer_input(data.x[[row]], network.layers.index(chosen), threads=threads)
    chosen.prepare(0, core.threads_or_default(threads))
    sampler = chosen.active.bound()
    last = chosen is network.output and sampler.pipeline.takes_include
    named = sp.csr_array(data.y[[row]]) if last else None
    told = sampler.explain(np.asarray(query), include=named)
    console.print(f"row {row}, layer {chosen.index}: {sampler.pipeline} over {sampler.n_items:,} units")
    output.print(told.table())
    write_json(json, {"row": row, "layer": chosen.index, **told.to_dict()})
