"""The update command: new rows and labels for a saved classifier, and labels that are taken away."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from lshsample.cli.app import JsonFile, Threads, environment, output, write_json
from lshsample.cli.choosing import label_ids
from lshsample.cli.messages import working
from lshsample.cli.reading import FILES_OR_TEXTS, ReadOptions, load_data, reads_texts
from lshsample.cli.texts import read_all
from lshsample.errors import ArgumentError
from lshsample.nn.bundle import model_folder
from lshsample.xc import NETWORK_UPDATES, Classifier

__all__ = ["update"]


@reads_texts
def update(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Folder of a classifier.")],
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help=f"New rows: {FILES_OR_TEXTS}")] = None,
    network: Annotated[
        str,
        typer.Option(
            metavar="|".join(NETWORK_UPDATES),
            help="What is trained of networks: the weights of new labels, all weights, or nothing.",
        ),
    ] = NETWORK_UPDATES[0],
    holdout: Annotated[
        float,
        typer.Option(
            min=0,
            max=0.9,
            help="Share of the new rows by which the mixture, its calibration and the thresholds are fitted "
            "again.",
        ),
    ] = 0.0,
    remove: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL",
            help="A label to take away, by name or number; repeat it, or @FILE for those of a file.",
        ),
    ] = None,
    save: Annotated[
        Path | None, typer.Option(help="Folder of the changed model.", show_default="that of MODEL")
    ] = None,
    threads: Threads = None,
    json: JsonFile = None,
    *,
    reading: ReadOptions,
) -> None:
    """Teach a classifier new rows, labels and features, without its former training data.

    Labels that are not known are added behind the others. The folder of the model is replaced atomically, so
    that a server takes up the new version.
    """
    if file is None and remove is None:
        raise ArgumentError("FILE", "neither FILE nor --remove", "a file of new rows, or labels to take away")
    with working(f"loading {model}"):
        classifier = Classifier.load(model)
    before, began = classifier.n_labels, time.perf_counter()
    gone = label_ids("--remove", remove or (), classifier)
    n_rows = 0
    if file is not None:
        n_rows = _learn(classifier, file, reading, threads, network=network, holdout=holdout)
    if len(gone):
        classifier.remove_labels(gone)
    seconds = time.perf_counter() - began
    with working("saving the model"):
        classifier.save(model_folder(model) if save is None else save)
    figures = {
        "rows": n_rows,
        "labels": classifier.n_labels,
        "new_labels": classifier.n_labels - before,
        "removed_labels": len(classifier.removed),
        "seconds": seconds,
    }
    output.print(
        f"{n_rows:,} rows; {figures['new_labels']:,} new labels, {len(gone):,} taken away; {seconds:.1f} s",
        highlight=False,
    )
    write_json(json, {**figures, **environment(threads)})


def _learn(
    classifier: Classifier, file: Path, reading: ReadOptions, threads: int | None, **options: Any
) -> int:
    """Update a classifier by the rows of a file; returns their number."""
    texts = read_all(file, reading)
    if texts is None:
        data = load_data(file, reading, threads, classifier.n_features, classifier.n_labels)
        with working("learning"):
            classifier.update(data.x, data.y, threads=threads, **options)
        return data.n_rows
    with working("learning"):
        labels = [row.labels for row in texts]
        classifier.update_texts([row.text for row in texts], labels, threads=threads, **options)
    return len(texts)
