"""A small model, and a real server on a free port."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample.xc import Classifier

for _name in ("starlette", "uvicorn", "prometheus_client", "httpx"):
    pytest.importorskip(_name, reason="pip install 'lshsample[serve]'")


def _trained(seed: int = 0) -> Classifier:
    """A classifier of 40 features and 10 labels: a label has four features."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, 300)
    columns = (4 * labels[:, None] + np.arange(4)).ravel()
    x = sp.csr_array((np.ones(1200), (np.repeat(np.arange(300), 4), columns)), shape=(300, 40))
    y = sp.csr_array((np.ones(300), (np.arange(300), labels)), shape=(300, 10))
    return Classifier.fit(x, y, "fast", threads=1)


@contextmanager
def _server(model: Path, *options: object) -> Iterator[Any]:
    """A client of a server, which is a process of its own; ``client.process`` is that."""
    import httpx

    code = "from lshsample.cli import main; main()"
    words = [sys.executable, "-c", code, "serve", model, "--port", 0, "--threads", 1, *options]
    process = subprocess.Popen(list(map(str, words)), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        found = re.search(r"on (http://\S+) ", line)
        assert found, line + process.stderr.read()
        with httpx.Client(base_url=found[1], timeout=30) as client:
            client.process = process  # type: ignore[attr-defined]
            yield client
    finally:
        process.terminate()
        process.wait(timeout=30)
        process.stderr.close()


@pytest.fixture(scope="session")
def server() -> Any:
    """Starts a server: a context manager that gives its client."""
    return _server


@pytest.fixture(scope="session")
def trained() -> Any:
    """Makes a small classifier."""
    return _trained


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served") / "model"
    _trained().save(folder)
    return folder


@pytest.fixture(scope="session")
def client(model: Path) -> Iterator[Any]:
    with _server(model) as one:
        yield one
