"""The cluster-check command: what a step on workers would cost."""

from __future__ import annotations

from typing import Annotated

import attrs
import typer
from rich.table import Table

from lshsample import specs
from lshsample.cli.app import JsonFile, output, write_json
from lshsample.errors import ArgumentError
from lshsample.memory import mebibytes
from lshsample.nn import OPTIMIZERS, Dense, Input, Sharded, Sparse
from lshsample.ray import cluster_resources, step_cost

__all__ = ["cluster_check"]

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
        float, typer.Option(help="With --parts: values of a row, on average; 0 if features are dense.")
    ] = 75.0,
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
    for name, value in (("--bandwidth", bandwidth), ("--labels-per-row", labels_per_row)):
        if not value > 0:
            raise ArgumentError(name, value, "a number above 0")
    if not latency >= 0:
        raise ArgumentError("--latency", latency, "a number of at least 0")
    if not values_per_row >= 0:
        raise ArgumentError("--values-per-row", values_per_row, "a number of at least 0")
    if (parts != 1) != (features is not None):
        given = f"{parts} with --features {features}" if features else f"{parts} without --features"
        raise ArgumentError("--parts", given, "used with --features, which the bytes of parts depend on")
    n_blocks = max(8, workers) if blocks is None else blocks
    last = Sharded(labels, n_active=min(n_active, labels - 1), blocks=n_blocks, parts=parts)
    first = (Sparse if values_per_row else Input)(features or 1)
    cost = step_cost(
        [first, Dense(hidden), last],
        workers=workers,
        batch_size=batch_size,
        labels_per_row=labels_per_row,
        values_per_row=values_per_row,
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
