"""All commands of the command line."""

from __future__ import annotations

from typing import Annotated

import typer

import lshsample
from lshsample.cli import (
    cluster_check,
    compare,
    demo,
    diagnose,
    explain,
    export,
    model,
    new_family,
    report,
    search,
    serve,
    show,
    train,
    tune,
    update,
    why,
)
from lshsample.cli.app import app, output, show_warning
from lshsample.plugin_manager import NO_PLUGINS, switch_off
from lshsample.registry import default_registry
from lshsample.sampling.text import stage_registry

__all__ = ["app", "show_warning"]


def _print_version(wanted: bool) -> None:
    if wanted:
        output.print(f"lshsample {lshsample.__version__}", highlight=False)
        raise typer.Exit


#: Shown below the list of commands; empty lines keep its lines apart.
_START = """Start here:

lshsample train TRAIN --test TEST --save DIR

lshsample evaluate DIR TEST

lshsample predict DIR ROWS

TRAIN, TEST and ROWS are data files: a line for each row, such as 3,17 0:0.5 9:1.2
for labels 3 and 17 and features 0 and 9. Without a file: lshsample demo."""


@app.callback(epilog=_START)
def prepare(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
    no_plugin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help=f"Do not load the plugin of this name or package; repeat it. {NO_PLUGINS} does the same.",
        ),
    ] = None,
) -> None:
    """Train and serve very wide networks on CPUs through locality-sensitive hashing."""
    switch_off(no_plugin or ())
    # Broken plugins are reported by every command, also by those that need no plugin.
    default_registry()
    stage_registry()


_FIRST, _CHOICE, _ABOUT = "Models", "Choice of recipes, hash functions and samplers", "About and extending"
_CHOOSING = (
    show.presets, search.search, diagnose.diagnose, cluster_check.cluster_check, explain.explain, tune.tune,
    compare.compare, show.families, show.stages,
)  # fmt: skip
for _panel, _commands in (
    (_FIRST, (train.train, model.evaluate, model.predict, update.update, serve.serve, why.why)),
    (_FIRST, (export.export, report.report, demo.demo)),
    (_CHOICE, _CHOOSING),
    (_ABOUT, (new_family.new_family, show.info)),
):
    for _command in _commands:
        app.command(rich_help_panel=_panel)(_command)
