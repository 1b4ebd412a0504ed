"""The train command: a model from a data file, with defaults chosen from the data."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import attrs
import typer

from lshsample.cli.app import (
    RESULT,
    JsonFile,
    Threads,
    check_shape,
    console,
    environment,
    output,
    write_json,
)
from lshsample.cli.reading import FILES, ReadOptions, load_data, reads_data
from lshsample.config import TrainConfig, build_network, build_trainer, from_file
from lshsample.data import Dataset
from lshsample.errors import ArgumentError
from lshsample.memory import mebibytes, peak_bytes, resident_bytes
from lshsample.nn import LOSSES, OPTIMIZERS
from lshsample.nn.bundle import MANIFEST, claim, remove_bundle
from lshsample.nn.network import MODEL
from lshsample.training import History, ProgressBar, Trainer
from lshsample.training.checkpoint import CHECKPOINT

__all__ = ["train"]

#: The default of options that are chosen for the data.
FROM_DATA = "chosen from the data"


@reads_data
def train(
    train: Annotated[
        Path,
        typer.Argument(metavar="TRAIN", help=f"Training data: {FILES}"),
    ],
    test: Annotated[
        Path | None, typer.Option(help="Data to evaluate on after each epoch and at the end.")
    ] = None,
    test_labels: Annotated[
        Path | None, typer.Option(help="File of the labels of --test, if it has features alone.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="TOML file with any of the options from --hidden to --seed; options override it."),
    ] = None,
    hidden: Annotated[
        str | None, typer.Option(help="Widths of the hidden layers: 128 or 256,128.", show_default=FROM_DATA)
    ] = None,
    loss: Annotated[str | None, typer.Option(help=f"One of {LOSSES}.", show_default="softmax")] = None,
    sampler: Annotated[
        str | None,
        typer.Option(
            help="A named pipeline (see `lshsample stages`), or a pipeline: "
            "'Retrieve() | Include() | Uniform(500)'.",
            show_default="lsh",
        ),
    ] = None,
    family: Annotated[
        str | None,
        typer.Option(
            help="Hash family (see `lshsample families`), or family:option=value,option=value.",
            show_default="simhash",
        ),
    ] = None,
    n_hashes: Annotated[int | None, typer.Option(help="Hashes per code, K.", show_default=FROM_DATA)] = None,
    n_tables: Annotated[int | None, typer.Option(help="Number of tables, L.", show_default=FROM_DATA)] = None,
    active_set: Annotated[
        str | None,
        typer.Option(
            help="batch (one active set per batch, fast) or sample (one per row).", show_default="batch"
        ),
    ] = None,
    n_active: Annotated[
        int | None, typer.Option(help="Budget of a named pipeline.", show_default=FROM_DATA)
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Rows per step.", show_default=FROM_DATA)] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the data.", show_default=FROM_DATA)] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.", show_default=FROM_DATA)] = None,
    optimizer: Annotated[str | None, typer.Option(help=f"One of {OPTIMIZERS}.", show_default="adam")] = None,
    dropout: Annotated[
        float | None, typer.Option(help="Dropout of the hidden layers.", show_default=FROM_DATA)
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Determines every random choice.", show_default="0")
    ] = None,
    threads: Threads = None,
    save: Annotated[Path | None, typer.Option(help="Folder for the model and checkpoints.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Folder of an interrupted run to continue.")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the model or the interrupted run in --save.")
    ] = False,
    max_seconds: Annotated[float | None, typer.Option(help="Stop training after this many seconds.")] = None,
    json: JsonFile = None,
    *,
    reading: ReadOptions,
) -> None:
    """Train a network on TRAIN; Ctrl-C writes a checkpoint to --save, which --resume continues.

    The same command continues too; a finished model in --save is replaced with --overwrite alone.
    """
    changes = {
        name: value
        for name, value in locals().items()
        if name in {field.name for field in TrainConfig.__attrs_attrs__} and value is not None
    }
    _check_options(changes, config, save, resume, overwrite)
    chosen = (from_file(config) if config is not None else TrainConfig()).merged(changes)
    if test is None and test_labels is not None:
        raise ArgumentError("--test-labels", test_labels, "used with --test")
    data, held_out = load_data(train, reading, threads), None
    if test is not None:
        of_test = attrs.evolve(reading, labels=test_labels)
        held_out = load_data(test, of_test, threads, data.n_features, data.n_labels)
    run: dict[str, Any] = {
        "threads": threads,
        "max_seconds": max_seconds,
        "callbacks": [ProgressBar(console)],
    }
    folder = resume or save
    if folder is not None:
        run["checkpoint"] = folder / "checkpoint"
    if resume is not None:
        trainer = Trainer.resume(resume / "checkpoint", **run)
    else:
        chosen = chosen.resolve(data)
        trainer = build_trainer(chosen, build_network(chosen, data.n_features, data.n_labels), **run)
        if save is not None and _is_interrupted(save) and not overwrite:
            trainer = _continued(trainer, save, run)
    check_shape(trainer.network, data, "TRAIN")
    if held_out is not None:
        check_shape(trainer.network, held_out, "--test")
    _print_plan(trainer, data)
    if folder is not None:
        claim(folder / "model", MODEL).release()  # what cannot be saved is refused before it is trained
        if overwrite:
            remove_bundle(folder / "checkpoint", CHECKPOINT)
    history = trainer.fit(data.x, data.y, validation=None if held_out is None else (held_out.x, held_out.y))
    if folder is not None:
        trainer.network.save(folder / "model")
    result = _report(trainer, history, _measures(trainer, history, held_out), threads)
    for path in (json, folder and folder / RESULT):
        write_json(path, result)
    if folder is not None and history.stopped == "finished":
        remove_bundle(folder / "checkpoint", CHECKPOINT)


def _holds(folder: Path) -> bool:
    return os.path.lexists(folder / MANIFEST)


def _is_interrupted(folder: Path) -> bool:
    """Whether the folder of a run has a checkpoint, which is removed when the run is finished."""
    return _holds(folder / "checkpoint")


def _continued(trainer: Trainer, folder: Path, run: dict[str, Any]) -> Trainer:
    """The interrupted run of a folder, if it is the same run as that of a trainer."""
    before = Trainer.resume(folder / "checkpoint", **run)
    if (before.settings, before.network.spec) != (trainer.settings, trainer.network.spec):
        wanted = (
            "a folder without an interrupted run of other settings (--resume continues that run, --overwrite "
            "replaces it)"
        )
        raise ArgumentError("--save", folder, wanted)
    console.print(f"continues the interrupted run in {folder} after step {before.state.step}", markup=False)
    return before


def _check_options(
    changes: dict[str, Any], config: Path | None, save: Path | None, resume: Path | None, overwrite: bool
) -> None:
    """Refuse options that would change a continued run, and a folder whose content would be lost."""
    if overwrite and save is None:
        raise ArgumentError("--overwrite", "--overwrite without --save", "used with --save")
    if save is not None and resume is None and not (overwrite or _is_interrupted(save)):
        for model in (save / "model", save):
            if _holds(model):
                wanted = "a folder without a model (--overwrite replaces it)"
                raise ArgumentError("--save", f"{save}, which has one", wanted)
    if resume is None:
        return
    if changes or config is not None:
        given = ", ".join(f"--{name.replace('_', '-')}" for name in changes) or "--config"
        raise ArgumentError(
            "--resume",
            f"--resume with {given}",
            "used without options that change the run, which are in its checkpoint",
        )
    if save is not None:
        raise ArgumentError(
            "--resume", "--resume with --save", "used without --save: a continued run stays in its folder"
        )
    if not _is_interrupted(resume):
        done = " (its run is finished)" if _holds(resume / "model") else ""
        wanted = "the folder of an interrupted run; one without a checkpoint is started again with --save"
        raise ArgumentError("--resume", f"{resume}{done}", wanted)


def _print_plan(trainer: Trainer, data: Dataset) -> None:
    """Print the data, the layers and the memory of the run."""
    console.print(f"data: {data}", highlight=False, markup=False, soft_wrap=True)
    for layer in trainer.network.spec.layers:
        console.print(f"  {layer}", highlight=False, markup=False, soft_wrap=True)
    needed = max(sum(trainer.memory_needed().values()) + (resident_bytes() or 0), peak_bytes())
    console.print(
        f"{trainer.network.n_parameters:,} parameters; about {mebibytes(needed)} of memory at the peak",
        highlight=False,
    )


def _measures(trainer: Trainer, history: History, held_out: Dataset | None) -> dict[str, float]:
    """The measures of the model at the end of the run, which may be in the middle of an epoch."""
    if held_out is None:
        return {}
    last = history.epochs[-1] if history.epochs else None
    if last is not None and last.step == history.steps and last.validation:
        return last.validation
    return trainer.network.evaluate(held_out.x, held_out.y, threads=trainer.threads)


def _report(
    trainer: Trainer, history: History, measures: dict[str, float], threads: int | None
) -> dict[str, Any]:
    """Print the figures; returns them as plain data."""
    for name, value in measures.items():
        output.print(f"{name.upper()} {value:.2f}")
    output.print(
        f"{history.steps} steps in {history.seconds:.1f} s, median {history.step_ms_median:.2f} ms, "
        f"{history.active_mean:.0f} active units, peak {history.peak_rss_mib:,.0f} MiB "
        f"({history.stopped})"
    )
    facts = {
        "n_parameters": trainer.network.n_parameters,
        "seed": trainer.settings.seed,
        **environment(threads),
    }
    return {**{f"p@{k}": measures.get(f"p@{k}") for k in (1, 3, 5)}, **history.to_dict(), **facts}
