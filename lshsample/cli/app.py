"""Shared by the commands: the application, the consoles, results as JSON, reading of models and data."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from rich.console import Console

import lshsample
from lshsample._native import core
from lshsample.data import Dataset, atomic_file
from lshsample.errors import ArgumentError, CheckpointError
from lshsample.nn import Network
from lshsample.streams import StreamedRows
from lshsample.xc import Classifier

__all__ = [
    "RESULT",
    "STDOUT",
    "JsonFile",
    "Threads",
    "app",
    "check_same_shape",
    "check_shape",
    "check_writable",
    "console",
    "environment",
    "output",
    "run_figures",
    "show_warning",
    "write_json",
]

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
#: Progress and remarks are written to standard error, results to standard output.
console = Console(stderr=True)
output = Console()

#: The file in the folder of a run with the same content as ``train --json``.
RESULT = "train.json"

Threads = Annotated[
    int | None,
    typer.Option(
        help="Number of threads; the result does not depend on it.", show_default="OMP_NUM_THREADS or all"
    ),
]


#: The path that stands for standard output.
STDOUT = Path("-")


def show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a warning of Python as the other messages: a line on standard error, without its place."""
    quiet, console.quiet = console.quiet, False  # --quiet is for what is no warning
    console.print(f"warning: {message}", markup=False, highlight=False, soft_wrap=True)
    console.quiet = quiet


def check_writable(option: typer.CallbackParam, path: Path | None) -> Path | None:
    """Refuse a path that cannot be written to, before the work and not after it."""
    if path is None or path == STDOUT:
        return path
    # Anything but a regular file (/dev/stdout) is written to directly; a file is replaced, in its folder.
    place = path if path.exists() and not path.is_file() else path.parent
    if path.is_dir() or not os.access(place, os.W_OK):
        raise ArgumentError(f"--{option.name}", path, "a file in a writable folder")
    return path


def check_json(context: typer.Context, option: typer.CallbackParam, path: Path | None) -> Path | None:
    """As :func:`check_writable`; if JSON goes to standard output, the other results go to standard error."""
    output.stderr = path == STDOUT
    context.call_on_close(lambda: setattr(output, "stderr", False))
    return check_writable(option, path)


JsonFile = Annotated[
    Path | None,
    typer.Option(
        help="Write the result to this file; - for standard output, which then has nothing else.",
        callback=check_json,
    ),
]


def environment(threads: int | None) -> dict[str, Any]:
    """The threads, instruction set and version of a result."""
    return {"threads": core.threads_or_default(threads), "isa": core.isa(), "version": lshsample.__version__}


def run_figures(path: Path) -> dict[str, Any]:
    """The time and steps of training, from the result in the folder of a run; None if there is none."""
    file, names = path / RESULT, ("train_seconds", "steps", "step_ms_median", "active_mean", "epochs")
    try:
        result = json.loads(file.read_bytes()) if file.exists() else {}
        return {name: result.get(name) for name in names}
    except (ValueError, AttributeError) as error:
        raise CheckpointError(f"{file}: not the result of a training run ({error})") from error


def check_shape(network: Network | Classifier, data: Dataset, argument: str, *, labels: bool = True) -> None:
    """Refuse data of another shape than that of a network, with or without its labels."""
    given, wanted = (f"{shape.n_features} features" for shape in (data, network))
    if labels:
        given, wanted = (
            f"{text} and {shape.n_labels} labels" for text, shape in ((given, data), (wanted, network))
        )
    if given != wanted:
        raise ArgumentError(argument, given, f"a file of {wanted}, as the model")


def check_same_shape(data: Dataset, trained: Dataset | StreamedRows, argument: str) -> None:
    """Refuse data of another shape than the training data."""
    given, wanted = (f"{one.n_features} features and {one.n_labels} labels" for one in (data, trained))
    if given != wanted:
        raise ArgumentError(argument, given, f"a file of {wanted}, as the training data")


def write_json(path: Path | None, result: dict[str, Any]) -> None:
    """Write a result as JSON, atomically or to standard output; nothing without a path."""
    text = json.dumps(result, indent=2, sort_keys=True) + "\n"
    if path == STDOUT:
        sys.stdout.write(text)
    elif path is not None:
        with atomic_file(path) as file:
            file.write(text.encode())
