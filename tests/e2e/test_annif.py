"""Annif's own http backend gets its suggestions from the server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lshsample.text import LabelNames
from lshsample.xc import Classifier

_ASK = """
import json, sys
from annif.backend.http import HTTPBackend
from annif.corpus import Document

class Subjects:
    uris = ["http://x/cats", "http://x/dogs"]
    def by_uri(self, uri, warnings=True):
        return self.uris.index(uri)

class Project:
    subjects = Subjects()
    project_id, datadir = "test", "."

backend = HTTPBackend("http", {"endpoint": sys.argv[1]}, Project())
options = {**backend.params, "limit": 5}
found = [
    [(one.subject_id, one.score) for one in backend._suggest(Document(text=text), options)]
    for text in ("whiskers & claws", "barking")
]
print(json.dumps({"trained": backend.is_trained, "time": str(backend.modification_time), "found": found}))
"""


#: What Annif's http backend imports, of all that Annif needs: the rest takes a minute to install.
_IMPORTED = ("flask", "python-dateutil", "rdflib", "requests")


@pytest.fixture(scope="module")
def annif(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with Annif, beside those of this environment."""
    folder = tmp_path_factory.mktemp("annif")
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-compile", "--target", str(folder)]
    for packages in (["--no-deps", "annif>=1.3"], _IMPORTED):
        done = subprocess.run([*install, *packages], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"Annif cannot be installed: {done.stderr[-200:]}")
    return folder


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory):
    for name in ("starlette", "uvicorn", "prometheus_client"):
        pytest.importorskip(name, reason="pip install 'lshsample[serve]'")
    folder = tmp_path_factory.mktemp("served")
    texts = ["purring whiskers", "barking loudly", "claws and whiskers", "a leash, barking"] * 20
    labels = [["cats"], ["dogs"]] * 40
    names = LabelNames(["cats", "dogs"], uris=["http://x/cats", "http://x/dogs"])
    Classifier.fit_texts(texts, labels, "fast", names=names, threads=1).save(folder)
    code = "from lshsample.cli import main; main()"
    words = [sys.executable, "-c", code, "serve", str(folder), "--port", "0"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            line = process.stderr.readline()
            found = re.search(r"on (http://\S+) ", line)
            assert found, line
            yield found[1]
        finally:
            process.terminate()


def test_the_backend_of_annif_gets_suggestions(annif: Path, address: str) -> None:
    line = [sys.executable, "-c", _ASK, f"{address}/v1/suggest"]
    path = {"PYTHONPATH": os.pathsep.join([str(annif), *filter(None, [os.environ.get("PYTHONPATH")])])}
    done = subprocess.run(line, capture_output=True, text=True, check=False, env=os.environ | path)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["trained"] is True
    assert re.match(r"20\d\d-", answer["time"])
    (cats, dogs) = answer["found"]
    assert (cats[0][0], dogs[0][0]) == (0, 1)
    assert all(0 < score <= 1 for row in answer["found"] for _, score in row)
