"""The server as a process: answers, limits, refusals, new versions under load, its end."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from lshsample.serve import ServeSettings
from lshsample.xc import Classifier

TOOL = Path(__file__).resolve().parents[2] / "tools" / "fuzz_server.py"
ROW = {"ids": [12, 13, 14, 15], "values": [1, 1, 1, 1]}


def test_it_predicts_what_the_classifier_predicts(client: Any, model: Path) -> None:
    rows = [ROW, {"ids": [], "values": []}, {"ids": [0, 1, 2], "values": [1, 1, 1.0]}]
    answer = client.post("/predict", json={"rows": rows, "top": 3})
    assert answer.status_code == 200
    results = answer.json()["results"]
    x = np.zeros((3, 40), np.float32)
    x[0, 12:16] = x[2, :3] = 1
    labels, probabilities = Classifier.load(model).predict(x, 3)
    for result, ids, chances in zip(results, labels, probabilities, strict=True):
        kept = ids >= 0
        assert [one["id"] for one in result["labels"]] == ids[kept].tolist()
        assert [one["score"] for one in result["labels"]] == pytest.approx(chances[kept].tolist(), abs=1e-6)
    assert results[0]["labels"][0]["id"] == 3
    assert results[0]["labels"][0]["label"] == "3"


def test_labels_can_be_chosen_left_out_and_cut_off(client: Any) -> None:
    def best(**options: Any) -> dict[int, float]:
        answer = client.post("/predict", json={"rows": [ROW], "top": 10, **options})
        assert answer.status_code == 200, answer.text
        return {one["id"]: one["score"] for one in answer.json()["results"][0]["labels"]}

    every = best()
    assert best(labels=[3, 3]) == {3: every[3]}
    assert best(exclude=[3]) == {label: score for label, score in every.items() if label != 3}
    assert best(threshold=0.5) == {label: score for label, score in every.items() if score >= 0.5} != every


def test_labels_are_weighted_and_scores_are_chosen(client: Any) -> None:
    def best(**options: Any) -> Any:
        answer = client.post("/predict", json={"rows": [ROW], "top": 10, **options})
        if answer.status_code != 200:
            return answer.status_code, answer.json()["error"]
        return {one["id"]: one["score"] for one in answer.json()["results"][0]["labels"]}

    every = best()
    assert best(weights={"3": 0.5})[3] == pytest.approx(every[3] / 2, abs=1e-6)
    assert best(labels=[9, 8]).keys() == {8, 9}, "labels that no part names too"
    assert best(scores="margin")[3] > 1
    assert best(scores="independent", labels=[3, 5])[3] > 0.5
    assert best(threshold="f1").keys() == {3}
    for options, said in (
        ({"threshold": "f2"}, "threshold must be a number from 0 to 1, or one of f1, f1-by-label (got 'f2')"),
        ({"weights": {"3": -1}}, "weights must be an object of labels and numbers from 0 to 1e+06"),
        ({"weights": {"10": 1}}, "a label id of weights must be an integer from 0 to 9 (got 10)"),
        ({"weights": {"x": 1}}, "weights must have labels of the model (got 'x')"),
        ({"scores": 1}, "scores must be one of probability, margin, independent (got 1)"),
        ({"scores": "margin", "weights": {"3": 1}}, "weights must be left out with scores 'margin'"),
    ):
        status, error = best(**options)
        assert status == 400
        assert error.startswith(said)


def test_it_says_why(client: Any) -> None:
    answer = client.post("/why", json={"rows": [ROW], "top": 2}).json()["labels"]
    assert (answer[0]["id"], answer[0]["parts"]["linear"] > 0.5) == (3, True)
    assert {one["feature"] for one in answer[0]["features"]} == {"12", "13", "14", "15"}
    refused = client.post("/why", json={"rows": [ROW, ROW]})
    assert (refused.status_code, refused.json()["error"]) == (400, "one row must be given (got 2)")


def test_labels_are_listed(client: Any) -> None:
    answer = client.get("/labels", params={"offset": 8, "limit": 5}).json()
    assert (answer["total"], answer["labels"]) == (10, [{"label": "8", "id": 8}, {"label": "9", "id": 9}])
    assert client.get("/labels", params={"offset": "-1"}).status_code == 400


def test_it_is_watched(client: Any) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    ready = client.get("/readyz").json()
    before = client.get("/metrics").text
    client.post("/predict", json={"rows": [ROW, {"ids": [], "values": []}], "threshold": 1})
    after = client.get("/metrics").text

    def value(text: str, name: str) -> float:
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.M)
        return float(found[1]) if found else 0.0

    for name, more in (
        ('lshsample_requests_total{path="/predict",status="200"}', 1),
        ("lshsample_rows_total", 2),
        ("lshsample_empty_rows_total", 2),
        ('lshsample_request_seconds_count{path="/predict"}', 1),
    ):
        assert value(after, name) - value(before, name) == more, name
    assert f'version="{ready["model"]}"' in after
    paths = {"/predict", "/why", "/v1", "/v1/suggest", "/labels"}
    paths |= {"/healthz", "/readyz", "/metrics", "/openapi.json"}
    assert set(client.get("/openapi.json").json()["paths"]) == paths
    assert "<textarea" in client.get("/").text


EMPTY = b'{"rows": [{"ids": [], "values": []}], '


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/predict", b"{", "the body must be JSON"),
        ("/predict", b"[]", "the body must be a JSON object"),
        ("/predict", b"{}", "one of text, texts and rows must be given (got none of them)"),
        ("/predict", b'{"text": "a"}', "text must be left out: the model takes rows of features"),
        ("/predict", b'{"rows": [], "text": "a"}', "(got text and rows)"),
        ("/predict", b'{"rows": []}', "rows must be a list of 1 to 256 items (got 0 items)"),
        ("/predict", b'{"rows": [{"ids": [1]}]}', "rows[0] must be an object with ids and values"),
        ("/predict", b'{"rows": [{"ids": [1], "values": []}]}', "rows[0] must have as many values as ids"),
        ("/predict", b'{"rows": [{"ids": [40], "values": [1]}]}', "a feature id must be an integer from 0"),
        ("/predict", b'{"rows": [{"ids": [1], "values": [NaN]}]}', "must be a finite number (got nan)"),
        ("/predict", b'{"rows": [{"ids": [1], "values": [1e39]}]}', "a number that float32 can hold"),
        ("/predict", EMPTY + b'"top": 101}', "top must be an integer from 1 to 100"),
        ("/predict", EMPTY + b'"tpo": 1}', "did you mean 'top'?"),
        ("/predict", EMPTY + b'"labels": ["x"]}', "labels must have labels of the model"),
        ("/predict", EMPTY + b'"exclude": [10]}', "a label id of exclude must be an integer from 0 to 9"),
        ("/predict", EMPTY + b'"threshold": true}', "threshold must be a number from 0 to 1"),
        ("/v1/suggest", b"limit=3", "text must be given"),
        ("/v1/suggest", b"text=a&limit=no", "limit must be an integer from 1 to 100"),
    ],
)
def test_bad_requests_are_told_what_is_wrong(client: Any, path: str, body: bytes, said: str) -> None:
    answer = client.post(path, content=body)
    assert answer.status_code == 400
    assert said in answer.json()["error"]


def test_other_paths_methods_and_bodies_are_refused(client: Any) -> None:
    assert (client.get("/absent").status_code, client.get("/predict").status_code) == (404, 405)
    assert client.post("/predict", content=b" " * (1 << 20) + b"{}").status_code == 413


def test_no_request_is_an_error_of_the_server_and_no_new_version_costs_one() -> None:
    line = [sys.executable, TOOL, "--requests", "300", "--reloads", "2"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    result = json.loads(done.stdout)
    assert result["fuzz"]["requests"] >= 300
    assert {"200", "400"} <= set(result["fuzz"]["statuses"])
    assert result["reload"]["answered"] > 2


def nested(depth: int) -> bytes:
    return b'{"text": ' + b"[" * depth + b"]" * depth + b"}"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"text": "\\ud800"}', "text must have no half of a surrogate pair"),
        (b'{"texts": ["a", "\\udfff"]}', "texts[1] must have no half of a surrogate pair"),
    ],
)
def test_texts_that_are_no_unicode_are_refused(client: Any, body: bytes, said: str) -> None:
    answer = client.post("/predict", content=body)
    assert (answer.status_code, answer.json()["error"]) == (400, said)


def test_nested_values_are_refused_at_any_depth(client: Any) -> None:
    statuses = {client.post("/predict", content=nested(depth)).status_code for depth in range(850, 1000)}
    assert statuses == {400}


def test_a_request_that_ends_early_is_no_error_of_the_server(server: Any, model: Path) -> None:
    with server(model) as client:
        with socket.create_connection((client.base_url.host, client.base_url.port)) as connection:
            connection.sendall(b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
        until = time.monotonic() + 20
        ended = 'lshsample_requests_total{path="/predict",status="400"} 1.0'
        while ended not in client.get("/metrics").text:
            assert time.monotonic() < until
            time.sleep(0.05)
        client.process.terminate()
        assert "Traceback" not in client.process.stderr.read()


def test_a_new_version_is_served_without_a_lost_request(server: Any, trained: Any, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    trained(0).save(folder)
    with server(folder) as client:
        first, versions, failed, done = client.get("/readyz").json()["model"], set(), [], threading.Event()

        def ask() -> None:
            with httpx.Client(base_url=client.base_url, timeout=30) as own:
                while not done.is_set():
                    answer = own.post("/predict", json={"rows": [ROW]})
                    versions.add(answer.json().get("model"))
                    if answer.status_code != 200:
                        failed.append(answer.text)

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        for seed in (1, 2):
            trained(seed).save(folder)
            until = time.monotonic() + 20
            while len(versions) <= seed and time.monotonic() < until:
                time.sleep(0.05)
            time.sleep(0.3)
        # What cannot be read is not served.
        manifest = folder / "lshsample.json"
        served = client.get("/readyz").json()["model"]
        manifest.write_text("{}")
        time.sleep(2.5)
        assert client.get("/readyz").json()["model"] == served != first
        done.set()
        for thread in threads:
            thread.join()
    assert not failed
    assert len(versions) == 3


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_it_ends_when_requests_are_answered(server: Any, model: Path, workers: int, name: str) -> None:
    with server(model, "--workers", workers) as client:
        assert client.post("/predict", json={"rows": [ROW]}).status_code == 200
        client.process.send_signal(getattr(signal, name))
        assert client.process.wait(timeout=30) in (0, 128 + getattr(signal, name), -getattr(signal, name))
        assert "Traceback" not in client.process.stderr.read()


def test_it_listens_on_this_machine_alone_by_default(model: Path) -> None:
    assert ServeSettings(model=model).host == "127.0.0.1"


def test_what_cannot_be_served_is_refused_before_it_listens(server: Any, tmp_path: Path, model: Path) -> None:
    with pytest.raises(AssertionError, match=r"there is no lshsample.json"), server(tmp_path):
        pass
    with server(model) as client:
        port = client.base_url.port
        with pytest.raises(AssertionError, match=r"port must be an address"), server(model, "--port", port):
            pass
