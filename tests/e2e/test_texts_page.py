"""From texts to served suggestions, by the commands as the pages print them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Starts a command of a page in a folder with texts, where ``lshsample`` is that of this Python."""
    folder, rng = tmp_path_factory.mktemp("texts"), np.random.default_rng(0)
    words = {
        "dogs": ["barking", "leash", "night", "bones"],
        "cats": ["purring", "whiskers", "claws", "night"],
    }
    rows = [
        {"text": " ".join([*rng.permutation(words[label])[:3], str(rng.integers(9))]), "labels": [label]}
        for label in ["dogs", "cats"] * 100
    ]
    (folder / "texts.jsonl").write_text("\n".join(map(json.dumps, rows)))
    programs = folder / "bin"
    programs.mkdir()
    for name, options in (("lshsample", "-m lshsample "), ("python", "")):
        (programs / name).write_text(f'#!/bin/sh\nexec {sys.executable} {options}"$@"\n')
        (programs / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "COLUMNS": "150"}

    def start(command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", "-c", f"exec {command}" if not re.search(r"[|{]", command) else command],
            cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    return start


def output_of(process: subprocess.Popen[str]) -> str:
    with process:
        output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return output


@contextmanager
def served(process: subprocess.Popen[str]) -> Iterator[str]:
    """The address of a server."""
    with process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            found = re.search(r"on (http://\S+) ", line)
            assert found, line + process.stderr.read()
            yield found[1]
        finally:
            process.terminate()
            process.communicate(timeout=60)


def test_three_commands_lead_to_suggestions(shell: Any, printed: Any) -> None:
    httpx = pytest.importorskip("httpx")
    pytest.importorskip("uvicorn", reason="pip install 'lshsample[serve]'")
    train, predict, why, serve = printed((ROOT / "docs" / "texts.md").read_text())
    output_of(shell(train))
    (line,) = output_of(shell(predict)).splitlines()
    assert json.loads(line)["labels"][0]["label"] == "dogs"
    assert "dogs" in output_of(shell(why))
    with served(shell(f"{serve} --port 0")) as address:
        answer = httpx.post(f"{address}/v1/suggest", data={"text": "barking at night"}, timeout=30)
    assert answer.json()["results"][0]["label"] == "dogs"


def test_the_commands_of_the_server_page(shell: Any, printed: Any) -> None:
    pytest.importorskip("uvicorn", reason="pip install 'lshsample[serve]'")
    serve, curl = printed((ROOT / "docs" / "serving.md").read_text())
    if not (Path("/usr/bin/curl").exists()):
        pytest.skip("there is no curl")
    output_of(shell("lshsample train texts.jsonl --preset fast --save run/ --overwrite"))
    with served(shell(serve.replace("8000", "0"))) as address:
        answer = output_of(shell(curl.replace("http://127.0.0.1:8000", address)))
    assert json.loads(answer)["results"][0]["labels"][0]["label"] == "dogs"


def test_the_commands_of_a_first_model(shell: Any, printed: Any) -> None:
    pytest.importorskip("uvicorn", reason="pip install 'lshsample[serve]'")
    page = (ROOT / "docs" / "tutorial-first-model.md").read_text()
    install, table, train, predict, why, serve = printed(page)
    assert install.startswith("pip install")
    output_of(shell(f"{{ {table}\n}}"))
    output_of(shell(f"{train} --preset fast"))
    found = {one["label"] for one in json.loads(output_of(shell(predict)))["labels"][:2]}
    assert found == {"cats", "dogs"}
    assert "whiskers" in output_of(shell(why))
    with served(shell(serve.replace("8000", "0"))) as address:
        assert address.startswith("http://127.0.0.1:")
