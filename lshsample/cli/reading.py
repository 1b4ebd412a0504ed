"""The options of the commands that read data files: those of the readers."""

from __future__ import annotations

import functools
import inspect
import stat
from collections.abc import Callable, Iterator
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
from lshsample.errors import ArgumentError
from lshsample.family import Rows
from lshsample.text import FORMATS, TextRow, detect_text_format, read_texts

__all__ = [
    "FILES",
    "FILES_OR_TEXTS",
    "ReadOptions",
    "is_pipe",
    "load_data",
    "load_rows",
    "reads_data",
    "reads_texts",
]

#: What a data file can be, for the help of arguments.
FILES = (
    "XC text or libsvm (plain, gzip, bzip2, xz or zstd), npz, or features alone (text, npy, npz of SciPy) "
    "with --labels; - for standard input."
)
#: What it can be where texts can be given too.
FILES_OR_TEXTS = f"texts with named labels (JSON lines, tsv, csv, fastText, Annif); or {FILES}"

#: Options of texts.
_OF_TEXTS = ("text_column", "label_column", "label_separator")
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
    "text_format": (
        str | None,
        f"Format of texts with named labels: one of {', '.join(FORMATS)}.",
        "recognised by the first line",
    ),
    "text_column": (str | None, "Key or column of the text.", "text"),
    "label_column": (str | None, "Key or column of the labels.", "labels"),
    "label_separator": (str | None, "Between the labels in a column of tsv and csv.", ";"),
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
    text_format: str | None = None
    text_column: str | None = None
    label_column: str | None = None
    label_separator: str | None = None
    trust_rows: bool = False

    def texts(self, path: Path) -> Iterator[TextRow] | None:
        """The texts of a file; None if it holds rows of features."""
        form = self.text_format or detect_text_format(path)
        of_texts = {name: getattr(self, name) for name in _OF_TEXTS if getattr(self, name) is not None}
        if form is None:
            if of_texts:
                name, value = next(iter(of_texts.items()))
                wanted = "used with a file of texts (see --text-format)"
                raise ArgumentError(f"--{name.replace('_', '-')}", value, wanted)
            return None
        return read_texts(
            path,
            form=form,
            text=self.text_column or "text",
            labels=self.label_column or "labels",
            separator=self.label_separator or ";",
        )

    def given(self) -> dict[str, Any]:
        """The options that were given."""
        every = attrs.asdict(self).items()
        return {name: value for name, value in every if value is not None and value is not False}


def reads_texts(command: Callable[..., None]) -> Callable[..., None]:
    """As :func:`reads_data`, for a command that takes texts too, with their options."""
    return _reading(command, tuple(field.name for field in attrs.fields(ReadOptions)))


def reads_data(command: Callable[..., None]) -> Callable[..., None]:
    """A command with the options of :class:`ReadOptions`, its argument ``reading``, and of its messages."""
    fields = (field.name for field in attrs.fields(ReadOptions))
    return _reading(command, tuple(name for name in fields if name not in ("text_format", *_OF_TEXTS)))


def _reading(command: Callable[..., None], read: tuple[str, ...]) -> Callable[..., None]:
    hints = get_type_hints(command, include_extras=True)
    own = [p for p in inspect.signature(command).parameters.values() if p.name != "reading"]
    parameters = [p.replace(annotation=hints[p.name]) for p in own]
    for field in (one for one in attrs.fields(ReadOptions) if one.name in read):
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
        options = {name: values.pop(name) for name in read}
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
    of_rows = {name: value for name, value in reading.given().items() if "text" not in name}
    return source, options | {k: v for k, v in of_rows.items() if k not in _OF_TEXTS}


def is_pipe(path: Path) -> bool:
    """Whether a data file is standard input or a pipe, which can be read only once."""
    return fspath(path) == STDIN or (path.exists() and stat.S_ISFIFO(path.stat().st_mode))


def _shown(path: Path) -> str:
    return "standard input" if fspath(path) == STDIN else f"the pipe {path}"
