"""Random and bad requests to a real server, and new versions of its model while it answers.

``python tools/fuzz_server.py --requests 10000 --reloads 100`` trains a small model of texts, serves it by
``lshsample serve``, and exits with an error if an answer has a status of 500 or more, if an answer that is
not 200 does not say why, if a request fails while a new version is loaded, or if the memory of the server
grows by more than ``--growth`` MiB after the first tenth of the requests, or of the reloads. The result is a
line of JSON.
"""

from __future__ import annotations

import argparse
import collections
import http.client
import json
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lshsample.text import VectorizerSpec
from lshsample.xc import Classifier, Recipe

PATHS = ["/predict", "/why", "/v1/suggest"]
_plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
_keys = st.sampled_from(["ids", "values", "x"]) | st.text(max_size=5)
_any = st.recursive(
    _plain,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_keys, inner, max_size=3),
    max_leaves=12,
)
# Lone surrogates are in no text of Unicode, but JSON can state them.
_text = st.text(st.characters() | st.characters(categories=["Cs"]), max_size=40) | st.sampled_from(
    ["cat", ""]
)
_label = st.sampled_from(["cats", "dogs", "0", "1", 0, 1, -1, 2**70]) | _text
_row = st.fixed_dictionaries(
    {
        "ids": st.lists(st.integers(-1, 5000) | st.integers(), max_size=5),
        "values": st.lists(st.floats() | st.integers(), max_size=5),
    }
)
#: Values of each field that are near to what is allowed.
_near: dict[str, st.SearchStrategy[Any]] = {
    "text": _text,
    "texts": st.lists(_text, max_size=4),
    "rows": st.lists(_row, max_size=3),
    "top": st.integers(-1, 200),
    "threshold": st.floats(0, 1) | st.sampled_from(["f1", "f1-by-label", "f2"]),
    "labels": st.lists(_label, max_size=3),
    "exclude": st.lists(_label, max_size=3),
    "weights": st.dictionaries(_label.map(str), st.floats(0, 10), max_size=3),
    "scores": st.sampled_from(["probability", "margin", "x"]),
    "limit": st.integers(-1, 200) | st.text(st.characters(categories=["Nd"]), max_size=5),
}
_objects = st.fixed_dictionaries({}, optional={name: one | _any for name, one in _near.items()})
_likely = st.fixed_dictionaries(
    {"text": _text}, optional={k: v for k, v in _near.items() if k not in ("text", "texts", "rows")}
)
_nested = st.tuples(st.sampled_from([("[", "]"), ('{"a":', "}")]), st.integers(1, 1100)).map(
    lambda one: f'{{"text": {one[0][0] * one[1]}1{one[0][1] * one[1]}}}'.encode()
)
_bodies = (
    (_objects | _likely | _any).map(lambda one: json.dumps(one).encode())
    | _nested
    | st.binary(max_size=200)
    | st.dictionaries(st.sampled_from(["text", "limit", "x"]), st.text(max_size=20), max_size=3).map(
        lambda one: urlencode(one).encode()
    )
    | st.integers(2**19, 2**21).map(lambda n: b'{"text": "' + b"a " * (n // 2) + b'"}')
)
_known = st.sampled_from([*PATHS * 4, "/labels", "/v1", "/", "/metrics", "/openapi.json", "/readyz"])
_requests = st.fixed_dictionaries(
    {
        "method": st.sampled_from(["POST"] * 40 + ["GET", "PUT", "HEAD", "DELETE", "OPTIONS"]),
        "path": _known
        | _known
        | _known
        | _known
        | st.text(max_size=10).map(lambda one: "/" + quote(one, errors="replace")),
        "query": st.just("")
        | st.dictionaries(
            st.sampled_from(["offset", "limit", "z"]), st.text(max_size=8) | st.integers(), max_size=2
        ).map(lambda one: "?" + urlencode(one, errors="replace")),
        "kind": st.sampled_from(
            ["application/json", "application/x-www-form-urlencoded", "text/plain", "", "é"]
        ),
        "body": _bodies,
    }
)
#: What is no request of HTTP, or ends before it is whole.
_raw = (
    st.binary(max_size=100)
    | st.just(70_000).map(lambda n: b"GET /labels?" + b"a" * n + b" HTTP/1.1\r\n\r\n")
    | st.sampled_from(
        [
            b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{",
            b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
            b"POST /predict HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
        ]
    )
)


class Server:
    """``lshsample serve`` as a process."""

    def __init__(self, model: Path) -> None:
        line = [sys.executable, "-m", "lshsample", "serve", str(model), "--port", "0", "--threads", "1"]
        self.process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        first = self.process.stderr.readline()
        found = re.search(r"on http://([^:]+):(\d+) ", first)
        if found is None:
            raise SystemExit(first + self.process.stderr.read())
        self.host, self.port = found[1], int(found[2])
        self.errors: list[str] = []
        threading.Thread(target=lambda: self.errors.extend(self.process.stderr or ()), daemon=True).start()

    def memory(self) -> int:
        """KiB of its own memory, without files that are mapped."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"RssAnon:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1])

    def connect(self) -> http.client.HTTPConnection:
        """A connection to it."""
        return http.client.HTTPConnection(self.host, self.port, timeout=60)

    def ask(self, method: str, path: str, body: bytes = b"", kind: str = "") -> tuple[int, bytes]:
        """The status and the body of an answer."""
        connection = self.connect()
        try:
            headers = {"content-type": kind.encode()} if kind else {}
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def send(self, data: bytes) -> bytes:
        """The first bytes of the answer to what may be no request, and is not waited for long."""
        with socket.create_connection((self.host, self.port), timeout=0.05) as connection:
            try:
                connection.sendall(data)
                return connection.recv(64)
            except OSError:
                return b""

    def version(self) -> str:
        """The version that it serves."""
        return str(json.loads(self.ask("GET", "/readyz")[1])["model"])

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(60)


def trained(seed: int) -> Classifier:
    """A small model of texts, whose terms are hashed."""
    recipe = Recipe.preset("fast").to_dict() | {"seed": seed}
    recipe["text"] = {"hashing": True, "max_features": 4096}
    texts = ["purring whiskers", "barking loudly", "claws and whiskers", "a leash, barking"] * 20
    labels = [["cats"], ["dogs"], ["cats"], ["dogs"]] * 20
    assert VectorizerSpec(**recipe["text"]).hashing
    return Classifier.fit_texts(texts, labels, Recipe.from_dict(recipe), threads=1)


def fuzz(server: Server, n: int) -> dict[str, Any]:
    """Send n requests; returns how many had each status, and the memory on the way, in MiB."""
    statuses: collections.Counter[int] = collections.Counter()
    memory, done = list[float](), 0

    @settings(
        max_examples=n,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(request=_requests | _requests | _requests | _requests | _requests | _raw)
    def send(request: dict[str, Any] | bytes) -> None:
        nonlocal done
        if isinstance(request, bytes):
            begin = server.send(request)
            status = int(begin[9:12]) if begin.startswith(b"HTTP/1.1 ") else 0
        else:
            path = request["path"] + request["query"]
            status, body = server.ask(request["method"], path, request["body"], request["kind"])
            if status != 200 and request["method"] != "HEAD":
                assert "error" in json.loads(body), f"{request}: {status} {body!r}"
        assert status < 500, f"{request!r}: {status}"
        statuses[status] += 1
        done += 1
        if done % max(1, n // 10) == 0:
            memory.append(round(server.memory() / 1024, 1))

    send()
    return {"requests": done, "statuses": dict(sorted(statuses.items())), "memory_mib": memory}


def reload(server: Server, folder: Path, n: int) -> dict[str, Any]:
    """Save n new versions while requests are answered; returns the number of these, and the memory."""
    models, stop = [trained(seed) for seed in (0, 1)], threading.Event()
    failed, answered, memory = list[str](), [0, 0], list[float]()

    def ask(number: int) -> None:
        connection, body = server.connect(), json.dumps({"text": "whiskers and barking"})
        while not stop.is_set():
            connection.request("POST", "/predict", body)
            answer = connection.getresponse()
            content = answer.read()
            if answer.status != 200 or not json.loads(content)["results"][0]["labels"]:
                failed.append(f"{answer.status} {content!r}")
            answered[number] += 1
        connection.close()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(answered))]
    for thread in threads:
        thread.start()
    try:
        for number in range(n):
            before = server.version()
            models[number % 2].save(folder)
            until = time.monotonic() + 60
            while server.version() == before:
                if time.monotonic() > until:
                    raise SystemExit("a new version was not served within a minute")
                time.sleep(0.05)
            if (number + 1) % max(1, n // 10) == 0:
                memory.append(round(server.memory() / 1024, 1))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    if failed:
        raise SystemExit(f"{len(failed)} requests failed, the first: {failed[0]}")
    return {"reloads": n, "answered": sum(answered), "memory_mib": memory}


def main() -> None:
    """Fuzz a server, reload its model, and print what happened."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--reloads", type=int, default=100)
    parser.add_argument("--growth", type=float, default=16.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "model"
        trained(0).save(folder)
        server = Server(folder)
        try:
            result = {"fuzz": fuzz(server, given.requests), "reload": reload(server, folder, given.reloads)}
        finally:
            server.stop()
    print(json.dumps(result))
    for name, part in result.items():
        grown = part["memory_mib"][-1] - part["memory_mib"][0]
        if grown > given.growth:
            raise SystemExit(f"{name}: the memory of the server grew by {grown:.1f} MiB")
    if any("Traceback" in line for line in server.errors):
        raise SystemExit("the server reported an error:\n" + "".join(server.errors)[-4000:])


if __name__ == "__main__":
    main()
