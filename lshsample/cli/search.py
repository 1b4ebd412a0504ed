"""The search command: the best recipe for a data file, on training rows that are held out."""

from __future__ import annotations

import csv
import io
import json as json_text
import logging
import shlex
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Self

import typer
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

import lshsample
from lshsample import specs
from lshsample.cli.app import JsonFile, Threads, console, environment, output, write_json
from lshsample.cli.messages import Stopping, exit_if_signalled, say
from lshsample.cli.reading import FILES_OR_TEXTS, ReadOptions, load_data, reads_texts
from lshsample.cli.search_plot import write_search_plot
from lshsample.cli.texts import fitted_texts, read_all
from lshsample.cli.training_run import RECIPE
from lshsample.data import atomic_file
from lshsample.errors import ArgumentError, UnsupportedError
from lshsample.nn.network import StepReport
from lshsample.training import Callback, Trainer
from lshsample.xc import (
    PRESETS,
    Interrupted,
    Recipe,
    SearchResult,
    Stage,
    Trial,
    require_optuna,
    search_recipes,
)

__all__ = ["search"]

#: The files of a search beside its recipe.
_JOURNAL, _TRIALS, _RESULT, _PLOT = "search.journal", "trials.csv", "search.json", "search.svg"
#: Trials in the table.
_SHOWN = 10


@reads_texts
def search(
    train: Annotated[Path, typer.Argument(metavar="TRAIN", help=f"Training data: {FILES_OR_TEXTS}")],
    save: Annotated[
        Path, typer.Option(help="Folder for the recipe and the trials; a search that it has is continued.")
    ],
    base: Annotated[
        str,
        typer.Option(
            metavar="PRESET|FILE",
            help=f"The recipe of the first trial: one of {', '.join(PRESETS)}, or a TOML file.",
        ),
    ] = "balanced",
    space: Annotated[
        Path | None,
        typer.Option(
            help='TOML file of the settings to change, such as "network.lr" = [1e-4, 1e-2, "log"].',
            show_default="around the first recipe",
        ),
    ] = None,
    max_seconds: Annotated[
        float | None, typer.Option(help="Time of all trials. This or --trials is needed.")
    ] = None,
    trials: Annotated[int | None, typer.Option(help="Number of trials.")] = None,
    valid: Annotated[
        float, typer.Option(help="Share of the training rows that are held out, 10,000 rows at most.")
    ] = 0.1,
    metric: Annotated[
        str, typer.Option(help="What counts: p@1, psp@3, ndcg@5 and so on; the mean of several: p@1,p@5.")
    ] = "p@1",
    seed: Annotated[int, typer.Option(help="Determines the held-out rows, and what is tried.")] = 0,
    threads: Threads = None,
    json: JsonFile = None,
    *,
    reading: ReadOptions,
) -> None:
    """Search for the best recipe: lshsample search TRAIN --max-seconds 600 --save DIR.

    Recipes are compared on training rows that are held out. The result is for
    lshsample train TRAIN --config DIR/recipe.toml.

    The same command continues a search that was interrupted, or one that is to take longer.
    """
    require_optuna()
    first, wanted = _base(base), None if space is None else _space(space)
    if (save / RECIPE).exists() and not (save / _JOURNAL).exists():
        raise ArgumentError(
            "--save", f"{save}, which has another {RECIPE}", "a folder of a search, or a new one"
        )
    texts = read_all(train, reading)
    if texts is None:
        data = load_data(train, reading, threads)
    else:
        data, _, _ = fitted_texts(texts, first.text, None)
    log = logging.getLogger("lshsample")
    if log.level == logging.INFO:  # a line for each trial, not for each epoch of each trial
        log.setLevel(logging.WARNING)
    save.mkdir(parents=True, exist_ok=True)
    with _Shown(max_seconds, trials) as shown:

        def on_trial(result: SearchResult) -> None:
            shown.tell(result)
            _write(result, save)

        try:
            result = search_recipes(
                data.x,
                data.y,
                base=first,
                space=wanted,
                max_seconds=max_seconds,
                n_trials=trials,
                valid=valid,
                metric=metric,
                storage=save / _JOURNAL,
                seed=seed,
                threads=threads,
                callbacks=[shown, Stopping("; the same command continues the search")],
                progress=shown.progress,
                on_stage=shown.stage,
                on_trial=on_trial,
            )
        except Interrupted as ended:
            exit_if_signalled(ended.history)
            raise
    _write(result, save)
    try:
        write_search_plot(result, save / _PLOT)
    except UnsupportedError as error:
        say(f"{_PLOT} is left out: {error}")
    output.print(_table(result))
    output.print(
        f"best: trial {result.best.number}, {metric.upper()} {result.best.value:.2f} % (base recipe "
        f"{result.trials[0].value:.2f} %), of {len(result.trials)} trials in {result.seconds:.0f} s",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    again = shlex.join(["lshsample", "train", str(train), "--config", str(save / RECIPE)])
    output.print(again, highlight=False, markup=False, soft_wrap=True)
    write_json(json, {**result.to_dict(), **environment(threads)})


def _base(text: str) -> Recipe:
    """The recipe of a name or a file."""
    return Recipe.preset(text) if text in PRESETS or not Path(text).exists() else Recipe.from_file(text)


def _space(path: Path) -> dict[str, Any]:
    try:
        return specs.parsed_toml(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ArgumentError("--space", f"{path}: {error}", "a TOML file") from error


class _Shown(Callback):
    """A line for each trial, and on a terminal a bar of the search and one of what is done now."""

    def __init__(self, seconds: float | None, trials: int | None) -> None:
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TimeElapsedColumn(),
        )
        self._bars = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._all = self._bars.add_task("trial 0", total=seconds or trials)
        self._now = self._bars.add_task("", total=None)
        self._by_time = seconds is not None

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def progress(self, what: str, done: int, total: int) -> None:
        """Show how much of something is done."""
        self._bars.update(self._now, description=what, completed=done, total=total)

    def stage(self, stage: Stage) -> None:
        """Show that a part is ready."""
        self._bars.update(self._now, description=f"{stage.name} is ready", completed=0, total=None)

    def on_start(self, trainer: Trainer, steps_done: int, steps_total: int | None) -> None:
        self.progress("training a network", steps_done, steps_total or 0)

    def on_step(self, step: int, report: StepReport, milliseconds: float) -> None:
        self._bars.update(self._now, completed=step)

    def tell(self, result: SearchResult) -> None:
        """Show a trial that has ended."""
        trial, best = result.trials[-1], result.best
        value = trial.state if trial.value is None else f"{trial.value:.2f} %"
        so_far = f"best {best.value:.2f} % (trial {best.number})"
        reason = f"  {trial.reason}" if trial.reason else ""
        say(f"trial {trial.number}  {value}  {trial.seconds:.1f} s  {so_far}{reason}")
        self._bars.update(
            self._all,
            description=f"trial {trial.number + 1}, best {result.metric.upper()} {best.value:.2f} %",
            completed=result.seconds if self._by_time else len(result.trials),
        )


def _write(result: SearchResult, folder: Path) -> None:
    """Write the best recipe, and the trials."""
    head = (
        f"# lshsample {lshsample.__version__}; the best of {len(result.trials)} trials, {result.metric} "
        f"{result.best.value:.2f} % on held-out rows\n"
    )
    with atomic_file(folder / RECIPE) as file:
        file.write((head + result.recipe.to_toml()).encode())
    with atomic_file(folder / _TRIALS) as file:
        file.write(_csv(result).encode())
    write_json(folder / _RESULT, result.to_dict())


def _csv(result: SearchResult) -> str:
    measures, text = list(result.trials[0].measures), io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["number", "state", "value", "seconds", *measures, *result.space, "reason"])
    for trial in result.trials:
        found = [trial.measures.get(name) for name in measures]
        values = [_plain(trial.values[name]) if name in trial.values else None for name in result.space]
        seconds = round(trial.seconds, 3)
        writer.writerow([trial.number, trial.state, trial.value, seconds, *found, *values, trial.reason])
    return text.getvalue()


def _plain(value: Any) -> Any:
    """A number or a text as it is, other values as JSON."""
    return value if isinstance(value, int | float | str) else json_text.dumps(value)


def _table(result: SearchResult) -> Table:
    """The best trials, and the base recipe."""
    measures = [name for name in result.trials[0].measures if name != result.metric]
    table = Table()
    for name in ("trial", result.metric.upper(), *map(str.upper, measures), "seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("changes")
    complete = [trial for trial in result.trials if trial.value is not None]
    best = sorted(complete, key=lambda trial: -(trial.value or 0.0))[:_SHOWN]
    for trial in best if result.trials[0] in best else [*best, result.trials[0]]:
        others = [f"{trial.measures[name]:.2f}" for name in measures]
        row = (
            f"{trial.number}",
            f"{trial.value:.2f}",
            *others,
            f"{trial.seconds:.1f}",
            _changes(trial, result),
        )
        table.add_row(*row)
    return table


def _changes(trial: Trial, result: SearchResult) -> str:
    """The settings in which a trial differs from the base recipe."""
    base = result.base_values
    changed = {name: value for name, value in trial.values.items() if value != base[name]}
    shown = {k: f"{v:.3g}" if isinstance(v, float) else str(_plain(v)) for k, v in changed.items()}
    return ", ".join(f"{name} {text}" for name, text in shown.items()) or "base recipe"
