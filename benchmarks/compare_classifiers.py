"""Classifiers beside omikuji: accuracy, and accuracy at the moment omikuji is ready.

``pip install omikuji; python benchmarks/compare_classifiers.py FOLDER ... --out results.jsonl`` takes folders
with ``train.txt.gz`` and ``test.txt.gz``. On each, in this order: omikuji with its defaults on the weighted
rows; then ours with ``max_seconds`` at omikuji's training time, by each preset; then ours without a limit.
Both have the same number of threads, and rows that are weighted by the same formula. Every result is a line
of JSON, written at once, with P@k and PSP@k on the test rows, in percent.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from lshsample.data import Dataset, load, write_xc
from lshsample.metrics import precision_at_k, propensities, psp_at_k
from lshsample.xc import Classifier, Recipe
from lshsample.xc.weighting import RowWeighting

TOPS = (1, 3, 5)


def measures(labels: Any, test: Dataset, propensity: Any) -> dict[str, float]:
    """P@k and PSP@k in percent."""
    found = {f"p@{k}": precision_at_k(labels, test.y, k) for k in TOPS}
    found |= {f"psp@{k}": psp_at_k(labels, test.y, propensity, k) for k in TOPS}
    return {name: round(100 * value, 2) for name, value in found.items()}


def of_omikuji(train: Dataset, test: Dataset, threads: int) -> tuple[float, Any]:
    """Training time of omikuji with its defaults, and the labels that it names."""
    import omikuji

    weighting = RowWeighting.of(train.x)
    with tempfile.NamedTemporaryFile(suffix=".txt") as file:
        write_xc(Path(file.name), Dataset.of(weighting(train.x), train.y))
        began = time.perf_counter()
        model = omikuji.Model.train_on_data(file.name, omikuji.Model.default_hyper_param(), threads)
        seconds = time.perf_counter() - began
    rows = weighting(test.x)
    labels = np.full((test.n_rows, max(TOPS)), -1, np.int32)
    for row in range(test.n_rows):
        inside = slice(rows.indptr[row], rows.indptr[row + 1])
        pairs = list(zip(rows.indices[inside].tolist(), rows.data[inside].tolist(), strict=True))
        for place, (label, _) in enumerate(model.predict(pairs, top_k=max(TOPS))):
            labels[row, place] = label
    return seconds, labels


def of_ours(
    train: Dataset, test: Dataset, threads: int, preset: str, limit: float | None
) -> tuple[dict[str, Any], Any]:
    """Facts of the training of a classifier, and the labels that it names."""
    began = time.perf_counter()
    recipe = Recipe.preset(preset)
    classifier = Classifier.fit(train.x, train.y, recipe, threads=threads, max_seconds=limit)
    seconds = time.perf_counter() - began
    stages = {stage.name: stage.measures for stage in classifier.stages if stage.measures}
    began = time.perf_counter()
    labels, _ = classifier.predict(test.x, max(TOPS), threads=threads)
    predicted = time.perf_counter() - began
    with tempfile.TemporaryDirectory() as folder:
        classifier.save(folder)
        size = sum(file.stat().st_size for file in Path(folder).iterdir())
    facts = {
        "preset": preset,
        "limit": limit,
        "seconds": round(seconds, 2),
        "predict_seconds": round(predicted, 2),
        "megabytes": round(size / 1e6, 1),
        "parts": list(classifier.mixture.parts),
        "held_out": stages,
    }
    return facts, labels


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="File of results; lines are added.")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--presets", nargs="+", default=["fast", "balanced"])
    parser.add_argument("--no-peer", action="store_true", help="Leave omikuji and the limited time out.")
    options = parser.parse_args()

    def write(name: str, **facts: Any) -> None:
        line = json.dumps({"data": name, "threads": options.threads, **facts})
        print(line, flush=True)
        with options.out.open("a") as file:
            file.write(line + "\n")

    for folder in options.folders:
        train, test = read(folder)
        propensity = propensities(train.y)
        limits: list[float | None] = [None]
        if not options.no_peer:
            seconds, labels = of_omikuji(train, test, options.threads)
            write(folder.name, who="omikuji", seconds=round(seconds, 2), **measures(labels, test, propensity))
            limits.insert(0, seconds)
        for limit in limits:
            for preset in options.presets:
                facts, labels = of_ours(train, test, options.threads, preset, limit)
                write(folder.name, who="lshsample", **facts, **measures(labels, test, propensity))


def read(folder: Path) -> tuple[Dataset, Dataset]:
    """The training and test data of a folder."""
    train = load(folder / "train.txt.gz")
    return train, load(folder / "test.txt.gz")


if __name__ == "__main__":
    main()
