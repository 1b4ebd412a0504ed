"""Model cards and the report of runs."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest

QUICK = ["--hidden", 16, "--epochs", 3, "--lr", 0.02, "--n-active", 30, "--dropout", 0, "--threads", 1]


@pytest.fixture(scope="module")
def runs(lshsample, files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    common = ["--test", files[1], "--save"]
    for name, words in {
        "mixed": [*QUICK, "--tensorboard", folder / "board"],
        "fast <b>": ["--preset", "fast", "--seed", 3],
        "alone": [*QUICK, "--preset", "network"],
    }.items():
        done = lshsample("train", files[0], *common, folder / name, *words)
        assert done.returncode == 0, done.stderr
    return folder


def test_a_card_says_what_a_model_is(runs):
    result = json.loads((runs / "mixed" / "train.json").read_text())
    card = (runs / "mixed" / "README.md").read_text()
    low, high = result["intervals"]["p@1"]
    assert low <= result["p@1"] <= high
    assert f"| test | {result['p@1']:.2f} ({low:.2f} to {high:.2f}) |" in card
    assert f"on the test rows: {result['calibration_error']:.2f} %" in card
    assert "| training | 500 | 8.0 | 2.0 |" in card
    assert "240 features, 60 labels, of which 0 have no training row." in card
    assert (runs / "mixed" / "recipe.toml").read_text().split("\n", 1)[1].strip() in card
    assert result["model_bytes"] == sum(file.stat().st_size for file in (runs / "mixed" / "model").iterdir())
    assert list((runs / "board").glob("*/events.out.tfevents.*"))
    assert "A network, trained by lshsample" in (runs / "alone" / "README.md").read_text()


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.text = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href")]

    def handle_data(self, data):
        self.text.append(data)


def test_a_report_compares_runs(lshsample, runs, tmp_path):
    file = tmp_path / "r.html"
    done = lshsample("report", runs / "mixed", runs / "fast <b>", runs / "alone" / "train.json", "-o", file)
    assert done.returncode == 0, done.stderr
    text = file.read_text()
    page = Page(text)
    assert page.links == []
    assert not {"script", "img", "link", "b"} & set(page.tags)
    assert page.tags.count("svg") == 2
    result = json.loads((runs / "mixed" / "train.json").read_text())
    low, high = result["intervals"]["p@1"]
    assert f"{result['p@1']:.2f} ({low:.2f} – {high:.2f})" in page.text
    assert "fast <b>" in page.text
    assert "seed" in page.text
    for points in re.findall(r'points="([^"]*)"', text):
        for place in points.split():
            x, y = map(float, place.split(","))
            assert 70 <= x <= 744
            assert 16 <= y <= 322


def test_what_is_no_run_is_refused(lshsample, runs, tmp_path):
    done = lshsample("report", tmp_path, "-o", tmp_path / "r.html")
    assert (done.returncode, "RUN must be the folder of a finished run" in done.stderr) == (2, True)
    (tmp_path / "x.json").write_text("[]")
    done = lshsample("report", tmp_path / "x.json", "-o", tmp_path / "r.html")
    assert "not the result of a training run" in done.stderr
    assert not (tmp_path / "r.html").exists()
