"""Training of a classifier of several parts by the train command."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from lshsample import metrics
from lshsample.cli.app import environment, output
from lshsample.cli.measures import Wanted, print_measures
from lshsample.cli.messages import exit_if_signalled, say, working
from lshsample.cli.training_run import STREAMED, TrainingRun
from lshsample.metrics import Interval
from lshsample.nn.bundle import kind_of
from lshsample.streams import StreamedRows
from lshsample.training.history import peak_rss_mib
from lshsample.xc import CLASSIFIER, Classifier, Interrupted, Stage

__all__ = ["train_classifier"]

#: Of the intervals of measures, in percent.
_LEVEL = 95.0


def train_classifier(run: TrainingRun) -> None:
    """Train, save and measure a classifier."""
    recipe, data = run.recipe, run.data
    say(f"data      {data.n_rows:,} rows, {data.n_features:,} features, {data.n_labels:,} labels")
    held = data.n_held if isinstance(data, StreamedRows) else recipe.n_held_out(data.n_rows)
    say(f"parts     {', '.join(recipe.parts)}; P@k on {held:,} held-out rows:")
    if run.folder is None:
        say("note: the model will not be kept; --save DIR keeps it, for lshsample evaluate and predict")
    elif run.is_continued:
        say(f"continues the interrupted run in {run.folder}")
    run.begin(CLASSIFIER)
    began, telling = time.perf_counter(), _Telling()
    try:
        classifier = _fitted(run, telling)
    except Interrupted as ended:
        if run.folder is not None:
            say(f"to continue: {run.to_continue}")
        exit_if_signalled(ended.history)
    finally:
        telling.close()
    seconds = time.perf_counter() - began
    place = run.make_place(CLASSIFIER)
    if place is not None:
        with working("saving the model"):
            classifier.save(place)
    measures, error = dict[str, Interval](), None
    if run.test is not None:
        wanted = Wanted.parse("p", data.n_labels)
        with working("evaluating on --test") as progress:
            found = classifier.predict(run.test.x, max(wanted.tops), threads=run.threads, progress=progress)
            measures = wanted.measure(found[0], run.test.y, level=_LEVEL / 100)
        error = 100 * metrics.calibration(*found, run.test.y).error
        print_measures(measures)
    output.print(
        f"{seconds:.1f} s; mixed: {', '.join(classifier.mixture.parts)}; peak {peak_rss_mib():,.0f} MiB",
        highlight=False,
    )
    run.write(_result(run, classifier, seconds, measures) | {"calibration_error": error})
    run.forget_checkpoint()


def _fitted(run: TrainingRun, telling: _Telling) -> Classifier:
    options: dict[str, Any] = {
        "threads": run.threads,
        "max_seconds": run.max_seconds,
        "callbacks": run.callbacks(),
        "checkpoint": run.checkpoint,
        "checkpoint_seconds": run.checkpoint_seconds,
        "curve_rows": run.curve_rows,
        "on_stage": telling.stage,
    }
    data = run.data
    if isinstance(data, StreamedRows):
        if run.checkpoint is not None and kind_of(run.checkpoint / STREAMED) is None:
            data.save(run.checkpoint / STREAMED)
        return Classifier.fit_stream(data, run.recipe, window=run.window, parsers=run.parsers, **options)
    classifier = Classifier.fit(data.x, data.y, run.recipe, progress=telling.progress, **options)
    classifier.vectorizer, classifier.names = run.vectorizer, run.names
    return classifier


class _Telling:
    """Lines of the stages, and a bar while a part is trained that tells how much of it is done."""

    def __init__(self) -> None:
        self._open = contextlib.ExitStack()
        self._bar: Any = None

    def progress(self, what: str, done: int, total: int) -> None:
        if self._bar is None:
            self._bar = self._open.enter_context(working(what))
        self._bar(done, total)
        if done >= total:
            self.close()

    def stage(self, stage: Stage) -> None:
        self.close()
        say(f"  {stage.line()}")

    def close(self) -> None:
        self._open.close()
        self._bar = None


def _result(
    run: TrainingRun, classifier: Classifier, seconds: float, measures: dict[str, Interval]
) -> dict[str, Any]:
    """The figures of a run as plain data."""
    stages = [{"name": s.name, "seconds": s.seconds, "took": s.took, **s.measures} for s in classifier.stages]
    return {
        **{f"p@{k}": measures[f"p@{k}"].value if f"p@{k}" in measures else None for k in (1, 3, 5)},
        "intervals": {name: [one.low, one.high] for name, one in measures.items()},
        "level": _LEVEL,
        "train_seconds": seconds,
        "stages": stages,
        "mixture": classifier.mixture.to_dict(),
        "networks": [history.to_dict() for history in classifier.histories],
        "n_parameters": classifier.n_parameters,
        "recipe": run.recipe.to_dict(),
        "seed": run.recipe.seed,
        "peak_rss_mib": peak_rss_mib(),
        **environment(run.threads),
    }
