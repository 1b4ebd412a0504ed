"""The command line: ``lshsample train``, ``lshsample predict`` and the rest; see ``lshsample --help``."""

from __future__ import annotations

import sys

from lshsample.cli import compare, demo, explain, model, new_family, show, train, tune
from lshsample.cli.app import app, console
from lshsample.errors import LshsampleError

__all__ = ["app", "main"]

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


def main() -> None:
    """Run a command; what a user can mend ends in one line on standard error and exit status 2."""
    try:
        app()
    except (LshsampleError, OSError) as error:
        console.print(f"[bold red]error:[/] {type(error).__name__}: ", end="")
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)
