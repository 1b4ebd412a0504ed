"""The demo on some of its texts: figures, answers, a kept classifier, and the prompt."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from lshsample.cli import demo as module
from lshsample.cli.commands import app
from lshsample.data import load_demo


@pytest.fixture(scope="module")
def some():
    pytest.importorskip("simple_icd_10_cm", exc_type=ImportError)
    whole = load_demo()
    falls = [i for i, text in enumerate(whole.train_texts) if "dog" in text.lower().split()]
    rows = [*falls, *range(0, 3000, 2)]
    texts = tuple(whole.train_texts[i] for i in rows)
    take = {"train": whole.train.take(rows), "test": whole.test.take(range(50)), "train_texts": texts}
    return module.attrs.evolve(whole, **take, test_texts=whole.test_texts[:50])


@pytest.fixture
def run(some, monkeypatch):
    monkeypatch.setattr(module, "load_demo", lambda: some)

    def invoke(*words):
        return CliRunner().invoke(app, ["demo", "--threads", "1", *map(str, words)])

    return invoke


def test_a_text_is_answered_and_the_classifier_kept(run, tmp_path, monkeypatch):
    folder, file = tmp_path / "demo", tmp_path / "a.json"
    first = run("--ask", "bitten by a dog", "--ask", "xyzzy", "--save", folder, "--json", file)
    assert first.exit_code == 0, first.output
    assert "no word of it is in the training texts" in first.output
    asked, unknown = json.loads(file.read_text())["answers"]
    assert (asked["text"], unknown["labels"]) == ("bitten by a dog", [])
    assert any(one["label"].startswith("W54 ") and one["score"] > 0.3 for one in asked["labels"])
    monkeypatch.setattr(module, "load_demo", None)  # nothing is trained any more
    again = run("--ask", "bitten by a dog", "--save", folder, "--json", file)
    assert again.exit_code == 0, again.output
    assert json.loads(file.read_text())["answers"] == [asked]


def test_the_prompt_answers_until_an_empty_line(some, monkeypatch, capsys):
    classifier, measures = module._classifier(some, 0, None, 1)
    assert measures["p@1"] > 20
    for typed in (["a dog", ""], ["a dog", EOFError]):
        lines = iter(typed)

        def typing(_, lines=lines):
            line = next(lines)
            if line is EOFError:
                raise EOFError
            return line

        monkeypatch.setattr("builtins.input", typing)
        module._prompt(classifier, 1)
        assert capsys.readouterr().out.count("Contact with dog") == 1
