"""The tune command: hashes, tables, probes and cap for a goal, on a data file's rows or a trained layer."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import attrs
import typer
from rich.table import Table

from lshsample.cli.app import JsonFile, Threads, TrustRows, console, environment, output, write_json
from lshsample.cli.workload import LayerModel, MostItems, told_workload
from lshsample.registry import family_to_json, named_family
from lshsample.tuning import Goal, Measures, Tuned
from lshsample.tuning import tune as run

__all__ = ["tune"]


def tune(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]",
            help="Data: XC text or libsvm (plain or gzip), or npz; some of its rows are queries, the others "
            "items. With --model, its rows go through the network.",
        ),
    ] = None,
    model: LayerModel = None,
    recall: Annotated[float, typer.Option(help="Share of the k nearest items to be found.")] = 0.9,
    k: Annotated[int, typer.Option(help="How many nearest items count.")] = 10,
    size: Annotated[int | None, typer.Option(help="At most so many ids per query.")] = None,
    relative_error: Annotated[
        float | None, typer.Option(help="Of the estimated number of the k nearest, over the functions.")
    ] = None,
    memory_bytes: Annotated[int | None, typer.Option(help="At most so much for the tables.")] = None,
    seconds: Annotated[float | None, typer.Option(help="At most so long per query, on one thread.")] = None,
    family: Annotated[str, typer.Option(help="The family, or family:option=value,option=value.")] = "simhash",
    max_tables: Annotated[int, typer.Option(help="At most so many tables.")] = 512,
    items: MostItems = None,
    queries: Annotated[int, typer.Option(min=4, help="Queries: half choose, half check.")] = 200,
    seed: Annotated[int, typer.Option(help="Names every random choice.")] = 0,
    threads: Threads = None,
    json: JsonFile = None,
    trust_rows: TrustRows = False,
) -> None:
    """Choose hashes, tables, probes and cap for a goal, and check the choice on queries held out."""
    goal = Goal(
        recall=recall, k=k, size=size, relative_error=relative_error,
        memory_bytes=memory_bytes, seconds=seconds,
    )  # fmt: skip
    name, options = named_family(family)
    workload = told_workload(file, model, items, queries, seed, trust_rows, threads)
    tuned = run(
        workload.items, workload.queries, goal,
        family=name, seed=seed, max_tables=max_tables, threads=threads, **options,
    )  # fmt: skip
    output.print(f"{tuned.family!r}\n{tuned.pipeline}", highlight=False, markup=False, soft_wrap=True)
    output.print(_table(tuned))
    missed = tuned.observed.missed(goal)
    if missed:
        console.print(f"on the queries held out it misses: {', '.join(missed)}", markup=False)
    result = {
        "family": family_to_json(tuned.family),
        "sampler": str(tuned.pipeline),
        "goal": attrs.asdict(goal),
        "predicted": _plain(tuned.predicted),
        "observed": _plain(tuned.observed),
        "missed": list(missed),
    }
    write_json(json, {**result, **environment(threads)})


def _table(tuned: Tuned) -> Table:
    table = Table("", "goal", "predicted", "observed")
    for name in attrs.asdict(tuned.observed):
        values = (getattr(part, name) for part in (tuned.goal, tuned.predicted, tuned.observed))
        table.add_row(
            name, *("-" if value is None or math.isnan(value) else f"{value:.4g}" for value in values)
        )
    return table


def _plain(measures: Measures) -> dict[str, float | None]:
    """Measures as JSON has them, which knows no NaN."""
    return {name: None if math.isnan(value) else value for name, value in attrs.asdict(measures).items()}
