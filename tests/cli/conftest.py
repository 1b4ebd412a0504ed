"""Runs commands in separate processes, on files with learnable data."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample.data import Dataset, write_xc

Files = tuple[Path, Path]


class Command(Protocol):
    """Runs ``lshsample`` with arguments; ``line`` is the command that starts the process."""

    line: list[str]

    def __call__(self, *words: object, timeout: float = 300) -> subprocess.CompletedProcess[str]: ...


@pytest.fixture(scope="session")
def lshsample() -> Command:
    line = [sys.executable, "-c", "from lshsample.cli import main; main()"]

    def run(*words: object, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "COLUMNS": "200"}
        return subprocess.run(
            [*line, *map(str, words)],
            capture_output=True,
            text=True,
            timeout=timeout,
            env=environment,
            check=False,
        )

    run.line = line  # type: ignore[attr-defined]
    return run  # type: ignore[return-value]


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Learnable data: each label has its own features; a row has the features of its two labels."""
    rng = np.random.default_rng(0)
    n, n_labels, owned = 600, 60, 4
    labels = np.array([rng.choice(n_labels, 2, replace=False) for _ in range(n)])
    columns = (labels[:, :, None] * owned + np.arange(owned)).reshape(n, -1)
    rows = np.repeat(np.arange(n), columns.shape[1])
    x = sp.csr_array((np.ones(columns.size), (rows, columns.ravel())), shape=(n, n_labels * owned))
    y = sp.csr_array(
        (np.ones(labels.size), (np.repeat(np.arange(n), 2), labels.ravel())), shape=(n, n_labels)
    )
    folder = tmp_path_factory.mktemp("data")
    train, test = folder / "train.txt", folder / "test.txt.gz"
    write_xc(train, Dataset.of(x[:500], y[:500]))
    write_xc(test, Dataset.of(x[500:], y[500:]))
    return train, test


@pytest.fixture(scope="session")
def small() -> list[object]:
    """Options of a small, fast network; later options override them."""
    options = {
        "preset": "network",
        "hidden": 32,
        "epochs": 12,
        "lr": 0.01,
        "batch-size": 32,
        "n-active": 30,
        "dropout": 0,
    }
    return [word for name, value in options.items() for word in (f"--{name}", value)]


@pytest.fixture(scope="session")
def rows_file(tmp_path_factory):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 150, 200)
    x = sp.csr_array((rng.random((200, 30)) < 0.3) * rng.random((200, 30)))
    y = sp.csr_array((np.ones(200), (np.arange(200), labels)), shape=(200, 150))
    path = tmp_path_factory.mktemp("data") / "rows.txt"
    write_xc(path, Dataset.of(x, y))
    return path


@pytest.fixture(scope="session")
def until() -> Callable[[Path, str], None]:
    """Waits until a file that another process writes has a text."""

    def wait(path: Path, text: str) -> None:
        for _ in range(600):
            if path.exists() and text in path.read_text():
                return
            time.sleep(0.05)
        raise AssertionError(f"{text!r} is not in {path.read_text()!r}")

    return wait


@pytest.fixture(scope="session")
def interrupted(
    lshsample: Command, until: Callable[[Path, str], None]
) -> Callable[..., tuple[int | None, str]]:
    """Starts a command, sends it a signal after its first epoch; its exit status and standard error."""

    def run(number: int, log: Path, *words: object) -> tuple[int | None, str]:
        with log.open("w") as errors:
            line = [*lshsample.line, *map(str, words)]
            process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=errors)
            try:
                until(log, "epoch 1/")
                process.send_signal(number)
                process.wait(timeout=60)
            finally:
                process.kill()
        return process.returncode, log.read_text()

    return run
