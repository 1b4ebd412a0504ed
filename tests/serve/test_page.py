"""The page in a browser: labels with bars, why, and messages; on a wide screen and on a phone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lshsample.xc import Classifier

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def texts(server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder: Path = tmp_path_factory.mktemp("texts")
    texts = ["purring whiskers", "barking loudly", "claws and whiskers", "a leash, barking"] * 20
    Classifier.fit_texts(texts, [["cats"], ["dogs & <b>"]] * 40, "fast", threads=1).save(folder)
    with server(folder) as client:
        yield client


def test_texts_are_answered_by_name(texts: Any) -> None:
    answer = texts.post("/predict", json={"texts": ["whiskers", "barking"], "top": 1}).json()["results"]
    assert [row["labels"][0]["label"] for row in answer] == ["cats", "dogs & <b>"]
    answer = texts.post("/predict", json={"text": "barking", "labels": ["cats"]}).json()["results"]
    assert [one["label"] for one in answer[0]["labels"]] in ([], ["cats"])
    form = texts.post("/v1/suggest", data={"text": "whiskers & claws", "limit": "1"}).json()["results"]
    json = texts.post("/v1/suggest", json={"text": "whiskers & claws", "limit": 1}).json()["results"]
    assert form == json
    assert (form[0]["uri"], 0 < form[0]["score"] <= 1) == ("cats", True)
    reasons = texts.post("/why", json={"text": "whiskers"}).json()["labels"][0]
    assert reasons["features"][0]["feature"] == "whiskers"


@pytest.mark.parametrize("width", [1000, 360])
def test_a_person_sees_labels_and_why(texts: Any, width: int) -> None:
    api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    if BROWSER is None:
        pytest.skip("no Chromium is installed")
    with api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page, asked = browser.new_page(viewport={"width": width, "height": 700}), []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(str(texts.base_url))
        page.fill("#text", "barking whiskers")
        page.click("button")
        page.wait_for_selector("details")
        shown = page.locator("summary").all_inner_texts()
        assert {line.split("\n")[0] for line in shown} == {"cats", "dogs & <b>"}
        assert all("%" in line for line in shown)
        page.click("summary >> nth=0")
        assert "words" in page.locator("dd >> nth=0").inner_text()
        assert "labels compared" in page.inner_text("#note")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        page.fill("#text", "")
        page.click("button")
        page.wait_for_function("document.getElementById('note').textContent.includes('label')")
        assert all(url.startswith(str(texts.base_url)) for url in asked), "no other server is asked"
        browser.close()
