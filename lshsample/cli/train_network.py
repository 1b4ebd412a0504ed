"""Training of a network alone by the train command."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import attrs

from lshsample.cli.app import check_shape, environment, output
from lshsample.cli.measures import print_measures
from lshsample.cli.messages import exit_if_signalled, say, signalled, working
from lshsample.cli.training_run import TrainingRun
from lshsample.config import TrainConfig, build_network, build_trainer
from lshsample.data import Dataset
from lshsample.memory import mebibytes, peak_bytes, resident_bytes
from lshsample.nn import SCHEDULES, Sampled
from lshsample.nn.network import MODEL
from lshsample.ray import ShardedNetwork
from lshsample.training import EpochRecord, History, Trainer

__all__ = ["train_network"]


def train_network(run: TrainingRun) -> None:
    """Train, save and measure a network."""
    recipe, data, folder = run.recipe, run.data, run.folder
    assert recipe.network is not None
    assert isinstance(data, Dataset)
    chosen = attrs.evolve(recipe.network, seed=recipe.seed)
    options: dict[str, Any] = {
        "threads": run.threads,
        "max_seconds": run.max_seconds,
        "curve_rows": run.curve_rows,
        "checkpoint_seconds": run.checkpoint_seconds,
        "callbacks": run.callbacks(),
    }
    if run.checkpoint is not None:
        options["checkpoint"] = run.checkpoint
    with contextlib.ExitStack() as stack:
        if run.is_continued:
            assert run.checkpoint is not None
            if run.cluster is None:
                trainer = Trainer.resume(run.checkpoint, **options)
            else:
                trainer = ShardedNetwork.resume(run.checkpoint, cluster=run.cluster, **options)
            say(f"continues the interrupted run in {folder} after step {trainer.state.step}")
        else:
            network = build_network(chosen, data.n_features, data.n_labels)
            if run.cluster is not None:
                network = ShardedNetwork.from_spec(network.spec, cluster=run.cluster)
            trainer = build_trainer(chosen, network, **options)
        if isinstance(trainer.network, ShardedNetwork):
            stack.enter_context(trainer.network)
        _train(run, data, chosen, trainer)


def _train(run: TrainingRun, data: Dataset, chosen: TrainConfig, trainer: Trainer) -> None:
    """Train a network that is made, save it, and measure it."""
    recipe, folder = run.recipe, run.folder
    trainer.validation_name = "test" if chosen.valid is None else "valid"
    check_shape(trainer.network, data, "TRAIN")
    _print_plan(trainer, data, chosen, folder)
    run.begin(MODEL)
    history = trainer.fit(data.x, data.y, validation=_validation(run, chosen), patience=chosen.patience)
    best = trainer.restore_best()
    place = run.make_place(MODEL)
    if place is not None:
        with working("saving the model"):
            trainer.network.save(place)
    measures = _measures(trainer, history, run.test, best is not None)
    valid_epoch = best or (history.epochs[-1] if chosen.valid is not None and history.epochs else None)
    result = _report(trainer, history, measures, valid_epoch, run.threads)
    run.write(
        result
        | {
            "best_epoch": None if best is None else best.epoch,
            "valid": None if valid_epoch is None else valid_epoch.validation,
            "recipe": recipe.to_dict(),
            "network": trainer.network.spec.to_dict(),
            "settings": trainer.settings.to_dict(),
        }
    )
    if history.stopped in ("finished", "patience", "max_seconds"):
        run.forget_checkpoint()
    elif folder is not None:
        say(f"to continue: {run.to_continue}")
    exit_if_signalled(history)


def _validation(run: TrainingRun, chosen: TrainConfig) -> Any:
    """What is evaluated after each epoch."""
    if isinstance(chosen.valid, float):
        return chosen.valid
    data = run.test if chosen.valid is None else run.validation
    return None if data is None else (data.x, data.y)


def _print_plan(trainer: Trainer, data: Dataset, chosen: TrainConfig, folder: Path | None) -> None:
    """Print the data, the recipe and the memory of the run."""
    say(f"data      {data.n_rows:,} rows, {data.n_features:,} features, {data.n_labels:,} labels")
    network, settings = trainer.network, trainer.settings
    hidden = ", ".join(f"{layer.units:,}" for layer in network.layers[1:-1])
    first, last = network.spec.layers[0], network.spec.layers[-1]
    weighting = getattr(first, "weighting", "none")
    dropout = getattr(network.spec.layers[1], "dropout", 0.0) if len(network.layers) > 2 else 0.0
    of_loss = getattr(network.loss, "smoothing", 0.0), getattr(network.loss, "propensity", None)
    of_input = getattr(first, "dropout", 0.0)
    say(
        f"network   hidden {hidden}; loss {type(network.loss).__name__.lower()}"
        f"{f', label smoothing {of_loss[0]:.3g}' if of_loss[0] else ''}"
        f"{f', propensity {of_loss[1][0]:g},{of_loss[1][1]:g}' if of_loss[1] else ''}; "
        f"dropout {dropout:.3g}; input weighting {weighting}{f', dropout {of_input:.3g}' if of_input else ''}"
    )
    if isinstance(last, Sampled):
        tables = network.output.functions()
        hashes = "" if tables is None else f"; family {last.family}, K {tables.n_hashes}, L {tables.n_tables}"
        budget = "" if last.n_active is None else f", n_active {last.n_active:,}"
        say(f"sampling  {last.sampler}{budget}, one set per {last.active_set}{hashes}")
    optimizer = type(settings.optimizer).__name__.lower()
    decay = settings.optimizer.weight_decay
    stop = f"; patience {chosen.patience}" if chosen.patience else ""
    held = "" if chosen.valid is None else f"; valid {chosen.valid}"
    schedule = SCHEDULES.name_of(settings.schedule)
    warmup = f" after a warm-up of {chosen.warmup:g}" if chosen.warmup else ""
    say(
        f"training  epochs {settings.epochs}, batch {settings.batch_size}, lr {settings.lr:.4g} "
        f"{schedule}{warmup}, {optimizer}"
        f"{f', weight decay {decay:.3g}' if decay else ''}"
        f"{f', {network.precision}' if network.precision != 'float32' else ''}"
        f"{f', {chosen.parts} parts of a batch' if chosen.parts else ''}"
        f", seed {settings.seed}{held}{stop}"
    )
    needed = max(sum(trainer.memory_needed().values()) + (resident_bytes() or 0), peak_bytes())
    say(f"size      {network.n_parameters:,} parameters; about {mebibytes(needed)} of memory at the peak")
    if folder is None:
        say("note: the model will not be kept; --save DIR keeps it, for lshsample evaluate and predict")


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
