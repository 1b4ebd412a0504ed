"""The options of the commands that read data files: those of the readers."""

from __future__ import annotations

import functools
import inspect
import stat
from collections.abc import Callable
from os import fspath
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import attrs
import typer

from lshsample.cli.app import console
from lshsample.cli.messages import set_verbosity, working
from lshsample.data import Dataset
from lshsample.data.load import load_source, options_of, rows_of_source
from lshsample.data.matrix import form_of
from lshsample.data.source import STDIN, LineSource
from lshsample.family import Rows

__all__ = ["FILES", "ReadOptions", "is_pipe", "load_data", "load_rows", "reads_data"]

#: What a data file can be, for the help of arguments.
FILES = (
    "XC text or libsvm (plain, gzip, bzip2, xz or zstd), npz, or features alone (text, npy, npz of SciPy) "
    "with --labels; - for standard input."
)

_OF_MODEL = "that of the model, or from the largest id"
#: For each option of the readers its type, its help, and the default that is told.
_HELP: dict[str, tuple[Any, str, str | bool]] = {
    "labels": (Path | None, "File of the labels, if the data file has features alone.", False),
    "feature_base": (
        int | None,
        "Smallest feature id of a libsvm file, 0 or 1.",
        "0 if the file has a feature 0, else 1",
    ),
    "label_base": (int | None, "Smallest label id of a libsvm file, 0 or 1.", "0"),
    "n_features": (int | None, "Number of features of a libsvm file.", _OF_MODEL),
    "n_labels": (int | None, "Number of labels of a libsvm file.", _OF_MODEL),
    "trust_rows": (bool, "Read all rows of a data file, whatever number its header states.", False),
}
_MESSAGES = (
    ("quiet", "-q", "Write results, warnings and errors alone."),
    ("verbose", "-v", "Write more about what is done, also on a terminal."),
)


@attrs.frozen(kw_only=True)
class ReadOptions:
    """The options of a command for its data file; None and False are those that were not given."""

    labels: Path | None = None
    feature_base: int | None = None
    label_base: int | None = None
    n_features: int | None = None
    n_labels: int | None = None
    trust_rows: bool = False

    def given(self) -> dict[str, Any]:
        """The options that were given."""
        every = attrs.asdict(self).items()
        return {name: value for name, value in every if value is not None and value is not False}


def reads_data(command: Callable[..., None]) -> Callable[..., None]:
    """A command with the options of :class:`ReadOptions`, its argument ``reading``, and of its messages."""
    hints = get_type_hints(command, include_extras=True)
    own = [p for p in inspect.signature(command).parameters.values() if p.name != "reading"]
    parameters = [p.replace(annotation=hints[p.name]) for p in own]
    for field in attrs.fields(ReadOptions):
        kind, text, default = _HELP[field.name]
        names = [f"--{field.name.replace('_', '-')}"] if kind is bool else []  # and no --no-trust-rows
        option: Any = typer.Option(
            *names, help=text, show_default=default, rich_help_panel="Reading of files"
        )
        parameters.append(
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=field.default,
                annotation=Annotated[kind, option],
            )
        )
    for name, letter, text in _MESSAGES:
        option = typer.Option(f"--{name}", letter, help=text, rich_help_panel="Messages")
        parameters.append(
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, option]
            )
        )

    @functools.wraps(command)
    def run(**values: Any) -> None:
        options = {field.name: values.pop(field.name) for field in attrs.fields(ReadOptions)}
        with set_verbosity(*(values.pop(name) for name, _, _ in _MESSAGES)):
            command(**values, reading=ReadOptions(**options))

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


def load_data(
    path: Path,
    reading: ReadOptions,
    threads: int | None,
    n_features: int | None = None,
    n_labels: int | None = None,
) -> Dataset:
    """A data file of any known format; the numbers are for one that does not state them."""
    source, options = _opened(path, reading, threads, n_features, n_labels)
    with working(f"reading {path}"):
        return load_source(source, **options)


def load_rows(path: Path, reading: ReadOptions, threads: int | None) -> Rows:
    """The rows of a data file, or of an array."""
    source, options = _opened(path, reading, threads)
    with working(f"reading {path}"):
        return rows_of_source(source, **options)


def _opened(
    path: Path,
    reading: ReadOptions,
    threads: int | None,
    n_features: int | None = None,
    n_labels: int | None = None,
) -> tuple[LineSource, dict[str, Any]]:
    """A file, and the options of its reader."""
    if is_pipe(path):
        console.print(f"reading {_shown(path)} until it is closed", highlight=False, markup=False)
    source = LineSource(path)
    known = options_of(form_of(source))
    stated = {"threads": threads, "n_features": n_features, "n_labels": n_labels}
    options = {name: value for name, value in stated.items() if name in known and value is not None}
    return source, options | reading.given()


def is_pipe(path: Path) -> bool:
    """Whether a data file is standard input or a pipe, which can be read only once."""
    return fspath(path) == STDIN or (path.exists() and stat.S_ISFIFO(path.stat().st_mode))


def _shown(path: Path) -> str:
    return "standard input" if fspath(path) == STDIN else f"the pipe {path}"
