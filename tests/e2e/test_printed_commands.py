"""Every command that a page prints does what the page says: it is run as printed, or listed with a reason."""

import os
import shlex
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from lshsample.cli import main
from lshsample.data import Dataset, write_xc
from lshsample.sampling import NAMED_PIPELINES

ROOT = Path(__file__).resolve().parents[2]
#: Pages whose commands other tests of this folder run.
ELSEWHERE = {"docs/plugins.md": "test_plugin_page", "docs/tutorial-new-family.md": "test_tutorial"}
PAGES = ["README.md", "CONTRIBUTING.md", *sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("docs/**/*.md"))]
PAGES = [page for page in PAGES if page not in ELSEWHERE]
#: Commands that are not run here, with the reason.
NOT_RUN = {
    "python3 -m venv .venv && .venv/bin/pip install '.[demo]' && .venv/bin/lshsample demo": "downloads, trains",
    "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/pytest -n 2": ".ci/run runs it",
    "python3 -m venv .venv && . .venv/bin/activate": "the first half of the line above",
    "pip install -e '.[dev]'": ".ci/run runs it",
    "pip install -e '.[bench]'": "downloads",
    "pytest -n 2": "these tests",
    "bash .ci/run": "minutes; it runs these tests",
    "pytest benchmarks --benchmark-only --benchmark-save=before": "minutes",
    "pytest benchmarks --benchmark-only --benchmark-save=after": "minutes",
    "pytest-benchmark compare '*before' '*after' --group-by=fullname --columns=median,iqr": "of the two above",
    'LSHSAMPLE_CFLAGS="-Wall -Wextra -Werror" pip install -e . --no-build-isolation': "changes this checkout",
    'LSHSAMPLE_CFLAGS="-O1 -g -fsanitize=address,undefined" pip install -e . --no-build-isolation': "the same",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Small data files under the names of the pages. Each of 40 labels has its own four features."""
    folder = tmp_path_factory.mktemp("commands")
    rng = np.random.default_rng(0)
    for name, n in (("train.txt.gz", 300), ("test.txt.gz", 120)):
        labels = rng.integers(0, 40, n)
        columns = (labels[:, None] * 4 + np.arange(4)).ravel()
        x = sp.csr_array((np.ones(4 * n), (np.repeat(np.arange(n), 4), columns)), shape=(n, 160))
        y = sp.csr_array((np.ones(n), (np.arange(n), labels)), shape=(n, 40))
        write_xc(folder / name, Dataset.of(x, y))
    return folder


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page(environment, printed, folder, page, monkeypatch, capsys):
    text = (ROOT / page).read_text()
    commands = [command for command in printed(text) if command not in NOT_RUN]
    monkeypatch.chdir(folder)
    if page not in ("README.md", "docs/command-line.md") and any(" run" in command for command in commands):
        main(shlex.split("train train.txt.gz --epochs 1 --save run"))
    installing: list[str] = []
    for command in commands:
        if installing or "new-family" in command or not command.startswith("lshsample "):
            # From here on in a shell: what follows uses the package.
            installing.append(command)
            continue
        for part in command.split("; "):
            assert run(part.removeprefix("lshsample ")) == 0, f"{page}: {part}\n{capsys.readouterr()}"
    if installing:
        environment.shell("\n".join(installing).replace("pytest", "pytest -k native"), folder)


def run(words):
    try:
        return main(shlex.split(words)) or 0
    except SystemExit as left:
        return left.code or 0


def test_reasons_are_for_commands_that_are_printed(printed):
    found = {command for page in PAGES for command in printed((ROOT / page).read_text())}
    assert set(NOT_RUN) <= found


def test_files_that_are_named_exist():
    for command in NOT_RUN:
        for word in shlex.split(command):
            if word in ("benchmarks", ".ci/run"):
                assert (ROOT / word).exists()
