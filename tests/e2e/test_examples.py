"""The packages of examples/ can be installed, tested and used by the commands of their READMEs."""

import shutil
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
#: Each package, with the command that lists what it brings, and its name there.
PACKAGES = {
    "lshsample-bit-sampling": ("families", "bit-sampling"),
    "lshsample-superbit": ("families", "superbit"),
    "lshsample-rescore": ("stages", "Rescore(k)"),
}


def test_every_example_is_listed():
    assert {path.name for path in EXAMPLES.iterdir() if path.is_dir()} == set(PACKAGES)
    assert all(f"[{name}]({name})" in (EXAMPLES / "README.md").read_text() for name in PACKAGES)


@pytest.mark.parametrize("name", PACKAGES)
def test_an_example(environment, printed, tmp_path, name):
    # A copy, so that building leaves no files in the tree.
    package = tmp_path / name
    leave = shutil.ignore_patterns("build", "*.egg-info", "__pycache__", "*.so")
    shutil.copytree(EXAMPLES / name, package, ignore=leave)
    commands = printed((package / "README.md").read_text())
    install, test = [line for line in commands if line == "pytest" or "--no-build-isolation" in line]
    assert "passed" in environment.shell(f"{install}\n{test}", package)
    command, brought = PACKAGES[name]
    assert brought in environment.shell(f"lshsample {command}", package)
