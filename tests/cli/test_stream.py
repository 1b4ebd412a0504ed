"""Rows of many files from the command line: a model with names, what is refused."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from lshsample.xc import Classifier

ANIMALS = {"cats": "purring whiskers claws", "dogs": "barking leash bones", "birds": "feathers wings beak"}


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, draw = tmp_path_factory.mktemp("texts"), random.Random(0)
    for number in range(3):
        lines = []
        for _ in range(100):
            label = draw.choice(list(ANIMALS))
            words = [*draw.sample(ANIMALS[label].split(), 2), draw.choice(["the", "very", "old"])]
            lines.append(json.dumps({"text": " ".join(words), "labels": [label]}) + "\n")
        (folder / f"{number}.jsonl").write_text("".join(lines))
    return folder


def test_a_model_of_streamed_texts_has_names(lshsample: Any, texts: Path, tmp_path: Path) -> None:
    pattern, run = texts / "[01].jsonl", tmp_path / "run"
    words = ["train", pattern, "--stream", "--preset", "network", "--parsers", 0, "--threads", 1]
    done = lshsample(*words, "--test", texts / "2.jsonl", "--save", run, "--checkpoint-seconds", 0.001)
    assert done.returncode == 0, done.stderr
    assert "P@1 100.00 %" in done.stdout
    assert "files     2," in done.stderr
    assert "parts     network; P@k on 20 held-out rows:" in done.stderr
    result = json.loads((run / "train.json").read_text())
    assert result["data"]["sets"]["training"] == {"rows": 200, "features_per_row": 3.0, "labels_per_row": 1.0}
    assert not (run / "checkpoint").exists()
    model = Classifier.load(run)
    assert model.predict_texts(["barking, with a leash"], 1)[0][0][0] == "dogs"
    model.update_texts(["barking fins"] * 5, [["fish"]] * 5, threads=1)
    assert model.names is not None
    assert model.names.names[-1] == "fish"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--stream"],
            "must be a network alone (the preset network), as other parts need all rows in memory",
        ),
        (["--window", 4], "--window must be used with --stream (got 4)"),
        (
            ["--stream", "--preset", "network", "--workers", 2],
            "--workers must be used without --stream (got 2)",
        ),
        (
            ["--stream", "--preset", "network", "--valid", 0.1],
            "valid must be left out for rows that are streamed",
        ),
        (
            ["--stream", "--preset", "network", "--n-features", 4],
            "--n-features must be used without --stream",
        ),
    ],
)
def test_refusals(lshsample: Any, texts: Path, words: list[Any], said: str) -> None:
    done = lshsample("train", texts, *words)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())
