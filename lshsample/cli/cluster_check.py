"""The cluster-check command: what a step on workers would cost."""

from __future__ import annotations

import math
from typing import Annotated

import attrs
import typer
from rich.table import Table

from lshsample import specs
from lshsample.cli.app import JsonFile, output, write_json
from lshsample.errors import ArgumentError
from lshsample.memory import mebibytes
from lshsample.nn import OPTIMIZERS, Dense, Input, Sharded, Sparse
from lshsample.nn.sums import MAX_PARTS
from lshsample.ray import cluster_resources, step_cost
from lshsample.ray.cost import check_above_0, chosen_blocks

__all__ = ["cluster_check"]

#: Values of a row, unless they are given.
_VALUES = 75.0
#: Largest number of labels in 32-bit ids.
_MOST = 2**31 - 2


def cluster_check(
    labels: Annotated[int, typer.Option(help="Number of labels.")],
    workers: Annotated[int, typer.Option(help="Number of workers, a power of two.")] = 2,
    hidden: Annotated[int, typer.Option(help="Units of the last hidden layer.")] = 128,
    batch_size: Annotated[int, typer.Option(help="Rows per step.")] = 256,
    labels_per_row: Annotated[float, typer.Option(help="Labels of a row, on average.")] = 5.0,
    n_active: Annotated[int, typer.Option(help="Budget of all blocks.")] = 4096,
    blocks: Annotated[int | None, typer.Option(help="Blocks.", show_default="8, or the workers")] = None,
    parts: Annotated[
        int, typer.Option(help="Parts of a batch that the workers compute the hidden layer for; 1 for none.")
    ] = 1,
    features: Annotated[int | None, typer.Option(help="With --parts: number of features.")] = None,
    values_per_row: Annotated[
        float | None,
        typer.Option(
            help="With --parts: values of a row, on average; 0 if features are dense.", show_default="75"
        ),
    ] = None,
    optimizer: Annotated[str, typer.Option(help=f"One of {OPTIMIZERS}.")] = "adam",
    bandwidth: Annotated[
        float, typer.Option(help="Gigabits a second of the connection of the trainer's machine.")
    ] = 10.0,
    latency: Annotated[float, typer.Option(help="Milliseconds from one machine to another.")] = 0.1,
    address: Annotated[
        str | None,
        typer.Option(help="Also ask the Ray cluster at this address, or auto, whether the workers fit."),
    ] = None,
    json: JsonFile = None,
) -> None:
    """Say what a step on workers would exchange and need, before anything is started."""
    specs.checked_integer("--labels", labels, 2, _MOST)
    check_above_0("--bandwidth", bandwidth)
    specs.checked_number("--labels-per-row", labels_per_row, 0, math.inf, open_low=True)
    specs.checked_number("--latency", latency, 0, math.inf)
    first = _input(parts, features, values_per_row)
    n_blocks = chosen_blocks(blocks, workers)
    last = Sharded(labels, n_active=min(n_active, labels - 1), blocks=n_blocks, parts=parts)
    cost = step_cost(
        [first, Dense(hidden), last],
        workers=workers,
        batch_size=batch_size,
        labels_per_row=labels_per_row,
        values_per_row=_VALUES if values_per_row is None else values_per_row,
        optimizer=OPTIMIZERS.make(optimizer, "--optimizer"),
    )
    seconds = cost.seconds(1e9 * bandwidth, 1e-3 * latency)
    dense = cost.dense_seconds(1e9 * bandwidth)
    table = Table("", "of a step")
    table.add_row("sent to a worker", f"{cost.sent:,} bytes")
    table.add_row("received from it", f"{cost.received:,} bytes")
    if cost.below:
        table.add_row("of both, for parts of the hidden layer", f"{cost.below:,} bytes")
    table.add_row(f"traffic of {workers} workers", f"{1e3 * seconds:.2f} ms at {bandwidth:g} Gbit/s")
    table.add_row("a dense gradient instead", f"{cost.dense:,} bytes, {1e3 * dense:,.0f} ms in a ring")
    table.add_row("memory of a worker", mebibytes(cost.memory))
    output.print(table)
    result = attrs.asdict(cost) | {"seconds": seconds, "dense_seconds": dense}
    if address is not None:
        result["cluster"] = found = cluster_resources(address)
        output.print(
            f"cluster: {found['machines']:g} machines, {found['cpus']:g} free CPUs, "
            f"{mebibytes(int(found['memory']))} of free memory"
        )
        fits = found["cpus"] >= workers and found["memory"] >= workers * cost.memory
        output.print("the workers fit" if fits else "the workers do not fit")
        result["fits"] = fits
    write_json(json, result)


def _input(parts: int, features: int | None, values_per_row: float | None) -> Sparse | Input:
    """The input layer, whose width and kind count with parts alone."""
    specs.checked_power_of_two("--parts", parts, MAX_PARTS)
    if (parts != 1) != (features is not None):
        given = f"{parts} without --features" if features is None else f"1 with --features {features}"
        raise ArgumentError("--parts", given, "used with --features, which the bytes of parts depend on")
    if features is None:
        if values_per_row is not None:
            raise ArgumentError("--values-per-row", values_per_row, "used with --parts")
        return Sparse(1)
    specs.checked_integer("--features", features, 1, 2**31 - 1)
    if values_per_row is not None:
        specs.checked_number("--values-per-row", values_per_row, 0, math.inf)
    return Input(features) if values_per_row == 0 else Sparse(features)
