"""The train command: a model from a data file, with defaults chosen from the data."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated, Any

import attrs
import typer

import lshsample
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
from lshsample.cli.measures import print_measures
from lshsample.cli.messages import Stopping, exit_if_signalled, signalled, working
from lshsample.cli.reading import FILES, ReadOptions, load_data, reads_data
from lshsample.config import TrainConfig, build_network, build_trainer, from_file
from lshsample.data import Dataset, atomic_file
from lshsample.errors import ArgumentError
from lshsample.memory import mebibytes, peak_bytes, resident_bytes
from lshsample.nn import LOSSES, OPTIMIZERS, SCHEDULES, Sampled
from lshsample.nn.bundle import MANIFEST, claim, remove_bundle
from lshsample.nn.network import MODEL
from lshsample.training import EpochRecord, History, ProgressBar, Trainer
from lshsample.training.checkpoint import CHECKPOINT

__all__ = ["train"]

#: The default of options that are chosen for the data.
FROM_DATA = "chosen from the data"
#: The file in the folder of a run with its settings, for --config.
RECIPE = "recipe.toml"
_FILES, _NETWORK, _SAMPLING, _RUN, _RESULT = (
    "Data", "Network", "Sampling of the labels", "Training", "Model and results"
)  # fmt: skip


@reads_data
def train(
    train: Annotated[
        Path,
        typer.Argument(metavar="TRAIN", help=f"Training data: {FILES}"),
    ],
    test: Annotated[
        Path | None,
        typer.Option(
            help="Data to evaluate on at the end, and after each epoch if there is no --valid.",
            rich_help_panel=_FILES,
        ),
    ] = None,
    test_labels: Annotated[
        Path | None,
        typer.Option(help="File of the labels of --test, if it has features alone.", rich_help_panel=_FILES),
    ] = None,
    valid: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE|FILE",
            help="Evaluate after each epoch on this share of the training rows, such as 0.1, which are held "
            "out; or on a data file.",
            rich_help_panel=_FILES,
        ),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the model, its recipe and checkpoints; without it the model is not kept.",
            rich_help_panel=_RESULT,
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(help="Folder of an interrupted run to continue.", rich_help_panel=_RESULT),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace the model or the interrupted run in --save.",
            rich_help_panel=_RESULT,
        ),
    ] = False,
    json: JsonFile = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="TOML file with options of the network, the sampling and the training, such as the "
            "recipe.toml of a run; options that are given override it.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the data.", show_default=FROM_DATA, rich_help_panel=_RUN)
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Rows per step.", show_default=FROM_DATA, rich_help_panel=_RUN)
    ] = None,
    lr: Annotated[
        float | None, typer.Option(help="Learning rate.", show_default=FROM_DATA, rich_help_panel=_RUN)
    ] = None,
    optimizer: Annotated[
        str | None,
        typer.Option(help=f"One of {OPTIMIZERS}.", show_default="adam", rich_help_panel=_RUN),
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            help=f"Learning rate over the run: one of {SCHEDULES}.",
            show_default="linear",
            rich_help_panel=_RUN,
        ),
    ] = None,
    warmup: Annotated[
        float | None,
        typer.Option(
            help="Steps over which the learning rate first rises from 0; below 1, their share of the run.",
            show_default="0",
            rich_help_panel=_RUN,
        ),
    ] = None,
    weight_decay: Annotated[
        float | None,
        typer.Option(help="Decoupled weight decay of the optimizer.", show_default="0", rich_help_panel=_RUN),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            help="With --valid: stop when P@1 has not improved for this number of epochs, and keep the model "
            "of the best epoch.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    max_seconds: Annotated[
        float | None,
        typer.Option(
            help="Training time, if the epochs take longer: the learning rate falls to 0 by then.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    curve_rows: Annotated[
        int,
        typer.Option(
            help="Rows to evaluate between steps too, in 3 % of the training time; 0 for never.",
            rich_help_panel=_RUN,
        ),
    ] = 1000,
    seed: Annotated[
        int | None,
        typer.Option(help="Determines every random choice.", show_default="0", rich_help_panel=_RUN),
    ] = None,
    threads: Threads = None,
    hidden: Annotated[
        str | None,
        typer.Option(
            help="Widths of the hidden layers: 128 or 256,128.",
            show_default=FROM_DATA,
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(help=f"One of {LOSSES}.", show_default=FROM_DATA, rich_help_panel=_NETWORK),
    ] = None,
    label_smoothing: Annotated[
        float | None,
        typer.Option(
            help="Share of the loss's targets that is spread evenly over the labels.",
            show_default=FROM_DATA,
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    propensity: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="Weight labels by inverse propensities, for rare labels (PSP@k): 0.55,1.5 suits most data.",
            show_default="no weights",
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    dropout: Annotated[
        float | None,
        typer.Option(help="Dropout of the hidden layers.", show_default=FROM_DATA, rich_help_panel=_NETWORK),
    ] = None,
    input_dropout: Annotated[
        float | None,
        typer.Option(help="Dropout of the features.", show_default="0", rich_help_panel=_NETWORK),
    ] = None,
    sampler: Annotated[
        str | None,
        typer.Option(
            help="A named pipeline (see `lshsample stages`), or a pipeline: "
            "'Retrieve() | Include() | Uniform(500)'.",
            show_default="lsh",
            rich_help_panel=_SAMPLING,
        ),
    ] = None,
    n_active: Annotated[
        int | None,
        typer.Option(help="Budget of a named pipeline.", show_default=FROM_DATA, rich_help_panel=_SAMPLING),
    ] = None,
    active_set: Annotated[
        str | None,
        typer.Option(
            help="batch (one active set per batch, fast) or sample (one per row).",
            show_default="batch",
            rich_help_panel=_SAMPLING,
        ),
    ] = None,
    family: Annotated[
        str | None,
        typer.Option(
            help="Hash family (see `lshsample families`), or family:option=value,option=value.",
            show_default="simhash",
            rich_help_panel=_SAMPLING,
        ),
    ] = None,
    n_hashes: Annotated[
        int | None,
        typer.Option(help="Hashes per code, K.", show_default=FROM_DATA, rich_help_panel=_SAMPLING),
    ] = None,
    n_tables: Annotated[
        int | None,
        typer.Option(help="Number of tables, L.", show_default=FROM_DATA, rich_help_panel=_SAMPLING),
    ] = None,
    *,
    reading: ReadOptions,
) -> None:
    """Train a network on TRAIN and save it: lshsample train TRAIN --test TEST --save DIR.

    All settings have defaults, which are chosen from the data and printed.

    Ctrl-C writes a checkpoint to --save; --resume DIR or the same command continues.

    A finished model in --save is replaced with --overwrite alone.
    """
    changes = {
        name: value
        for name, value in locals().items()
        if name in {field.name for field in TrainConfig.__attrs_attrs__} and value is not None
    }
    # Data are given again to continue a run, as the files are.
    settings = {name: value for name, value in changes.items() if name != "valid"}
    _check_options(settings, config, save, resume, overwrite)
    if test is None and test_labels is not None:
        raise ArgumentError("--test-labels", test_labels, "used with --test")
    chosen = _stored(resume).merged({"valid": valid}) if resume is not None else _settings(config, changes)
    data, held_out = load_data(train, reading, threads), None
    if test is not None:
        of_test = attrs.evolve(reading, labels=test_labels)
        held_out = load_data(test, of_test, threads, data.n_features, data.n_labels)
    validation = _validation(chosen.valid, held_out, data, reading, threads)
    folder = resume or save
    again = _again(train, test, test_labels, chosen.valid, reading, folder)
    then = f" and writing the checkpoint to {folder}"
    if folder is None:
        then = " (the model is not kept, as there is no --save)"
    run: dict[str, Any] = {
        "threads": threads,
        "max_seconds": max_seconds,
        "curve_rows": curve_rows,
        "callbacks": [ProgressBar(console), Stopping(then)],
    }
    if folder is not None:
        run["checkpoint"] = folder / "checkpoint"
    if resume is not None:
        trainer = Trainer.resume(resume / "checkpoint", **run)
    else:
        chosen = chosen.resolve(data)
        trainer = build_trainer(chosen, build_network(chosen, data.n_features, data.n_labels), **run)
        if save is not None and _is_interrupted(save) and not overwrite:
            trainer = _continued(trainer, chosen, save, run)
    trainer.validation_name = "test" if chosen.valid is None else "valid"
    check_shape(trainer.network, data, "TRAIN")
    if held_out is not None:
        check_shape(trainer.network, held_out, "--test")
    _print_plan(trainer, data, chosen, folder)
    if folder is not None:
        claim(folder / "model", MODEL).release()  # what cannot be saved is refused before it is trained
        if overwrite:
            remove_bundle(folder / "checkpoint", CHECKPOINT)
        if resume is None:
            _write_recipe(folder, chosen)
    history = trainer.fit(data.x, data.y, validation=validation, patience=chosen.patience)
    best = trainer.restore_best()
    if folder is not None:
        with working("saving the model"):
            trainer.network.save(folder / "model")
    measures = _measures(trainer, history, held_out, best is not None)
    valid_epoch = best or (history.epochs[-1] if chosen.valid is not None and history.epochs else None)
    result = _report(trainer, history, measures, valid_epoch, threads)
    result |= {
        "best_epoch": None if best is None else best.epoch,
        "valid": None if valid_epoch is None else valid_epoch.validation,
        "recipe": chosen.to_dict(),
        "network": trainer.network.spec.to_dict(),
        "settings": trainer.settings.to_dict(),
    }
    for path in (json, folder and folder / RESULT):
        write_json(path, result)
    if history.stopped in ("finished", "patience", "max_seconds"):
        if folder is not None:
            remove_bundle(folder / "checkpoint", CHECKPOINT)
    elif folder is not None:
        _say(f"to continue: {shlex.join(again)}")
    exit_if_signalled(history)


def _say(text: str) -> None:
    """Print a line on standard error, whole, so that it can be copied."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _settings(config: Path | None, changes: dict[str, Any]) -> TrainConfig:
    """The settings of a file, overridden by options."""
    try:
        return (from_file(config) if config is not None else TrainConfig()).merged(changes)
    except ArgumentError as error:
        if error.argument != "patience" or "valid" not in error.wanted:
            raise
        wanted = "used with --valid, whose rows choose the epoch (--valid 0.1 holds out a tenth of TRAIN)"
        raise ArgumentError("--patience", "--patience without --valid", wanted) from error


def _validation(
    valid: float | str | None,
    test: Dataset | None,
    train: Dataset,
    reading: ReadOptions,
    threads: int | None,
) -> Any:
    """What is evaluated after each epoch."""
    if isinstance(valid, float):
        return valid
    if isinstance(valid, str):
        of_valid = attrs.evolve(reading, labels=None)
        test = load_data(Path(valid), of_valid, threads, train.n_features, train.n_labels)
    return None if test is None else (test.x, test.y)


def _again(
    train: Path,
    test: Path | None,
    test_labels: Path | None,
    valid: float | str | None,
    reading: ReadOptions,
    folder: Path | None,
) -> list[str]:
    """The command that continues the run of a folder on the same data."""
    given = {"test": test, "test-labels": test_labels, "valid": valid} | reading.given()
    words = ["lshsample", "train", str(train)]
    for name, value in given.items():
        if value is not None:
            option = f"--{name.replace('_', '-')}"
            words += [option] if value is True else [option, str(value)]
    return [*words, "--resume", str(folder)]


def _write_recipe(folder: Path, chosen: TrainConfig) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_file(folder / RECIPE) as file:
        file.write(
            f"# lshsample {lshsample.__version__}; the same run: lshsample train TRAIN --config {RECIPE}\n"
            f"{chosen.to_toml()}".encode()
        )


def _holds(folder: Path) -> bool:
    return os.path.lexists(folder / MANIFEST)


def _is_interrupted(folder: Path) -> bool:
    """Whether the folder of a run has a checkpoint, which is removed when the run is finished."""
    return _holds(folder / "checkpoint")


def _stored(folder: Path) -> TrainConfig:
    """The settings of the run of a folder; the defaults if it has none."""
    recipe = folder / RECIPE
    return from_file(recipe) if recipe.exists() else TrainConfig()


def _continued(trainer: Trainer, chosen: TrainConfig, folder: Path, run: dict[str, Any]) -> Trainer:
    """The interrupted run of a folder, if it is the same run as that of a trainer."""
    before, stored = Trainer.resume(folder / "checkpoint", **run), _stored(folder)
    old = before.settings, before.network.spec, stored.valid, stored.patience
    if old != (trainer.settings, trainer.network.spec, chosen.valid, chosen.patience):
        wanted = (
            "a folder without an interrupted run of other settings (--resume continues that run, --overwrite "
            "replaces it)"
        )
        raise ArgumentError("--save", folder, wanted)
    _say(f"continues the interrupted run in {folder} after step {before.state.step}")
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


def _print_plan(trainer: Trainer, data: Dataset, chosen: TrainConfig, folder: Path | None) -> None:
    """Print the data, the recipe and the memory of the run."""
    _say(f"data      {data.n_rows:,} rows, {data.n_features:,} features, {data.n_labels:,} labels")
    network, settings = trainer.network, trainer.settings
    hidden = ", ".join(f"{layer.units:,}" for layer in network.layers[1:-1])
    first, last = network.spec.layers[0], network.spec.layers[-1]
    weighting = getattr(first, "weighting", "none")
    dropout = getattr(network.spec.layers[1], "dropout", 0.0) if len(network.layers) > 2 else 0.0
    of_loss = getattr(network.loss, "smoothing", 0.0), getattr(network.loss, "propensity", None)
    of_input = getattr(first, "dropout", 0.0)
    _say(
        f"network   hidden {hidden}; loss {type(network.loss).__name__.lower()}"
        f"{f', label smoothing {of_loss[0]:.3g}' if of_loss[0] else ''}"
        f"{f', propensity {of_loss[1][0]:g},{of_loss[1][1]:g}' if of_loss[1] else ''}; "
        f"dropout {dropout:.3g}; input weighting {weighting}{f', dropout {of_input:.3g}' if of_input else ''}"
    )
    if isinstance(last, Sampled):
        tables = network.output.functions()
        hashes = "" if tables is None else f"; family {last.family}, K {tables.n_hashes}, L {tables.n_tables}"
        budget = "" if last.n_active is None else f", n_active {last.n_active:,}"
        _say(f"sampling  {last.sampler}{budget}, one set per {last.active_set}{hashes}")
    optimizer = type(settings.optimizer).__name__.lower()
    decay = settings.optimizer.weight_decay
    stop = f"; patience {chosen.patience}" if chosen.patience else ""
    held = "" if chosen.valid is None else f"; valid {chosen.valid}"
    schedule = SCHEDULES.name_of(settings.schedule)
    warmup = f" after a warm-up of {chosen.warmup:g}" if chosen.warmup else ""
    _say(
        f"training  epochs {settings.epochs}, batch {settings.batch_size}, lr {settings.lr:.4g} "
        f"{schedule}{warmup}, {optimizer}"
        f"{f', weight decay {decay:.3g}' if decay else ''}, seed {settings.seed}{held}{stop}"
    )
    needed = max(sum(trainer.memory_needed().values()) + (resident_bytes() or 0), peak_bytes())
    _say(f"size      {network.n_parameters:,} parameters; about {mebibytes(needed)} of memory at the peak")
    if folder is None:
        _say("note: the model will not be kept; --save DIR keeps it, for lshsample evaluate and predict")


def _measures(trainer: Trainer, history: History, held_out: Dataset | None, best: bool) -> dict[str, float]:
    """The measures of the model at the end of the run, which may be in the middle of an epoch."""
    last = history.epochs[-1] if history.epochs else None
    if trainer.validation_name == "test" and not best and last is not None and last.step == history.steps:
        return last.validation
    if held_out is None or signalled(history):  # a user who ends a run does not wait for an evaluation
        return {}
    with working("evaluating on --test") as progress:
        return trainer.network.evaluate(held_out.x, held_out.y, threads=trainer.threads, progress=progress)


def _report(
    trainer: Trainer,
    history: History,
    measures: dict[str, float],
    valid: EpochRecord | None,
    threads: int | None,
) -> dict[str, Any]:
    """Print the figures; returns them as plain data."""
    if valid is not None:
        text = "  ".join(f"{name.upper()} {value:.2f} %" for name, value in valid.validation.items())
        output.print(f"valid, epoch {valid.epoch}: {text}", highlight=False)
    print_measures(measures)
    output.print(
        f"{history.steps} steps in {history.seconds:.1f} s, median {history.step_ms_median:.2f} ms, "
        f"{history.active_mean:.0f} active units, peak {history.peak_rss_mib:,.0f} MiB "
        f"({history.stopped})",
        highlight=False,
    )
    facts = {
        "n_parameters": trainer.network.n_parameters,
        "seed": trainer.settings.seed,
        **environment(threads),
    }
    return {**{f"p@{k}": measures.get(f"p@{k}") for k in (1, 3, 5)}, **history.to_dict(), **facts}
