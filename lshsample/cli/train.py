"""The train command: a model from a data file, by a recipe whose values are chosen from the data."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import attrs
import typer

from lshsample._native import core
from lshsample.cli.app import JsonFile, Threads, check_same_shape
from lshsample.cli.reading import FILES_OR_TEXTS, ReadOptions, load_data, reads_texts
from lshsample.cli.streaming import streamed_rows
from lshsample.cli.texts import fitted_texts, named_dataset, read_all
from lshsample.cli.train_classifier import train_classifier
from lshsample.cli.train_network import train_network
from lshsample.cli.training_run import TrainingRun, check_folder, is_interrupted, stored_recipe
from lshsample.config import TrainConfig
from lshsample.data import Dataset
from lshsample.errors import ArgumentError
from lshsample.nn import LOSSES, OPTIMIZERS, SCHEDULES
from lshsample.nn.network_spec import PRECISIONS
from lshsample.ray import Cluster
from lshsample.streams import StreamedRows
from lshsample.text import LabelNames, TextRow, TextVectorizer
from lshsample.xc import PRESETS, Recipe

__all__ = ["train"]

#: The default of options that are chosen for the data.
FROM_DATA = "chosen from the data"
_FILES, _NETWORK, _SAMPLING, _RUN, _RESULT = (
    "Data", "Network", "Sampling of the labels", "Training", "Model and results"
)  # fmt: skip


@reads_texts
def train(
    train: Annotated[
        Path,
        typer.Argument(metavar="TRAIN", help=f"Training data: {FILES_OR_TEXTS}"),
    ],
    test: Annotated[
        Path | None,
        typer.Option(
            help="Data to evaluate on at the end; a network alone also after each epoch, without --valid.",
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
            help="Share of the training rows, such as 0.1, which are held out to choose by, and to evaluate "
            "networks on after each epoch; for a network alone also a data file.",
            rich_help_panel=_FILES,
        ),
    ] = None,
    vocabulary: Annotated[
        Path | None,
        typer.Option(
            help="Names and identifiers of the labels of texts: <identifier>, a tab, the name.",
            rich_help_panel=_FILES,
        ),
    ] = None,
    stream: Annotated[
        bool,
        typer.Option(
            "--stream",
            help="TRAIN is a file, a folder or a pattern of files, whose rows need not fit into memory; for "
            "--preset network.",
            rich_help_panel=_FILES,
        ),
    ] = False,
    window: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=2**20,
            help="With --stream: MiB of text whose rows are shuffled together.",
            show_default="64",
            rich_help_panel=_FILES,
        ),
    ] = None,
    parsers: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=1024,
            help="With --stream: processes that parse, 0 for none; the model does not depend on it.",
            show_default="as many as --threads",
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
    tensorboard: Annotated[
        Path | None,
        typer.Option(
            help="Folder for losses and accuracy of networks, for TensorBoard.", rich_help_panel=_RESULT
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help=f"Recipe: one of {', '.join(PRESETS)} (see `lshsample presets`).",
            show_default="balanced",
            rich_help_panel=_RUN,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="TOML file with a recipe, such as one of `lshsample presets NAME`, or the recipe.toml of a "
            "run; options that are given override it.",
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
    precision: Annotated[
        str | None,
        typer.Option(
            help=f"The type of the weights and of their optimizer state: {', '.join(PRECISIONS)}; "
            "int8 and int4 are for the rows of wide layers.",
            show_default="float32",
            rich_help_panel=_RUN,
        ),
    ] = None,
    cache_share: Annotated[
        float | None,
        typer.Option(
            help="With --precision int8 or int4: the share of the rows that stay in float32.",
            show_default="0.05 with int8, 0.01 with int4",
            rich_help_panel=_RUN,
        ),
    ] = None,
    moments: Annotated[
        str | None,
        typer.Option(
            help="With --precision float32 or bfloat16: float8 keeps the optimizer state in 8 bits. "
            "With int8 or int4: float4 keeps it in 4 bits.",
            show_default="the type of the weights, or 8 bits",
            rich_help_panel=_RUN,
        ),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            help="For a network alone, with --valid: stop when P@1 has not improved for this number of "
            "epochs, and keep the model of the best epoch.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    max_seconds: Annotated[
        float | None,
        typer.Option(
            help="Training time, if the recipe takes longer: networks have what is left of it.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    checkpoint_seconds: Annotated[
        float,
        typer.Option(
            help="Training time between two checkpoints of a network, in seconds.", rich_help_panel=_RUN
        ),
    ] = 300.0,
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
    workers: Annotated[
        int | None,
        typer.Option(
            help="Spread the labels of a network alone over this number of processes, a power of two.",
            show_default="none",
            rich_help_panel=_RUN,
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            help="With --workers: address of the Ray cluster, or auto; by default Ray is started here.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    parts: Annotated[
        int | None,
        typer.Option(
            help="With --workers: the workers also compute the hidden layers, of this number of parts of a "
            "batch, a power of two.",
            show_default="none, the hidden layers are computed here",
            rich_help_panel=_RUN,
        ),
    ] = None,
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
    """Train a classifier on TRAIN and save it: lshsample train TRAIN --test TEST --save DIR.

    A recipe says which parts it has: a linear path, neighbours among the training rows, and a network, to
    which most options belong. All settings have defaults, which are chosen from the data.

    Ctrl-C writes a checkpoint to --save; --resume DIR or the same command continues.

    A finished model in --save is replaced with --overwrite alone.
    """
    settings = {field.name for field in attrs.fields(TrainConfig)} - {"seed", "valid"}
    changes = {name: value for name, value in locals().items() if name in settings and value is not None}
    of_recipe = {"--preset": preset, "--config": config, "--seed": seed}
    _check_resume(resume, [f"--{name.replace('_', '-')}" for name in changes], of_recipe)
    check_folder(save, resume, overwrite)
    if test is None and test_labels is not None:
        raise ArgumentError("--test-labels", test_labels, "used with --test")
    if parts is not None and workers is None:
        raise ArgumentError("--parts", parts, "used with --workers")
    stored = None if resume is None else stored_recipe(resume)
    recipe = stored or _recipe(preset, config, changes, seed, valid)
    for option, value in (("--window", window), ("--parsers", parsers)):
        if value is not None and not stream:
            raise ArgumentError(option, value, "used with --stream")
    n_parsers = core.threads_or_default(threads) if parsers is None else parsers
    vectorizer, names, held_out = None, None, None
    data: Dataset | StreamedRows
    if stream:
        if workers is not None:
            raise ArgumentError("--workers", workers, "used without --stream")
        again = resume or (None if save is None or overwrite or not is_interrupted(save) else save)
        checkpoint = None if again is None else again / "checkpoint"
        data = streamed_rows(train, reading, recipe, vocabulary, n_parsers, checkpoint)
        vectorizer, names = data.vectorizer, data.names
    else:
        data, vectorizer, names = _in_memory(train, reading, recipe, vocabulary, threads)
    if test is not None and vectorizer is not None and names is not None:
        held_out = named_dataset(_texts(test, reading), vectorizer, names)
    elif test is not None:
        of_test = attrs.evolve(reading, labels=test_labels)
        held_out = load_data(test, of_test, threads, data.n_features, data.n_labels)
        check_same_shape(held_out, data, "--test")
    file = None if recipe.network is None else recipe.network.valid
    validation = None
    if isinstance(file, str):
        of_valid = attrs.evolve(reading, labels=None)
        validation = load_data(Path(file), of_valid, threads, data.n_features, data.n_labels)
    cluster = _cluster(workers, address, recipe)
    if isinstance(data, StreamedRows):
        recipe = recipe.resolve_stream(data.shape)
    else:
        recipe = recipe.resolve(data.x, data.y)
    folder = resume or save
    continued = resume is not None
    if save is not None and is_interrupted(save) and not overwrite:
        if stored_recipe(save) != recipe:
            wanted = (
                "a folder without an interrupted run of other settings (--resume continues that run, "
                "--overwrite replaces it)"
            )
            raise ArgumentError("--save", save, wanted)
        continued = True
    run = TrainingRun(
        recipe=recipe,
        data=data,
        test=held_out,
        validation=validation,
        folder=folder,
        overwrite=overwrite,
        is_continued=continued,
        json=json,
        threads=threads,
        max_seconds=max_seconds,
        curve_rows=curve_rows,
        cluster=cluster,
        vectorizer=vectorizer,
        names=names,
        tensorboard=tensorboard,
        window=64 if window is None else window,
        parsers=n_parsers,
        checkpoint_seconds=checkpoint_seconds,
        to_continue=shlex.join(
            _again(train, test, test_labels, valid, vocabulary, reading, folder, cluster, stream, window)
        ),
    )
    (train_network if recipe.is_network_alone and not stream else train_classifier)(run)


def _in_memory(
    path: Path, reading: ReadOptions, recipe: Recipe, vocabulary: Path | None, threads: int | None
) -> tuple[Dataset, TextVectorizer | None, LabelNames | None]:
    """The rows of TRAIN, and what made them of texts."""
    texts = read_all(path, reading)
    if vocabulary is not None and texts is None:
        raise ArgumentError("--vocabulary", vocabulary, "used with texts")
    if texts is None:
        return load_data(path, reading, threads), None, None
    if recipe.is_network_alone:
        wanted = "rows of features for a network alone; with --stream it takes texts too"
        raise ArgumentError("TRAIN", f"texts, of {path}", wanted)
    return fitted_texts(texts, recipe.text, vocabulary)


def _texts(path: Path, reading: ReadOptions) -> list[TextRow]:
    """The texts of --test."""
    rows = read_all(path, reading)
    if rows is None:
        raise ArgumentError("--test", path, "a file of texts, as TRAIN")
    return rows


def _recipe(
    preset: str | None, config: Path | None, changes: dict[str, Any], seed: int | None, valid: str | None
) -> Recipe:
    """The recipe of a preset or a file, overridden by options."""
    if preset is not None and config is not None:
        raise ArgumentError("--preset", f"{preset!r} with --config", "used without --config")
    recipe = Recipe.preset(preset or "balanced") if config is None else Recipe.from_file(config)
    if seed is not None:
        recipe = attrs.evolve(recipe, seed=seed)
    if valid is not None and recipe.is_network_alone:
        changes = {**changes, "valid": valid}
    elif valid is not None:
        try:
            recipe = attrs.evolve(recipe, holdout=float(valid))
        except ValueError:
            wanted = "a share of the training rows; a file is for a network alone (--preset network)"
            raise ArgumentError("--valid", repr(valid), wanted) from None
    try:
        return recipe.merged(changes)
    except ArgumentError as error:
        if error.argument == "network.parts":
            wanted = "used with --preset network, as only networks are spread"
            raise ArgumentError("--parts", changes["parts"], wanted) from error
        if "patience" not in error.argument:
            raise
        wanted = "used with --valid, whose rows choose the epoch (--valid 0.1 holds out a tenth of TRAIN)"
        if not recipe.is_network_alone:
            wanted = "used with --preset network"
        raise ArgumentError("--patience", "--patience without it", wanted) from error


def _cluster(workers: int | None, address: str | None, recipe: Recipe) -> Cluster | None:
    """The workers, of a network alone."""
    if workers is None:
        if address is not None:
            raise ArgumentError("--address", address, "used with --workers")
        return None
    if not recipe.is_network_alone:
        raise ArgumentError("--workers", workers, "used with --preset network, as only networks are spread")
    return Cluster(workers=workers, address=address)


def _check_resume(resume: Path | None, changes: list[str], of_recipe: dict[str, Any]) -> None:
    """Refuse options that would change a continued run."""
    given = [*changes, *(name for name, value in of_recipe.items() if value is not None)]
    if resume is not None and given:
        raise ArgumentError(
            "--resume",
            f"--resume with {', '.join(given)}",
            "used without options that change the run, which are in its checkpoint",
        )


def _again(
    train: Path,
    test: Path | None,
    test_labels: Path | None,
    valid: float | str | None,
    vocabulary: Path | None,
    reading: ReadOptions,
    folder: Path | None,
    cluster: Cluster | None,
    stream: bool,
    window: int | None,
) -> list[str]:
    """The command that continues the run of a folder on the same data."""
    files = {"test": test, "test-labels": test_labels, "valid": valid, "vocabulary": vocabulary}
    given = files | {"stream": stream or None, "window": window} | reading.given()
    words = ["lshsample", "train", str(train)]
    for name, value in given.items():
        if value is not None:
            option = f"--{name.replace('_', '-')}"
            words += [option] if value is True else [option, str(value)]
    if cluster is not None:
        words += ["--workers", str(cluster.workers)]
        words += [] if cluster.address is None else ["--address", cluster.address]
    return [*words, "--resume", str(folder)]
