"""The report command: runs side by side on one page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from lshsample.cli.app import RESULT, check_writable, output
from lshsample.cli.report_page import Run, report_page
from lshsample.data import atomic_file
from lshsample.errors import ArgumentError, CheckpointError

__all__ = ["report"]


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Folders of train --save, or files of train --json."),
    ],
    file: Annotated[
        Path, typer.Option("--output", "-o", help="The page to write.", callback=check_writable)
    ] = Path("report.html"),
) -> None:
    """Compare training runs on a page: figures, learning curves and settings.

    The page is one HTML file, which needs no other file and no network.
    """
    found = [_result(path) for path in runs]
    names = _names(runs)
    page = report_page([Run(name, result) for name, result in zip(names, found, strict=True)])
    with atomic_file(file) as opened:
        opened.write(page.encode())
    output.print(f"{file}: {', '.join(names)}", highlight=False, markup=False, soft_wrap=True)


def _names(runs: list[Path]) -> list[str]:
    """The last parts of the paths, as many as tell them apart."""
    for count in (1, 2, 3):
        names = ["/".join(run.resolve().parts[-count:]) for run in runs]
        if len(set(names)) == len(runs):
            return names
    raise ArgumentError("RUN", ", ".join(map(str, runs)), "different runs")


def _result(path: Path) -> dict[str, Any]:
    file = path / RESULT if path.is_dir() else path
    if not file.is_file():
        raise ArgumentError(
            "RUN", path, f"the folder of a finished run ({RESULT}), or a file of train --json"
        )
    try:
        result = json.loads(file.read_bytes())
        if not isinstance(result["recipe"], dict):
            raise TypeError(f"a recipe of {type(result['recipe']).__name__}")
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{file}: not the result of a training run ({error!r})") from error
    return dict(result)
