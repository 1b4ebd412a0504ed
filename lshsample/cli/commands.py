"""All commands of the command line."""

from __future__ import annotations

from typing import Annotated

import typer

import lshsample
from lshsample.cli import compare, demo, explain, model, new_family, show, train, tune
from lshsample.cli.app import app, output, show_warning
from lshsample.plugin_manager import NO_PLUGINS, switch_off
from lshsample.registry import default_registry
from lshsample.sampling.text import stage_registry

__all__ = ["app", "show_warning"]


def _print_version(wanted: bool) -> None:
    if wanted:
        output.print(f"lshsample {lshsample.__version__}", highlight=False)
        raise typer.Exit


@app.callback()
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


app.command()(demo.demo)
app.command()(train.train)
app.command()(model.evaluate)
app.command()(model.predict)
app.command()(compare.compare)
app.command()(tune.tune)
app.command()(explain.explain)
app.command()(show.families)
app.command()(show.stages)
app.command()(show.info)
app.command()(new_family.new_family)
