"""Commands that use a trained model: evaluate and predict."""

from __future__ import annotations

import contextlib
import itertools
import json as json_module
import sys
import time
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import attrs
import numpy as np
import typer

from lshsample import metrics
from lshsample.cli.app import (
    STDOUT,
    JsonFile,
    Threads,
    check_shape,
    check_writable,
    console,
    environment,
    run_figures,
    write_json,
)
from lshsample.cli.choosing import Choice, Except, Only, Scores, Threshold, Weights
from lshsample.cli.measures import NAMES, Wanted, print_bins, print_measures
from lshsample.cli.messages import working
from lshsample.cli.reading import FILES_OR_TEXTS, ReadOptions, load_data, reads_texts
from lshsample.cli.reliability_plot import check_plot, write_reliability
from lshsample.cli.serving import ServingFamily, ServingPipeline, ServingTables, serving_sampler
from lshsample.cli.texts import named_dataset, read_all
from lshsample.data import Dataset, atomic_file, write_predictions
from lshsample.data.source import STDIN
from lshsample.errors import ArgumentError
from lshsample.nn import Network
from lshsample.text import LabelNames, TextRow, TextVectorizer
from lshsample.training.history import peak_rss_mib
from lshsample.xc import SCORES, Classifier, load_model

__all__ = ["evaluate", "predict"]


#: Where options of probabilities can be used.
_OF_CLASSIFIERS = "used with a classifier, whose scores are probabilities"
#: Texts that are read and predicted at a time.
_BATCH = 256


class Mode(StrEnum):
    """Which labels are scored."""

    exact = "exact"
    sampled = "sampled"
    auto = "auto"


class Precision(StrEnum):
    """How the scores of all labels are computed."""

    float32 = "float32"
    int8 = "int8"


ModelPath = Annotated[
    Path,
    typer.Argument(metavar="MODEL", help="Folder written by train --save, or by a model's save."),
]
DataPath = Annotated[Path, typer.Argument(metavar="FILE", help=f"Data: {FILES_OR_TEXTS}")]
ModeOption = Annotated[
    Mode,
    typer.Option(
        help="Score all labels, or those retrieved from the tables; auto: all, in float32 or through 8-bit "
        "bounds, or those of the tables of --family where they find the best label of 99 % of some rows, "
        "by the expected cost."
    ),
]
PrecisionOption = Annotated[
    Precision,
    typer.Option(help="With --mode exact: all scores in float32, or bounds in 8 bits first; same labels."),
]


class _Model:
    """A saved model, whose predictions are those of a network or of a classifier."""

    def __init__(
        self,
        path: Path,
        mode: Mode,
        family: str | None,
        n_tables: int,
        pipeline: str,
        precision: Precision,
        threads: int | None,
        choice: Choice | None = None,
    ) -> None:
        with working(f"loading {path}"):
            self.model = load_model(path)
        self.mode, self.precision, self.threads, self.sampler = mode, precision, threads, None
        self.scored_mean: float | None = None
        self.took: dict[str, int] | None = None
        self.options: dict[str, Any] = {}
        if isinstance(self.model, Network):
            if choice is not None and (given := choice.given()):
                raise ArgumentError(*given, _OF_CLASSIFIERS)
            self.sampler = serving_sampler(self.model, mode.value, family, n_tables, pipeline, threads)
            return
        for name, value, default in (
            ("mode", mode, Mode.exact),
            ("family", family, None),
            ("sampler", pipeline, "Retrieve()"),
            ("precision", precision, Precision.float32),
        ):
            if value != default:
                wanted = "used with a model that is a network alone (train --preset network)"
                raise ArgumentError(f"--{name}", value, wanted)
        if choice is not None:
            self.options = choice.options(self.model)

    def predict(self, x: Any, top: int | None, progress: Callable[[int, int], None]) -> tuple[Any, Any]:
        """The best labels of rows, and their scores."""
        if not isinstance(self.model, Network):
            return self.model.predict(x, top, threads=self.threads, progress=progress, **self.options)
        ranking = self.model.rank(
            x,
            top,
            mode=self.mode.value,
            sampler=self.sampler,
            precision=self.precision.value,
            threads=self.threads,
            progress=progress,
        )
        self.scored_mean, self.took = ranking.scored_mean, dict(ranking.took)
        if self.mode is Mode.auto:
            ways = ", ".join(f"{way} for {rows:,} rows" for way, rows in self.took.items())
            console.print(f"took {ways or 'nothing'}", highlight=False)
        return ranking.labels, ranking.scores

    def data(self, path: Path, reading: ReadOptions, argument: str) -> Dataset:
        """A data file with labels, of the model's features and labels."""
        rows = read_all(path, reading)
        if rows is not None:
            return named_dataset(rows, *self.of_texts(argument, path))
        data = load_data(path, reading, self.threads, self.model.n_features, self.model.n_labels)
        check_shape(self.model, data, argument)
        return data

    def of_texts(self, argument: str, path: Path) -> tuple[TextVectorizer, LabelNames]:
        """What makes rows of texts, and the names of the labels."""
        model = self.model
        if isinstance(model, Network) or model.vectorizer is None or model.names is None:
            raise ArgumentError(
                argument, f"texts, of {path}", "rows of features, as the model was trained on"
            )
        return model.vectorizer, model.names

    @property
    def seed(self) -> int:
        """The seed of the model's random choices."""
        return self.model.spec.seed if isinstance(self.model, Network) else self.model.recipe.seed


@reads_texts
def evaluate(
    model: ModelPath,
    file: DataPath,
    mode: ModeOption = Mode.exact,
    family: ServingFamily = None,
    n_tables: ServingTables = 50,
    sampler: ServingPipeline = "Retrieve()",
    precision: PrecisionOption = Precision.float32,
    threads: Threads = None,
    measures: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES@NUMBERS",
            help=f"Measures ({', '.join(NAMES)}) at numbers of predictions, such as p,ndcg@1,3,5; psp and "
            "psndcg need --train.",
            show_default="p@1,3,5; with --train p,psp@1,3,5",
        ),
    ] = None,
    by_frequency: Annotated[
        bool,
        typer.Option(
            "--by-frequency",
            help="Precision, recall and F1 of labels with 0, 1 to 9, 10 to 99, ... training rows too; needs "
            "--train.",
        ),
    ] = False,
    train: Annotated[
        Path | None, typer.Option(help="The training data, for the frequencies of the labels.")
    ] = None,
    level: Annotated[
        float, typer.Option(metavar="PERCENT", help="Level of the bootstrap confidence intervals.")
    ] = 95.0,
    reliability: Annotated[
        Path | None,
        typer.Option(
            help="Draw how often labels are right by their probability, as png, svg or pdf (by the name).",
            callback=check_writable,
        ),
    ] = None,
    json: JsonFile = None,
    *,
    reading: ReadOptions,
) -> None:
    """Measure a model on a data file with labels: P@1, P@3, P@5, and others with --measures."""
    loaded = _Model(model, mode, family, n_tables, sampler, precision, threads)
    network = loaded.model
    default = "p" if train is None else "p,psp"
    wanted = Wanted.parse(default if measures is None else measures, network.n_labels)
    if not 0 < level < 100:
        raise ArgumentError("--level", level, "a number of percent above 0 and below 100")
    wanted.check(train is not None)
    if reliability is not None:
        if not isinstance(network, Classifier):
            raise ArgumentError("--reliability", reliability, _OF_CLASSIFIERS)
        check_plot("--reliability", reliability)
    if by_frequency and train is None:
        raise ArgumentError("--by-frequency", "--by-frequency without --train", "used with --train")
    data = loaded.data(file, reading, "FILE")
    if not data.y.nnz:
        raise ArgumentError("FILE", "no label in any row", "a file with at least one label to compare with")
    trained = None
    if train is not None:
        of_train = attrs.evolve(reading, labels=None)
        trained = loaded.data(train, of_train, "--train")
    began = time.perf_counter()
    with working(f"evaluating {file}") as progress:
        found, scores = loaded.predict(data.x, max(wanted.tops), progress)
    predict_seconds = time.perf_counter() - began
    measured = wanted.measure(found, data.y, None if trained is None else trained.y, level / 100)
    seconds = time.perf_counter() - began
    print_measures(measured)
    error = None
    if isinstance(network, Classifier):
        measured_bins = metrics.calibration(found, scores, data.y)
        error = measured_bins.error
        if reliability is not None:
            write_reliability(measured_bins, reliability)
        console.print(f"calibration error of the probabilities {100 * error:.2f} %", highlight=False)
    bins = None
    if by_frequency and trained is not None:
        count = np.bincount(trained.y.indices, minlength=network.n_labels)
        bins = metrics.by_frequency(found, data.y, count, level=level / 100)
        print_bins(bins, max(wanted.tops))
    result = {
        "mode": mode.value,
        "sampler": None if family is None else f"{sampler} over {family}, {n_tables} tables",
        "rows": data.n_rows,
        "calibration_error": None if error is None else 100 * error,
        "precision": precision.value,
        "evaluate_seconds": seconds,
        "predict_seconds": predict_seconds,
        "scored_mean": loaded.scored_mean,
        "took": loaded.took,
        "n_parameters": network.n_parameters,
    }
    facts = {"seed": loaded.seed, "peak_rss_mib": peak_rss_mib(), **environment(threads)}
    # P@1, P@3 and P@5 are always there, null if they were not measured.
    values = {name: one.value for name, one in measured.items()}
    bounds = {name: [one.low, one.high] for name, one in measured.items()}
    figures = {
        **{f"p@{k}": None for k in (1, 3, 5)},
        **values,
        "level": level,
        "intervals": bounds,
        "by_frequency": bins,
    }
    write_json(json, {**run_figures(model), **figures, **result, **facts})


@reads_texts
def predict(
    model: ModelPath,
    file: DataPath,
    top: Annotated[
        int | None, typer.Option(min=1, help="Labels per row.", show_default="5, or all if there are fewer")
    ] = None,
    mode: ModeOption = Mode.exact,
    family: ServingFamily = None,
    n_tables: ServingTables = 50,
    sampler: ServingPipeline = "Retrieve()",
    precision: PrecisionOption = Precision.float32,
    only: Only = None,
    without: Except = None,
    threshold: Threshold = "0",
    weights: Weights = None,
    scores: Scores = SCORES[0],
    output: Annotated[
        Path | None,
        typer.Option(help="The file to write.", show_default="standard output", callback=check_writable),
    ] = None,
    threads: Threads = None,
    *,
    reading: ReadOptions,
) -> None:
    """Write the best labels of each row as a line: label:score label:score ...

    For texts, a line of JSON: {"labels": [{"label": NAME, "score": PROBABILITY}, ...]}.
    """
    choice = Choice(only=only, without=without, threshold=threshold, weights=weights, scores=scores)
    loaded = _Model(model, mode, family, n_tables, sampler, precision, threads, choice)
    network = loaded.model
    texts = reading.texts(file) if str(file) != STDIN or not _has_names(network) else _of_pipe(reading)
    if texts is not None:
        loaded.of_texts("FILE", file)
        count = _write_names(loaded, texts, top, output)
        console.print(f"{count} texts predicted")
        return
    data = load_data(file, reading, threads, network.n_features)
    check_shape(network, data, "FILE", labels=False)
    with working(f"predicting {file}") as progress:
        found = loaded.predict(data.x, top, progress)
    write_predictions(sys.stdout.buffer if output in (None, STDOUT) else output, *found)
    console.print(f"{data.n_rows} rows predicted")


def _has_names(model: Network | Classifier) -> bool:
    return isinstance(model, Classifier) and model.vectorizer is not None


def _of_pipe(reading: ReadOptions) -> Iterator[TextRow] | None:
    """The texts of standard input, JSON lines unless another format is given."""
    return attrs.evolve(reading, text_format=reading.text_format or "jsonl").texts(STDOUT)


def _write_names(loaded: _Model, texts: Iterator[TextRow], top: int | None, output: Path | None) -> int:
    """Write a line of JSON for each text, in batches as they are read; returns their number."""
    model, count = loaded.model, 0
    assert isinstance(model, Classifier)
    with contextlib.ExitStack() as stack:
        file: Any = sys.stdout.buffer
        if output not in (None, STDOUT):
            assert output is not None
            file = stack.enter_context(atomic_file(output))
        while batch := [row.text for row in itertools.islice(texts, _BATCH)]:
            for found in model.predict_texts(batch, top, threads=loaded.threads, **loaded.options):
                labels = [{"label": label, "score": round(score, 6)} for label, score in found]
                file.write(json_module.dumps({"labels": labels}, ensure_ascii=False).encode() + b"\n")
            file.flush()
            count += len(batch)
    return count
