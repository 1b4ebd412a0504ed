"""Runs commands in separate processes, on files with learnable data."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryFile
from typing import Protocol

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample.cli import main
from lshsample.data import Dataset, write_xc

FORK = multiprocessing.get_context("fork")
Files = tuple[Path, Path]


class Command(Protocol):
    """Runs ``lshsample`` with arguments; ``line`` is the command that starts the process."""

    line: list[str]

    def __call__(self, *words: object, timeout: float = 300) -> subprocess.CompletedProcess[str]: ...


def _command(words: list[str], output: int, errors: int) -> None:
    """The command in a process of its own, which begins as a copy of this one."""
    os.dup2(output, 1)
    os.dup2(errors, 2)
    os.environ["COLUMNS"] = "200"
    sys.argv = ["lshsample", *words]
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    warnings.resetwarnings()  # here they are errors
    main()


@pytest.fixture(scope="session")
def lshsample() -> Command:
    """Runs a command. To copy this process is a tenth of the work of starting another one."""

    def run(*words: object, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        line = list(map(str, words))
        with TemporaryFile("w+") as output, TemporaryFile("w+") as errors:
            child = FORK.Process(target=_command, args=(line, output.fileno(), errors.fileno()))
            with warnings.catch_warnings():
                # The threads of the tests' own tools hold no lock that the child needs.
                warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
                child.start()
            child.join(timeout)
            if child.exitcode is None:
                child.kill()
                raise subprocess.TimeoutExpired(line, timeout)
            output.seek(0), errors.seek(0)
            return subprocess.CompletedProcess(line, child.exitcode, output.read(), errors.read())

    run.line = [sys.executable, "-c", "from lshsample.cli import main; main()"]  # type: ignore[attr-defined]
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
