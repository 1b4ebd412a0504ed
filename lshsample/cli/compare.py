"""The compare command: hash families measured on rows of a file, on a trained layer, or synthetic rows."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import attrs
import typer
from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from lshsample.cli.app import JsonFile, Threads, console, output, write_json
from lshsample.cli.reading import ReadOptions, reads_data
from lshsample.cli.workload import ROWS_HELP, LayerModel, MostItems, load_workload
from lshsample.compare import baseline as stored
from lshsample.compare.contenders import ComparisonSettings, Contender, all_contenders
from lshsample.compare.environment import describe_machine, describe_workload
from lshsample.compare.measure import Plan
from lshsample.compare.measure import compare as run
from lshsample.compare.measure import plan as plan_of
from lshsample.compare.nearest import METRICS
from lshsample.compare.plots import require_matplotlib, write_plots
from lshsample.compare.report import best_table, front_table, plain, recall_table
from lshsample.compare.workloads import TOP
from lshsample.errors import ArgumentError

__all__ = ["compare"]

#: Sizes without options, and with --quick.
_FULL = {
    "items": None, "queries": 200, "rounds": 5,
    "budgets": "100,300,1000,3000", "bits": "4,6,8,10,12", "n_tables": "10,50",
}  # fmt: skip
_QUICK = {"items": 2_000, "queries": 50, "rounds": 3, "budgets": "50,200", "bits": "4,8", "n_tables": "10"}


@reads_data
def compare(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]",
            help=f"{ROWS_HELP}Its rows are items and queries. With --model, its rows are inputs of the "
            "network.",
        ),
    ] = None,
    model: LayerModel = None,
    family: Annotated[
        list[str] | None,
        typer.Option(help="A family, or family:option=value,option=value; repeat it.", show_default="all"),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            help=f"What near means: {', '.join(METRICS)} (each family's own similarity).",
            show_default="that of an HDF5 file, else inner",
        ),
    ] = None,
    k: Annotated[int, typer.Option(min=1, help="Number of nearest items that recall is measured by.")] = TOP,
    budgets: Annotated[
        str | None,
        typer.Option(
            help="Numbers of candidates at which recall is compared.", show_default=str(_FULL["budgets"])
        ),
    ] = None,
    bits: Annotated[
        str | None,
        typer.Option(
            help="Code lengths in bits that each family is tried with.", show_default=str(_FULL["bits"])
        ),
    ] = None,
    n_hashes: Annotated[
        str | None,
        typer.Option(help="Numbers of hashes, K, that each family is tried with, instead of --bits."),
    ] = None,
    n_tables: Annotated[
        str | None, typer.Option(help="Numbers of tables, L.", show_default=str(_FULL["n_tables"]))
    ] = None,
    probes: Annotated[
        str | None,
        typer.Option(
            help="Numbers of buckets per table that queries look into.", show_default="the family's"
        ),
    ] = None,
    items: MostItems = None,
    queries: Annotated[
        int | None, typer.Option(min=1, help="Number of queries.", show_default=str(_FULL["queries"]))
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Repetitions of each timing (median and quartiles).",
            show_default=str(_FULL["rounds"]),
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Small sizes, for a first look; options that are given still count."),
    ] = False,
    baseline: Annotated[
        Path | None,
        typer.Option(help="Compare with a result of --json; the exit status is 1 if there is a regression."),
    ] = None,
    max_slowdown: Annotated[
        float, typer.Option(help="Largest relative growth of the time per query and of building.")
    ] = stored.Tolerance().slowdown,
    max_recall_loss: Annotated[
        float, typer.Option(help="Largest loss of recall.")
    ] = stored.Tolerance().recall_loss,
    max_index_growth: Annotated[
        float, typer.Option(help="Largest relative growth of the index.")
    ] = stored.Tolerance().index_growth,
    seed: Annotated[int, typer.Option(help="Determines every random choice.")] = 0,
    threads: Threads = None,
    json: JsonFile = None,
    plots: Annotated[Path | None, typer.Option(help="Write plots into this folder.")] = None,
    *,
    reading: ReadOptions,
) -> None:
    """Compare hash families: recall@k at equal candidates, queries per second, build time, index size."""
    given = {
        "items": items, "queries": queries, "rounds": rounds,
        "budgets": budgets, "bits": bits, "n_tables": n_tables,
    }  # fmt: skip
    sizes: dict[str, Any] = (_QUICK if quick else _FULL) | {n: v for n, v in given.items() if v is not None}
    if bits is not None and n_hashes is not None:
        raise ArgumentError("--n-hashes", n_hashes, "left out if --bits is given")
    if metric is not None and metric not in METRICS:
        raise ArgumentError("--metric", repr(metric), f"one of {', '.join(METRICS)}")
    settings = ComparisonSettings(
        budgets=_integers(sizes["budgets"], "--budgets"),
        bits=_integers(sizes["bits"], "--bits"),
        n_hashes=None if n_hashes is None else _integers(n_hashes, "--n-hashes"),
        n_tables=_integers(sizes["n_tables"], "--n-tables"),
        probes=None if probes is None else _integers(probes, "--probes"),
        threads=threads,
        seed=seed,
        rounds=sizes["rounds"],
    )
    tolerance = stored.Tolerance(
        slowdown=max_slowdown, recall_loss=max_recall_loss, index_growth=max_index_growth
    )
    contenders = [Contender.parse(text) for text in dict.fromkeys(family)] if family else all_contenders()
    before = None if baseline is None else stored.read_baseline(baseline)
    if plots is not None:
        _check_plots(plots)
    workload = load_workload(
        file, model, sizes["items"], sizes["queries"], seed, reading, threads, k=k, metric=metric
    )
    result: dict[str, Any] = {
        "format": stored.FORMAT,
        "workload": describe_workload(workload),
        "settings": attrs.asdict(settings),
        "machine": describe_machine(threads),
    }
    if before is not None:
        stored.check_comparable(before, result)
    planned = plan_of(contenders, workload, settings)
    # A family that was asked for by name is not left out silently, nor are all of them.
    needed = family or ([] if planned.shapes else planned.refused)
    for label in needed:
        if label in planned.refused:
            raise planned.refused[label]
    with _progress(planned) as advance:
        figures, refused = run(contenders, workload, settings, advance, planned=planned)
    result |= {"figures": plain(figures), "refused": refused}
    write_json(json, result)
    for table in (recall_table(figures, k), best_table(figures, k), front_table(figures, k)):
        _print_whole(table)
    for label, reason in refused.items():
        _line(f"{label}: {reason}")
    if plots is not None:
        for path in write_plots(figures, result["workload"], result["machine"]["threads"], plots):
            console.print(str(path), highlight=False, markup=False, soft_wrap=True)
    if before is not None:
        _compare_with(before, result, tolerance)


def _print_whole(table: Table) -> None:
    """Print in full width: a narrow terminal wraps lines, but no figure is cut off."""
    wide = Measurement.get(output, output.options.update(max_width=10_000), table).maximum
    Console(width=max(output.width, wide), file=output.file).print(table)


def _line(text: str) -> None:
    output.print(text, markup=False, highlight=False, soft_wrap=True)


def _check_plots(folder: Path) -> None:
    """Refuse plots that cannot be written, before the work and not after it."""
    require_matplotlib()
    place = next(place for place in (folder, *folder.parents) if place.exists())
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise ArgumentError("--plots", folder, "a folder that can be written to")


@contextmanager
def _progress(planned: Plan) -> Iterator[Any]:
    """Print the estimated time; yield what shows the progress, a bar on a terminal."""
    total = sum(planned.seconds)
    end = datetime.datetime.now() + datetime.timedelta(seconds=total)
    n_labels = len({contender.label for contender, _ in planned.shapes})
    console.print(
        f"{n_labels} families, {len(planned.shapes)} runs: about {_duration(total)}, until {end:%H:%M}",
        highlight=False,
        soft_wrap=True,
    )
    columns = TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn()
    bar = Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
    )
    with bar:
        task = bar.add_task("", total=total or 1.0)
        yield lambda text, done: bar.update(task, description=text, completed=done)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _compare_with(before: dict[str, Any], now: dict[str, Any], tolerance: stored.Tolerance) -> None:
    """Print the changes since the baseline; exit with status 1 if there are regressions."""
    found = stored.changes(before, now, tolerance)
    _print_whole(stored.changes_table(found))
    for note in found.notes:
        _line(f"note: {note}")
    for regression in found.regressions:
        _line(f"regression: {regression}")
    if found.regressions:
        raise typer.Exit(1)
    _line("no regressions")


def _integers(text: str, option: str) -> tuple[int, ...]:
    try:
        values = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        values = ()
    if not values or values[0] < 1:
        raise ArgumentError(option, repr(text), "a list of positive integers such as 100,1000")
    return values
