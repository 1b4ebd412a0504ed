"""The tables of ``--mode sampled``: those of the trained layer, or others that are built for prediction."""

from __future__ import annotations

from typing import Annotated

import typer

from lshsample._native import core
from lshsample.cli.messages import working
from lshsample.errors import ArgumentError
from lshsample.nn import Network
from lshsample.registry import family_of_bits, named_family
from lshsample.sampling import Sampler, parse_pipeline
from lshsample.sampling.functions import default_code_bits
from lshsample.tables import HashTables

__all__ = ["ServingFamily", "ServingPipeline", "ServingTables", "serving_sampler"]

ServingFamily = Annotated[
    str | None,
    typer.Option(
        metavar="FAMILY",
        help="With --mode sampled or auto: build new tables of this family, or "
        "family:option=value,option=value.",
        show_default="the tables of the trained layer; with auto none",
    ),
]
ServingTables = Annotated[int, typer.Option(min=1, max=65535, help="Number of tables of --family, L.")]
ServingPipeline = Annotated[
    str,
    typer.Option(
        "--sampler", metavar="PIPELINE", help="The pipeline that selects the scored labels, with --family."
    ),
]


def serving_sampler(
    network: Network, mode: str, family: str | None, n_tables: int, pipeline: str, threads: int | None
) -> Sampler | None:
    """The pipeline over new tables of the units of the last layer; None for the tables of the layer."""
    if family is None:
        if pipeline != "Retrieve()":
            raise ArgumentError("--sampler", repr(pipeline), "used with --family")
        return None
    if mode == "exact":
        raise ArgumentError("--family", repr(family), "used with --mode sampled or auto")
    last = network.output
    stages = parse_pipeline(pipeline)
    _, options = named_family(family, "--family")
    shape = {"dim": last.context.inputs, "n_tables": n_tables, "seed": network.spec.seed}
    shape = {name: value for name, value in shape.items() if name not in options}
    chosen = family_of_bits(family, default_code_bits(last.units), **shape)
    with working("building the tables"):
        network.allocate_for_prediction(core.threads_or_default(threads))
        units = last.unit_vectors()
        tables = HashTables(chosen, threads=threads).build(units)
    return stages.bind(tables=tables, vectors=units)
