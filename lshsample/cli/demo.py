"""The demo: models trained on real texts from a package, compared with baselines, and asked by a person."""

from __future__ import annotations

import itertools
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import attrs
import typer
from rich.table import Table

from lshsample.cli.app import STDOUT, JsonFile, Threads, console, environment, output, write_json
from lshsample.cli.messages import Stopping, exit_if_signalled, set_verbosity, working
from lshsample.config import TrainConfig, build_network, build_trainer
from lshsample.data import Demo, cosine_knn, load_demo
from lshsample.errors import ArgumentError
from lshsample.metrics import precision_at_k
from lshsample.nn import Dense, Network
from lshsample.nn.bundle import claim, kind_of, model_folder
from lshsample.text import LabelNames
from lshsample.training import ProgressBar
from lshsample.xc import CLASSIFIER, Classifier, Recipe

__all__ = ["demo"]

Result = dict[str, Any]
N_EXAMPLES = 3
#: Labels of an answer.
N_LABELS = 6


#: Narrower than the default for this number of rows: as accurate here, in a fifth of the time.
_QUICK: dict[str, Any] = {"hidden": (256,), "dropout": 0.2, "epochs": 4, "lr": 0.0085}


def demo(
    threads: Threads = None,
    seed: Annotated[int, typer.Option(help="Determines every random choice.")] = 0,
    ask: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help="Name the labels of this text, by a classifier alone; repeat it for more texts.",
        ),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the classifier, for lshsample serve and why; with --ask the one in it is asked."
        ),
    ] = None,
    json: JsonFile = None,
) -> None:
    """Train and evaluate on ICD-10-CM diagnosis texts, without a download, in about a minute.

    Then, on a terminal, type texts and see the labels that a classifier names for them.
    """
    if ask and save is not None and kind_of(model_folder(save)) == CLASSIFIER.name:
        answers = _answers(Classifier.load(save), ask, threads)
        write_json(json, {"answers": answers, **environment(threads)})
        return
    if save is not None:
        claim(save, CLASSIFIER).release()  # what cannot be saved is refused before it is trained
    console.print(
        "[bold]1.[/] Diagnosis texts of ICD-10-CM, with the headings of the classification as labels."
    )
    with working("making the data"):
        data = load_demo()
    console.print(
        f"   train: {data.train}\n   test:  {data.test}", highlight=False, markup=False, soft_wrap=True
    )
    if ask:
        classifier, _ = _classifier(data, seed, save, threads)
        write_json(json, {"answers": _answers(classifier, ask, threads), **environment(threads)})
        return
    config = TrainConfig(**_QUICK, seed=seed).resolve(data.train)
    console.print(
        "[bold]2.[/] A network that computes only the output units sampled by hash tables and a uniform draw:"
    )
    sampled = build_network(config, data.train.n_features, data.train.n_labels)
    results = {"LSH-sampled network": _network(data, config, sampled, threads)}
    _show_examples(data, sampled, threads)
    console.print("[bold]3.[/] The same network with the same settings, computing every label in every step:")
    dense = Network([*sampled.spec.layers[:-1], Dense(data.train.n_labels, sampled.loss)], seed=seed)
    results["dense network"] = _network(data, config, dense, threads)
    console.print("[bold]4.[/] Without training: the labels of the 20 nearest texts by cosine.")
    results["cosine 20-NN"] = _neighbours(data)
    console.print("[bold]5.[/] A classifier of the texts, which names labels with probabilities:")
    classifier, results["classifier"] = _classifier(data, seed, save, threads)
    output.print(_table(results))
    write_json(json, {"results": results, "config": attrs.asdict(config), **environment(threads)})
    if sys.stdin.isatty() and console.is_terminal and json != STDOUT:
        _prompt(classifier, threads)


def _classifier(data: Demo, seed: int, save: Path | None, threads: int | None) -> tuple[Classifier, Result]:
    """A quick classifier of the texts by name, and its results."""
    rows: Any = data.train.y
    ends = rows.indptr.tolist()
    labels = [
        [data.label_names[label] for label in rows.indices[begin:end]]
        for begin, end in itertools.pairwise(ends)
    ]
    began = time.perf_counter()
    with working("training the classifier"):
        recipe = attrs.evolve(Recipe.preset("fast"), seed=seed)
        names = LabelNames(data.label_names)
        classifier = Classifier.fit_texts(data.train_texts, labels, recipe, names=names, threads=threads)
    seconds = time.perf_counter() - began
    console.print(f"   {classifier}", highlight=False, markup=False, soft_wrap=True)
    if save is not None:
        classifier.save(save)
        console.print(f"   saved: lshsample serve {save}", highlight=False, markup=False, soft_wrap=True)
    assert classifier.vectorizer is not None
    with working("evaluating") as progress:
        x = classifier.vectorizer.transform(data.test_texts)
        measures = classifier.evaluate(x, data.test.y, threads=threads, progress=progress)
    return classifier, {**measures, "train_seconds": seconds}


def _answers(classifier: Classifier, texts: list[str], threads: int | None) -> list[Result]:
    """Print the labels of texts; returns them as plain data."""
    if classifier.vectorizer is None or classifier.names is None:
        raise ArgumentError("--save", "a classifier of rows", "the folder of one of texts")
    answers = []
    for text in texts:
        output.print(f"{text!r}", highlight=False, markup=False, soft_wrap=True)
        x = classifier.vectorizer.transform([text])
        found = classifier.predict_texts([text], min(N_LABELS, classifier.n_labels), threads=threads)[0]
        if not x.nnz:
            output.print("   no word of it is in the training texts")
            found = []
        for label, probability in found:
            bar = "█" * round(20 * probability)
            line = f"   {100 * probability:5.1f} %  {bar:20}  {label}"
            output.print(line, highlight=False, markup=False, soft_wrap=True)
        labels = [{"label": label, "score": probability} for label, probability in found]
        answers.append({"text": text, "labels": labels})
    return answers


def _prompt(classifier: Classifier, threads: int | None) -> None:
    """Ask for texts until an empty line or the end of the input."""
    output.print("Type a diagnosis or a cause, such as: bitten by a dog. An empty line ends.")
    while True:
        try:
            text = input("> ").strip()
        except EOFError:
            return
        if not text:
            return
        _answers(classifier, [text], threads)


def _network(data: Demo, config: TrainConfig, network: Network, threads: int | None) -> Result:
    """Train and evaluate one network."""
    console.print(f"   {network.spec.layers[-1]}", highlight=False, markup=False, soft_wrap=True)
    trainer = build_trainer(config, network, threads=threads, callbacks=[ProgressBar(console), Stopping()])
    with set_verbosity(quiet=False, verbose=False):
        history = trainer.fit(data.train.x, data.train.y)
    exit_if_signalled(history)
    with working("evaluating") as progress:
        measures = network.evaluate(data.test.x, data.test.y, threads=threads, progress=progress)
    extra = {"step_ms_median": history.step_ms_median, "active_mean": history.active_mean}
    return {**measures, "train_seconds": history.seconds, "n_parameters": network.n_parameters, **extra}


def _show_examples(data: Demo, network: Network, threads: int | None) -> None:
    """The predictions for a few test texts."""
    rows = list(range(0, data.test.n_rows, data.test.n_rows // N_EXAMPLES))[:N_EXAMPLES]
    labels, _ = network.predict(data.test.x[rows], top=3, threads=threads)
    for row, found in zip(rows, labels, strict=True):
        console.print(f"   {data.test_texts[row]!r}", highlight=False, markup=False, soft_wrap=True)
        for label in found:
            console.print(f"      {data.label_names[label]}", highlight=False, markup=False, soft_wrap=True)


def _neighbours(data: Demo) -> Result:
    """Evaluate the nearest-neighbour baseline."""
    began = time.perf_counter()
    with working("comparing all texts"):
        labels, _ = cosine_knn(data.train, data.test)
    seconds = time.perf_counter() - began
    return {
        **{f"p@{k}": 100 * precision_at_k(labels, data.test.y, k) for k in (1, 3, 5)},
        "train_seconds": seconds,
    }


def _table(results: dict[str, Result]) -> Table:
    """The results side by side."""
    table = Table("", "P@1", "P@3", "P@5", "seconds", "ms per step", "units per step")
    for name, result in results.items():
        figures = [f"{result[key]:.2f}" for key in ("p@1", "p@3", "p@5")] + [f"{result['train_seconds']:.1f}"]
        steps = [f"{result[key]:.1f}" if key in result else "" for key in ("step_ms_median", "active_mean")]
        table.add_row(name, *figures, *steps)
    return table
