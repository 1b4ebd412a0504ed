"""The compare command: hash families measured on the rows of a data file, or on a trained layer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import attrs
import typer
from rich.console import Console
from rich.measure import Measurement

from lshsample.cli.app import JsonFile, Threads, TrustRows, console, environment, output, write_json
from lshsample.cli.workload import LayerModel, MostItems, load_workload
from lshsample.compare.measure import ComparisonSettings, Contender, all_contenders
from lshsample.compare.measure import compare as run
from lshsample.compare.report import comparison_table, plain, retrieval_table, write_plots
from lshsample.errors import ArgumentError

__all__ = ["compare"]


def compare(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]",
            help="Data: XC text or libsvm (plain or gzip), or npz; its rows are items and queries. With "
            "--model, its rows are inputs of the network.",
        ),
    ] = None,
    model: LayerModel = None,
    family: Annotated[
        list[str] | None,
        typer.Option(help="A family, or family:option=value,option=value; repeat it. [default: all]"),
    ] = None,
    budgets: Annotated[
        str, typer.Option(help="Numbers of candidates at which recall is compared.")
    ] = "100,300,1000,3000",
    bits: Annotated[
        str, typer.Option(help="Code lengths in bits that each family is tried with.")
    ] = "4,6,8,10,12",
    n_tables: Annotated[int, typer.Option(min=1, help="Number of tables, L.")] = 50,
    items: MostItems = None,
    queries: Annotated[int, typer.Option(min=1, help="Number of queries.")] = 200,
    seed: Annotated[int, typer.Option(help="Determines every random choice.")] = 0,
    threads: Threads = None,
    json: JsonFile = None,
    plots: Annotated[Path | None, typer.Option(help="Write plots into this folder.")] = None,
    trust_rows: TrustRows = False,
) -> None:
    """Compare hash families: time, memory, recall of the true top 10 at equal candidates, estimator error."""
    contenders = [Contender.parse(text) for text in family] if family else all_contenders()
    settings = ComparisonSettings(
        budgets=_integers(budgets, "--budgets"),
        bits=_integers(bits, "--bits"),
        n_tables=n_tables,
        threads=threads,
        seed=seed,
    )
    workload = load_workload(file, model, items, queries, seed, trust_rows, threads)
    with console.status("") as status:
        figures, refused = run(contenders, workload, settings, status.update)
    for table in (comparison_table(figures), retrieval_table(figures)):
        # Printed in full width: a narrow terminal wraps lines, but no figure is cut off.
        wide = Measurement.get(output, output.options.update(max_width=10_000), table).maximum
        Console(width=max(output.width, wide)).print(table)
    for label, reason in refused.items():
        output.print(f"{label}: {reason}", markup=False, highlight=False, soft_wrap=True)
    about = {"name": workload.name, "items": workload.n_items, "dim": workload.dim}
    result = {"workload": about, "settings": attrs.asdict(settings), **environment(threads)}
    write_json(json, {**result, "figures": plain(figures), "refused": refused})
    if plots is not None:
        for path in write_plots(figures, plots):
            console.print(str(path), highlight=False, markup=False, soft_wrap=True)


def _integers(text: str, option: str) -> tuple[int, ...]:
    try:
        values = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        values = ()
    if not values or values[0] < 1:
        raise ArgumentError(option, repr(text), "a list of positive integers such as 100,1000")
    return values
