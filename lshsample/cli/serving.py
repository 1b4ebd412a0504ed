"""What ``--mode sampled`` searches in: the trained layer's tables, or others that are built for it."""

from __future__ import annotations

from typing import Annotated

import typer

from lshsample._native import core
from lshsample.errors import ArgumentError
from lshsample.nn import Network
from lshsample.registry import family_of_bits, make_family, named_family
from lshsample.sampling import Sampler, parse_pipeline
from lshsample.sampling.functions import default_code_bits
from lshsample.tables import HashTables

__all__ = ["ServingFamily", "ServingPipeline", "ServingTables", "serving_sampler"]

ServingFamily = Annotated[
    str | None,
    typer.Option(
        metavar="FAMILY",
        help="With --mode sampled: new tables of this family, or family:option=value,option=value. "
        "[default: the trained layer's own]",
    ),
]
ServingTables = Annotated[int, typer.Option(min=1, max=65535, help="Tables of --family, L.")]
ServingPipeline = Annotated[
    str, typer.Option("--sampler", metavar="PIPELINE", help="What of them is scored, with --family.")
]


def serving_sampler(
    network: Network, mode: str, family: str | None, n_tables: int, pipeline: str, threads: int | None
) -> Sampler | None:
    """The pipeline over new tables of the last layer's units; None for the layer's own tables."""
    if family is None:
        if pipeline != "Retrieve()":
            raise ArgumentError("--sampler", repr(pipeline), "a --family whose tables it searches in")
        return None
    if mode == "exact":
        raise ArgumentError("--family", repr(family), "--mode sampled with it")
    last = network.output
    stages = parse_pipeline(pipeline)
    name, options = named_family(family, "--family")
    shape = {"dim": last.context.inputs, "n_tables": n_tables, "seed": network.spec.seed} | options
    bits = default_code_bits(last.units)
    chosen = make_family(name, **shape) if "n_hashes" in shape else family_of_bits(name, bits, **shape)
    network.allocate_for_prediction(core.threads_or_default(threads))
    units = last.unit_vectors()
    tables = HashTables(chosen, threads=threads).build(units)
    return stages.bind(tables=tables, vectors=units)
