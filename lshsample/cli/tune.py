"""The tune command: hashes, tables, probes and a cap for a goal, on a data file or a trained layer."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import attrs
import numpy as np
import typer
from rich.table import Table

from lshsample.cli.app import JsonFile, Threads, console, environment, output, write_json
from lshsample.cli.messages import working
from lshsample.cli.reading import ReadOptions, load_data, reads_data
from lshsample.cli.workload import ROWS_HELP, LayerModel, MostItems, load_workload
from lshsample.errors import ArgumentError
from lshsample.registry import family_to_json, resolve_family
from lshsample.xc import load_network

if TYPE_CHECKING:
    from lshsample.tuning import Measures, Tuned, TunedLayer

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
    p1_share: Annotated[
        float | None,
        typer.Option(
            help="With --model: instead of a recall, the share of the P@1 of exact prediction that tables of "
            "the last layer are to keep, on the labels of FILE, such as 0.99."
        ),
    ] = None,
    recall: Annotated[
        float | None,
        typer.Option(help="Target recall of the k nearest items.", show_default="0.9"),
    ] = None,
    k: Annotated[
        int | None,
        typer.Option(help="Number of nearest items that recall is measured by.", show_default="10"),
    ] = None,
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
    if p1_share is not None:
        given = {
            "--recall": recall, "--k": k, "--size": size, "--relative-error": relative_error,
            "--seconds": seconds, "--items": items,
        }  # fmt: skip
        for option, value in given.items():
            if value is not None:
                raise ArgumentError(option, value, "left out with --p1-share")
        tuned_layer = _tuned_layer(
            file, model, reading, queries,
            p1_share=p1_share, families=family, memory_bytes=memory_bytes,
            max_tables=max_tables, seed=seed, threads=threads,
        )  # fmt: skip
        _report_layer(tuned_layer, json, threads)
        return
    # Imported here: scipy.optimize takes longer than all the rest of a command's start.
    from lshsample.tuning import Goal
    from lshsample.tuning import tune as run

    nearest: dict[str, Any] = {"recall": recall, "k": k}
    goal = Goal(
        **{name: value for name, value in nearest.items() if value is not None},
        size=size, relative_error=relative_error, memory_bytes=memory_bytes, seconds=seconds,
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


def _tuned_layer(
    file: Path | None,
    model: Path | None,
    reading: ReadOptions,
    queries: int,
    *,
    families: str,
    seed: int,
    threads: int | None,
    **bounds: Any,
) -> TunedLayer:
    """The tables for the last layer of a model, by some rows of a file and their labels."""
    from lshsample.tuning import tune_layer

    resolve_family(families, "--family")
    if file is None or model is None:
        given = "no --model" if model is None else "no FILE"
        raise ArgumentError("--p1-share", given, "used with --model and a data file with labels")
    network = load_network(model)
    data = load_data(file, reading, threads, network.n_features)
    chosen = np.sort(np.random.default_rng(seed).permutation(data.x.shape[0])[:queries])
    last = network.output
    bias = last.score(np.zeros((1, last.context.inputs), np.float32))[0]
    with working("choosing hashes and tables, and checking them"):
        return tune_layer(
            last.unit_vectors(), network.hidden(data.x[chosen], threads=threads), data.y[chosen],
            bias=bias, families=families, seed=seed, threads=threads, **bounds,
        )  # fmt: skip


def _report_layer(tuned: TunedLayer, json: Path | None, threads: int | None) -> None:
    output.print(f"{tuned.family!r}\n{tuned.pipeline}", highlight=False, markup=False, soft_wrap=True)
    table = Table("", "predicted", "observed", "exact")
    for row in tuned.rows():
        table.add_row(*row)
    output.print(table)
    output.print(tuned.python, highlight=False, markup=False, soft_wrap=True)
    result = {
        "family": family_to_json(tuned.family),
        "sampler": str(tuned.pipeline),
        "python": tuned.python,
        "p1_share": tuned.p1_share,
        "predicted": attrs.asdict(tuned.predicted),
        "observed": attrs.asdict(tuned.observed),
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
