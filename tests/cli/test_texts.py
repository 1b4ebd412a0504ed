"""From a file of texts to predictions by name: train, evaluate, predict, why."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lshsample.xc import Classifier

ANIMALS = {"cats": "purring whiskers claws", "dogs": "barking leash bones", "birds": "feathers wings beak"}


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    rng = np.random.default_rng(0)
    folder, lines = tmp_path_factory.mktemp("texts"), []
    for _ in range(240):
        label = str(rng.choice(list(ANIMALS)))
        words = [*rng.permutation(ANIMALS[label].split())[:2], *rng.choice(["the", "very", "old", "new"], 2)]
        lines.append(json.dumps({"text": " ".join(map(str, words)), "labels": [label]}))
    train, test = folder / "train.jsonl", folder / "test.jsonl"
    train.write_text("\n".join(lines[:200]))
    test.write_text("\n".join(lines[200:]))
    return train, test


@pytest.fixture(scope="module")
def run(lshsample: Any, texts: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    done = lshsample("train", texts[0], "--test", texts[1], "--preset", "fast", "--save", folder)
    assert done.returncode == 0, done.stderr
    assert "P@1 100.00 %" in done.stdout
    return folder


def test_a_model_of_texts_is_evaluated(lshsample: Any, texts: tuple[Path, Path], run: Path) -> None:
    done = lshsample("evaluate", run, texts[1], "--train", texts[0], "--by-frequency")
    assert done.returncode == 0, done.stderr
    assert "P@1 100.00 %" in done.stdout
    assert "PSP@1 100.00 %" in done.stdout


def test_predictions_have_names(lshsample: Any, texts: tuple[Path, Path], run: Path, tmp_path: Path) -> None:
    file = tmp_path / "found.jsonl"
    done = lshsample("predict", run, texts[1], "--top", 2, "--output", file)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line)["labels"] for line in file.read_text().splitlines()]
    truth = [json.loads(line)["labels"] for line in texts[1].read_text().splitlines()]
    assert [row[0]["label"] for row in found] == [row[0] for row in truth]
    assert all(0 < one["score"] <= 1 for row in found for one in row)


def test_texts_from_a_pipe_are_answered_as_they_come(lshsample: Any, run: Path) -> None:
    words = [*lshsample.line, "predict", run, "-", "--top", "1"]
    lines = '{"text": "barking"}\n{"text": "feathers and wings"}\n'
    done = subprocess.run(list(map(str, words)), input=lines, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line)["labels"][0]["label"] for line in done.stdout.splitlines()]
    assert found == ["dogs", "birds"]


def test_why_shows_words_and_rows(lshsample: Any, run: Path, tmp_path: Path) -> None:
    done = lshsample("why", run, "old whiskers", "--top", 1, "--json", tmp_path / "why.json")
    assert done.returncode == 0, done.stderr
    assert "cats" in done.stdout
    assert "whiskers" in done.stdout
    (best,) = json.loads((tmp_path / "why.json").read_text())["labels"]
    assert (best["label"], best["words"]["whiskers"] > 0) == ("cats", True)


def test_a_vocabulary_gives_names_to_identifiers(
    lshsample: Any, texts: tuple[Path, Path], tmp_path: Path
) -> None:
    vocabulary, train, run = tmp_path / "vocabulary.tsv", tmp_path / "train.tsv", tmp_path / "run"
    vocabulary.write_text("".join(f"<http://x/{name}>\t{name.upper()}\n" for name in [*ANIMALS, "fish"]))
    rows = [json.loads(line) for line in texts[0].read_text().splitlines()]
    train.write_text("".join(f"{one['text']}\t<http://x/{one['labels'][0]}>\n" for one in rows))
    done = lshsample("train", train, "--vocabulary", vocabulary, "--preset", "fast", "--save", run)
    assert done.returncode == 0, done.stderr
    model = Classifier.load(run)
    assert model.n_labels == 4
    assert model.predict_texts(["barking"], 1)[0][0][0] == "DOGS"
    assert model.names is not None
    assert model.names.uris is not None
    assert model.names.uris[0] == "http://x/cats"


def test_what_does_not_fit_is_refused(
    lshsample: Any, texts: tuple[Path, Path], files: tuple[Path, Path], run: Path, tmp_path: Path
) -> None:
    rows = tmp_path / "rows"
    assert lshsample("train", files[0], "--preset", "fast", "--save", rows).returncode == 0
    for words, said in (
        (["train", texts[0], "--preset", "network"], "TRAIN must be rows of features for a network alone"),
        (["train", texts[0], "--test", files[1]], "--test must be a file of texts, as TRAIN"),
        (["train", files[0], "--vocabulary", texts[0]], "--vocabulary must be used with texts"),
        (["train", files[0], "--text-column", "x"], "--text-column must be used with a file of texts"),
        (["evaluate", rows, texts[1]], "FILE must be rows of features, as the model was trained on"),
        (["predict", rows, texts[1]], "FILE must be rows of features, as the model was trained on"),
        (["why", rows, "text"], "MODEL must be a classifier that was trained on texts"),
    ):
        refused = lshsample(*words)
        assert refused.returncode == 2
        assert said in refused.stderr


def test_labels_are_chosen_weighted_and_cut_off(lshsample: Any, run: Path, tmp_path: Path) -> None:
    file = tmp_path / "one.jsonl"
    file.write_text('{"text": "barking and feathers"}')

    def best(*options: object) -> dict[str, float]:
        done = lshsample("predict", run, file, "--top", 3, *options)
        assert done.returncode == 0, done.stderr
        return {one["label"]: one["score"] for one in json.loads(done.stdout)["labels"]}

    every = best()
    assert best("--only", "dogs", "--only", "1") == {key: every[key] for key in every if key != "birds"}
    listed, weights = tmp_path / "listed.txt", tmp_path / "weights.tsv"
    listed.write_text("dogs\n\ncats\n")
    weights.write_text("birds\t0.5\n")
    assert list(best("--except", f"@{listed}")) == ["birds"]
    assert best("--weights", weights)["birds"] == pytest.approx(every["birds"] / 2, abs=1e-5)
    assert set(best("--threshold", "f1")) < set(every)
    assert best("--scores", "margin")["cats"] < 0
    for options, said in (
        (("--only", "fish"), "--only must be the name of a label of the model, or an integer from 0 to 2"),
        (("--only", "@none"), "--only must be a readable file"),
        (("--threshold", "high"), "--threshold must be a number from 0 to 1, or one of f1, f1-by-label"),
        (("--weights", listed), "--weights must be a label, a tab, and a number"),
        (("--scores", "odds"), "scores must be one of 'probability', 'margin'"),
    ):
        done = lshsample("predict", run, file, *options)
        assert done.returncode != 0
        assert said in " ".join(done.stderr.split())


def test_the_reliability_is_drawn(
    lshsample: Any, texts: tuple[Path, Path], run: Path, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    done = lshsample("evaluate", run, texts[1], "--reliability", tmp_path / "plot.png")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    done = lshsample("evaluate", run, texts[1], "--reliability", tmp_path / "plot.txt")
    assert done.returncode != 0
    assert "--reliability must be a file whose name ends with .png" in " ".join(done.stderr.split())


def test_a_model_learns_new_texts_and_forgets_labels(lshsample: Any, run: Path, tmp_path: Path) -> None:
    new, place = tmp_path / "new.jsonl", tmp_path / "changed"
    line = json.dumps({"text": "wings whiskers and a leash", "labels": ["dragons"]})
    new.write_text("\n".join([line] * 5))
    options = ("--remove", "cats", "--holdout", "0.2", "--save", place, "--json", "-")
    done = lshsample("update", run, new, *options)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    counts = {key: figures[key] for key in ("rows", "labels", "new_labels", "removed_labels")}
    assert counts == {"rows": 5, "labels": 4, "new_labels": 1, "removed_labels": 1}
    assert Classifier.load(run).n_labels == 3
    done = lshsample("predict", place, new, "--top", "3")
    found = [one["label"] for one in json.loads(done.stdout.splitlines()[0])["labels"]]
    assert found[0] == "dragons"
    assert "cats" not in found
    again = lshsample("update", place, "--remove", "dragons")
    assert again.returncode == 0, again.stderr
    assert Classifier.load(place).removed.tolist() == [1, 3]
    refused = lshsample("update", run)
    assert refused.returncode != 0
    assert "FILE must be a file of new rows, or labels to take away" in " ".join(refused.stderr.split())
