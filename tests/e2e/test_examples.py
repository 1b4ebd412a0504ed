"""The packages of examples/ can be installed, tested and used by the commands of their READMEs.

One command installs all of them, and one runs all their tests: to start these takes longer than their work.
"""

import importlib.util
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
_NAMES = ("bit-sampling", "superbit", "l1-thresholds", "l1-cauchy", "chi-square", "rescore")
PACKAGES = [f"lshsample-{name}" for name in _NAMES]
#: Those that can be tested here: the kernel of one is compiled by numba.
TESTED = [name for name in PACKAGES if name != "lshsample-chi-square" or importlib.util.find_spec("numba")]
FIRST = ["pip install 'setuptools>=77'", "pip install --no-build-isolation -e '.[test", "pytest"]


@pytest.fixture(scope="module")
def folder(environment, tmp_path_factory):
    """Copies, so that building leaves no files in the tree."""
    folder = tmp_path_factory.mktemp("clone") / "examples"
    leave = shutil.ignore_patterns("build", "*.egg-info", "__pycache__", "*.so")
    for name in TESTED:
        shutil.copytree(EXAMPLES / name, folder / name, ignore=leave)
    installed = " ".join(f"-e ./{name}" for name in TESTED)
    environment.shell(f"pip install --no-build-isolation {installed}", folder)
    return folder


@pytest.fixture
def more(printed):
    """The commands of a README after those that install and test the package."""

    def commands_of(name):
        commands = printed((EXAMPLES / name / "README.md").read_text())
        assert all(command.startswith(first) for command, first in zip(commands, FIRST, strict=False))
        return commands[len(FIRST) :]

    return commands_of


def test_the_comparisons_of_a_page(environment, folder, printed):
    """The quick ones of docs/comparing.md, without those of a family that its reader writes."""
    rows = np.random.default_rng(0).random((700, 24), dtype=np.float32)
    np.save(folder.parent / "rows.npy", rows)
    page = (EXAMPLES.parent / "docs" / "comparing.md").read_text()
    commands = [
        command
        for command in printed(page)
        if command.startswith("python") or ("--quick" in command and "my-family" not in command)
    ]
    assert len(commands) == 3
    output = environment.shell("\n".join(commands), folder.parent).split("l1 metric")[1]
    table = re.findall(r"^\| `(\S+)` \| (0\.\d+) \| (0\.\d+) \|$", page, re.MULTILINE)
    assert len(table) == 4
    for family, *printed_recall in table:
        found = re.search(rf"^ {family} +(0\.\d+) \S+ +(0\.\d+) ", output, re.MULTILINE).groups()
        assert [float(r) for r in found] == pytest.approx([float(r) for r in printed_recall], abs=0.03)


def test_every_example_is_listed():
    assert {path.parent.name for path in EXAMPLES.glob("*/pyproject.toml")} == set(PACKAGES)
    assert all(f"[{name}]({name})" in (EXAMPLES / "README.md").read_text() for name in PACKAGES)


def test_their_tests(environment, folder):
    # The tests of each family say whether it is found by its name.
    output = environment.shell(
        "pytest --import-mode=importlib -W error lshsample-*/tests\nlshsample stages", folder
    )
    assert "passed" in output
    assert "Rescore(k)" in output


def test_their_types(environment, folder):
    pytest.importorskip("mypy", reason="a type checker: pip install mypy")
    assert "Success" in environment.shell("mypy --strict lshsample-*/src", folder)


@pytest.mark.parametrize("family", ["l1-thresholds", "l1-cauchy", "chi-square"])
def test_a_comparison_by_the_metric_of_the_family(environment, folder, more, family):
    name = f"lshsample-{family}"
    if name not in TESTED:
        pytest.skip("numba compiles its kernel: pip install numba")
    output = environment.shell("\n".join(more(name)), folder / name)
    assert " metric" in output
    assert f"test_query[{family}" in output
    assert "skipped" not in output
