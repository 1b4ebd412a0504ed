"""The tune command: hashes, tables, probes and a cap for a goal, on a data file or a trained layer."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import attrs
import typer
from rich.table import Table

from lshsample.cli.app import JsonFile, Threads, console, environment, output, write_json
from lshsample.cli.messages import working
from lshsample.cli.reading import ReadOptions, reads_data
from lshsample.cli.workload import ROWS_HELP, LayerModel, MostItems, load_workload
from lshsample.registry import family_to_json, resolve_family

if TYPE_CHECKING:
    from lshsample.tuning import Measures, Tuned

__all__ = ["tune"]


@reads_data
def tune(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]",
            help=f"{ROWS_HELP}Some of its rows are queries, the others items. With --model, its rows are "
            "inputs of the network.",
        ),
    ] = None,
    model: LayerModel = None,
    recall: Annotated[float, typer.Option(help="Target recall of the k nearest items.")] = 0.9,
    k: Annotated[int, typer.Option(help="Number of nearest items that recall is measured by.")] = 10,
    size: Annotated[int | None, typer.Option(help="Largest number of ids per query.")] = None,
    relative_error: Annotated[
        float | None,
        typer.Option(
            help="Largest relative standard error of the count of the k nearest, estimated from the sample."
        ),
    ] = None,
    memory_bytes: Annotated[int | None, typer.Option(help="Largest size of the tables.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Longest time per query, on one thread.")] = None,
    family: Annotated[str, typer.Option(help="The family, or family:option=value,option=value.")] = "simhash",
    max_tables: Annotated[int, typer.Option(help="Largest number of tables.")] = 512,
    items: MostItems = None,
    queries: Annotated[
        int, typer.Option(min=4, help="Number of queries: half for predictions, half for the check.")
    ] = 200,
    seed: Annotated[int, typer.Option(help="Determines every random choice.")] = 0,
    threads: Threads = None,
    json: JsonFile = None,
    *,
    reading: ReadOptions,
) -> None:
    """Choose hashes, tables, probes and a cap for a goal, and check the choice on held-out queries."""
    # Imported here: scipy.optimize takes longer than all the rest of a command's start.
    from lshsample.tuning import Goal
    from lshsample.tuning import tune as run

    goal = Goal(
        recall=recall, k=k, size=size, relative_error=relative_error,
        memory_bytes=memory_bytes, seconds=seconds,
    )  # fmt: skip
    resolve_family(family, "--family")  # refused before the data is read
    # Tuning is for the largest inner products, whatever metric a file states.
    workload = load_workload(file, model, items, queries, seed, reading, threads, metric="inner")
    with working("choosing hashes and tables, and checking them"):
        tuned = run(
            workload.items, workload.queries, goal,
            family=family, seed=seed, max_tables=max_tables, threads=threads,
        )  # fmt: skip
    output.print(f"{tuned.family!r}\n{tuned.pipeline}", highlight=False, markup=False, soft_wrap=True)
    output.print(_table(tuned))
    for line in (tuned.python, f"lshsample train DATA {tuned.command_options}"):
        output.print(line, highlight=False, markup=False, soft_wrap=True)
    missed = tuned.observed.missed(goal)
    if missed:
        console.print(f"not met on the held-out queries: {', '.join(missed)}", markup=False)
    result = {
        "family": family_to_json(tuned.family),
        "sampler": str(tuned.pipeline),
        "python": tuned.python,
        "command_options": tuned.command_options,
        "goal": attrs.asdict(goal),
        "predicted": _plain(tuned.predicted),
        "observed": _plain(tuned.observed),
        "missed": list(missed),
    }
    write_json(json, {**result, **environment(threads)})


def _table(tuned: Tuned) -> Table:
    table = Table("", "goal", "predicted", "observed")
    for row in tuned.rows():
        table.add_row(*row)
    return table


def _plain(measures: Measures) -> dict[str, float | None]:
    """Measures for JSON, with None for NaN."""
    return {name: None if math.isnan(value) else value for name, value in attrs.asdict(measures).items()}
